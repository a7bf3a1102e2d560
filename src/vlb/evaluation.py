"""How likely a model finds data: the bound on −log p(x) with its terms, error and baselines.

The whole split is seen once per pass, the last partial batch included. Each pass draws its own
times (evenly spread over a batch) and noise, so the passes are independent randomisations: their
spread is the Monte Carlo error, and the spread over examples the data error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vlb.condition import Labels
from vlb.data import Split
from vlb.errors import UserError
from vlb.models.diffusion import DiffusionModel
from vlb.models.protocol import LikelihoodModel


@dataclass(frozen=True)
class Evaluation:
    """Bounds on −log p(x), in nats per example; `bits` converts to bits per dimension.

    names: of the bound's terms; values: (examples, terms) float64, their means over passes; pass_means:
    (passes,) mean total per pass; monte_carlo_variance: (examples,) of the mean total.
    """

    names: tuple[str, ...]
    values: np.ndarray
    pass_means: np.ndarray
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
        """Standard error of the bound over other draws of times and noise on these examples, bits/dim."""
        return self.bits(float(self.pass_means.std(ddof=1)) / math.sqrt(len(self.pass_means)))

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
    def standard_error(self) -> float:
        """Both errors together, bits/dim."""
        return math.hypot(self.se_data, self.se_monte_carlo)


class Bounded(Protocol):
    """What an evaluation asks of a model; a diffusion model on a grid has it, too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> str: ...

    def terms(self, x: Tensor, condition: object, generator: torch.Generator) -> dict[str, Tensor]: ...


@torch.no_grad()
def evaluate(
    model: Bounded,
    split: Split,
    *,
    conditional: bool = False,
    passes: int = 8,
    seed: int = 0,
    batch: int = 250,
    device: torch.device | str = "cpu",
    report: Callable[[int], None] = lambda _done: None,
) -> Evaluation:
    """The model's bound on every example of `split`, from `passes` ≥ 2 draws each.

    `conditional` gives log p(x | y) with the split's labels. Raises `UserError` for data the model cannot
    be asked about.
    """
    count = check(model, split)
    if passes < 2:
        raise UserError(f"an error needs at least 2 passes, not {passes}")
    if conditional and split.labels is None:
        raise UserError("this model is conditioned on labels, and these data have none")
    sums: dict[str, np.ndarray] = {}
    squares = np.zeros(count)
    pass_means = np.zeros(passes)
    for repetition in range(passes):
        generator = torch.Generator().manual_seed(_seed(seed, repetition))
        for start in range(0, count, batch):
            index = np.arange(start, min(start + batch, count))
            x, condition = examples(split, index, conditional, device)
            terms = model.terms(x, condition, generator)
            total = np.zeros(len(index))
            for name, term in terms.items():
                value = term.double().cpu().numpy()
                sums.setdefault(name, np.zeros(count))[index] += value
                total += value
            squares[index] += total**2
            pass_means[repetition] += total.sum() / count
            report(repetition * count + int(index[-1]) + 1)
    mean = np.stack(list(sums.values()), 1) / passes
    variance = (squares / passes - mean.sum(1) ** 2) / (passes - 1)
    return Evaluation(
        tuple(sums), mean, pass_means, np.maximum(variance, 0), math.prod(model.shape), model.bound, conditional
    )


def examples(
    split: Split, index: np.ndarray, conditional: bool, device: torch.device | str
) -> tuple[Tensor, Labels | None]:
    """Examples `index` of a split and their labels, where asked for, on the device: integers until there."""
    x = torch.from_numpy(np.ascontiguousarray(split.x[index])).to(device)
    if not conditional or split.labels is None:
        return x, None
    return x, Labels(torch.from_numpy(split.labels[index]).to(device))


def check(model: Bounded, split: Split) -> int:
    """The number of examples. Raises `UserError` unless they have the model's shape."""
    if len(split) == 0:
        raise UserError("there are no examples to evaluate")
    if tuple(split.x.shape[1:]) != model.shape:
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
            x, condition = examples(split, index, conditional, device)
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
        x, _ = examples(split, index, False, device)
        for label in range(classes):
            generator = torch.Generator().manual_seed(_seed(seed, start))
            condition = Labels(torch.full((len(index),), label, device=device))
            for _ in range(draws):
                terms = model.terms(x, condition, generator)
                bounds[index, label] -= torch.stack(list(terms.values())).sum(0).double().cpu().numpy() / draws
    shifted = bounds - bounds.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
