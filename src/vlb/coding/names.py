"""Which names may stand in an archive: those that stay where they are put, on every system."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from vlb.base.errors import UserError
from vlb.base.walk import Named
from vlb.coding.wire import MAX_TEXT, Damaged

MAX_DEPTH = 256  # parts of a name
SHOWN = 60


def safe(name: str) -> str:
    """A name of a file, if it is a relative path that stays in its folder. Raises `Damaged` otherwise."""
    path = PurePosixPath(name)
    wrong = not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name
    if wrong or ":" in path.parts[0] or str(path) != name:
        raise Damaged(f"the name {shown(name)} would not stay in the output folder")
    if len(path.parts) > MAX_DEPTH:
        raise Damaged(
            f"the name {shown(name)} is of {len(path.parts)} folders within each other, more than {MAX_DEPTH}"
        )
    return name


def shown(name: str) -> str:
    """A name for a message: quoted, and cut short where it is long."""
    return repr(name) if len(name) <= SHOWN else f"{name[:SHOWN]!r} …"


def storable(name: str) -> bool:
    """Whether a file of that name comes out again."""
    try:
        return len(safe(name).encode("utf-8", "surrogateescape")) <= MAX_TEXT
    except (Damaged, UnicodeEncodeError):
        return False


def refuse_unstorable(files: Sequence[Named]) -> None:
    """Raises `UserError` where the name of a file would not come out again."""
    for path, name in files:
        if not storable(name):
            raise UserError(
                f"{path} cannot be stored under its name, which would not come out again on every system: rename it "
                f"without backslashes, without colons in its first part, and within at most {MAX_DEPTH} folders"
            )
