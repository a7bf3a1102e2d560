"""`vlb.score`: −log p of every example, with what tells strange examples from known ones."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlb.base.errors import UserError, suggestion
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, Split
from vlb.data.baselines import PER_EXAMPLE, per_example
from vlb.data.dataset import SPLITS
from vlb.data.given import Given, load_examples
from vlb.measure.evaluation import Bounded, Evaluation, measure_bound
from vlb.measure.options import ScoreOptions
from vlb.measure.outliers import complexity, likelihood_ratio, typicality
from vlb.measure.planning import planned, planning
from vlb.store.runs import Run

TRAINING_EXAMPLES = 500
LZMA = "lzma"
SHOWN = 20
DEFAULT = ScoreOptions()


@dataclass(frozen=True)
class ScoreResult(Result):
    """What `vlb.score` returns. columns: (examples,) numbers by name, `nats` −log p among them; names: of examples that
    are files of their own, else empty; about: what they are of, as JSON values; evaluation: what they are from."""

    columns: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    about: Mapping[str, Any]
    evaluation: Evaluation

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        columns = {name: values.tolist() for name, values in self.columns.items()}
        return {"about": dict(self.about), "names": list(self.names), **columns}

    def table(self) -> Table:
        """The first examples; the caption says what is true of all."""
        rows = [
            (self.names[i] if self.names else str(i), *(f"{values[i]:.4f}" for values in self.columns.values()))
            for i in range(min(SHOWN, len(self.evaluation.values)))
        ]
        title = f"the first {len(rows)} of {len(self.evaluation.values)} examples"
        return Table(title, ("example", *self.columns), (tuple(rows),), self.words)

    @property
    def words(self) -> str:
        """The mean, and what it is of."""
        its = self.evaluation
        return (
            f"{len(its.values)} examples, {its.bits_per_dim:.4f} ± {its.standard_error:.4f} bits/dim, "
            f"{self.about['kind']}; {self.about['nats']}"
        )

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(self.words, markup=False, highlight=False)

    def as_csv(self) -> bytes:
        """A line per example: its number, its name where it has one, and the columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["example", *(["name"] if self.names else []), *self.columns])
        rows = zip(*(values.tolist() for values in self.columns.values()), strict=True)
        for number, row in enumerate(rows):
            writer.writerow([number, *([self.names[number]] if self.names else []), *map(repr, row)])
        return text.getvalue().encode("utf-8", "surrogateescape")  # names are the bytes that they are on disk

    def as_npz(self) -> bytes:
        """The columns as arrays, `names` where there are any, and `about`, a JSON text."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"about": np.array(json.dumps(self.about)), **self.columns}
        if self.names:
            arrays["names"] = np.array(self.names)
        np.savez(buffer, **arrays)
        return buffer.getvalue()


@dataclass(frozen=True)
class Scored:
    """A run on its data, ready to score examples that were given as `where`."""

    run: Run
    data: Dataset
    where: str
    options: ScoreOptions
    device: torch.device | str
    progress: Progress

    def evaluation(self, split: Split, where: str | None = None) -> Evaluation:
        """Values of every example; where: the split's name, if it is another one."""
        bounded: Bounded = self.run.model(self.device)
        conditional, ways = self.run.conditional, planning(bounded)
        if ways is not None:
            bounded = planned(ways, self.data, where or self.where, conditional, self.progress, self.options.draws)
        return measure_bound(
            bounded,
            split,
            conditional=conditional,
            passes=self.options.passes,
            seed=self.options.seed,
            device=self.device,
            progress=self.progress,
        )


@ordinary()
def score(
    run: Run | str | Path,
    examples: str | Path,
    options: ScoreOptions = DEFAULT,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ScoreResult:
    """−log p of every example in order, with its Monte Carlo error, as `vlb score` writes them.

    examples: train, validation or test of the run's own data, or a folder of images, an .npy, .npz or IDX file or a
    table of the same columns. data: where the run's own data are now, if they have moved. Raises `UserError` for what
    is not there or does not fit, and for a model without a likelihood.
    """
    check_background(options.background)
    opened = _opened(run)
    needs = str(examples) in SPLITS or options.typicality
    own = opened.data(data) if needs else opened.reference(opened.model(device), data)
    if own.why:
        progress.say(own.why)
    given = found(str(examples), own, opened.conditional)
    for note in given.notes:
        progress.say(note)
    background = _background_run(options.background, own)
    scored = Scored(opened, own, str(examples), options, device, progress)
    evaluation = scored.evaluation(given.split)
    columns = {
        "nats": evaluation.totals,
        "bits_per_dim": evaluation.totals / (evaluation.dimensions * math.log(2)),
        "monte_carlo_error_nats": np.sqrt(evaluation.monte_carlo_variance),
    }
    about: dict[str, Any] = {
        "nats": f"{evaluation.bound}{' given y' if evaluation.conditional else ''}, per example",
        "kind": f"discrete, {own.levels} levels",
        "dimensions": evaluation.dimensions,
        "model": opened.fingerprint,
        "trained_on": own.name,
        "examples": str(examples),
        "passes": options.passes,
        "draws": options.draws,
        "seed": options.seed,
    }
    if options.typicality:
        training = scored.evaluation(own.train.subset(TRAINING_EXAMPLES), "train")
        about["training_nats"] = float(training.totals.mean())
        columns["typicality"] = typicality(evaluation.totals, about["training_nats"])
    if options.background is not None:
        other = _background(options.background, background, scored, given.split, data)
        columns["background_nats"] = other
        columns["likelihood_ratio"] = likelihood_ratio(evaluation.totals, other)
        about["background"] = options.background
    return ScoreResult(columns, given.names, about, evaluation)


def found(examples: str, data: Dataset, conditional: bool) -> Given:
    """The examples of a split of the run's own data, or of a path. Raises `UserError` for what is neither."""
    if examples in SPLITS:
        return Given(data.split(examples), ())
    return load_examples(Path(examples), data.schema, conditional=conditional)


def check_background(name: str | None) -> None:
    """Raises `UserError` for a background that is neither a run nor a baseline."""
    if name is not None and name not in (*PER_EXAMPLE, LZMA) and not Path(name).exists():
        raise UserError(f"--background {name}: there is no such run; {suggestion(name, (*PER_EXAMPLE, LZMA))}")


def _background_run(name: str | None, data: Dataset) -> Run | None:
    """The background where it is a run. Raises `UserError` for one that gives no ratio."""
    if name is None or name == LZMA or name in PER_EXAMPLE:
        return None
    run = _opened(name)
    own = run.schema
    if own.shape != data.shape or own.levels != data.levels:
        raise UserError(
            f"--background {name} is of {own.levels} levels and examples of shape {own.shape}, the model "
            f"of {data.levels} and {data.shape}: the two give no ratio"
        )
    return run


def _background(name: str, run: Run | None, scored: Scored, split: Split, data_path: Path | None) -> np.ndarray:
    data = scored.data
    if run is None:
        return complexity(split.x, data.levels) if name == LZMA else per_example(name, data, split)
    same = run.content["data"]["fingerprint"] == data.fingerprint
    its = data if same else run.data(data_path)
    return Scored(run, its, scored.where, scored.options, scored.device, scored.progress).evaluation(split).totals


def _opened(run: Run | str | Path) -> Run:
    """A run that has a likelihood. Raises `UserError` otherwise."""
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.refuse_without_likelihood()
    return opened
