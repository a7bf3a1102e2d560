"""A trained model as it is written, in a run or in an archive: two sections and named tensors."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vlb.base import configuration
from vlb.base.errors import UserError, broken
from vlb.core.draws import Draws
from vlb.core.schema import Schema
from vlb.core.shards import put
from vlb.core.surroundings import ordinary
from vlb.models.kinds import AnyModel
from vlb.models.protocols import InUnits, Resizable, offers
from vlb.store import before
from vlb.store.budget import NUMBER, Budget, weight
from vlb.store.identity import identity

ROOM = 8  # what building may allocate, in units of what is stored
LARGEST = 1e9  # of a weight
LARGEST_IN_UNITS = 1e100  # of one in the data's own units


@dataclass(frozen=True, eq=False)
class Trained:
    """model, schema: sections as JSON values; tensors: of the model, by name; source: where they were read, for
    messages; earlier: what an earlier format said, where one wrote it."""

    model: dict[str, Any]
    schema: dict[str, Any]
    tensors: dict[str, Tensor]
    source: Path
    earlier: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Of the tensors, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def weight(self) -> int:
        """Bytes that the tensors take in memory, with what there is around them."""
        return sum(weight(tensor.numel()) for tensor in self.tensors.values())

    @cached_property
    def example(self) -> Schema:
        """What an example is. Raises `UserError` where the section makes no sense."""
        return cast(Schema, configuration.decode(Schema, self.schema, f"{self.source}: schema"))

    @cached_property
    def identity(self) -> bytes:
        """32 bytes that tell trained models apart."""
        if self.earlier is not None:
            return before.identity(self.earlier, self.tensors)
        return identity(self.model, self.schema, self.tensors)

    @ordinary()
    def build(self) -> nn.Module:
        """The model with its weights, ready for use. Raises `UserError` where sections and tensors do not fit, before
        taking more memory than they could need."""
        schema = self.example
        config: AnyModel = configuration.decode(AnyModel, self.model, f"{self.source}: model")
        most = ROOM * (self.weight + NUMBER * math.prod(schema.shape) * schema.widest)
        try:
            with Draws(torch.Generator()), Budget(most, "its weights are not of its model"):
                model = config.build(schema)
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from error
        if offers(model, Resizable):
            model.resize(self.tensors)
        load_weights(model, self.tensors, self.source)
        self._refuse_senseless(model.state_dict(), model.in_units if offers(model, InUnits) else frozenset())
        return model.eval().requires_grad_(False)

    def _refuse_senseless(self, weights: dict[str, Tensor], in_units: frozenset[str]) -> None:
        """Raises `UserError` for numbers that no training leaves, on which everything would founder later."""
        for name, tensor in weights.items():
            most = LARGEST_IN_UNITS if name in in_units else LARGEST
            if tensor.is_floating_point() and tensor.numel() and not float(tensor.abs().max()) <= most:
                raise broken(f"{self.source}: {name} holds {float(tensor.abs().max()):g}")


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy named weights into a model. Raises `UserError` where they do not fit, or are not finite."""
    expected = model.state_dict()
    refuse_unfit(weights, expected, source)
    for name, value in expected.items():
        put(weights[name], value)


def refuse_unfit(found: dict[str, Tensor], expected: dict[str, Tensor], source: Path) -> None:
    """Raises `UserError` where tensors are not all there, of other shapes or kinds of numbers, or not finite."""
    for name, tensor in expected.items():
        if name not in found or found[name].shape != tensor.shape:
            shown = tuple(found[name].shape) if name in found else "nothing"
            raise UserError(
                f"{source} does not fit config.json: {name} should be {tuple(tensor.shape)}, found {shown}. "
                "One of the two files was changed"
            )
        if found[name].is_complex() or found[name].is_floating_point() != tensor.is_floating_point():
            raise UserError(
                f"{source} does not fit config.json: {name} should be of {tensor.dtype}, found {found[name].dtype}. "
                "One of the two files was changed"
            )
    for name in expected:
        if not bool(found[name].isfinite().all()):
            raise broken(f"{source}: {name} has numbers that are not finite")
