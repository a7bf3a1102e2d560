"""`vlb.train`: a recipe, or an experiment of one's own, into a run directory."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlb.base.configuration import override
from vlb.base.errors import UserError, suggestion
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.ranks import ALONE, Ranks
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, load
from vlb.data.hub import absolute
from vlb.data.sources import OF_POINTS, OWN, SOUNDS, Cutting
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.economy import Economy, refuse_precision
from vlb.training.loop import fit
from vlb.training.options import TrainOptions
from vlb.training.recipes import recipe as named
from vlb.training.trackers import Tracker

DEFAULT = TrainOptions()


@dataclass(frozen=True)
class TrainResult(Result):
    """What `vlb.train` returns. finished: False where a person interrupted it: `resume` goes on."""

    run: Run
    finished: bool

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"run": str(self.run.path), "finished": self.finished}

    def table(self) -> Table:
        """Where the run is."""
        rows = (("run", str(self.run.path)), ("finished", "yes" if self.finished else "no: interrupted"))
        return Table(self.run.experiment.recipe, ("", ""), (rows,), numbers=False)


@ordinary()
def train(
    recipe: str | Experiment,
    options: TrainOptions = DEFAULT,
    *,
    out: Path | None = None,
    resume: bool = False,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    trackers: Sequence[Tracker] = (),
    ranks: Ranks = ALONE,
) -> TrainResult:
    """Train a recipe by name, or an experiment, into a run directory, as `vlb train` does; or go on with one.

    out: the directory, new unless `resume`; by default the first free of runs/RECIPE, runs/RECIPE-2, …. data: one's
    own, for the recipes `images`, `sound`, `volumes`, `points` and of tables. trackers: who is told of what
    metrics.jsonl holds, such as `vlb.training.trackers.TensorBoard()`. ranks: this process among those that
    train together, which `vlb.core.ranks.joined` finds. Raises `UserError` for what is
    not there or does not fit.
    """
    progress.begin("reading the data")
    experiment = adjust(named(recipe) if isinstance(recipe, str) else recipe, options, data)
    if resume:
        run = _resumed(experiment.recipe, out, changed=options != DEFAULT)
        own, model = run.data(data, progress), None
    else:
        refuse_precision(experiment.training, torch.device(device))
        run, own, model = _begun(experiment, out, progress, ranks)
    progress.say(f"run {run.path}: {own.name}, {so_many(len(own.train), 'example')} of {own.shape}, {own.schema.kind}")
    for heading, words in own.about.rows:
        progress.say(f"{heading}: {words}")
    finished = fit(
        run.experiment,
        own,
        run,
        model=model,
        resume=resume,
        device=device,
        progress=progress,
        trackers=trackers,
        ranks=ranks,
    )
    return TrainResult(run, finished)


def adjust(experiment: Experiment, options: TrainOptions, data_path: Path | None) -> Experiment:
    """The experiment with what the options change. Raises `UserError` for what does not fit."""
    condition, seed = options.condition, options.seed
    for assignment in options.overrides:
        experiment = override(experiment, assignment)
    if condition is not None:
        if condition not in ("none", "labels"):
            raise UserError(f"--condition {condition!r} is not offered; {suggestion(condition, ('none', 'labels'))}")
        if hasattr(experiment.model, "condition"):
            experiment = override(experiment, f"model.condition={condition}")
        elif condition == "labels":
            raise UserError(
                f"the model of {experiment.recipe!r} is not conditioned on labels: leave out --condition labels"
            )
    if seed is not None:
        experiment = dataclasses.replace(experiment, seed=seed)
    if data_path is not None:
        if experiment.data.name not in OWN:
            raise UserError(
                f"--data belongs to the recipes {' and '.join(OWN)}; {experiment.recipe!r} brings its own data"
            )
        source = dataclasses.replace(experiment.data, path=absolute(data_path))
        experiment = dataclasses.replace(experiment, data=source)
    if not options.header:
        experiment = override(experiment, "data.header=false")
    if options.schema is not None:
        source = dataclasses.replace(experiment.data, schema=str(options.schema.absolute()))
        experiment = dataclasses.replace(experiment, data=source)
    if options.crop is not None:
        if experiment.data.name != "images":
            raise UserError(f"--crop is of a folder of pictures, by the recipe images: not of {experiment.recipe!r}")
        source = dataclasses.replace(experiment.data, crop=options.crop, margin=options.margin)
        experiment = dataclasses.replace(experiment, data=source)
    if options.window is not None or options.mu_law:
        if experiment.data.name not in SOUNDS:
            raise UserError(f"--window and --mu-law are of sound: leave them out for {experiment.recipe!r}")
        window = options.window or experiment.data.window
        source = dataclasses.replace(experiment.data, window=window, mu_law=options.mu_law)
        experiment = dataclasses.replace(experiment, data=source)
    if options.points is not None:
        if experiment.data.name not in OF_POINTS:
            raise UserError(f"--points is of clouds of points: leave it out for {experiment.recipe!r}")
        source = dataclasses.replace(experiment.data, points=options.points)
        experiment = dataclasses.replace(experiment, data=source)
    if options.skip_damaged:
        if experiment.data.name not in (*SOUNDS, "points", "volumes") and experiment.data.crop is None:
            raise UserError("--skip-damaged is of recordings, clouds, meshes and, with --crop, pictures: leave it out")
        source = dataclasses.replace(experiment.data, skip_damaged=True)
        experiment = dataclasses.replace(experiment, data=source)
    if options.leave_out:
        source = dataclasses.replace(experiment.data, leave_out=options.leave_out)
        experiment = dataclasses.replace(experiment, data=source)
    return experiment


def _begun(
    experiment: Experiment, out: Path | None, progress: Progress, ranks: Ranks
) -> tuple[Run, Dataset, nn.Module]:
    source = experiment.data
    if source.name in OWN and source.path is None:
        raise UserError(f"the recipe {experiment.recipe!r} needs your data: --data PATH")
    ranks.refuse_uneven(experiment.training.batch)
    if out is None and ranks.size > 1:
        raise UserError("several processes train into one run: say which, --out DIR")
    if out is not None and ranks.writes:
        Run.refuse_existing(out)
    path, schema = (None if where is None else Path(where) for where in (source.path, source.schema))
    cut = Cutting(
        experiment.pieces,
        source.skip_damaged,
        progress,
        source.window,
        source.mu_law,
        source.points,
        experiment.position,
    )
    data = load(source.name, path, source.header, schema, source.leave_out, cut)
    progress.begin("building the model, with what it takes from the data")
    model = experiment.build(data, progress)
    Economy(model, experiment.build_loss(model), experiment.training)  # what cannot be built must leave no run behind
    path = out or _free_folder(experiment.recipe)
    made = Run.create(path, experiment, data) if ranks.writes else None
    ranks.wait()
    return made or Run.open(path), data, model


def _resumed(name: str, out: Path | None, changed: bool) -> Run:
    if out is None:
        raise UserError("--resume needs --out DIR, the run to go on with")
    run = Run.open(out)
    if run.experiment.recipe != name:
        raise UserError(f"{out} is a run of the recipe {run.experiment.recipe!r}, not {name!r}")
    if changed:
        raise UserError(
            "--resume goes on with the run's own configuration: leave out --set, --seed, --condition, --schema, "
            "--leave-out, --no-header, --crop, --margin, --window, --mu-law, --points and --skip-damaged"
        )
    return run


def _free_folder(name: str) -> Path:
    number = 1
    while (path := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path
