"""`-` on the command line, and pipes: what must be sought in is kept in a temporary file meanwhile."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlb.base.errors import UserError
from vlb.base.files import refuse_existing as refuse_standing

STANDARD = Path("-")


@contextmanager
def spooled(file: Path) -> Iterator[Path]:
    """A file that can be sought in: `file` itself, or what comes out of standard input (`-`) or of a pipe."""
    if file == STANDARD:
        with tempfile.TemporaryDirectory(prefix="vlb-") as folder:
            held = Path(folder) / "standard-input"
            with held.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream)
            yield held
    elif file.is_fifo():
        with tempfile.TemporaryDirectory(prefix="vlb-") as folder:
            held = Path(folder) / file.name
            with file.open("rb") as pipe, held.open("wb") as stream:
                shutil.copyfileobj(pipe, stream)
            yield held
    else:
        yield file


@contextmanager
def delivered(out: Path) -> Iterator[Path]:
    """Where to write a new file: `out` itself, or for `-` a temporary file that goes to standard output in the end.

    Raises `UserError` where standard output is a terminal.
    """
    if out != STANDARD:
        refuse_existing(out)
        yield out
        return
    if sys.stdout.isatty():
        raise UserError("-o - writes bytes, and standard output is a terminal: send it to a file or another program")
    with tempfile.TemporaryDirectory(prefix="vlb-") as folder:
        held = Path(folder) / "standard-output"
        yield held
        with held.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def refuse_existing(path: Path | None) -> None:
    """Raises `UserError` if `path` cannot be made anew: nothing that a person made is written over."""
    if path is None:
        return
    if path == STANDARD:
        raise UserError("this is not written to standard output: give the name of a file")
    refuse_standing(path)
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent}: make it first")
