"""A diffusion model as a code: kernel, times, spacing, lanes – and the codec made of them."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch

from vlb.coding.bitsback import Climbing, Descending, Grid
from vlb.coding.cells import Rows, TableCode, Uncodable
from vlb.coding.codes import data_code
from vlb.coding.models import Coded, coded_by, continuous, marginals
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Centres
from vlb.models.diffusion.discrete import GridDiffusion
from vlb.models.diffusion.kernels import KERNELS, ReverseKernel
from vlb.models.diffusion.model import DiffusionModel

# By number, as archives name them.
NUMBERED: tuple[ReverseKernel, ...] = tuple(kind() for kind in KERNELS.offered.values())
FINE = 255  # times that lie on no coarser grid are multiples of 1/255
SPACING_UNIT = 64
MAX_STEPS = 4096


@dataclass(frozen=True)
class DiffusionSettings:
    """kernel: an index of `NUMBERED`; places: T + 1 increasing numbers 0 … parts, which mean t = place/parts.

    spacing: of the latents' grid, in 1/64 of the smallest standard deviation that matters at a rung;
    lanes: how examples are batched.
    """

    latent: ClassVar = True
    any_depth: ClassVar = True
    gaps: ClassVar = False
    usual: ClassVar = USUAL_LANES

    kernel: int
    places: tuple[int, ...]
    parts: int = FINE
    spacing: int = 32
    lanes: Lanes = USUAL_LANES

    @property
    def steps(self) -> int:
        """T."""
        return len(self.places) - 1

    @property
    def passes(self) -> int:
        """Once per step, and once for x."""
        return self.steps + 1

    def grid(self) -> torch.Tensor:
        """The rungs' times, (T + 1,) float64."""
        return torch.tensor(self.places, dtype=torch.float64) / self.parts

    def write(self, writer: Writer) -> None:
        """As part of a header: places as a set of bits or a byte each, whichever is less; nothing if all are taken."""
        writer.number(self.kernel).number(self.parts).number(self.steps).number(self.spacing)
        self.lanes.write(writer)
        if self.steps == self.parts:
            return
        if self._listed(self.parts, self.steps):
            writer.raw(bytes(self.places))
        else:
            writer.raw(sum(1 << place for place in self.places).to_bytes(self.parts // 8 + 1, "little"))

    @classmethod
    def read(cls, reader: Reader) -> "DiffusionSettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        kernel, parts = reader.number(len(NUMBERED) - 1), reader.number(MAX_STEPS)
        steps, spacing, lanes = reader.number(parts), reader.number(4 * SPACING_UNIT), Lanes.read(reader)
        if steps < 1 or spacing < 1:
            raise Damaged("a setting is 0")
        if steps == parts:
            places = tuple(range(parts + 1))
        elif cls._listed(parts, steps):
            places = tuple(reader.raw(steps + 1))
        else:
            bits = int.from_bytes(reader.raw(parts // 8 + 1), "little")
            places = tuple(place for place in range(bits.bit_length()) if bits >> place & 1)
        if len(places) != steps + 1 or places[-1] > parts or any(a >= b for a, b in pairwise(places)):
            raise Damaged("times that do not increase to the top")
        return cls(kernel, places, parts, spacing, lanes)

    @staticmethod
    def _listed(parts: int, steps: int) -> bool:
        """Whether bytes take less room than a set."""
        return parts <= FINE and steps + 1 < parts // 8 + 1

    def codec(self, model: Coded) -> SequenceCodec:
        """The codec of a prepared model, in Bit-Swap order. Raises `Uncodable` where there can be none."""
        return SequenceCodec(climbing(model, self), marginals(model), model.shape, self.lanes)

    def bounded(self, model: Coded) -> GridDiffusion:
        """The hierarchy that is coded with."""
        return discretised(model, self)

    def describe(self) -> dict[str, str]:
        """For people."""
        even = self.steps == self.parts
        times = "equal steps" if even else ", ".join(f"{time:.3f}" for time in self.grid().tolist())
        return {
            "steps T": f"{self.steps}",
            "times": times,
            "kernel": str(NUMBERED[self.kernel]),
            "spacing of latents": f"{self.spacing}/{SPACING_UNIT} of the smallest deviation",
        }


def evenly(kernel: int, steps: int, spacing: int = 32, lanes: Lanes = USUAL_LANES) -> DiffusionSettings:
    """T = `steps` steps that are equal in t."""
    return DiffusionSettings(kernel, tuple(range(steps + 1)), steps, spacing, lanes)


def top_down(model: DiffusionModel, settings: DiffusionSettings) -> SequenceCodec:
    """The same in top-down order, which needs the bits of all T rungs at the start; for comparison."""
    hierarchy, unit = discretised(model, settings), settings.spacing / SPACING_UNIT
    descending = Descending(
        hierarchy, hierarchy.infer, hierarchy.start, grids(hierarchy, unit), model.shape, model.device
    )
    return SequenceCodec(descending, marginals(model), model.shape, settings.lanes)


def discretised(model: Coded, settings: DiffusionSettings, condition: Condition = UNCONDITIONAL) -> GridDiffusion:
    """The hierarchy that is coded with, given the condition of what is coded. Raises `Uncodable` for a model without a
    grid."""
    if not issubclass(coded_by(model), DiffusionSettings):
        raise Uncodable(f"steps of a diffusion for a {type(model).__name__}")
    return model.at(settings.grid(), NUMBERED[settings.kernel], condition)


def climbing(model: Coded, settings: DiffusionSettings, condition: Condition = UNCONDITIONAL) -> Climbing:
    """How a batch is coded, given its condition. Raises `Uncodable` where there can be no code."""
    hierarchy = discretised(model, settings, condition)
    return Climbing(hierarchy, grids(hierarchy, settings.spacing / SPACING_UNIT), hierarchy.shape, model.device)


def grids(hierarchy: GridDiffusion, unit: float) -> list[Grid]:
    """The grid of each rung: δ is `unit` times the smaller deviation of q(z_t | below) and of q(z_t | above, x).

    Rounded to eight bits, so that δ is the same number on every machine.
    """
    process = hierarchy.model.process
    zero = torch.zeros(1, 1, dtype=torch.float64, device=hierarchy.grid.device)
    found = []
    for number in range(hierarchy.depth):
        below = process.marginal(zero, hierarchy.time(0))
        if number:
            below = process.transition(zero, hierarchy.time(number - 1), hierarchy.time(number))
        log_variance = below.log_variance.min().item()
        if number + 1 < hierarchy.depth:
            above = process.posterior(zero, zero, hierarchy.time(number), hierarchy.time(number + 1))
            log_variance = min(log_variance, above.log_variance.min().item())
        mantissa, exponent = math.frexp(unit * math.exp(0.5 * log_variance))
        found.append(Grid(math.ldexp(round(mantissa * 256) / 256, exponent), hierarchy.shape))
    return found


@coded_by.register
def _(model: DiffusionModel) -> type[DiffusionSettings]:
    return DiffusionSettings


@marginals.register
@torch.no_grad()
def _(model: DiffusionModel, condition: Condition = UNCONDITIONAL) -> Rows:
    """What the head says where z says nothing."""
    if not isinstance(model.embedding, Centres):
        raise continuous()
    like = torch.zeros(1, *model.shape, dtype=torch.float64, device=model.device)
    law = model.predict(like, torch.ones(1, dtype=torch.float64, device=model.device), condition).law
    if law is None:
        possible = model.embedding.impossible().exp().numpy()
        return TableCode(np.broadcast_to(possible, (math.prod(model.shape), model.embedding.count)).copy())
    return data_code(law)
