"""What version 2 of the archive format said, as the contents of today. Nothing else in the library knows it.

It had a kind of chunk for pictures, for rows of an array and for rows of a table; files are made of them here, and
handed on as they are.
"""

import gzip
import io
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Protocol

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.coding import settings as coding
from vlb.coding import values
from vlb.coding.contents import Piece, Take
from vlb.coding.elements import Model, Numbers, Texts, read_elements
from vlb.coding.general import unpack
from vlb.coding.header import DEVICES, DIGEST, MAX_AXES, Header, Numerics
from vlb.coding.layouts import LAYOUTS
from vlb.coding.names import safe
from vlb.coding.records import MAX_AXIS, MAX_PIECE, holdable
from vlb.coding.wire import MAX_TEXT, Damaged, Reader
from vlb.core.schema import Column

VERSION = 2
VERBATIM, PICTURES, ARRAY, TABLE = 1, 2, 3, 5
KIND_NAMES = {PICTURES: "pictures", ARRAY: "array", TABLE: "table"}
PICTURE_FORMATS, MODES = ("PNG", "BMP", "PPM"), ("L", "RGB", "1")
NPY, NPZ, IDX, IDX_GZ = range(4)
PLAIN, LAST_LAYOUT = 0, 4
DELIMITERS, NEWLINES = ",;|\t", ("\n", "\r\n")
MAX_ROWS, MAX_CELLS = 1 << 22, 1 << 26
MAX_ZEROS = 1 << 28  # bytes in place of lost rows
ROWS_AT_ONCE = 1 << 10


class Old(Protocol):
    """What a chunk of version 2 holds."""

    def onto(self, files: "_Files", index: int) -> "Iterator[Piece | UserError]":
        """Pieces of the files that it is part of."""

    def preview(self) -> "Iterator[Piece]":
        """Files of its examples, which are only some of them."""


@dataclass(frozen=True)
class _AsIs:
    piece: Piece

    def onto(self, files: "_Files", index: int) -> "Iterator[Piece | UserError]":
        yield from files.closed(index)
        yield self.piece

    def preview(self) -> Iterator[Piece]:
        yield from ()


@dataclass(frozen=True)
class _Table:
    """Rows of cells as text, behind a text of their own. ended: whether a line break follows the last row."""

    name: str
    last: bool
    before: str
    cells: np.ndarray
    delimiter: str
    newline: str
    ended: bool

    def onto(self, files: "_Files", index: int) -> "Iterator[Piece | UserError]":
        yield from files.closed(index)
        yield from self.preview()

    def preview(self) -> Iterator[Piece]:
        """Never more than a few rows at once."""
        text, count = self.before, len(self.cells)
        for start in range(0, count, ROWS_AT_ONCE):
            text += self.newline.join(map(self.delimiter.join, self.cells[start : start + ROWS_AT_ONCE].tolist()))
            if start + ROWS_AT_ONCE < count:
                yield self._piece(text + self.newline, False)
                text = ""
        yield self._piece(text + self.newline * self.ended, self.last)

    def _piece(self, text: str, last: bool) -> Piece:
        return Piece(self.name, last, text.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class _Pictures:
    """Names, formats, modes, pixels (n, C, H, W)."""

    names: list[str]
    formats: list[str]
    modes: list[str]
    pixels: np.ndarray

    def onto(self, files: "_Files", index: int) -> "Iterator[Piece | UserError]":
        yield from files.closed(index)
        yield from self.preview()

    def preview(self) -> Iterator[Piece]:
        for name, format_, mode, x in zip(self.names, self.formats, self.modes, self.pixels, strict=True):
            values = x[0].astype(bool) if mode == "1" else x[0] if mode == "L" else x.transpose(1, 2, 0)
            stream = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(values)).save(stream, format=format_)
            yield Piece(name, True, stream.getvalue())


@dataclass(frozen=True)
class _Head:
    """count rows of an array from `start` on; shape: of the whole array."""

    name: str
    member: str
    container: int
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    count: int
    layout: int

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def size(self) -> int:
        """Bytes of the rows as they are in memory."""
        return self.count * math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True)
class _Rows:
    head: _Head
    values: np.ndarray

    def onto(self, files: "_Files", index: int) -> "Iterator[Piece | UserError]":
        yield from files.add(self, index)

    def preview(self) -> Iterator[Piece]:
        if not self.values.size:
            return
        head = self.head
        member = head.member.replace("/", "-").replace("\\", "-")
        place = f"{head.start}-{head.start + head.count - 1}.npy"
        shape = self.values.shape
        content = _npy(self.values.dtype, shape) + self.values.tobytes()
        yield Piece(safe("-".join(part for part in (head.name, member, place) if part)), True, content)


