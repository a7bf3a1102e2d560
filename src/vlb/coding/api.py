"""`vlb.compress`, `vlb.decompress` and `vlb.inspect`: what the commands of these names do, without printing."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.files import refuse_existing
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import gather
from vlb.coding.accounting import Outline, audited, outlined
from vlb.coding.allowance import Allowance
from vlb.coding.carried import bare, bare_model, numerics
from vlb.coding.cells import Uncodable
from vlb.coding.container import ArchiveReader
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.effort import Effort, effort
from vlb.coding.header import DIGEST, MAX_EXAMPLE, Header
from vlb.coding.models import Coded, Measuring, Told, chosen_settings, coded_by, levels
from vlb.coding.names import refuse_unstorable
from vlb.coding.options import CompressOptions, DecompressOptions, InspectOptions
from vlb.coding.parts import Codec, codec_of, pieces_of, shape_of, usual_lanes
from vlb.coding.reading import Found, contents, embedded_model, previews, refuse_damaged
from vlb.coding.restoring import restore
from vlb.coding.results import Compressed, Inspection, Restored
from vlb.coding.sequence import Lanes
from vlb.coding.wire import Damaged
from vlb.coding.writing import Options, write_archive
from vlb.core.condition import Condition
from vlb.core.surroundings import ordinary
from vlb.data import Column
from vlb.data.formats import FORMATS
from vlb.data.pieces import alone
from vlb.store.carried import carried, from_carried
from vlb.store.runs import Run

DEFAULT, ALL, OUTSIDE = CompressOptions(), DecompressOptions(), InspectOptions()


@ordinary()
def compress(
    run: Run | str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    options: CompressOptions = DEFAULT,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Compressed:
    """Compress `inputs` (folders, pictures, arrays, tables, any files) into the new file `out` with a run's model.

    data: where the run's own data are now, by which the steps are placed. Raises `UserError` for a run or an input that
    is not there, a model that has no code, and a file that exists already; `out` is whole or not there.
    """
    progress.begin("opening the run and what is to be compressed")
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.refuse_unlabelled("compression")
    paths = [Path(given) for given in inputs]
    if not paths:
        raise UserError("give what to compress: folders of images, image files, .npy, .npz, .csv or IDX files")
    refuse_existing(Path(out))
    gathered = gather(paths)
    refuse_unstorable(gathered.files)
    model, digest, columns = bare_model(opened, device)
    schema = opened.trained.example
    chosen = budget(options, usual_lanes(schema, coded_by(model).usual))
    if options.steps is not None and not coded_by(model).any_depth:
        raise UserError(f"--steps is for diffusion models: a {type(model).__name__} has the rungs that it has")
    if options.tries > 1 and not coded_by(model).latent:
        raise UserError("--tries is for models with latents: a mixture has one code, and it is the shortest")
    if math.prod(model.shape) > MAX_EXAMPLE:
        raise UserError(f"examples of {math.prod(model.shape):,} values are too large to code: at most {MAX_EXAMPLE:,}")
    validation = Validation(opened, data)
    by = Measuring(opened.path, digest, validation.examples, progress)
    settings = chosen_settings(model, by, chosen.steps, chosen.lanes)
    shape, count = shape_of(schema), levels(schema)
    header = Header(digest, options.embed_model, shape, count, settings, numerics(device), pieces_of(schema))
    how = Options(options.verify, progress, columns)
    embedded = carried(opened.trained) if options.embed_model else None
    progress.begin("compressing")
    codec = codec_of(model, settings, schema)
    summary = write_archive(Path(out), header, codec, gathered.files, FORMATS, embedded, how)
    trust = _untrusted(model, header, alone(schema), summary.bytes_out + (0 if embedded else opened.trained.size))
    summary.notes[:0] = [*gathered.notes, *validation.notes, *trust]
    return Compressed(Path(out), summary, settings)


@ordinary()
def decompress(
    file: str | Path,
    out: str | Path,
    options: DecompressOptions = ALL,
    *,
    run: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Restored:
    """Restore an archive into the new folder `out`, which appears whole or not at all.

    run: whose model the archive was made with, unless it carries it. Raises `UserError` for damage (naming the chunk)
    that is not to be salvaged, another model, or a folder that exists already.
    """
    refuse_existing(Path(out))
    progress.begin("opening the archive and its model")
    archive = ArchiveReader(Path(file))
    if not options.salvage:
        refuse_damaged(archive)
    opened = open_model(archive, None if run is None else Path(run), device, options.trust)
    progress.begin("decompressing")
    if options.stop_after is None:
        found = contents(archive, opened.codec, opened.columns)
    else:
        found = _previews(archive, opened, options.stop_after)
    problems = restore(found, Path(out), FORMATS, options.salvage, opened.allowance)
    return Restored(Path(file), Path(out), tuple(problems))


@ordinary()
def inspect(
    file: str | Path,
    options: InspectOptions = OUTSIDE,
    *,
    run: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Inspection:
    """What an archive says of itself, and whether it is whole; with `account`, where its bits went, by decoding and
    encoding it again.

    run: whose model the archive was made with, unless it carries it, for `account`. Raises `UserError` for what is no
    archive, and with `account` as `decompress` does; a damaged chunk is among the result's problems.
    """
    progress.begin("opening the archive")
    archive = ArchiveReader(Path(file))
    found = outlined(archive)
    problems = tuple(str(chunk) for chunk in found if isinstance(chunk, UserError))
    whole = tuple(chunk for chunk in found if isinstance(chunk, Outline))
    audit = None
    if options.account and not problems:
        opened = open_model(archive, None if run is None else Path(run), device, options.trust)
        progress.begin("decoding and encoding again")
        audit = audited(archive, opened.codec, opened.model, opened.columns)
    return Inspection(
        archive.path, archive.size, archive.header, archive.model_bytes, whole, problems, options.account, audit
    )


def budget(options: CompressOptions, usual: Lanes) -> Effort:
    """usual: how examples are batched where the options do not say. Raises `UserError` for an unknown effort."""
    base = effort(options.effort)
    width = usual.width if options.lanes is None else options.lanes
    return Effort(base.steps if options.steps is None else options.steps, Lanes(width, options.tries))


class Opened(NamedTuple):
    """The model that an archive was made with, its codec, the columns of its tables, and what it may become."""

    model: Coded
    codec: Codec
    columns: tuple[Column, ...] | None
    allowance: Allowance


def open_model(archive: ArchiveReader, run: Path | None, device: torch.device | str, trust: bool = False) -> Opened:
    """What an archive needs, built only when what header and model say fits together and what the file weighs.

    Raises `UserError` if the model is another, or not to be had, or if the file may have been made to fill memory and
    is not to be trusted.
    """
    header, stored = archive.header, archive.size
    if run is not None:
        trained = Run.open(run).trained
        stored += trained.size
    elif header.embedded:
        trained = from_carried(embedded_model(archive), archive.path)
    else:
        raise UserError(f"{archive.path} does not carry its model: give the run it was made with, --model RUN")
    digest, allowance = trained.identity[:DIGEST], Allowance(stored, trust)
    if digest != header.digest:
        raise UserError(
            f"{archive.path} was made with the model {header.digest.hex()}, and this is {digest.hex()}: "
            "give the run it was made with, --model RUN, with the same weights"
        )
    schema = trained.example
    if (shape_of(schema), levels(schema), pieces_of(schema)) != (header.shape, header.levels, header.pieces):
        raise UserError(f"{archive.path}: the header does not fit its own model; the file was made to mislead")
    try:
        allowance.work(header)
        room = allowance.building(trained)
        model, _, columns = bare(trained, device, lambda model: allowance.ask(model, header, alone(schema)), room)
        return Opened(model, codec_of(model, header.settings, schema), columns, allowance)
    except Damaged as error:
        raise UserError(f"{archive.path} is not decoded: {error}") from error
    except Uncodable as error:
        raise UserError(f"{archive.path}: this model cannot code ({error})") from error


def _previews(archive: ArchiveReader, opened: Opened, levels: int) -> Found:
    settings = archive.header.settings
    if archive.header.pieces is not None:
        raise UserError(
            "--stop-after is for whole examples, and tiles of pictures and windows told where they lie are parts of "
            "something larger: leave it out"
        )
    if not isinstance(settings, DiffusionSettings):
        raise UserError("--stop-after needs the noise levels of a diffusion model, and this file has none")
    if not 1 <= levels <= settings.steps + 1:
        raise UserError(f"--stop-after is from 1 to {settings.steps + 1}, the noise levels of this file, not {levels}")
    return previews(archive, settings.codec(opened.model), FORMATS, levels)


class Validation:
    """A run's validation examples, by which steps are placed. data: where they are now, if they have moved; notes: why
    there are none, once they were asked for."""

    def __init__(self, run: Run, data: Path | None) -> None:
        self.run, self.data = run, data
        self.notes: list[str] = []

    def examples(self) -> Told | None:
        """Some of them, and what is told of them; None where the run's data cannot be had. Raises `UserError` where
        they are not at the place that was given."""
        try:
            split = self.run.data(self.data).validation
        except UserError as error:
            if self.data is not None:
                raise
            self.notes.append(f"steps are spread evenly, for want of validation data ({error})")
            return None
        # The first tiles of a picture are of its upper edge.
        some = np.arange(min(256, len(split))) if self.run.schema.pieces is None else split.subset_index(32)
        return split.batch(some, False, "cpu")


def _untrusted(model: Coded, header: Header, condition: Condition, stored: int) -> list[str]:
    """What to say where an archive's model takes so much that it is read with --trust alone."""
    try:
        Allowance(stored).ask(model, header, condition)
    except Damaged as error:
        return [str(error)]
    return []
