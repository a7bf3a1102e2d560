"""Delimited text (CSV, TSV, …): cells as texts without their quotes, and in the rest how they were written.

All rows are cells, a row of names too, which only a reader who knows the names can tell. White space belongs to its
cell. The rest is b"" for what `csv.writer(file, lineterminator="\\n")` and `pandas.to_csv` write: UTF-8, commas, quotes
where they are needed, every row ended by LF.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath

import numpy as np

from vlb.base.words import so_many
from vlb.data.formats.base import Content, Declined, File, Member

SUFFIXES = (".csv", ".tsv", ".txt", ".dat")
SHOWN = 40
DELIMITERS = ",\t;|"
BOM = "\ufeff"
# By the bytes that a text begins with; those of UTF-32 begin as those of UTF-16 do.
WIDE = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ENCODINGS = ("utf-8", "cp1252", "latin-1", *WIDE.values())
ROWS_AT_ONCE = 1 << 10  # that are written as text
BREAK = re.compile(r"\r\n|\n|\r")
NO_DECIMAL = re.compile(r"(?<!\d),|,(?!\d)")


@dataclass(frozen=True)
class Style:
    """How cells are written. start: a BOM and a line `sep=;`; tail: what follows the last row; breaks: rows that end
    otherwise than by `newline`; quoting: which cells are quoted, but for those at the flat indices `odd`; trailing:
    delimiters after the last cell of every row, of which the first row lacks `short`."""

    encoding: str = "utf-8"
    start: str = ""
    delimiter: str = ","
    newline: str = "\n"
    tail: str = "\n"
    breaks: tuple[tuple[int, str], ...] = ()
    quoting: str = "needed"
    odd: tuple[int, ...] = ()
    trailing: int = 0
    short: int = 0


class Delimited:
    """Tables of text, of one member (rows, columns) of str objects."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return PurePath(name).suffix.lower() in SUFFIXES and (
            b"\0" not in bytes(head) or _wide(bytes(head)) is not None
        )

    def read(self, content: Content) -> File:
        content = bytes(content)
        text, encoding = _decoded(content)
        start = re.match(rf'{BOM}?(?:sep=([^"\r\n])(?:\r\n|\n|\r))?', text)
        assert start is not None  # it may be empty
        end = len(text.rstrip("\r\n"))
        if end <= start.end():
            raise Declined("holds no rows")
        rows, quoted, breaks, delimiter, short = _split(text[:end], start.end(), start[1])
        tail, width = text[end:], len(rows[0])
        cells, marks = np.array(rows, dtype=object), np.array(quoted, bool)
        first = breaks[0] if breaks else BREAK.match(tail)
        newline = first if isinstance(first, str) else first.group() if first else "\n"
        trailing = _trailing(cells, marks)
        cells, marks = cells[:, : width - trailing], marks[:, : width - trailing].ravel()
        flat = cells.ravel().tolist()
        odd = {name: np.flatnonzero(marks != _quotes(name, flat, delimiter, width)) for name in QUOTING}
        quoting = min(odd, key=lambda name: len(odd[name]))
        style = Style(
            encoding, start.group(), delimiter, newline, tail,
            tuple((k, found) for k, found in enumerate(breaks) if found != newline),
            quoting, tuple(odd[quoting].tolist()), trailing, short,
        )  # fmt: skip
        file = File((Member("", cells),), _packed(style))
        if self.write(file) != content:
            raise Declined("is written in a way that cannot be given back to the byte")
        return file

    def write(self, file: File) -> bytes:
        """Raises `Declined` for a rest that is none of this format, and for text that its encoding cannot hold."""
        style, cells = style_of(file), file.members[0].values
        try:
            return b"".join(part.encode(style.encoding) for part in (style.start, *_lines(style, cells)))
        except UnicodeEncodeError as error:
            raise Declined(f"has a character that {style.encoding} cannot hold") from error

    def same(self, one: Content, other: Content) -> bool:
        return bytes(one) == bytes(other)


def _lines(style: Style, cells: np.ndarray) -> Iterator[str]:
    """Cells (rows, columns) as text, some rows at a time."""
    count, step = cells.shape
    breaks = dict(style.breaks)
    odd = np.unique(np.array([k for k in style.odd if k < cells.size], np.int64))
    for first in range(0, count, ROWS_AT_ONCE):
        flat = cells[first : first + ROWS_AT_ONCE].ravel().tolist()
        marks = _quotes(style.quoting, flat, style.delimiter, step + style.trailing)
        low, high = np.searchsorted(odd, (first * step, first * step + len(flat)))
        marks[odd[low:high] - first * step] ^= True
        marks |= np.array([_must(cell, style.delimiter) for cell in flat], bool)  # other cells may stand there now
        written = [
            '"' + cell.replace('"', '""') + '"' if mark else cell for cell, mark in zip(flat, marks, strict=True)
        ]
        lines = list[str]()
        for row, k in enumerate(range(0, len(flat), step), first):
            after = style.trailing - (0 if row else style.short)
            end = breaks.get(row, style.newline) if row < count - 1 else style.tail
            lines += [style.delimiter.join(written[k : k + step]), style.delimiter * after, end]
        yield "".join(lines)


