"""What an archive says of a file whose examples the model codes: everything that is needed to write it again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlb.coding.elements import Elements, Model, Numbers, elements_of, read_elements
from vlb.coding.general import pack, unpack
from vlb.coding.header import MAX_AXES
from vlb.coding.layouts import LAYOUTS, Layout, layout_of
from vlb.coding.strips import Strip
from vlb.coding.tabled import TABLED, Tabled, tabled
from vlb.coding.tiled import TILED, Tiled, tiled
from vlb.coding.windowed import WINDOWED, Windowed, windowed
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.data.formats.base import Declined, File, Member
from vlb.data.formats.delimited import shown
from vlb.data.tables import called

MAX_AXIS = 1 << 40
MAX_PIECE = 1 << 26  # bytes of a piece of a file, in one chunk, whatever it claims
MAX_SAID = 1 << 25  # bytes of records, and as many of what stands beside them, in one chunk
MAX_FILES = 1 << 18  # in one chunk
MAX_MEMBERS = 1 << 16  # of one file
MAX_ODD = 1 << 22  # exceptions of one member
MAX_EXCEPTIONS = 0.02  # of a member's elements; with more, it is another kind of data than the model's
KEPT = 0


class Stored(Protocol):
    """A member as an archive has it."""

    @property
    def name(self) -> str:
        """In the file."""

    @property
    def examples(self) -> int:
        """How many of the model's examples it is."""

    @property
    def size(self) -> int:
        """About how many bytes of it are not the model's, unpacked."""

    @property
    def strips(self) -> tuple[Strip, ...]:
        """Where its examples are, if they are tiles of pictures."""

    def weight(self, x: np.ndarray, model: Model) -> int:
        """About how many bytes it is in a file, x being its levels. Raises `Damaged`."""

    def write(self, writer: Writer) -> bytes:
        """What is said of it; what the general codec holds of it."""

    def restored(self, x: np.ndarray, model: Model) -> Member:
        """The member; x: (examples, *shape) its levels. Raises `Damaged`."""

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        """Values of some of its examples, as far as the model has them; all of what is no examples."""

    def remarks(self, model: Model) -> list[str]:
        """What is to be said of what the model does not code, as the ends of sentences about the file."""


@dataclass(frozen=True)
class Coded:
    """A member that is `examples` of the model. places, odd: flat indices of its exceptions, and these."""

    name: str
    elements: Elements
    layout: Layout
    examples: int
    places: np.ndarray
    odd: np.ndarray
    strips = ()

    @property
    def size(self) -> int:
        return self.places.nbytes + self.odd.nbytes

    def weight(self, x: np.ndarray, model: Model) -> int:
        return self.size + self.elements.weight(x, model)

    def write(self, writer: Writer) -> bytes:
        writer.text(self.name).number(1 + LAYOUTS.index(self.layout))
        self.elements.describe(writer)
        writer.number(self.examples)
        writer.numbers(tuple(np.diff(self.places, prepend=0).tolist()))
        if self.places.size:
            content = self.elements.content(self.odd)
            writer.number(len(content)).raw(content)
        return b""

    def restored(self, x: np.ndarray, model: Model) -> Member:
        values = self.elements.values(x, model)
        values.reshape(-1)[self.places] = self.odd
        return Member(self.name, self.layout.array(values))

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        return self.elements.values(x, model)

    def remarks(self, model: Model) -> list[str]:
        return []


@dataclass(frozen=True)
class Kept:
    """A member that is no examples. packed: its values as the general codec has them."""

    name: str
    elements: Elements
    shape: tuple[int, ...]
    size: int
    packed: bytes
    examples = 0
    strips = ()

    def weight(self, x: np.ndarray, model: Model) -> int:
        return self.size

    def write(self, writer: Writer) -> bytes:
        writer.text(self.name).number(KEPT)
        self.elements.describe(writer)
        writer.numbers(self.shape).number(self.size).number(len(self.packed))
        return self.packed

    def restored(self, x: np.ndarray, model: Model) -> Member:
        return Member(self.name, self.part(x, model))

    def part(self, x: np.ndarray, model: Model) -> np.ndarray:
        content = unpack(self.packed, self.size)
        return self.elements.parse(content, math.prod(self.shape)).reshape(self.shape)

    def remarks(self, model: Model) -> list[str]:
        return []


