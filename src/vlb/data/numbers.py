"""Numbers as tables write them: with a decimal point or, throughout a column, with a decimal comma."""

import math
from collections.abc import Callable, Iterable, Sequence

Notation = Callable[[str], float | None]


def with_point(text: str) -> float | None:
    """The value of 1, 1.5 or 1e3; None for other texts, and where it is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def with_comma(text: str) -> float | None:
    """The value of 1, 1,5 or 1e3, likewise."""
    return None if "." in text else with_point(text.replace(",", "."))


NOTATIONS: tuple[Notation, ...] = (with_point, with_comma)


def notation(texts: Iterable[str], offered: Sequence[Notation] = NOTATIONS) -> Notation | None:
    """The first notation in which all texts are numbers, or None."""
    texts = tuple(texts)
    return next((read for read in offered if all(read(text) is not None for text in texts)), None)
