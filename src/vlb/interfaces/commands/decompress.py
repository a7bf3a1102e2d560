"""`vlb decompress`."""

import time
from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.memory import keep_freed_memory
from vlb.coding.options import DecompressOptions
from vlb.interfaces.commands import Archive, Flags, Out

DEFAULT = DecompressOptions()


def decompress(
    file: Annotated[Path, Archive],
    *,
    out: Annotated[Path, Out],
    model: Path | None = None,
    options: Annotated[DecompressOptions, Flags] = DEFAULT,
    device: str | None = None,
) -> None:
    """Restore what `vlb compress` was given, into a new folder.

    Parameters
    ----------
    file
        A file made by `vlb compress`; - is standard input.
    out
        The folder to make; it must not exist yet.
    model
        The run it was made with, unless the file carries its model.
    device
        cpu or cuda, the same as for compression.
    """
    from vlb.interfaces.streams import refuse_existing, spooled
    from vlb.interfaces.terminal import Terminal, choose_device, console

    keep_freed_memory()
    refuse_existing(out)
    started = time.perf_counter()
    with Terminal() as progress, spooled(file) as archive:
        from vlb.coding.api import decompress as verb

        result = verb(archive.path, out, options, run=model, device=choose_device(device), progress=progress)
    for problem in result.problems:
        console.print(archive.named(problem), markup=False)
    console.print(f"{out} in {time.perf_counter() - started:.1f} s", markup=False)
    if result.problems:
        raise UserError(f"{archive.name} is damaged: {len(result.problems)} problems; everything else is in {out}")
