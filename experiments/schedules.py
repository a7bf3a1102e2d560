"""Fixed, learned and adaptive noise levels in training: steps to a bound, and the bound at the end.

The same network, batches, noise and learning rates for every arm and each seed: only where the noise levels of training
are drawn differs, and, for the arms that learn them, the ends. The averaged weights are evaluated on validation
examples as training goes; the first step at which the bound is at most a target is interpolated. What the densities do
to the variance of the loss and of its gradient, at one model, is in `loss_variance.py`.

    python experiments/schedules.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import panels
from shared.training import EVEN, SMALL, TINY, configured, mean_and_error, trained

from vlb.data import load

SETTINGS = {
    "fixed, log-SNR-linear": (),
    "fixed, cosine": ("model.schedule=cosine",),
    "learned, ends fixed": ("model.schedule=learned", "learn_ends=false"),
    "learned, ends too": ("model.schedule=learned",),
    "adaptive (4.130)": ("loss.times=adaptive",),
    "least variance": ("loss.times=least-variance",),
}


@dataclass(frozen=True)
class Part:
    """One data set. set: what is set of its recipe; every: steps between evaluations; examples: of validation."""

    data: str
    set: tuple[str, ...]
    steps: int
    every: int
    seeds: tuple[int, ...]
    examples: int
    targets: tuple[float, ...]


@dataclass(frozen=True)
class Budget:
    """What is trained on."""

    parts: tuple[Part, ...]


BUDGETS = {
    "toy": Budget((Part("digits", TINY, 20, 10, (0,), 50, (2.6,)),)),
    "short": Budget((Part("digits", SMALL, 240, 20, (0, 1), 250, (2.3, 2.2, 2.15)),)),
    "night": Budget(
        (
            Part("digits", ("widths=[16, 32]",), 300, 25, (0, 1, 2), 250, (2.2, 2.1, 2.05)),
            Part("fashion-mnist", (), 150, 25, (0,), 200, (3.6, 3.45)),
        )
    ),
}


def curve(part: Part, name: str, seed: int) -> Values:
    """Steps and validation bounds, bits/dim, of one run."""
    data = load(part.data)
    experiment = configured(part.data, (*EVEN, *part.set, f"steps={part.steps}", *SETTINGS[name]), seed)
    evaluations = part.steps // part.every
    found = trained(experiment, data, evaluations=evaluations, examples=part.examples, passes=4).curve
    return {"steps": [step for step, _ in found], "bounds": [bound for _, bound in found]}


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Every way, seed by seed."""
    return {
        f"{part.data}, {name}, seed {seed}": partial(curve, part, name, seed)
        for part in budget.parts
        for seed in part.seeds
        for name in SETTINGS
    }


def reached(steps: np.ndarray, bounds: np.ndarray, target: float) -> float:
    """The first step at which the bound is at most `target`, interpolated; infinite where it never is."""
    below = np.flatnonzero(bounds <= target)
    if not len(below):
        return math.inf
    first = below[0]
    if first == 0:
        return float(steps[0])
    share = (bounds[first - 1] - target) / (bounds[first - 1] - bounds[first])
    return float(steps[first - 1] + share * (steps[first] - steps[first - 1]))


def runs(found: Found, part: Values, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and bounds of every seed."""
    arms = (found.arms[f"{part['data']}, {name}, seed {seed}"] for seed in part["seeds"])
    return [(np.array(arm["steps"]), np.array(arm["bounds"])) for arm in arms]


def draw(found: Found) -> Figure:
    """The mean curve of every way."""
    figure, axes = panels(len(found.budget["parts"]))
    for panel, part in zip(axes, found.budget["parts"], strict=True):
        for name in SETTINGS:
            curves = runs(found, part, name)
            panel.plot(curves[0][0], np.mean([bounds for _, bounds in curves], 0), label=name)
        ends = [bounds[-1] for name in SETTINGS for _, bounds in runs(found, part, name)]
        panel.set(xlabel="step", ylabel="validation bound, bits/dim", title=f"{part['data']}, mean over seeds")
        panel.set(ylim=(min(ends) - 0.02, min(ends) + 0.5))
    axes[0].legend()
    return figure


def tell(found: Found) -> str:
    """A table per data set."""
    tables = []
    for part in found.budget["parts"]:
        heads = [f"to {target:g}" for target in part["targets"]]
        lines = [f"| {part['data']}: steps | {' | '.join(heads)} | after {part['steps']} steps, bits/dim |"]
        lines.append("|---" * (2 + len(heads)) + "|")
        for name in SETTINGS:
            curves = runs(found, part, name)
            firsts = [float(np.mean([reached(*one, target) for one in curves])) for target in part["targets"]]
            cells = [f"{first:.0f}" if math.isfinite(first) else "–" for first in firsts]
            lines.append(f"| {name} | {' | '.join(cells)} | {mean_and_error([float(one[1][-1]) for one in curves])} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


EXPERIMENT = Experiment(
    name="schedules",
    title="Where training draws its noise levels",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="The validation bound against the step of training for six ways of drawing noise levels; the adaptive ones are "
    "lowest throughout, the fixed cosine schedule is highest.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
