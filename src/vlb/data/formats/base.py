"""A kind of file: read into values and a rest, and written from both again.

Training and scoring, output and the codec read a file by the same `read`. What it does not make values of, it keeps in
the rest, so that nothing is lost: `write(read(content))` is the file to the byte or, where a format leaves its encoder
a choice, the same file but for what `freedom` names.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

Content = bytes | bytearray | memoryview


class Declined(Exception):
    """A file that a format cannot read, or make again; the message says why, as the end of a sentence about it."""


class Member(NamedTuple):
    """An array in a file, as stored; name: "" where the file has no names."""

    name: str
    values: np.ndarray


class File(NamedTuple):
    """What a file holds. rest: everything else, b"" in a file as this library would write it."""

    members: tuple[Member, ...]
    rest: bytes


class Format(Protocol):
    """How files of a kind are read."""

    def recognises(self, name: str, head: Content) -> bool:
        """Whether a file of this name that begins with `head` (4096 bytes, or all) should be of this kind."""

    def read(self, content: Content) -> File:
        """Raises `Declined`."""


@runtime_checkable
class Writable(Format, Protocol):
    """A format that can be written too. freedom: what of a file its encoder chooses and `write` need not give back,
    such as "the deflate stream"; None where it gives back every byte."""

    freedom: str | None

    def write(self, file: File) -> bytes:
        """The file of these members with this rest, which members of other shapes and values may have too."""

    def same(self, one: Content, other: Content) -> bool:
        """Whether two files differ at most in the encoder's freedom."""
