"""A diffusion model as a code: kernel, levels, spacing, lanes – and the codec made of them."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from vlb.coding.bitsback import Climbing, Descending, Grid
from vlb.coding.cells import Uncodable
from vlb.coding.models import marginals
from vlb.coding.sequence import SequenceCodec
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.kernel import ExactMixture, MomentMatched, ReverseKernel, Standard
from vlb.models.diffusion import DiffusionModel, GridDiffusion

KERNELS: tuple[ReverseKernel, ...] = (Standard(), MomentMatched(), ExactMixture())
KERNEL_NAMES = ("standard", "moments", "mixture")
TIME_UNIT = 255  # placed times are multiples of 1/255
SPACING_UNIT = 64
MAX_STEPS, MAX_LANES = 4096, 4096


@dataclass(frozen=True)
class DiffusionSettings:
    """kernel: an index of `KERNELS`; times: T + 1 numbers 0 … 255, or None for T = `steps` equal ones.

    spacing: of the latents' grid, in 1/64 of the smallest standard deviation that matters at a level;
    lanes: examples coded at once.
    """

    kernel: int
    steps: int
    times: tuple[int, ...] | None
    spacing: int = 32
    lanes: int = 32

    def grid(self) -> torch.Tensor:
        """The levels' times, (T + 1,) float64."""
        if self.times is None:
            return torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        return torch.tensor(self.times, dtype=torch.float64) / TIME_UNIT

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        writer.number(self.kernel).number(self.steps).number(self.spacing).number(self.lanes)
        writer.number(0 if self.times is None else 1).raw(bytes(self.times or ()))

    @classmethod
    def read(cls, reader: Reader) -> "DiffusionSettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        kernel, steps = reader.number(len(KERNELS) - 1), reader.number(MAX_STEPS)
        spacing, lanes = reader.number(4 * SPACING_UNIT), reader.number(MAX_LANES)
        times = tuple(reader.raw(steps + 1)) if reader.number(1) else None
        if steps < 1 or spacing < 1 or lanes < 1:
            raise Damaged("a setting is 0")
        if times is not None and any(a >= b for a, b in pairwise(times)):
            raise Damaged("levels that do not increase")
        return cls(kernel, steps, times, spacing, lanes)

    def codec(self, model: nn.Module) -> SequenceCodec:
        """The codec of a prepared model, in Bit-Swap order. Raises `Uncodable` where there can be none."""
        hierarchy, unit = discretised(model, self), self.spacing / SPACING_UNIT
        climbing = Climbing(hierarchy, grids(hierarchy, unit), hierarchy.shape, hierarchy.model.device)
        return SequenceCodec(climbing, marginals(model), hierarchy.shape, self.lanes)

    def describe(self) -> dict[str, str]:
        """For people."""
        times = "equal steps" if self.times is None else ", ".join(f"{t / TIME_UNIT:.3f}" for t in self.times)
        return {
            "levels T": f"{self.steps}",
            "times": times,
            "kernel": KERNEL_NAMES[self.kernel],
            "spacing of latents": f"{self.spacing}/{SPACING_UNIT} of the smallest deviation",
        }


def top_down(model: DiffusionModel, settings: DiffusionSettings) -> SequenceCodec:
    """The same in top-down order, which needs the bits of all T levels at the start; for comparison."""
    hierarchy, unit = discretised(model, settings), settings.spacing / SPACING_UNIT
    descending = Descending(
        hierarchy, hierarchy.infer, hierarchy.start, grids(hierarchy, unit), model.shape, model.device
    )
    return SequenceCodec(descending, marginals(model), model.shape, settings.lanes)


def discretised(model: nn.Module, settings: DiffusionSettings) -> GridDiffusion:
    """The hierarchy that is coded with. Raises `Uncodable` for a model without a grid."""
    if not isinstance(model, DiffusionModel):
        raise Uncodable(f"levels of a diffusion for a {type(model).__name__}")
    return model.at(settings.grid(), KERNELS[settings.kernel])


def grids(hierarchy: GridDiffusion, unit: float) -> list[Grid]:
    """The grid of each level: δ is `unit` times the smaller deviation of q(z_t | below) and of q(z_t | above, x).

    Rounded to eight bits, so that δ is the same number on every machine.
    """
    process = hierarchy.model.process
    zero = torch.zeros(1, 1, dtype=torch.float64, device=hierarchy.grid.device)
    found = []
    for level in range(hierarchy.depth):
        below = process.marginal(zero, hierarchy.time(0))
        if level:
            below = process.transition(zero, hierarchy.time(level - 1), hierarchy.time(level))
        log_variance = below.log_variance.min().item()
        if level + 1 < hierarchy.depth:
            above = process.posterior(zero, zero, hierarchy.time(level), hierarchy.time(level + 1))
            log_variance = min(log_variance, above.log_variance.min().item())
        mantissa, exponent = math.frexp(unit * math.exp(0.5 * log_variance))
        found.append(Grid(math.ldexp(round(mantissa * 256) / 256, exponent), hierarchy.shape))
    return found
