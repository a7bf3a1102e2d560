"""A fitted mixture as a code: its sum over z can be done, so it needs no bits back."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.coding.bitsback import Exact
from vlb.coding.cells import Uncodable
from vlb.coding.codes import data_code
from vlb.coding.models import Coded, chosen_settings, coded_by, marginals
from vlb.coding.products import ProductMixture, whole
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.wire import Reader, Writer
from vlb.models.factor.model import FactorMixture
from vlb.models.mixture.categorical import CategoricalMixture


@dataclass(frozen=True)
class MixtureSettings:
    """lanes: how examples are batched."""

    latent: ClassVar = False
    any_depth: ClassVar = False

    lanes: Lanes = USUAL_LANES

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
        weights = whole(model.log_weights.log_softmax(0).cpu().numpy())
        cells = whole(model.logits.log_softmax(-1).cpu().numpy())
        mixture = ProductMixture(weights, list(cells.transpose(1, 0, 2)))
        return SequenceCodec(Exact(mixture, model.shape), marginals(model), model.shape, self.lanes)

    def describe(self) -> dict[str, str]:
        """For people."""
        return {"order": "exact, without latents"}


@coded_by.register
def _(model: CategoricalMixture) -> type[MixtureSettings]:
    return MixtureSettings


@coded_by.register
def _(model: FactorMixture) -> type[MixtureSettings]:
    raise UserError(
        "there is no code for mixtures of tables with gaps: their masses are of floating-point Gaussians, which "
        "machines round differently, and a code needs whole numbers. Train on the table by "
        "`vlb train discrete-table --data FILE`, which takes every text in a column for a value of its own, and "
        "compress with that run"
    )


@marginals.register
@torch.no_grad()
def _(model: CategoricalMixture) -> np.ndarray:
    return data_code(model.marginals()).weights


@chosen_settings.register
def _(
    model: CategoricalMixture, folder: Path, digest: bytes, x: torch.Tensor | None, steps: int, lanes: Lanes
) -> MixtureSettings:
    return MixtureSettings(lanes)
