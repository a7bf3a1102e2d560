"""How places in the hierarchy are drawn: times t ∈ [0, 1), or rungs of a grid.

Each law returns (n,) places and (n,) weights, 1/density, so that the weighted mean of a term is
unbiased for its integral over t or its sum over rungs (Eq. 3.93, 4.121). A law that speaks of λ is
given the schedule as it draws, and keeps none.

A law is a frozen dataclass under the tag of `TIMES`; `build(schedule)` gives the law that draws: itself, or a
module where it learns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from vlb.base.configuration import Family
from vlb.base.domains import BelowOne, Count, Settings, Within
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules import ColumnSchedule, Cosine, Schedule


def uniform(n: int, generator: torch.Generator) -> Tensor:
    """n independent uniforms on [0, 1), float64."""
    return torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)


def low_discrepancy(n: int, generator: torch.Generator) -> Tensor:
    """n uniforms on [0, 1) that share one offset, one in every stretch of length 1/n, in random order.

    Each is uniform by itself; together they cover [0, 1] evenly, which takes most of the variance out of
    a batch's loss (Kingma et al. 2021, §I.1).
    """
    offset = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (offset + order.double() / n) % 1


class Times(ABC):
    """A law of t ∈ [0, 1), which may follow the errors that training observes.

    even: whether t is uniform, so that λ has the density of the schedule; keeps_ends: whether it asks that the ends of
    the schedule stay.
    """

    even: ClassVar = False
    keeps_ends: ClassVar = False

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Times and weights 1/density, (n,) float64 each."""

    def sums(self, log_snr: Tensor, error: Tensor, weight: Tensor, schedule: Schedule) -> dict[str, Tensor]:
        """What `learn` needs of errors ½‖ε − ε̂‖² at λ with their w(λ), (n,) each: sums over examples."""
        return {}

    def learn(self, sums: dict[str, Tensor]) -> None:  # noqa: B027
        """Take in the sums of one step; most laws learn nothing."""


class FixedTimes(Settings, Times):
    """A law that learns nothing: its own configuration."""

    def build(self, schedule: Schedule) -> Self:
        """Itself."""
        return self


@dataclass(frozen=True)
class UniformTime(FixedTimes):
    """t uniform and independent."""

    even: ClassVar = True

    def draw(self, n: int, generator: torch.Generator, schedule: Schedule | None = None) -> tuple[Tensor, Tensor]:
        t = uniform(n, generator)
        return t, torch.ones_like(t)


@dataclass(frozen=True)
class LowDiscrepancyTime(FixedTimes):
    """t uniform, evenly spread over the batch."""

    even: ClassVar = True

    def draw(self, n: int, generator: torch.Generator, schedule: Schedule | None = None) -> tuple[Tensor, Tensor]:
        t = low_discrepancy(n, generator)
        return t, torch.ones_like(t)


@dataclass(frozen=True)
class UniformRung(Settings):
    """Level i uniform on {1, …, T}, evenly spread over the batch; weight T (Eq. 3.93)."""

    steps: Count

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        t = low_discrepancy(n, generator)
        rung = (t * self.steps).floor().long().clamp(max=self.steps - 1) + 1
        return rung, torch.full_like(t, float(self.steps))


@dataclass(frozen=True)
class ScheduleTime(FixedTimes):
    """t such that λ has the density p(λ) of another schedule (Eq. 4.121), evenly spread.

    The bound does not know which p(λ) its λ are from; the variance of its estimate does (Section 4.6).
    density: that schedule; its ends are set to those of the model's.
    """

    keeps_ends: ClassVar = True

    density: ColumnSchedule = field(default_factory=Cosine)

    def draw(self, n: int, generator: torch.Generator, schedule: Schedule) -> tuple[Tensor, Tensor]:
        other = replace(self.density, gamma_0=schedule.gamma_0, gamma_1=schedule.gamma_1)
        u = low_discrepancy(n, generator)
        with torch.no_grad():
            t = schedule.inverse(other.gamma(u).mean(-1)).clamp(0, 1)
            return t, other.rate(u).mean(-1) / schedule.rate(t).mean(-1)


