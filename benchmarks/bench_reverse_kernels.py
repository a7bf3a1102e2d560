"""Discrete-time bounds on digits: T × reverse kernel, rungs even in λ and placed at least cost.

Prints the tables of docs/discrete-time.md, and how often twice the levels give an example a worse bound;
`--figure FILE.svg` draws the first two.

    python benchmarks/bench_reverse_kernels.py [--run RUN] [--passes 4] [--figure docs/figures/reverse_kernels.svg]

Without --run a digits model is trained for 300 steps first.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import matplotlib
import numpy as np
import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.data import Split, load
from vlb.measure.evaluation import Evaluation, measure_bound
from vlb.models.diffusion import kernels
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.kernels import ReverseKernel
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.placement import Costs, average, cheapest, measure_costs
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

KERNELS: dict[str, ReverseKernel] = {tag: kind() for tag, kind in kernels.KERNELS.offered.items()}
EVEN, PLACED, CANDIDATES = (4, 8, 16, 32, 64), (1, 2, 4, 8, 16), 40


def digits_run(folder: Path) -> Run:
    """A digits model of 300 steps: a minute or two."""
    experiment, data = override(recipe("digits"), "steps=300"), load("digits")
    run = Run.create(folder / "run", experiment, data)
    fit(experiment, data, run)
    return run


def costs(model: DiffusionModel, split: Split, kernel: ReverseKernel, candidates: torch.Tensor) -> Costs:
    generator, parts, sizes = torch.Generator().manual_seed(0), [], []
    for start in range(0, len(split), 100):
        index = np.arange(start, min(start + 100, len(split)))
        parts.append(measure_costs(model, split.batch(index, False, "cpu")[0], candidates, kernel, generator))
        sizes.append(float(len(index)))
    return average(parts, sizes)


def row(name: str, results: list[Evaluation]) -> str:
    return f"| {name} | " + " | ".join(f"{r.bits_per_dim:.3f}" for r in results) + " |"


def draw(path: Path, even: dict[str, list[Evaluation]], placed: dict[str, list[Evaluation]], continuous: float) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (name, results), colour in zip(even.items(), ("#c44e52", "#dd8452", "#4c72b0"), strict=True):
        axes.plot(EVEN, [r.bits_per_dim for r in results], "o-", color=colour, label=f"{name}, even in λ")
        axes.plot(PLACED, [r.bits_per_dim for r in placed[name]], "s--", color=colour, label=f"{name}, placed")
    axes.axhline(continuous, color="grey", linewidth=1, label="continuous time")
    axes.set(xscale="log", xlabel="steps T", ylabel="bits/dim", ylim=(continuous - 0.05, continuous + 1.25))
    ticks = sorted({*EVEN, *PLACED})
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--passes", type=int, default=4)
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(options.run) if options.run else digits_run(Path(folder))
        data = run.data()
        model = run.model()
    schedule = model.process.schedule
    continuous = measure_bound(model, data.test, passes=8 * options.passes)
    print(f"continuous time: {continuous.bits_per_dim:.3f} ± {continuous.se_monte_carlo:.3f} (Monte Carlo) bits/dim")
    even: dict[str, list[Evaluation]] = {}
    placed: dict[str, list[Evaluation]] = {}
    print("\n| even in λ, T = | " + " | ".join(map(str, EVEN)) + " |\n|---|" + "---|" * len(EVEN))
    for name, kernel in KERNELS.items():
        grids = [model.at(UniformLogSNR()(schedule, steps), kernel) for steps in EVEN]
        even[name] = [measure_bound(grid, data.test, passes=options.passes) for grid in grids]
        print(row(name, even[name]), flush=True)
    worst = max(r.se_monte_carlo for results in even.values() for r in results)
    print(f"largest Monte Carlo standard error: {worst:.4f}")
    print("\n| placed, T = | " + " | ".join(map(str, PLACED)) + " |\n|---|" + "---|" * len(PLACED))
    candidates = UniformLogSNR()(schedule, CANDIDATES)
    for name, kernel in KERNELS.items():
        measured = costs(model, data.validation, kernel, candidates)
        chosen = {steps: candidates[cheapest(measured, steps)] for steps in PLACED}
        placed[name] = [measure_bound(model.at(chosen[t], kernel), data.test, passes=options.passes) for t in PLACED]
        print(row(name, placed[name]), flush=True)
        ends = [-schedule.gamma(chosen[t][[0, -1]]).squeeze(1) for t in PLACED]
        print(f"  λ from … to: {', '.join(f'{end[0]:.1f} … {end[1]:.1f}' for end in ends)}")
    print("\nmean of L_T − L_2T in bits/dim, and the share of test examples whose bound is worse with 2T:")
    for name, results in even.items():
        for steps, few, many in zip(EVEN, results, results[1:], strict=False):
            gain = few.totals - many.totals
            print(f"  {name}, {steps} → {2 * steps}: {few.bits(gain.mean()):+.4f}, {100 * (gain < 0).mean():.0f} %")
    if options.figure:
        draw(options.figure, even, placed, continuous.bits_per_dim)


if __name__ == "__main__":
    main()
