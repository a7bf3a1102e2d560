"""How much do bounds depend on the seed, and how much on the network?

The recipe `digits` with other networks and seeds, each as many steps as it is given. The spread over seeds, of initial
weights, batches and noise together, is set against the differences between networks and against the standard error over
test examples, which all share.

    python experiments/robustness.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import panels
from shared.training import EVEN, TINY, configured, mean_and_error, trained

from vlb.data import load
from vlb.measure.evaluation import measure_bound

NETWORKS = {
    "MLP, 128 wide": ("backbone=mlp", "backbone.width=128", "backbone.blocks=2"),
    "MLP, 256 wide": ("backbone=mlp", "backbone.width=256", "backbone.blocks=2"),
    "U-Net, 16 and 32 wide": ("widths=[16, 32]",),
    "U-Net, no attention": ("widths=[16, 32]", "attention=[false, false]"),
}


@dataclass(frozen=True)
class Budget:
    """steps: of the MLPs and of the U-Nets, a step of which costs about five times as much; also: what else is set."""

    steps: tuple[int, int] = (400, 80)
    seeds: tuple[int, ...] = (0, 1, 2)
    passes: int = 8
    also: tuple[str, ...] = ()


BUDGETS = {
    "toy": Budget((10, 10), (0,), 2, TINY),
    "short": Budget(),
    "night": Budget((1000, 1000), (0, 1, 2, 3, 4), 32),
}


def learned(network: str, budget: Budget, seed: int) -> Values:
    """One of them: the test bound, its errors, how many weights."""
    data = load("digits")
    steps = budget.steps[network.startswith("U-Net")]
    model = trained(configured("digits", (*EVEN, *NETWORKS[network], *budget.also, f"steps={steps}"), seed), data).model
    bound = measure_bound(model, data.test, passes=budget.passes)
    return {
        "bound": bound.bits_per_dim,
        "monte carlo": bound.se_monte_carlo,
        "over examples": bound.se_data,
        "weights": sum(parameter.numel() for parameter in model.parameters()),
    }


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Every network, seed by seed."""
    return {f"{name}, seed {seed}": partial(learned, name, budget, seed) for seed in budget.seeds for name in NETWORKS}


def of(found: Found, name: str, key: str) -> list[float]:
    """What the arms of a network have under `key`."""
    return [found.arms[f"{name}, seed {seed}"][key] for seed in found.budget["seeds"]]


def draw(found: Found) -> Figure:
    """A point per seed."""
    figure, (axes,) = panels(1)
    for number, name in enumerate(NETWORKS):
        bounds = of(found, name, "bound")
        axes.errorbar(bounds, [number] * len(bounds), xerr=of(found, name, "monte carlo"), fmt="o", ms=6)
    axes.set(xlabel="test bound, bits/dim", title="a point per seed, Monte Carlo error")
    axes.set_yticks(range(len(NETWORKS)), list(NETWORKS))
    return figure


def tell(found: Found) -> str:
    """A table and the spreads."""
    lines = ["| network | weights | test bound, bits/dim | spread over seeds | Monte Carlo error |", "|---" * 5 + "|"]
    spreads = []
    for name in NETWORKS:
        bounds = of(found, name, "bound")
        spread = float(np.std(bounds, ddof=1)) if len(bounds) > 1 else math.nan
        spreads.append(spread)
        noise = float(np.sqrt(np.mean(np.square(of(found, name, "monte carlo")))))
        weights = found.arms[f"{name}, seed {found.budget['seeds'][0]}"]["weights"]
        lines.append(f"| {name} | {weights:,} | {mean_and_error(bounds)} | {spread:.3f} | {noise:.3f} |")
    means = [float(np.mean(of(found, name, "bound"))) for name in NETWORKS]
    error = float(np.mean([value for name in NETWORKS for value in of(found, name, "over examples")]))
    return "\n".join(lines) + (
        f"\n\nThe networks' means differ by up to {max(means) - min(means):.3f} bits/dim; seeds of one network by "
        f"{np.mean(spreads):.3f} in the standard deviation, on the same draws for all. Another test set of this size "
        f"would move all of them by about {error:.3f}."
    )


EXPERIMENT = Experiment(
    name="robustness",
    title="Seeds and networks",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Test bounds of four networks, a point per seed with its Monte Carlo error.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
