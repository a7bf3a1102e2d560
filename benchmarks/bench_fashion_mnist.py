"""Fashion-MNIST: the validation bound against training time, posterior head beside plain v-prediction.

One run of each, the same U-Net, batches and steps, interleaved so that a noisy machine hurts both alike:
the posterior head with its learned decoder (λ_max 7.5), the posterior head at λ_max 13.3, and
v-prediction at λ_max 13.3, which has no decoder and needs the fine end. Writes a table and a figure.

    python benchmarks/bench_fashion_mnist.py [--seconds 300] [--figure docs/figures/fashion_mnist.svg]
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from matplotlib.figure import Figure

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.data import load
from vlb.measure.evaluation import measure_bound
from vlb.training.batches import batch_indices
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

ARMS = {
    "posterior head, λ_max 7.5": [],
    "posterior head, λ_max 13.3": ["gamma_0=-13.3"],
    "v-prediction, λ_max 13.3": ["gamma_0=-13.3", "head=regression"],
}

# Nothing in training that suits one arm more than another.
PLAIN = (
    "optimiser=adamw", "loss.times=low-discrepancy", "model.head=posterior", "widths=[64, 64, 64]", "batch=64",
)  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=300, help="training time per arm")
    arguments.add_argument("--every", type=float, default=60, help="seconds between evaluations")
    arguments.add_argument("--examples", type=int, default=300)
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    data = load("fashion-mnist")
    validation = data.validation.subset(options.examples)
    trainers, spent, curves = {}, dict.fromkeys(ARMS, 0.0), {name: [] for name in ARMS}
    for name, settings in ARMS.items():
        # The steps set the pace of the learning rate; what fits in the time is close to this on 2 cores.
        experiment = recipe("fashion-mnist")
        for assignment in (*PLAIN, f"steps={int(options.seconds)}", *settings):
            experiment = override(experiment, assignment)
        model = experiment.build(data)
        trainers[name] = Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
    while any(seconds < options.seconds for seconds in spent.values()):
        for name, trainer in trainers.items():
            started = time.monotonic()
            while time.monotonic() - started < options.every and trainer.step < trainer.settings.steps:
                index = batch_indices(0, trainer.step, trainer.settings.batch, len(data.train))
                trainer.update(*data.train.batch(index, False, trainer.device))
            spent[name] += max(time.monotonic() - started, options.every)
            current = {k: v.clone() for k, v in trainer.module.state_dict().items()}
            trainer.module.load_state_dict(trainer.average.tensors)
            with trainer.autocast():
                bound = measure_bound(trainer.model.eval(), validation, passes=2)
            trainer.module.load_state_dict(current)
            trainer.model.train()
            curves[name].append((spent[name], trainer.step, bound.bits_per_dim))
            print(f"{name}: {spent[name]:.0f} s, {trainer.step} steps, {bound.bits_per_dim:.3f} bits/dim", flush=True)
    if options.figure:
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.subplots()
        for name, points in curves.items():
            axes.plot([p[0] for p in points], [p[2] for p in points], marker="o", markersize=3, label=name)
        axes.set(xlabel="training time, s (2 CPU cores)", ylabel="validation bound, bits/dim")
        axes.legend()
        figure.savefig(options.figure)


if __name__ == "__main__":
    main()
