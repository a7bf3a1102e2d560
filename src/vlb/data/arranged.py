"""How pictures lie in a folder: in folders that are splits, in folders that are classes, or as they come.

Folders named after splits, in upper or lower case, are splits where all pictures lie in such folders; what merely looks
like it is refused, for test pictures must not get into training. Folders are classes where each picture lies in exactly
one, below the splits.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from vlb.base.errors import UserError
from vlb.base.walk import SHOWN, LeftOut, Reason, Walked, followed, reasons, walk
from vlb.data.labels import natural

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
MORE = r"(?:sets?|data|images?|imgs?|pictures?|pics?|photos?|files?|seg|[\W\d_])*"
LIKE_SPLIT = re.compile(
    rf"{MORE}(?:(?:{'|'.join(SPLIT_NAMES)}|eval|evaluation|hold-?_?out|held-?_?out)s?{MORE})+", re.IGNORECASE
)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^A-Za-z]+")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder: paths relative to it, in sorted order; what was left out, and which links followed."""

    paths: tuple[PurePath, ...]
    left_out: tuple[Reason, ...]
    links: tuple[PurePath, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of links."""
        return followed(self.links)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that a person should know, a line each."""
        return (*(f"left out: {reason}" for reason in self.left_out), *self.remarks)


def pictures(folder: Path) -> Pictures:
    """Every picture below `folder`; hidden files and folders are left out. Raises `UserError` as `walk` does, and where
    there is none."""
    found = walk(folder)
    taken: list[PurePath] = []
    left_out = list(found.left_out)
    for path in found.files:
        why = _unwanted(path)
        if why is None:
            taken.append(path)
        else:
            left_out.append(LeftOut(str(path), why))
    left_out += [LeftOut(str(path), "empty folders") for path in found.empty_folders if path.parts]
    if not taken:
        raise UserError(f"{folder} holds no images ({' '.join(sorted(SUFFIXES))}){_hint(folder)}")
    paths = tuple(sorted(taken, key=lambda path: path.parts))
    return Pictures(paths, reasons(left_out), _used(found, taken))


def own_splits(folder: Path, paths: Iterable[PurePath]) -> dict[str, list[PurePath]]:
    """Paths by split, all of them under 'train' where the folder has no splits of its own.

    Raises `UserError` where folders are named after splits and something lies beside them, two are of one split, or
    none is for training; and where there are no splits and a folder, at any depth, is called as if it were one.
    """
    paths = list(paths)
    tops = sorted({path.parts[0] for path in paths if len(path.parts) > 1}, key=natural)
    named = {top: SPLIT_NAMES[top.casefold()] for top in tops if top.casefold() in SPLIT_NAMES}
    if not named:
        _refuse_alike(folder, paths)
        return {"train": paths}
    alike = " and ".join(named)
    beside = [top for top in tops if top not in named] + [str(path) for path in paths if len(path.parts) == 1]
    if beside:
        more = ", …" if len(beside) > 3 else ""
        raise UserError(
            f"{folder}: {alike} {'is' if len(named) == 1 else 'are'} named after splits, and beside lies "
            f"{', '.join(beside[:3])}{more}: move it into a split or out of the folder, or rename {alike} "
            "if these are classes"
        )
    if "train" not in named.values():
        raise UserError(
            f"{folder} has {alike} but no folder for training: call one train, or rename {alike} if it is no split"
        )
    if len(set(named.values())) < len(named):
        raise UserError(f"{folder}: of {alike}, two are the same split: keep one of them, or put them into one folder")
    splits: dict[str, list[PurePath]] = {}
    for path in paths:
        splits.setdefault(named[path.parts[0]], []).append(path)
    return splits


def sounding(paths: Iterable[PurePath]) -> tuple[str, ...]:
    """What there is to say of folders that are none of the splits, but sound like one: my_test_pictures, train/val."""
    folders = {parent for path in paths for parent in path.parents if _sound(parent.name)}
    found = sorted(str(f) for f in folders if len(f.parts) > 1 or f.name.casefold() not in SPLIT_NAMES)
    words = "folders that sound like splits and are taken for none"
    return (str(Reason(words, len(found), tuple(found[:SHOWN]))),) if found else ()


def _refuse_alike(folder: Path, paths: list[PurePath]) -> None:
    """For pictures of a test set must not get into training because its folder is called, or lies, otherwise."""
    pairs = _paired(paths)
    for path in paths:
        folders = [parent for parent in path.parents if parent.name]
        alike = next((f.name for f in folders if LIKE_SPLIT.fullmatch(f.name) or f in pairs), None)
        if alike is not None:
            raise UserError(
                f"{folder}: the folder {alike} of {path} looks like a split and is none: splits are the folders train, "
                "validation and test of the folder that you give; give the folder that holds these, or rename it"
            )


def _paired(paths: Iterable[PurePath]) -> set[PurePath]:
    """Folders beside each other that differ by a word for a split: trainA and testA, x-train and x-val."""
    alike: dict[tuple[PurePath, str], dict[PurePath, str]] = {}
    for folder in {parent for path in paths for parent in path.parents if parent.name}:
        if sound := _sound(folder.name):
            alike.setdefault((folder.parent, sound.rest), {})[folder] = sound.split
    return {folder for found in alike.values() if len(set(found.values())) > 1 for folder in found}


class _Sound(NamedTuple):
    """The split that a word of a name stands for, and the name without that word."""

    split: str
    rest: str


def _sound(name: str) -> _Sound | None:
    words = [word.casefold() for word in WORDS.findall(name)]
    at = next((i for i, word in enumerate(words) if word in SPLIT_NAMES), None)
    return None if at is None else _Sound(SPLIT_NAMES[words[at]], "".join(words[:at] + words[at + 1 :]))


def class_of(path: PurePath, split: bool) -> str | None:
    """The name of the folder that is a picture's class, if it lies in exactly one; split: below one that is a split."""
    within = path.parts[1:] if split else path.parts
    return within[0] if len(within) == 2 else None


def _unwanted(path: PurePath) -> str | None:
    if any(part.startswith(".") for part in path.parts):
        return "hidden files"
    if path.suffix.lower() not in SUFFIXES:
        return f"other files ({path.suffix.lower() or 'no suffix'})"
    return None


def _used(found: Walked, taken: list[PurePath]) -> tuple[PurePath, ...]:
    """The links by which pictures were reached."""
    ways = set(taken).union(*(path.parents for path in taken))
    return tuple(link for link in found.links if link in ways)


def _hint(folder: Path) -> str:
    if (folder / "data_batch_1").is_file() or (folder / "data_batch_1.pkl").is_file():
        return "; its data batches look like pickles, which are never opened: get CIFAR-10's binary version"
    return "; put images in it, or give the path of another folder or of an .npy, .npz, IDX or .bin file"
