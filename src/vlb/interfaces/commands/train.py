"""`vlb train`."""

import dataclasses
import sys
import time
from pathlib import Path

import torch

from vlb.base.configuration import override
from vlb.base.errors import UserError, suggestion
from vlb.data import Dataset, load
from vlb.data.sources import OWN
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory, progress_bar
from vlb.store.experiment import DataConfig, Experiment
from vlb.store.runs import Run
from vlb.training.loop import Progress, train
from vlb.training.recipes import recipe


def run_training(
    name: str,
    out: Path | None,
    resume: bool,
    data_path: Path | None,
    condition: str | None,
    seed: int | None,
    overrides: list[str],
    device: str | None,
) -> None:
    """Train a recipe into a run directory, or go on with one."""
    keep_freed_memory()
    chosen = choose_device(device)
    experiment = adjust(recipe(name), data_path, condition, seed, overrides)
    if resume:
        run = _resumed(name, out, changed=bool(overrides) or condition is not None or seed is not None)
        data = run.data(data_path)
    else:
        source = experiment.data
        if source.name in OWN and source.path is None:
            raise UserError(f"the recipe {name!r} needs your data: --data PATH")
        if out is not None and out.exists():
            raise UserError(f"{out} exists already: choose another --out, or --resume to go on with a run")
        data = load(source.name, Path(source.path) if source.path else None)
        experiment.build_loss(experiment.build(data))  # a configuration that cannot be built must leave no run behind
        run = Run.create(out or _free_folder(name), experiment, data)
    console.print(f"run {run.path}: {data.name}, {len(data.train)} examples of {data.shape}, {data.levels} levels")
    finished = _train(run, data, resume, chosen)
    if not finished:
        console.print(f"interrupted and saved; go on with: vlb train {name} --out {run.path} --resume")
        sys.exit(130)
    console.print(f"trained; next: vlb evaluate {run.path}")


def adjust(
    experiment: Experiment, data_path: Path | None, condition: str | None, seed: int | None, overrides: list[str]
) -> Experiment:
    """The recipe with what the command line changes. Raises `UserError` for what does not fit."""
    for assignment in overrides:
        experiment = override(experiment, assignment)
    if condition is not None:
        if condition not in ("none", "labels"):
            raise UserError(f"--condition {condition!r} is not offered; {suggestion(condition, ('none', 'labels'))}")
        experiment = override(experiment, f"condition={condition}")
    if seed is not None:
        experiment = dataclasses.replace(experiment, seed=seed)
    if data_path is not None:
        if experiment.data.name not in OWN:
            raise UserError(
                f"--data belongs to the recipes {' and '.join(OWN)}; {experiment.recipe!r} brings its own data"
            )
        source = DataConfig(name=experiment.data.name, path=str(data_path.absolute()))
        experiment = dataclasses.replace(experiment, data=source)
    return experiment


def _resumed(name: str, out: Path | None, changed: bool) -> Run:
    if out is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    run = Run.open(out)
    if run.experiment.recipe != name:
        raise UserError(f"{out} is a run of the recipe {run.experiment.recipe!r}, not {name!r}")
    if changed:
        raise UserError("--resume goes on with the run's own configuration: leave out --set, --seed and --condition")
    return run


def _free_folder(name: str) -> Path:
    number = 1
    while (path := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def _train(run: Run, data: Dataset, resume: bool, device: torch.device) -> bool:
    started, first_step = time.monotonic(), None
    with progress_bar() as bar:
        task = bar.add_task("training", total=run.experiment.training.steps, detail="")

        def show(progress: Progress) -> None:
            nonlocal first_step
            first_step = progress.step - 1 if first_step is None else first_step
            speed = (progress.step - first_step) / max(1e-9, time.monotonic() - started)
            detail = f"{progress.loss:.3f} {progress.unit}, {speed:.2f} steps/s"
            bar.update(task, completed=progress.step, detail=detail)
            if progress.note:
                bar.console.print(progress.note)

        finished = train(run.experiment, data, run, resume=resume, device=device, report=show)
        if finished:  # perhaps before this command began
            bar.update(task, completed=run.experiment.training.steps)
        return finished
