"""Kinds of files, each read into values and a rest, and written from both again. See `vlb.data.formats.base`."""

from vlb.data.formats.base import Content, Format
from vlb.data.formats.cifar import Cifar
from vlb.data.formats.gzip import Gzip
from vlb.data.formats.idx import Idx
from vlb.data.formats.npy import Npy
from vlb.data.formats.npz import Npz

# Archives know them by their place: a new one is added at the end.
FORMATS: tuple[Format, ...] = (Npy(), Idx(), Gzip(Idx()), Npz(), Cifar())


def format_of(name: str, head: Content) -> Format | None:
    """The format of a file of this name that begins with `head` (at least 64 bytes, or all), or None."""
    return next((format_ for format_ in FORMATS if format_.recognises(name, head)), None)
