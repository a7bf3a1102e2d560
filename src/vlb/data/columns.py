"""What the columns of a person's table hold: a kind for each, inferred from its cells, with advice where none fits."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from vlb.base.domains import Finite, Settings
from vlb.base.errors import UserError
from vlb.core.schema import AnyKind, Categories, Column, Mark, Real
from vlb.data.dates import dates, like_date, unit_of
from vlb.data.notes import Note
from vlb.data.numbers import NOTATIONS, PERCENT, Notation, decimal_mark, notations, signed
from vlb.data.tables import quoted, unquoted

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"})  # in any case, between spaces
FEW, SINGLE = 12, 4  # so many distinct numbers at most are categories in order; and where few are there twice
MANY = 50  # rows from which on a column in which all cells differ is an identifier
MOST_CATEGORIES = 10_000
FINEST = 1e6  # a column of more steps between its ends is not on a grid
DIGITS = 12  # significant ones, beyond which a float's own rounding shows
SPIKE, ABOVE = 0.05, 5.0  # an atom has this share of the cells, and so many times that of the next value
SHOWN = 3  # of many, so many are named
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?\s*%?")
LONG = 40  # characters in a cell of free text, on average
MARKS = {",": "commas", ".": "points"}
CONSTANT, REAL = Note("constant", "constant"), Note("real", "real")


@dataclass(frozen=True, eq=False)
class Cells:
    """A column as it was brought. values: (n,) float64, or objects, each a text; observed: (n,) bool; texts: (n,) how
    the cells were written, where they were text; an unobserved cell holds 0 or the empty text. notation: in which
    numbers were read; doubted: a text of which the file leaves open whether its mark is a decimal one."""

    name: str | None
    values: np.ndarray
    observed: np.ndarray
    texts: np.ndarray | None = None
    notation: Notation | None = None
    doubted: str = ""

    @property
    def numeric(self) -> bool:
        """Whether they are numbers."""
        return self.values.dtype.kind == "f"

    @cached_property
    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """The different observed values in order, and how often each is there."""
        values, counts = np.unique(self.values[self.observed], return_counts=True)
        return values, counts

    def words(self, values: np.ndarray) -> tuple[str, ...]:
        """Some of the values as texts: the shortest way in which each was written."""
        if not self.numeric:
            return tuple(values.tolist())
        if self.texts is None:
            return tuple(f"{value:.17g}" if float(f"{value:g}") != value else f"{value:g}" for value in values)
        shortest: dict[float, str] = {}
        for value, text in zip(self.values[self.observed].tolist(), self.texts[self.observed].tolist(), strict=True):
            shortest[value] = min(shortest.get(value, text), text, key=lambda text: (len(text), text))
        return tuple(shortest[value] for value in values.tolist())


@dataclass(frozen=True)
class Described(Settings):
    """A column of a table as a person says or edits it: atoms are values of a real column that have mass; for
    `thousands` see `Column`."""

    name: str | None
    kind: AnyKind
    missing: tuple[str, ...] = ()
    atoms: tuple[Finite, ...] = ()
    thousands: Mark = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the schema: one, or, with atoms, which atom and then the value. Raises `UserError` for atoms of a
        column that has categories or no name."""
        kind, name = self.kind, None if self.name is None else quoted(self.name)
        if isinstance(kind, Categories):
            kind = replace(kind, values=tuple(map(quoted, kind.values)))
        own = Column(name, kind, self.missing, thousands=self.thousands)
        if not self.atoms:
            return (own,)
        if not isinstance(kind, Real) or name is None:
            raise UserError(f"the column {self.name!r} has atoms, which are of real columns with a name")
        which = Categories((*(f"{atom:.17g}" for atom in self.atoms), ""))
        return (Column(f"{name}, which atom", which, atoms_of=name), own)


def described(columns: Sequence[Column]) -> tuple[Described, ...]:
    """The columns of a table whose schema has `columns`, in order: the inverse of `Described.columns`."""
    atoms = {
        column.atoms_of: tuple(map(float, column.values[:-1])) for column in columns if column.atoms_of is not None
    }
    return tuple(
        Described(
            None if column.name is None else unquoted(column.name),
            replace(column.kind, values=tuple(map(unquoted, column.kind.values)))
            if isinstance(column.kind, Categories)
            else column.kind,
            column.missing,
            atoms.get(column.name or "", ()),
            column.thousands,
        )
        for column in columns
        if column.atoms_of is None
    )


