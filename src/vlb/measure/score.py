"""`vlb.score`: −log p of every example, with what tells strange examples from known ones."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from vlb.base.errors import UserError, suggestion
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.ranks import ALONE, Ranks
from vlb.core.surroundings import ordinary
from vlb.core.terms import BoundKind
from vlb.data import Dataset, Split
from vlb.data.baselines import PER_EXAMPLE, per_example
from vlb.data.dataset import SPLITS
from vlb.data.given import Given, load_examples, told
from vlb.measure.evaluation import Bounded, measure_bound
from vlb.measure.maps import Tiled
from vlb.measure.options import ScoreOptions
from vlb.measure.outliers import complexity, likelihood_ratio, typicality
from vlb.measure.planning import planned, planning
from vlb.measure.wholes import Wholes
from vlb.models.protocols import how_given, refuse_given
from vlb.store.runs import Run

TRAINING_EXAMPLES = 500
LZMA = "lzma"
SET = "nats_of_the_set"  # whose order is forgotten
SHOWN = 20
ERROR = "monte_carlo_error_nats"
LARGE = 0.25  # share of the spread between examples, from which on errors are said to be large
SAME = 1e-9  # share of the largest |log p|, up to which a spread is rounding: more passes find no other
DEFAULT = ScoreOptions()


@dataclass(frozen=True)
class ScoreResult(Result):
    """What `vlb.score` returns. columns: (examples,) numbers by name, `nats` −log p among them, in the order that was
    given and NaN for rows that were left out; given: which these are, and the examples and their names; about: what the
    scores are of, as JSON values; tiled: what examples are the sums of, where they are pictures of any size."""

    columns: Mapping[str, np.ndarray]
    given: Given
    about: Mapping[str, Any]
    tiled: Tiled | None = None

    def maps(self) -> Iterator[tuple[str, bytes]]:
        """For each picture that was scored by tiles, its name and a PNG of it beside a map of its unlikely parts.
        Raises `UserError` for other examples."""
        if self.tiled is None:
            raise UserError("maps are of pictures that are seen in tiles (--crop): leave out --maps")
        return self.tiled.maps(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of examples that are files of their own, else empty."""
        return self.given.names

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        columns = {name: values.tolist() for name, values in self.columns.items()}
        return {"about": dict(self.about), "names": list(self.names), **columns}

    def table(self) -> Table:
        """The first examples; the caption says what is true of all."""
        rows = [
            (self.names[i] if self.names else str(i), *(f"{values[i]:.4f}" for values in self.columns.values()))
            for i in range(min(SHOWN, len(self.columns["nats"])))
        ]
        title = f"the first {len(rows)} of {so_many(len(self.columns['nats']), 'example')}"
        return Table(title, ("example", *self.columns), (tuple(rows),), self.words)

    @property
    def words(self) -> str:
        """The mean, what it is of, and how well each example is known."""
        known = np.isfinite(self.columns["nats"])
        nats, error = self.columns["nats"][known], self.columns[ERROR][known]
        size, spread = float(np.sqrt((error**2).mean())), float(nats.std(ddof=1)) if len(nats) > 1 else 0.0
        words = f" ± {size:.2g} nats (Monte Carlo, root mean square)" if size else ""
        if size > LARGE * spread and spread > SAME * float(np.abs(nats).max()):
            words += f", of a spread of {spread:.2g} between examples: more --passes tell them apart better"
        left_out = f"; {self.given.left_out}" if self.given.left_out else ""
        return (
            f"{so_many(len(nats), 'example')}, in the mean {self.columns['bits_per_dim'][known].mean():.4f} bits/dim, "
            f"{self.about['kind']}; {self.about['nats']}{words}{left_out}"
        )

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(self.words, markup=False, highlight=False)

    def as_csv(self) -> bytes:
        """A line per example: its number, its name where it has one, and the columns, empty where it was left out; then
        there is a column that says why."""
        unseen, every = self.given.unseen, range(len(self.columns["nats"]))
        columns: dict[str, Iterable[Any]] = {"example": every, **({"name": self.names} if self.names else {})}
        for name, values in self.columns.items():
            columns[name] = ["" if i in unseen else repr(value) for i, value in enumerate(values.tolist())]
        if unseen:
            columns["left_out"] = [unseen.get(i, "") for i in every]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue().encode("utf-8", "surrogateescape")  # names are the bytes that they are on disk

    def as_npz(self) -> bytes:
        """The columns as arrays, `names` where there are any, and `about`, a JSON text."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"about": np.array(json.dumps(self.about)), **self.columns}
        if self.names:
            arrays["names"] = np.array(self.names)
        np.savez(buffer, **arrays)
        return buffer.getvalue()


class Scores(NamedTuple):
    """−log p of examples and its Monte Carlo error, (examples,) nats each; what it is; how many passes it took; by what
    law some columns are known given others, in words."""

    nats: np.ndarray
    errors: np.ndarray
    bound: BoundKind
    passes: int
    how_given: str = ""


@dataclass(frozen=True)
class Scored:
    """A run on its data, ready to score examples that were given as `where`."""

    run: Run
    data: Dataset
    where: str
    options: ScoreOptions
    device: torch.device | str
    progress: Progress
    ranks: Ranks

    def scores(self, split: Split, where: str | None = None) -> Scores:
        """Of every example, equal ones once; where: the split's name, if it is another one."""
        bounded: Bounded = self.run.model(self.device)
        refuse_given(bounded, self.options.given)
        words = how_given(bounded)
        self.ranks.refuse_different(lambda: (self.run.fingerprint, self.data.fingerprint, split.x.shape))
        conditional, ways = self.run.conditional, planning(bounded)
        if ways is not None:
            split_name = where or self.where
            draws = self.options.draws
            bounded = planned(ways, self.data, split_name, conditional, self.run, self.progress, draws, self.ranks)
        split = told(split, self.data.schema, self.options.given)
        if split.whole is None:
            first, which = distinct(split, conditional)
            split = split.take(first)
        else:  # equal are things, and not their pieces
            which = np.arange(len(split))
        passes = 2 if bounded.bound.exact else self.options.passes
        found = measure_bound(
            bounded,
            split,
            conditional=conditional,
            passes=passes,
            seed=self.options.seed,
            device=self.device,
            progress=self.progress,
            ranks=self.ranks,
        )
        errors = student(passes) * np.sqrt(found.monte_carlo_variance)
        return Scores(found.totals[which], errors[which], found.bound, passes, words)


