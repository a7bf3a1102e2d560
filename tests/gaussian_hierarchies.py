"""Hierarchies with exact posteriors, as any user would write one: probabilistic PCA and two linear levels."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vlb.core.distributions import Normal
from vlb.core.hierarchy import Rung


def normal(mean: Tensor, variance: float) -> Normal:
    return Normal(mean, torch.full_like(mean, math.log(variance)))


class State(NamedTuple):
    """All latents so far, top first, and x where it is known."""

    latents: tuple[Tensor, ...]
    x: Tensor | None
    n: int


class PPCA:
    """z ~ N(0, I), x | z ~ N(Wz + μ, s²I), with orthogonal columns in W, so that p(z|x) is diagonal.

    `stretch` multiplies the posterior's variance: 1 is exact.
    """

    depth = 1

    def __init__(self, stretch: float = 1.0) -> None:
        directions, _ = torch.linalg.qr(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double())
        self.weights = directions * torch.tensor([1.5, 0.6], dtype=torch.float64)
        self.mean = torch.tensor([0.3, -1.0, 0.0, 2.0], dtype=torch.float64)
        self.noise = 0.2
        self.stretch = stretch

    def start(self, n: int) -> State:
        return State((), None, n)

    def infer(self, x: Tensor) -> State:
        return State((), x, len(x))

    def posterior(self, x: Tensor) -> Normal:
        precision = (self.weights**2).sum(0) / self.noise + 1
        mean = (x - self.mean) @ self.weights / self.noise / precision
        return Normal(mean, (self.stretch / precision).log().expand_as(mean))

    def rung(self, number: int, state: State) -> Rung:
        return Rung(
            self.top(torch.zeros(state.n, 2, dtype=torch.float64)), None if state.x is None else self.posterior(state.x)
        )

    def advance(self, number: int, state: State, z: Tensor) -> State:
        return state._replace(latents=(*state.latents, z))

    def likelihood(self, state: State) -> Normal:
        return self.down(0, state.latents[-1])

    def up(self, number: int, below: Tensor) -> Normal:
        return self.posterior(below)

    def down(self, number: int, z: Tensor) -> Normal:
        return normal(z @ self.weights.T + self.mean, self.noise)

    def top(self, z: Tensor) -> Normal:
        return normal(torch.zeros_like(z), 1.0)

    def log_prob(self, x: Tensor) -> Tensor:
        covariance = self.weights @ self.weights.T + self.noise * torch.eye(4, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.mean, covariance).log_prob(x)


class TwoLevels:
    """z_1 ~ N(0, 1), z_0 | z_1 ~ N(a z_1, b), x | z_0 ~ N(c z_0, d), per element; every posterior exact.

    Top-down, q(z_1|x) and then q(z_0|z_1, x); bottom-up, q(z_0|x) and then q(z_1|z_0): two factorisations
    of one posterior, which the two directions of the library must agree on.
    """

    depth = 2
    a, b, c, d = 0.8, 0.5, 1.3, 0.3

    def start(self, n: int) -> State:
        return State((), None, n)

    def infer(self, x: Tensor) -> State:
        return State((), x, len(x))

    @staticmethod
    def conditional(prior_mean: Tensor, prior: float, gain: float, noise: float, seen: Tensor) -> Normal:
        """p(z | seen) for z ~ N(prior_mean, prior), seen ~ N(gain z, noise)."""
        variance = 1 / (1 / prior + gain**2 / noise)
        return normal(variance * (prior_mean / prior + gain / noise * seen), variance)

    def rung(self, number: int, state: State) -> Rung:
        x = state.x
        if number == 1:
            zeros = torch.zeros(state.n, 3, dtype=torch.float64)
            noise = self.c**2 * self.b + self.d
            q = None if x is None else self.conditional(zeros, 1.0, self.a * self.c, noise, x)
            return Rung(normal(zeros, 1.0), q)
        mean = self.a * state.latents[0]
        q = None if x is None else self.conditional(mean, self.b, self.c, self.d, x)
        return Rung(normal(mean, self.b), q)

    def advance(self, number: int, state: State, z: Tensor) -> State:
        return state._replace(latents=(*state.latents, z))

    def likelihood(self, state: State) -> Normal:
        return self.down(0, state.latents[-1])

    def up(self, number: int, below: Tensor) -> Normal:
        marginal = self.a**2 + self.b
        if number == 0:
            return self.conditional(torch.zeros_like(below), marginal, self.c, self.d, below)
        return self.conditional(torch.zeros_like(below), 1.0, self.a, self.b, below)

    def down(self, number: int, z: Tensor) -> Normal:
        return normal(self.c * z, self.d) if number == 0 else normal(self.a * z, self.b)

    def top(self, z: Tensor) -> Normal:
        return normal(torch.zeros_like(z), 1.0)

    def log_prob(self, x: Tensor) -> Tensor:
        return normal(torch.zeros_like(x), self.c**2 * (self.a**2 + self.b) + self.d).log_prob(x)
