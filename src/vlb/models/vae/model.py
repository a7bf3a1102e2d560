"""Variational autoencoders of any depth, inferred from the top down or from the bottom up (Section 2).

Both classes have the same generator. What differs is the factorisation of q(z | x), and with it what
can be known in closed form:

    TopDownVAE    q(z_top | x) … q(z_i | above, x)   (Eq. 2.27)   a KL per rung, through `bound.elbo`
    BottomUpVAE   q(z_0 | x) … q(z_i | z_{i−1})      (Eq. 2.16)   log-ratios, through `bound.climb_elbo`

A plain VAE (Eq. 2.9) is either of them at depth 1. Sampling is the same descent for both – and for a
diffusion model.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.bound import Bound, climb_elbo, climb_log_weight, descent_log_weight, elbo
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition, refuse_others
from vlb.core.distributions import Distribution, Normal
from vlb.core.emissions import Law, counted
from vlb.core.hierarchy import Choose, Rung, climb, descend, from_posterior, from_prior, last_state
from vlb.core.terms import BoundKind, TermPath
from vlb.models.vae.filling import Population, population
from vlb.models.vae.generative import Generator, MarkovGenerator, normal


class FeatureState(NamedTuple):
    """The generator's features, the encoder's per rung (rung 0 first) where x is known, and what was told.

    known: the encoder's features of the known elements alone, where there are any: what then takes the place of the
    prior is made of them.
    """

    features: Tensor
    evidence: tuple[Tensor, ...] | None
    condition: Condition = UNCONDITIONAL
    known: tuple[Tensor, ...] | None = None

    def repeat(self, n: int) -> "FeatureState":
        """Each example's state n times in a row."""
        many = [
            None if parts is None else tuple(part.repeat_interleave(n, 0) for part in parts)
            for parts in (self.evidence, self.known)
        ]
        return FeatureState(self.features.repeat_interleave(n, 0), many[0], self.condition.repeat(n), many[1])


class Inferred(NamedTuple):
    """One rung of one draw from q(z | x): its conditional and what was drawn."""

    q: Distribution
    z: Tensor


class Proposal(NamedTuple):
    """One draw of all latents of a batch: log p(z) and log q(z | x), (batch,) nats, and what they are decoded from."""

    log_p: Tensor
    log_q: Tensor
    features: Tensor


