"""How a column of a file writes its values: from the numbers of cells to their texts, as most of its cells have them.

A cell is a symbol here: 0 where it is missing, 1 … A an atom, and A + c the value whose code is c (`vlb.coding.rows`),
A being the number of atoms.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Categories, Real
from vlb.data.columns import Described
from vlb.data.dates import LONG_AS
from vlb.data.numbers import PERCENT

MAX_PLACES = 30
MAX_TEXT = 1 << 20  # bytes of a text of its own
MAX_OWN = 1 << 17
SHOWN = 2000  # cells that show how a column is written


def _fixed(value: Decimal, places: int) -> str:
    return f"{value:.{places}f}"


def _float(value: Decimal, places: int) -> str:
    return repr(float(value) + 0.0)


def _shortest(value: Decimal, places: int) -> str:
    return _float(value, places).removesuffix(".0")


def _grouped(value: Decimal, places: int) -> str:
    return f"{value:,.{places}f}"


def _fixed_share(value: Decimal, places: int) -> str:
    return _fixed(value, places) + PERCENT


def _shortest_share(value: Decimal, places: int) -> str:
    return _shortest(value, places) + PERCENT


def _spaced_share(value: Decimal, places: int) -> str:
    return f"{_fixed(value, places)} {PERCENT}"


def _instant(value: Decimal) -> str:
    """A date with a time of so many seconds since 1970."""
    return str(np.datetime64(round(value), "s"))


def _date(value: Decimal, places: int) -> str:
    return _instant(value)[:10]


def _minutes(value: Decimal, places: int) -> str:
    return _instant(value)[:16]


def _seconds(value: Decimal, places: int) -> str:
    return _instant(value)


def _spaced_minutes(value: Decimal, places: int) -> str:
    return _minutes(value, places).replace("T", " ")


def _spaced_seconds(value: Decimal, places: int) -> str:
    return _seconds(value, places).replace("T", " ")


Style = Callable[[Decimal, int], str]
NUMBERS: tuple[Style, ...] = (_fixed, _float, _shortest)
DATES: tuple[Style, ...] = (_date, _minutes, _seconds, _spaced_minutes, _spaced_seconds)
SHARES: tuple[Style, ...] = (_fixed_share, _shortest_share, _spaced_share)  # of values in per cent
TO_PLACES = (_fixed, _grouped, _fixed_share, _spaced_share)
STYLES = (*NUMBERS, *DATES, _grouped, *SHARES)  # archives know them by their place
SWAPPED = str.maketrans(".,", ",.")


@dataclass(frozen=True)
class Wording:
    """style: of numbers, a place in `STYLES`; places: decimal ones, of those that have as many throughout; comma:
    whether they are behind a comma; own: texts of symbols that the file writes otherwise than style and schema say."""

    style: int = 0
    places: int = 0
    comma: bool = False
    own: tuple[tuple[int, str], ...] = ()

    def texts(self, symbols: np.ndarray, column: Described) -> np.ndarray:
        """The texts of cells, (n,) objects. Raises `Damaged` for symbols that the column does not have."""
        different, where = np.unique(symbols, return_inverse=True)
        return np.array(self._each(different.tolist(), column), object)[where.reshape(-1)]

    def weight(self, symbols: np.ndarray, column: Described) -> int:
        """The bytes of these texts together. Raises `Damaged`."""
        different, counts = np.unique(symbols, return_counts=True)
        sizes = [len(text.encode("utf-8", "surrogateescape")) for text in self._each(different.tolist(), column)]
        return int(np.array(sizes, np.int64) @ counts)

    def write(self, writer: Writer) -> None:
        """As part of a record. Raises `UnicodeEncodeError`."""
        writer.number(self.style).number(self.places).number(int(self.comma)).number(len(self.own))
        for symbol, text in self.own:
            content = text.encode("utf-8", "surrogateescape")
            writer.number(symbol).number(len(content)).raw(content)

    @classmethod
    def read(cls, reader: Reader) -> "Wording":
        """The inverse of `write`. Raises `Damaged`."""
        style, places, comma = reader.number(len(STYLES) - 1), reader.number(MAX_PLACES), bool(reader.number(1))
        own = []
        try:
            for _ in range(reader.number(MAX_OWN)):
                symbol = reader.number(1 << 33)
                own.append((symbol, reader.raw(reader.number(MAX_TEXT)).decode("utf-8", "surrogateescape")))
        except UnicodeDecodeError as error:
            raise Damaged("a cell that is not text") from error
        return cls(style, places, comma, tuple(own))

    def _each(self, symbols: list[int], column: Described) -> list[str]:
        own = dict(self.own)
        return [own[symbol] if symbol in own else self._text(symbol, column) for symbol in symbols]

    def _text(self, symbol: int, column: Described) -> str:
        atoms, kind = column.atoms, column.kind
        if symbol == 0:
            return ""
        if symbol <= len(atoms):
            return self._number(Decimal(repr(atoms[symbol - 1])), kind)
        number = symbol - len(atoms) - 1
        if isinstance(kind, Categories):
            if number >= kind.count:
                raise Damaged("values that a column does not have")
            return (*kind.values, "")[number]
        if number < 0:
            return ""
        if isinstance(kind, Real):
            steps = Decimal(number // 2 if number % 2 == 0 else -(number + 1) // 2)
            return self._number(steps * Decimal(repr(kind.resolution or 1.0)), kind)
        return self._number(Decimal(number), kind)

    def _number(self, value: Decimal, kind: object) -> str:
        if isinstance(kind, Real) and kind.unit in LONG_AS:
            value *= Decimal(LONG_AS[kind.unit])
        try:
            text = STYLES[self.style](value, self.places)
        except (ValueError, OverflowError) as error:
            raise Damaged("a value that cannot be written") from error
        return text.translate(SWAPPED) if self.comma else text


def worded(symbols: np.ndarray, texts: Sequence[str], column: Described) -> Wording:
    """How most cells of a column are written. symbols: (n,) int64; texts: of the same cells, as they are."""
    kind = column.kind
    styles: list[Wording] = [Wording()]
    if not isinstance(kind, Categories):
        values = [text for symbol, text in zip(symbols[:SHOWN].tolist(), texts, strict=False) if symbol]
        if isinstance(kind, Real) and kind.unit in LONG_AS:
            styles = [Wording(STYLES.index(style)) for style in DATES]
        else:
            plain = [text.rstrip(PERCENT + " ").replace(column.thousands, "") for text in values]
            places = Counter(len(text.replace(",", ".").partition(".")[2]) for text in plain).most_common(2)
            usual = [min(many, MAX_PLACES) for many, _ in places or [(0, 0)]]
            ways = (*NUMBERS, *([_grouped] if column.thousands else ()), *(SHARES if _in_per_cent(kind) else ()))
            styles = [
                Wording(STYLES.index(style), many) for style in ways for many in (usual if style in TO_PLACES else [0])
            ]
            if any("," in text for text in values):
                styles += [replace(style, comma=True) for style in styles]
    shown, written = symbols[:SHOWN], np.array(texts[:SHOWN], object)
    best = max(styles, key=lambda style: int((style.texts(shown, column) == written).sum()))
    return replace(best, own=_own(best, symbols, texts, column))


def _in_per_cent(kind: object) -> bool:
    return isinstance(kind, Real) and kind.unit == PERCENT


def _own(style: Wording, symbols: np.ndarray, texts: Sequence[str], column: Described) -> tuple[tuple[int, str], ...]:
    """What is mostly written otherwise: categories, atoms, and where a cell is missing."""
    last = len(column.atoms) + (column.kind.count if isinstance(column.kind, Categories) else 0)
    found: dict[int, Counter[str]] = {}
    for symbol, text in zip(symbols.tolist(), texts, strict=True):
        if symbol <= last:
            found.setdefault(symbol, Counter())[text] += 1
    usual = {symbol: counts.most_common(1)[0][0] for symbol, counts in sorted(found.items())}
    said = dict(zip(usual, style.texts(np.array(list(usual), np.int64), column), strict=True)) if usual else {}
    return tuple((symbol, text) for symbol, text in usual.items() if said[symbol] != text)
