"""How likely a model finds data: the bound on −log p(x) with its terms, error and baselines.

The whole split is seen once per pass, the last partial batch included. Each pass draws its own
times (evenly spread over a batch) and noise, so the passes are independent randomisations: their
spread is the Monte Carlo error, and the spread over examples the data error. Each batch of a pass
has its own seed. Batches then are independent, too, and the error is known well after a few passes;
and a `Tally` continued later gives the same numbers to the bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.data import Split
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.protocols import LikelihoodModel


@dataclass(frozen=True)
class Evaluation:
    """Bounds on −log p(x), in nats per example; `bits` converts to bits per dimension.

    names: of the bound's terms; values: (examples, terms) float64, their means over passes; batch_means:
    (passes, batches) mean totals; batch: examples in each, but for the last; monte_carlo_variance: (examples,) of
    the mean total. `vlb.measure.evaluation_file` keeps it, and what it is of.
    """

    names: tuple[str, ...]
    values: np.ndarray
    batch_means: np.ndarray
    batch: int
    monte_carlo_variance: np.ndarray
    dimensions: int
    bound: str
    conditional: bool

    def bits(self, nats: float) -> float:
        """nats per example -> bits per dimension."""
        return nats / (self.dimensions * math.log(2))

    @property
    def totals(self) -> np.ndarray:
        """−VLB per example, (examples,) nats."""
        return self.values.sum(1)

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
    def terms(self) -> dict[str, float]:
        """The mean of each term, bits/dim."""
        return {name: self.bits(float(mean)) for name, mean in zip(self.names, self.values.mean(0), strict=True)}

    @property
    def kl_per_level(self) -> list[float] | None:
        """The mean of each term `kl_i`, i = 1 next to the data first, bits/dim; None where there is none."""
        return [value for name, value in self.terms.items() if name.startswith("kl_")] or None

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
        Of a single example nothing is known: NaN.
        """
        n = len(self.values)
        if n == 1:
            return math.nan
        variance = float(self.totals.var(ddof=1)) - float(self.monte_carlo_variance.mean())
        return self.bits(math.sqrt(max(variance, 0.0) / n))

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `se_monte_carlo`."""
        return (self.passes - 1) * self.batch_means.shape[1]

    @property
    def standard_error(self) -> float:
        """Both errors together, bits/dim."""
        return math.hypot(self.se_data, self.se_monte_carlo)


# An error that stops an evaluation has at least so many degrees of freedom: with fewer, those that happen to come out
# small stop it.
FREEDOM = 8

Amount = TypeVar("Amount", float, np.ndarray)


def folded(terms: dict[str, Amount]) -> dict[str, Amount]:
    """The terms of a diffusion model with its steps' KLs as one, whose sum they are; others as they are."""
    steps = [value for name, value in terms.items() if name.startswith("kl_")]
    if "prior" not in terms or not steps:
        return terms
    kept = {name: value for name, value in terms.items() if not name.startswith("kl_")}
    return kept | {"diffusion": sum(steps[1:], start=steps[0])}


