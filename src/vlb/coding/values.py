"""The values of a chunk: examples as bytes by the model, or, where that fails or is larger, by the general codec."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlb.coding.cells import Uncodable
from vlb.coding.elements import plain_dtype
from vlb.coding.general import pack, unpack
from vlb.coding.progressive import stopped
from vlb.coding.sequence import Account, SequenceCodec, Values
from vlb.coding.stack import Underflow
from vlb.coding.wire import CRC, Damaged, Reader

BY_GENERAL = b"\0"  # a sequence begins with another byte
MAX_VALUES = 1 << 24  # in one chunk, whatever a file claims


@dataclass(frozen=True)
class Coded:
    """A chunk's values as bytes. account: of the model's code where that was chosen; reason: why it was not."""

    content: bytes
    account: Account | None
    reason: str | None


def encode(x: np.ndarray, codec: Values, levels: int, verify: bool) -> Coded:
    """x (n, *shape), n ≥ 1, whole numbers within 0 … levels − 1 -> the smallest of the codes that give it back."""
    plain = np.ascontiguousarray(x, plain_dtype(levels))
    general = BY_GENERAL + pack(plain.tobytes(), _strides(plain))
    account, reason = None, None
    chosen = general
    for form in codec.forms:
        try:
            coded, spent = form(plain)
            if len(coded) + CRC >= len(chosen):
                continue
            if verify and not np.array_equal(codec.decode(coded, len(x)), plain):
                raise Damaged("decoding gave other values")
        except (Uncodable, Damaged, Underflow) as error:
            reason = str(error) or "too few bits to begin with"
            continue
        chosen, account = coded + _checksum(plain), spent
    if account is None and reason is None:
        reason = "it is smaller"
    return Coded(chosen, account, reason)


def decode(reader: Reader, count: int, codec: Values, levels: int) -> np.ndarray:
    """The inverse of `encode`: (count, *shape), uint8, uint16 or uint32. Raises `Damaged`."""
    checksum, x = _decoded(reader, count, codec, levels, lambda content: codec.decode(content, count))
    if checksum is not None and _checksum(x) != checksum:
        raise Damaged("the decoded values are not those that were encoded")
    return x


def preview(reader: Reader, count: int, codec: SequenceCodec, levels: int, stop: int) -> np.ndarray:
    """The last m ≤ `count` examples as they are after `stop` rungs, (m, *shape). Raises `Damaged`.

    Of examples that the general codec holds, all are there, and exact.
    """
    return _decoded(reader, count, codec, levels, lambda content: stopped(codec, content, count, stop))[1]


def coded_directly(reader: Reader, count: int) -> int | None:
    """How many of `count` examples were coded without latents; None if the general codec holds them."""
    number = reader.number(count + 1)
    return number - 1 if number else None


def _decoded(
    reader: Reader, count: int, codec: Values, levels: int, by_model: Callable[[bytes], np.ndarray]
) -> tuple[bytes | None, np.ndarray]:
    """The checksum that the values should have, or None where that of the chunk vouches for them; the values."""
    if count * math.prod(codec.shape) > MAX_VALUES:
        raise Damaged("it claims more values than a chunk may hold")
    content, dtype = reader.rest(), plain_dtype(levels)
    shape = (count, *codec.shape)
    if content[:1] == BY_GENERAL:
        unpacked = unpack(content[1:], math.prod(shape) * dtype.itemsize)
        x = np.frombuffer(unpacked, dtype).reshape(shape)
        if x.max(initial=0) >= levels:
            raise Damaged("values that the model does not have")
        return None, x
    try:
        return content[-CRC:], by_model(content[:-CRC]).astype(dtype)
    except (Uncodable, Underflow) as error:
        raise Damaged(f"its bits fit no latents ({error})") from error


def _checksum(x: np.ndarray) -> bytes:
    return zlib.crc32(x.tobytes()).to_bytes(CRC, "little")


def _strides(x: np.ndarray) -> tuple[int, ...]:
    """Distances to the left neighbour, the one above and the example before, in bytes."""
    return tuple(sorted({x.itemsize, x.itemsize * x.shape[-1], x.itemsize * math.prod(x.shape[1:])}))