def rewritten(file: File, cells: np.ndarray, origin: np.ndarray) -> bytes:
    """The text with other cells (rows, columns), in its own style: encoding, delimiter, breaks, quotes.

    origin: of each, (rows, columns) int64, the flat index of the cell that it is in the file, whose quotes it keeps, or
    −1 where it is a new one. Raises `Declined` for what the encoding cannot hold.
    """
    style, width = style_of(file), file.members[0].values.shape[1]
    breaks, rows = dict(style.breaks), (origin.max(1) // width).tolist()
    moved = replace(
        style,
        odd=tuple(np.flatnonzero(np.isin(origin, np.array(style.odd, np.int64))).tolist()),
        breaks=tuple((k, breaks[row]) for k, row in enumerate(rows) if row in breaks),
    )
    return Delimited().write(File((Member("", cells),), _packed(moved)))


def plain(delimiter: str) -> bytes:
    """The rest of a table written in the usual way with this delimiter."""
    return _packed(Style(delimiter=delimiter))


def style_of(file: File) -> Style:
    """How its text is written."""
    return _unpacked(file.rest)


def told(style: Style) -> str:
    """What is to be said of the encoding of a text; nothing of UTF-8."""
    if style.encoding in WIDE.values():
        return f"the text is {style.encoding[:6].upper()}, by its byte order mark"
    return "" if style.encoding == "utf-8" else f"the text is no UTF-8: taken as {style.encoding}"


def shown(text: str) -> str:
    """A cell as messages show it, the beginning of a long one."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def lines_of(file: File) -> np.ndarray:
    """The number of the line in which each row begins, as an editor shows it, (rows,) int64."""
    breaks = [1 + sum(len(BREAK.findall(cell)) for cell in row) for row in file.members[0].values.tolist()]
    return np.cumsum([1 + len(BREAK.findall(style_of(file).start)), *breaks[:-1]])


def _wide(content: bytes) -> str | None:
    """The encoding of more than one byte to each character that a byte order mark says."""
    return next((encoding for mark, encoding in WIDE.items() if content.startswith(mark)), None)


def _decoded(content: bytes) -> tuple[str, str]:
    wide = _wide(content)
    if wide is not None:
        try:
            text = content.decode(wide)
        except UnicodeDecodeError as error:
            raise Declined(f"begins as {wide[:6].upper()} does, and is none from byte {error.start + 1} on") from error
        if "\0" in text:
            raise Declined(f"holds NUL characters, the first in line {_line(text, text.index(chr(0)))}")
        return text, wide
    if b"\0" in content:
        line = _line(content.decode("latin-1"), content.index(b"\0"))
        raise Declined(f"holds NUL bytes, the first in line {line}, so it is no text in UTF-8: save it as such")
    for encoding in ("utf-8", "cp1252"):
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            pass
    return content.decode("latin-1"), "latin-1"


Rows = tuple[list[list[str]], list[list[bool]], list[str], str, int]


def _split(text: str, at: int, said: str | None) -> Rows:
    """Rows, which cells are quoted, the breaks between rows, the delimiter, and how many of it the first row lacks at
    the end. The delimiter is the one that the text says or that splits all rows into equally many cells, more than one:
    the most of them, and no comma where each may be a decimal comma."""
    found, why = [], {}
    for delimiter in (said,) if said else [d for d in DELIMITERS if d in text]:
        try:
            found.append(_rows(text, at, delimiter))
        except Declined as error:
            why[delimiter] = error
    wide = [rows for rows in found if len(rows[0][0]) > 1]
    if len(wide) > 1 and not NO_DECIMAL.search(text, at):
        wide = [rows for rows in wide if rows[3] != ","]
    if wide:
        return max(wide, key=lambda rows: len(rows[0][0]))
    if why:
        line = BREAK.split(text[at:], maxsplit=1)[0]
        raise why[max(why, key=line.count)]
    return found[0] if found else _rows(text, at, ",")


def _rows(text: str, at: int, delimiter: str) -> Rows:
    """One scan forward. Where all other rows end with delimiters that the first lacks, it is given cells for them.
    Raises `Declined` at the first row of another length, and at a quote that encloses no cell."""
    mark = re.escape(delimiter)
    cell = re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)"|((?!")[^{mark}\r\n]*+))({mark}|\r\n|\n|\r|\Z)')
    rows: list[list[str]] = [[]]
    quoted: list[list[bool]] = [[]]
    breaks: list[str] = []
    opened = second = at
    short = 0
    while True:
        match = cell.match(text, at)
        if match is None:
            closed = re.compile(r'"[^"]*+(?:""[^"]*+)*+"').match(text, at)
            wrong = "is followed by more of its cell" if closed else "is never closed"
            raise Declined(f"has a quote that {wrong}, opened in line {_line(text, at)}, {_cell(rows)}")
        inner, plain, end = match.groups()
        rows[-1].append(plain if inner is None else inner.replace('""', '"'))
        quoted[-1].append(inner is not None)
        at = match.end()
        if end == delimiter:
            continue
        width = len(rows[0])
        if len(rows) == 2:
            second = opened
            short = max(0, len(rows[1]) - width) if not any(rows[1][width:]) and not any(quoted[1][width:]) else 0
        if short and len(rows[-1]) == width and len(rows) > 1:  # then the second row is the odd one
            raise _uneven(rows[0], rows[1], _line(text, second))
        if len(rows) > 1 and (len(rows[-1]) != width + short or any(rows[-1][width:]) or any(quoted[-1][width:])):
            raise _uneven(rows[0], rows[-1], _line(text, opened))
        if not end:
            rows[0] += [""] * short
            quoted[0] += [False] * short
            return rows, quoted, breaks, delimiter, short
        breaks.append(end)
        rows.append([])
        quoted.append([])
        opened = at


def _uneven(first: list[str], row: list[str], line: int) -> Declined:
    """That a row has another number of cells than the first."""
    many, width = len(row), len(first)
    wrong = f"none under {shown(first[many])}" if many < width else f"{shown(row[width])} is one too many"
    return Declined(f"has {so_many(many, 'cell')} in line {line}, where the first row has {width}: {wrong}")


def _cell(rows: list[list[str]]) -> str:
    """Where the next cell would be, in words."""
    number = len(rows[-1])
    return f"under {shown(rows[0][number])}" if len(rows) > 1 and number < len(rows[0]) else f"in cell {number + 1}"


def _line(text: str, at: int) -> int:
    """The number of the line, as an editor shows it."""
    return 1 + sum(1 for _ in BREAK.finditer(text, 0, at))


def _trailing(cells: np.ndarray, marks: np.ndarray) -> int:
    """How many columns at the end are empty throughout, name and all; one column is left."""
    count = 0
    while count < cells.shape[1] - 1 and not marks[:, -1 - count].any() and not any(cells[:, -1 - count]):
        count += 1
    return count


def _must(cell: str, delimiter: str) -> bool:
    return cell.startswith('"') or delimiter in cell or "\n" in cell or "\r" in cell


def _needed(cell: str, delimiter: str, width: int) -> bool:
    return '"' in cell or _must(cell, delimiter) or (width == 1 and not cell)


def _text(cell: str, delimiter: str, width: int) -> bool:
    try:
        return not math.isfinite(float(cell))
    except ValueError:
        return True


def _every(cell: str, delimiter: str, width: int) -> bool:
    return True


QUOTING = {"needed": _needed, "text": _text, "every": _every}


def _quotes(quoting: str, cells: list[str], delimiter: str, width: int) -> np.ndarray:
    rule = QUOTING[quoting]
    return np.array([rule(cell, delimiter, width) for cell in cells], bool)


def _packed(style: Style) -> bytes:
    """What differs from the default, as JSON."""
    usual = asdict(Style())
    said = {name: value for name, value in asdict(style).items() if value != usual[name]}
    return json.dumps(said, separators=(",", ":")).encode() if said else b""


def _unpacked(rest: bytes) -> Style:
    try:
        said = json.loads(rest) if rest else {}
        said["breaks"] = tuple((int(k), str(end)) for k, end in said.get("breaks", ()))
        said["odd"] = tuple(int(k) for k in said.get("odd", ()))
        style = Style(**said)
        texts = (style.start, style.delimiter, style.newline, style.tail, style.encoding)
        sound = all(isinstance(text, str) for text in texts) and isinstance(style.trailing, int)
        known = style.quoting in QUOTING and style.encoding in ENCODINGS
        places = (*style.odd, *(k for k, _ in style.breaks))
        sound = sound and len(style.delimiter) == 1 and 0 <= style.trailing < 1 << 16 and min(places, default=0) >= 0
        sound = sound and isinstance(style.short, int) and 0 <= style.short <= style.trailing
        if not (sound and known):
            raise ValueError
    except (ValueError, TypeError, AttributeError) as error:
        raise Declined("has a rest that is none of delimited text") from error
    return style
