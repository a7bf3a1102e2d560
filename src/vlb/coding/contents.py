"""What chunks hold: a piece of a file as it is, or examples with the records of the files that begin among them."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from vlb.coding.elements import Model
from vlb.coding.general import pack, unpack
from vlb.coding.names import safe
from vlb.coding.records import MAX_AXIS, MAX_PIECE, MAX_SAID, Record, read_records, write_records
from vlb.coding.strips import Strip, between
from vlb.coding.values import MAX_VALUES
from vlb.coding.wire import CRC, Damaged, Reader, Writer

# What to make of the values of so many examples, and where these are if they are tiles: the last m of them.
Take = Callable[[Reader, int, tuple[Strip, ...]], np.ndarray]
MAX_TILES = 1 << 15  # of pictures, in one chunk


class Folder(Protocol):
    """What contents are put into."""

    def piece(self, piece: "Piece") -> None: ...

    def data(self, data: "Data") -> None: ...


class Content(Protocol):
    """What a chunk holds."""

    def into(self, folder: Folder) -> None:
        """Put it there."""


@dataclass(frozen=True)
class Piece:
    """Part of a file that is stored as it is; last: its last one."""

    name: str
    last: bool
    content: bytes

    def into(self, folder: Folder) -> None:
        folder.piece(self)

    def body(self) -> bytes:
        """As the body of a chunk."""
        head = Writer().text(self.name).number(int(self.last)).number(len(self.content))
        return head.content() + pack(self.content)

    @classmethod
    def read(cls, reader: Reader) -> "Piece":
        """The inverse of `body`. Raises `Damaged`."""
        name, last, size = safe(reader.text()), bool(reader.number(1)), reader.number(MAX_PIECE)
        return cls(name, last, unpack(reader.rest(), size))


@dataclass(frozen=True)
class Continued:
    """Examples of a file that began `back` chunks before: `count` of them, `first` having come before; strips: where
    they are, if they are tiles of pictures."""

    back: int
    first: int
    count: int
    strips: tuple[Strip, ...] = ()


NOTHING = Continued(0, 0, 0)


class Stretch(NamedTuple):
    """Consecutive examples of one file, the one of `record` or, without, the one continued; `first` came before."""

    record: Record | None
    first: int
    x: np.ndarray


@dataclass(frozen=True)
class Plan:
    """Whose the examples of a chunk are. left: how many of the last record's are in later chunks; check: what
    `checked` says of the files that end here."""

    continued: Continued
    records: tuple[Record, ...]
    left: int
    check: bytes

    @property
    def count(self) -> int:
        """How many examples it is of."""
        return self.continued.count + sum(record.examples for record in self.records) - self.left

    @property
    def strips(self) -> tuple[Strip, ...]:
        """Where the examples are, if they are tiles of pictures."""
        every = (*self.continued.strips, *(strip for record in self.records for strip in record.strips))
        return between(every, 0, self.count)

    def head(self) -> bytes:
        """All but the values. Raises `UnicodeEncodeError`."""
        writer = Writer().number(self.continued.count)
        if self.continued.count:
            writer.number(self.continued.back).number(self.continued.first)
            for strip in self.continued.strips:  # as many as hold the examples
                strip.write(writer)
        said, beside = write_records(self.records)
        writer.number(self.left).raw(self.check).number(len(self.records))
        if self.records:
            packed = pack(said)
            writer.number(len(said)).number(len(packed)).raw(packed).raw(beside)
        return writer.content()

    @classmethod
    def read(cls, reader: Reader, model: Model) -> "Plan":
        """The inverse of `head`. Raises `Damaged`."""
        continued, records = NOTHING, tuple[Record, ...]()
        if many := reader.number(MAX_VALUES):
            continued = Continued(reader.number(), reader.number(MAX_AXIS), many, _strips(reader, many, model))
        left, check, count = reader.number(MAX_AXIS), reader.raw(CRC), reader.number(MAX_SAID)
        if count:
            size = reader.number(MAX_SAID)
            said = unpack(reader.raw(reader.number(MAX_SAID)), size)
            records = read_records(said, count, reader, model)
        if left and (not records or left >= records[-1].examples):
            raise Damaged("examples that are nowhere")
        plan = cls(continued, records, left, check)
        if (many and not continued.back) or not 0 < plan.count <= MAX_VALUES:
            raise Damaged("it claims other examples than a chunk may hold")
        if model.pieces is not None and plan.count > MAX_TILES:
            raise Damaged("it claims more tiles than a chunk may hold")
        return plan


@dataclass(frozen=True)
class Data:
    """Examples as levels, x (m, *shape): the last m of `plan`'s, all of them unless it is a preview."""

    plan: Plan
    x: np.ndarray
    model: Model

    def into(self, folder: Folder) -> None:
        folder.data(self)

    @classmethod
    def read(cls, reader: Reader, model: Model, take: Take) -> "Data":
        """Raises `Damaged`."""
        plan = Plan.read(reader, model)
        return cls(plan, take(reader, plan.count, plan.strips), model)

    def stretches(self) -> Iterator[Stretch]:
        """The examples by file, in order; those of no file that is here are left out."""
        at, skipped = 0, self.plan.count - len(self.x)
        continued = self.plan.continued
        parts: list[tuple[Record | None, int, int]] = [(None, continued.first, continued.count)]
        parts += [(record, 0, record.examples) for record in self.plan.records]  # x ends where the last one does here
        for record, first, count in parts:
            start, stop = max(at - skipped, 0), max(at + count - skipped, 0)
            if stop > start:
                yield Stretch(record, first + max(skipped - at, 0), self.x[start:stop])
            at += count


def _strips(reader: Reader, many: int, model: Model) -> tuple[Strip, ...]:
    """Those that hold so many tiles, where the model is of tiles. Raises `Damaged`."""
    found = list[Strip]()
    while model.pieces is not None and many:
        found.append(Strip.read(reader, model.pieces, model.shape[0], many))
        many -= found[-1].count
    return tuple(found)


def checked(checksums: list[int]) -> bytes:
    """One check for the files that end in a chunk, of the CRC-32 of each; zeros where none does."""
    joined = b"".join(checksum.to_bytes(CRC, "little") for checksum in checksums)
    return zlib.crc32(joined).to_bytes(CRC, "little")
