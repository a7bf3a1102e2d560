"""Which of two models finds the same examples likelier, by differences per example.

Examples differ from each other far more than good models do, so the difference of two means says little where the
mean of the differences says much. A difference here is (−log p of the second) − (−log p of the first), in nats per
example: where it is positive the first is the better one. With bounds in place of log p it compares the bounds, which
is what each of the models guarantees; a looser bound can hide the better model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import stdtr, stdtrit

from vlb.base.errors import UserError
from vlb.core.terms import TermPath
from vlb.data import Split
from vlb.measure.evaluation import Evaluation, folded
from vlb.measure.evaluation_file import Subject
from vlb.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Contender:
    """A model's values on the examples `index` (n,) of a split, and what they are of: where these are pieces, what is
    compared are the things that they are pieces of."""

    name: str
    evaluation: Evaluation
    subject: Subject
    index: np.ndarray

    @property
    def things(self) -> np.ndarray:
        """The numbers of what is compared: of examples in the split, or of the things that these are pieces of."""
        pieces = self.evaluation.pieces
        return self.index if pieces is None or not pieces.cut else pieces.numbers


@dataclass(frozen=True)
class Difference:
    """Paired differences, (things,) nats, of examples or what these are pieces of, and what their mean may be off by.

    se_data: over another sample of these; se_monte_carlo: over other draws on these; freedom: degrees of freedom of
    the two together.
    """

    values: np.ndarray
    se_data: float
    se_monte_carlo: float
    freedom: float

    @property
    def mean(self) -> float:
        """Nats per thing."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """Both errors of the mean together."""
        return math.hypot(self.se_data, self.se_monte_carlo)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Where the mean over all examples is, by Student's t."""
        reach = float(stdtrit(self.freedom, 0.5 + confidence / 2)) * self.standard_error
        return self.mean - reach, self.mean + reach

    @property
    def p_value(self) -> float:
        """Two-sided paired t-test of no difference."""
        if self.standard_error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.standard_error))


