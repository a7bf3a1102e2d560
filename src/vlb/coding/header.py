"""What an archive says of itself before its chunks: the model, its examples, how it is used as a code."""

import math
from dataclasses import dataclass

from vlb.coding import settings as coding
from vlb.coding.settings import Settings
from vlb.coding.wire import Damaged, Reader, Writer

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
    """digest: of the model, 8 bytes; embedded: whether the file carries it; version: of the format."""

    digest: bytes
    embedded: bool
    shape: tuple[int, ...]
    levels: int
    settings: Settings
    numerics: Numerics
    version: int = VERSION

    def __post_init__(self) -> None:
        """Raises `Damaged` for examples that there cannot be."""
        if not self.shape or 0 in self.shape or math.prod(self.shape) > MAX_EXAMPLE or self.levels < 2:
            raise Damaged("no such examples")

    def content(self) -> bytes:
        """The header as bytes."""
        numerics = self.numerics
        form = VERSION << 4 | DEVICES.index(numerics.device) << 1 | int(self.embedded)
        writer = Writer().raw(bytes((form,))).raw(self.digest)
        writer.numbers(self.shape).number(self.levels).number(coding.kind(self.settings))
        self.settings.write(writer)
        writer.number(numerics.threads)
        return writer.number(numerics.torch[0]).number(numerics.torch[1]).number(0).content()

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
        reader.raw(reader.number(MAX_FURTHER))  # what later versions may add, and this one need not know
        return cls(digest, bool(form & 1), shape, levels, settings, numerics)
