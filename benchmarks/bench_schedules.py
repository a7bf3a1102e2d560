"""Steps of training to a given bound, with fixed, learned and adaptive schedules.

The same network, batches, noise and learning rates for every arm and each seed: only where the noise levels of
training are drawn differs, and – for the arms that learn them – the ends. After every `--every` steps the averaged
weights are evaluated on validation examples. Prints, for each arm, the mean over seeds of the first step at which
the bound is at most the target (linearly interpolated), and the bound at the end.

    python benchmarks/bench_schedules.py [--data digits] [--steps 400] [--seeds 3] [--figure FILE]
    python benchmarks/bench_schedules.py --data fashion-mnist --steps 150 --every 15 --seeds 1
"""

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import numpy as np
import torch
from matplotlib.figure import Figure

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.data import Dataset, Split, load
from vlb.measure.evaluation import measure_bound
from vlb.training.batches import batch_indices
from vlb.training.loop import Trainer
from vlb.training.recipes import recipe

ARMS = {
    "fixed, log-SNR-linear": [],
    "fixed, cosine": ["model.schedule=cosine"],
    "learned, ends fixed": ["model.schedule=learned", "learn_ends=false"],
    "learned, ends too": ["model.schedule=learned"],
    "adaptive (4.130)": ["loss.times=adaptive"],
    "least variance": ["loss.times=least-variance"],
}


def curve(data: Dataset, validation: Split, settings: list[str], seed: int, every: int) -> np.ndarray:
    """(points, 2): step and validation bound, bits/dim, of one run of the recipe with `settings`."""
    experiment = recipe(data.name)
    for assignment in (*settings, f"seed={seed}"):
        experiment = override(experiment, assignment)
    model = experiment.build(data)
    trainer = Trainer(model, experiment.build_loss(model), experiment.training, seed, torch.device("cpu"))
    points = []
    while trainer.step < trainer.settings.steps:
        index = batch_indices(seed, trainer.step, trainer.settings.batch, len(data.train))
        trainer.update(*data.train.batch(index, False, trainer.device))
        if trainer.step % every == 0:
            current = {k: v.clone() for k, v in trainer.module.state_dict().items()}
            trainer.module.load_state_dict(trainer.average.tensors)
            with trainer.autocast():
                bound = measure_bound(model.eval(), validation, passes=4).bits_per_dim
            trainer.module.load_state_dict(current)
            model.train()
            points.append((trainer.step, bound))
    return np.array(points)


def reached(points: np.ndarray, target: float) -> float:
    """The first step at which the bound is at most `target`, interpolated; infinite where it never is."""
    below = np.flatnonzero(points[:, 1] <= target)
    if not len(below):
        return math.inf
    first = below[0]
    if first == 0:
        return float(points[0, 0])
    (a, high), (b, low) = points[first - 1], points[first]
    return float(a + (b - a) * (high - target) / (high - low))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", default="digits", help="the recipe: digits or fashion-mnist")
    arguments.add_argument("--steps", type=int, default=400)
    arguments.add_argument("--every", type=int, default=25)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--examples", type=int, default=250)
    arguments.add_argument("--targets", type=float, nargs="*", default=[2.1, 2.0, 1.95])
    arguments.add_argument("--set", action="append", default=[], help="override a field in every arm")
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    data = load(options.data)
    validation = data.validation.subset(options.examples)
    curves: dict[str, list[np.ndarray]] = {name: [] for name in ARMS}
    for seed in range(options.seeds):
        for name, settings in ARMS.items():
            shared = [f"steps={options.steps}", *options.set]
            curves[name].append(curve(data, validation, [*shared, *settings], seed, options.every))
            print(f"seed {seed}, {name}: {curves[name][-1][-1, 1]:.3f} bits/dim", flush=True)
    print(f"\n{'':24}" + "".join(f"{f'steps to {t:g}':>16}" for t in options.targets) + f"{'at the end':>20}")
    for name, runs in curves.items():
        steps = [[reached(points, target) for points in runs] for target in options.targets]
        cells = "".join(f"{np.mean(s):>16.0f}" if np.isfinite(s).all() else f"{'–':>16}" for s in steps)
        ends = np.array([points[-1, 1] for points in runs])
        error = f" ± {ends.std(ddof=1) / math.sqrt(len(ends)):.3f}" if len(ends) > 1 else ""
        print(f"{name:<24}{cells}{f'{ends.mean():.3f}{error}':>20}")
    if options.figure:
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.subplots()
        for name, runs in curves.items():
            mean = np.mean(runs, 0)
            axes.plot(mean[:, 0], mean[:, 1], label=name)
        axes.set(
            xlabel="step", ylabel="validation bound, bits/dim", title=f"{data.name}, mean of {options.seeds} seeds"
        )
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(options.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
