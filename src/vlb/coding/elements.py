"""What the elements of an array are, numbers or texts as in the cells of a table: as bytes, and as levels of the model.

An element that is no level of the model is an exception: it is stored beside.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlb.coding.rows import CODES
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Column, Pieces
from vlb.data.tables import unquoted

DTYPE = re.compile(r"[<>|=][biufcSU][0-9]{1,9}")
USUAL = ("|u1", "<i8", "<i4", "<u2", "<f4", "<f8", "<i2", "|b1")  # said in one byte
OTHER, TEXT = 0, len(USUAL) + 1
MAX_CELL = 1 << 26


@dataclass(frozen=True)
class Model:
    """What a model is of: examples of `shape`, of so many levels; columns: of the tables, if it is of these; pieces:
    how pictures are cut, if examples are tiles of them, which `shape` is then of, without their margins."""

    shape: tuple[int, ...]
    levels: int
    columns: tuple[Column, ...] | None = None
    pieces: Pieces | None = None

    @property
    def gaps(self) -> bool:
        """Whether examples are rows of a table with gaps, as `rows` numbers them."""
        return self.levels == CODES

    @property
    def dtype(self) -> np.dtype:
        """What levels are stored as."""
        return plain_dtype(self.levels)


class Elements(Protocol):
    """Elements of one kind."""

    @property
    def dtype(self) -> np.dtype:
        """Of arrays of them."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one to the next, where they are equally long."""

    def describe(self, writer: Writer) -> None:
        """Which kind it is; `read_elements` is the inverse."""

    def levels(self, examples: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray] | None:
        """examples (n, *shape) as levels, and where they are none (flat indices); None for ones that never are."""

    def named(self, examples: np.ndarray, model: Model) -> int:
        """How many elements, at the beginning, are names of the model's columns rather than values."""

    def values(self, x: np.ndarray, model: Model) -> np.ndarray:
        """The inverse of `levels` but for exceptions. Raises `Damaged` for levels that there are not."""

    def weight(self, x: np.ndarray, model: Model) -> int:
        """About how many bytes these levels are in a file, unpacked. Raises `Damaged`."""

    def content(self, values: np.ndarray) -> bytes:
        """Values in C order. Raises `UnicodeEncodeError` for texts that no UTF-8 says."""

    def parse(self, content: bytes, count: int) -> np.ndarray:
        """The inverse of `content`: (count,). Raises `Damaged`."""


@dataclass(frozen=True)
class Numbers:
    """Elements of a plain dtype (numbers, and strings of fixed length), which are levels where they are whole."""

    dtype: np.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        return (self.dtype.itemsize,)

    def describe(self, writer: Writer) -> None:
        kind = self.dtype.str
        writer.number(USUAL.index(kind) + 1 if kind in USUAL else OTHER)
        if kind not in USUAL:
            writer.text(kind)

    def levels(self, examples: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray] | None:
        if self.dtype.kind not in "biu":
            return None
        outside = (examples < 0) | (examples >= model.levels)
        places = np.flatnonzero(outside)
        if places.size:
            examples = np.where(outside, 0, examples)
        return examples.astype(model.dtype), places

    def named(self, examples: np.ndarray, model: Model) -> int:
        return 0

    def values(self, x: np.ndarray, model: Model) -> np.ndarray:
        return x.astype(self.dtype)

    def weight(self, x: np.ndarray, model: Model) -> int:
        return x.size * self.dtype.itemsize

    def content(self, values: np.ndarray) -> bytes:
        return np.ascontiguousarray(values).tobytes()

    def parse(self, content: bytes, count: int) -> np.ndarray:
        if len(content) != count * self.dtype.itemsize:
            raise Damaged("values of another number than it says")
        return np.frombuffer(content, self.dtype)


@dataclass(frozen=True)
class Texts:
    """Cells of a table: level k of a column is the k-th text that the model has in it."""

    dtype = np.dtype(object)
    strides = ()

    def describe(self, writer: Writer) -> None:
        writer.number(TEXT)

    def levels(self, examples: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray] | None:
        if model.columns is None:
            return None
        found = np.empty(examples.shape, np.int64)
        for j, column in enumerate(model.columns):
            codes = {unquoted(value): k for k, value in reversed(list(enumerate(column.values)))}
            found[:, j] = [codes.get(cell, -1) for cell in examples[:, j]]
        return np.maximum(found, 0).astype(model.dtype), np.flatnonzero(found < 0)

    def named(self, examples: np.ndarray, model: Model) -> int:
        names = [None if column.name is None else unquoted(column.name) for column in model.columns or ()]
        return len(names) if examples[0].tolist() == names else 0

    def values(self, x: np.ndarray, model: Model) -> np.ndarray:
        cells = np.empty(x.shape, object)
        for j, texts in enumerate(_texts(x, model)):
            cells[:, j] = np.array(texts, object)[x[:, j].astype(np.int64)]
        return cells

    def weight(self, x: np.ndarray, model: Model) -> int:
        total = x.size  # of delimiters
        for j, texts in enumerate(_texts(x, model)):
            sizes = np.array([len(text.encode("utf-8", "surrogateescape")) for text in texts])
            total += int(np.bincount(x[:, j], minlength=len(texts)) @ sizes)
        return total

    def content(self, values: np.ndarray) -> bytes:
        writer = Writer()
        for cell in values.reshape(-1).tolist():
            content = cell.encode("utf-8", "surrogateescape")
            writer.number(len(content)).raw(content)
        return writer.content()

    def parse(self, content: bytes, count: int) -> np.ndarray:
        if count > len(content):
            raise Damaged("values of another number than it says")
        reader, cells = Reader(content), np.empty(count, object)
        try:
            for i in range(count):
                cells[i] = reader.raw(reader.number(MAX_CELL)).decode("utf-8", "surrogateescape")
        except UnicodeDecodeError as error:
            raise Damaged("a cell that is not text") from error
        reader.end()
        return cells


def _texts(x: np.ndarray, model: Model) -> Iterator[list[str]]:
    """What the levels of each column stand for. Raises `Damaged` for levels that there are not."""
    if model.columns is None or x.ndim != 2:
        raise Damaged("a table, where the model is of none")
    for j, column in enumerate(model.columns):
        if x[:, j].max(initial=0) >= len(column.values):
            raise Damaged("values that a column does not have")
        yield [unquoted(value) for value in column.values]


def elements_of(values: np.ndarray) -> Elements | None:
    """Those of an array, or None where they are of no kind that is stored as one."""
    if values.dtype == object:
        return Texts() if all(type(value) is str for value in values.reshape(-1)) else None
    plain = values.dtype.itemsize > 0 and DTYPE.fullmatch(values.dtype.str) is not None
    return Numbers(values.dtype) if plain else None


def read_elements(reader: Reader) -> Elements:
    """The inverse of `describe`. Raises `Damaged`."""
    number = reader.number(TEXT)
    if number == TEXT:
        return Texts()
    text = USUAL[number - 1] if number else reader.text()
    if not DTYPE.fullmatch(text):
        raise Damaged("values of no plain type")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError) as error:
        raise Damaged("values of no plain type") from error
    if not dtype.itemsize:
        raise Damaged("values without content")
    return Numbers(dtype)


def plain_dtype(levels: int) -> np.dtype:
    """What levels are stored as where no model codes them, and what their checksum is of."""
    return np.dtype("u1" if levels <= 1 << 8 else "<u2" if levels <= 1 << 16 else "<u4")
