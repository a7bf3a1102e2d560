"""Weightings of the loss: is there a trade-off between the bound and samples, and does monotone weighting remove it?

Eight weightings w(λ) from the same initial weights, batches, noise and levels of noise (even in λ), per seed. The bound
(w = 1) is on test examples. Samples, by DPM-Solver++(2M), are judged against the training examples in the features of a
classifier trained here (`shared/quality.py`). All numbers are of the average of weights at the end of training:
choosing by the bound would favour it. Beside them, what held-out data and independent pixels get.

    python experiments/weightings.py [--budget short]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from shared.arms import Experiment, Found, Values, main
from shared.quality import Classifier, classifier, quality
from shared.style import panels
from shared.training import EVEN, SMALL, TINY, configured, mean_and_error, trained

from vlb.data import Dataset, load
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion import weightings
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.weightings.base import FixedWeighting

NAMES = {
    "likelihood": "bound, w = 1",
    "sigmoid": "sigmoid",
    "velocity-cosine": "v, cosine",
    "edm-monotonic": "EDM-monotonic",
    "edm": "EDM",
    "noise-cosine": "ε, cosine",
    "p2": "P2",
    "min-snr": "Min-SNR",
}


@dataclass(frozen=True)
class Budget:
    """data: the recipe, and set: what is set of it; passes: over `examples` test examples; samples: how many, in how
    many steps; epochs: of the classifier."""

    data: str = "digits"
    set: tuple[str, ...] = (*SMALL, "steps=300")
    seeds: tuple[int, ...] = (0, 1, 2)
    passes: int = 8
    examples: int = 1000
    samples: int = 500
    steps: int = 20
    epochs: int = 15


BUDGETS = {
    "toy": Budget(set=TINY, seeds=(0,), passes=2, examples=50, samples=80, steps=3, epochs=1),
    "short": Budget(),
    "night": Budget(set=("steps=1000",), passes=16, samples=2000, steps=30),
}


def learned(tag: str, budget: Budget, seed: int) -> Values:
    """One weighting, one seed."""
    data = load(budget.data)
    experiment = configured(budget.data, (*EVEN, *budget.set, f"loss.weighting={tag}"), seed)
    model = trained(experiment, data, evaluations=1).model
    bound = measure_bound(model, data.test.subset(budget.examples), passes=budget.passes)
    grid = UniformLogSNR()(model.process.schedule, budget.steps)
    x = generate(model, DPMSolver(), budget.samples, grid, torch.Generator().manual_seed(seed))
    return {"bound": bound.bits_per_dim, "monte carlo": bound.se_monte_carlo} | judged(data, budget, x.numpy())


@cache
def judge(data: str, epochs: int) -> tuple[Classifier, np.ndarray]:
    """One for all arms, and what it makes of the training examples."""
    found = classifier(load(data), epochs)
    return found, found.judged(load(data).train.x)


def judged(data: Dataset, budget: Budget, x: np.ndarray) -> Values:
    """Their quality."""
    by, known = judge(budget.data, budget.epochs)
    return quality(by.judged(x), known, known[data.train.subset_index(len(x))])._asdict()


def held_out(budget: Budget) -> Values:
    """Of data that are no training examples."""
    data = load(budget.data)
    return judged(data, budget, np.concatenate((data.validation.x, data.test.x))[: budget.samples])


def independent(budget: Budget) -> Values:
    """Of pixels shuffled over training examples, each by itself: exact samples of their marginals."""
    data, generator = load(budget.data), np.random.default_rng(0)
    return judged(data, budget, generator.permuted(np.asarray(data.train.x), axis=0)[: budget.samples])


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Two that frame the rest, and one per weighting and seed."""
    frame = {"held-out data": partial(held_out, budget), "independent pixels": partial(independent, budget)}
    return frame | {
        f"{tag}, seed {seed}": partial(learned, tag, budget, seed) for seed in budget.seeds for tag in NAMES
    }


def over_seeds(found: Found, tag: str, name: str) -> list[float]:
    """What the arms of a weighting have under `name`."""
    return [found.arms[f"{tag}, seed {seed}"][name] for seed in found.budget["seeds"]]


def monotone(found: Found, tag: str) -> bool:
    """Whether it is, between the ends of the recipe's schedule."""
    weighting: FixedWeighting = weightings.WEIGHTINGS.offered[tag]()
    schedule = configured(found.budget["data"], (), 0).model.schedule  # type: ignore[union-attr]
    return weightings.describe(weighting, schedule.gamma_0, schedule.gamma_1).monotone


def draw(found: Found) -> Figure:
    """Fréchet distance, and recall, against the bound: a point per seed; filled: monotone."""
    figure, (left, right) = panels(2, height=3.8)
    for number, (tag, name) in enumerate(NAMES.items()):
        bound = over_seeds(found, tag, "bound")
        face = {} if monotone(found, tag) else {"mfc": "none"}
        left.plot(bound, over_seeds(found, tag, "frechet"), "o", ms=6, label=name, color=f"C{number}", **face)
        right.plot(
            over_seeds(found, tag, "precision"), over_seeds(found, tag, "recall"), "o", ms=6, color=f"C{number}", **face
        )
    left.axhline(found.arms["held-out data"]["frechet"], color="C0", ls=":")
    left.set(xlabel="test bound, bits/dim", ylabel="Fréchet distance", title="filled: monotone; dotted: held-out data")
    right.plot(
        *(found.arms["held-out data"][name] for name in ("precision", "recall")), "*", color="C0", ms=9, mfc="none"
    )
    right.set(xlabel="precision", ylabel="recall", title="star: held-out data")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def tell(found: Found) -> str:
    """A table and what it says."""
    heads = (
        "w(λ)",
        "monotone",
        "test bound, bits/dim",
        "Fréchet distance",
        "less that of w = 1",
        "precision",
        "recall",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    plain = over_seeds(found, "likelihood", "frechet")
    for tag, name in NAMES.items():
        cells = [mean_and_error(over_seeds(found, tag, key), digits)
                 for key, digits in (("bound", 3), ("frechet", 2), ("precision", 3), ("recall", 3))]  # fmt: skip
        paired = [one - other for one, other in zip(over_seeds(found, tag, "frechet"), plain, strict=True)]
        cells.insert(2, "" if tag == "likelihood" else mean_and_error(paired, 2).replace("-", "−"))
        lines.append(f"| {name} | {'yes' if monotone(found, tag) else 'no'} | {' | '.join(cells)} |")
    for name in ("held-out data", "independent pixels"):
        values = found.arms[name]
        lines.append(f"| {name} | | | {values['frechet']:.2f} | | {values['precision']:.3f} | {values['recall']:.3f} |")
    rank = spearmanr(*([np.mean(over_seeds(found, tag, key)) for tag in NAMES] for key in ("bound", "frechet")))
    statistic = f"{rank.statistic:+.2f}".replace("-", "−")
    return "\n".join(lines) + f"\n\nThe rank correlation of bound and Fréchet distance over the eight is {statistic}."


EXPERIMENT = Experiment(
    name="weightings",
    title="Weightings: bound and samples",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: Fréchet distance against the test bound for eight weightings, a point per seed. Right: recall against "
    "precision of the same samples.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
