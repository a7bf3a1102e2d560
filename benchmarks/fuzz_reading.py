"""How `fuzz_files.py` reads what it damaged: as the commands read it, and what came of it by what was written."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fuzz_mutations import (
    Parts,
    misleading,
    misleading_checkpoint,
    misleading_said,
    misleading_schema,
    misleading_values,
    taken_apart,
)
from fuzz_samples import Archive, RunFile, tree

from vlb.base.errors import UserError
from vlb.coding import api
from vlb.coding.api import decompress, inspect
from vlb.coding.carried import Bare, bare
from vlb.coding.container import ArchiveReader
from vlb.coding.options import DecompressOptions
from vlb.data import load
from vlb.measure import evaluation_file
from vlb.pages import figures
from vlb.pages.history import history
from vlb.store import checkpoint
from vlb.store.carried import from_carried
from vlb.store.runs import Run
from vlb.store.trained import Trained
from vlb.training.loop import fit
from vlb.training.recipes import recipe

SALVAGED = 16  # two in so many are salvaged, and inspected
ANEW = 16  # of one in so many every model is built anew
DRAWN = 32  # of one in so many the course of training is drawn
FURTHER = 2  # steps that training goes on


@dataclass(frozen=True)
class Item:
    """A damaged file. honest: whether its checksums are those of what was written."""

    kind: str
    content: bytes
    honest: bool


@dataclass
class Sample:
    """What is damaged, and how its outcome is found. read: in a folder, (item) -> an outcome; may raise anything."""

    kind: str
    original: bytes
    make: Callable[[np.random.Generator, Path], bytes]
    read: Callable[[Item, Path, int], str]
    weighs: int = 0  # bytes that are read beside the file's own


class Known:
    """The models of undamaged archives and runs, built once: what reading does with a model that is not damaged has
    nothing to do with the damage, and building it takes longer than all else. Runs are opened once, too.

    An archive that carries a model is read, unpacked and compared with these as any is; what differs in the least is
    built. So are all of one item in `ANEW`.
    """

    def __init__(self, found: list[Archive], folder: Path) -> None:
        self.runs = {
            archive.run: SimpleNamespace(trained=Run.open(archive.run).trained) for archive in found if archive.run
        }
        self.models: dict[tuple[bytes, str], Bare] = {}
        for archive in found:
            if archive.run:
                trained = self.runs[archive.run].trained
            else:
                path = folder / "known.vlb"
                path.write_bytes(archive.content)
                trained = from_carried(api.embedded_model(ArchiveReader(path)), path)
            self.models[self._said(trained)] = bare(trained)

    @staticmethod
    def _said(trained: Trained) -> tuple[bytes, str]:
        return trained.identity, json.dumps((trained.model, trained.schema, trained.earlier))

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within it, these are in place of what would be built again."""

        def known(trained: Trained, *how: Any) -> Bare:
            return self.models.get(self._said(trained)) or bare(trained, *how)

        before = api.Run, api.bare
        api.Run, api.bare = SimpleNamespace(open=self.runs.__getitem__), known  # type: ignore[misc,assignment]
        try:
            yield
        finally:
            api.Run, api.bare = before  # type: ignore[misc]


def of_archives(found: list[Archive], folder: Path) -> list[Sample]:
    """Samples of archives; folder: for a moment."""
    known = Known(found, folder)
    parts = [taken_apart(archive.content) for archive in found]
    return [_of_archive(archive, own, parts, known) for archive, own in zip(found, parts, strict=True)]


def _of_archive(archive: Archive, own: Parts, parts: list[Parts], known: Known) -> Sample:
    def make(rng: np.random.Generator, _: Path) -> bytes:
        return misleading(own, parts[int(rng.integers(len(parts)))], rng)

    def read(item: Item, folder: Path, number: int) -> str:
        with known.used() if number % ANEW else contextlib.nullcontext():
            return outcome(item, folder, number)

    def outcome(item: Item, folder: Path, number: int) -> str:
        path, out = folder / "a.vlb", folder / "out"
        path.write_bytes(item.content)
        problems: tuple[str, ...] = ()
        if number % SALVAGED > 1:
            decompress(path, out, run=archive.run)
        else:
            with contextlib.suppress(UserError):
                inspect(path)
            problems = decompress(path, out, DecompressOptions(salvage=True), run=archive.run).problems
        restored = tree(out)
        if restored == archive.files and not problems:
            return "same"
        if not item.honest:
            return "other"
        told = " ".join(problems)
        lost = [name for name, content in restored.items() if archive.files.get(name) != content and name not in told]
        return "wrong" if lost or not problems else "refused"

    weighs = sum(len(content) for content in tree(archive.run).values()) if archive.run else 0
    return Sample(archive.kind, archive.content, make, read, weighs)


