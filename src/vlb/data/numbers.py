"""Numbers as tables write them: with a decimal point or, throughout a column, with a decimal comma.

Their values are exact: long numbers, such as those of accounts, of which floats keep the first 16 digits, stay apart.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation

Notation = Callable[[str], Decimal | None]


def with_point(text: str) -> Decimal | None:
    """The value of 1, 1.5 or 1e3; None for other texts, and where it is not finite as a float."""
    try:
        value = Decimal(text)
        return value if math.isfinite(value) and "_" not in text else None
    except (InvalidOperation, ValueError):
        return None


def with_comma(text: str) -> Decimal | None:
    """The value of 1, 1,5 or 1e3, likewise."""
    return None if "." in text else with_point(text.replace(",", "."))


NOTATIONS: tuple[Notation, ...] = (with_point, with_comma)


def notation(texts: Iterable[str], offered: Sequence[Notation] = NOTATIONS) -> Notation | None:
    """The first notation in which all texts are numbers, or None."""
    texts = tuple(texts)
    return next((read for read in offered if all(read(text) is not None for text in texts)), None)
