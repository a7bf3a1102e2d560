"""The one loop of every fixed-step sampler: `init` and `step` with the state as a named tuple.

The reverse of the forward process may be walked with or without noise. In z̃ = z/α and σ̃ = σ/α = e^{γ/2}
every scaling is one process, and its probability-flow ODE is (Song et al. 2021; Karras et al. 2022)

    dz̃/dσ̃ = ε̂(z; γ).

Each step is written as α_s(…) + σ_s(…) of x̂ and ε̂ plus a correction. Nothing is divided by σ_s or α_t, so
that steps stay exact towards σ → 0 and from α → 0; γ and what follows from it are float64, cast where they
meet z.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import standard_normal
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along


class Sampler(Protocol):
    """From z_1 to z_0, the first and the last time of `grid`: z (batch, *shape), grid (T + 1,) increasing."""

    @property
    def evaluations(self) -> int | None:
        """How often a step asks the denoiser; None where the sampler finds its own steps."""

    def __call__(
        self,
        model: DiffusionModel,
        z_1: Tensor,
        grid: Tensor,
        generator: torch.Generator,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor: ...


class Level(NamedTuple):
    """A noise level: γ, α and σ in float64, broadcastable against z."""

    gamma: Tensor
    alpha: Tensor
    sigma: Tensor

    def mix(self, x: Tensor, eps: Tensor) -> Tensor:
        """αx + σε, in the dtype of x."""
        return self.alpha.to(x.dtype) * x + self.sigma.to(x.dtype) * eps


class Estimate(NamedTuple):
    """x̂ and the γ at which it was made."""

    x: Tensor
    gamma: Tensor


class State(NamedTuple):
    """Where a walk is: z, its noise level, and the estimate of the step before for methods that remember one."""

    z: Tensor
    level: Level
    past: Estimate | None = None


@dataclass(frozen=True)
class Reverse:
    """What a step may ask for: noise levels, predictions and noise."""

    model: DiffusionModel
    generator: torch.Generator
    condition: Condition = UNCONDITIONAL

    def __post_init__(self) -> None:
        self.model.check_condition(self.condition)

    def levels(self, times: Tensor, z: Tensor) -> list[Level]:
        """The noise levels at `times` (n,)."""
        gamma = self.model.process.schedule.gamma(times.to(z.device))
        return [self.level(along(row, z)) for row in gamma.split(1)]

    def level(self, gamma: Tensor) -> Level:
        """The noise level of a γ that broadcasts against z."""
        return Level(gamma, *self.model.process.scaling(gamma))

    def predict(self, z: Tensor, level: Level) -> Prediction:
        """The denoiser at a noise level, asked in its own precision and answering in that of z: one evaluation."""
        x, eps, data = self.model.denoise(z, level.gamma.flatten(1), self.condition)
        return Prediction(x.to(z.dtype), eps.to(z.dtype), data)

    def noise(self, z: Tensor) -> Tensor:
        """Standard Gaussian noise like z."""
        return standard_normal(z.shape, self.generator, z)


class FixedStep(ABC):
    """A sampler that takes one step between neighbouring times of the grid."""

    @property
    @abstractmethod
    def deterministic(self) -> bool:
        """Whether no step draws noise, so that the walk can be reversed."""

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Network evaluations per step."""

    def init(self, z: Tensor, level: Level) -> State:
        """The state before the first step."""
        return State(z, level)

    @abstractmethod
    def step(self, reverse: Reverse, state: State, s: Level) -> State:
        """From `state.level` to the level `s`."""

    @torch.no_grad()
    def __call__(
        self,
        model: DiffusionModel,
        z_1: Tensor,
        grid: Tensor,
        generator: torch.Generator,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """z at grid[0] from z_1 at grid[-1]: (batch, *shape) in the dtype of z_1. Raises `UserError` for a bad grid."""
        check_grid(grid)
        return arrive(self, Reverse(model, generator, condition), z_1, grid.flip(0))

    @torch.no_grad()
    def encode(self, model: DiffusionModel, z_0: Tensor, grid: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """z at grid[-1] from z_0 at grid[0], by the same method upwards: like z_0.

        Raises `UserError` for a bad grid, or where the method draws noise.
        """
        check_grid(grid)
        if not self.deterministic:
            raise UserError(f"{self} draws noise and has no inverse: encode with a deterministic sampler")
        return arrive(self, Reverse(model, torch.Generator(), condition), z_0, grid)


def walk(method: FixedStep, reverse: Reverse, z: Tensor, times: Tensor) -> Iterator[State]:
    """The states after each step from times[0] to times[-1], in either direction: the loop of all methods."""
    first, *rest = reverse.levels(times, z)
    state = method.init(z, first)
    for level in rest:
        state = method.step(reverse, state, level)
        yield state


def arrive(method: FixedStep, reverse: Reverse, z: Tensor, times: Tensor) -> Tensor:
    """z at the end of a walk."""
    for state in walk(method, reverse, z, times):
        z = state.z
    return z
