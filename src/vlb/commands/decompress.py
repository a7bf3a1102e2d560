"""`vlb decompress`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from vlb.coding.carried import bare_model, from_carried
from vlb.coding.cells import Uncodable
from vlb.coding.container import ArchiveReader
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.models import CodedModel, levels
from vlb.coding.reading import Content, contents, embedded_model, previews
from vlb.coding.restoring import restore
from vlb.coding.sequence import SequenceCodec
from vlb.commands.process import choose_device, console, keep_freed_memory
from vlb.data import Column
from vlb.errors import UserError
from vlb.runs import Run


def run_decompression(
    path: Path, out: Path, model_run: Path | None, stop_after: int | None, salvage: bool, device: str | None
) -> None:
    """Restore the files of an archive into the new folder `out`."""
    keep_freed_memory()
    if out.exists():
        raise UserError(f"{out} exists already: choose another name")
    started = time.perf_counter()
    archive = ArchiveReader(path)
    _, codec, columns = opened_model(archive, model_run, choose_device(device))
    found = contents(archive, codec, columns) if stop_after is None else _previews(archive, codec, stop_after)
    with console.status("decompressing"):
        problems = restore(found, out, salvage)
    for problem in problems:
        console.print(problem, markup=False)
    console.print(f"{out} in {time.perf_counter() - started:.1f} s", markup=False)
    if problems:
        raise UserError(f"{path} is damaged: {len(problems)} problems; everything else is in {out}")


def _previews(archive: ArchiveReader, codec: SequenceCodec, levels: int) -> Iterator[tuple[int, Content | UserError]]:
    settings = archive.header.settings
    if not isinstance(settings, DiffusionSettings):
        raise UserError("--stop-after needs the levels of noise of a diffusion model, and this file has none")
    if not 1 <= levels <= settings.steps + 1:
        raise UserError(f"--stop-after is from 1 to {settings.steps + 1}, the levels of this file, not {levels}")
    return previews(archive, codec, levels)


class Opened(NamedTuple):
    """The model that an archive was made with, its codec, and the columns of its tables."""

    model: CodedModel
    codec: SequenceCodec
    columns: tuple[Column, ...] | None


def opened_model(archive: ArchiveReader, model_run: Path | None, device: torch.device) -> Opened:
    """What an archive needs. Raises `UserError` if the model is another, or not to be had."""
    header = archive.header
    if model_run is not None:
        model, digest, columns = bare_model(Run.open(model_run), device)
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
