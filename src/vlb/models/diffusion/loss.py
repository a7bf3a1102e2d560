"""The loss of a diffusion model: its bound, or a weighted form of it, by one time per example."""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import Settings, Share, Within
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.distributions import standard_normal
from vlb.models.diffusion.decoder import grouped, only, told
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.noisy import Noisy, noised, noised_at, predicted, shape_surprise, squared_error, surprise
from vlb.models.diffusion.patterns import some_known
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.schedules.base import Place
from vlb.models.diffusion.times import AnyTimes, LowDiscrepancyTime, Times
from vlb.models.diffusion.weightings import AnyWeighting, Likelihood, Weighting, check
from vlb.models.loss import Sums, Terms


@dataclass(frozen=True, kw_only=True)
class DiffusionLoss(Settings):
    """The bound, or its weighted form (Eq. 4.113), by one time per example, which `times` draws.

    The reconstruction term is estimated on `decoder_share` of each batch, since it costs a second
    network evaluation and varies little. known_share: of the examples of a step, of those that get random known
    elements (`patterns.some_known`), where the model is told roles: with 0 it learns no law of some given others. At
    most nine tenths, for p(x) itself is learned from the rest.

    shape: the weight of −log p(x | z_t) with its mean held, of a head that is a mixture of Gaussians. The bound in
    continuous time trains the mean alone (Eq. 3.124), and few large steps down need the rest of the law, too.
    """

    weighting: AnyWeighting = field(default_factory=Likelihood)
    times: AnyTimes = field(default_factory=LowDiscrepancyTime)
    decoder_share: Share = 0.125
    known_share: Annotated[float, Within(0, 0.9)] = 0.0
    shape: Annotated[float, Within(0, 100)] = 0.0

    @property
    def teaches_known(self) -> bool:
        """Whether a model that takes known elements is a law given them once trained."""
        return self.known_share > 0

    def build(self, model: DiffusionModel) -> "DiffusionTerms":
        """Ready to train a model. Raises `UserError` for what does not go with it or its schedule, or is no weight."""
        if self.known_share and "role" not in model.takes:
            raise UserError("known elements are learned from by a model that is told roles: --set model.roles=true")
        schedule = model.process.schedule
        times, weighting = self.times.build(schedule), self.weighting.build(schedule)
        check_together(schedule, times, weighting)
        check(weighting, schedule.gamma_0, schedule.gamma_1)
        return DiffusionTerms(times, weighting, self.decoder_share, self.known_share, self.shape)


class DiffusionTerms(Terms[DiffusionModel]):
    """See `DiffusionLoss`; terms in nats per dimension. Times and weightings that learn are part of it."""

    def __init__(
        self, times: Times, weighting: Weighting, decoder_share: float, known_share: float = 0.0, shape: float = 0.0
    ) -> None:
        super().__init__()
        self.times, self.weighting = times, weighting
        self.decoder_share, self.known_share, self.shape = decoder_share, known_share, shape

    def forward(
        self, model: DiffusionModel, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        if self.known_share:
            condition = replace(condition, role=some_known(x, condition, self.known_share, generator))
        schedule = model.process.schedule
        t, importance = self.times.draw(x.shape[0], generator, schedule)
        t, importance = t.to(x.device), importance.to(x.device)
        place = schedule.place(t)
        gradient = VarianceGradient(place.shape)
        log_snr, rate = -place.gamma.mean(-1), place.rate.mean(-1).detach()
        few = slice(max(1, math.ceil(self.decoder_share * x.shape[0])))
        found, noisy, reconstruction = predictions(model, x, place, few, condition, generator)
        integrand = squared_error(found, noisy)
        weight = self.weighting(log_snr)
        diffusion = integrand * importance * weight
        prior = model.prior_kl(x[few], generator, condition=condition.take(few))
        terms = {"reconstruction": reconstruction, "prior": prior, "diffusion": diffusion}
        if self.shape:
            terms["shape"] = self.shape * shape_surprise(found, noisy, model.embedding.embed(x))
        dimensions = math.prod(x.shape[1:])
        penalty = self.weighting.penalty(log_snr.detach())
        if penalty is not None:
            terms["uncertainty"] = dimensions * importance * rate * penalty
        sums = self.times.sums(log_snr.detach(), integrand.detach() / rate, weight.detach(), schedule)
        gradient.settle(diffusion / dimensions)
        return {name: term.mean() / dimensions for name, term in terms.items()}, sums

    def learn(self, sums: Sums) -> None:
        self.times.learn(sums)


def predictions(
    model: DiffusionModel, x: Tensor, place: Place, few: slice, condition: Condition, generator: torch.Generator
) -> tuple[Prediction, Noisy, Tensor]:
    """What the model says of x (batch, *shape) at places, weighted by γ′, and of what; and −log p(x | z_0) of the first
    few, in nats: by one call of the network, where it has a head. Without bias, too, where x is decoded in groups."""
    model.check_condition(condition)
    embedded = model.embedding.embed(x)
    eps = standard_normal(embedded.shape, generator, embedded)
    noisy = noised_at(model, x, embedded, place.gamma, place.rate, condition, eps)
    if not model.learns_decoder:
        (found,) = predicted(model, noisy)
        return found, noisy, model.reconstruction(x[few], condition.take(few), generator)
    start = torch.zeros(len(x[few]), dtype=torch.float64, device=x.device)
    if model.groups is None:
        clean = noised(model, x[few], start, condition.take(few), generator)
        found, decoded = predicted(model, noisy, clean)
        return found, noisy, surprise(decoded, clean)
    # One group of each example stands for all: in turn, from a random one on.
    group = grouped(model.groups, len(x[few]), condition.take(few))
    turn = torch.arange(len(group)) + torch.randint(model.decodings, (1,), generator=generator)
    own = (turn % model.decodings).to(x.device).view(-1, *[1] * (x.ndim - 1))
    clean = noised(model, x[few], start, told(condition.take(few), group, own), generator)
    everything = told(condition, grouped(model.groups, len(x), condition), 0)
    found, decoded = predicted(model, noisy._replace(condition=everything), clean)
    counts = clean._replace(condition=only(clean.condition, group == own))
    return found, noisy, model.decodings * surprise(decoded, counts)


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


def check_together(schedule: Schedule, times: Times, weighting: Weighting) -> None:
    """Raises `UserError` where a learned schedule has nothing to learn, or would not learn from the bound."""
    if schedule.learns_density and not times.even:
        raise UserError(
            "a learned schedule learns p(λ), which these times replace: --set loss.times=low-discrepancy, "
            "or another schedule"
        )
    if not schedule.learns_ends:
        return
    if not weighting.is_bound:
        raise UserError(
            "the ends of a learned schedule are trained on the bound, which a weighting replaces: "
            "set model.schedule.learn_ends=false, or loss.weighting=likelihood"
        )
    if times.keeps_ends:
        raise UserError("these times need ends that stay: set model.schedule.learn_ends=false")