def of_run_files(found: list[RunFile]) -> list[Sample]:
    """Samples of the files of runs, and of schemas."""
    return [_of_run_file(file) for file in found]


def _of_run_file(file: RunFile) -> Sample:
    make, open_ = MADE[file.kind], READ[file.kind]

    def read(item: Item, folder: Path, number: int) -> str:
        copy = folder / "run"
        shutil.copytree(file.run, copy)
        (copy / file.place).write_bytes(item.content)
        if open_(copy, number) == expected:
            return "same"
        return "other" if file.kind in PLAIN or not item.honest else "wrong"

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(file.run, Path(folder) / "run")
        expected = open_(Path(folder) / "run", 0)
    weighs = sum(len(content) for content in tree(file.run).values())
    return Sample(file.kind, file.content, lambda rng, folder: make(file.content, rng, folder), read, weighs)


def used(path: Path, _: int) -> Any:
    """What a run's checkpoint is read to."""
    run = Run.open(path)
    run.loss(run.model())
    return run.trained.identity


def gone_on(path: Path, _: int) -> Any:
    """What comes of a training that goes on from it, to what it was to end at and some steps further."""
    run = Run.open(path)
    training = run.experiment.training
    longer = replace(training, steps=training.steps + FURTHER * bool(training.steps))
    fit(replace(run.experiment, training=longer), run.data(), run, resume=True)
    return _of_checkpoint(run.last)


def kept(path: Path, _: int) -> Any:
    """What a run kept of its data."""
    return _of_checkpoint(Run.open(path).kept)


def _of_checkpoint(path: Path) -> Any:
    stored = checkpoint.read(path)
    return stored.state, {name: tensor.numpy().tobytes() for name, tensor in stored.tensors.items()}


def configured(path: Path, _: int) -> Any:
    """What a run says of itself."""
    run = Run.open(path)
    run.loss(run.model())
    return run.about, run.experiment, run.schema, run.conditional, run.trained.identity, run.content["data"]


def valued(path: Path, _: int) -> Any:
    """What an evaluation's file says."""
    found = evaluation_file.load(path / "values.npz")
    return found.evaluation.values.tobytes(), found.subject, found.index.tobytes(), str(found.evaluation)


def told(path: Path, number: int) -> Any:
    """What the page says of a training that goes on from its metrics, and, now and then, draws."""
    run = Run.open(path)
    fit(run.experiment, run.data(), run, resume=True)
    found = history(run)
    if number % DRAWN == 0:
        figures.losses(found, 2.0, "uniform")
    return found


def described(path: Path, _: int) -> Any:
    """What a table and its schema are read to, and the model of it is built by."""
    data = load("mixed-table", path / "table.csv", True, path / "schema.toml")
    recipe("table").build(data)
    return data.fingerprint, data.schema


PLAIN = ("configuration", "metrics", "schema")  # have no checksum, for people may write them
READ: dict[str, Callable[[Path, int], Any]] = {
    "saved values": valued,
    "checkpoint to use": used,
    "checkpoint to go on from": gone_on,
    "kept marginals": kept,
    "configuration": configured,
    "metrics": told,
    "schema": described,
}
MADE: dict[str, Callable[[bytes, np.random.Generator, Path], bytes]] = {
    "saved values": misleading_values,
    "checkpoint to use": misleading_checkpoint,
    "checkpoint to go on from": misleading_checkpoint,
    "kept marginals": misleading_checkpoint,
    "configuration": misleading_said,
    "metrics": misleading_said,
    "schema": misleading_schema,
}
