"""Files and folders that are whole or not there: made beside the target under a lock, then given its name at once.

What is being made lies in a folder `.NAME.xxxxxxxx.part` that is locked (flock) by the process that makes it, so that
what a killed process left behind can be told from what is being written, and is removed by whoever makes NAME next.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vlb.base.errors import UserError

PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part", re.DOTALL)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success it becomes `path`, else it is removed.

    Raises `UserError` if the disk refuses (full, read-only, missing folder); whatever stood at
    `path` is then untouched.
    """
    with _refused(path), _part(path) as temporary:
        yield temporary
        _written(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def written_new(path: Path) -> Iterator[Path]:
    """As `written_whole`, where nothing may stand at `path` yet, a dangling link included: of several processes that
    write one name, the first to finish has it. Raises `UserError` in the others."""
    refuse_existing(path)
    with _refused(path), _part(path) as temporary:
        yield temporary
        _written(temporary)
        _claim(temporary, path)
        _sync(path.parent)


@contextmanager
def made_new(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder near `path`; on success it becomes `path`, where there is nothing or an empty
    folder, else it is removed with all that is in it. Raises `UserError` as `written_new`."""
    with _refused(path), _part(path) as temporary:
        temporary.mkdir()
        yield temporary
        try:
            temporary.rename(path)  # no folder takes the place of one that holds something
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _exists(path) from error
            raise
        _sync(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as `text`, whole or not at all."""
    write_bytes(path, text(content))


def write_new(path: Path, content: bytes) -> None:
    """Write `content` to the new file `path`, as `written_new` does."""
    with written_new(path) as temporary:
        temporary.write_bytes(content)


def text(content: str) -> bytes:
    """UTF-8; bytes of file names that are no UTF-8 are written as backslash escapes."""
    return content.encode("utf-8", "backslashreplace")


def refuse_existing(path: Path) -> None:
    """Raises `UserError` if anything has the name `path`, a link to nothing too."""
    if os.path.lexists(path):
        raise _exists(path)


def is_part(name: str) -> bool:
    """Whether a file or folder of that name is something unfinished of this library."""
    return PART.fullmatch(name) is not None


def abandoned(folder: Path) -> list[Path]:
    """Unfinished files and folders in `folder` that no living process is making."""
    found = []
    for path in sorted(folder.iterdir()):
        if is_part(path.name):
            with _nobodys(path) as free:
                found += [path] * free
    return found


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what `abandoned` finds in `folder`; name: only what was to become that."""
    for path in sorted(folder.iterdir()):
        if is_part(path.name) and name in (None, path.name[1 : -len(".xxxxxxxx.part")]):
            with _nobodys(path) as free:
                if free:  # removed under its lock, for whoever has just made it takes the lock, too
                    remove(path)


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; nothing where it is gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A path in a new folder beside `path`, which no file has yet; the folder is locked, and removed in the end."""
    parent = path.absolute().parent
    sweep(parent, path.name)
    folder, lock = _locked(path.name, parent)
    try:
        yield folder / path.name
    finally:
        remove(folder)
        os.close(lock)


def _locked(name: str, parent: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=parent))
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # it was taken for abandoned before it was locked
            continue
        with suppress(OSError):  # a disk without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


@contextmanager
def _nobodys(path: Path) -> Iterator[bool]:
    """Whether no process holds the lock of an unfinished file or folder; if so, it is held here meanwhile."""
    try:
        mode = path.lstat().st_mode
        ours = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW) if ours else None
    except OSError:
        descriptor = None
    if descriptor is None:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        yield free
    finally:
        os.close(descriptor)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error


def _written(temporary: Path) -> None:
    with temporary.open("rb") as written:
        os.fchmod(written.fileno(), _usual_mode(temporary))  # whatever the writer took for right
        os.fsync(written.fileno())


def _claim(temporary: Path, path: Path) -> None:
    """Give a finished file the name `path`, which nothing has."""
    try:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # a disk without hard links
            temporary.replace(path)
    except FileExistsError as error:
        raise _exists(path) from error


def _exists(path: Path) -> UserError:
    return UserError(f"{path} exists already: choose another name")


def _usual_mode(temporary: Path) -> int:
    """Of a new file beside it: to ask the process for its mask would be to change it, for other threads too."""
    probe = temporary.with_name(f".{temporary.name}.mode")
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
