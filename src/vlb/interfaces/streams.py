"""`-` on the command line, and pipes: what must be sought in is kept in a temporary file meanwhile."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from vlb.base.errors import UserError
from vlb.base.files import refuse_existing as refuse_standing

STANDARD = Path("-")
INPUT, OUTPUT = Path("standard input"), Path("standard output")


class Source(NamedTuple):
    """path: where to read what came in; name: what a person calls it."""

    path: Path
    name: Path

    def named(self, words: str) -> str:
        """A message about it, by its name."""
        return words.replace(str(self.path), str(self.name))


@contextmanager
def spooled(file: Path) -> Iterator[Source]:
    """A file that can be sought in: `file` itself, or what comes out of standard input (`-`) or of a pipe."""
    if file != STANDARD and not file.is_fifo():
        yield Source(file, file)
        return
    name = INPUT if file == STANDARD else file
    with _held(name) as held:
        source = nullcontext(sys.stdin.buffer) if file == STANDARD else file.open("rb")
        with source as pipe, held.open("wb") as stream:
            shutil.copyfileobj(pipe, stream)
        yield Source(held, name)


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
    with _held(OUTPUT) as held:
        yield held
        with held.open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def called(out: Path) -> Path:
    """What a person calls it."""
    return OUTPUT if out == STANDARD else out


@contextmanager
def _held(name: Path) -> Iterator[Path]:
    """A temporary file, which messages call `name`."""
    with tempfile.TemporaryDirectory(prefix="vlb-") as folder:
        held = Path(folder) / "held"
        try:
            yield held
        except UserError as error:
            raise UserError(str(error).replace(str(held), str(name))) from error


def refuse_existing(path: Path | None) -> None:
    """Raises `UserError` if `path` cannot be made anew: nothing that a person made is written over."""
    if path is None:
        return
    if path == STANDARD:
        raise UserError("this is not written to standard output: give the name of a file")
    refuse_standing(path)
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent}: make it first")