@dataclass(frozen=True)
class Record:
    """A file. format: its number; rest: of the format's own; members: in their order."""

    name: str
    format: int
    rest: bytes
    members: tuple[Stored, ...]

    @property
    def examples(self) -> int:
        """How many of the model's examples it is, at least one."""
        return sum(member.examples for member in self.members)

    @property
    def strips(self) -> tuple[Strip, ...]:
        """Where its examples are, if they are tiles of pictures."""
        return tuple(strip for member in self.members for strip in member.strips)

    @property
    def beside(self) -> int:
        """About how many bytes it is, without what the model codes."""
        return len(self.name) + len(self.rest) + sum(member.size + 16 for member in self.members)

    def weight(self, x: np.ndarray, model: Model) -> int:
        """About how many bytes are in the file, unpacked. Raises `Damaged`."""
        return len(self.rest) + sum(member.weight(part, model) for member, part in self._parts(x))

    def restored(self, x: np.ndarray, model: Model) -> File:
        """What is in the file; x: (examples, *shape) its levels. Raises `Damaged`."""
        return File(tuple(member.restored(part, model) for member, part in self._parts(x)), self.rest)

    def _parts(self, x: np.ndarray) -> Iterator[tuple[Stored, np.ndarray]]:
        """Each member with its examples."""
        at = 0
        for member in self.members:
            yield member, x[at : at + member.examples]
            at += member.examples


def record_of(name: str, number: int, file: File, model: Model) -> tuple[Record, np.ndarray]:
    """The record of a file, and its examples as levels (n, *shape). Raises `Declined` if there are none in it."""
    stored, parts, reasons = list[Stored](), list[np.ndarray](), list[str]()
    for member in file.members:
        elements = elements_of(member.values)
        if elements is None or not holdable(member.values.shape, elements.dtype):
            raise Declined(f"an array of shape {member.values.shape} of {member.values.dtype} in it")
        found = _coded(member, elements, model)
        if isinstance(found, str):
            reasons.append(found)
            stored.append(_kept(member, elements))
        else:
            stored.append(found[0])
            parts.append(found[1])
    if not parts:
        raise Declined(reasons[0] if reasons else "no values in it")
    return Record(name, number, bytes(file.rest), tuple(stored)), parts[0] if len(parts) == 1 else np.concatenate(parts)


def write_records(records: tuple[Record, ...]) -> tuple[bytes, bytes]:
    """What is said of them, packed together; what the general codec holds of them. Raises `UnicodeEncodeError`."""
    writer, beside = Writer(), list[bytes]()
    for record in records:
        writer.text(record.name)
    for record in records:  # apart from the names, what is said of one is often what is said of the next
        writer.number(record.format).number(len(record.rest)).raw(record.rest).number(len(record.members))
        beside += [member.write(writer) for member in record.members]
    return writer.content(), b"".join(beside)


def read_records(content: bytes, count: int, beside: Reader, model: Model) -> tuple[Record, ...]:
    """The inverse of `write_records`; believed only so far as it makes sense, else `Damaged`. Whether names can be
    those of files is for whoever makes these to ask."""
    reader = Reader(content)
    if count > min(len(content), MAX_FILES):
        raise Damaged("it claims more files than it says anything of")
    names = [reader.text() for _ in range(count)]
    records, room, members_left = list[Record](), MAX_SAID, MAX_FILES + MAX_MEMBERS
    for name in names:
        number, rest, many = reader.number(), reader.raw(reader.number(MAX_SAID)), reader.number(MAX_MEMBERS)
        members_left -= many
        if members_left < 0:
            raise Damaged("more members of files than a chunk may hold")
        members = tuple(_read(reader, beside, model) for _ in range(many))
        records.append(Record(name, number, rest, members))
        if not records[-1].examples:
            raise Damaged("a file without examples")
        room -= sum(member.size for member in members)
        if room < 0:
            raise Damaged("more beside the model than a chunk may hold")
    reader.end()
    return tuple(records)


