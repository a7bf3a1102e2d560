"""Which names may stand in an archive: those that stay where they are put, on every system."""

from pathlib import PurePosixPath

from vlb.coding.wire import MAX_TEXT, Damaged


def safe(name: str) -> str:
    """A name of a file, if it is a relative path that stays in its folder. Raises `Damaged` otherwise."""
    path = PurePosixPath(name)
    wrong = not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name
    if wrong or ":" in path.parts[0] or str(path) != name:
        raise Damaged(f"the name {name[:60]!r} would not stay in the output folder")
    return name


def storable(name: str) -> bool:
    """Whether a file of that name comes out again."""
    try:
        return len(safe(name).encode("utf-8", "surrogateescape")) <= MAX_TEXT
    except (Damaged, UnicodeEncodeError):
        return False
