"""The loss of a diffusion model: its bound, or a weighted form of it, by one time per example."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.core.bound import Measure
from vlb.core.condition import Condition
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.times import LearningTime
from vlb.models.diffusion.weightings import Uncertainty, Weighting
from vlb.models.loss import BoundJudged


@dataclass(frozen=True)
class DiffusionObjective(BoundJudged):
    """The bound, or its weighted form (Eq. 4.113), by one time per example.

    The reconstruction term is estimated on `decoder_share` of each batch, since it costs a second
    network evaluation and varies little.
    """

    measure: Measure
    weighting: Weighting
    decoder_share: float

    def __call__(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert isinstance(model, DiffusionModel)
        t, importance = self.measure.draw(x.shape[0], generator)
        t, importance = t.to(x.device), importance.to(x.device)
        place = model.process.schedule.place(t)
        gradient = VarianceGradient(place.shape)
        log_snr, rate = -place.gamma.mean(-1), place.rate.mean(-1).detach()
        integrand = model.noise_error_at(x, place.gamma, place.rate, condition, generator)
        weight = self.weighting(log_snr)
        diffusion = integrand * importance * weight
        few = max(1, math.ceil(self.decoder_share * x.shape[0]))
        ends = model.ends(x[:few], condition.take(slice(few)), generator)
        terms = {"reconstruction": ends.reconstruction, "prior": ends.prior, "diffusion": diffusion}
        dimensions = math.prod(x.shape[1:])
        if isinstance(self.weighting, Uncertainty):
            terms["uncertainty"] = dimensions * importance * rate * self.weighting.penalty(log_snr.detach())
        if isinstance(self.measure, LearningTime) and model.training:
            self.measure.observe(log_snr.detach(), integrand.detach() / rate, weight.detach())
        gradient.settle(diffusion / dimensions)
        return {name: term.mean() / dimensions for name, term in terms.items()}


class VarianceGradient:
    """Turns the gradient of mean L into that of mean L² for what lies behind some per-example values.

    d(L²)/dη = 2L · dL/dvalue · dvalue/dη: the gradient that arrives at each value (batch, …) in the one backward
    pass is multiplied by 2L of its example (Kingma et al. 2021, §I.2). All other parameters see that of mean L.
    """

    def __init__(self, values: tuple[Tensor, ...]) -> None:
        self.factor: Tensor | None = None
        for value in values:
            if value.requires_grad:
                value.register_hook(self._rescale)

    def settle(self, loss: Tensor) -> None:
        """Say what L (batch,) turned out to be, before the backward pass."""
        self.factor = 2 * loss.detach().double()

    def _rescale(self, gradient: Tensor) -> Tensor:
        assert self.factor is not None
        return gradient * self.factor.view(-1, *(1 for _ in gradient.shape[1:]))
