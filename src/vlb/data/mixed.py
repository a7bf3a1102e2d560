"""Tables of columns of any kind, with gaps: text, Parquet, Arrow and DataFrames as rows of a schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.words import so_many
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema
from vlb.data.arrow import SUFFIXES, read_arrow
from vlb.data.columns import Cells, Described, by_number, cells_of_file, described, first, infer, placed, read_in, there
from vlb.data.dataset import Dataset, Split
from vlb.data.dates import LONG_AS, instant
from vlb.data.described import read as read_described
from vlb.data.formats.delimited import shown
from vlb.data.frames import cells_of_frame
from vlb.data.notes import FIRST, Note, few, folded
from vlb.data.numbers import NOTATIONS, PERCENT, POINT, Notation, notation, signed
from vlb.data.splits import division
from vlb.data.tables import read_text
from vlb.data.vectors import array_of, vectors

NOT_BETWEEN = Note(*["its marks look like those between thousands, and by the schema they are decimal ones"] * 2)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as it was brought. what: where it is from; cells: its columns; lines: (n,) of the rows in a file of text;
    source: a DataFrame, an array (n, D), or such a file, with its row of names if these have any; offered: how numbers
    may be written; guessed: what was, in reading; gridded: whether numbers may be rounded, in order or have atoms."""

    what: str
    cells: tuple[Cells, ...]
    lines: np.ndarray | None
    source: Any
    offered: Sequence[Notation] = NOTATIONS
    guessed: tuple[str, ...] = ()
    gridded: bool = True

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.cells[0].values)

    def at(self, row: int) -> str:
        """Where a row is, in words."""
        return by_number(row) if self.lines is None else f"line {self.lines[row]}"