class Bounded(Protocol):
    """What an evaluation asks of a model; a diffusion model on a grid has it, too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> str: ...

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[str, Tensor]: ...


@dataclass
class Tally:
    """An evaluation in progress, exact to continue: running means per example, and what each batch has given.

    names: of the bound's terms; means: (examples, terms) float64 nats, over the passes that each example has seen;
    deviations: (examples,), the sum of squared deviations of its totals; batch: examples in each batch but the
    last of a pass; batch_means: mean totals of the batches seen, in order, pass after pass.
    """

    names: tuple[str, ...]
    means: np.ndarray
    deviations: np.ndarray
    batch: int
    batch_means: list[float] = field(default_factory=list)

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

    def add(self, values: np.ndarray) -> None:
        """Take in one draw of the terms of the next batch, (batch, terms)."""
        part = slice(self.start, self.start + len(values))
        means, totals = self.means[part], values.sum(1)
        before = totals - means.sum(1)
        means += (values - means) / (self.passes + 1)
        # Never negative but by rounding.
        self.deviations[part] += np.maximum(before * (totals - means.sum(1)), 0)
        self.batch_means.append(float(totals.mean()))

    def evaluation(self, dimensions: int, bound: str, conditional: bool) -> Evaluation:
        """What the whole passes say, at least 2 of them and no other begun; dimensions: of an example."""
        if self.start or self.passes < 2:
            raise ValueError(f"{self.passes} whole passes and {self.start} examples of another are no evaluation")
        variance = self.deviations / (self.passes * (self.passes - 1))
        means = np.array(self.batch_means).reshape(self.passes, self.batches)
        # A copy: the tally may go on.
        return Evaluation(self.names, self.means.copy(), means, self.batch, variance, dimensions, bound, conditional)


def unwatched(_tally: Tally) -> None:
    """Nothing happens between batches."""


@torch.no_grad()
def evaluate(
    model: Bounded,
    split: Split,
    *,
    conditional: bool = False,
    passes: int = 8,
    precision: float | None = None,
    budget: int = 0,
    seed: int = 0,
    batch: int = 250,
    device: torch.device | str = "cpu",
    tally: Tally | None = None,
    watch: Callable[[Tally], None] = unwatched,
) -> Evaluation:
    """The model's bound on every example of `split`, from `passes` ≥ 2 draws each.

    conditional: log p(x | y) with the split's labels. precision, budget: go on after `passes` until `se_monte_carlo`
    is at most `precision` bits/dim, known from at least `FREEDOM` degrees of freedom, or `budget` passes are spent;
    stopping by the error does not bias the mean of nearly normal pass means, which is independent of their spread.
    tally: what an interrupted evaluation of the same model, examples, seed and batch has left; it is continued, in
    place. watch: called with the tally after each batch, to save it or show it. Raises `UserError` for data the model
    cannot be asked about, and for a bound that is not a number.
    """
    count = check(model, split)
    if passes < 2:
        raise UserError(f"an error needs at least 2 passes, not {passes}")
    if precision is not None and not 0 < precision < math.inf:
        raise UserError(f"a precision is a positive number of bits per dimension, not {precision:g}")
    if conditional and split.labels is None:
        raise UserError(
            "this model is conditioned on labels, and these data have none: give an .npz file with `x` and `labels`"
        )
    if tally is not None and (len(tally.means), tally.batch) != (count, batch):
        raise ValueError(f"a tally of {len(tally.means)} examples in batches of {tally.batch} cannot go on with others")
    while tally is None or tally.start or not _satisfied(tally, model, passes, precision, budget):
        repetition, start = (0, 0) if tally is None else (tally.passes, tally.start)
        index = np.arange(start, min(start + batch, count))
        x, condition = split.batch(index, conditional, device)
        generator = torch.Generator().manual_seed(_seed(seed, repetition, start))
        terms = model.terms(x, condition, generator)
        values = torch.stack([term.double() for term in terms.values()], 1).cpu().numpy()
        _refuse_nan(values, start)
        tally = tally or Tally(tuple(terms), np.zeros((count, len(terms))), np.zeros(count), batch)
        tally.add(values)
        watch(tally)
    return tally.evaluation(math.prod(model.shape), model.bound, conditional)


def _satisfied(tally: Tally, model: Bounded, passes: int, precision: float | None, budget: int) -> bool:
    if tally.passes < passes:
        return False
    if precision is None or tally.passes >= budget:
        return True
    if (tally.passes - 1) * tally.batches < FREEDOM:
        return False
    return tally.evaluation(math.prod(model.shape), model.bound, False).se_monte_carlo <= precision


def _refuse_nan(values: np.ndarray, start: int) -> None:
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise UserError(
            f"the bound on example {start + int(bad.argmax())} is {values[bad][0].sum()}, no finite number: "
            "the model's weights are broken, or it gives this example no probability"
        )


def check(model: Bounded, split: Split) -> int:
    """The number of examples. Raises `UserError` unless there are some, of the model's shape."""
    if len(split) == 0:
        raise UserError("there are no examples to evaluate")
    if tuple(split.x.shape[1:]) != tuple(model.shape):
        raise UserError(f"the model is of examples of shape {model.shape}, the data have {tuple(split.x.shape[1:])}")
    return len(split)


@dataclass(frozen=True)
class NoiseProfile:
    """Where on the noise axis the bound is paid: mean ½‖ε − ε̂‖² per dimension and nat of λ, by bin of λ.

    log_snr: (bins,) centres; bits: (bins,) bits/dim per unit of λ, whose integral is the diffusion term.
    """

    log_snr: np.ndarray
    bits: np.ndarray


@torch.no_grad()
def noise_profile(
    model: DiffusionModel,
    split: Split,
    *,
    conditional: bool,
    bins: int = 40,
    limit: int = 1000,
    batch: int = 250,
    device: torch.device | str = "cpu",
) -> NoiseProfile:
    """The bound's rate at `bins` noise levels, equal in λ, on up to `limit` examples."""
    schedule = model.process.schedule
    edges = np.linspace(-schedule.gamma_1, -schedule.gamma_0, bins + 1)
    sums, counts = np.zeros(bins), np.zeros(bins)
    generator = torch.Generator().manual_seed(0)
    count = min(limit, len(split))
    for repetition in range(math.ceil(32 * bins / count)):
        for start in range(0, count, batch):
            index = np.arange(start, min(start + batch, count))
            x, condition = split.batch(index, conditional, device)
            cell = (np.arange(len(index)) + repetition) % bins
            offset = torch.rand(len(index), generator=generator, dtype=torch.float64).numpy()
            log_snr = edges[cell] + offset * (edges[1] - edges[0])
            t = schedule.inverse(torch.from_numpy(-log_snr).to(device))
            rate = schedule.rate(t).mean(-1)
            value = (model.term(x, t, condition, generator) / rate).double().cpu().numpy()
            np.add.at(sums, cell, value)
            np.add.at(counts, cell, 1)
    scale = math.prod(model.shape) * math.log(2)
    return NoiseProfile(0.5 * (edges[:-1] + edges[1:]), sums / np.maximum(counts, 1) / scale)


@torch.no_grad()
def classify(
    model: LikelihoodModel,
    split: Split,
    classes: int,
    *,
    draws: int = 16,
    seed: int = 0,
    batch: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """log p(y | x) by Bayes' rule from the bounds on log p(x | y), equal p(y): (examples, classes) nats.

    All classes of an example share times and noise, so that the differences keep only what y changes.
    """
    count = check(model, split)
    bounds = np.zeros((count, classes))
    for start in range(0, count, batch):
        index = np.arange(start, min(start + batch, count))
        x, _ = split.batch(index, False, device)
        for label in range(classes):
            generator = torch.Generator().manual_seed(_seed(seed, start))
            condition = Condition(label=torch.full((len(index),), label, device=device))
            for _ in range(draws):
                terms = model.terms(x, condition, generator)
                bounds[index, label] -= torch.stack(list(terms.values())).sum(0).double().cpu().numpy() / draws
    shifted = bounds - bounds.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
