"""Codes by the probability-flow ODE of two networks: how much do they agree, and what follows? (Section 5, outlook iii)

The flow of the exact score takes x to one z_1 that depends on the data's law alone, so two networks that both learned
it encode alike. Pairs here differ in the seed, after more and more steps; in the architecture; or in the half of the
training data that they saw. Agreement is the correlation of codes of test examples over examples and dimensions. Before
training a model is that of independent pixels, whose code every network starts from; what training added to it is
compared by itself. Then: does the other network decode a code (x̂ against x), and does a linear probe for the label,
fitted on the codes of one, serve those of the other?

    python experiments/flow_codes.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import GREY, panels
from shared.training import EVEN, SMALL, TINY, configured, trained
from torch import Tensor

from vlb.data import Dataset, load
from vlb.measure.diagnostics import label_probe
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.flow.density import ENDS
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers.generate import decode, encode
from vlb.models.diffusion.samplers.ode import ProbabilityFlow

SMALL_UNET = ("widths=[16, 32]",)


@dataclass(frozen=True)
class Budget:
    """first: the network, other: one of another architecture, as set of `digits`; steps: of training, for pairs of
    seeds; longest: for the other pairs; examples: training examples whose codes are probed."""

    first: tuple[str, ...] = SMALL
    other: tuple[str, ...] = (*SMALL_UNET, "steps=80")
    steps: tuple[int, ...] = (50, 400)
    longest: int = 400
    examples: int = 300
    tolerance: float = 1e-3


BUDGETS = {
    "toy": Budget(TINY, (*TINY, "backbone.blocks=2"), (3,), 3, 100),
    "short": Budget(),
    "night": Budget((), (*SMALL, "steps=1000"), (50, 200, 1000), 1000, 1257),
}


def pair(budget: Budget, which: str, steps: int) -> Values:
    """Train two, and compare their codes."""
    data = load("digits")
    settings = (*budget.first, f"steps={steps}")
    second, seen = settings, (data, data)
    if which == "architectures":
        second = budget.other
    if which == "halves of the data":
        seen = halves(data)
    experiments = [
        configured("digits", (*EVEN, *assignments), seed) for seed, assignments in enumerate((settings, second))
    ]
    networks = [trained(experiment, part).model for experiment, part in zip(experiments, seen, strict=True)]
    plain = [experiment.build(part).eval() for experiment, part in zip(experiments, seen, strict=True)]
    return compared(networks, plain, data, budget)


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """Two data sets that share validation and test examples, and no training example."""
    order = np.random.default_rng(0).permutation(len(data.train))
    parts = (np.sort(order[::2]), np.sort(order[1::2]))
    first, second = (replace(data, train=data.train.take(part)) for part in parts)
    return first, second


@torch.no_grad()
def compared(networks: list[DiffusionModel], plain: list[DiffusionModel], data: Dataset, budget: Budget) -> Values:
    """Two networks, each beside itself before training."""
    first, other = networks
    flow = ProbabilityFlow(budget.tolerance, budget.tolerance)
    train = data.train.subset(budget.examples)
    x, known = torch.from_numpy(data.test.x), torch.from_numpy(train.x)
    a, b, start_a, start_b = (encode(model, flow, x, ENDS) for model in (*networks, *plain))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))

    def error(model: DiffusionModel, code: Tensor) -> float:
        mean = decode(model, flow, code, ENDS).mean  # type: ignore[attr-defined]
        return math.sqrt(float((((mean - model.embedding.embed(x)) * 8.5) ** 2).mean()))

    assert train.labels is not None and data.test.labels is not None
    probes = [
        label_probe(encode(model, flow, known, ENDS), train.labels, code, data.test.labels)
        for model, code in ((first, a), (first, b), (plain[0], start_a))
    ]
    return {
        "bounds": [measure_bound(model, data.test, passes=8).bits_per_dim for model in (first, other)],
        "agreement": correlation(a, b),
        "added": correlation(a - start_a, b - start_b),
        "size of added": [float(code.square().mean().sqrt()) for code in (a - start_a, b - start_b)],
        "error": {
            "itself": error(first, a),
            "the other": error(other, a),
            "itself, another example": error(first, a[order]),
        },
        "probe": {"own": probes[0], "other's": probes[1], "untrained": probes[2]},
    }


def correlation(a: Tensor, b: Tensor) -> float:
    """Over examples and dimensions, each dimension centred."""
    a, b = a.flatten(1) - a.flatten(1).mean(0), b.flatten(1) - b.flatten(1).mean(0)
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Two seeds after more and more steps, two architectures, two halves of the data."""
    seeds = {f"two seeds, {n} steps": partial(pair, budget, "seeds", n) for n in budget.steps}
    others = {f"two {which}": partial(pair, budget, which, budget.longest) for which in OTHERS}
    return seeds | others


OTHERS = ("architectures", "halves of the data")


def draw(found: Found) -> Figure:
    """Agreement, whole and of what training added; errors of decoding."""
    figure, (left, right) = panels(2)
    names, rows = list(found.arms), list(found.arms.values())
    place = np.arange(len(names))
    left.barh(place - 0.2, [row["agreement"] for row in rows], 0.38, label="codes")
    left.barh(place + 0.2, [row["added"] for row in rows], 0.38, label="what training added")
    left.set(xlabel="correlation", title="how much two networks' codes agree", xlim=(0, 1))
    left.set_yticks(place, names)
    left.invert_yaxis()
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    for number, name in enumerate(rows[0]["error"]):
        right.plot([row["error"][name] for row in rows], place, "o", ms=6, color=f"C{number + 2}", label=name)
    right.set(xlabel="error of decoding, levels of 16", title="decoding a code")
    right.set_yticks(place, [""] * len(place))
    right.grid(axis="y", color=GREY, lw=0.3)
    right.invert_yaxis()
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    return figure


def tell(found: Found) -> str:
    """A table and what it says."""
    lines = [
        "| two that differ in | test bounds | codes agree | what training added | decoded by itself, by the other, "
        "from another example's code | probe: own, other's, untrained |",
        "|---" * 6 + "|",
    ]
    for name, row in found.arms.items():
        bounds = " and ".join(f"{bound:.3f}" for bound in row["bounds"])
        errors = ", ".join(f"{error:.2f}" for error in row["error"].values())
        probes = ", ".join(f"{probe:.2f}" for probe in row["probe"].values())
        agreement = f"{row['agreement']:.3f} | {row['added']:.3f}"
        lines.append(f"| {name.removeprefix('two ')} | {bounds} | {agreement} | {errors} | {probes} |")
    return "\n".join(lines)


EXPERIMENT = Experiment(
    name="flow_codes",
    title="Do two networks encode alike?",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: bars of the correlation between two networks' codes, whole and of what training added. Right: the error "
    "of decoding a code by its own network, by the other, and of another example's code.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
