"""What becomes of a file: the model codes it, where a format gives every byte back, or it is stored as it is."""

from dataclasses import dataclass

import numpy as np

from vlb.base.errors import UserError
from vlb.base.walk import Named
from vlb.coding.elements import Model
from vlb.coding.files import Formats, checksum, known, read, written
from vlb.coding.records import MAX_MEMBERS, Record, read_records, record_of, write_records
from vlb.coding.wire import Damaged, Reader
from vlb.data import contents
from vlb.data.formats.base import Content, Declined, Writable

MAX_BESIDE = 1 << 24  # bytes of a file that the model does not code


@dataclass(frozen=True)
class Source:
    """A file that the model codes. x: its examples as levels; checksum: of what must come back; size: in bytes;
    freedom: what of it comes back otherwise, if anything does; remarks: what of it the model does not code."""

    record: Record
    x: np.ndarray
    checksum: int
    size: int
    freedom: str | None
    remarks: tuple[str, ...] = ()


def understood(found: Named, content: Content, model: Model, formats: Formats) -> Source:
    """A file as examples of the model. Raises `Declined` with the reason why it is stored as it is."""
    number, format_ = known(formats, found.name, content)
    record, x = record_of(found.name, number, read(format_, content), model)
    _sayable(record, model)
    made = written(format_, record.restored(x, model))
    exact = made == content
    if not exact and not _same(format_, made, content):
        raise Declined("its format would not give every byte of it back")
    remarks = tuple(remark for stored in record.members for remark in stored.remarks(model))
    return Source(record, x, checksum(format_, made), len(content), None if exact else format_.freedom, remarks)


def content_of(found: Named) -> Content:
    """The bytes of a file, which are not read before they are asked for. Raises `UserError` where they cannot be."""
    try:
        return contents.content_of(found.path)
    except OSError as error:
        raise UserError(f"cannot read {found.path}: {error.strerror or error}") from error


def _same(format_: Writable, made: bytes, content: Content) -> bool:
    return format_.freedom is not None and format_.same(made, content)


def _sayable(record: Record, model: Model) -> None:
    if len(record.members) > MAX_MEMBERS:
        raise Declined(f"{len(record.members):,} members")
    if record.beside > MAX_BESIDE:
        raise Declined(f"{record.beside:,} bytes of it are not for the model to code")
    try:
        said, beside = write_records((record,))
    except UnicodeEncodeError as error:
        raise Declined("a name or a cell in it that is no text") from error
    except UserError as error:
        raise Declined(str(error)) from error
    if len(said) > MAX_BESIDE:
        raise Declined(f"{len(said):,} bytes of it are not for the model to code")
    try:
        again = read_records(said, 1, Reader(beside), model)
    except Damaged as error:
        raise Declined(f"what is said of it would not come back ({error})") from error
    if write_records(again) != (said, beside):
        raise Declined("what is said of it would not come back")
