"""Kinds of files, each read into values and a rest, and written from both again. See `vlb.data.formats.base`."""

from vlb.data.formats.base import Format
from vlb.data.formats.delimited import Delimited

FORMATS: tuple[Format, ...] = (Delimited(),)  # archives know a format by its place here, so this is only added to
