"""RIFF WAVE files of whole samples: linear ones of 8, 16, 24 and 32 bits, and 8-bit µ-law (ITU-T G.711).

Values are (time, channels), numbered from the lowest to the highest amplitude: uint8, uint16, or uint32 for 24 and 32
bits. The rest is b"" for a file of 8,000 samples a second that is a format, its samples and nothing else; other
chunks, before and after the samples, stay as they stood.
"""

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vlb.data.formats import rests
from vlb.data.formats.base import Content, Declined, File, Member

PCM, FLOAT, MU_LAW, EXTENSIBLE = 1, 3, 7, 0xFFFE
GUID = bytes.fromhex("000000001000800000aa00389b71")  # what follows the number of a format in an extensible one
BITS = (8, 16, 24, 32)
MAX_HEAD = 1 << 20
MAX_CHANNELS = 1 << 8


@dataclass(frozen=True)
class Style:
    """rate: samples a second of each channel; bits: of a sample, where its values do not say it; mu_law: whether they
    are µ-law; head: bytes before the samples, where they are not the usual ones."""

    rate: int = 8000
    bits: int = 0
    mu_law: bool = False
    head: int = 0


class Said(NamedTuple):
    """What a head says of samples. start, size: where they are, in bytes."""

    style: Style
    channels: int
    bits: int
    start: int
    size: int


