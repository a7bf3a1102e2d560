"""Kinds of files, each read into values and a rest, and written from both again. See `vlb.data.formats.base`."""

from vlb.data.formats.base import Format

FORMATS: tuple[Format, ...] = ()
