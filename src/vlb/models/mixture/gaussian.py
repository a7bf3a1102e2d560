"""The Gaussian mixture: the model in which everything about a diffusion is known exactly.

Noising and conditioning both stay in the family. With component covariances C_j = U_j diag(e_j) U_jᵀ,

    q(z)     = Σ_j w_j   N(α m_j,  U_j diag(α² e_j + σ²) U_jᵀ)                      for z = αx + σε,
    q(x | z) = Σ_j r_j   N(m_j + U_j diag(α e_j / (α² e_j + σ²)) U_jᵀ (z − α m_j),
                           U_j diag(e_j σ² / (α² e_j + σ²)) U_jᵀ),                  r_j ∝ w_j N(z; …)

with the same U_j throughout, so one eigendecomposition serves every noise level. `GaussianMixture`
is one such law per example; data, latents, q(z_t), q(x | z_t) and the true reverse kernel
q(z_s | z_t) are all instances of it. `MixtureDenoiser` is E[x | z_t] as a denoiser without
parameters. A diffusion model made of them is tight (Section 3.9), and the test suite measures
everything else against it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.condition import LABEL, UNCONDITIONAL, Condition
from vlb.core.distributions import LOG_2PI, Categorical, standard_normal, sum_event
from vlb.core.emissions import Conjugate
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.process import GaussianDiffusion, Scaling, along


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of J Gaussians over (D,) reals per example; made by `gaussian_mixture`.

    log_weights: (batch or 1, J), normalised; means, variances: (batch or 1, J, D), the variances along
    the columns of basis, (J, D, D). All float64, and so are its samples and log-densities.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    basis: Tensor

    def expand(self, n: int) -> "GaussianMixture":
        """The same law for each of n examples."""
        return replace(self, log_weights=self.log_weights.expand(n, -1), means=self.means.expand(n, -1, -1))

    def component(self, index: Tensor) -> "GaussianMixture":
        """The law given the component, index: (batch,); where it is −1, the whole mixture."""
        chosen = nn.functional.one_hot(index.clamp(min=0), self.log_weights.shape[1]).bool()
        log_weights = torch.where(chosen, 0.0, -torch.inf).to(self.log_weights)
        known = (index >= 0).unsqueeze(1)
        return replace(self.expand(len(index)), log_weights=torch.where(known, log_weights, self.log_weights))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per example, (batch, D)."""
        (n,) = torch.broadcast_shapes(self.log_weights.shape[:1], self.means.shape[:1], self.variances.shape[:1])
        index = Categorical(self.log_weights.expand(n, -1)).sample(generator)
        row = torch.arange(n, device=index.device)
        noise = standard_normal(torch.Size((n, self.means.shape[-1])), generator, self.means)
        scaled = self.variances.expand(n, -1, -1)[row, index].sqrt() * noise
        return self.means.expand(n, -1, -1)[row, index] + torch.einsum("nij,nj->ni", self.basis[index], scaled)

    def log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (batch, D) -> (batch,) nats."""
        return self._log_joint(self._coordinates(value)).logsumexp(1)

    def responsibilities(self, value: Tensor) -> Tensor:
        """p(j | value): (batch, D) -> (batch, J)."""
        return self._log_joint(self._coordinates(value)).softmax(1)

    def score(self, value: Tensor) -> Tensor:
        """∇ log density at `value`: (batch, D) -> (batch, D)."""
        coordinates = self._coordinates(value)
        return -self._average(self._log_joint(coordinates).softmax(1), coordinates / self.variances)

    def mean(self) -> Tensor:
        """(batch or 1, D)."""
        return torch.einsum("nj,njd->nd", self.log_weights.exp(), self.means)

    def covariance(self) -> Tensor:
        """(batch or 1, D, D)."""
        weights, centred = self.log_weights.exp(), self.means - self.mean().unsqueeze(1)
        within = torch.einsum("nj,jik,njk,jlk->nil", weights, self.basis, self.variances, self.basis)
        return within + torch.einsum("nj,nji,njl->nil", weights, centred, centred)

    def diffused(self, alpha: Tensor | float, sigma: Tensor | float) -> "GaussianMixture":
        """The law of z = αx + σε, of variance α² V[x] + σ² (Eq. 3.2–3.5). α, σ: numbers, or (batch, 1)."""
        a, s = self._level(alpha), self._level(sigma)
        return replace(self, means=a * self.means, variances=a**2 * self.variances + s**2)

    def posterior(self, z: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> "GaussianMixture":
        """The law of x given z = αx + σε: z (batch, D), α, σ numbers or (batch, 1)."""
        a, s = self._level(alpha), self._level(sigma)
        diffused = self.diffused(alpha, sigma)
        coordinates = diffused._coordinates(z)
        shift = a * self.variances / diffused.variances * coordinates
        return replace(
            self,
            log_weights=diffused._log_joint(coordinates).log_softmax(1),
            means=self.means + torch.einsum("jik,njk->nji", self.basis, shift),
            variances=self.variances * s**2 / diffused.variances,
        )

    def posterior_mean(self, z: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """E[x | z], (batch, D) in the dtype of z."""
        return self.posterior(z, alpha, sigma).mean().to(z.dtype)

    def posterior_noise(self, z: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """E[ε | z] = −σ ∇ log q(z) (Eq. 4.12–4.19), without the division by σ that would cost its digits: like z."""
        return (-self._level(sigma).squeeze(1) * self.diffused(alpha, sigma).score(z)).to(z.dtype)

    def _level(self, value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=self.means.device).reshape(-1, 1, 1)

    def _coordinates(self, value: Tensor) -> Tensor:
        """`value` seen from each component, along its axes: (batch, J, D)."""
        return torch.einsum("jik,nji->njk", self.basis, value.double().flatten(1).unsqueeze(1) - self.means)

    def _log_joint(self, coordinates: Tensor) -> Tensor:
        quadratic = (coordinates**2 / self.variances + self.variances.log() + LOG_2PI).sum(-1)
        return self.log_weights - 0.5 * quadratic

    def _average(self, weights: Tensor, coordinates: Tensor) -> Tensor:
        return torch.einsum("nj,jik,njk->ni", weights, self.basis, coordinates)


def gaussian_mixture(weights: Tensor, means: Tensor, covariances: Tensor) -> GaussianMixture:
    """The mixture Σ_j weights_j N(means_j, covariances_j), one law for a batch of one.

    weights: (J,), positive, normalised here; means: (J, D); covariances: (J, D, D), or (J, D) diagonals.
    Raises `UserError` where the weights are not positive or a covariance is not positive definite.
    """
    weights, means, covariances = weights.double(), means.double(), covariances.double()
    if covariances.ndim == 2:
        covariances = torch.diag_embed(covariances)
    if not bool((weights > 0).all()):
        raise UserError(f"the weights of a mixture must be positive, not {weights.tolist()}")
    if not torch.allclose(covariances, covariances.mT):
        raise UserError("the covariances of a mixture must be symmetric")
    variances, basis = torch.linalg.eigh(covariances)
    if not bool((variances > 0).all()):
        raise UserError("the covariances of a mixture must be positive definite")
    return GaussianMixture(
        (weights / weights.sum()).log().unsqueeze(0), means.unsqueeze(0), variances.unsqueeze(0), basis
    )


class MixtureDenoiser(nn.Module):
    """E[x | z_t] and E[ε | z_t] of mixture data under a scaling: what a perfect network would learn.

    With `decodes`, predictions carry q(x | z_t), so that a model's p(x | z_0) is exact as well. A
    condition's label says which component x is from.
    """

    takes = LABEL

    def __init__(self, mixture: GaussianMixture, scaling: Scaling, decodes: bool = True) -> None:
        super().__init__()
        self.scaling = scaling
        self.decodes = decodes
        for name in ("log_weights", "means", "variances", "basis"):
            self.register_buffer(name, getattr(mixture, name))

    @property
    def mixture(self) -> GaussianMixture:
        """The law of x, on the device this module is on."""
        parts = (self.get_buffer(name).double() for name in ("log_weights", "means", "variances", "basis"))
        return GaussianMixture(*parts)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1) -> `Prediction`; the law is over flattened z."""
        alpha, sigma = (level.flatten(1) for level in self.scaling(along(gamma.expand(z.shape[0], -1), z)))
        law, flat = self.mixture, z.flatten(1)
        if condition.label is not None:
            law = law.component(condition.label)
        posterior = law.posterior(flat, alpha, sigma)
        x = posterior.mean().to(z.dtype).view_as(z)
        eps = law.posterior_noise(flat, alpha, sigma).view_as(z)
        return Prediction(x, eps, posterior if self.decodes else None)


