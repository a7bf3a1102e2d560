"""A table of text some of whose columns are a model's, with gaps: rows as numbers, and all else beside.

Columns are found by their names, in any order; of a table without names, by place. Beside are the row of names, columns
that the model does not know or has no masses of, and cells that are written otherwise than their column is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vlb.coding.elements import Model, Texts
from vlb.coding.general import pack, unpack
from vlb.coding.layouts import LAYOUTS
from vlb.coding.rows import codes_of, has_numbers
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.coding.wording import Wording, worded
from vlb.data.columns import Described, cells_of, placed
from vlb.data.formats.base import Declined, Member
from vlb.data.mixed import placed_cells, with_atoms
from vlb.data.numbers import NOTATIONS

TABLED = len(LAYOUTS) + 1  # in place of a layout
MAX_WIDTH = 1 << 16  # columns of a file
MAX_ROWS = 1 << 31
MAX_ODD = 1 << 22  # cells that are written otherwise
ODD = 0.1  # of a column's cells; with more, it is stored beside
TEXTS = Texts()


class Coded(NamedTuple):
    """A column of the model in a file. column: its number among those that a person names; place: in the file."""

    column: int
    place: int
    wording: Wording


@dataclass(frozen=True)
class Tabled:
    """A table of `width` columns, `examples` rows and, if it is `named`, a row of names. places, odd: flat indices of
    the cells that are written otherwise, among all cells of its rows, and these; kept: the bytes of what is beside;
    packed: these as the general codec has them."""

    name: str
    examples: int
    named: bool
    width: int
    columns: tuple[Coded, ...]
    places: np.ndarray
    odd: np.ndarray
    kept: int
    packed: bytes
    strips = ()

    @property
    def size(self) -> int:
        return self.kept + self.places.nbytes + self.odd.nbytes

    def weight(self, x: np.ndarray, model: Model) -> int:
        words = sum(
            coded.wording.weight(_symbols(x, start, column), column) for coded, start, column in self._columns(model)
        )
        return self.size + x.size + words

    def write(self, writer: Writer) -> bytes:
        writer.text(self.name).number(TABLED).number(self.examples).number(int(self.named)).number(self.width)
        writer.number(len(self.columns))
        for coded in self.columns:
            coded.wording.write(writer.number(coded.column).number(coded.place))
        writer.numbers(tuple(np.diff(self.places, prepend=0).tolist()))
        content = TEXTS.content(self.odd)
        writer.number(len(content)).raw(content).number(self.kept).number(len(self.packed))
        return self.packed

    @classmethod
    def read(cls, name: str, reader: Reader, beside: Reader, most: int) -> "Tabled":
        """The inverse of `write`, past name and number; most: bytes of what is said and beside. Raises `Damaged`."""
        examples, named, width = reader.number(MAX_ROWS), bool(reader.number(1)), reader.number(MAX_WIDTH)
        columns = tuple(
            Coded(reader.number(MAX_WIDTH), reader.number(MAX_WIDTH), Wording.read(reader))
            for _ in range(reader.number(MAX_WIDTH))
        )
        taken = {coded.place for coded in columns}
        if not examples or not columns or len(taken) < len(columns) or max(taken) >= width:
            raise Damaged("columns that are not in the table")
        places = np.cumsum(reader.numbers(MAX_ODD, MAX_ROWS * MAX_WIDTH), dtype=np.int64)
        if places.size and ((np.diff(places) < 1).any() or places[-1] >= examples * width):
            raise Damaged("exceptions that are not in the table")
        odd = TEXTS.parse(reader.raw(reader.number(most)), places.size)
        kept, packed = reader.number(most), beside.raw(reader.number(most))
        return cls(name, examples, named, width, columns, places, odd, kept, packed)

    def restored(self, x: np.ndarray, model: Model) -> Member:
        others = _others(self.columns, self.width)
        names = self.width * self.named
        beside = TEXTS.parse(unpack(self.packed, self.kept), names + len(others) * self.examples)
        cells = self.part(x, model)
        cells[:, others] = beside[names:].reshape(len(others), self.examples).T
        cells.reshape(-1)[self.places] = self.odd
        if self.named:
            cells = np.concatenate((beside[None, :names], cells))
        return Member(self.name, cells)

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        cells = np.full((len(x), self.width), "", object)
        for coded, start, column in self._columns(model):
            cells[:, coded.place] = coded.wording.texts(_symbols(x, start, column), column)
        return cells

    def remarks(self, model: Model) -> list[str]:
        coded, lost = {found.column for found in self.columns}, list[str]()
        for number, (_, column) in enumerate(placed(model.columns or ())):
            if not _numbered(column):
                lost.append(f"{column.name or number + 1!r} is real, without a resolution in the schema")
            elif number not in coded:
                lost.append(f"{column.name or number + 1!r} is not in it, or is written in other ways than its values")
        if more := self.width - len(self.columns):
            lost.append(f"{more} of {self.width} columns are stored beside, not coded by the model")
        return lost

    def _columns(self, model: Model) -> list[tuple[Coded, int, Described]]:
        """Each with where it begins among the model's, and what it is. Raises `Damaged`."""
        found = placed(model.columns or ())
        if any(coded.column >= len(found) or not _numbered(found[coded.column][1]) for coded in self.columns):
            raise Damaged("columns that the model does not have")
        return [(coded, *found[coded.column]) for coded in self.columns]