class VariationalHierarchy(nn.Module, ABC):
    """What both directions of inference share: the generator, the descent from it, sampling, the bound's terms.

    shape: of one example.
    """

    bound = BoundKind("variational bound on")
    takes = NOTHING

    def __init__(self, generator: Generator, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.generator = generator
        self.shape = tuple(shape)

    @property
    def depth(self) -> int:
        """The number of rungs, a latent each."""
        return self.generator.depth

    def start(self, n: int, condition: Condition = UNCONDITIONAL) -> FeatureState:
        """A descent without data: generation of n examples."""
        refuse_others(condition, self.takes, "this hierarchy")
        return FeatureState(self.generator.start(n), None, condition)

    @abstractmethod
    def rung(self, number: int, state: FeatureState) -> Rung:
        """p(z_rung | above), and q(z_rung | above, x) where it is known."""

    def embed(self, x: Tensor) -> Tensor:
        """x as numbers, in the precision of the networks."""
        return self.generator.likelihood.embed(x).to(next(self.parameters()).dtype)

    def advance(self, number: int, state: FeatureState, z: Tensor) -> FeatureState:
        return state._replace(features=self.generator.advance(number, state.features, z))

    def likelihood(self, state: FeatureState) -> Distribution:
        """p(x | z) of what is modelled: of all of x, unless the condition has roles."""
        return counted(self.generator.decode(state.features), state.condition)

    @property
    def in_units(self) -> frozenset[str]:
        """The names of the weights that are in the units of the data."""
        return frozenset(f"generator.likelihood.{name}" for name in self.generator.likelihood.in_units)

    @abstractmethod
    def bounds(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Bound:
        """−VLB by one draw of all latents."""

    @abstractmethod
    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """log p(x, z) − log q(z | x) at one draw of all latents, (batch,) nats."""

    @abstractmethod
    def inferred(self, x: Tensor, generator: torch.Generator, condition: Condition = UNCONDITIONAL) -> list[Inferred]:
        """One draw from q(z | x), rung 0 first."""

    @abstractmethod
    def proposed(self, x: Tensor, prior: Tensor, generator: torch.Generator) -> Proposal:
        """Latents from p(z) where `prior` (batch,) is True, from q(z | x) elsewhere, of x (batch, *shape)."""

    def decoded(self, features: Tensor) -> Law:
        """p(x | z)."""
        return self.generator.decode(features)

    @property
    def output_numbers(self) -> int:
        """How many numbers p(x | z) of one example is made of."""
        return math.prod(self.generator.likelihood.output_shape(self.shape))

    def unknown(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Population:
        """See `protocols.Filling`."""
        return population(self, x, known, generator)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """Terms of −VLB, (batch,) nats each: `reconstruction`, and a `("kl", i)` per rung, i = 1 next to the data."""
        bound = self.bounds(x, condition, generator)
        return {("reconstruction",): bound.reconstruction} | {
            ("kl", i + 1): kl for i, kl in enumerate(bound.kl.flip(1).unbind(1))
        }

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n ancestral samples, (n, *shape); `steps` is ignored, a hierarchy has its rungs."""
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        return self._generated(self.start(n, condition), from_prior(generator), generator)

    @torch.no_grad()
    def cooled(self, n: int, temperatures: Sequence[float], generator: torch.Generator) -> Tensor:
        """n samples (n, *shape) at temperatures, one for all rungs or one per rung, rung 0 first: see `tempered`."""
        return self._generated(self.start(n), tempered(temperatures, self.depth, generator), generator)

    def _generated(self, start: FeatureState, choose: Choose, generator: torch.Generator) -> Tensor:
        state = last_state(descend(self, start, choose))
        return self.likelihood(state).sample(generator).view(len(start.features), *self.shape)


class TopDownVAE(VariationalHierarchy):
    """q follows the order of p (Eq. 2.27): the encoder's features of a rung, merged with what is above.

    encoder: x as numbers (batch, *shape) -> features per rung, rung 0 first; merges: one per rung (see `merge`).
    """

    def __init__(
        self, generator: Generator, encoder: nn.Module, merges: Sequence[nn.Module], shape: tuple[int, ...]
    ) -> None:
        super().__init__(generator, shape)
        if len(merges) != generator.depth:
            raise ValueError(f"{generator.depth} rungs need as many merges, not {len(merges)}")
        self.encoder = encoder
        self.merges = nn.ModuleList(merges)

    def infer(self, x: Tensor, condition: Condition = UNCONDITIONAL) -> FeatureState:
        """A descent that knows x (batch, *shape)."""
        refuse_others(condition, self.takes, "this hierarchy")
        evidence = self.encoder(self.embed(x))
        return FeatureState(self.generator.start(len(x)), tuple(evidence), condition)

    def rung(self, number: int, state: FeatureState) -> Rung:
        p = self.generator.prior(number, state.features)
        if state.evidence is None:
            return Rung(p, None)
        return Rung(p, self.merges[number](state.evidence[number], p, state.features))

    def bounds(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Bound:
        return elbo(self, self.infer(x, condition), x, generator)

    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        return descent_log_weight(self, self.infer(x, condition), x, generator)

    def inferred(self, x: Tensor, generator: torch.Generator, condition: Condition = UNCONDITIONAL) -> list[Inferred]:
        steps = list(descend(self, self.infer(x, condition), from_posterior(generator)))
        return [Inferred(step.q, step.z) for step in reversed(steps) if step.q is not None]

    def proposed(self, x: Tensor, prior: Tensor, generator: torch.Generator) -> Proposal:
        of_p, of_q = from_prior(generator), from_posterior(generator)
        state = self.infer(x)
        log_p = log_q = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for step in descend(self, state, lambda number, rung: mixed(prior, of_p(number, rung), of_q(number, rung))):
            assert step.q is not None
            log_p, log_q, state = log_p + step.p.log_prob(step.z), log_q + step.q.log_prob(step.z), step.state
        return Proposal(log_p, log_q, state.features)


class BottomUpVAE(VariationalHierarchy):
    """q is Markov from the data up (Eq. 2.16), against the order of p; `climb` scores it.

    encoders: one network per rung, the first from x as numbers to the 2C numbers of z_0, the i-th from z_{i−1}.
    A descent knows no q: it generates.
    """

    def __init__(self, generator: MarkovGenerator, encoders: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__(generator, shape)
        if not generator.markov:
            raise UserError("bottom-up inference needs a Markov generative network: use inference=top-down with others")
        if len(encoders) != generator.depth:
            raise ValueError(f"{generator.depth} rungs need as many encoders, not {len(encoders)}")
        self.encoders = nn.ModuleList(encoders)

    def rung(self, number: int, state: FeatureState) -> Rung:
        return Rung(self.generator.prior(number, state.features), None)

    def up(self, number: int, below: Tensor) -> Distribution:
        """q(z_0 | x), or q(z_i | z_{i−1})."""
        return normal(self.encoders[number](self.embed(below) if number == 0 else below))

    def down(self, number: int, z: Tensor) -> Distribution:
        """p(x | z_0), or p(z_{i−1} | z_i)."""
        return self.generator.decode(z) if number == 0 else self.generator.prior(number - 1, z)

    def top(self, z: Tensor) -> Distribution:
        """p(z_top)."""
        return self.generator.prior(self.depth - 1, z)

    def bounds(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Bound:
        refuse_others(condition, self.takes, "this hierarchy")
        return climb_elbo(self, x, generator)

    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        refuse_others(condition, self.takes, "this hierarchy")
        return climb_log_weight(self, x, generator)

    def inferred(self, x: Tensor, generator: torch.Generator, condition: Condition = UNCONDITIONAL) -> list[Inferred]:
        refuse_others(condition, self.takes, "this hierarchy")
        return [Inferred(step.q, step.z) for step in climb(self, x, lambda _, q: q.sample(generator))]

    def proposed(self, x: Tensor, prior: Tensor, generator: torch.Generator) -> Proposal:
        of_p = {step.number: step.z for step in descend(self, self.start(len(x)), from_prior(generator))}
        steps = list(climb(self, x, lambda number, q: mixed(prior, of_p[number], q.sample(generator))))
        log_p = self.top(steps[-1].z).log_prob(steps[-1].z)
        for step in steps[1:]:
            log_p = log_p + step.p.log_prob(step.below)
        return Proposal(log_p, torch.stack([step.q.log_prob(step.z) for step in steps]).sum(0), steps[0].z)


def mixed(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a in the rows (batch,) that are True, b in the others."""
    return torch.where(rows.view(-1, *[1] * (a.ndim - 1)), a, b)


def tempered(temperatures: Sequence[float], depth: int, generator: torch.Generator) -> Choose:
    """Choose each latent from p with its standard deviation multiplied by the temperature of its rung.

    temperatures: one for all rungs, or one per rung, rung 0 first. Raises `UserError` for others.
    """
    factors = list(temperatures) * (depth if len(temperatures) == 1 else 1)
    if len(factors) != depth or not all(math.isfinite(factor) and factor >= 0 for factor in factors):
        raise UserError(
            f"a hierarchy of {depth} rungs has one temperature ≥ 0 for all of them or {depth}, the data's first, "
            f"not {list(temperatures)}"
        )

    def choose(number: int, rung: Rung) -> Tensor:
        if not isinstance(rung.p, Normal):
            raise UserError(f"rung {number} has no Gaussian prior to cool: leave the temperatures out")
        z = rung.p.sample(generator)
        return rung.p.mean + factors[number] * (z - rung.p.mean)

    return choose