class Numbered(NamedTuple):
    """Rows under a schema. x: (n, D) float64, reals as they are and of other kinds the numbers of values, 0 where a
    cell is not observed; observed: (n, D); unseen: rows with a cell that is no value of its column, by number from 0,
    and which; others: columns of the table that are not the schema's; notes: what was made to fit; empty: rows and
    columns without any cell; changed: columns none of whose cells is a value, in words."""

    x: np.ndarray
    observed: np.ndarray
    unseen: Mapping[int, str]
    others: tuple[str, ...]
    notes: tuple[str, ...]
    empty: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and what was left out, where only the columns of the schema are looked at."""
        more = len(self.changed) - FIRST
        changed = (*self.changed[:FIRST], *([f"{so_many(more, 'more column')} of other types"] if more > 0 else ()))
        left = few(list(map(repr, self.others)), "column")
        lost = (f"left out, for the schema has no such column: {left}",) if self.others else ()
        return (*lost, *changed, *self.notes)


def load_mixed(
    path: Path,
    header: bool = True,
    schema: Path | Sequence[Column] | None = None,
    leave_out: Sequence[str] = (),
) -> Dataset:
    """A table of columns of any kind, with gaps, divided as `splits` says: examples of shape (columns,).

    header: whether the first row of a text names the columns; schema: a schema.toml, or the columns of a run, in place
    of what cells look like; leave_out: names of columns that are not modelled. Raises `UserError`, naming file, column
    and line, for what is no such table.
    """
    return table_of(sheet(Path(path).expanduser(), header), schema, leave_out)


def table_of(table: Sheet, schema: Path | Sequence[Column] | None = None, leave_out: Sequence[str] = ()) -> Dataset:
    """`load_mixed` of a table that was read."""
    if lost := set(leave_out) - {cells.name for cells in table.cells}:
        raise UserError(f"{table.what} has no column {sorted(lost)[0]!r}, which is to be left out")
    if schema is None:
        try:
            found, words = inferred(
                replace(table, cells=tuple(c for c in table.cells if c.name not in leave_out)), gridded=table.gridded
            )
        except UserError as error:
            raise UserError(f"{error} (--leave-out NAME leaves a column out)") from error
    else:
        found = read_described(schema) if isinstance(schema, Path) else described(schema)
        found, words = tuple(one for one in found if one.name not in leave_out), ()
    columns = tuple(column for one in found for column in one.columns)
    rows = numbered(table, columns)
    if rows.changed:
        raise UserError(f"{rows.changed[0]}: mend the column, or the schema")
    if rows.unseen:
        raise UserError(f"{table.what}: {next(iter(rows.unseen.values()))}: mend the cell, or the schema")
    own = Schema(layout=Vector((len(columns),)), kinds=columns, gaps=True)
    split = Split(rows.x.astype(own.dtype), observed=rows.observed)
    parts = division(len(table), validation=True, test=True, what=table.what)
    train, validation, test = (split.take(index) for index in parts if index is not None)
    gaps = 1 - rows.observed[:, _own(columns)].mean()
    remarks = (
        *table.guessed,
        *words,
        *rows.remarks,
        *rows.empty,
        f"{gaps:.1%} of the cells are missing" if gaps else "no cell is missing",
    )
    return Dataset(Path(table.what).name, own, train, validation, test, remarks=remarks)


def load_mixed_rows(path: Path, schema: Schema) -> Numbered:
    """The rows of a table under the columns of a run, in their order.

    Raises `UserError` as `load_mixed` does, and where no row has values alone."""
    columns = schema.columns or ()
    found = numbered(sheet(path, columns[0].name is not None), columns)
    if len(found.unseen) == len(found.x):
        if found.changed:
            raise UserError(found.changed[0])
        first = next(iter(found.unseen.values()))
        raise UserError(f"{path}: every row has a cell that is no value of its column ({first})")
    return found._replace(x=found.x.astype(schema.dtype))


def sheet(path: Path, header: bool = True) -> Sheet:
    """The table in a file: delimited text, .parquet, .arrow or .feather; or an array, .npy. Raises `UserError` for what
    is none."""
    if path.suffix.lower() == ".npy":
        return array(array_of(path), str(path))
    if path.suffix.lower() in SUFFIXES:
        try:
            return frame(read_arrow(path), str(path))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    text = read_text(path, header)
    names: Sequence[str | None] = text.names or [None] * text.rows.shape[1]
    empty = [number for number, name in enumerate(names, 1) if name is not None and not name.strip()]
    if empty:
        raise UserError(f"{path}: line {text.first}: column {empty[0]} has no name: give it one")
    cells = cells_of_file(names, text.rows, text.offered)
    return Sheet(str(path), cells, text.lines, text.file, text.offered, (*text.guessed, *_like_data(text.names)))


def frame(table: Any, what: str = "the table") -> Sheet:
    """A DataFrame of pandas, polars or pyarrow. Raises `UserError` for what is none, and for columns that hold no
    cells."""
    cells = cells_of_frame(table)
    if not cells or not len(cells[0].values):
        raise UserError("there are no rows")
    return Sheet(what, cells, None, table, (POINT,))


def array(values: np.ndarray, what: str = "the array") -> Sheet:
    """Numbers (n, D), NaN where a cell is missing: columns without names. Raises `UserError` for other arrays."""
    return Sheet(what, vectors(values, what), None, values, gridded=False)


def inferred(table: Sheet, *, gridded: bool = True) -> tuple[tuple[Described, ...], tuple[str, ...]]:
    """What the columns hold, and what is to be said of them. Raises `UserError` with advice for all that cannot be
    modelled."""
    found, notes, wrong = list[Described](), list[tuple[str, Note]](), list[str]()
    for number, cells in enumerate(table.cells, 1):
        try:
            column, note = infer(cells, gridded=gridded, at=table.at, called=f"column {number}")
        except UserError as error:
            wrong.append(str(error))
            continue
        found.append(column)
        notes.append((shown(cells.name) if cells.name is not None else f"column {number}", note))
    if wrong:
        more = f"; and {len(wrong) - FIRST} more columns" if len(wrong) > FIRST else ""
        raise UserError(f"{table.what}: {'; '.join(wrong[:FIRST])}{more}")
    return tuple(found), folded(notes)


def numbered(table: Sheet, columns: Sequence[Column]) -> Numbered:
    """The rows of a table under the columns of a schema, found by name; in a table without names, by place.

    Raises `UserError` where a column is not there.
    """
    wanted = described(columns)
    own = {cells.name: cells for cells in table.cells}
    if wanted[0].name is None and len(wanted) != len(table.cells):
        raise UserError(f"{table.what} has {len(table.cells)} columns, and the model is of {len(wanted)}")
    if wanted[0].name is not None and None in own:
        raise UserError(
            f"{table.what} has columns without names, and the model's are found by name: give a row of them"
        )
    lost = [column.name for column in wanted if column.name not in own]
    if lost:
        raise UserError(
            f"{table.what} has no column {', '.join(map(repr, lost[:FIRST]))}{_alike(lost, own)}; its columns are "
            f"{', '.join(repr(cells.name) for cells in table.cells[:20])}"
        )
    notes: list[tuple[str, Note]] = []
    names = {column.name for column in wanted}
    others = tuple(cells.name for cells in table.cells if cells.name is not None and cells.name not in names)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    unseen: dict[int, list[str]] = {}
    changed: list[str] = []
    for place, column in enumerate(wanted):
        cells = table.cells[place] if column.name is None else own[column.name]
        values, observed, wrong = placed_cells(cells, column, table.offered)
        if wrong.sum() > 1 and (wrong == observed).all():
            changed.append(_another_type(cells, column, _called(column, place), table, wrong))
        for row in np.flatnonzero(wrong).tolist():
            unseen.setdefault(row, []).append(_wrong(cells, row, column, place))
        if cells.notation is not None and cells.notation.thousands not in ("", column.thousands):
            notes.append((_called(column, place), NOT_BETWEEN))
        if isinstance(column.kind, Real):
            notes += [(_called(column, place), note) for note in _rounded(values[observed & ~wrong], column.kind)]
        parts += with_atoms(values, observed, column.atoms)
    x, observed = (np.stack(arrays, 1) for arrays in zip(*parts, strict=True))
    lines = {row: f"{table.at(row)}: {few(found, 'column')}" for row, found in sorted(unseen.items())}
    empty = _empty(observed[:, _own(columns)], wanted, table)
    return Numbered(np.where(observed, x, 0.0), observed, lines, others, folded(notes), tuple(empty), tuple(changed))


def placed_cells(
    cells: Cells, column: Described, offered: Sequence[Notation]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the cells of a column, which are observed, and which of these are no value of it: (n,) each."""
    kind, observed = column.kind, cells.observed
    if cells.texts is not None:
        listed = kind.values if isinstance(kind, Categories) else ()
        observed = there(cells.texts.tolist(), column.missing, listed)
    values = np.zeros(len(cells.values))
    if isinstance(kind, Categories):
        values[observed] = _categories(cells, observed, column, kind)
    elif cells.texts is not None and isinstance(kind, Real) and kind.unit in LONG_AS:
        values[observed] = [instant(text, kind.unit) for text in cells.texts[observed].tolist()]
    elif cells.texts is None:
        values[observed] = cells.values[observed] if cells.numeric else np.nan
    else:
        values[observed] = _numbers(cells, observed, column, offered)
    wrong = observed & ~np.isfinite(values)
    if isinstance(kind, Levels):
        wrong |= observed & ((values != np.rint(values)) | (values < 0) | (values >= kind.count))
    return values, observed, wrong


