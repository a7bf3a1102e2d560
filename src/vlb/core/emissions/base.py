"""How x meets a model: the numbers that it enters as, and the laws that are read from a network's output.

An `Emission` embeds x, says how many numbers per element it asks of a network, and makes a law p(x | ·) of them. A law
is `Conjugate` where it is closed under a noisy look at x, `given(z, α, σ)`; one whose embedded x is a mixture of
Gaussians or points, element by element, is `Mixed`: its `components` say the exact reverse kernel. A diffusion model's
posterior head and a VAE's decoder are one family: the decoder's law is the same without the look.

Masses and densities are never mixed: every law here but a Gaussian's is of masses over the levels 0 … K−1.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from vlb.core.distributions import Distribution
from vlb.core.initial import Examples


class Components(NamedTuple):
    """Σ_k w_k N(means_k, exp(2 log_stds_k)) per element, the law of the embedded x; a log_std of −∞ is a point.

    log_weights: (batch, *shape, K), unnormalised; means and log_stds broadcast against it.
    """

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor


class Law(Distribution, Protocol):
    """p(x | ·), each element by itself."""

    def log_probs(self, value: Tensor) -> Tensor:
        """log mass or density of each element of `value` (batch, *shape), in nats: who sums says over which."""


class Conjugate(ABC):
    """A `Law` that stays one of its family after a noisy look at the embedded x, whose moments are known."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Of the embedded x, (batch, *latent)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Of each number of the embedded x, (batch, *latent)."""

    @abstractmethod
    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Self:
        """The law given z = α·embedded + σ·ε as well: z (batch, *latent), α and σ broadcast against it (Bayes)."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor: ...

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor: ...

    @abstractmethod
    def log_probs(self, value: Tensor) -> Tensor: ...


class Mixed(Conjugate):
    """A law whose embedded x has a mixture for each element."""

    @property
    @abstractmethod
    def components(self) -> Components: ...

    @abstractmethod
    def mode(self) -> Tensor:
        """A value of each element that is likely, (batch, *shape): the likeliest level where levels are listed, else
        the one nearest to the mean, of real numbers the mean."""


class Embedding(Protocol):
    """The numbers that x enters a model as."""

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, *shape) as floating-point numbers (batch, *latent); most keep the shape."""

    def wide(self, elements: Tensor) -> Tensor:
        """What is said of elements (batch, *shape), said of the numbers that they enter as, (batch, *latent)."""

    def roles(self, role: Tensor) -> Tensor:
        """The roles of numbers (batch, *latent), of those of elements (batch, *shape)."""

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Law:
        """p(x | z = α·embedded + σ·ε) where every x was as likely as any other before."""


class Continuum(Protocol):
    """How a mixture of Gaussians of each embedded element is a law of x."""

    def narrowest(self, like: Tensor) -> Tensor:
        """The least standard deviation of a component, () or (D,), with the dtype and device of `like`."""

    def deviation(self, data: Examples) -> float:
        """The standard deviation of an embedded element of some examples, about the mean of its place; of few examples,
        more about that of all."""

    def mixture(self, log_weights: Tensor, means: Tensor, variances: Tensor) -> Mixed:
        """The law, of (batch, *shape, M) each."""


class Emission(Protocol):
    """A law of x from the output of a network."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that its x may come with: roles, where some elements may be absent or known."""

    @property
    def in_units(self) -> frozenset[str]:
        """The names of the weights that are in the units of the data."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of what is asked of a network about an example of a shape."""

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, *shape) as the numbers that a network sees."""

    def law(self, out: Tensor) -> Law:
        """p(x | ·) from the network's output (batch, *output_shape)."""


class ConjugateEmission(Emission, Protocol):
    """An emission whose laws are closed under a noisy look at x."""

    def law(self, out: Tensor) -> Conjugate: ...
