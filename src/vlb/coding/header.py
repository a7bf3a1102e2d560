"""What an archive says of itself before its chunks: the model, its examples, how it is used as a code."""

import math
from dataclasses import dataclass

from vlb.base.errors import UserError
from vlb.coding import settings as coding
from vlb.coding.elements import Model
from vlb.coding.settings import Settings
from vlb.coding.strips import Strip, held
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Column, Pieces

VERSION = 3
DEVICES = ("cpu", "cuda")
DIGEST = 8  # bytes
MAX_AXES = 8
MAX_EXAMPLE = 1 << 24  # values
MAX_LEVELS = 1 << 32
MAX_FURTHER = 1 << 12  # bytes


@dataclass(frozen=True)
class Numerics:
    """Where and how an archive was made: what may change floating-point results. torch: (major, minor)."""

    device: str
    threads: int
    torch: tuple[int, int]


@dataclass(frozen=True)
class Header:
    """digest: of the model, 8 bytes; embedded: whether the file carries it; pieces: how pictures are cut into examples,
    of which `shape` is without margins, or recordings, where the model is told the positions of windows; version: of
    the format."""

    digest: bytes
    embedded: bool
    shape: tuple[int, ...]
    levels: int
    settings: Settings
    numerics: Numerics
    pieces: Pieces | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        """Raises `Damaged` for examples that there cannot be."""
        pieces = self.pieces
        if pieces is not None and (len(self.shape) not in (2, 3) or pieces.tile != self.shape[1:]):
            raise Damaged("examples that are not as they are cut")
        if not self.shape or 0 in self.shape or math.prod(self.window) > MAX_EXAMPLE or self.levels < 2:
            raise Damaged("no such examples")

    @property
    def window(self) -> tuple[int, ...]:
        """The shape of an example with its margin: what the model sees."""
        return self.shape if self.pieces is None else (self.shape[0], *self.pieces.window)

    def count_values(self, examples: int, strips: tuple[Strip, ...]) -> int:
        """How many values so many examples have; strips: where they are, if they are tiles: only a picture's count."""
        if self.pieces is None or len(self.shape) == 2:
            return examples * math.prod(self.shape)
        return held(self.pieces, self.shape[0], strips)

    def model(self, columns: tuple[Column, ...] | None = None) -> Model:
        """What the model is of; columns: of the tables, if it is of these."""
        return Model(self.shape, self.levels, columns, self.pieces)

    def content(self) -> bytes:
        """The header as bytes."""
        numerics = self.numerics
        form = VERSION << 4 | DEVICES.index(numerics.device) << 1 | int(self.embedded)
        writer = Writer().raw(bytes((form,))).raw(self.digest)
        writer.numbers(self.shape).number(self.levels).number(coding.kind(self.settings))
        self.settings.write(writer)
        writer.number(numerics.threads)
        further = b"" if self.pieces is None else _cut(self.pieces)
        writer.number(numerics.torch[0]).number(numerics.torch[1])
        return writer.number(len(further)).raw(further).content()

    @classmethod
    def read(cls, reader: Reader) -> "Header":
        """The inverse of `content`. Raises `Damaged`."""
        form, digest = reader.raw(1)[0], reader.raw(DIGEST)
        device = (form & 15) >> 1
        if form >> 4 != VERSION or device >= len(DEVICES):
            raise Damaged("its first byte says what this version of vlb does not know")
        shape, levels = reader.numbers(MAX_AXES, 1 << 16), reader.number(MAX_LEVELS)
        settings = coding.read(reader.number(), reader)
        threads = reader.number(1 << 16)
        numerics = Numerics(DEVICES[device], threads, (reader.number(1 << 16), reader.number(1 << 16)))
        further = reader.raw(reader.number(MAX_FURTHER))
        pieces = _pieces(Reader(further), shape[1:]) if further else None
        return cls(digest, bool(form & 1), shape, levels, settings, numerics, pieces)


def _cut(pieces: Pieces) -> bytes:
    """How pictures are cut into tiles, whose size is known: what stands where later versions may add what they like."""
    return Writer().number(pieces.margin).number(pieces.phases).number(int(pieces.told)).content()


def _pieces(reader: Reader, tile: tuple[int, ...]) -> Pieces:
    """The inverse of `_cut`; what follows need not be known. Raises `Damaged`."""
    margin, phases, told = reader.number(1 << 16), reader.number(1 << 8), bool(reader.number(1))
    try:
        return Pieces(tile, margin, phases, told)
    except UserError as error:
        raise Damaged(f"no such tiles ({error})") from error
