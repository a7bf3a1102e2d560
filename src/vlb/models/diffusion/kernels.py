"""Reverse kernels p(z_s | z_t): what a model makes of its prediction at z_t, one step down a grid.

The true q(z_s | z_t) = E over p(x | z_t) of q(z_s | z_t, x) = N(μ_Q(z_t, x), σ_Q²), with μ_Q = a z_t + b x
(Eq. 3.48, A.21; b = α_s c, σ_Q² = σ_s² c). Three ways to stand in for that average:

* `Standard`: x̂ in place of x (Eq. 3.55), the Gaussian whose KL is the noise error;
* `MomentMatched`: the Gaussian with the right mean and variance, σ_Q² + b² Var[x | z_t];
* `ExactMixture`: the average itself, element by element, Σ_k w_k N(μ_Q(z_t, v_k), σ_Q²).

All have the same limit as the step s → t; on few rungs the second and third are far tighter, and
free where the head says what p(x | z_t) is. With independent elements the third is exact.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.distributions import Distribution, Normal, NormalMixture
from vlb.core.emissions import Conjugate, Mixed
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.process import GaussianDiffusion


class ReverseKernel(Protocol):
    """p(z_s | z_t) from the prediction at z_t (batch, *shape); times s < t are (batch,) or (1,)."""

    @property
    def is_noise_error(self) -> bool:
        """Whether its KL is the noise error of x̂, which asks for no p(x | z_t)."""

    def __call__(
        self, process: GaussianDiffusion, z_t: Tensor, s: Tensor, t: Tensor, prediction: Prediction
    ) -> Distribution: ...


class Offered:
    """A kernel that people name by its tag."""

    is_noise_error: ClassVar = False

    def __str__(self) -> str:
        return KERNELS.tag(self)


@dataclass(frozen=True)
class Standard(Offered):
    """N(μ_Q(z_t, x̂), σ_Q²): q(z_s | z_t, x) with x̂ in place of x (Eq. 3.55–3.59).

    x̂ may come of any parameterization: the rows of Table 4.1 are one mean (Eq. 4.1, 4.2, 4.11, 4.20, 4.25, 4.38).
    """

    is_noise_error: ClassVar = True

    def __call__(self, process: GaussianDiffusion, z_t: Tensor, s: Tensor, t: Tensor, prediction: Prediction) -> Normal:
        return process.posterior(z_t, prediction.x, s, t)


@dataclass(frozen=True)
class MomentMatched(Offered):
    """N(μ_Q(z_t, x̂), σ_Q² + b² Var[x | z_t]): the Gaussian nearest to the true kernel, per element.

    Raises `UserError` where the prediction says nothing of p(x | z_t).
    """

    def __call__(self, process: GaussianDiffusion, z_t: Tensor, s: Tensor, t: Tensor, prediction: Prediction) -> Normal:
        standard = process.posterior(z_t, prediction.x, s, t)
        # b²/σ_Q² = c SNR_s, so that the variance grows by a factor that log1p keeps exact near one.
        alpha, sigma = process.alpha_sigma(s, z_t)
        gain = process.fraction(s, t, z_t) * (alpha / sigma) ** 2
        return Normal(standard.mean, standard.log_variance + torch.log1p(gain * moments_of(prediction).variance))


@dataclass(frozen=True)
class ExactMixture(Offered):
    """Σ_k w_k N(μ_Q(z_t, v_k), σ_Q²), w the denoiser's p(x | z_t), each element by itself.

    For a mixture of Gaussians it is the mixture of its Gaussians' kernels, N(μ_Q(z_t, m), σ_Q² + b² s²):
    as fine as the law, though blind to the bins. Raises `UserError` where the prediction says nothing of
    p(x | z_t).
    """

    def __call__(
        self, process: GaussianDiffusion, z_t: Tensor, s: Tensor, t: Tensor, prediction: Prediction
    ) -> NormalMixture:
        log_weights, means, log_stds = law_of(prediction).components
        origin = process.posterior(z_t.double(), torch.zeros_like(z_t, dtype=torch.float64), s, t)
        alpha, _ = process.alpha_sigma(s, z_t)
        shift = alpha * process.fraction(s, t, z_t)
        offsets = shift.to(means.dtype).unsqueeze(-1) * means
        spread = torch.exp(2 * (log_stds + (shift.log() - 0.5 * origin.log_variance).unsqueeze(-1)))
        return NormalMixture(log_weights, origin.mean, offsets, origin.log_variance.unsqueeze(-1) + torch.log1p(spread))


# In this order for ever: archives name a kernel by its number.
KERNELS = Family("reverse kernel", {"standard": Standard, "moment": MomentMatched, "mixture": ExactMixture})


def law_of(prediction: Prediction) -> Mixed:
    """The denoiser's p(x | z_t) where it is a mixture per element. Raises `UserError` otherwise."""
    if isinstance(prediction.law, Mixed):
        return prediction.law
    if isinstance(prediction.law, Conjugate):
        raise UserError(
            "the kernel ExactMixture is of numbers that are independent given z, and the numbers of a table's category "
            "are not: use the kernel MomentMatched (--kernel moment) or Standard (--kernel standard)"
        )
    raise _nothing_known()


def moments_of(prediction: Prediction) -> Conjugate:
    """The denoiser's p(x | z_t) where its moments are known. Raises `UserError` otherwise."""
    if isinstance(prediction.law, Conjugate):
        return prediction.law
    raise _nothing_known()


def _nothing_known() -> UserError:
    return UserError(
        "this model predicts a single x̂ and nothing of how far x may be from it, which the kernels MomentMatched "
        "and ExactMixture are made of: use the kernel Standard (--kernel standard), or train with "
        "head=posterior or head=mixture"
    )