@ordinary()
def score(
    run: Run | str | Path,
    examples: str | Path,
    options: ScoreOptions = DEFAULT,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> ScoreResult:
    """−log p of every example in order, with its Monte Carlo error, as `vlb score` writes them.

    examples: train, validation or test of the run's own data, or a folder of images, an .npy, .npz or IDX file or a
    table of the same columns. data: where the run's own data are now, if they have moved. ranks: this process among
    those that share the batches out, which all return what one alone would. Raises `UserError` for what is not there or
    does not fit, and for a model without a likelihood.
    """
    check_background(options.background)
    progress.begin("opening the run and the examples")
    opened = _opened(run)
    needs = str(examples) in SPLITS or options.typicality
    own = opened.data(data) if needs else opened.reference(opened.model(device), data)
    if own.why:
        progress.say(own.why)
    given = found(str(examples), own, opened.conditional)
    for note in given.notes:
        progress.say(note)
    if given.left_out:
        progress.say(given.left_out)
    background = _background_run(options.background, own)
    scored = Scored(opened, own, str(examples), options, device, progress, ranks)
    scores = scored.scores(given.split)
    of = told(given.split, own.schema, options.given)
    told_of = f" given {', '.join(options.given)}{scores.how_given}" if options.given else ""
    known = " given y" if opened.conditional else told_of
    wholes = Wholes.of(of)
    nats, errors, sizes = scores.nats, scores.errors, of.sizes
    if wholes is not None:
        nats, errors, sizes = wholes.sums(nats), np.sqrt(wholes.sums(errors**2)), wholes.sizes
    columns = {"nats": nats, "bits_per_dim": nats / (sizes * math.log(2)), ERROR: errors}
    orders = own.schema.layout.log_orders(sizes)
    if orders is not None:
        columns[SET] = nats - orders
    if wholes is not None:
        columns["dimensions"] = sizes
    about: dict[str, Any] = {
        "nats": f"{scores.bound}{known}, per {'picture' if wholes is not None and wholes.cut else 'example'}",
        "kind": own.schema.kind,
        "dimensions": of.dimensions,
        "model": opened.fingerprint,
        "trained_on": own.name,
        "examples": str(examples),
        "passes": scores.passes,
        "draws": options.draws,
        "seed": options.seed,
    }
    if options.typicality:
        some = own.train.subset(TRAINING_EXAMPLES)
        training = scored.scores(some, "train")
        about["training_nats"] = float(training.nats.mean())
        # Pictures have sizes of their own: as much per dimension is typical.
        columns["typicality"] = typicality(nats, about["training_nats"] * sizes / some.dimensions)
    if options.background is not None:
        other = _background(options.background, background, scored, of, data)
        other = other if wholes is None else wholes.sums(other)
        columns["background_nats"] = other
        columns["likelihood_ratio"] = likelihood_ratio(nats, other)
        about["background"] = options.background
    if given.unseen:
        about["left_out"] = {str(number): why for number, why in given.unseen.items()}
    placed = {name: given.placed(values) for name, values in columns.items()}
    tiled = None if wholes is None or not wholes.cut else Tiled(own.schema, given.split, scores.nats)
    return ScoreResult(placed, given, about, tiled)


def distinct(split: Split, conditional: bool) -> tuple[np.ndarray, np.ndarray]:
    """The places of examples (with their labels, where they count, and what else is told of them) that no earlier one
    equals, and which of these each example is, (examples,): equal ones share what is random, so that they get one
    number."""
    labels = split.labels if conditional else None
    seen: dict[tuple[bytes, bytes, int], int] = {}
    told = [part for part in (split.observed, split.planes) if part is not None]
    keys = (
        (x.tobytes(), b"".join(part[i].tobytes() for part in told), -1 if labels is None else int(labels[i]))
        for i, x in enumerate(split.x)
    )
    which = np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)
    return np.unique(which, return_index=True)[1], which