@dataclass
class _Files:
    """The file that is being put together out of rows: which array of it, and how many of its rows are there."""

    head: _Head | None = None
    done: int = 0
    raw: io.BytesIO = field(default_factory=io.BytesIO)
    stream: IO[bytes] = field(default_factory=io.BytesIO)
    zipped: zipfile.ZipFile | None = None

    def add(self, rows: _Rows, index: int) -> Iterator[Piece | UserError]:
        head, now = rows.head, self.head
        if now is None or now.name != head.name:
            yield from self.closed(index)
            self._begin(head)
        elif (now.member, now.dtype, now.shape) != (head.member, head.dtype, head.shape) or not head.start:
            yield from self._ended()
            if self.zipped is None or f"{head.member}.npy" in self.zipped.namelist():
                yield UserError(f"chunk {index}: the archive holds {head.name} {head.member} twice")
                return
            self._begin_member(head)
        if head.start < self.done:
            yield UserError(f"chunk {index}: rows of {head.name} are there twice")
            return
        yield from self._zeros(head.start)
        self.stream.write(np.ascontiguousarray(rows.values).tobytes())
        self.done += head.count
        if self.zipped is None:  # which goes back to what it has written
            yield Piece(head.name, False, self.raw.getvalue())
            self.raw.seek(0)
            self.raw.truncate()

    def closed(self, index: int) -> Iterator[Piece | UserError]:
        """The file that is open, if one is, as it now is."""
        if self.head is None:
            return
        yield from self._ended()
        name, self.head = self.head.name, None
        if self.zipped is not None:
            self.zipped.close()
        elif self.stream is not self.raw:
            self.stream.close()
        yield Piece(name, True, self.raw.getvalue())

    def _begin(self, head: _Head) -> None:
        self.raw, self.zipped = io.BytesIO(), None
        self.stream = self.raw
        if head.container == NPZ:
            self.zipped = zipfile.ZipFile(self.raw, "w", zipfile.ZIP_DEFLATED)
            self._begin_member(head)
            return
        if head.container == IDX_GZ:
            self.stream = gzip.GzipFile(filename="", mode="wb", fileobj=self.raw, mtime=0)  # type: ignore[assignment]
        shape = head.shape
        idx = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) if head.container != NPY else b""
        self.stream.write(idx or _npy(head.dtype, shape))
        self.head, self.done = head, 0

    def _begin_member(self, head: _Head) -> None:
        assert self.zipped is not None
        self.stream = self.zipped.open(zipfile.ZipInfo(f"{head.member}.npy"), "w", force_zip64=True)
        self.stream.write(_npy(head.dtype, head.shape))
        self.head, self.done = head, 0

    def _ended(self) -> Iterator[UserError]:
        assert self.head is not None
        yield from self._zeros(self.head.rows)
        if self.zipped is not None:
            self.stream.close()

    def _zeros(self, until: int) -> Iterator[UserError]:
        assert self.head is not None
        head, lost = self.head, until - self.done
        if lost <= 0:
            return
        yield UserError(f"{head.name}: rows {self.done} to {until - 1} are lost and stand as zeros")
        size = lost * math.prod(head.shape[1:]) * head.dtype.itemsize
        if size <= MAX_ZEROS:  # what a damaged chunk may have held
            self.stream.write(bytes(size))
        self.done = until


def header(reader: Reader) -> Header:
    """The header of version 2. Raises `Damaged`."""
    form, digest = reader.raw(1)[0], reader.raw(DIGEST)
    shape, levels = reader.numbers(MAX_AXES, 1 << 16), reader.number(1 << 16)
    settings = coding.read(form >> 2 & 3, reader)
    threads, torch = reader.number(1 << 16), (reader.number(1 << 16), reader.number(1 << 16))
    numerics = Numerics(DEVICES[form >> 1 & 1], threads, torch)
    return Header(digest, bool(form & 1), shape, levels, settings, numerics, version=VERSION)


def content(kind: int, reader: Reader, model: Model, take: Take) -> Old:
    """What a chunk holds, `take` having made of its values what it likes. Raises `Damaged`."""
    if kind == VERBATIM:
        return _AsIs(Piece.read(reader))
    reads = {PICTURES: _pictures, ARRAY: _rows, TABLE: _table}
    if kind not in reads:
        raise Damaged(f"a chunk of unknown kind {kind}")
    return reads[kind](reader, model, take)


def files(found: Iterable[tuple[int, Old | UserError]]) -> Iterator[tuple[int, Piece | UserError]]:
    """The files that chunks are of, by piece."""
    position, current = 0, _Files()
    for position, part in found:
        for piece in (part,) if isinstance(part, UserError) else part.onto(current, position):
            yield position, piece
    for piece in current.closed(position):
        yield position, piece


def previews(found: Iterable[tuple[int, Old | UserError]]) -> Iterator[tuple[int, Piece | UserError]]:
    """Files of the examples that previews have."""
    for position, part in found:
        for piece in (part,) if isinstance(part, UserError) else part.preview():
            yield position, piece