@dataclass(frozen=True, eq=False)
class Marginals(Conjugate):
    """The elements of x under a mixture, each by itself: Σ_j w_j N(m_jd, C_jdd), what is right of a single element."""

    joint: GaussianMixture

    @property
    def mean(self) -> Tensor:
        return self.joint.mean()

    @property
    def variance(self) -> Tensor:
        weights = self.joint.log_weights.exp().unsqueeze(-1)
        spread = (self.joint.means - self.mean.unsqueeze(1)).square()
        return (weights * (self._variances + spread)).sum(1)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "Marginals":
        """After a look at all elements together."""
        return Marginals(self.joint.posterior(z, alpha, sigma))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per example, (batch, D), of each element by itself."""
        means, variances = self.joint.means.mT, self._variances.mT
        log_weights = self.joint.log_weights.unsqueeze(1).expand(means.shape)
        chosen = Categorical(log_weights).sample(generator).unsqueeze(-1)
        mean, variance = (part.gather(-1, chosen).squeeze(-1) for part in (means, variances.expand(means.shape)))
        return mean + variance.sqrt() * standard_normal(mean.shape, generator, mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """(batch, D) -> (batch,) nats."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The density of each element, (batch, D) nats."""
        error = (value.double().unsqueeze(1) - self.joint.means).square() / self._variances
        each = self.joint.log_weights.unsqueeze(-1) - 0.5 * (error + self._variances.log() + LOG_2PI)
        return each.logsumexp(1)

    @property
    def _variances(self) -> Tensor:
        """C_jdd, (batch or 1, J, D)."""
        return torch.einsum("jdk,njk->njd", self.joint.basis.square(), self.joint.variances)


