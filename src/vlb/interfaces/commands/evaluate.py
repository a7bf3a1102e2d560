"""`vlb evaluate`."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vlb.base.errors import UserError, suggestion
from vlb.base.files import write_text
from vlb.data import Dataset, Split
from vlb.data.dataset import SPLITS
from vlb.data.given import load_examples
from vlb.interfaces.commands.likelihoods import Request, importance, ode
from vlb.interfaces.commands.measure import (
    BATCH,
    CONTINUOUS_PASSES,
    DEAR_PASSES,
    PASSES,
    Effort,
    Keeper,
    default_place,
    measure,
    refuse_missed,
    stratified,
)
from vlb.interfaces.commands.process import choose_device, keep_freed_memory, refuse_existing
from vlb.measure.evaluation import Bounded, check
from vlb.measure.evaluation_file import Subject
from vlb.measure.recognition import recognise
from vlb.models.diffusion.grids import GRIDS, UniformLogSNR
from vlb.models.diffusion.kernels import KERNELS
from vlb.models.diffusion.model import WALK, DiffusionModel, GridDiffusion
from vlb.models.diffusion.placement import average, cheapest, measure_costs
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.models.ladder.model import LadderNetwork
from vlb.pages.summary import Discretisation, named, summarise
from vlb.store.runs import Run, diffusion_model

PLACEMENTS = {"t": "even in t", "snr": "even in log SNR", "dp": "by least cost on validation data"}
LARGE = 2000
CANDIDATES, PLACING_EXAMPLES, PLACING_BATCH = 40, 1000, 100


def run_evaluation(
    path: Path,
    split: str,
    effort: Effort,
    steps: int | None,
    kernel: str | None,
    placement: str | None,
    request: Request,
    data_path: Path | None,
    out: Path | None,
    values: Path | None,
    device: str | None,
) -> None:
    """Evaluate a run on a split, print a table, keep the values per example, write JSON where asked."""
    keep_freed_memory()
    effort.check()
    request.check(steps, kernel, placement)
    if not request.integrates:
        check_discretisation(steps, kernel, placement)
    if out is not None:
        refuse_existing(out)
    run = Run.open(path)
    data = run.data(data_path)
    if split not in SPLITS and Path(split).exists():
        data, split = with_own(data, Path(split), run.experiment.condition == "labels"), "test"
    chosen_split = data.split(split)
    chosen = choose_device(device)
    model = run.model(data, chosen)
    if isinstance(model, LadderNetwork):
        if request.dear or steps is not None:
            raise UserError(model.without_likelihood)
        if request.examples is not None or effort != Effort() or values is not None:
            raise UserError(
                "a ladder network is judged by one pass over the whole split, without draws: leave out --examples, "
                "--passes, --precision, --budget, --seed and --values"
            )
        judge_ladder(model, chosen_split, chosen, out)
        return
    conditional = run.experiment.condition == "labels"
    target: Bounded = model
    levels = None
    if steps is not None and not request.integrates:
        name, where = kernel or "standard", placement or "t"
        diffusion = diffusion_model(model, "a bound in --steps of discrete time")
        target = hierarchy = discretise(diffusion, data.validation, steps, name, where, conditional)
        gamma = diffusion.process.schedule.gamma(hierarchy.grid).mean(-1)
        levels = Discretisation(steps, name, where, hierarchy.grid.tolist(), gamma.tolist())
    likelihood = None
    if request.likelihood == "importance":
        likelihood = importance(request, target)
    elif request.integrates:
        likelihood = ode(request, model, data, conditional, steps, placement)
    index = request.part(chosen_split)
    part = chosen_split if len(index) == len(chosen_split) else chosen_split.take(index)
    bound = likelihood.bound if likelihood else target
    check(bound, part)
    continuous = isinstance(bound, DiffusionModel)
    usual = DEAR_PASSES if request.dear else CONTINUOUS_PASSES if continuous else PASSES
    # So many examples make the Monte Carlo error of their mean small without the cost of planned draws.
    planned = continuous and (len(part) <= LARGE or effort.precision is not None)
    subject = Subject(
        data=data.name,
        fingerprint=data.fingerprint,
        split=split,
        levels=data.levels,
        shape=data.shape,
        bound=bound.bound,
        conditional=conditional,
        model=run.fingerprint,
        options={
            "seed": effort.seed,
            "batch": BATCH,
            "estimator": "stratified" if planned else "terms",
            "likelihood": dataclasses.asdict(request) | {"examples": None},
            "discretisation": None if levels is None else dataclasses.asdict(levels),
        },
    )
    keeper = Keeper(values or default_place(path, subject, len(index)), subject, index)
    estimator = None
    if planned and isinstance(bound, DiffusionModel):
        bound = estimator = stratified(bound, data, split, conditional, keeper, chosen)
    evaluation = measure(bound, part, conditional, effort, chosen, keeper, usual)
    summary = summarise(evaluation, data, split, part, levels)
    summary["values"] = None if keeper.path is None else str(keeper.path)
    summary["estimator"] = None if estimator is None else describe(estimator, evaluation.passes)
    if levels is not None:
        summary["bound"] += f", levels {PLACEMENTS[levels.placement]}"
    summary["likelihood"] = likelihood.describe() if likelihood else {"kind": "bound"}
    Console().print(table(summary))
    refuse_missed(effort, evaluation, keeper)
    if out is not None:
        write_text(out, json.dumps(without_nan(summary), indent=2, allow_nan=False) + "\n")


def with_own(data: Dataset, path: Path, conditional: bool) -> Dataset:
    """The data with a person's own examples for a test split, called after them. Raises `UserError` if they differ."""
    own = load_examples(path, data.shape, data.levels, data.columns).split
    if conditional and own.labels is not None and data.classes is not None and int(own.labels.max()) >= data.classes:
        raise UserError(f"{path} has the label {int(own.labels.max())}, and the model knows 0 to {data.classes - 1}")
    return dataclasses.replace(data, name=path.name, test=own)


