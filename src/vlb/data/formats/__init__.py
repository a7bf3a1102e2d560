"""Kinds of files, each read into values and a rest, and written from both again. See `vlb.data.formats.base`."""

from typing import NamedTuple

from vlb.data.formats.base import Content, Format
from vlb.data.formats.bmp import Bmp
from vlb.data.formats.cifar import Cifar
from vlb.data.formats.delimited import Delimited
from vlb.data.formats.gzip import Gzip
from vlb.data.formats.idx import Idx
from vlb.data.formats.npy import Npy
from vlb.data.formats.npz import Npz
from vlb.data.formats.png import Png
from vlb.data.formats.pnm import Pnm
from vlb.data.formats.wav import Wav

HEAD = 1 << 12  # bytes that a format is told by

# Archives know them by their place: a new one is added at the end.
FORMATS: tuple[Format, ...] = (Delimited(), Npy(), Idx(), Gzip(Idx()), Npz(), Png(), Pnm(), Bmp(), Cifar(), Wav())


class Known(NamedTuple):
    """A format, and its number: its place among those that were asked."""

    number: int
    format: Format


def recognised(formats: tuple[Format, ...], name: str, content: Content) -> Known | None:
    """The first format that takes a file of this name for its own, by how it begins; None where none does."""
    head = bytes(content[:HEAD])
    found = enumerate(formats)
    return next((Known(number, format_) for number, format_ in found if format_.recognises(name, head)), None)