class MarginalDenoiser(MixtureDenoiser):
    """The same, which says of p(x | z_t) what a network's head does: the law of each element given all of z_t."""

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, D), γ (batch or 1, 1) -> `Prediction`."""
        x, eps, joint = super().forward(z, gamma, condition)
        return Prediction(x, eps, Marginals(cast(GaussianMixture, joint)))


def exact_prior(mixture: GaussianMixture, process: GaussianDiffusion) -> Callable[[Tensor], GaussianMixture]:
    """q(z_1), the marginal of the process at its noisy end, as the prior of a `DiffusionModel`."""
    alpha, sigma = process.alpha_sigma(torch.ones(1, dtype=torch.float64), mixture.mean())
    law = mixture.diffused(alpha, sigma)
    return lambda z: law.expand(len(z))


def exact_reverse(
    mixture: GaussianMixture, process: GaussianDiffusion, z_t: Tensor, s: Tensor, t: Tensor
) -> GaussianMixture:
    """The true reverse kernel q(z_s | z_t), a mixture where the model has one Gaussian: z_t (batch, D)."""
    alpha, sigma = process.alpha_sigma(s, z_t)
    transition = process.transition(torch.ones_like(z_t[:, :1], dtype=torch.float64), s, t)
    ratio, noise = transition.mean, (0.5 * transition.log_variance).exp()
    return mixture.diffused(alpha, sigma).posterior(z_t, ratio, noise)
