"""What is minimised: named terms, whose sum is the loss, and the unit in which people read it."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from vlb.bound import Measure
from vlb.data import Split
from vlb.models.diffusion import DiffusionModel
from vlb.models.protocol import LikelihoodModel
from vlb.times import LearningTime
from vlb.train.validation import validation_bound
from vlb.weighting import Uncertainty, Weighting


class Unit(NamedTuple):
    """How a loss is read: `factor` takes it there, `name` is for people, `key` for `metrics.jsonl`."""

    name: str
    key: str
    factor: float


BITS_PER_DIM = Unit("bits/dim", "bits_per_dim", 1 / math.log(2))


class Objective(Protocol):
    """What a model is trained by, and what its checkpoints are chosen by."""

    @property
    def unit(self) -> Unit: ...

    def __call__(self, model: nn.Module, x: Tensor, condition: object, generator: torch.Generator) -> dict[str, Tensor]:
        """The training loss: named terms (scalars) whose sum is minimised."""

    def judge(
        self, model: nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
    ) -> dict[str, float]:
        """Figures of merit on up to `limit` held-out examples; the first one decides, smaller is better."""


class BoundJudged:
    """Trained by terms in nats per dimension, judged by the bound on held-out data in bits/dim."""

    unit = BITS_PER_DIM

    def judge(
        self, model: nn.Module, split: Split, limit: int, conditional: bool, device: torch.device
    ) -> dict[str, float]:
        return validation_bound(cast(LikelihoodModel, model), split, limit, conditional, device)


@dataclass(frozen=True)
class DiffusionObjective(BoundJudged):
    """The bound, or its weighted form (Eq. 4.113), by one time per example.

    The reconstruction term is estimated on `decoder_share` of each batch, since it costs a second
    network evaluation and varies little.
    """

    measure: Measure
    weighting: Weighting
    decoder_share: float

    def __call__(self, model: nn.Module, x: Tensor, condition: object, generator: torch.Generator) -> dict[str, Tensor]:
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
        ends = model.ends(x[:few], first(condition, few), generator)
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


def first(condition: object, n: int) -> object:
    """The condition of the first n examples."""
    if condition is None:
        return None
    assert isinstance(condition, tuple)
    return type(condition)(*(part[:n] for part in condition))