def placed(columns: tuple[Column, ...]) -> list[tuple[int, Described]]:
    """The columns of a table, and the place of the first column of the schema that each is."""
    place, found = 0, []
    for column in described(columns):
        found.append((place, column))
        place += len(column.columns)
    return found


class Written(NamedTuple):
    """A column of text. texts, observed: (n,) each; ways: in which notations all that are there are numbers."""

    name: str | None
    texts: np.ndarray
    observed: np.ndarray
    ways: tuple[Notation, ...]

    def cells(self, mark: str | None) -> Cells:
        """As numbers, dates or texts. mark: the decimal mark of the file, by which a mark is told from one between
        thousands that all stands before three digits; None where the file does not say."""
        name, texts, observed, ways = self.name, self.texts, self.observed, self.ways
        either = len(ways) > 1 and ways[1].thousands != ""
        way = ways[1] if either and ways[1].decimal == mark else ways[0] if ways else None
        doubted = ""
        if way is not None and either and (way.thousands or way.decimal != mark):
            doubted = next(text for text in texts[observed].tolist() if ways[1].thousands in text)
        values = read_in(texts[observed].tolist(), way) if way is not None else dates(texts[observed].tolist())
        if values is None:
            return Cells(name, np.where(observed, texts, ""), observed, texts)
        placed = np.zeros(len(texts))
        placed[observed] = values
        return Cells(name, placed, observed, texts, way, doubted)


def written(
    name: str | None, texts: Sequence[str], missing: Sequence[str] = (), offered: Sequence[Notation] = NOTATIONS
) -> Written:
    """A column of text. missing: texts of missing cells, beside the usual ones; offered: how numbers may be written."""
    own, observed = np.array(texts, object), there(texts, missing)
    finite = [text for text in own[observed].tolist() if not _infinite(text)]
    ways = notations(finite, signed(finite, offered)) if observed.any() else ()
    return Written(name, own, observed, ways)


def cells_of(
    name: str | None, texts: Sequence[str], missing: Sequence[str] = (), offered: Sequence[Notation] = NOTATIONS
) -> Cells:
    """The cells of a column of text: numbers where all that are there are, in one of the notations `offered`, or dates.

    missing: texts of missing cells, beside the usual ones. Infinities count as numbers, so that they can be named.
    """
    return written(name, texts, missing, offered).cells(None)


def cells_of_file(names: Sequence[str | None], rows: np.ndarray, offered: Sequence[Notation]) -> tuple[Cells, ...]:
    """The cells of all columns of a file of texts, rows (n, columns), where one column says how others are read."""
    found = [written(name, rows[:, j].tolist(), (), offered) for j, name in enumerate(names)]
    mark = decimal_mark(column.ways for column in found)
    return tuple(column.cells(mark) for column in found)


def read_in(texts: Sequence[str], way: Notation) -> np.ndarray:
    """Texts as numbers in a notation, (n,) float64; NaN for what is none, and infinities as such."""
    values = [math.inf if _infinite(text) else way(text) for text in texts]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def there(texts: Sequence[str], missing: Sequence[str] = (), listed: Sequence[str] = ()) -> np.ndarray:
    """Which cells are not missing, (n,) bool: neither the usual texts nor those of `missing`, unless they are `listed`
    as values."""
    gone = set(missing)
    return np.array(
        [text in listed or (text not in gone and text.strip().casefold() not in MISSING) for text in texts], bool
    )


def _infinite(text: str) -> bool:
    return text.strip().casefold().lstrip("+-") in ("inf", "infinity", "∞")


def by_number(row: int) -> str:
    """Where a row is, in words: its number from 1."""
    return f"row {row + 1}"


