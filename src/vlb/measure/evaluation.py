"""How likely a model finds data: the bound on −log p(x) with its terms, error and baselines.

The whole split is seen once per pass, the last partial batch included. Each pass draws its own
times (evenly spread over a batch) and noise, so the passes are independent randomisations: their
spread is the Monte Carlo error, and the spread over examples the data error. Each batch of a pass
has its own seed. Batches then are independent, too, and the error is known well after a few passes;
and a `Tally` continued later gives the same numbers to the bit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError, broken
from vlb.base.progress import SILENT, Progress
from vlb.base.words import so_many
from vlb.core.condition import Condition
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.core.surroundings import ordinary
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.measure.wholes import Wholes
from vlb.models.protocols import offers


@dataclass(frozen=True)
class Evaluation:
    """Bounds on −log p(x), in nats per example; `bits` converts to bits per dimension.

    paths: of the bound's terms; values: (examples, terms) float64, their means over passes; batch_means:
    (passes, batches) mean totals; batch: examples in each, but for the last; monte_carlo_variance: (examples,) of
    the mean total; dimensions: of an example, in the mean where they differ; pieces: which wholes they are of, or are
    themselves, where they differ; sums: what the bound's draws said besides, added up.
    `vlb.measure.evaluation_file` keeps it but for these, and what it is of.
    """

    paths: tuple[TermPath, ...]
    values: np.ndarray
    batch_means: np.ndarray
    batch: int
    monte_carlo_variance: np.ndarray
    dimensions: float
    bound: BoundKind
    conditional: bool
    pieces: Wholes | None = None
    sums: Mapping[str, float] = field(default_factory=dict)

    def observed(self, of: str, over: str) -> float | None:
        """The ratio of two sums of what the draws said besides; None where they said nothing of it."""
        return self.sums[of] / self.sums[over] if of in self.sums and self.sums.get(over) else None

    def bits(self, nats: float) -> float:
        """nats per example -> bits per dimension."""
        return nats / (self.dimensions * math.log(2))

    @property
    def totals(self) -> np.ndarray:
        """−VLB per example, (examples,) nats."""
        return self.values.sum(1)

    @property
    def cut(self) -> bool:
        """Whether examples are pieces of larger things."""
        return self.pieces is not None and self.pieces.cut

    def of_things(self, values: np.ndarray) -> np.ndarray:
        """Values of examples (examples,), those of pieces added up for the things that they are of: (things,)."""
        return values if self.pieces is None else self.pieces.sums(values)

    def bits_of_thing(self, nats: float) -> float:
        """nats per thing, an example or what some of these are pieces of -> bits per dimension."""
        return self.bits(nats * self.things / len(self.values))

    @property
    def passes(self) -> int:
        """How often each example was seen."""
        return len(self.batch_means)

    @property
    def pass_means(self) -> np.ndarray:
        """Mean total of each pass, (passes,) nats."""
        return self.batch_means @ self._shares

    @property
    def _shares(self) -> np.ndarray:
        """The share of the examples that each batch has, (batches,)."""
        starts = np.arange(0, len(self.values), self.batch)
        shares: np.ndarray = np.minimum(self.batch, len(self.values) - starts) / len(self.values)
        return shares

    @property
    def bits_per_dim(self) -> float:
        """The bound, bits/dim."""
        return self.bits(float(self.totals.mean()))

    @property
    def terms(self) -> dict[TermPath, float]:
        """The mean of each term, bits/dim."""
        return {path: self.bits(float(mean)) for path, mean in zip(self.paths, self.values.mean(0), strict=True)}

    @property
    def kl_per_rung(self) -> list[float] | None:
        """The mean of each term `("kl", i)`, i = 1 next to the data first, bits/dim; None where there is none."""
        return [value for path, value in self.terms.items() if path[0] == "kl"] or None

    @property
    def se_monte_carlo(self) -> float:
        """Standard error of the bound over other draws of times and noise on these examples, bits/dim.

        From the spread over passes of each batch's mean, for batches are drawn independently.
        """
        variances = self.batch_means.var(0, ddof=1) / self.passes
        return self.bits(math.sqrt(float(self._shares**2 @ variances)))

    @property
    def se_data(self) -> float:
        """Standard error of the bound over another sample of examples, bits/dim.

        The variance over examples contains each example's Monte Carlo variance, which is taken out.
        Of a single example, or thing, nothing is known: NaN.
        """
        n = self.things
        if n == 1:
            return math.nan
        if self.pieces is not None:
            return self.pieces.error(self.totals, self.monte_carlo_variance) / math.log(2)
        variance = float(self.totals.var(ddof=1)) - float(self.monte_carlo_variance.mean())
        return self.bits(math.sqrt(max(variance, 0.0) / n))

    @property
    def things(self) -> int:
        """How many examples there are, or wholes that they are pieces of."""
        return len(self.values) if self.pieces is None else self.pieces.count

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `se_monte_carlo`."""
        return (self.passes - 1) * self.batch_means.shape[1]

    @property
    def standard_error(self) -> float:
        """Both errors together, bits/dim; of a single example the Monte Carlo error alone, which is what is known."""
        return self.se_monte_carlo if self.things == 1 else math.hypot(self.se_data, self.se_monte_carlo)


