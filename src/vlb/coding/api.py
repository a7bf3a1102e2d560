"""Compression in Python: what the commands `compress`, `decompress` and `inspect` do, without printing."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from vlb.base.errors import UserError
from vlb.coding.accounting import Audit, audited
from vlb.coding.carried import bare_model, carried, from_carried, numerics
from vlb.coding.cells import Uncodable
from vlb.coding.container import MAX_EXAMPLE, ArchiveReader, Header
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.effort import Effort, chosen_settings, effort
from vlb.coding.models import CodedModel, levels
from vlb.coding.reading import Content, contents, embedded_model, previews
from vlb.coding.restoring import restore
from vlb.coding.sequence import MAX_LANES, MAX_TRIES, Lanes, SequenceCodec
from vlb.coding.settings import Settings
from vlb.coding.sources import items
from vlb.coding.writing import Options, Summary, write_archive
from vlb.data import Column
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.store.runs import Run

MAX_STEPS = 200


@dataclass(frozen=True)
class Choice:
    """How to compress. effort: fast, normal, high or extreme; steps, lanes: T and examples at once instead of what it
    says; tries: codes of each batch, of which the shortest stays; embed_model: into the file; verify: decode every
    chunk before it is written; data: where the run's own data are now."""

    effort: str = "normal"
    steps: int | None = None
    lanes: int | None = None
    tries: int = 1
    embed_model: bool = False
    verify: bool = True
    data: Path | None = None

    def budget(self) -> Effort:
        """Raises `UserError` for an unknown effort, or numbers outside their limits."""
        base = effort(self.effort)
        width = base.lanes.width if self.lanes is None else self.lanes
        chosen = Effort(base.steps if self.steps is None else self.steps, Lanes(width, self.tries))
        if not 1 <= chosen.steps <= MAX_STEPS:
            raise UserError(f"--steps is from 1 to {MAX_STEPS}, not {chosen.steps}")
        if not 1 <= width <= MAX_LANES:
            raise UserError(f"--lanes is from 1 to {MAX_LANES}, not {width}")
        if not 1 <= self.tries <= MAX_TRIES:
            raise UserError(f"--tries is from 1 to {MAX_TRIES}, not {self.tries}")
        return chosen


@dataclass(frozen=True)
class Compressed:
    """What became of the input, how it was coded, and the dimensions of an example."""

    summary: Summary
    settings: Settings
    dimensions: int


DEFAULT = Choice()


def compress(
    run: Run | str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    choice: Choice = DEFAULT,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[int], None] = lambda _done: None,
) -> Compressed:
    """Compress `inputs` (folders, pictures, arrays, tables, any files) into the new file `out` with a run's model.

    report: told the number of examples done. Raises `UserError` for a run or an input that is not there, a model that
    has no code, and a file that exists already; `out` is whole or not there.
    """
    opened = run if isinstance(run, Run) else Run.open(Path(run))
    paths = [Path(given) for given in inputs]
    if not paths:
        raise UserError("give what to compress: folders of images, image files, .npy, .npz, .csv or IDX files")
    for path in paths:
        if not path.exists():
            raise UserError(f"there is nothing at {path}")
    budget = choice.budget()
    model, digest, columns = bare_model(opened, device)
    if choice.steps is not None and not isinstance(model, DiffusionModel):
        raise UserError(f"--steps is for diffusion models: a {type(model).__name__} has the levels that it has")
    if choice.tries > 1 and isinstance(model, CategoricalMixture):
        raise UserError("--tries is for models with latents: a mixture has one code, and it is the shortest")
    if math.prod(model.shape) > MAX_EXAMPLE:
        raise UserError(f"examples of {math.prod(model.shape):,} values are too large to code: at most {MAX_EXAMPLE:,}")
    x, note = _validation(opened, choice.data)
    settings = chosen_settings(opened.path, digest, model, x, budget)
    count = levels(model)
    header = Header(digest, choice.embed_model, model.shape, count, settings, numerics(device))
    found, options = items(paths, model.shape, count), Options(choice.verify, report, columns)
    embedded = carried(opened) if choice.embed_model else None
    summary = write_archive(Path(out), header, settings.codec(model), found, embedded, options)
    summary.notes[:0] = note
    return Compressed(summary, settings, math.prod(model.shape))