def infer(
    cells: Cells, *, gridded: bool = True, at: Callable[[int], str] = by_number, called: str = "the column"
) -> tuple[Described, Note]:
    """What a column holds, and a word on it. gridded: whether numbers may be rounded, in order or have atoms; those of
    arrays are reals with a density, unless all are the same.
    at: where a row is, called: what a column without a name is, for messages.

    Raises `UserError` with advice for a column that cannot be modelled: no cell is there, an infinity, an identifier or
    free text, too many categories.
    """
    name, (values, counts) = cells.name, cells.distinct
    called = called if name is None else f"the column {name!r}"
    count = int(cells.observed.sum())
    if not count:
        raise UserError(f"{called} has no cell that is not missing: leave it out")
    if not cells.numeric:
        return _texts(cells, count, at, called)
    if not np.isfinite(values).all():
        rows = np.flatnonzero(cells.observed & ~np.isfinite(cells.values))
        many = "an infinity" if len(rows) == 1 else f"{len(rows)} infinities"
        raise UserError(f"{called} holds {many} {first(rows, at)}: mend what is wrong, or empty the cell")
    if len(values) == 1:
        return Described(name, Categories(cells.words(values)), thousands=_thousands(cells)), CONSTANT
    if not gridded:
        return Described(name, Real()), REAL
    few = len(values) <= (FEW if count >= 2 * len(values) else SINGLE)
    if few and (cells.texts is not None or (values == np.rint(values)).all()):
        kind = Categories(cells.words(values), ordered=True)
        note = Note(f"{len(values)} numbers in order", "numbers in order")
        return Described(name, kind, thousands=_thousands(cells)), _marked(note, cells)
    unit, whole = _unit(cells), bool((values == np.rint(values)).all())
    if whole and count == len(values) >= MANY and values[-1] - values[0] + 1 == count and not unit:
        raise UserError(
            f"{called} counts the rows from {values[0]:.0f} to {values[-1]:.0f}: an identifier has no law "
            "to learn; leave it out"
        )
    atom, real = _atom(values, counts, count), Real(resolution(values), unit)
    note = REAL if real.resolution is None else REAL.and_(f", in steps of {real.resolution:g}", ", in steps")
    if unit == PERCENT:
        note = note.and_(", per cent")
    elif unit:
        note = note.and_(
            f", {unit}: dates are taken as numbers; parts such as weekdays are columns of their own to make"
        )
    if atom:
        note = note.and_(f", with an atom at {atom[0]:g}", ", with an atom")
    return Described(name, real, atoms=atom, thousands=_thousands(cells)), _marked(note, cells)


def _thousands(cells: Cells) -> Mark:
    return "" if cells.notation is None else cells.notation.thousands


def _marked(note: Note, cells: Cells) -> Note:
    """With how marks were read that may be read otherwise."""
    way = cells.notation
    if way is None or not (way.thousands or cells.doubted):
        return note
    if not cells.doubted:
        return note.and_(f", with {MARKS[way.thousands]} between thousands")
    if way.thousands:
        start = f", its {MARKS[way.thousands]} taken to stand between thousands, for the file's decimal mark is another"
        end = "if they are decimal marks, leave out `thousands` in schema.toml"
    else:
        start = f", its {MARKS[way.decimal]} taken as decimal marks, though each stands before three digits"
        end = f'if they stand between thousands, give it `thousands = "{way.decimal}"` in schema.toml'
    return note.and_(f"{start} ({cells.doubted} is {way(cells.doubted):f}): {end}", f"{start}: {end}")


def resolution(values: np.ndarray) -> float | None:
    """The largest step r of which all values, finite and not all equal, are multiples, r · 10^k being whole for some k.

    None where there is none to be seen: with more than `DIGITS` significant digits, or more than `FINEST` steps.
    """
    largest, spread = float(np.abs(values).max()), float(np.ptp(values))
    first = -math.floor(math.log10(largest))
    for places in range(first, first + DIGITS):
        scaled = values * 10.0**places
        steps = np.rint(scaled)
        if (np.abs(scaled - steps) <= 1e-9 * np.abs(steps)).all():
            step = float(np.gcd.reduce(np.abs(steps).astype(np.int64)))
            r = step / 10.0**places if places >= 0 else step * 10.0**-places
            return r if spread / r <= FINEST else None
    return None


