"""The files that an input is: names that they come out under, and where they are."""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vlb.base.errors import UserError
from vlb.coding.names import storable


class Found(NamedTuple):
    """A file. name: as in an archive, a relative POSIX path."""

    name: str
    path: Path


def items(inputs: list[Path]) -> list[Found]:
    """Every file in `inputs`, in sorted order within a folder, by names that begin with each input's own.

    Raises `UserError` for an input that is not there or has the name of another, and for a file whose name would not
    come out again.
    """
    roots: dict[str, Path] = {}
    found = list[Found]()
    for given in inputs:
        path = Path(given).expanduser()
        if not path.exists():
            raise UserError(f"there is nothing at {path}")
        root = path.resolve().name if path.name in ("", "..") else path.name
        if root in roots:
            raise UserError(
                f"two inputs are called {root}, {roots[root]} and {path}: rename one, for both would come out under "
                "that name"
            )
        roots[root] = path
        files = _files(path) if path.is_dir() else [path]
        found += [Found(str(PurePosixPath(root, *file.relative_to(path).parts)), file) for file in files]
    for name, path in found:
        if not storable(name):
            raise UserError(
                f"{path} cannot be stored under its name, which would not come out again on every system: rename it "
                "without backslashes, and without colons in its first part"
            )
    return found


def _files(folder: Path) -> list[Path]:
    """Regular files below `folder`, sorted; links are not followed out of it."""
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place) / name for name in sorted(names) if (Path(place) / name).is_file()]
    return found
