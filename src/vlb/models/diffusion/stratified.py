"""The bound of a diffusion model from few network evaluations.

One draw of −VLB(x) at one random t is mostly noise. `StratifiedBound` takes that noise out where it comes from:

* **t differs between draws.** Each example has S times, one in each of S strata of equal probability, and in each
  stratum the times of a batch are evenly spread (a Latin hypercube). What is the same for all examples then cancels
  in a batch, what is peculiar to one cancels between its own strata.
* **Some t matter more.** λ is drawn from p(λ) ∝ the standard deviation of what is left in each bin of λ.
* **ε differs between draws.** The head, asked at the same z but with the network's output held at something that
  does not depend on ε, makes nearly the same errors: a control variate c(ε). It costs no network evaluation, and
  neither does its mean over ε. Two outputs are held: 0, the independent-element model, and what the network says of
  α₀x, the noiseless latent at γ₀, at one evaluation for all of an example's draws. f − Σ_j β_j (c_j − E c_j) has the
  mean of f for any β.

p(λ) and β are a `Plan`, fitted on examples that are not evaluated (`fit`), so that the estimate is unbiased given it.
E c_j is itself estimated, without bias, from a few draws of ε, stratified in each element by itself.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.denoiser import Headed
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.noisy import Noisy, Quantity, noised, squared_error, surprise
from vlb.models.diffusion.process import along
from vlb.models.diffusion.times import GivenTime, low_discrepancy
from vlb.models.protocols import offers

BINS = 16
STRATA = 8
MOST = 4096  # strata of a plan: it may come from a file
POINTS = 8  # draws of ε for the mean of a control variate; stratified, they leave about 1/POINTS² of its variance
PRICE = 0.3  # what a control variate costs, in network evaluations: its heads
FLOOR = 0.05  # share of p(λ) that is uniform: no weight is unbounded


@dataclass(frozen=True)
class Plan:
    """How draws are spent.

    masses: the probability of each of B equal bins of λ, lowest first; slopes: β of the two control variates in each
    bin, (independent, context); decoding: the same for −log p(x | z_0); strata: S.
    """

    masses: tuple[float, ...]
    slopes: tuple[tuple[float, float], ...]
    decoding: tuple[float, float]
    strata: int = STRATA

    def __post_init__(self) -> None:
        """Raises `UserError` for a plan that would be biased, or of which parts do not fit."""
        numbers = np.array([*self.masses, *np.ravel(self.slopes), *self.decoding])
        if len(self.slopes) != len(self.masses) or not 1 <= self.strata <= MOST or not np.isfinite(numbers).all():
            raise UserError(f"a plan has a probability and two slopes per bin of log SNR, and 1 to {MOST} strata")
        if not self.masses or min(self.masses) <= 0:
            raise UserError("a plan gives each bin of log SNR a positive probability: what is never drawn is missed")

    @property
    def context(self) -> bool:
        """Whether the network is asked about the noiseless latent."""
        return any(slope[1] != 0 for slope in (*self.slopes, self.decoding))

    @classmethod
    def plain(cls, strata: int = STRATA) -> "Plan":
        """Uniform λ and no control variates."""
        return cls((1.0,), ((0.0, 0.0),), (0.0, 0.0), strata)

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def decode(cls, content: dict[str, Any]) -> "Plan":
        """The inverse of `encode`. Raises `UserError` for what is no plan."""
        try:
            return cls(
                tuple(float(mass) for mass in content["masses"]),
                tuple((float(slope[0]), float(slope[1])) for slope in content["slopes"]),
                (float(content["decoding"][0]), float(content["decoding"][1])),
                int(content["strata"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"this is no plan of an evaluation: {error!r}") from error


class StratifiedBound:
    """The continuous-time bound of a diffusion model, with `terms` as everything that is evaluated has."""

    def __init__(self, model: DiffusionModel, plan: Plan) -> None:
        """Raises `UserError` for a plan with control variates that the model has no head for."""
        self.model, self.plan = model, plan
        masses = torch.tensor(plan.masses, dtype=torch.float64)
        self._times = GivenTime(masses).to(model.device)
        self._slopes = torch.tensor(plan.slopes, dtype=torch.float64, device=model.device)
        self._decoding = torch.tensor([plan.decoding], dtype=torch.float64, device=model.device)
        used = bool((self._slopes != 0).any() | (self._decoding != 0).any())
        if used and not offers(model.denoiser, Headed):
            raise UserError("control variates need a denoiser of a backbone and a head: use a plan without")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.model.shape

    @property
    def bound(self) -> BoundKind:
        """What the sum of `terms` is: the same as the model's own."""
        return self.model.bound

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the model takes."""
        return self.model.takes

    @property
    def evaluations(self) -> int:
        """Network evaluations per example that one call of `terms` costs."""
        return self.plan.strata + self.model.decodings + self.plan.context

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One unbiased draw of the terms of −VLB(x), (batch,) nats each."""
        self.model.check_condition(condition)
        held, schedule = hold(self.model, x, condition, self.plan.context), self.model.process.schedule
        diffusion = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for stratum in range(self.plan.strata):
            u = (stratum + low_discrepancy(len(x), generator)) / self.plan.strata
            t, weight = self._times.at(u, schedule)
            slopes = self._slopes[self._times.bin(-schedule.gamma(t).mean(-1), schedule)]
            noisy = noised(self.model, x, t, condition, generator)
            diffusion += weight * self._less_noisy(noisy, squared_error, held, slopes, generator)
        prior = self.model.prior_kl(x, generator, condition=condition)
        if self.model.decodings == 1:
            zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            noisy = noised(self.model, x, zeros, condition, generator)
            slopes = self._decoding.expand(len(x), -1)
            reconstruction = self._less_noisy(noisy, surprise, held, slopes, generator)
        else:
            reconstruction = self.model.reconstruction(x, condition, generator)
        return {("reconstruction",): reconstruction, ("prior",): prior, ("diffusion",): diffusion / self.plan.strata}

    def _less_noisy(
        self,
        noisy: Noisy,
        quantity: Quantity,
        held: tuple[Tensor, ...],
        slopes: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """A quantity less its control variates, (batch,); slopes: (batch, 2)."""
        value = quantity(self.model.denoise(noisy.z, noisy.gamma, noisy.condition), noisy)
        for output, slope in zip(held, slopes.unbind(1), strict=False):
            used = slope != 0
            if bool(used.any()):
                found = excess(self.model, output[used], noisy.rows(used), quantity, generator)
                value[used] -= slope[used] * found
        return value


def hold(model: DiffusionModel, x: Tensor, condition: Condition, context: bool) -> tuple[Tensor, ...]:
    """Outputs of the network that do not depend on ε: 0, and of α₀x at γ₀ where asked; none without a head."""
    denoiser = model.denoiser
    if not offers(denoiser, Headed):
        return ()
    embedded = model.embedding.embed(x)
    embedded = embedded.to(model.dtype or embedded.dtype)
    independent = embedded.new_zeros(()).expand(len(x), *denoiser.output_shape(model.latent))
    if not context:
        return (independent,)
    gamma = model.process.schedule.gamma(torch.zeros(1, dtype=torch.float64, device=x.device))
    alpha, _ = model.process.scaling(along(gamma, embedded))
    z = model.modelled(condition, embedded).hold(alpha.to(embedded.dtype) * embedded)
    return independent, denoiser.ask(z, gamma, model.told(condition))


def excess(
    model: DiffusionModel, output: Tensor, noisy: Noisy, quantity: Quantity, generator: torch.Generator
) -> Tensor:
    """c(ε) − E c of a quantity under a held output (batch, *output_shape), (batch,): of mean 0.

    The mean is over `POINTS` draws of ε. Each is of the right law by itself; together they are spread evenly over
    the distribution of each element.
    """
    embedded = model.embedding.embed(noisy.x)
    alpha, sigma = (scale.to(embedded.dtype) for scale in model.process.scaling(along(noisy.gamma, embedded)))
    own = held_to(model, output, noisy, quantity)
    u = torch.rand(embedded.shape, generator=generator, dtype=torch.float64, device=generator.device).to(output.device)
    mean = torch.zeros_like(own)
    for point in range(POINTS):
        # The quantiles of 0 and 1 are infinite.
        eps = torch.special.ndtri(((u + point / POINTS) % 1).clamp(1e-15, 1 - 1e-15)).to(embedded.dtype)
        other = noisy._replace(eps=eps, z=noisy.held.hold(alpha * embedded + sigma * eps))
        mean += held_to(model, output, other, quantity) / POINTS
    return own - mean


def held_to(model: DiffusionModel, output: Tensor, noisy: Noisy, quantity: Quantity) -> Tensor:
    """c(ε): a quantity with the network's output held to `output` (batch, *output_shape), (batch,)."""
    # Outputs are held of denoisers with a head only.
    denoiser = cast(Headed, model.denoiser)
    return quantity(denoiser.read(output, noisy.z.to(output.dtype), noisy.gamma), noisy)


@torch.no_grad()
def fit(
    model: DiffusionModel, x: Tensor, condition: Condition, generator: torch.Generator, strata: int = STRATA
) -> Plan:
    """A plan from examples x (n, *shape) that are not the evaluated ones: two draws of ε at the same t in each bin.

    It costs 2·`BINS` + 3 network evaluations for each; about a hundred are enough.
    """
    model.check_condition(condition)
    schedule = model.process.schedule
    held = hold(model, x, condition, True)
    low, width = -schedule.gamma_1, (schedule.gamma_1 - schedule.gamma_0) / BINS
    bins = []
    for i in range(BINS):
        log_snr = low + width * (i + low_discrepancy(len(x), generator))
        t = schedule.inverse(-log_snr.to(x.device)).clamp(0, 1)
        # Of the integrand in λ, not in t.
        bins.append(_spread(model, x, t, condition, held, squared_error, generator, 1 / schedule.rate(t).mean(-1)))
    zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    ends = _spread(model, x, zeros, condition, held, surprise, generator, zeros + 1) if model.decodings == 1 else None
    choices = [_plan(bins, ends, width, strata, context) for context in (False, True)]
    plan, _ = min(choices, key=lambda choice: choice[1])
    return plan


class _Spread(NamedTuple):
    """E_x (E_ε f)², and the variance over ε that is left with which control variates, by which slopes."""

    square: float
    left: dict[tuple[bool, bool], tuple[float, tuple[float, float]]]

    def best(self, context: bool) -> tuple[float, tuple[float, float]]:
        """What is left of the variance over ε, and the slopes, at the least product of variance and cost."""
        offered = {used: left for used, left in self.left.items() if context or not used[1]}
        return offered[min(offered, key=lambda used: offered[used][0] * (1 + PRICE * sum(used)))]


def _spread(
    model: DiffusionModel,
    x: Tensor,
    t: Tensor,
    condition: Condition,
    held: tuple[Tensor, ...],
    quantity: Quantity,
    generator: torch.Generator,
    scale: Tensor,
) -> _Spread:
    """From two draws of ε for each example at its t (batch,), times `scale` (batch,)."""
    values, found = [], []
    for _ in range(2):
        noisy = noised(model, x, t, condition, generator)
        values.append(scale * quantity(model.denoise(noisy.z, noisy.gamma, condition), noisy))
        # Of the same x and t, so that the mean over ε cancels in the difference.
        found.append([scale * held_to(model, output, noisy, quantity) for output in held])
    first, second = (value.cpu().numpy() for value in values)
    difference = first - second
    noise = 0.5 * float((difference**2).mean())
    square = max(float((first * second).mean()), 0.0)
    left = {(False, False): (noise, (0.0, 0.0))}
    if held and noise > 0:
        columns = np.stack([(a - b).cpu().numpy() for a, b in zip(*found, strict=True)], 1)
        for used in ((True, False), (False, True), (True, True)):
            kept = columns * np.array(used)
            slopes = np.linalg.lstsq(kept, difference, rcond=None)[0]
            left[used] = (0.5 * float(((difference - kept @ slopes) ** 2).mean()), (float(slopes[0]), float(slopes[1])))
    return _Spread(square, left)


def _plan(bins: list[_Spread], ends: _Spread | None, width: float, strata: int, context: bool) -> tuple[Plan, float]:
    """The best plan with or without the context, and its variance times network evaluations."""
    best = [spread.best(context) for spread in bins]
    # Of what is no noise, an example's own strata leave the variance within a stratum of width 1/S.
    left: np.ndarray = np.array(
        [noise + spread.square / (12 * strata**2) for (noise, _), spread in zip(best, bins, strict=True)]
    )
    shape: np.ndarray = np.sqrt(left)
    masses = np.full(len(bins), FLOOR / len(bins)) + (1 - FLOOR) * (
        shape / shape.sum() if shape.sum() > 0 else 1 / len(bins)
    )
    masses /= masses.sum()
    decoding = ends.best(context) if ends else (0.0, (0.0, 0.0))
    variance = float((width**2 * left / masses).sum()) / strata + decoding[0]
    plan = Plan(tuple(masses.tolist()), tuple(slopes for _, slopes in best), decoding[1], strata)
    return plan, variance * (strata + (ends is not None) + plan.context)