def holdable(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of such a shape can be, even one without elements."""
    small = len(shape) <= MAX_AXES and all(side <= MAX_AXIS for side in shape)
    return small and math.prod(max(side, 1) for side in shape) * dtype.itemsize < 1 << 62


def _read(reader: Reader, beside: Reader, model: Model) -> Stored:
    name, layout = reader.text(), reader.number(TILED)
    if layout == TABLED:
        return Tabled.read(name, reader, beside, MAX_SAID)
    if layout == WINDOWED:
        return Windowed.read(name, reader, beside, MAX_SAID, model)
    if layout == TILED:
        return Tiled.read(name, reader, model)
    elements = read_elements(reader)
    if layout != KEPT and model.pieces is not None:
        raise Damaged("examples that are nowhere")
    if layout == KEPT:
        shape, size = reader.numbers(MAX_AXES, MAX_AXIS), reader.number(MAX_SAID)
        if not holdable(shape, elements.dtype):
            raise Damaged("an array that no memory holds")
        return Kept(name, elements, shape, size, beside.raw(reader.number(MAX_SAID)))
    examples = reader.number(MAX_AXIS)
    whole = LAYOUTS[layout - 1].shape(examples, model.shape)
    if elements.dtype.kind not in "biuO" or whole is None or not examples or not holdable(whole, elements.dtype):
        raise Damaged("rows that are no examples of the model")
    places = np.cumsum(reader.numbers(MAX_ODD, MAX_AXIS), dtype=np.int64)
    odd = np.zeros(0, elements.dtype)
    if places.size:
        if (np.diff(places) < 1).any() or places[-1] >= math.prod(whole):
            raise Damaged("exceptions that are not in the array")
        odd = elements.parse(reader.raw(reader.number(MAX_SAID)), places.size)
    return Coded(name, elements, LAYOUTS[layout - 1], examples, places, odd)


def _coded(member: Member, elements: Elements, model: Model) -> tuple[Stored, np.ndarray] | str:
    """A member as examples and these as levels, or why it is none."""
    values = member.values
    if model.gaps:
        return tabled(member, model) if values.dtype == object and values.ndim == 2 else "no table of text"
    if model.pieces is not None and len(model.shape) == 3:
        return tiled(member, model)
    kind = "texts" if values.dtype == object else str(values.dtype)
    layout = layout_of(values.shape, model.shape)
    apart = layout is None or model.pieces is not None
    if apart and len(model.shape) == 2 and isinstance(elements, Numbers):
        return windowed(member, model)
    if layout is None or apart:
        return f"{kind} of shape {values.shape}, where the model is of shape {model.shape}"
    examples = layout.examples(values, model.shape)
    levels = elements.levels(examples, model)
    if levels is None:
        return f"{kind} of shape {values.shape}, where the model is of whole numbers"
    x, places = levels
    odd = places[places >= elements.named(examples, model)]
    if len(odd) > MAX_EXCEPTIONS * x.size:
        return f"{len(odd)} of {x.size} values are not among the model's{_first(examples, int(odd[0]), model)}"
    return Coded(member.name, elements, layout, len(x), places, examples.reshape(-1)[places]), x


def _first(examples: np.ndarray, place: int, model: Model) -> str:
    """Where a table has the first value that the model has not."""
    if model.columns is None:
        return ""
    row, number = divmod(place, len(model.columns))
    where = f"row {row + 1}, {called(model.columns[number], number)}"
    return f" as they are written, the first in {where}: {shown(str(examples[row, number]))}"


def _kept(member: Member, elements: Elements) -> Kept:
    values = member.values
    content = elements.content(values)
    row = math.prod(values.shape[1:])
    strides = tuple(sorted({stride * width for stride in elements.strides for width in (1, row)}))
    return Kept(member.name, elements, values.shape, len(content), pack(content, strides))