def tabled(member: Member, model: Model) -> tuple[Tabled, np.ndarray]:
    """A member of a file, texts (rows, columns), as a table of the model's columns, and the codes of its rows.

    Raises `Declined` where none of its columns is one.
    """
    cells, columns = member.values, model.columns or ()
    described = placed(columns)
    named = described[0][1].name is not None
    names = cells[0].tolist() if named else [None] * cells.shape[1]
    rows = cells[int(named) :]
    if not named and len(described) != len(names):
        raise Declined(f"{len(names)} columns, where the model is of {len(described)}")
    if not len(rows):
        raise Declined("no rows in it")
    x = np.zeros((len(rows), len(columns)), np.uint32)
    coded, odd = list[Coded](), np.zeros(rows.shape, bool)
    for number, (start, column) in enumerate(described):
        if not _numbered(column) or (named and names.count(column.name) != 1):
            continue
        place = names.index(column.name) if named else number
        codes = _codes(rows[:, place].tolist(), column)
        symbols, texts = _symbols(codes, 0, column), rows[:, place].tolist()
        wording = worded(symbols, texts, column)
        different = wording.texts(symbols, column) != rows[:, place]
        if different.sum() > ODD * len(rows):
            continue
        x[:, start : start + codes.shape[1]] = codes
        coded.append(Coded(number, place, wording))
        odd[:, place] = different
    if not coded:
        raise Declined("none of its columns is one of the model's, written as these are")
    others = _others(coded, len(names))
    beside = np.array([*(names if named else ()), *rows[:, others].T.reshape(-1)], object)
    content, places = TEXTS.content(beside), np.flatnonzero(odd)
    found = Tabled(
        member.name, len(rows), named, len(names), tuple(coded), places, rows.reshape(-1)[places], len(content),
        pack(content),
    )  # fmt: skip
    return found, x


def _codes(texts: list[str], column: Described) -> np.ndarray:
    """Of the cells of a column: (n, 1), or (n, 2) of one with atoms; 0 for texts that are no values of it."""
    values, observed, wrong = placed_cells(cells_of(column.name, texts), column, NOTATIONS)
    parts = with_atoms(np.where(wrong, 0.0, values), observed & ~wrong, column.atoms)
    x, there = (np.stack(arrays, 1) for arrays in zip(*parts, strict=True))
    return codes_of(x, there, column.columns)


def _symbols(x: np.ndarray, start: int, column: Described) -> np.ndarray:
    """The cells of a column in rows x of codes, as `wording` has them. Raises `Damaged`."""
    first = x[:, start].astype(np.int64)
    if not column.atoms:
        return first
    if first.max(initial=0) > len(column.atoms) + 1:
        raise Damaged("values that a column does not have")
    return np.where(first <= len(column.atoms), first, len(column.atoms) + x[:, start + 1].astype(np.int64))


def _numbered(column: Described) -> bool:
    return all(map(has_numbers, column.columns))


def _others(columns: Sequence[Coded], width: int) -> list[int]:
    """The places of the columns that are stored beside."""
    coded = {column.place for column in columns}
    return [place for place in range(width) if place not in coded]
