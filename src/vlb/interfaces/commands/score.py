"""`vlb score`."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from vlb.base.errors import UserError, suggestion
from vlb.base.files import write_bytes
from vlb.data import Dataset, Split
from vlb.data.baselines import PER_EXAMPLE, per_example
from vlb.data.dataset import SPLITS
from vlb.data.given import Given, load_examples
from vlb.interfaces.commands.measure import Effort, measure, planned
from vlb.interfaces.commands.process import choose_device, keep_freed_memory, refuse_existing
from vlb.measure.evaluation import Bounded, Evaluation
from vlb.measure.outliers import complexity, likelihood_ratio, typicality
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.models.ladder.config import LadderConfig
from vlb.models.ladder.model import LadderNetwork
from vlb.models.protocols import LikelihoodModel
from vlb.store.runs import Run

TRAINING_EXAMPLES = 500
LZMA = "lzma"


@dataclass(frozen=True)
class Request:
    """The options of `vlb score`. background: a run, a baseline or lzma; typical: whether to measure typicality."""

    passes: int = 4
    draws: int = 8
    seed: int = 0
    background: str | None = None
    typical: bool = False

    def check(self) -> None:
        """Raises `UserError` for options out of range."""
        if self.draws < 1:
            raise UserError(f"--draws must be at least 1, not {self.draws}")
        self.effort.check()
        name = self.background
        if name is not None and name not in (*PER_EXAMPLE, LZMA) and not Path(name).exists():
            raise UserError(f"--background {name}: there is no such run; {suggestion(name, (*PER_EXAMPLE, LZMA))}")

    @property
    def effort(self) -> Effort:
        """How long to evaluate."""
        return Effort(passes=self.passes, seed=self.seed)


def run_scoring(
    path: Path, examples: str, request: Request, data_path: Path | None, out: Path, device: str | None
) -> None:
    """Write −log p of every example to `out`, .npz or .csv."""
    keep_freed_memory()
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"{out}: scores are written as .npz or .csv")
    refuse_existing(out)
    request.check()
    run = _opened(path)
    data = run.data(data_path)
    chosen = choose_device(device)
    given = found(examples, data)
    other = _background_run(request, data)
    evaluation = scored(run, data, given.split, examples, request, chosen)
    columns = {
        "nats": evaluation.totals,
        "bits_per_dim": evaluation.totals / (evaluation.dimensions * math.log(2)),
        "monte_carlo_error_nats": np.sqrt(evaluation.monte_carlo_variance),
    }
    about: dict[str, Any] = {
        "nats": f"{evaluation.bound}{' given y' if evaluation.conditional else ''}, per example",
        "kind": f"discrete, {data.levels} levels",
        "dimensions": evaluation.dimensions,
        "model": run.fingerprint,
        "trained_on": data.name,
        "examples": examples,
        "passes": request.passes,
        "draws": request.draws,
        "seed": request.seed,
    }
    if request.typical:
        training = scored(run, data, data.train.subset(TRAINING_EXAMPLES), "train", request, chosen)
        about["training_nats"] = float(training.totals.mean())
        columns["typicality"] = typicality(evaluation.totals, about["training_nats"])
    if request.background is not None:
        background = _background(request, other, data, given.split, examples, data_path, chosen)
        columns["background_nats"] = background
        columns["likelihood_ratio"] = likelihood_ratio(evaluation.totals, background)
        about["background"] = request.background
    write_bytes(out, as_csv(columns, given.names) if out.suffix == ".csv" else as_npz(columns, given.names, about))
    mean, error = evaluation.bits_per_dim, evaluation.standard_error
    Console().print(
        f"{len(given.split)} examples, {mean:.4f} ± {error:.4f} bits/dim, {about['kind']}; {about['nats']}: {out}",
        markup=False,
        highlight=False,
    )


def found(examples: str, data: Dataset) -> Given:
    """The examples of a split of the run's own data, or of a path. Raises `UserError` for what is neither."""
    if examples in SPLITS:
        return Given(data.split(examples), ())
    return load_examples(Path(examples), data.shape, data.levels, data.columns)


def scored(run: Run, data: Dataset, split: Split, where: str, request: Request, device: torch.device) -> Evaluation:
    """A run's values of every example of `split`; where: the split's name, or what else it was given as."""
    model: LikelihoodModel = run.model(data, device)
    conditional = run.experiment.condition == "labels"
    bounded: Bounded = model
    if isinstance(model, DiffusionModel):
        bounded = StratifiedBound(model, planned(model, data, where, conditional, device, request.draws))
    return measure(bounded, split, conditional, request.effort, device)


def _background_run(request: Request, data: Dataset) -> Run | None:
    """The background where it is a run. Raises `UserError` for one that gives no ratio."""
    name = request.background
    if name is None or name == LZMA or name in PER_EXAMPLE:
        return None
    run = _opened(Path(name))
    own = run.data_description
    if tuple(own["shape"]) != data.shape or own["levels"] != data.levels:
        raise UserError(
            f"--background {name} is of {own['levels']} levels and examples of shape {tuple(own['shape'])}, the model "
            f"of {data.levels} and {data.shape}: the two give no ratio"
        )
    return run


def _background(
    request: Request,
    run: Run | None,
    data: Dataset,
    split: Split,
    where: str,
    data_path: Path | None,
    device: torch.device,
) -> np.ndarray:
    name = request.background
    assert name is not None
    if run is None:
        return complexity(split.x, data.levels) if name == LZMA else per_example(name, data, split)
    same = run.data_description["fingerprint"] == data.fingerprint
    return scored(run, data if same else run.data(data_path), split, where, request, device).totals


def _opened(path: Path) -> Run:
    """A run that has a likelihood. Raises `UserError` otherwise."""
    run = Run.open(path)
    if isinstance(run.experiment.model, LadderConfig):
        raise UserError(f"{path}: {LadderNetwork.without_likelihood}")
    return run


def as_csv(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> bytes:
    """A line per example: its number, its name where it has one, and the columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["example", *(["name"] if names else []), *columns])
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    for number, row in enumerate(rows):
        writer.writerow([number, *([names[number]] if names else []), *map(repr, row)])
    return text.getvalue().encode()


def as_npz(columns: dict[str, np.ndarray], names: tuple[str, ...], about: dict[str, Any]) -> bytes:
    """The columns as arrays, `names` where there are any, and `about`, a JSON text."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), **columns}
    if names:
        arrays["names"] = np.array(names)
    np.savez(buffer, **arrays)
    return buffer.getvalue()
