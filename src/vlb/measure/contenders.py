"""What may be compared: run directories, saved values, baselines. Nothing is computed before all fit."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vlb.base.errors import UserError, suggestion
from vlb.base.progress import Progress
from vlb.core.terms import EXACT, TermPath
from vlb.data import Dataset, Split
from vlb.data import load as load_data
from vlb.data.baselines import PER_EXAMPLE, per_example
from vlb.measure.comparison import Contender, measures, refuse_incomparable
from vlb.measure.evaluation import BATCH, Evaluation, measure_bound
from vlb.measure.evaluation_file import Kept, Subject
from vlb.measure.evaluation_file import load as load_values
from vlb.measure.options import CompareOptions
from vlb.measure.planning import planning
from vlb.measure.wholes import Wholes
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import Plan
from vlb.models.protocols import LikelihoodModel, offers
from vlb.store.runs import Run

DRAWS = 4  # noise levels per example and pass: what is paired are single examples


@dataclass(frozen=True)
class Given:
    """One of the models to compare, before it is evaluated. model: None unless it is a run's."""

    name: str
    subject: Subject
    evaluate: Callable[[], Evaluation]
    model: LikelihoodModel | None


@dataclass(frozen=True)
class Field:
    """All that is compared, on the examples `part` of the split; data and part: None where they are not here."""

    contenders: tuple[Contender, ...]
    models: tuple[LikelihoodModel | None, ...]
    data: Dataset | None
    part: Split | None

    @property
    def diffusions(self) -> list[tuple[str, DiffusionModel]]:
        """The diffusion models among them, whose noise levels can be compared."""
        pairs = zip(self.contenders, self.models, strict=True)
        return [(contender.name, model) for contender, model in pairs if offers(model, DiffusionModel)]


def gather(
    names: Sequence[str],
    split: str | None,
    options: CompareOptions,
    data_path: Path | None,
    device: torch.device | str,
    progress: Progress,
) -> Field:
    """Find, check and then evaluate. Raises `UserError` for what is not there or cannot be compared."""
    if len(names) < 2:
        raise UserError("give at least two models to compare: runs, files of `vlb evaluate --values`, or baselines")
    kept = {name: load_values(Path(name)) for name in names if name.endswith(".npz")}
    runs = {name: Run.open(Path(name)) for name in names if name not in kept and name not in PER_EXAMPLE}
    refuse_ladders(runs)
    where, index = _examples(kept, split)
    data = _data(runs, kept, data_path)
    if data is not None:
        _fits(index, len(data.split(where)), kept)
        if index is None:
            index = data.split(where).subset_of_things(options.examples or len(data.split(where)))
        elif options.examples is not None:
            raise UserError("--examples is already settled by the saved values: leave it out")
    elif runs or len(kept) < len(names):
        raise UserError("a baseline needs the data: give a run as well, or values of a data set that vlb has")
    assert index is not None
    part = None if data is None else data.split(where).take(index)
    short = _labels(names)
    given = []
    for number, name in enumerate(names):
        if name in kept:
            found, its = kept[name], _of_wholes(name, kept[name], part)
            given.append(Given(short[name], found.subject, lambda its=its: its, None))  # type: ignore[misc]
            continue
        assert data is not None and part is not None
        if name in runs:
            seed = seed_of(options.seed, number, runs[name], kept)
            given.append(_run(short[name], runs[name], data, where, part, options.passes, seed, device, progress))
        else:
            given.append(_baseline(name, data, where, part))
    indices = [kept[name].index if name in kept else index for name in names]
    for one, at in zip(given[1:], indices[1:], strict=True):
        refuse_incomparable(given[0].name, given[0].subject, indices[0], one.name, one.subject, at)
    contenders = tuple(Contender(g.name, g.evaluate(), g.subject, at) for g, at in zip(given, indices, strict=True))
    return Field(contenders, tuple(g.model for g in given), data, part)


def seed_of(seed: int, number: int, run: Run, kept: dict[str, Kept]) -> int:
    """The seed of a contender.

    Diffusion models share one, so that at equal noise levels they are given the same noise, which then cancels in the
    differences. Others have one that nobody else has: draws that are known to be independent make the errors known.
    """
    if run.configuration.shares_noise:
        return seed
    taken = {seed, *(found.subject.options.get("seed") for found in kept.values())}
    free = (other for other in itertools.count(seed) if other not in taken)
    return next(itertools.islice(free, number, None))


def refuse_ladders(runs: dict[str, Run]) -> None:
    """Raises `UserError` where one has no likelihood, before anything is loaded or computed."""
    for name, run in runs.items():
        run.refuse_without_likelihood(name)


