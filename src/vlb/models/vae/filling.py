"""What a hierarchy says of elements that are not known, where its encoder sees all of x: population Monte Carlo.

Each of S draws has its own guess x_m of what is not known, and z is drawn from q(z | x_k, x_m) or, of every eighth
draw, from p(z). Under the mixture of both (Hesterberg 1995),

    w = p(x_k, z) / (α p(z) + (1 − α) q(z | x_k, x_m)),

which is p(x_k) in expectation whatever x_m is, and never above p(x_k | z) / α: an encoder that is narrower than the
posterior given x_k, or was never shown such a guess, costs draws and makes no law wrong. The first guesses are samples
of the model; those of each later round are drawn from p(x_m | z) at the z that were likely in the one before (Cappé et
al. 2004). The last round's Σ_s w_s p(x_m | z_s) / Σ_s w_s goes to p(x_m | x_k) as S grows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlb.core.distributions import Categorical
from vlb.core.emissions import Law, Masked

DRAWS = 128
ROUNDS = 6
FROM_PRIOR = 8  # one draw in so many is from p(z)
PIECE = 1 << 24  # numbers that networks give at once, 64 MiB


class Latents(Protocol):
    """One draw of all latents for each example."""

    @property
    def log_p(self) -> Tensor:
        """log p(z), (batch,) nats."""

    @property
    def log_q(self) -> Tensor:
        """log q(z | x), likewise."""

    @property
    def features(self) -> Tensor:
        """What they are decoded from, (batch, …)."""


class Proposing(Protocol):
    """A hierarchy whose latents are drawn from q, or from p."""

    def proposed(self, x: Tensor, prior: Tensor, generator: torch.Generator) -> Latents:
        """Latents from p(z) where `prior` (batch,) is True and from q(z | x) elsewhere, of x (batch, *shape)."""

    def decoded(self, features: Tensor) -> Law:
        """p(x | z)."""

    @property
    def output_numbers(self) -> int:
        """How many numbers p(x | z) of one example is made of."""

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Population:
    """Σ_s w_s p(x | z_s): see the module. x: (n, *shape), looked at where it is `known`, (n, *shape) bool; log_weights:
    (n, S), unnormalised; features: of the draws, (n·S, …), the S of an example after each other."""

    model: Proposing
    x: Tensor
    known: Tensor
    log_weights: Tensor
    features: Tensor
    drawn = "weighted draws of the latents"

    @property
    def draws(self) -> int:
        """S of each example."""
        return self.log_weights.shape[1]

    @property
    def effective(self) -> Tensor:
        """How many even draws say as much, (Σ w)² / Σ w² of each example: (n,), between 1 and S."""
        return 1 / self.log_weights.softmax(1).square().sum(1)

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all elements that are not known, together: (n, *shape)."""
        return self.guesses(1, generator)

    @torch.no_grad()
    def guesses(self, each: int, generator: torch.Generator) -> Tensor:
        """`each` draws of every example, one after the other, (n·each, *shape)."""
        n, draws = self.log_weights.shape
        place = Categorical(self.log_weights.repeat_interleave(each, 0)).sample(generator)
        chosen = torch.arange(n, device=place.device).repeat_interleave(each) * draws + place
        x, known = self.x.repeat_interleave(each, 0), self.known.repeat_interleave(each, 0)
        parts = [self.model.decoded(self.features[chosen[at]]).sample(generator) for at in pieces(self.model, len(x))]
        return torch.where(known, x, torch.cat(parts).view(x.shape).to(x.dtype))


@torch.no_grad()
def population(
    model: Proposing, x: Tensor, known: Tensor, generator: torch.Generator, draws: int = DRAWS, rounds: int = ROUNDS
) -> Population:
    """The law of what is not `known` (n, *shape) of x (n, *shape), by S = `draws` draws of the latents of each."""
    wide, there = x.repeat_interleave(draws, 0), known.repeat_interleave(draws, 0)
    parts = [model.sample(at.stop - at.start, generator=generator) for at in pieces(model, len(wide))]
    guess = torch.where(there, wide, torch.cat(parts).to(wide))
    found = _weighed(model, x, known, guess, generator)
    for _ in range(rounds - 1):
        found = _weighed(model, x, known, found.guesses(draws, generator), generator)
    return found


def _weighed(model: Proposing, x: Tensor, known: Tensor, guess: Tensor, generator: torch.Generator) -> Population:
    """One round, by guesses (n·S, *shape)."""
    draws = len(guess) // len(x)
    prior = (torch.arange(len(guess), device=x.device) % draws) % FROM_PRIOR == 0
    share = math.ceil(draws / FROM_PRIOR) / draws
    weights, features = [], []
    for at in pieces(model, len(guess)):
        latents = model.proposed(guess[at], prior[at], generator)
        log_p, log_q = latents.log_p.double(), latents.log_q.double()
        proposal = log_p + math.log(share)
        if share < 1:
            proposal = torch.logaddexp(proposal, log_q + math.log1p(-share))
        rows = torch.arange(at.start, at.stop, device=x.device) // draws
        of_known = Masked(model.decoded(latents.features), known[rows]).log_prob(x[rows]).double()
        weights.append(log_p + of_known - proposal)
        features.append(latents.features)
    return Population(model, x, known, torch.cat(weights).view(len(x), draws), torch.cat(features))


def pieces(model: Proposing, n: int) -> Iterator[slice]:
    """Of n draws, as many at once as fit in memory."""
    size = max(1, PIECE // model.output_numbers)
    return (slice(start, min(n, start + size)) for start in range(0, n, size))