class Wav:
    """Sound."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[:4]) == b"RIFF" and bytes(head[8:12]) == b"WAVE"

    def read(self, content: Content) -> File:
        said = _said(content)
        if said.start + said.size > len(content):
            raise Declined(
                f"it is cut short: its head says {said.size:,} bytes of samples, and {len(content) - said.start:,} "
                "follow"
            )
        block = said.channels * said.bits // 8
        frames = said.size // block
        raw = bytes(content[said.start : said.start + frames * block])
        values = _values(raw, said).reshape(frames, said.channels)
        head, tail = bytes(content[: said.start]), bytes(content[said.start + frames * block :])
        bits = said.bits if said.bits != 8 * values.dtype.itemsize else 0
        style = replace(said.style, bits=bits)
        usual = head == _head(values, style)
        if usual:
            return File((Member("", values),), rests.pack(style, tail))
        return File((Member("", values),), rests.pack(replace(style, head=len(head)), head + tail))

    def write(self, file: File) -> bytes:
        style, kept = rests.unpack(Style, file.rest)
        if len(file.members) != 1 or file.members[0].values.ndim != 2:
            raise Declined("not one sound, and a .wav file holds one")
        values = file.members[0].values
        bits = style.bits or 8 * values.dtype.itemsize
        if (
            values.dtype not in (np.uint8, np.uint16, np.uint32)
            or -(-bits // 16) * 2 != max(2, values.dtype.itemsize)
            or bits not in BITS
            or not 0 < values.shape[1] <= MAX_CHANNELS
            or (style.mu_law and bits != 8)
            or not 0 <= style.rate < 1 << 32
            or not 0 <= style.head <= len(kept)
        ):
            raise Declined(f"{values.dtype} of shape {values.shape}, which no such file holds")
        if not style.head:
            return _head(values, style) + _raw(values, bits, style.mu_law) + kept
        head = kept[: style.head]
        said = _said(head)
        if (said.channels, said.bits, said.style.mu_law) != (values.shape[1], bits, style.mu_law) or not (
            0 <= said.size - values.nbytes * bits // (8 * values.dtype.itemsize) < values.shape[1] * bits // 8
        ):
            raise Declined("a head of another sound")
        return head + _raw(values, bits, style.mu_law) + kept[style.head :]

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def sound(values: np.ndarray, rate: int, mu_law: bool = False) -> bytes:
    """The file of values (time, channels), as numbered here: uint32 are of 24 bits."""
    bits = 24 if values.dtype == np.uint32 else 0
    size = values.nbytes * 3 // 4 if bits else values.nbytes
    end = b"\0" * (size % 2)  # chunks have an even length
    return Wav().write(File((Member("", values),), rests.pack(Style(rate, bits, mu_law), end)))


def _said(content: Content) -> Said:
    """Raises `Declined` for what is no sound of whole samples."""
    if bytes(content[:4]) != b"RIFF" or bytes(content[8:12]) != b"WAVE":
        raise Declined("no RIFF WAVE file")
    at, found = 12, None
    while at + 8 <= min(len(content), MAX_HEAD):
        kind, (size,) = bytes(content[at : at + 4]), struct.unpack("<I", content[at + 4 : at + 8])
        if kind == b"data":
            if found is None:
                raise Declined("samples of no format: it has no chunk fmt before them")
            if size == 0xFFFFFFFF:
                raise Declined("a stream whose head does not say how long it is: save it as a file")
            return Said(*found, at + 8, size)
        if kind == b"fmt ":
            found = _format(bytes(content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    raise Declined("no samples in it, or they are cut off")


def _format(body: bytes) -> tuple[Style, int, int]:
    """Style, channels and bits of a chunk fmt."""
    if len(body) < 16:
        raise Declined("a format that is cut short")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == EXTENSIBLE:
        if len(body) < 40 or body[26:40] != GUID or struct.unpack("<H", body[18:20])[0] != bits:
            raise Declined("a format of its own kind")
        (tag,) = struct.unpack("<H", body[24:26])
    if tag == FLOAT:
        raise Declined("floating-point samples: whole ones have levels, so save it with 16 bits")
    if tag not in (PCM, MU_LAW):
        raise Declined(f"samples of the format {tag}, which are neither linear nor µ-law: save it with 16 bits")
    if bits not in BITS or (tag == MU_LAW and bits != 8):
        raise Declined(f"samples of {bits} bits")
    if not 0 < channels <= MAX_CHANNELS or block != channels * bits // 8:
        raise Declined(f"{channels} channels in blocks of {block} bytes")
    return Style(rate, mu_law=tag == MU_LAW), channels, bits


def _head(values: np.ndarray, style: Style) -> bytes:
    """The usual one: a format, then samples to the end of the file."""
    bits = style.bits or 8 * values.dtype.itemsize
    channels, block = values.shape[1], values.shape[1] * bits // 8
    size = len(values) * block
    tag = MU_LAW if style.mu_law else PCM
    body = struct.pack("<HHIIHH", tag, channels, style.rate, style.rate * block & 0xFFFFFFFF, block, bits)
    total = struct.pack("<I", 36 + size + size % 2 & 0xFFFFFFFF)
    length = struct.pack("<I", size & 0xFFFFFFFF)
    return b"RIFF" + total + b"WAVEfmt " + struct.pack("<I", 16) + body + b"data" + length


def _values(raw: bytes, said: Said) -> np.ndarray:
    """Samples as numbers from the lowest amplitude up."""
    if said.bits == 8:
        stored = np.frombuffer(raw, np.uint8)
        return RANKS[stored] if said.style.mu_law else stored
    if said.bits == 16:
        return np.frombuffer(raw, "<u2").astype(np.uint16) ^ np.uint16(1 << 15)
    if said.bits == 24:
        three = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.uint32)
        return (three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16) ^ np.uint32(1 << 23)
    return np.frombuffer(raw, "<u4").astype(np.uint32) ^ np.uint32(1 << 31)


def _raw(values: np.ndarray, bits: int, mu_law: bool) -> bytes:
    """The inverse. Raises `Declined` for a value of more bits."""
    if bits == 8:
        return (CODES[values] if mu_law else values).tobytes()
    if bits == 16:
        return (values ^ np.uint16(1 << 15)).astype("<u2").tobytes()
    if bits == 24:
        if values.max(initial=0) >> 24:
            raise Declined("values of more than 24 bits")
        flat = (values ^ np.uint32(1 << 23)).reshape(-1, 1)
        return (flat >> np.array([0, 8, 16], np.uint32) & 255).astype(np.uint8).tobytes()
    return (values ^ np.uint32(1 << 31)).astype("<u4").tobytes()


def _amplitudes() -> np.ndarray:
    """What the 256 codes of µ-law stand for, of 16 bits; the two zeros are told apart by their sign, −0 as −1/2."""
    code = ~np.arange(256, dtype=np.int64) & 255
    magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
    return np.where(code & 128, -magnitude - 0.5 * (magnitude == 0), magnitude)


AMPLITUDES = _amplitudes()
CODES = AMPLITUDES.argsort(kind="stable").astype(np.uint8)  # the code of each number
RANKS = CODES.argsort().astype(np.uint8)  # the number of each code


def to_mu_law(samples: np.ndarray) -> np.ndarray:
    """Numbers of 16-bit samples, uint16 as above, as those of the nearest µ-law amplitudes, uint8; what is halfway goes
    away from 0."""
    sorted_ = AMPLITUDES[CODES]
    amplitude = samples.astype(np.float64) - (1 << 15)
    edges = (sorted_[1:] + sorted_[:-1]) / 2
    negative = np.searchsorted(edges, amplitude, side="left")
    positive = np.searchsorted(edges, amplitude, side="right")
    return np.where(amplitude < 0, negative, positive).astype(np.uint8)


def from_mu_law(numbers: np.ndarray) -> np.ndarray:
    """Numbers of µ-law amplitudes, uint8, as those of 16-bit samples, uint16."""
    return (np.rint(AMPLITUDES[CODES][numbers] + 0.25) + (1 << 15)).astype(np.uint16)
