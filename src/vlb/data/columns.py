"""What the columns of a person's table hold: a kind for each, inferred from its cells, with advice where none fits."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vlb.base.domains import Finite, Settings
from vlb.base.errors import UserError
from vlb.core.schema import AnyKind, Categories, Column, Real
from vlb.data.numbers import NOTATIONS, Notation, notation
from vlb.data.tables import quoted, unquoted

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"})  # in any case, between spaces
FEW, SINGLE = 12, 4  # so many distinct numbers at most are categories in order; and where few are there twice
MANY = 50  # rows from which on a column in which all cells differ is an identifier
MOST_CATEGORIES = 10_000
FINEST = 1e6  # a column of more steps between its ends is not on a grid
DIGITS = 12  # significant ones, beyond which a float's own rounding shows
SPIKE, ABOVE = 0.05, 5.0  # an atom has this share of the cells, and so many times that of the next value
SHOWN = 3  # of many, so many are named
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?")
LONG = 40  # characters in a cell of free text, on average

DAYS, SECONDS = "days since 1970-01-01", "seconds since 1970-01-01"
LONG_AS = {DAYS: 86400.0, SECONDS: 1.0}
DATE, TIME = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?")


@dataclass(frozen=True, eq=False)
class Cells:
    """A column as it was brought. values: (n,) float64, or objects, each a text; observed: (n,) bool; texts: (n,) how
    the cells were written, where they were text; an unobserved cell holds 0 or the empty text."""

    name: str | None
    values: np.ndarray
    observed: np.ndarray
    texts: np.ndarray | None = None

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
    """A column of a table as a person says or edits it: atoms are values of a real column that have mass."""

    name: str | None
    kind: AnyKind
    missing: tuple[str, ...] = ()
    atoms: tuple[Finite, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the schema: one, or, with atoms, which atom and then the value. Raises `UserError` for atoms of a
        column that has categories or no name."""
        kind, name = self.kind, None if self.name is None else quoted(self.name)
        if isinstance(kind, Categories):
            kind = replace(kind, values=tuple(map(quoted, kind.values)))
        own = Column(name, kind, self.missing)
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


def cells_of(
    name: str | None, texts: Sequence[str], missing: Sequence[str] = (), offered: Sequence[Notation] = NOTATIONS
) -> Cells:
    """The cells of a column of text: numbers where all that are there are, in one of the notations `offered`, or dates.

    missing: texts of missing cells, beside the usual ones. Infinities count as numbers, so that they can be named.
    """
    written = np.array(texts, object)
    observed = there(texts, missing)
    values = values_of(written[observed].tolist(), offered)
    if values is None:
        return Cells(name, np.where(observed, written, ""), observed, written)
    placed = np.zeros(len(texts))
    placed[observed] = values
    return Cells(name, placed, observed, written)


def there(texts: Sequence[str], missing: Sequence[str] = (), listed: Sequence[str] = ()) -> np.ndarray:
    """Which cells are not missing, (n,) bool: neither the usual texts nor those of `missing`, unless they are `listed`
    as values."""
    gone = set(missing)
    return np.array(
        [text in listed or (text not in gone and text.strip().casefold() not in MISSING) for text in texts], bool
    )


def values_of(texts: Sequence[str], offered: Sequence[Notation] = NOTATIONS) -> np.ndarray | None:
    """Texts as numbers, (n,) float64, all in one notation, or all dates; None where they are neither."""
    read = notation([text for text in texts if not _infinite(text)], offered) if texts else None
    if read is None:
        return _dates(texts)
    return np.array([math.inf if _infinite(text) else read(text) for text in texts], np.float64)


def _infinite(text: str) -> bool:
    return text.strip().casefold().lstrip("+-") in ("inf", "infinity", "∞")


def by_number(row: int) -> str:
    """Where a row is, in words: its number from 1."""
    return f"row {row + 1}"


