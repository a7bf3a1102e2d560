"""`vlb compress`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from vlb.base.memory import keep_freed_memory
from vlb.coding.options import CompressOptions
from vlb.interfaces.commands import Flags, Out

NOTES_SHOWN = 10
DEFAULT = CompressOptions()


def compress(
    run: Path,
    inputs: list[Path],
    *,
    out: Annotated[Path, Out],
    options: Annotated[CompressOptions, Flags] = DEFAULT,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Compress images or arrays of them without loss, into one file.

    Parameters
    ----------
    run
        A run directory made by `vlb train`; the file can be read with the same weights only.
    inputs
        Folders of images, single images, .npy, .npz or IDX files. What the model cannot code is stored as it is.
    out
        The file to make, e.g. digits.vlb; it must not exist yet. - is standard output.
    data
        Where your own data are now, if they have moved: the steps are placed by them.
    device
        cpu or cuda; decompression needs the same.
    """
    from vlb.interfaces.streams import called, delivered
    from vlb.interfaces.terminal import Terminal, choose_device, console

    keep_freed_memory()
    with Terminal() as progress, delivered(out) as file:
        from vlb.coding.api import compress as verb

        result = verb(run, inputs, file, options, data=data, device=choose_device(device), progress=progress)
    notes = result.summary.notes
    for note in notes[:NOTES_SHOWN]:
        console.print(f"note: {note}", markup=False)
    if len(notes) > NOTES_SHOWN:
        console.print(f"note: and {len(notes) - NOTES_SHOWN} more files or chunks stored as they are")
    replace(result, file=called(out)).show(console)