def decompress(
    file: str | Path,
    out: str | Path,
    *,
    run: str | Path | None = None,
    stop_after: int | None = None,
    salvage: bool = False,
    device: torch.device | str = "cpu",
) -> list[str]:
    """Restore an archive into the new folder `out`, which appears whole or not at all.

    run: whose model the archive was made with, unless it carries it; stop_after: read only so many levels of noise,
    the coarsest first, and write denoised previews; salvage: of a damaged archive restore what is whole, and return
    what is wrong. Raises `UserError` for damage (naming the chunk), another model, or a folder that exists already.
    """
    if Path(out).exists():
        raise UserError(f"{out} exists already: choose another name")
    archive = ArchiveReader(Path(file))
    opened = open_model(archive, None if run is None else Path(run), device)
    if stop_after is None:
        found = contents(archive, opened.codec, opened.columns)
    else:
        found = _previews(archive, opened.codec, stop_after)
    return restore(found, Path(out), salvage)


def audit(file: str | Path, *, run: str | Path | None = None, device: torch.device | str = "cpu") -> Audit:
    """Where an archive's bits went, by decoding and encoding it again. Raises `UserError` as `decompress` does."""
    archive = ArchiveReader(Path(file))
    opened = open_model(archive, None if run is None else Path(run), device)
    return audited(archive, opened.codec, opened.model, opened.columns)


class Opened(NamedTuple):
    """The model that an archive was made with, its codec, and the columns of its tables."""

    model: CodedModel
    codec: SequenceCodec
    columns: tuple[Column, ...] | None


def open_model(archive: ArchiveReader, run: Path | None, device: torch.device | str) -> Opened:
    """What an archive needs. Raises `UserError` if the model is another, or not to be had."""
    header = archive.header
    if run is not None:
        model, digest, columns = bare_model(Run.open(run), device)
    elif header.embedded:
        model, digest, columns = from_carried(embedded_model(archive), archive.path, device)
    else:
        raise UserError(f"{archive.path} does not carry its model: give the run it was made with, --model RUN")
    if digest != header.digest:
        raise UserError(
            f"{archive.path} was made with the model {header.digest.hex()}, and this is {digest.hex()}: "
            "give the run it was made with, --model RUN, with the same weights"
        )
    if model.shape != header.shape or levels(model) != header.levels:
        raise UserError(f"{archive.path}: the header does not fit its own model; the file was made to mislead")
    try:
        return Opened(model, header.settings.codec(model), columns)
    except Uncodable as error:
        raise UserError(f"{archive.path}: this model cannot code ({error})") from error


def _previews(archive: ArchiveReader, codec: SequenceCodec, levels: int) -> Iterator[tuple[int, Content | UserError]]:
    settings = archive.header.settings
    if not isinstance(settings, DiffusionSettings):
        raise UserError("--stop-after needs the levels of noise of a diffusion model, and this file has none")
    if not 1 <= levels <= settings.steps + 1:
        raise UserError(f"--stop-after is from 1 to {settings.steps + 1}, the levels of this file, not {levels}")
    return previews(archive, codec, levels)


def _validation(run: Run, data: Path | None) -> tuple[torch.Tensor | None, list[str]]:
    """Examples to place levels with; none, and why, where the run's data cannot be had."""
    try:
        x = run.data(data).validation.x
    except UserError as error:
        if data is not None:
            raise
        return None, [f"levels are spread evenly, for want of validation data ({error})"]
    return torch.from_numpy(x[:256].copy()), []
