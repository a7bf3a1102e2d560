"""Every likelihood of one digits model on the same examples, and how the PF-ODE's converges in its tolerance.

Prints the tables of docs/likelihoods.md; `--figure FILE.svg` draws the convergence.

    python benchmarks/bench_likelihoods.py [--run RUN] [--examples 100] [--figure FILE.svg]

Without --run a digits model is trained for 300 steps first.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import matplotlib
import numpy as np
import torch
from torch import Tensor

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Dataset, Split, load
from vlb.measure.evaluation import Bounded, measure_bound
from vlb.measure.importance import ImportanceWeighted
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.dequantisation import Diffused, TruncatedNormalBins, UniformBins, VariationalBins
from vlb.models.diffusion.flow.divergence import ExactDivergence, Hutchinson
from vlb.models.diffusion.flow.integrate import AdaptiveSteps, FixedSteps
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.kernels import ExactMixture, Standard
from vlb.models.diffusion.model import DiffusionModel
from vlb.store.runs import Run, diffusion_model
from vlb.training.batches import batch_indices
from vlb.training.loop import fit
from vlb.training.recipes import recipe

STEPS, DRAWS, TOLERANCE = 16, (1, 4, 16, 64), 1e-3
TOLERANCES, FIXED, REFERENCE, FEW = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6), (4, 8, 16, 32, 64), 1e-8, 10


def bounds(model: DiffusionModel, data: Dataset) -> Iterator[tuple[str, Bounded, int]]:
    """Name, bound and passes of each row of the table."""
    yield "bound, continuous time", model, 32
    grid = UniformLogSNR()(model.process.schedule, STEPS)
    for kernel in (Standard(), ExactMixture()):
        yield f"bound, T = {STEPS}, {kernel}", model.at(grid, kernel), 8
    for draws in DRAWS:
        weighted = ImportanceWeighted(model.at(grid, ExactMixture()), draws)
        yield f"importance-weighted, T = {STEPS}, mixture, K = {draws}", weighted, max(4, 8 // draws)
    learned = VariationalBins(data.levels, data.shape)
    x, generator = torch.from_numpy(data.train.x), torch.Generator().manual_seed(0)
    batches = [(x[batch_indices(0, step, 64, len(x))], UNCONDITIONAL) for step in range(300)]
    learned.fit(model, batches, torch.zeros(1, dtype=torch.float64), generator)
    flow = Flow(model, AdaptiveSteps(TOLERANCE), Hutchinson())
    for way in (Diffused(), UniformBins(), TruncatedNormalBins(), learned):
        yield f"PF-ODE, {way}", FlowBound(flow, way), 4


def print_table(model: DiffusionModel, data: Dataset, split: Split) -> None:
    print(
        f"{len(split)} of {len(data.test)} test examples of {data.name}, bits/dim; T even in λ, tolerance {TOLERANCE}"
    )
    print("\n| | bits/dim | se_data | se_monte_carlo | passes | seconds |\n|---|---|---|---|---|---|")
    for name, bound, passes in bounds(model, data):
        began = time.monotonic()
        found = measure_bound(bound, split, passes=passes)
        print(
            f"| {name} | {found.bits_per_dim:.4f} | {found.se_data:.3f} | {found.se_monte_carlo:.4f} | {passes} "
            f"| {time.monotonic() - began:.0f} |",
            flush=True,
        )


def print_convergence(model: DiffusionModel, double: DiffusionModel, split: Split, figure: Path | None) -> None:
    """log p_ODE(z_0) of the same z_0 and probes by tolerance, by steps and in both precisions."""
    x, scale = torch.from_numpy(np.ascontiguousarray(split.x[:FEW])), np.log(2) * np.prod(split.x.shape[1:])
    start = torch.zeros(1, dtype=torch.float64)
    z = model.process.marginal(model.embedding.embed(x).double(), start).sample(torch.Generator().manual_seed(1))

    def solve(flow: Flow) -> tuple[Tensor, int]:
        found = flow.log_prob(z, UNCONDITIONAL, torch.Generator().manual_seed(2))
        return found.log_prob / scale, found.evaluations

    exactly = Flow(double, AdaptiveSteps(REFERENCE), Hutchinson())
    reference, evaluations = solve(exactly)
    print(
        f"\nlog p_ODE(z_0) of {len(z)} examples against tolerance {REFERENCE:g} in float64 ({evaluations} evaluations)"
    )
    lines: dict[str, list[tuple[int, float]]] = {}

    def row(line: str, name: str, flow: Flow) -> None:
        value, evaluations = solve(flow)
        worst = (value - reference).abs().max().item()
        lines.setdefault(line, []).append((evaluations, worst))
        print(f"| {line} | {name} | {evaluations} | {worst:.1e} |", flush=True)

    print("\n| | | evaluations | largest error, bits/dim |\n|---|---|---|---|")
    for line, chosen in (("adaptive, float64", double), ("adaptive, float32", model)):
        for tolerance in TOLERANCES:
            adaptive = AdaptiveSteps(tolerance)
            row(line, f"tolerance {tolerance:g}", dataclasses.replace(exactly, model=chosen, integrator=adaptive))
    for steps in FIXED:
        grid = UniformLogSNR()(model.process.schedule, steps)
        fixed = dataclasses.replace(exactly, integrator=FixedSteps(), grid=grid)
        row("fixed, even in λ, float64", f"{steps} steps", fixed)
    few, many = (np.log(lines["fixed, even in λ, float64"][i]) for i in (-3, -1))
    print(f"\nobserved order of the last three fixed ones: {(few[1] - many[1]) / (many[0] - few[0]):.1f}")
    coarse = Flow(model, AdaptiveSteps(TOLERANCE))
    began = time.monotonic()
    exact, _ = solve(dataclasses.replace(coarse, divergence=ExactDivergence()))
    seconds = time.monotonic() - began
    for count in (1, 4):
        began = time.monotonic()
        stochastic, _ = solve(dataclasses.replace(coarse, divergence=Hutchinson(count)))
        print(
            f"Hutchinson, {count} probes, less the exact divergence: standard deviation over examples "
            f"{(stochastic - exact).std().item():.4f} bits/dim; {time.monotonic() - began:.1f} s, exact {seconds:.1f} s"
        )
    if figure:
        draw(figure, lines)


def draw(path: Path, lines: dict[str, list[tuple[int, float]]]) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for (name, points), style in zip(lines.items(), ("o-", "s--", "^-"), strict=True):
        axes.plot(*zip(*points, strict=True), style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="network evaluations", ylabel="largest error of log p(z₀), bits/dim")
    ticks = [25, 50, 100, 200, 400]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    plot.savefig(path, metadata={"Date": None})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--examples", type=int, default=100)
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        if options.run:
            run = Run.open(options.run)
        else:
            experiment, data = override(recipe("digits"), "steps=300"), load("digits")
            run = Run.create(Path(folder) / "run", experiment, data)
            fit(experiment, data, run)
        data = run.data()
        model, double = (diffusion_model(run.model(), "a flow") for _ in range(2))
    split = data.test.subset(options.examples)
    print_table(model, data, split)
    print_convergence(model, double.double(), split, options.figure)


if __name__ == "__main__":
    main()