def ways_of(column: Described, offered: Sequence[Notation]) -> tuple[Notation, ...]:
    """In which of some notations the numbers of a column may be written: a mark stands between thousands where the
    schema says so, and nowhere else."""
    return tuple(way for way in NOTATIONS if way.thousands == column.thousands and (way in offered or column.thousands))


def _numbers(cells: Cells, observed: np.ndarray, column: Described, offered: Sequence[Notation]) -> np.ndarray:
    """The observed cells of a column of text as numbers, all in the notation in which most are, (m,): NaN for what is
    none."""
    ways = ways_of(column, offered)
    per_cent = isinstance(column.kind, Real) and column.kind.unit == PERCENT
    if cells.notation in (*ways, *(signed([PERCENT], ways) if per_cent else ())):
        return cells.values[observed]
    texts = cells.texts[observed].tolist() if cells.texts is not None else []
    if per_cent and any(text.rstrip().endswith(PERCENT) for text in texts):
        ways = tuple(signed([PERCENT], ways))
    return max((read_in(texts, way) for way in ways), key=lambda read: int(np.isfinite(read).sum()))


def _categories(cells: Cells, observed: np.ndarray, column: Described, kind: Categories) -> np.ndarray:
    """The number of each observed cell's category, by its text or, of numbers, by its value; NaN for none."""
    ways = ways_of(column, NOTATIONS)
    read = notation(kind.values, signed(kind.values, ways))

    def value(text: str) -> float | None:
        found = None if read is None else read(text)
        return None if found is None else float(found)

    by_text = {text: float(number) for number, text in enumerate(kind.values)}
    by_value = {} if read is None else {value(text): float(number) for number, text in enumerate(kind.values)}
    known = cells.numeric and (cells.texts is None or cells.notation in signed(kind.values, ways))
    spare = float(len(kind.values)) if kind.other else np.nan
    found = []
    for row in np.flatnonzero(observed).tolist():
        text = "" if cells.texts is None else str(cells.texts[row])
        number = by_text.get(text)
        if number is None:
            number = by_value.get(float(cells.values[row]) if known else value(text), spare)
        found.append(number)
    return np.array(found, np.float64)