def _run(
    name: str,
    run: Run,
    data: Dataset,
    split: str,
    part: Split,
    passes: int,
    seed: int,
    device: torch.device | str,
    progress: Progress,
) -> Given:
    own = run.content["data"]
    if run.schema.pieces != data.schema.pieces:
        raise UserError(
            f"{name} cannot be compared with the others: they cut pictures otherwise (--crop, --margin); compare what "
            "vlb score says of each picture"
        )
    if own["fingerprint"] != data.fingerprint:
        why = f"it is of other data ({own['name']} {own['fingerprint']}, not {data.name} {data.fingerprint})"
        if (other := measures(run.schema.measure, data.schema.measure)) is not None:
            why += f", and {other}"
        raise UserError(f"{name} cannot be compared with the others: {why}")
    model = run.model(device)
    part = part if run.schema.layout.maps else replace(part, planes=None)
    conditional = run.conditional
    options = {"seed": seed, "batch": BATCH, "draws": DRAWS}
    subject = Subject(
        data.name,
        data.fingerprint,
        split,
        data.schema.count,
        data.shape,
        model.bound,
        conditional,
        run.fingerprint,
        options,
        data.schema.measure,
    )
    # No control variates: they draw noise of their own, and the models would not be given the same any more.
    ways = planning(model)
    bounded = model if ways is None else ways.by(Plan.plain(DRAWS))

    def evaluate() -> Evaluation:
        return measure_bound(
            bounded, part, conditional=conditional, passes=passes, seed=seed, device=device, progress=progress
        )

    return Given(name, subject, evaluate, model)


def _baseline(name: str, data: Dataset, split: str, part: Split) -> Given:
    subject = Subject(
        data.name,
        data.fingerprint,
        split,
        data.schema.count,
        data.shape,
        EXACT,
        False,
        f"baseline {name}",
        measure=data.schema.measure,
    )

    def evaluate() -> Evaluation:
        values = per_example(name, data, part)
        means, none = np.full((2, 1), values.mean()), np.zeros(len(values))
        paths: tuple[TermPath, ...] = (("negative_log_likelihood",),)
        wholes, size = Wholes.of(part), part.dimensions
        return Evaluation(paths, values[:, None], means, len(values), none, size, subject.bound, False, wholes)

    return Given(name, subject, evaluate, None)


def _of_wholes(name: str, kept: Kept, part: Split | None) -> Evaluation:
    """What was kept; of tiles with the pictures that they are of, and of clouds with their numbers of points, which the
    file does not say."""
    if not {"tiles", "sizes"} & kept.subject.options.keys():
        return kept.evaluation
    if part is None:
        what = "tiles of pictures" if "tiles" in kept.subject.options else "clouds of several numbers of points"
        raise UserError(f"{name} is of {what}, which are to be here: give a run of theirs, too")
    return replace(kept.evaluation, pieces=Wholes.of(part))


def _examples(kept: dict[str, Kept], split: str | None) -> tuple[str, np.ndarray | None]:
    """The split, and which of its examples where saved values settle that."""
    if not kept:
        return split or "test", None
    first = next(iter(kept.values()))
    if split is not None and split != first.subject.split:
        raise UserError(f"the saved values are of the {first.subject.split} split: leave out --split")
    return first.subject.split, first.index


def _data(runs: dict[str, Run], kept: dict[str, Kept], data_path: Path | None) -> Dataset | None:
    """The data of the first run, as one sees them that is told most; or of saved values where they are a data set that
    vlb has; else None."""
    if runs:
        return max(runs.values(), key=lambda run: run.schema.layout.maps).data(data_path)
    subject = next(iter(kept.values())).subject if kept else None
    if subject is None:
        raise UserError("baselines alone are of no data: give a run as well")
    try:
        data = load_data(subject.data, data_path)
    except UserError:
        return None
    return data if data.fingerprint == subject.fingerprint else None


def _fits(index: np.ndarray | None, total: int, kept: dict[str, Kept]) -> None:
    if index is not None and (len(index) == 0 or int(index.min()) < 0 or int(index.max()) >= total):
        raise UserError(f"{next(iter(kept))} is of examples that the split has not: the file was changed")


def _labels(names: Sequence[str]) -> dict[str, str]:
    """The shortest ends of paths that tell the models apart."""
    paths = {name: name if name in PER_EXAMPLE else str(Path(name).absolute()) for name in names}
    if len(set(paths.values())) < len(names):
        raise UserError("the same model is given twice")
    short: dict[str, str] = {}
    depth = 1
    while len(set(short.values())) < len(names):
        short = {name: "/".join(path.split("/")[-depth:]) for name, path in paths.items()}
        depth += 1
    return short


def known(name: str) -> None:
    """Raises `UserError` for a word that is neither a path nor a baseline."""
    if name not in PER_EXAMPLE and not Path(name).exists():
        raise UserError(f"there is no run or file {name}; of the baselines, {suggestion(name, PER_EXAMPLE)}")
