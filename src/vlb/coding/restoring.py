"""Writing what an archive holds into a new folder, which appears whole or not at all."""

import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.base.files import made_new, refuse_existing
from vlb.coding.arrays import ArrayHead
from vlb.coding.reading import Content, Pictures, Piece, Rows
from vlb.coding.sources import IDX, IDX_GZ, NPY, PICTURE_FORMATS


def restore(found: Iterator[tuple[int, Content | UserError]], out: Path, salvage: bool) -> list[str]:
    """Write everything to the folder `out`, which must not exist; what is wrong with the archive, if `salvage`.

    Raises the first `UserError` of the archive otherwise, and then leaves nothing behind.
    """
    refuse_existing(out)
    problems: list[str] = []
    with made_new(out) as temporary, closing(_Folder(temporary, salvage)) as folder:
        for index, content in found:
            if isinstance(content, UserError):
                if not salvage:
                    raise content
                problems.append(str(content))
                folder.interrupt()
                continue
            try:
                folder.add(content)
            except UserError as error:
                if not salvage:
                    raise UserError(f"chunk {index}: {error}") from error
                problems.append(f"chunk {index}: {error}")
        problems += folder.finish()
    return problems


@dataclass
class _Open:
    """A file that is being written, an array in it, and how many of its rows are there."""

    name: str
    stream: IO[bytes]
    member: str = ""
    array: tuple[np.dtype, tuple[int, ...]] | None = None
    rows: int = 0
    zipped: zipfile.ZipFile | None = None
    raw: IO[bytes] | None = None


@dataclass
class _Folder:
    """The folder that is being filled."""

    root: Path
    salvage: bool
    current: _Open | None = None
    interrupted: bool = False
    lost: list[str] = field(default_factory=list)

    def add(self, content: Content) -> None:
        if isinstance(content, Pictures):
            self._close()
            for name, format_, mode, pixels in zip(
                content.names, content.formats, content.modes, content.pixels, strict=True
            ):
                self._picture(name, PICTURE_FORMATS[format_], mode, pixels)
        elif isinstance(content, Piece):
            self._piece(content)
        else:
            self._rows(content)
        self.interrupted = False

    def interrupt(self) -> None:
        """A chunk is missing here."""
        self.interrupted = True

    def finish(self) -> list[str]:
        """Close what is open; what is lost. Raises `UserError` if it is not whole, unless `salvage`."""
        self._close()
        return self.lost

    def _lose(self, what: str) -> None:
        if not self.salvage:
            raise UserError(what)
        self.lost.append(what)

    def close(self) -> None:
        """Let go of the file that is open after a failure."""
        if self.current is not None:
            opened = self.current
            for stream in (opened.stream, opened.zipped, opened.raw):
                if stream is not None:
                    with suppress(OSError, ValueError):
                        stream.close()

    def _new(self, name: str) -> Path:
        self._close()
        path = self.root / name
        if path.exists():
            raise UserError(f"the archive holds {name} twice")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _picture(self, name: str, format_: str, mode: str, pixels: np.ndarray) -> None:
        values = pixels[0].astype(bool) if mode == "1" else pixels[0] if mode == "L" else pixels.transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(values)).save(self._new(name), format=format_)

    def _piece(self, piece: Piece) -> None:
        current = self.current
        if current is None or current.name != piece.name or current.array is not None:
            if self.interrupted:
                self._lose(f"{piece.name} may be incomplete: a chunk before it is damaged")
            self.current = current = _Open(piece.name, self._new(piece.name).open("wb"))
        current.stream.write(piece.content)
        if piece.last:
            current.rows = 1
            self._close()

    def _rows(self, rows: Rows) -> None:
        head = rows.head
        current = self.current
        array = (head.dtype, head.shape)
        if current is None or current.name != head.name or current.array is None:
            self.current = current = self._begin(head)
        if current.member != head.member or current.array != array or (head.start == 0 and current.rows > 0):
            self._end_array(current)
            if current.zipped is None:
                raise UserError(f"the archive holds {head.name} twice")
            self._begin_member(current, head)
        if head.start < current.rows:
            raise UserError(f"rows of {head.name} are there twice")
        if head.start > current.rows:
            self._lose(f"{head.name}: rows {current.rows} to {head.start - 1} are lost and stand as zeros")
            self._zeros(current, head.start - current.rows)
        current.stream.write(np.ascontiguousarray(rows.rows).tobytes())
        current.rows += len(rows.rows)

    def _begin(self, head: ArrayHead) -> _Open:
        path = self._new(head.name)
        raw = path.open("wb")
        if head.container == NPY:
            raw.write(_npy_header(head))
            return _Open(head.name, raw, head.member, (head.dtype, head.shape))
        if head.container in (IDX, IDX_GZ):
            stream: IO[bytes] = raw
            if head.container == IDX_GZ:
                stream = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)  # type: ignore[assignment]
            stream.write(struct.pack(f">4B{len(head.shape)}I", 0, 0, 8, len(head.shape), *head.shape))
            return _Open(head.name, stream, head.member, (head.dtype, head.shape), raw=raw)
        zipped = zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED)
        current = _Open(head.name, raw, zipped=zipped, raw=raw)
        self._begin_member(current, head)
        return current

    def _begin_member(self, current: _Open, head: ArrayHead) -> None:
        assert current.zipped is not None
        if f"{head.member}.npy" in current.zipped.namelist():
            raise UserError(f"{head.name} holds the array {head.member} twice")
        current.stream = current.zipped.open(zipfile.ZipInfo(f"{head.member}.npy"), "w", force_zip64=True)
        current.stream.write(_npy_header(head))
        current.member, current.array, current.rows = head.member, (head.dtype, head.shape), 0

    def _end_array(self, current: _Open) -> None:
        if current.array is not None:
            _, shape = current.array
            expected = shape[0] if shape else 1
            if current.rows < expected:
                self._lose(f"{current.name}: rows {current.rows} to {expected - 1} are lost")
                self._zeros(current, min(expected - current.rows, 1 << 24))
        elif not current.rows:
            self._lose(f"{current.name} is incomplete: its last chunk is lost")
        if current.zipped is not None:
            current.stream.close()

    def _zeros(self, current: _Open, rows: int) -> None:
        """Zeros in place of lost rows, as long as they are few enough to be what a damaged chunk held."""
        assert current.array is not None
        dtype, shape = current.array
        size = dtype.itemsize * int(np.prod([float(n) for n in shape[1:]]))
        if rows * size <= 1 << 28:
            current.stream.write(bytes(rows * size))
        current.rows += rows

    def _close(self) -> None:
        if self.current is None:
            return
        current = self.current
        self._end_array(current)  # where it raises, `close` lets go of the file
        self.current = None
        if current.zipped is not None:
            current.zipped.close()
        else:
            current.stream.close()
        if current.raw is not None:
            current.raw.close()


def _npy_header(head: ArrayHead) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(head.dtype), "fortran_order": False, "shape": head.shape}
    )
    return buffer.getvalue()