class BinnedTime(nn.Module, Times):
    """t whose λ has a density that is constant in each of B equal bins between the ends of a schedule.

    Drawn by the inverse of the distribution function at evenly spread uniforms (stratified), and weighted by
    1/density, so that estimates are unbiased whatever the masses are.
    """

    @abstractmethod
    def masses(self) -> Tensor:
        """The probability of each bin, positive, sum 1, in the order of increasing λ: (B,) float64."""

    def density(self, log_snr: Tensor, schedule: Schedule) -> Tensor:
        """p(λ): (…,) -> (…,)."""
        masses = self.masses()
        return masses[self.bin(log_snr, schedule)] * len(masses) / (schedule.gamma_1 - schedule.gamma_0)

    def bin(self, log_snr: Tensor, schedule: Schedule) -> Tensor:
        """The bin of each λ: (…,) -> (…,) int64."""
        count = len(self.masses())
        low, high = -schedule.gamma_1, -schedule.gamma_0
        return ((log_snr.double() - low) / (high - low) * count).floor().long().clamp(0, count - 1)

    def draw(self, n: int, generator: torch.Generator, schedule: Schedule) -> tuple[Tensor, Tensor]:
        return self.at(low_discrepancy(n, generator), schedule)

    @torch.no_grad()
    def at(self, u: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Times t and weights where the distribution function of λ is u (n,): both (n,)."""
        masses = self.masses()
        u = u.to(masses.device)
        cumulative = masses.cumsum(0)
        index = torch.searchsorted(cumulative, u, right=True).clamp(max=len(masses) - 1)
        inside = ((u - (cumulative[index] - masses[index])) / masses[index]).clamp(0, 1)
        low, width = -schedule.gamma_1, (schedule.gamma_1 - schedule.gamma_0) / len(masses)
        t = schedule.inverse(-(low + (index + inside) * width)).clamp(0, 1)
        return t, width / (masses[index] * schedule.rate(t).mean(-1))


class GivenTime(BinnedTime):
    """t whose λ has given masses in equal bins."""

    def __init__(self, masses: Tensor) -> None:
        """masses: (B,) > 0, up to a constant."""
        super().__init__()
        self._masses: Tensor
        self.register_buffer("_masses", masses / masses.sum())

    def masses(self) -> Tensor:
        return self._masses


@dataclass(frozen=True)
class DensityTime(Settings):
    """t drawn from any p(λ), given as a function up to a constant; it is taken as constant in each of many bins.

    Only Python can offer it.
    """

    density: Callable[[Tensor], Tensor]
    bins: Count = 1000

    def build(self, schedule: Schedule) -> GivenTime:
        """The law between the ends of a schedule.

        Raises `UserError` where p(λ) is not positive and finite: what is never drawn cannot be weighted.
        """
        edges = torch.linspace(-schedule.gamma_1, -schedule.gamma_0, self.bins + 1, dtype=torch.float64)
        centres = 0.5 * (edges[:-1] + edges[1:])
        with torch.no_grad():
            values = self.density(centres).double()
        bad = ~(torch.isfinite(values) & (values > 0))
        if bool(bad.any()):
            first = int(bad.double().argmax())
            raise UserError(
                f"a density of log SNR must be positive and finite between the ends of the schedule; it is "
                f"{values[first].item()} at log SNR {centres[first].item():.3g}"
            )
        return GivenTime(values)


@dataclass(frozen=True)
class LearningTime(Settings, ABC):
    """t whose p(λ) follows the losses that training observes, by a moving average in each bin.

    decay: of the moving average, per observation in a bin. A share of uniform λ keeps every weight bounded.
    Raises `UserError` for values out of range.
    """

    bins: Annotated[int, Within(1, 1000)] = 100
    decay: BelowOne = 0.99
    uniform_share: Annotated[float, Within(1e-9, 1)] = 0.05

    @abstractmethod
    def statistic(self, log_snr: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        """What is averaged per bin, ≥ 0, of ½‖ε − ε̂‖² and w(λ): (n,) each -> (n,)."""

    @abstractmethod
    def shape(self, average: Tensor) -> Tensor:
        """p(λ) per bin up to a constant, ≥ 0, from the averages: (B,) -> (B,)."""

    def build(self, schedule: Schedule) -> "LearnedTime":
        """The law that learns, uniform in λ as yet, between whatever ends a schedule has when it draws."""
        return LearnedTime(self)


class LearnedTime(BinnedTime):
    """The law that a `LearningTime` describes. Its state are buffers, so that checkpoints carry it."""

    def __init__(self, how: LearningTime) -> None:
        super().__init__()
        self.how = how
        self.total: Tensor
        self.weight: Tensor
        self.register_buffer("total", torch.zeros(how.bins, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros(how.bins, dtype=torch.float64))

    def averages(self) -> Tensor:
        """The moving average in each bin, (B,); where nothing was observed, the mean of the others."""
        seen = self.weight > 0
        known = self.total / torch.where(seen, self.weight, 1.0)
        mean = known[seen].mean() if bool(seen.any()) else torch.ones_like(known[0])
        return torch.where(seen, known, mean)

    def masses(self) -> Tensor:
        shape = self.how.shape(self.averages()).clamp(min=0)
        total = shape.sum()
        flat = torch.full_like(shape, 1 / len(shape))
        if not bool(torch.isfinite(total) & (total > 0)):
            return flat
        return (1 - self.how.uniform_share) * shape / total + self.how.uniform_share * flat

    @torch.no_grad()
    def sums(self, log_snr: Tensor, error: Tensor, weight: Tensor, schedule: Schedule) -> dict[str, Tensor]:
        """In each bin, how many were observed and the sum of their statistic, (B,) each; only finite ones count."""
        log_snr, error, weight = (value.double().to(self.total.device) for value in (log_snr, error, weight))
        value = self.how.statistic(log_snr, error, weight)
        good = torch.isfinite(value)
        index, value = self.bin(log_snr[good], schedule), value[good]
        zeros = torch.zeros_like(self.total)
        return {"count": zeros.index_add(0, index, torch.ones_like(value)), "sum": zeros.index_add(0, index, value)}

    @torch.no_grad()
    def learn(self, sums: dict[str, Tensor]) -> None:
        count = sums["count"]
        fresh = sums["sum"] / count.clamp(min=1)
        kept = self.how.decay**count
        self.total.mul_(kept).add_((1 - kept) * fresh)
        self.weight.mul_(kept).add_(1 - kept)


@dataclass(frozen=True)
class AdaptiveTime(LearningTime):
    """p(λ) ∝ E w(λ)‖ε − ε̂‖², which makes the loss the same at all t (Eq. 4.130; Kingma & Gao 2023)."""

    def statistic(self, log_snr: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        return weight * error

    def shape(self, average: Tensor) -> Tensor:
        return average


@dataclass(frozen=True)
class LeastVarianceTime(LearningTime):
    """p(λ) ∝ w(λ) √E‖ε − ε̂‖⁴, the single-draw optimum, which Eq. 4.130 is often said to be."""

    def statistic(self, log_snr: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        return (weight * error) ** 2

    def shape(self, average: Tensor) -> Tensor:
        return average.sqrt()


@dataclass(frozen=True)
class WarpedTime(LearningTime):
    """Time warping (Dieleman et al. 2022): equal steps of u bring equal steps of the loss of x̂.

    E‖x − x̂‖² falls as λ grows; p(λ) is the slope of an increasing fit to it (isotonic regression on the
    bins), not its height, and w(λ) does not enter.
    """

    def statistic(self, log_snr: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        return error * torch.exp(-log_snr)

    def shape(self, average: Tensor) -> Tensor:
        falling = isotonic(average.flip(0))
        steps = torch.nn.functional.pad(falling.diff(), (1, 1), mode="constant")
        # A bin's share is the fall over it: half of that to either neighbour's centre.
        return (0.5 * (steps[:-1] + steps[1:])).flip(0)


def isotonic(values: Tensor) -> Tensor:
    """The non-decreasing sequence nearest in squares, max_{j ≤ i} min_{k ≥ i} mean(v_j … v_k): (B,) -> (B,)."""
    count = len(values)
    cumulative = torch.nn.functional.pad(values.cumsum(0), (1, 0))
    order = torch.arange(count, device=values.device)
    lengths = (order.unsqueeze(0) - order.unsqueeze(1) + 1).clamp(min=1)
    means = (cumulative[1:].unsqueeze(0) - cumulative[:-1].unsqueeze(1)) / lengths  # [j, k]
    means = torch.where(order.unsqueeze(0) >= order.unsqueeze(1), means, torch.inf)
    least = means.flip(1).cummin(1).values.flip(1)  # [j, i]: min over k ≥ i
    least = torch.where(order.unsqueeze(0) >= order.unsqueeze(1), least, -torch.inf)
    return least.max(0).values


TIMES = Family(
    "law of times",
    {
        "low-discrepancy": LowDiscrepancyTime,
        "uniform": UniformTime,
        "schedule": ScheduleTime,
        "adaptive": AdaptiveTime,
        "least-variance": LeastVarianceTime,
        "warped": WarpedTime,
    },
)
AnyTimes = Annotated[FixedTimes | LearningTime, TIMES]