@dataclass(frozen=True)
class TermDifference:
    """The mean difference of one term, nats per example, and its standard error from the spread over examples.

    That spread has the draws' in it, which is too large a share where draws of a batch are spread evenly: an error that
    is too large rather than too small.
    """

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> "TermDifference":
        """From differences per example, (examples,) nats, at least 2."""
        return cls(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Comparison:
    """The second contender against the first. terms: differences of the terms that both have, and of the `rest` of
    each where there is one; their means sum to that of `total`."""

    first: Contender
    second: Contender
    total: Difference
    terms: dict[TermPath, TermDifference]

    def extremes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places, among the things, where the first is better by most, and where the second is: most first."""
        order = np.argsort(self.total.values, kind="stable")
        worse, better = order[: min(count, len(order))], order[::-1][: min(count, len(order))]
        values = self.total.values
        return better[values[better] > 0], worse[values[worse] < 0]


def paired(first: Contender, second: Contender) -> Comparison:
    """Paired differences on the same examples. Raises `UserError` for what cannot be compared, saying why."""
    refuse_incomparable(first.name, first.subject, first.index, second.name, second.subject, second.index)
    own, its = _terms(first.evaluation), _terms(second.evaluation)
    total = _difference(first, second)
    shared = [path for path in own if path in its]
    differences = {path: its[path] - own[path] for path in shared}
    if shared and (len(own) > len(shared) or len(its) > len(shared)):
        differences[("rest",)] = total.values - sum(differences.values())
    return Comparison(first, second, total, {path: TermDifference.of(d) for path, d in differences.items()})


def _difference(first: Contender, second: Contender) -> Difference:
    """Differences with their errors.

    The spread over examples contains the Monte Carlo variance of each, which is far larger than its share in the mean
    where times are spread evenly over a batch. It is taken out where the draws of the two are independent of each
    other, as with other seeds. With equal seeds, what noise they share has cancelled in the differences; the rest is
    left in, and makes the error too large rather than too small.
    """
    a, b = first.evaluation, second.evaluation
    values = b.of_things(b.totals - a.totals)
    n = len(values)
    if n < 2:
        raise UserError("of a single example nothing can be said: compare at least 2")
    variance, parts = float(values.var(ddof=1)), [0.0, 0.0]
    exact = not (a.monte_carlo_variance.any() and b.monte_carlo_variance.any())
    if exact or first.subject.options.get("seed") != second.subject.options.get("seed"):
        drawn = a.of_things(a.monte_carlo_variance + b.monte_carlo_variance)
        variance = max(variance - float(drawn.mean()), 0.0)
        parts = [(e.se_monte_carlo / e.bits_of_thing(1.0)) ** 2 for e in (a, b)]
    squares = [(variance / n, n - 1), *((part, e.batch_means[1:].size) for part, e in zip(parts, (a, b), strict=True))]
    # Welch and Satterthwaite: degrees of freedom of a sum of variances that are estimated apart.
    each = sum(square**2 / freedom for square, freedom in squares)
    freedom = sum(square for square, _ in squares) ** 2 / each if each > 0 else float(n - 1)
    return Difference(values, math.sqrt(variance / n), math.sqrt(sum(parts)), freedom)


def measures(one: str, other: str) -> str | None:
    """Why likelihoods stated against these dominating measures have no difference; None where it is one measure, or one
    of them is not known."""
    if not one or not other or one == other:
        return None
    return f"one likelihood is stated against {one}, the other against {other}: their numbers are of other units"


def refuse_incomparable(
    name: str, a: Subject, a_index: np.ndarray, other: str, b: Subject, b_index: np.ndarray
) -> None:
    """Raises `UserError` where two likelihoods are not of the same thing, saying why not."""

    def refuse(why: str) -> UserError:
        return UserError(f"{name} and {other} cannot be compared: {why}")

    if (why := measures(a.measure, b.measure)) is not None:
        raise refuse(why)
    if (a.levels is None) != (b.levels is None):
        raise refuse("one is the mass of discrete data, the other a density, whose value depends on the unit of x")
    if a.levels != b.levels or a.shape != b.shape:
        first, second = (
            f"examples of shape {tuple(of.shape)}" + (f" and {of.levels} levels" if of.levels else "") for of in (a, b)
        )
        raise refuse(f"one is of {first}, the other of {second}")
    if a.fingerprint != b.fingerprint:
        raise refuse(f"they are of other data ({a.data} {a.fingerprint}, {b.data} {b.fingerprint})")
    if a.split != b.split:
        raise refuse(f"one is of the {a.split} split, the other of the {b.split} split: use the same --split")
    if a.conditional != b.conditional:
        raise refuse("one is of p(x | y) and is told the labels, the other of p(x)")
    told = [", ".join(subject.options.get("given") or ()) or "nothing" for subject in (a, b)]
    if told[0] != told[1]:
        raise refuse(f"one is given {told[0]}, the other {told[1]}: use the same --given")
    ways = [subject.options.get("likelihood", {}).get("dequantisation") for subject in (a, b)]
    if None not in ways and ways[0] != ways[1]:
        raise refuse(
            f"dequantisation is {ways[0]} in one and {ways[1]} in the other, which moves a bound by itself: repeat one "
            "with the other's --dequantisation"
        )
    if not np.array_equal(a_index, b_index):
        raise refuse("they are of different examples of the split: use the same --examples")


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, by Holm's step-down method (1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class LevelDifferences:
    """Where on the noise axis two continuous-time bounds differ.

    edges: (bins + 1,) of log SNR, from noise to data, over the range that both hierarchies have; means, errors:
    (bins,) nats per example that the second pays more in each bin, and their standard errors.
    """

    edges: np.ndarray
    means: np.ndarray
    errors: np.ndarray


@torch.no_grad()
def level_differences(
    first: DiffusionModel,
    second: DiffusionModel,
    split: Split,
    *,
    conditional: bool = False,
    bins: int = 12,
    seed: int = 0,
    batch: int = 250,
    device: torch.device | str = "cpu",
) -> LevelDifferences:
    """Differences in shared bins of log SNR, by one draw per example and bin, with the same noise for both models.

    Raises `UserError` where the two hierarchies have no noise level in common.
    """
    schedules = [model.process.schedule for model in (first, second)]
    low, high = max(-s.gamma_1 for s in schedules), min(-s.gamma_0 for s in schedules)
    if not low < high:
        raise UserError("the two models have no noise level in common")
    edges = np.linspace(low, high, bins + 1)
    width = float(edges[1] - edges[0])
    found = np.zeros((bins, len(split)))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(split), batch):
        index = np.arange(start, min(start + batch, len(split)))
        x, condition = split.batch(index, conditional, device)
        for place in range(bins):
            offset = torch.rand(len(index), generator=generator, dtype=torch.float64)
            gamma = -(float(edges[place]) + width * offset).to(device)
            state = generator.get_state()
            rates = []
            for model in (first, second):
                generator.set_state(state)
                t = model.process.schedule.inverse(gamma)
                told = condition if "planes" in model.takes else replace(condition, planes=None)
                term = model.term(x, t, told, generator).double()
                rates.append((term / model.process.schedule.rate(t).mean(-1)).cpu().numpy())
            found[place, index] = width * (rates[1] - rates[0])
    errors = found.std(1, ddof=1) / math.sqrt(len(split)) if len(split) > 1 else np.full(bins, math.nan)
    return LevelDifferences(edges, found.mean(1), errors)


def _terms(evaluation: Evaluation) -> dict[TermPath, np.ndarray]:
    """Terms per thing; the steps of a diffusion model, whose number is no part of the model, as one."""
    terms = dict(zip(evaluation.paths, evaluation.values.T, strict=True))
    return folded({path: evaluation.of_things(values) for path, values in terms.items()})
