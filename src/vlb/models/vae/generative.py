"""Generative networks of hierarchies: what p is made of, whoever infers.

A generator is walked from the top. Its features h summarise the latents chosen so far; `prior` reads
p(z_rung | above) from them, `advance` takes a latent in, `decode` gives p(x | all latents). In
`MarkovGenerator` the features *are* the latent chosen last (Eq. 2.12), so that inference may go either
way; in `ResidualGenerator` they keep everything above (Kingma et al. 2016, Child 2021).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.distributions import Distribution, Normal
from vlb.core.emissions import Emission, Law

LOG_VARIANCE_LIMIT = 8.0


def normal(parameters: Tensor) -> Normal:
    """A Gaussian from a network's (batch, 2C, …): means, then log-variances squashed into ±8 nats."""
    mean, raw = parameters.chunk(2, 1)
    return Normal(mean, LOG_VARIANCE_LIMIT * torch.tanh(raw / LOG_VARIANCE_LIMIT))


class Prior(Protocol):
    """p(z) of the top latent for a batch like its argument (batch, *latent)."""

    def __call__(self, like: Tensor) -> Distribution: ...


def standard_prior(like: Tensor) -> Normal:
    """N(0, I)."""
    zeros = torch.zeros_like(like)
    return Normal(zeros, zeros)


class Generator(Protocol):
    """What the hierarchies below ask of their generative network (an `nn.Module`)."""

    @property
    def markov(self) -> bool:
        """Whether its features are the latent chosen last, so that inference may go either way."""

    @property
    def depth(self) -> int: ...

    @property
    def likelihood(self) -> Emission: ...

    def start(self, n: int) -> Tensor: ...

    def prior(self, number: int, features: Tensor) -> Distribution: ...

    def advance(self, number: int, features: Tensor, z: Tensor) -> Tensor: ...

    def decode(self, features: Tensor) -> Law: ...


class MarkovGenerator(nn.Module):
    """p(z_top) Π p(z_i | z_{i+1}) p(x | z_0) (Eq. 2.13). Its features are the latent above.

    latents: the shape of z_0, z_1, …; transitions: one network fewer, i-th from z_{i+1} to the 2C numbers of z_i;
    decoder: from z_0 to what the likelihood asks of a network. Raises `UserError` without latents.
    """

    markov = True

    def __init__(
        self,
        latents: Sequence[tuple[int, ...]],
        transitions: Sequence[nn.Module],
        decoder: nn.Module,
        likelihood: nn.Module,
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        check_latents(latents)
        if len(transitions) != len(latents) - 1:
            raise ValueError(f"{len(latents)} rungs have {len(latents) - 1} transitions, not {len(transitions)}")
        self.latents = tuple(tuple(shape) for shape in latents)
        self.transitions = nn.ModuleList(transitions)
        self.decoder = decoder
        self.likelihood: Emission = likelihood  # type: ignore[assignment]
        self.top: Prior = prior or standard_prior
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    @property
    def depth(self) -> int:
        return len(self.latents)

    def start(self, n: int) -> Tensor:
        return self.get_buffer("anchor").expand(n, *self.latents[-1])

    def prior(self, number: int, features: Tensor) -> Distribution:
        return self.top(features) if number == self.depth - 1 else normal(self.transitions[number](features))

    def advance(self, number: int, features: Tensor, z: Tensor) -> Tensor:
        return z

    def decode(self, features: Tensor) -> Law:
        return self.likelihood.law(self.decoder(features))


class ResidualGenerator(nn.Module):
    """p(z_i | all latents above), through features to which every latent adds (Kingma et al. 2016).

    top: the learned features above the top latent, (1, *features); priors, joins: a network per rung, rung 0
    first, from h to the 2C numbers of z_i and from (h, z_i) to the features of rung i − 1; decoder: from the last
    features to what the likelihood asks of a network.
    """

    markov = False

    def __init__(
        self,
        top: Tensor,
        priors: Sequence[nn.Module],
        joins: Sequence[nn.Module],
        decoder: nn.Module,
        likelihood: nn.Module,
    ) -> None:
        super().__init__()
        check_latents(priors)
        self.start_features = nn.Parameter(top)
        self.priors, self.joins = nn.ModuleList(priors), nn.ModuleList(joins)
        self.decoder = decoder
        self.likelihood: Emission = likelihood  # type: ignore[assignment]

    @property
    def depth(self) -> int:
        return len(self.priors)

    def start(self, n: int) -> Tensor:
        return self.start_features.expand(n, *self.start_features.shape[1:])

    def prior(self, number: int, features: Tensor) -> Distribution:
        return normal(self.priors[number](features))

    def advance(self, number: int, features: Tensor, z: Tensor) -> Tensor:
        joined: Tensor = self.joins[number](features, z)
        return joined

    def decode(self, features: Tensor) -> Law:
        return self.likelihood.law(self.decoder(features))


def check_latents(latents: Sequence[object]) -> None:
    """Raises `UserError` where there are no rungs, or a rung has no latents."""
    if not latents or any(isinstance(shape, tuple) and min(shape, default=0) < 1 for shape in latents):
        raise UserError(f"a hierarchy needs at least one rung of at least one latent, not {list(latents)}")
