"""Writing what an archive holds into a new folder, which appears whole or not at all."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from vlb.base.errors import UserError
from vlb.base.files import made_new, refuse_existing
from vlb.coding.allowance import Allowance
from vlb.coding.contents import Content, Data, Piece, Stretch, checked
from vlb.coding.elements import Model
from vlb.coding.files import Formats, checksum, numbered, written
from vlb.coding.names import safe, shown
from vlb.coding.records import Record
from vlb.coding.wire import Damaged
from vlb.data.formats.base import Declined

# What a system says of a name that it cannot give to a file there; anything else is the disk's matter.
NAMELESS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP)


def restore(
    found: Iterator[tuple[int, Content | UserError]], out: Path, formats: Formats, salvage: bool, allowance: Allowance
) -> list[str]:
    """Write everything to the folder `out`, which must not exist; what is wrong with the archive, if `salvage`.

    Raises the first `UserError` of the archive otherwise, and then leaves nothing behind; and, whatever is asked for,
    where the disk refuses.
    """
    refuse_existing(out)
    problems: list[str] = []
    with made_new(out) as temporary, closing(_Folder(temporary, formats, salvage, allowance)) as folder:
        for index, content in found:
            if isinstance(content, UserError):
                if not salvage:
                    raise content
                problems.append(str(content))
                folder.interrupted = True
                continue
            folder.position = index
            try:
                content.into(folder)
            except (UserError, Damaged, Declined) as error:
                if not salvage:
                    raise UserError(f"chunk {index}: {error}") from error
                problems.append(f"chunk {index}: {error}")
        folder.finish()
        problems += folder.lost
    return problems


@dataclass
class _Streamed:
    """A file that is stored as it is, being written."""

    name: str
    stream: IO[bytes]


@dataclass
class _Gathered:
    """A file of examples, of which some are there; chunk: which has its record; whole: whether none are lost."""

    record: Record
    chunk: int
    model: Model
    parts: list[np.ndarray] = field(default_factory=list)
    done: int = 0
    whole: bool = True

    def held(self, count: int) -> int:
        """Bytes that it takes with so many examples more."""
        return (self.done + count) * math.prod(self.model.shape) * self.model.dtype.itemsize

    def zeros(self, count: int) -> None:
        """In place of examples that are lost."""
        self.parts.append(np.zeros((count, *self.model.shape), self.model.dtype))
        self.done += count
        self.whole = False


@dataclass
class _Folder:
    """The folder that is being filled. position: of the chunk at hand; interrupted: one before it is missing."""

    root: Path
    formats: Formats
    salvage: bool
    allowance: Allowance
    position: int = 0
    interrupted: bool = False
    streamed: _Streamed | None = None
    gathered: _Gathered | None = None
    lost: list[str] = field(default_factory=list)

    def piece(self, piece: Piece) -> None:
        """Of a file that is stored as it is."""
        if self.streamed is None or self.streamed.name != piece.name:
            self._end_stream()
            if self.interrupted:
                self._lose(f"{shown(piece.name)} may be incomplete: a chunk before it is damaged")
            self.streamed = self._streamed(piece)
        self.interrupted = False
        streamed = self.streamed
        if piece.last:
            self.streamed = None
        try:
            self.allowance.take(len(piece.content))
            streamed.stream.write(piece.content)
        except Damaged:
            streamed.stream.close()
            if self.streamed is not None:
                self.streamed = _Streamed(piece.name, _nowhere())
            raise
        if piece.last:
            streamed.stream.close()

    def data(self, data: Data) -> None:
        """Examples of one file that began before, and of files that begin here."""
        self.interrupted = False
        continued = data.plan.continued
        if self.gathered is not None and continued.back != self.position - self.gathered.chunk:
            self._end_gathered()
        known = self.gathered is not None or not continued.count
        if not known:
            self._lose(f"{continued.count} examples are of a file whose beginning is lost")
        names, checksums = list[str](), list[int]()
        for stretch in data.stretches():
            if stretch.record is not None:
                self.gathered = _Gathered(stretch.record, self.position, data.model)
            file = self.gathered
            if file is None:
                continue
            try:
                self._gather(file, stretch)
            except Damaged as error:
                self._lose(str(error))
                self.gathered, known = None, False
                continue
            if file.done == file.record.examples:
                written = self._end_gathered()
                known = known and written is not None
                names.append(file.record.name)
                checksums.append(written or 0)
        if known and checked(checksums) != data.plan.check:
            self._lose(f"{', '.join(names[:5])}{' …' * (len(names) > 5)}: this is not what was compressed")

    def finish(self) -> None:
        """End what is open. Raises `UserError` if it is not whole, unless `salvage`."""
        self._end_stream()
        self._end_gathered()

    def close(self) -> None:
        """Let go of the file that is open after a failure."""
        if self.streamed is not None:
            self.streamed.stream.close()

    def _gather(self, file: _Gathered, stretch: Stretch) -> None:
        if stretch.first < file.done or stretch.first + len(stretch.x) > file.record.examples:
            raise Damaged(f"rows of {shown(file.record.name)} that are there already, or that it has not")
        self._fill(file, stretch.first)
        self.allowance.hold(file.held(len(stretch.x)))
        file.parts.append(stretch.x)
        file.done += len(stretch.x)

    def _fill(self, file: _Gathered, until: int) -> None:
        """Zeros in place of the examples before `until` that are lost."""
        if file.done < until:
            self._lose(f"{shown(file.record.name)}: rows {file.done} to {until - 1} are lost and stand as zeros")
            self.allowance.hold(file.held(until - file.done))
            file.zeros(until - file.done)

    def _end_gathered(self) -> int | None:
        """Write the file whose examples were gathered; its checksum, None if some of it is lost."""
        file, self.gathered = self.gathered, None
        if file is None:
            return None
        try:
            self._fill(file, file.record.examples)
            format_ = numbered(self.formats, file.record.format)
            x = np.concatenate(file.parts)
            self.allowance.take(file.record.weight(x, file.model))
            content = written(format_, file.record.restored(x, file.model))
            with self._new(file.record.name) as stream:
                stream.write(content)
            return checksum(format_, content) if file.whole else None
        except (Damaged, Declined, UserError) as error:
            self._lose(f"{shown(file.record.name)}: {error}")
            return None

    def _streamed(self, piece: Piece) -> _Streamed:
        """A new file; where it cannot be, what follows of it goes nowhere."""
        try:
            return _Streamed(piece.name, self._new(piece.name))
        except (UserError, Damaged):
            if not piece.last:
                self.streamed = _Streamed(piece.name, _nowhere())
            raise

    def _end_stream(self) -> None:
        if self.streamed is not None:
            self.streamed.stream.close()
            name, self.streamed = self.streamed.name, None
            self._lose(f"{shown(name)} is incomplete: its last chunk is lost")

    def _lose(self, what: str) -> None:
        if not self.salvage:
            raise UserError(what)
        self.lost.append(what)

    def _new(self, name: str) -> IO[bytes]:
        """A new file. Raises `Damaged` or `UserError` where there can be none of that name."""
        path = self.root / safe(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
        except FileExistsError as error:
            raise UserError(f"the archive holds {shown(name)} twice, or a file where it needs a folder") from error
        except OSError as error:
            if error.errno not in NAMELESS:
                raise
            raise UserError(
                f"{shown(name)} can be no file here ({error.strerror}); --salvage writes the others"
            ) from error


def _nowhere() -> IO[bytes]:
    """Where the rest of a file goes that cannot be."""
    return Path(os.devnull).open("wb")
