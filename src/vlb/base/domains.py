"""Domains of settings: what a number may be, declared where its field is, as part of the field's type.

A field is annotated with the interval in which its values lie, as in `dropout: Annotated[float, Within(0, 0.9)]`, or
with one of the short names below. A class of settings derives from `Settings`, whose constructor refuses what lies
outside; `--set`, `config.json` and archives are read by the same declaration. No number is NaN or infinite.
"""

import dataclasses
import math
import sys
import types
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vlb.base.errors import UserError, suggestion

LARGEST = 2**63 - 1
SHOWN = 60  # characters of a value that is refused
NAMES = {str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Within:
    """The finite numbers from `low` to `high`; above, below: whether that end itself is left out."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is one of them."""
        from_low = self.low < value if self.above else self.low <= value
        to_high = value < self.high if self.below else value <= self.high
        return from_low and to_high and abs(value) <= sys.float_info.max

    def words(self, whole: bool) -> str:
        """What they are, as in "a number from 0 to 1"; whole: of the whole ones among them."""
        bounded = math.isfinite(self.low) and math.isfinite(self.high)
        number = "a whole number" if whole else "a number" if bounded else "a finite number"
        return " ".join(filter(None, (number, str(self))))

    def __str__(self) -> str:
        """From where to where they lie, as in "from 0 to 1"; nothing where that is anywhere."""
        if math.isfinite(self.low) and math.isfinite(self.high) and not self.above and not self.below:
            return f"from {_end(self.low)} to {_end(self.high)}"
        low = "" if self.low == -math.inf else f"{'above' if self.above else 'of at least'} {_end(self.low)}"
        high = "" if self.high == math.inf else f"{'below' if self.below else 'at most'} {_end(self.high)}"
        return " ".join(filter(None, (low, "and" if low and high else "", high)))


REALS, INTEGERS = Within(), Within(-LARGEST, LARGEST)

Finite = Annotated[float, REALS]
Positive = Annotated[float, Within(0, above=True)]
NonNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
BelowOne = Annotated[float, Within(0, 1, below=True)]
Count = Annotated[int, Within(1, 10**9)]
Whole = Annotated[int, Within(0, 10**9)]
Steps = Annotated[int, Within(1, 10**6)]
Width = Annotated[int, Within(1, 1 << 16)]
MOST_POINTS = 1 << 13  # of a cloud, all of which are seen together
PointCount = Annotated[int, Within(2, MOST_POINTS)]
Depth = Annotated[int, Within(0, 1000)]
Seed = Annotated[int, Within(0, LARGEST)]


class Settings:
    """A frozen dataclass whose constructor raises `UserError` for what is not of a field's type or in its domain.

    Numbers become Python's own: a whole number that is given for a `float`, and NumPy's. A `__post_init__` of one's
    own, for what fields have to be to each other, calls this one first.
    """

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in hints(own).items():
            object.__setattr__(self, name, _field(kind, getattr(self, name), self.called(name)))

    @classmethod
    def called(cls, name: str) -> str:
        """What people call a field."""
        return name


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, by name."""
    known = get_type_hints(kind, include_extras=True)
    return {field.name: known[field.name] for field in dataclasses.fields(kind)}


def domain(kind: Any) -> Within | None:
    """That of a number, where its annotation declares one; the number is one of any size otherwise."""
    return next((extra for extra in get_args(kind)[1:] if isinstance(extra, Within)), None)


def domains(kind: Any) -> list[Within]:
    """Those of a field's numbers, of whatever type it is: of one that may be left out, of those of a list."""
    own = domain(kind)
    return [own] if own else [found for inner in get_args(kind) for found in domains(inner)]


def choice(arguments: tuple[Any, ...], value: Any) -> Any:
    """Which type of a union a value is to be of: that of lists, or the one other; None where several remain."""
    if value is None and types.NoneType in arguments:
        return types.NoneType
    lists = [kind for kind in arguments if get_origin(kind) is tuple]
    others = [kind for kind in arguments if kind is not types.NoneType and kind not in lists]
    chosen = lists if lists and isinstance(value, list | tuple) else others or lists
    return chosen[0] if len(chosen) == 1 else None


def admit(kind: Any, value: Any, where: str) -> Any:
    """A value of a plain type: a number, with a domain or without, text, true or false, or one of several literals.

    Raises `UserError` that names `where`, what is expected and what is there.
    """
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if plain in (int, float):
        return _number(plain, domain(kind) or (INTEGERS if plain is int else REALS), value, where)
    if get_origin(plain) is Literal:
        if value not in get_args(plain):
            raise UserError(f"{where}: {value!r} is not offered; {suggestion(str(value), map(str, get_args(plain)))}")
        return value
    if not isinstance(value, plain):
        raise UserError(f"{where}: expected {NAMES.get(plain, str(plain))}, not {_shown(value)}")
    return value


def _field(kind: Any, value: Any, where: str) -> Any:
    """What a field of any type holds: `admit` where it is of a plain one; other settings have been checked already."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin = get_origin(plain)
    if origin in (Union, types.UnionType):
        chosen = choice(get_args(plain), value)
        return value if chosen in (None, types.NoneType) else _field(chosen, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: expected a list such as [1, 2], not {_shown(value)}")
        return tuple(_field(get_args(plain)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    return admit(kind, value, where) if plain in (int, float, str, bool) or origin is Literal else value


def _number(kind: type, within: Within, value: Any, where: str) -> Any:
    """A number as one of Python's own."""
    of_kind = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if not of_kind or value not in within:
        raise UserError(f"{where}: expected {within.words(kind is int)}, not {_shown(value)}")
    return kind(value)


def _end(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return f"one of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