def _pictures(reader: Reader, model: Model, take: Take) -> Old:
    names, formats, modes = list[str](), list[str](), list[str]()
    shape, count = model.shape, reader.number(values.MAX_VALUES)
    if not count or len(shape) != 3 or count * math.prod(shape) > values.MAX_VALUES:
        raise Damaged("pictures of a kind or number that no chunk holds")
    size = reader.number(min(MAX_PIECE, count * (MAX_TEXT + 3)))
    named = Reader(unpack(reader.raw(reader.number(MAX_PIECE)), size))
    for _ in range(count):
        names.append(safe(named.text()))
        format_, mode = divmod(named.number(len(PICTURE_FORMATS) * len(MODES) - 1), len(MODES))
        formats.append(PICTURE_FORMATS[format_])
        modes.append(MODES[mode])
    named.end()
    if any(shape[0] != (3 if mode == "RGB" else 1) for mode in modes):
        raise Damaged("pictures of a kind that the model has none of")
    pixels = take(reader, count, ())
    if pixels.max() > 255:
        raise Damaged("pictures of more than 8 bits")
    first = count - len(pixels)
    return _Pictures(names[first:], formats[first:], modes[first:], pixels.astype(np.uint8))


def _rows(reader: Reader, model: Model, take: Take) -> Old:
    head = _head(reader, model)
    if head.layout == PLAIN:
        if head.size > MAX_PIECE:
            raise Damaged("it claims more than a chunk may hold")
        rows = np.frombuffer(unpack(reader.rest(), head.size), head.dtype)
        return _Rows(head, rows.reshape(head.count, *head.shape[1:]))
    x = take(reader, head.count, ())
    head = replace(head, start=head.start + head.count - len(x), count=len(x))
    return _Rows(head, LAYOUTS[head.layout - 1].array(x.astype(head.dtype)))


def _head(reader: Reader, model: Model) -> _Head:
    name, form = safe(reader.text()), reader.number((LAST_LAYOUT + 1) * 16 - 1)
    layout, container = form >> 4, form >> 2 & 3
    inner = reader.text() if form & 2 else ""
    if "\0" in inner or any("\ud800" <= letter <= "\udfff" for letter in inner):
        raise Damaged(f"the name {inner[:60]!r} is none of an array in an .npz file")
    elements = read_elements(reader)
    if not isinstance(elements, Numbers):
        raise Damaged("values of no plain type")
    dtype = elements.dtype
    if layout == PLAIN:
        shape = reader.numbers(MAX_AXES, MAX_AXIS)
    else:
        whole = LAYOUTS[layout - 1].shape(reader.number(MAX_AXIS), model.shape)
        if whole is None or dtype.kind not in "biu":
            raise Damaged("rows that are no examples of the model")
        shape = whole
    rows = shape[0] if shape else 1
    start, count = (0, rows) if form & 1 else (reader.number(MAX_AXIS), reader.number(MAX_AXIS))
    if start + count > rows:
        raise Damaged("more rows than the array has")
    if count > values.MAX_VALUES:
        raise Damaged("it claims more than a chunk may hold")
    byte = dtype == np.uint8 and 1 <= len(shape) <= 4 and max(shape) < 1 << 32
    if container in (IDX, IDX_GZ) and not byte:
        raise Damaged("an array that no IDX file holds")
    if not holdable(shape, dtype):
        raise Damaged("an array that no memory holds")
    return _Head(name, inner, container, dtype, shape, start, count, layout)


def _table(reader: Reader, model: Model, take: Take) -> Old:
    if model.columns is None:
        raise Damaged("a table, where the model is of none")
    columns = len(model.columns)
    name, last = safe(reader.text()), bool(reader.number(1))
    count = reader.number(min(MAX_ROWS, values.MAX_VALUES // max(columns, 1)))
    delimiter, newline = DELIMITERS[reader.number(len(DELIMITERS) - 1)], NEWLINES[reader.number(1)]
    ended = bool(reader.number(1))
    size = reader.number(MAX_CELLS)
    rest = Reader(unpack(reader.raw(reader.number(MAX_CELLS)), size))
    places = np.cumsum(rest.numbers(MAX_ROWS), dtype=np.int64)
    texts = Texts().parse(rest.rest(), len(places) + 1)
    if (places >= count * columns).any():
        raise Damaged("a cell outside the table")
    cells = _cells(take(reader, count, ()).reshape(-1, columns), model.columns)
    if len(cells) == count:
        cells.reshape(-1)[places] = texts[1:]
    return _Table(name, last, texts[0], cells, delimiter, newline, ended)


def _cells(x: np.ndarray, columns: tuple[Column, ...]) -> np.ndarray:
    """As they are written, quotes included, which is how such a model knows them."""
    cells = np.empty(x.shape, object)
    for j, column in enumerate(columns):
        if x[:, j].max(initial=0) >= len(column.values):
            raise Damaged("values that a column does not have")
        cells[:, j] = np.array(column.values, object)[x[:, j].astype(np.int64)]
    return cells


def _npy(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()
