"""Fitted mixtures as codes: their sum over z can be done, so they need no bits back."""

from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.coding.bitsback import Exact
from vlb.coding.cells import Uncodable
from vlb.coding.codes import data_code
from vlb.coding.models import Coded, chosen_settings, coded_by, marginals
from vlb.coding.products import ProductMixture, whole
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.wire import Reader, Writer
from vlb.core.distributions import Categorical
from vlb.core.marginals import IMPOSSIBLE
from vlb.models.factor.model import FactorMixture
from vlb.models.mixture.categorical import CategoricalMixture


@dataclass(frozen=True)
class MixtureSettings:
    """lanes: how examples are batched."""

    latent: ClassVar = False
    any_depth: ClassVar = False

    lanes: Lanes = USUAL_LANES
    passes: ClassVar = 1

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        self.lanes.write(writer)

    @classmethod
    def read(cls, reader: Reader) -> "MixtureSettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        return cls(Lanes.read(reader))

    @torch.no_grad()
    def codec(self, model: Coded) -> SequenceCodec:
        """The codec of a prepared model. Raises `Uncodable` where there can be none."""
        if coded_by(model) is not MixtureSettings:
            raise Uncodable(f"no components in a {type(model).__name__}")
        return SequenceCodec(Exact(product(model), model.shape), marginals(model), model.shape, self.lanes)

    def describe(self) -> dict[str, str]:
        """For people."""
        return {"order": "exact, without latents"}


@singledispatch
def product(model: Coded) -> ProductMixture:
    """The mixture in whole numbers."""
    raise TypeError(f"components of a {type(model).__name__}")


@product.register
def _(model: CategoricalMixture) -> ProductMixture:
    cells = whole(model.logits.log_softmax(-1).cpu().numpy())
    return ProductMixture(whole(model.log_weights.log_softmax(0).cpu().numpy()), list(cells.transpose(1, 0, 2)))


@product.register
def _(model: FactorMixture) -> ProductMixture:
    found = model.components
    # A column of one value has a second that it never takes: tables list two cells or more.
    cells = [
        nn.functional.pad(column, (0, max(0, 2 - column.shape[1])), value=IMPOSSIBLE).cpu().numpy()
        for column in found.log_tables.split(model.columns.counts, 1)
    ]
    return ProductMixture(whole(found.log_weights.cpu().numpy()), list(map(whole, cells)))


@coded_by.register
def _(model: CategoricalMixture) -> type[MixtureSettings]:
    return MixtureSettings


@coded_by.register
def _(model: FactorMixture) -> type[MixtureSettings]:
    reals = [model.columns.names[place] for place in model.columns.reals]
    if reals:
        raise UserError(
            f"the column {reals[0]!r} is real, and a mixture of tables has a code for categories and levels alone: the "
            "masses of rounded cells are of floating-point Gaussians, which machines round differently. Train on the "
            "table by `vlb train discrete-table --data FILE`, which takes every text in a column for a value of its "
            "own, at most 1024 of them, and compress with that run"
        )
    return MixtureSettings


@marginals.register
@torch.no_grad()
def _(model: CategoricalMixture) -> np.ndarray:
    return data_code(model.marginals()).weights


@marginals.register
@torch.no_grad()
def _(model: FactorMixture) -> np.ndarray:
    found, counts = model.components, model.columns.counts
    alone = (found.log_weights.unsqueeze(1) + found.log_tables).logsumexp(0).split(counts)
    logits = torch.full((len(counts), max(2, *counts)), IMPOSSIBLE, dtype=torch.float64)
    for row, column in zip(logits, alone, strict=True):
        row[: len(column)] = column
    return data_code(Categorical(logits)).weights


@chosen_settings.register(CategoricalMixture)
@chosen_settings.register(FactorMixture)
def _(
    model: CategoricalMixture | FactorMixture,
    folder: Path,
    digest: bytes,
    x: torch.Tensor | None,
    steps: int,
    lanes: Lanes,
) -> MixtureSettings:
    return MixtureSettings(lanes)