BATCH = 250

# An error that stops an evaluation has at least so many degrees of freedom: with fewer, those that happen to come out
# small stop it.
FREEDOM = 8

Amount = TypeVar("Amount", float, np.ndarray)


def folded(terms: dict[TermPath, Amount]) -> dict[TermPath, Amount]:
    """The terms of a diffusion model with its steps' KLs as one, whose sum they are; others as they are."""
    steps = [value for path, value in terms.items() if path[0] == "kl"]
    if ("prior",) not in terms or not steps:
        return terms
    kept = {path: value for path, value in terms.items() if path[0] != "kl"}
    return kept | {("diffusion",): sum(steps[1:], start=steps[0])}


class Bounded(Protocol):
    """What an evaluation asks of a model; a diffusion model on a grid has it, too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> BoundKind: ...

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]: ...


@runtime_checkable
class Observed(Protocol):
    """A bound whose draws say more than its terms."""

    def observed(
        self, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[dict[TermPath, Tensor], dict[str, float]]:
        """The terms, and what else was seen, in sums over examples or calls."""


class Batch(NamedTuple):
    """A draw of the terms of a batch: paths, values (batch, terms) float64 nats, and what else was seen."""

    paths: tuple[TermPath, ...]
    values: np.ndarray
    sums: dict[str, float]


@dataclass
class Tally:
    """An evaluation in progress, exact to continue: running means per example, and what each batch has given.

    paths: of the bound's terms; means: (examples, terms) float64 nats, over the passes that each example has seen;
    deviations: (examples,), the sum of squared deviations of its totals; batch: examples in each batch but the
    last of a pass; batch_means: mean totals of the batches seen, in order, pass after pass; sums: what else was seen.
    """

    paths: tuple[TermPath, ...]
    means: np.ndarray
    deviations: np.ndarray
    batch: int
    batch_means: list[float] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Batches in a pass."""
        return math.ceil(len(self.means) / self.batch)

    @property
    def passes(self) -> int:
        """How many passes are whole."""
        return len(self.batch_means) // self.batches

    @property
    def start(self) -> int:
        """The first example that the current pass has not seen; 0 between passes."""
        return len(self.batch_means) % self.batches * self.batch

    @property
    def seen(self) -> int:
        """Examples seen, over all passes."""
        return self.passes * len(self.means) + self.start

    def add(self, values: np.ndarray, sums: Mapping[str, float] = MappingProxyType({})) -> None:
        """Take in one draw of the terms of the next batch, (batch, terms), and what else was seen."""
        part = slice(self.start, self.start + len(values))
        means, totals = self.means[part], values.sum(1)
        before = totals - means.sum(1)
        means += (values - means) / (self.passes + 1)
        # Never negative but by rounding.
        self.deviations[part] += np.maximum(before * (totals - means.sum(1)), 0)
        self.batch_means.append(float(totals.mean()))
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def evaluation(self, dimensions: float, bound: BoundKind, conditional: bool) -> Evaluation:
        """What the whole passes say, at least 2 of them and no other begun; dimensions: of an example."""
        if self.start or self.passes < 2:
            raise ValueError(f"{self.passes} whole passes and {self.start} examples of another are no evaluation")
        variance = self.deviations / (self.passes * (self.passes - 1))
        means = np.array(self.batch_means).reshape(self.passes, self.batches)
        # Copies: the tally may go on.
        return Evaluation(
            self.paths,
            self.means.copy(),
            means,
            self.batch,
            variance,
            dimensions,
            bound,
            conditional,
            sums=dict(self.sums),
        )


@dataclass
class Keep:
    """Where an evaluation goes on, and what becomes of it on the way: here, nothing.

    tally: what an interrupted evaluation of the same model, examples, seed and batch has left, continued in place.
    """

    tally: Tally | None = None

    def watch(self, tally: Tally) -> None:
        """After each batch."""

    def end(self, tally: Tally | None, progress: Progress, interrupted: bool) -> None:
        """At the end, or where a person or an error ended it."""


