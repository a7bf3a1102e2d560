"""Values written as the other cells of their column are in a file: decimal places and commas, dates, words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlb.core.schema import AnyKind, Categories, Levels, Real
from vlb.data.columns import DAYS, LONG_AS
from vlb.data.numbers import notation
from vlb.data.rows import texts

ENOUGH = 10  # cells that show to how many places a column is written that was not rounded in training


@dataclass(frozen=True, eq=False)
class Seen:
    """The cells of a column that are there: their texts, and their values (reals, or numbers of values), (m,) each."""

    texts: Sequence[str]
    values: np.ndarray

    @property
    def comma(self) -> bool | None:
        """Whether its numbers have decimal commas; None where none shows it."""
        marks = {mark for text in self.texts for mark in ".," if mark in text}
        return None if not marks else marks == {","}


def alike(values: np.ndarray, kind: AnyKind, seen: Seen, comma: bool) -> np.ndarray:
    """The texts of values of a column, (n,) objects. comma: whether numbers have decimal commas, where the column's
    own cells do not say."""
    if isinstance(kind, Levels):
        return texts(values, kind)
    comma = comma if seen.comma is None else seen.comma
    if isinstance(kind, Categories):
        return _words(values, kind, seen, comma)
    if kind.unit in LONG_AS:
        return _dates(values, kind.unit, seen)
    places, fixed = _places(kind, seen)
    found = [_number(value, places, fixed) for value in values.tolist()]
    return np.array([text.replace(".", ",") if comma else text for text in found], object)


def _words(values: np.ndarray, kind: Categories, seen: Seen, comma: bool) -> np.ndarray:
    """Categories as this file writes them, where it has them: numbers are the same in several ways."""
    swapped = comma and notation(kind.values) is not None
    listed = [text.replace(".", ",") if swapped else text for text in kind.values]
    own = dict(enumerate(listed))
    own |= dict(reversed(list(zip(seen.values.astype(np.int64).tolist(), seen.texts, strict=True))))
    return np.array([own[number] for number in values.astype(np.int64).tolist()], object)


def _dates(values: np.ndarray, unit: str, seen: Seen) -> np.ndarray:
    """Dates; with times, where the column has them, after a space or a T and with or without seconds."""
    first = seen.texts[0].strip() if seen.texts else "2000-01-01" if unit == DAYS else "2000-01-01T00:00:00"
    instants = np.rint(values * LONG_AS[unit]).astype("datetime64[s]").astype(str).tolist()
    return np.array([text[: len(first)].replace("T", first[10:11]) for text in instants], object)


def _places(kind: Real, seen: Seen) -> tuple[int | None, bool]:
    """Decimal places of a column, None for as many as it takes, and whether all of its cells have as many."""
    plain = [text for text in seen.texts if "e" not in text.casefold()]
    shown = {len(text.strip().replace(",", ".").partition(".")[2]) for text in plain}
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
