"""Files as formats know them: which one reads a file, and whether what it writes again is the file."""

import zlib

from vlb.coding.elements import elements_of
from vlb.coding.wire import Damaged, Writer
from vlb.data.formats import recognised
from vlb.data.formats.base import Content, Declined, File, Format, Writable

Formats = tuple[Format, ...]


def known(formats: Formats, name: str, content: Content) -> tuple[int, Writable]:
    """The number and the format of a file. Raises `Declined` if none is, or it is not written."""
    found = recognised(formats, name, content)
    if found is None:
        raise Declined("of no kind that the model codes")
    if not isinstance(found.format, Writable):
        raise Declined("of a format that is not written again")
    return found.number, found.format


def numbered(formats: Formats, number: int) -> Writable:
    """The format of a number. Raises `Damaged`."""
    found = formats[number] if number < len(formats) else None
    if not isinstance(found, Writable):
        raise Damaged(f"a file of format {number}, which this version of vlb does not write")
    return found


def read(format_: Writable, content: Content) -> File:
    """What is in a file. Raises `Declined`."""
    try:
        return format_.read(content)
    except (Declined, MemoryError):
        raise
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        raise Declined(f"it cannot be read ({error})") from error


def written(format_: Writable, file: File) -> bytes:
    """A file. Raises `Declined`."""
    try:
        return format_.write(file)
    except (Declined, MemoryError):
        raise
    except Exception as error:  # what an archive says of a file may make no sense
        raise Declined(f"it cannot be written ({error})") from error


def checksum(format_: Writable, content: Content) -> int:
    """CRC-32 of what of a file must come back: every byte or, where its encoder is free, the members and the rest.

    Raises `Declined` for a file that is none of the format.
    """
    return zlib.crc32(content if format_.freedom is None else _canonical(read(format_, content)))


def _canonical(file: File) -> bytes:
    writer = Writer()
    for name, values in file.members:
        elements = elements_of(values)
        if elements is None:
            raise Declined("values in it of no plain type")
        encoded = name.encode("utf-8", "surrogatepass")
        writer.number(len(encoded)).raw(encoded).numbers(values.shape)
        elements.describe(writer)
        writer.raw(elements.content(values))
    return writer.raw(bytes(file.rest)).content()
