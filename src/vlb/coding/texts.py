"""Tables of text as levels that a model codes, and everything else that is needed to write them to the byte."""

from dataclasses import dataclass

import numpy as np

from vlb.coding.general import pack, unpack
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Column
from vlb.data.tables import NEWLINES, Cells, as_levels, split

DELIMITERS = ",;|\t"
MAX_UNKNOWN = 0.02  # of the cells; with more, this is another table than the model's
MAX_ROWS, MAX_TEXT = 1 << 22, 1 << 26


@dataclass(frozen=True)
class Rows:
    """A piece of a table. head: rows of names, as text; x: (n, columns) levels; unknown: flat index -> cell."""

    head: str
    x: np.ndarray
    unknown: dict[int, str]
    delimiter: str
    newline: str
    ended: bool

    def text(self, columns: tuple[Column, ...]) -> str:
        """The piece to the character."""
        values = [column.values for column in columns]
        rows = [[values[j][k] for j, k in enumerate(row)] for row in self.x.tolist()]
        for index, cell in self.unknown.items():
            rows[index // len(columns)][index % len(columns)] = cell
        return self.head + Cells(rows, self.delimiter, self.newline, self.ended).text()

    def write(self, writer: Writer) -> None:
        """All but the levels."""
        writer.number(len(self.x)).number(DELIMITERS.index(self.delimiter)).number(NEWLINES.index(self.newline))
        writer.number(int(self.ended))
        places = np.diff(list(self.unknown), prepend=0).tolist()
        rest = Writer().numbers(tuple(places))
        for cell in (self.head, *self.unknown.values()):
            content = cell.encode()
            rest.number(len(content)).raw(content)
        packed = pack(rest.content())
        writer.number(len(rest.content())).number(len(packed)).raw(packed)

    @classmethod
    def read(cls, reader: Reader, columns: int, most: int) -> "Rows":
        """The inverse of `write`, without levels, of at most so many cells. Raises `Damaged`."""
        count = reader.number(min(MAX_ROWS, most // max(columns, 1)))
        delimiter, newline = DELIMITERS[reader.number(len(DELIMITERS) - 1)], NEWLINES[reader.number(1)]
        ended = bool(reader.number(1))
        size = reader.number(MAX_TEXT)
        rest = Reader(unpack(reader.raw(reader.number(MAX_TEXT)), size))
        places = np.cumsum(rest.numbers(MAX_ROWS)).astype(np.int64).tolist()
        try:
            head, *cells = [rest.raw(rest.number(MAX_TEXT)).decode() for _ in range(len(places) + 1)]
        except UnicodeDecodeError as error:
            raise Damaged("a cell that is not text") from error
        rest.end()
        if any(place >= count * columns for place in places):
            raise Damaged("a cell outside the table")
        x = np.zeros((count, columns), np.int64)
        return cls(head, x, dict(zip(places, cells, strict=True)), delimiter, newline, ended)


def understood(text: str, delimiter: str, columns: tuple[Column, ...]) -> Rows | str:
    """A piece of a table as the model's levels, or why it is none."""
    cells = split(text, delimiter)
    if cells is None:
        return "no table of equally long rows"
    if len(cells.rows[0]) != len(columns):
        return f"{len(cells.rows[0])} columns, where the model has {len(columns)}"
    head = ""
    if cells.rows[0] == [column.name for column in columns] and len(cells.rows) > 1:
        head = delimiter.join(cells.rows[0]) + cells.newline
        cells = Cells(cells.rows[1:], delimiter, cells.newline, cells.ended)
    x, unknown = as_levels(cells.rows, columns)
    if len(unknown) > MAX_UNKNOWN * x.size:
        return f"{len(unknown)} of {x.size} cells hold what the model has not seen"
    return Rows(head, x, unknown, delimiter, cells.newline, cells.ended)
