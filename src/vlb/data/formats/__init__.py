"""Kinds of files, each read into values and a rest, and written from both again. See `vlb.data.formats.base`."""

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

# Archives know them by their place: a new one is added at the end.
FORMATS: tuple[Format, ...] = (Delimited(), Npy(), Idx(), Gzip(Idx()), Npz(), Png(), Pnm(), Bmp(), Cifar())


def format_of(name: str, head: Content) -> Format | None:
    """The format of a file of this name that begins with `head` (at least 64 bytes, or all), or None."""
    return next((format_ for format_ in FORMATS if format_.recognises(name, head)), None)