def first(rows: np.ndarray, at: Callable[[int], str]) -> str:
    """The first few of some rows, in words."""
    named = ", ".join(map(at, rows[:SHOWN].tolist()))
    return f"in {named}, …" if len(rows) > SHOWN else f"in {named}"


def _texts(cells: Cells, there: int, at: Callable[[int], str], called: str) -> tuple[Described, Note]:
    values, counts = cells.distinct
    length = sum(map(len, values.tolist())) / len(values)
    among = _among_dates(cells, there) or _among_numbers(cells, there, at)
    if there >= MANY and (len(values) == there or (length > LONG and len(values) > there / 2)):
        many = f"{called} has {len(values)} different texts in {there} rows"
        if among is not None:
            raise UserError(many + among.text)
        raise UserError(
            f"{many}: an identifier or free text has no law to learn from so few; leave it out, or make columns of it "
            "(skrub does, for messy ones)"
        )
    if len(values) > MOST_CATEGORIES:
        raise UserError(
            f"{called} has {len(values)} categories, more than {MOST_CATEGORIES}: group them, or leave it out"
        )
    note = CONSTANT if len(values) == 1 else Note(f"{len(values)} categories", "categories")
    if len(values) > 1 and (once := [value for value, n in zip(values.tolist(), counts, strict=True) if n == 1]):
        named = ", ".join(map(repr, once[:SHOWN])) + (", …" if len(once) > SHOWN else "")
        note = note.and_(f", {len(once)} of them in one row alone ({named})", ", some of them in one row alone")
    if among is not None:
        note = note.and_(among.text, among.sort)
    return Described(cells.name, Categories(tuple(sorted(values.tolist())))), note


def _among_dates(cells: Cells, there: int) -> Note | None:
    """What is to be said of texts most of which look like dates, and are none that are read."""
    alike = [text for text in cells.values[cells.observed].tolist() if like_date(text)]
    if 2 * len(alike) <= there:
        return None
    named = ", ".join(dict.fromkeys(map(repr, alike[:SHOWN])))
    end = (
        "write all as 2024-01-31, or all as 2024-01-31 12:00:00, and they are taken as numbers of days or seconds; "
        "parts such as weekdays are columns of their own to make"
    )
    return Note(
        f", though {len(alike)} of {there} cells look like dates ({named}): {end}",
        f", though most look like dates: {end}",
    )


def _among_numbers(cells: Cells, there: int, at: Callable[[int], str]) -> Note | None:
    """What is to be said of texts that alone keep a column from being numbers."""
    numbers = np.array([NUMBER.fullmatch(text.strip()) is not None for text in cells.values.tolist()], bool)
    if 2 * int(numbers.sum()) <= there or len(set(cells.values[numbers].tolist())) <= FEW:
        return None
    rows = np.flatnonzero(cells.observed & ~numbers)
    if not len(rows):
        end = (
            "write all alike, with a decimal point or comma, and with a per-cent sign or without (text in a DataFrame "
            "stays text: make it a column of numbers)"
        )
        named = ", ".join(dict.fromkeys(map(repr, cells.values[cells.observed][:SHOWN].tolist())))
        return Note(f", though its cells look like numbers ({named}): {end}", f", though they look like numbers: {end}")
    end = "mend them, or, if they stand for missing cells, list them under `missing` in schema.toml"
    return Note(
        f", though {int(numbers.sum())} of {there} cells are numbers: {cells.values[rows[0]]!r} and the like are none, "
        f"{first(rows, at)}; {end}",
        f", though most cells are numbers, and some are none; {end}",
    )


def _atom(values: np.ndarray, counts: np.ndarray, there: int) -> tuple[float, ...]:
    """The value, if there is one, on which so many cells lie that the law has a spike there."""
    order = np.argsort(counts)
    first, second = int(counts[order[-1]]), int(counts[order[-2]])
    return (float(values[order[-1]]),) if first >= SPIKE * there and first >= ABOVE * second and first > FEW else ()


def _unit(cells: Cells) -> str:
    """The unit of dates, or the per-cent sign; no text where they are neither."""
    if cells.texts is None:
        return ""
    if cells.notation is not None:
        return cells.notation.sign
    return unit_of(str(cells.texts[int(cells.observed.argmax())]))
