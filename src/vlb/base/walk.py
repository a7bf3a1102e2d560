"""What is in folders that a person gives: every file once, and nothing that vanishes without a word.

One rule for training, scoring and archives. Links are followed, to files and to folders alike; one that leads back to a
folder it lies in is refused. What is no file and no folder (pipes, sockets, devices, links to nothing) is left out, and
so is what this library is writing or has left behind. What cannot be read is refused.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from vlb.base.errors import UserError
from vlb.base.files import is_part

SHOWN = 3
SPECIAL = (
    (stat.S_ISFIFO, "pipes"),
    (stat.S_ISSOCK, "sockets"),
    (stat.S_ISBLK, "devices"),
    (stat.S_ISCHR, "devices"),
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


def walk(root: Path) -> Walked:
    """Everything below `root`.

    Raises `UserError`, naming the path, for what cannot be read and for a link that leads round.
    """
    files: list[PurePath] = []
    empty: list[PurePath] = []
    links: list[PurePath] = []
    out: list[LeftOut] = []

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
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                out.append(LeftOut(str(name), "links to nothing"))
                continue
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror or error}") from error
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                why = next(words for test, words in (*SPECIAL, (bool, "no files")) if test(mode))
                out.append(LeftOut(str(name), why))
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


@dataclass(frozen=True)
class Reason:
    """What was left out for one reason: how many, and the first few paths."""

    why: str
    count: int
    first: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.first) else ""
        return f"{self.why}: {self.count} ({', '.join(self.first)}{more})"


def reasons(left_out: Iterable[LeftOut]) -> tuple[Reason, ...]:
    """The same by reason, in the order in which they were met."""
    found: dict[str, list[str]] = {}
    for path, why in left_out:
        found.setdefault(why, []).append(path)
    return tuple(Reason(why, len(paths), tuple(paths[:SHOWN])) for why, paths in found.items())


def followed(links: Sequence[str | PurePath]) -> tuple[str, ...]:
    """What there is to say of links that were followed: a line, or none."""
    first = tuple(map(str, links[:SHOWN]))
    return (str(Reason("links, taken as what they lead to", len(links), first)),) if links else ()


class Named(NamedTuple):
    """A file, and the name by which it goes into an archive."""

    path: Path
    name: str


@dataclass(frozen=True)
class Gathered:
    """Everything in the inputs of a person, in order."""

    files: tuple[Named, ...]
    links: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def notes(self) -> list[str]:
        """What a person should know of it, a line each."""
        return [*(f"left out: {reason}" for reason in reasons(self.left_out)), *followed(self.links)]


def gather(inputs: Iterable[Path]) -> Gathered:
    """The files of all inputs, by names that begin with each input's own.

    Raises `UserError` for an input that is not there, is no file or folder, or has the name of another.
    """
    files: list[Named] = []
    links: list[str] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    for given in inputs:
        path = Path(given).expanduser()
        if not path.exists():
            raise UserError(f"there is nothing at {path}")
        root = path.resolve().name if path.name in ("", "..") else path.name
        if root in seen:
            raise UserError(f"two inputs are called {root}: rename one, for both would come out under that name")
        seen.add(root)
        if path.is_dir():
            found, here = walk(path), PurePosixPath(root)
            files += [Named(path / file, str(here / file)) for file in found.files]
            links += [str(here / link) for link in found.links]
            left_out += [LeftOut(str(here / left.path), left.why) for left in found.left_out]
            left_out += [LeftOut(str(here / folder), "empty folders") for folder in found.empty_folders]
        elif not path.is_file():
            raise UserError(f"{path} is no file and no folder: write what comes out of it into a file first")
        elif not os.access(path, os.R_OK):
            raise UserError(f"cannot read {path}: you have no permission; make it readable or leave it out")
        else:
            files.append(Named(path, root))
    return Gathered(tuple(files), tuple(links), tuple(left_out))


class Found(NamedTuple):
    """Files of a folder, relative to it, in sorted order; what was left out; what to say of links."""

    paths: tuple[PurePath, ...]
    left_out: tuple[LeftOut, ...]
    links: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """All of that, a line each."""
        return (*(f"left out: {reason}" for reason in reasons(self.left_out)), *self.links)


def found_in(folder: Path, suffixes: Sequence[str], what: str) -> Found:
    """Every file below a folder whose name ends so; hidden ones are left out. Raises `UserError` as `walk` does, and
    where there is none: "holds no `what`"."""
    walked, taken = walk(folder), list[PurePath]()
    left_out = list(walked.left_out)
    for path in walked.files:
        if any(part.startswith(".") for part in path.parts):
            left_out.append(LeftOut(str(path), "hidden files"))
        elif path.suffix.lower() in suffixes:
            taken.append(path)
        else:
            left_out.append(LeftOut(str(path), f"other files ({path.suffix.lower() or 'no suffix'})"))
    if not taken:
        others = "; ".join(map(str, reasons(left_out)))
        raise UserError(
            f"{folder} holds no {what} ({', '.join(suffixes)}){f', but {others}' if others else ''}: put some in it, "
            "or give the path of another folder"
        )
    return Found(tuple(sorted(taken, key=lambda path: path.parts)), tuple(left_out), followed(walked.links))
