"""Noisy examples, and what is measured of a prediction of theirs: the errors and surprises that a bound is a sum of."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition, joined
from vlb.core.distributions import standard_normal, sum_event
from vlb.core.emissions import Law, counted
from vlb.core.emissions.laws import GaussianMixture
from vlb.models.diffusion.denoiser import Headed, Prediction
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along
from vlb.models.diffusion.roles import Modelled
from vlb.models.protocols import offers


class Noisy(NamedTuple):
    """Examples at noise levels γ (batch, 1 or D): z = αx + σε, and a weight (batch, 1 or D) on their errors."""

    x: Tensor
    gamma: Tensor
    weight: Tensor
    eps: Tensor
    z: Tensor
    condition: Condition
    held: Modelled

    def rows(self, keep: Tensor) -> "Noisy":
        """Some of them."""
        x, gamma, weight, eps, z, condition, held = self
        return Noisy(x[keep], gamma[keep], weight[keep], eps[keep], z[keep], condition.take(keep), held.rows(keep))


def noised(model: DiffusionModel, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator) -> Noisy:
    """x (batch, *shape) at times t (batch,), weighted by γ′(t)."""
    embedded = model.embedding.embed(x)
    return noised_by(model, x, embedded, t, condition, standard_normal(embedded.shape, generator, embedded))


def noised_by(
    model: DiffusionModel, x: Tensor, embedded: Tensor, t: Tensor, condition: Condition, eps: Tensor
) -> Noisy:
    """The same by a noise ε (batch, *latent) that is given; embedded: x (batch, *latent)."""
    schedule = model.process.schedule
    return noised_at(model, x, embedded, schedule.gamma(t), schedule.rate(t), condition, eps)


def noised_at(
    model: DiffusionModel,
    x: Tensor,
    embedded: Tensor,
    gamma: Tensor,
    weight: Tensor,
    condition: Condition,
    eps: Tensor,
) -> Noisy:
    """The same at noise levels γ and with weights that are given, (batch, 1 or D) each."""
    alpha, sigma = model.process.scaling(along(gamma, embedded))
    held = model.modelled(condition, embedded)
    z = held.hold(alpha.to(eps.dtype) * embedded + sigma.to(eps.dtype) * eps)
    return Noisy(x, gamma, weight, eps, z, condition, held)


def predicted(model: DiffusionModel, *parts: Noisy) -> tuple[Prediction, ...]:
    """What the model says of each. A denoiser with a head is asked once about all of them, which costs less where a
    network is small."""
    denoiser = model.denoiser
    if not offers(denoiser, Headed):
        return tuple(model.denoise(part.z, part.gamma, part.condition) for part in parts)
    sizes = [len(part.z) for part in parts]
    latents = [part.z.to(model.dtype or part.z.dtype) for part in parts]
    told = joined([model.told(part.condition) for part in parts])
    outs = denoiser.ask(torch.cat(latents), torch.cat([part.gamma for part in parts]), told).split(sizes)
    return tuple(denoiser.read(out, z, part.gamma) for out, z, part in zip(outs, latents, parts, strict=True))


Quantity = Callable[[Prediction, Noisy], Tensor]


def squared_error(prediction: Prediction, noisy: Noisy) -> Tensor:
    """½ Σ_d weight_d (ε − ε̂)_d², (batch,) float64: the rate of the bound in t."""
    error = (noisy.eps - prediction.eps) ** 2
    return 0.5 * sum_event(noisy.held.count(along(noisy.weight, error) * error)).double()


def shape_surprise(prediction: Prediction, noisy: Noisy, embedded: Tensor) -> Tensor:
    """−log density of embedded x (batch, *latent) under p(x | z) of which the mean is held, (batch,) float64 nats.

    Raises `UserError` for a head whose law is no mixture of Gaussians.
    """
    if not isinstance(prediction.law, GaussianMixture):
        raise UserError("loss.shape is of heads that are mixtures of Gaussians: --set model.head=preconditioned")
    return -sum_event(noisy.held.count(prediction.law.log_density_about_mean(embedded)))


def surprise(prediction: Prediction, noisy: Noisy) -> Tensor:
    """−log p(x | z) of what is modelled, (batch,) float64 nats."""
    assert prediction.law is not None, "only a head that decodes is asked"
    return -counted(cast(Law, prediction.law), noisy.condition).log_prob(noisy.x).double()
