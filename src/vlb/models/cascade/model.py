"""A cascade: p(x) = p(coarse) p(details | coarse), each band by a diffusion model of its own; the coarse band may be
split again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from vlb.core.condition import LABEL, UNCONDITIONAL, Condition, refuse_others
from vlb.core.emissions import Centres
from vlb.core.initial import Examples, initialise
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.models.cascade.bands import Bands
from vlb.models.diffusion.model import DiffusionModel


class BandModel(Protocol):
    """A bound on the mass of a band."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> BoundKind: ...

    @property
    def takes(self) -> frozenset[str]: ...

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]: ...


class Band(NamedTuple):
    """Values x (batch, *shape) of a band under its model, which is told a condition; path: of its terms."""

    path: TermPath
    model: BandModel
    x: Tensor
    condition: Condition


class Cascading:
    """The bound on the mass of images x (batch, C, H, W) of K levels, by bounds of their bands.

    coarse: of what is left in the end, (C, H/2ⁿ, W/2ⁿ); details: of the others, finest first, each of which takes the
    coarse band of its split, embedded, as planes. Labels are for all of them.
    """

    def __init__(
        self, bands: Bands, shape: tuple[int, ...], levels: int, coarse: BandModel, details: Sequence[BandModel]
    ) -> None:
        super().__init__()
        self.bands, self.shape, self.levels = bands, tuple(shape), levels
        self.coarse, self.details = coarse, details

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it takes."""
        return self.coarse.takes & LABEL

    @property
    def bound(self) -> BoundKind:
        """What the sum of the terms is: what it is of each band, for masses multiply."""
        return self.coarse.bound

    def told(self, coarse: Tensor, condition: Condition) -> Condition:
        """What a model of details is told: the coarse band (batch, C, H/2, W/2) beside the condition."""
        return replace(condition, planes=Centres(self.levels).embed(coarse))

    def walk(self, x: Tensor, condition: Condition) -> Iterator[Band]:
        """The bands of x, finest details first."""
        refuse_others(condition, self.takes, "this cascade")
        for number, model in enumerate(self.details, 1):
            x, details = self.bands.split(x, self.levels)
            yield Band(("details", number), model, details, self.told(x, condition))
        yield Band(("coarse",), self.coarse, x, condition)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the terms of −VLB of every band, (batch,) nats each."""
        return {
            band.path + path: term
            for band in self.walk(x, condition)
            for path, term in band.model.terms(band.x, band.condition, generator).items()
        }


class CascadeModel(Cascading, nn.Module):
    """A cascade of diffusion models."""

    coarse: DiffusionModel
    details: Sequence[DiffusionModel]

    def __init__(
        self,
        bands: Bands,
        shape: tuple[int, ...],
        levels: int,
        coarse: DiffusionModel,
        details: Sequence[DiffusionModel],
    ) -> None:
        super().__init__(bands, shape, levels, coarse, cast(Any, nn.ModuleList(details)))

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Let the models take from the bands of the data what they take."""
        for band in self.walk(torch.from_numpy(np.asarray(data.x)), UNCONDITIONAL):
            examples = Split(band.x.numpy().astype(data.x.dtype), data.labels)
            initialise(cast(nn.Module, band.model), examples, generator)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n examples, (n, *shape), fresh ones without a generator: a coarse band, and details given it."""
        refuse_others(condition, self.takes, "this cascade")
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        x = self.coarse.sample(n, steps=steps, generator=generator, condition=condition)
        for model in reversed(list(self.details)):
            told = self.told(x, condition)
            x = self.bands.join(x, model.sample(n, steps=steps, generator=generator, condition=told), self.levels)
        return x


def share(part: BandModel, whole: Cascading) -> float:
    """The share of a cascade's elements that are of a band."""
    return math.prod(part.shape) / math.prod(whole.shape)