def with_atoms(values: np.ndarray, observed: np.ndarray, atoms: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The columns of the schema that a column is: with atoms, which of them, and the value elsewhere."""
    if not atoms:
        return [(values, observed)]
    which = np.full(len(values), float(len(atoms)))
    for number, atom in enumerate(atoms):
        which[values == atom] = number
    return [(which, observed), (values, observed & (which == len(atoms)))]


def _another_type(cells: Cells, column: Described, called: str, table: Sheet, wrong: np.ndarray) -> str:
    """What is to say of a column none of whose cells is a value of it."""
    kind, row = column.kind, int(wrong.argmax())
    if isinstance(kind, Real):
        own = "a date" if kind.unit in LONG_AS else "a number"
    else:
        own = f"one of its {so_many(kind.count or 0, 'value')}"
    return (
        f"{table.what}: {called} is of another type than in the schema: none of its "
        f"{so_many(int(wrong.sum()), 'cell')} is {own} ({table.at(row)} has {shown(_written(cells, row))})"
    )


def _rounded(values: np.ndarray, kind: Real) -> list[Note]:
    """What is to say of values that are no multiples of the column's resolution."""
    if kind.resolution is None:
        return []
    steps = values / kind.resolution
    off = int((np.abs(steps - np.rint(steps)) > 1e-6 * np.maximum(1.0, np.abs(steps))).sum())
    end = ", and are rounded to them"
    text = f"{so_many(off, 'value')} {'is no multiple' if off == 1 else 'are no multiples'} of {kind.resolution:g}{end}"
    return [Note(text, f"values are no multiples of the column's resolution{end}")] if off else []


def _own(columns: Sequence[Column]) -> np.ndarray:
    """The place of the first column of the schema that each column of a table is: whether that is observed, it is."""
    return np.array([place for place, _ in placed(tuple(columns))])


def _alike(lost: Sequence[str | None], own: Mapping[str | None, Cells]) -> str:
    """Names that are those of lost columns but for spaces or capitals, in words."""
    plain = {name.strip().casefold(): name for name in own if name is not None}
    found = [plain[name.strip().casefold()] for name in lost if name is not None and name.strip().casefold() in plain]
    return f" (rename {', '.join(map(repr, found[:FIRST]))}, which differs by spaces or capitals)" if found else ""


def _empty(observed: np.ndarray, columns: Sequence[Described], table: Sheet) -> list[str]:
    """What is to say of rows and columns without any cell. observed: (n, columns of the table)."""
    rows, notes = np.flatnonzero(~observed.any(1)), []
    if len(rows):
        notes.append(f"{so_many(len(rows), 'row')} without any cell, {first(rows, table.at)}: nothing is known of them")
    gone = [_called(column, place) for place, column in enumerate(columns) if not observed[:, place].any()]
    if gone and len(rows) < len(observed):
        notes.append(f"without any cell: {', '.join(gone[:FIRST])}{', …' if len(gone) > FIRST else ''}")
    return notes


def _called(column: Described, place: int) -> str:
    return f"column {place + 1}" if column.name is None else f"column {shown(column.name)}"


def _wrong(cells: Cells, row: int, column: Described, place: int) -> str:
    """A cell that is no value of its column, and why."""
    kind = column.kind
    date = isinstance(kind, Real) and kind.unit in LONG_AS
    why = "" if isinstance(kind, Categories) else ", which is no date" if date else ", which is no finite number"
    if isinstance(kind, Levels):
        why = f", which is no whole number from 0 to {kind.count - 1}"
    return f"{_called(column, place)} has {shown(_written(cells, row))}{why}"


def _written(cells: Cells, row: int) -> str:
    return f"{cells.values[row]:g}" if cells.texts is None else str(cells.texts[row])


def _like_data(names: Sequence[str] | None) -> tuple[str, ...]:
    """What is to say of a row of names that are all numbers."""
    if names is None or notation(names) is None:
        return ()
    return (
        f"the first row names the columns, and looks like data ({', '.join(names[:FIRST])}): add names, or give "
        "--no-header",
    )
