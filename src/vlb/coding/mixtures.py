"""Fitted mixtures as codes: their sum over z can be done, so they need no bits back."""

from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar

import torch

from vlb.coding.bitsback import Exact
from vlb.coding.cells import Rows, Uncodable
from vlb.coding.codes import data_code
from vlb.coding.models import Coded, Measuring, chosen_settings, coded_by, marginals
from vlb.coding.products import ProductMixture, whole
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.wire import Reader, Writer
from vlb.measure.evaluation import Bounded
from vlb.models.mixture.categorical import CategoricalMixture


@dataclass(frozen=True)
class MixtureSettings:
    """lanes: how examples are batched."""

    latent: ClassVar = False
    any_depth: ClassVar = False
    gaps: ClassVar = False
    usual: ClassVar = USUAL_LANES

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

    def bounded(self, model: Coded) -> Bounded:
        """The model itself."""
        bounded: Bounded = model
        return bounded

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


@coded_by.register
def _(model: CategoricalMixture) -> type[MixtureSettings]:
    return MixtureSettings


@marginals.register
@torch.no_grad()
def _(model: CategoricalMixture) -> Rows:
    return data_code(model.marginals())


@chosen_settings.register
def _(model: CategoricalMixture, by: Measuring, steps: int, lanes: Lanes) -> MixtureSettings:
    return MixtureSettings(lanes)
