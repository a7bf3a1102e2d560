"""Values written as the other cells of their column are in a file: decimal places and marks, dates, words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlb.core.schema import Categories, Levels, Real
from vlb.data.columns import Described
from vlb.data.dates import DAYS, LONG_AS
from vlb.data.mixed import ways_of
from vlb.data.numbers import NOTATIONS, PERCENT, POINT, Notation, notation, signed
from vlb.data.rows import texts

ENOUGH = 10  # cells that show to how many places a column is written that was not rounded in training
FOUR = re.compile(r"\d{4}")


@dataclass(frozen=True, eq=False)
class Seen:
    """The cells of a column that are there: their texts, and their values (reals, or numbers of values), (m,) each."""

    texts: Sequence[str]
    values: np.ndarray

    def notation(self, column: Described, comma: bool) -> Notation:
        """How its numbers are written. comma: whether they have decimal commas, where no cell shows it."""
        ways = ways_of(column, NOTATIONS)
        usual = next((way for way in ways if comma == (way.decimal == ",")), ways[0])
        unit = column.kind.unit if isinstance(column.kind, Real) else ""
        every = (*signed([PERCENT], ways), *ways) if unit == PERCENT else ways
        marked = [text for text in self.texts if "." in text or "," in text]
        way = notation(self.texts, every) if marked else notation(self.texts, signed(self.texts, [usual]))
        way = usual if way is None else way
        if way.thousands and any(FOUR.search(text.partition(way.decimal)[0]) for text in self.texts):
            return replace(way, thousands="")  # this file does not mark them
        return way


def alike(values: np.ndarray, column: Described, seen: Seen, comma: bool) -> np.ndarray:
    """The texts of values of a column, (n,) objects. comma: whether numbers have decimal commas, where the column's
    own cells do not say."""
    kind = column.kind
    if isinstance(kind, Levels):
        return texts(values, kind)
    way = seen.notation(column, comma)
    if isinstance(kind, Categories):
        return _words(values, kind, seen, way.decimal == ",")
    if kind.unit in LONG_AS:
        return _dates(values, kind.unit, seen)
    plain = [
        text if found is None else found for text, found in zip(seen.texts, map(way.plain, seen.texts), strict=True)
    ]
    places, fixed = _places(kind, plain)
    last = seen.texts[0].rstrip() if way.sign and len(seen.texts) else ""
    end = last[len(last.removesuffix(way.sign).rstrip()) :]  # the sign, perhaps behind a space
    found = [way.written(_number(value, places, fixed)) + end for value in values.tolist()]
    return np.array(found, object)


def _words(values: np.ndarray, kind: Categories, seen: Seen, comma: bool) -> np.ndarray:
    """Categories as this file writes them, where it has them: numbers are the same in several ways."""
    swapped = comma and notation(kind.values) == POINT
    listed = [text.replace(".", ",") if swapped else text for text in kind.values]
    own = dict(enumerate(listed))
    own |= dict(reversed(list(zip(seen.values.astype(np.int64).tolist(), seen.texts, strict=True))))
    return np.array([own[number] for number in values.astype(np.int64).tolist()], object)


def _dates(values: np.ndarray, unit: str, seen: Seen) -> np.ndarray:
    """Dates; with times, where the column has them, after a space or a T and with or without seconds."""
    first = seen.texts[0].strip() if seen.texts else "2000-01-01" if unit == DAYS else "2000-01-01T00:00:00"
    instants = np.rint(values * LONG_AS[unit]).astype("datetime64[s]").astype(str).tolist()
    return np.array([text[: len(first)].replace("T", first[10:11]) for text in instants], object)


def _places(kind: Real, seen: Sequence[str]) -> tuple[int | None, bool]:
    """Decimal places of a column, None for as many as it takes, and whether all of its cells, numbers with decimal
    points alone, have as many."""
    plain = [text for text in seen if "e" not in text.casefold()]
    shown = {len(text.strip().partition(".")[2]) for text in plain}
    most, fixed = max(shown, default=0), len(shown) == 1
    if kind.resolution is None:
        return (most if most and len(plain) >= ENOUGH else None), fixed
    own = max(map(_decimals, texts(np.array([kind.resolution]), kind)))
    return max(own, most), (fixed and most >= own) or not shown


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _number(value: float, places: int | None, fixed: bool) -> str:
    if places is None:
        return repr(value + 0.0)
    text = f"{round(value, places) + 0.0:.{places}f}"
    return text if fixed or not places else text.rstrip("0").rstrip(".")