def student(passes: int) -> float:
    """What a standard error known from so few passes is multiplied by, for 1.96 of it to cover 95 %."""
    return float(stdtrit(passes - 1, 0.975) / ndtri(0.975))


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
    if data.schema.pieces is not None and name == LZMA:
        raise UserError("--background lzma is of whole examples: use independent-pixels, uniform or another run")
    if data.schema.gaps and name in (LZMA, "uniform"):
        raise UserError(f"--background {name} is of discrete data without gaps: use independent-pixels, or another run")
    if name is None or name == LZMA or name in PER_EXAMPLE:
        return None
    run = _opened(name)
    own = run.schema
    if own.shape != data.shape or own.kind != data.schema.kind or own.pieces != data.schema.pieces:
        raise UserError(
            f"--background {name} is of {own.kind} and examples of shape {own.shape}, the model "
            f"of {data.schema.kind} and {data.shape}: the two give no ratio"
        )
    return run


def _background(name: str, run: Run | None, scored: Scored, split: Split, data_path: Path | None) -> np.ndarray:
    data = scored.data
    if run is None:
        return complexity(split.x, data.levels) if name == LZMA else per_example(name, data, split)
    same = run.content["data"]["fingerprint"] == data.fingerprint
    its = data if same else run.data(data_path)
    return dataclasses.replace(scored, run=run, data=its).scores(split).nats


def _opened(run: Run | str | Path) -> Run:
    """A run that has a likelihood. Raises `UserError` otherwise."""
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.refuse_without_likelihood()
    return opened
