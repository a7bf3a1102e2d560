"""`vlb inspect`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.memory import keep_freed_memory
from vlb.coding.options import InspectOptions
from vlb.interfaces.commands import Archive, Flags

DEFAULT = InspectOptions()


def inspect(
    file: Annotated[Path, Archive],
    *,
    options: Annotated[InspectOptions, Flags] = DEFAULT,
    model: Path | None = None,
    device: str | None = None,
) -> None:
    """Say what a compressed file holds and which model it needs, and check it for damage.

    Parameters
    ----------
    file
        A file made by `vlb compress`; - is standard input.
    model
        The run it was made with, for --account, unless the file carries its model.
    device
        cpu or cuda, the same as for compression.
    """
    from vlb.interfaces.streams import spooled
    from vlb.interfaces.terminal import Terminal, choose_device, show

    keep_freed_memory()
    with Terminal() as progress, spooled(file) as archive:
        from vlb.coding.api import inspect as verb

        result = verb(archive.path, options, run=model, device=choose_device(device), progress=progress)
    problems = tuple(map(archive.named, result.problems))
    show(replace(result, file=archive.name, problems=problems))
    if problems:
        raise UserError(f"{archive.name} is damaged: {len(problems)} problems, the first is: {problems[0]}")
