"""What is in folders that a person gives: every file once, and nothing that vanishes without a word.

One rule for training, scoring and archives. Links are followed, to files and to folders alike; one that leads back to a
folder it lies in is refused. What is no file and no folder – pipes, sockets, devices, links to nothing – is left out, and
so is what this library is writing or has left behind. What cannot be read is refused.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from vlb.base.errors import UserError
from vlb.base.files import is_part

SHOWN = 3
SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


class LeftOut(NamedTuple):
    """Something that is not taken. path: relative to what was given; why: the reason, alike for all of its kind."""

    path: str
    why: str


@dataclass(frozen=True)
class Walked:
    """What a folder holds, all paths relative to it. files: in sorted order, those of a folder before its folders;
    links: those of files and folders that were followed; empty_folders: without anything in them."""

    files: tuple[PurePath, ...]
    empty_folders: tuple[PurePath, ...]
    links: tuple[PurePath, ...]
    left_out: tuple[LeftOut, ...]


def walk(root: Path, output: Path | None = None) -> Walked:
    """Everything below `root`; output: what is being written, which is no input wherever it lies.

    Raises `UserError`, naming the path, for what cannot be read and for a link that leads round.
    """
    files: list[PurePath] = []
    empty: list[PurePath] = []
    links: list[PurePath] = []
    out: list[LeftOut] = []
    avoided = None if output is None else os.path.abspath(output)

    def enter(place: Path, here: PurePath, above: tuple[tuple[int, int], ...]) -> None:
        try:
            known = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"cannot read {place}: {error.strerror or error}") from error
        if (known.st_dev, known.st_ino) in above:
            raise UserError(f"{place} is a link that leads back to a folder that it lies in: remove it")
        if not entries:
            empty.append(here)
        folders = []
        for entry in entries:
            path, name = place / entry.name, here / entry.name
            if is_part(entry.name):
                out.append(LeftOut(str(name), "unfinished files of vlb"))
                continue
            if os.path.abspath(path) == avoided:
                out.append(LeftOut(str(name), "the output itself"))
                continue
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                out.append(LeftOut(str(name), "links to nothing"))
                continue
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror or error}") from error
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                why = next(words for test, words in (*SPECIAL, (bool, "no file")) if test(mode))
                out.append(LeftOut(str(name), f"{why}, which has no content of its own"))
                continue
            if path.is_symlink():
                links.append(name)
            if stat.S_ISDIR(mode):
                folders.append((path, name))
            elif os.access(path, os.R_OK):
                files.append(name)
            else:
                raise UserError(f"cannot read {path}: you have no permission; make it readable or move it away")
        for path, name in folders:
            enter(path, name, (*above, (known.st_dev, known.st_ino)))

    enter(root, PurePath(), ())
    return Walked(tuple(files), tuple(empty), tuple(links), tuple(out))


def counted(left_out: Iterable[LeftOut]) -> dict[str, tuple[str, ...]]:
    """The paths that were left out, by reason."""
    found: dict[str, list[str]] = {}
    for path, why in left_out:
        found.setdefault(why, []).append(path)
    return {why: tuple(paths) for why, paths in found.items()}


def said(left_out: Iterable[LeftOut]) -> tuple[str, ...]:
    """A line per reason, with how many and the first of them."""
    return tuple(f"left out: {why}: {listed(paths)}" for why, paths in counted(left_out).items())


def listed(paths: tuple[str, ...]) -> str:
    """How many there are, and the first few."""
    return f"{len(paths)} ({', '.join(paths[:SHOWN])}{', …' if len(paths) > SHOWN else ''})"
