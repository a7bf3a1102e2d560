"""Numbers as tables write them: with a decimal point or a decimal comma, perhaps with the other mark between thousands
and a per-cent sign, throughout a column.

Their values are exact: long numbers, such as those of accounts, of which floats keep the first 16 digits, stay apart.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property

from vlb.core.schema import Mark

PERCENT = "%"


@dataclass(frozen=True)
class Notation:
    """A way to write numbers; called with a text, it gives its value, None for other texts and where that is not finite
    as a float. decimal: the mark before fractions; thousands: what may stand between groups of three digits, if
    anything; sign: what follows each."""

    decimal: str = "."
    thousands: Mark = ""
    sign: str = ""

    def __call__(self, text: str) -> Decimal | None:
        plain = self.plain(text)
        try:
            value = None if plain is None or "_" in plain else Decimal(plain)
            return value if value is not None and math.isfinite(value) else None
        except (InvalidOperation, ValueError):
            return None

    def plain(self, text: str) -> str | None:
        """A number with a decimal point alone; None where the marks are others."""
        if self.sign:
            bare = text.rstrip()
            if not bare.endswith(self.sign):
                return None
            text = bare[: -len(self.sign)]
        if self.thousands and self.thousands in text:
            if not self._grouped.fullmatch(text.strip()):
                return None
            text = text.replace(self.thousands, "")
        if self.decimal == ".":
            return None if "," in text else text
        return None if "." in text else text.replace(self.decimal, ".")

    def written(self, plain: str) -> str:
        """A number with a decimal point alone as it is written here, its thousands in groups, without the sign."""
        whole, point, places = plain.partition(".")
        if self.thousands and whole.lstrip("+-").isdecimal():
            whole = f"{int(whole):,}".replace(",", self.thousands) if int(whole) else whole
        return whole + (self.decimal if point else "") + places

    @cached_property
    def _grouped(self) -> re.Pattern[str]:
        return re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(self.thousands)}\d{{3}})+({re.escape(self.decimal)}\d+)?")


POINT, COMMA = Notation("."), Notation(",")
BY_COMMAS, BY_POINTS = Notation(".", ","), Notation(",", ".")
NOTATIONS = (POINT, COMMA, BY_COMMAS, BY_POINTS)
BESIDE_COMMAS = (POINT, BY_COMMAS)  # where commas divide cells: none is a decimal comma


def notation(texts: Iterable[str], offered: Sequence[Notation] = NOTATIONS) -> Notation | None:
    """The first notation in which all texts are numbers, or None."""
    return next(iter(notations(texts, offered)), None)


def notations(texts: Iterable[str], offered: Sequence[Notation] = NOTATIONS) -> tuple[Notation, ...]:
    """Those in which all texts are numbers; one with a mark between thousands, where any has it."""
    texts = tuple(texts)
    shown = [way for way in offered if not way.thousands or any(way.thousands in text for text in texts)]
    return tuple(way for way in shown if all(way(text) is not None for text in texts))


def signed(texts: Iterable[str], offered: Sequence[Notation]) -> Sequence[Notation]:
    """The notations with a per-cent sign, where all texts end with one."""
    texts = tuple(texts)
    if not texts or not all(text.rstrip().endswith(PERCENT) for text in texts):
        return offered
    return [replace(way, sign=PERCENT) for way in offered]


def decimal_mark(columns: Iterable[Sequence[Notation]]) -> str | None:
    """The decimal mark of a file whose columns may each be written in some notations: that of the columns with one
    alone, None where these differ or there are none."""
    marks = {ways[0].decimal for ways in columns if len(ways) == 1}
    return marks.pop() if len(marks) == 1 else None