def infer(
    cells: Cells, *, gridded: bool = True, at: Callable[[int], str] = by_number, called: str = "the column"
) -> tuple[Described, str]:
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
        return Described(name, Categories(cells.words(values))), "constant"
    if not gridded:
        return Described(name, Real()), "real"
    few = len(values) <= (FEW if count >= 2 * len(values) else SINGLE)
    if few and (cells.texts is not None or (values == np.rint(values)).all()):
        return Described(name, Categories(cells.words(values), ordered=True)), f"{len(values)} numbers in order"
    unit, whole = _unit(cells), bool((values == np.rint(values)).all())
    if whole and count == len(values) >= MANY and values[-1] - values[0] + 1 == count and not unit:
        raise UserError(
            f"{called} counts the rows from {values[0]:.0f} to {values[-1]:.0f}: an identifier has no law "
            "to learn; leave it out"
        )
    atom = _atom(values, counts, count)
    kind = Real(resolution(values), unit)
    words = "real" if kind.resolution is None else f"real, in steps of {kind.resolution:g}"
    if unit:
        words += f", {unit}: dates are taken as numbers; parts such as weekdays are columns of their own to make"
    if atom:
        words += f", with an atom at {atom[0]:g}"
    return Described(name, kind, atoms=atom), words


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


def _texts(cells: Cells, there: int, at: Callable[[int], str], called: str) -> tuple[Described, str]:
    values, counts = cells.distinct
    length = sum(map(len, values.tolist())) / len(values)
    if there >= MANY and (len(values) == there or (length > LONG and len(values) > there / 2)):
        many = f"{called} has {len(values)} different texts in {there} rows"
        if among := _among_numbers(cells, there, at):
            raise UserError(many + among)
        raise UserError(
            f"{many}: an identifier or free text has no law to learn from so few; leave it out, or make columns of it "
            "(skrub does, for messy ones)"
        )
    if len(values) > MOST_CATEGORIES:
        raise UserError(
            f"{called} has {len(values)} categories, more than {MOST_CATEGORIES}: group them, or leave it out"
        )
    word = "constant" if len(values) == 1 else f"{len(values)} categories"
    if len(values) > 1 and (once := [value for value, n in zip(values.tolist(), counts, strict=True) if n == 1]):
        named = ", ".join(map(repr, once[:SHOWN])) + (", …" if len(once) > SHOWN else "")
        word += f", {len(once)} of them in one row alone ({named})"
    return Described(cells.name, Categories(tuple(sorted(values.tolist())))), word + _among_numbers(cells, there, at)


def _among_numbers(cells: Cells, there: int, at: Callable[[int], str]) -> str:
    """What is to be said of texts that alone keep a column from being numbers."""
    numbers = np.array([NUMBER.fullmatch(text.strip()) is not None for text in cells.values.tolist()], bool)
    if 2 * int(numbers.sum()) <= there or len(set(cells.values[numbers].tolist())) <= FEW:
        return ""
    rows = np.flatnonzero(cells.observed & ~numbers)
    return (
        f", though {int(numbers.sum())} of {there} cells are numbers: {cells.values[rows[0]]!r} and the like are none, "
        f"{first(rows, at)}; mend them, or, if they stand for missing cells, list them under `missing` in schema.toml"
    )


def _atom(values: np.ndarray, counts: np.ndarray, there: int) -> tuple[float, ...]:
    """The value, if there is one, on which so many cells lie that the law has a spike there."""
    order = np.argsort(counts)
    first, second = int(counts[order[-1]]), int(counts[order[-2]])
    return (float(values[order[-1]]),) if first >= SPIKE * there and first >= ABOVE * second and first > FEW else ()


def _unit(cells: Cells) -> str:
    """The unit of dates; no text where they are none."""
    if cells.texts is None:
        return ""
    first = str(cells.texts[int(cells.observed.argmax())]).strip()
    return DAYS if DATE.fullmatch(first) else SECONDS if TIME.fullmatch(first) else ""


def instant(text: str, unit: str) -> float:
    """A date, or a date with a time, in days or seconds since 1970 as `unit` says; NaN for what is none."""
    found = _dates([text])
    if found is None:
        return math.nan
    own = DAYS if DATE.fullmatch(text.strip()) else SECONDS
    return float(found[0]) * LONG_AS[own] / LONG_AS[unit]


def _dates(texts: Sequence[str]) -> np.ndarray | None:
    """Dates, or dates with times, as days or seconds since 1970; None where not all are such."""
    for pattern, unit in ((DATE, "D"), (TIME, "s")):
        if texts and all(pattern.fullmatch(text.strip()) for text in texts):
            try:
                return np.array([text.strip() for text in texts], f"datetime64[{unit}]").astype(np.float64)
            except ValueError:
                return None
    return None