def describe(estimator: StratifiedBound, passes: int) -> dict[str, Any]:
    """How the bound was estimated, as JSON values."""
    return {
        "kind": "stratified",
        "network_evaluations": passes * estimator.evaluations,
        "plan": estimator.plan.encode(),
    }


def judge_ladder(model: LadderNetwork, split: Split, device: torch.device, out: Path | None) -> None:
    """Print and write what a ladder network is good for: its errors, and what denoising each level costs."""
    found = recognise(model, split, device=device)
    summary = {
        "error_rate": found.error_rate,
        "standard_error": found.standard_error,
        "cost_per_level": list(found.cost_per_level),
        "examples": found.examples,
        "labels_used": len(model.get_buffer("labels")),
        "likelihood": None,
    }
    Console().print(
        f"error rate {found.error_rate:.4f} ± {found.standard_error:.4f} on {found.examples} examples, after training "
        f"with {summary['labels_used']} labels; denoising cost per level, input first: "
        + ", ".join(f"{cost:.3f}" for cost in found.cost_per_level)
    )
    if out is not None:
        write_text(out, json.dumps(summary, indent=2) + "\n")


def check_discretisation(steps: int | None, kernel: str | None, placement: str | None) -> None:
    """Raises `UserError` for options that do not fit together."""
    if steps is None:
        if kernel is not None or placement is not None:
            raise UserError("--kernel and --placement belong to discrete time: say in how many --steps")
        return
    if steps < 1:
        raise UserError(f"--steps must be at least 1, not {steps}")
    if kernel is not None:
        KERNELS.kind(kernel, "--kernel")
    if placement is not None and placement not in PLACEMENTS:
        raise UserError(f"--placement {placement!r} is not offered; {suggestion(placement, PLACEMENTS)}")
    if placement == "dp" and steps > WALK:
        raise UserError(f"--placement dp is for up to {WALK} steps, not {steps}: with more, any placement serves")


@torch.no_grad()
def discretise(
    model: DiffusionModel, validation: Split, steps: int, kernel: str, placement: str, conditional: bool
) -> GridDiffusion:
    """The model on T steps of a kernel, its levels placed; `dp` looks at up to 1000 validation examples."""
    chosen = KERNELS.kind(kernel, "kernel")()
    if placement != "dp":
        grid = GRIDS.kind(placement, "placement")()(model.process.schedule, steps)
    else:
        candidates = UniformLogSNR()(model.process.schedule, max(CANDIDATES, 2 * steps))
        some, generator = validation.subset(PLACING_EXAMPLES), torch.Generator().manual_seed(0)
        costs, sizes = [], []
        for start in range(0, len(some), PLACING_BATCH):
            index = np.arange(start, min(start + PLACING_BATCH, len(some)))
            x, condition = some.batch(index, conditional, model.device)
            costs.append(measure_costs(model, x, candidates, chosen, generator, condition))
            sizes.append(float(len(index)))
        grid = candidates[cheapest(average(costs, sizes), steps)]
    return model.at(grid, chosen)


def table(summary: dict[str, Any]) -> Table:
    """The bound, its terms and the baselines, in bits/dim."""
    few, all_ = summary["examples"], summary["split_examples"]
    shown = f"{few} of {all_}" if few < all_ else str(all_)
    view = Table(
        title=f"{summary['data']['name']}, {summary['split']}: {shown} examples × "
        f"{summary['dimensions']} dimensions, {summary['kind']}",
        caption=f"{summary['bound']}; ± standard error (data {summary['se_data']:.4f}, "
        f"Monte Carlo {summary['se_monte_carlo']:.4f}, {summary['passes']} passes)",
    )
    view.add_column("")
    view.add_column("bits/dim", justify="right")
    what = "exact" if summary["bound"].startswith("exact") else "bound"
    view.add_row(what, f"[bold]{summary['bits_per_dim']:.4f} ± {summary['standard_error']:.4f}[/bold]")
    if len(summary["terms"]) > 1:
        for name, value in summary["terms"].items():
            view.add_row(f"  {name}", f"{value:.4f}")
    nats = summary["dimensions"] * math.log(2)
    view.add_row("  in nats per example", f"{summary['nats_per_example']:.2f} ± {nats * summary['standard_error']:.2f}")
    view.add_section()
    for name, value in summary["baselines"].items():
        view.add_row(named(name, summary["shape"]), f"{value:.4f}")
    return view


def without_nan(summary: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null stands for an error that a single example cannot have."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in summary.items()}