@ordinary()
@torch.no_grad()
def measure_bound(
    model: Bounded,
    split: Split,
    *,
    conditional: bool = False,
    passes: int = 8,
    precision: float | None = None,
    budget: int = 0,
    seed: int = 0,
    batch: int = BATCH,
    device: torch.device | str = "cpu",
    keep: Keep | None = None,
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """The model's bound on every example of `split`, from `passes` ≥ 2 draws each.

    conditional: log p(x | y) with the split's labels. precision, budget: go on after `passes` until `se_monte_carlo`
    is at most `precision` bits/dim, known from at least `FREEDOM` degrees of freedom, or `budget` passes are spent;
    stopping by the error does not bias the mean of nearly normal pass means, which is independent of their spread.
    keep: where it goes on if it was begun before, and is kept. ranks: this process among those that share the batches
    out, which all get what one alone would. Raises `UserError` for data the model cannot be asked about, and for a
    bound that is not a number or, of a mass, negative; `Lost` where another process is gone.
    """
    examples, dimensions = check(model, split), split.dimensions
    if passes < 2:
        raise UserError(f"an error needs at least 2 passes, not {passes}")
    if precision is not None and not 0 < precision < math.inf:
        raise UserError(f"a precision is a positive number of bits per dimension, not {precision:g}")
    if conditional and split.labels is None:
        raise UserError(
            "this model is conditioned on labels, and these data have none: give an .npz file with `x` and `labels`"
        )
    keep = keep or Keep()
    tally = keep.tally
    if tally is not None and (len(tally.means), tally.batch) != (examples, batch):
        raise ValueError(f"a tally of {len(tally.means)} examples in batches of {tally.batch} cannot go on with others")
    batches = math.ceil(examples / batch)

    def draw(number: int) -> Batch:
        """The batch of that number, pass after pass."""
        repetition, start = number // batches, number % batches * batch
        x, condition = split.batch(np.arange(start, min(start + batch, examples)), conditional, device)
        generator = torch.Generator().manual_seed(seed_of(seed, repetition, start))
        if offers(model, Observed):
            terms, sums = model.observed(x, condition, generator)
        else:
            terms, sums = model.terms(x, condition, generator), {}
        return Batch(tuple(terms), torch.stack([term.double() for term in terms.values()], 1).cpu().numpy(), sums)

    drawn = ranks.map(draw, count(0 if tally is None else len(tally.batch_means)))
    progress.begin(f"evaluating {so_many(examples, 'example')}", passes * examples)
    interrupted = False
    try:
        while tally is None or tally.start or not _satisfied(tally, model, dimensions, passes, precision, budget):
            found = next(drawn)
            _refuse_nan(found.values, 0 if tally is None else tally.start)
            tally = tally or Tally(found.paths, np.zeros((examples, len(found.paths))), np.zeros(examples), batch)
            tally.add(found.values, found.sums)
            keep.watch(tally)
            _tell(progress, tally, model, dimensions, passes, precision, budget)
    except (KeyboardInterrupt, Lost):
        interrupted = True
        raise
    finally:
        keep.end(tally, progress, interrupted)
    evaluation = replace(tally.evaluation(dimensions, model.bound, conditional), pieces=Wholes.of(split))
    if not split.batch(np.arange(1), False, device)[0].is_floating_point():
        _refuse_negative(evaluation)
    return evaluation


def _refuse_negative(evaluation: Evaluation) -> None:
    """Raises `UserError` for a bound on −log of a mass that came out below 0, where none is."""
    if evaluation.bits_per_dim < 0:
        raise UserError(
            f"the draws give {evaluation.bits_per_dim:.4g} ± {evaluation.se_monte_carlo:.2g} (Monte Carlo) bits/dim, "
            "and no −log of a mass is negative: they say nothing. Either more --passes are needed, or the training of "
            "this model diverged: train again, with a lower training.learning_rate if it takes steps"
        )


def _tell(
    progress: Progress,
    tally: Tally,
    model: Bounded,
    dimensions: float,
    passes: int,
    precision: float | None,
    budget: int,
) -> None:
    if precision is None or tally.start or tally.passes < 2:
        progress.at(tally.seen)
        return
    so_far = tally.evaluation(dimensions, model.bound, False)
    total = min(max(passes, passes_needed(so_far, precision)), budget) * len(tally.means)
    progress.at(tally.seen, total=total, detail=f"Monte Carlo error {so_far.se_monte_carlo:.2g}")


def passes_needed(evaluation: Evaluation, precision: float) -> int:
    """About how many passes a precision takes, at least those that its error is known from."""
    by_error = math.ceil(evaluation.passes * (evaluation.se_monte_carlo / precision) ** 2)
    return max(by_error, 1 + math.ceil(FREEDOM / evaluation.batch_means.shape[1]))


def _satisfied(
    tally: Tally, model: Bounded, dimensions: float, passes: int, precision: float | None, budget: int
) -> bool:
    if tally.passes < passes:
        return False
    if precision is None or tally.passes >= budget:
        return True
    if (tally.passes - 1) * tally.batches < FREEDOM:
        return False
    return tally.evaluation(dimensions, model.bound, False).se_monte_carlo <= precision


def _refuse_nan(values: np.ndarray, start: int) -> None:
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        found = values[bad][0].sum()
        unlikely = ", as if it had no probability" if found == np.inf else ""
        raise broken(f"the bound on example {start + int(bad.argmax())} is {found}, no finite number{unlikely}")


def check(model: Bounded, split: Split) -> int:
    """The number of examples. Raises `UserError` unless there are some, of the model's shape."""
    if len(split) == 0:
        raise UserError("there are no examples to evaluate")
    if tuple(split.x.shape[1:]) != tuple(model.shape):
        raise UserError(f"the model is of examples of shape {model.shape}, the data have {tuple(split.x.shape[1:])}")
    return len(split)


def seed_of(*entropy: int) -> int:
    """One seed made of several numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
