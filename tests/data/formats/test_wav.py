"""Sounds of every style come back to the byte; damage is declined; µ-law is what G.711 says."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.formats.test_pictures import mutated
from vlb.data.formats.base import Declined, File, Member
from vlb.data.formats.wav import AMPLITUDES, CODES, GUID, RANKS, Wav, from_mu_law, sound, to_mu_law

SEEDS = st.integers(0, 999)
KINDS = st.sampled_from([(1, 8), (1, 16), (1, 24), (1, 32), (7, 8)])
CHUNKS = st.lists(st.tuples(st.sampled_from([b"LIST", b"bext", b"fact", b"odd!"]), st.binary(max_size=9)), max_size=3)
MUTATIONS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=2)


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def file_of(
    kind: tuple[int, int], channels: int, raw: bytes, rate: int, before: list[bytes], extensible: bool, tail: bytes
) -> bytes:
    tag, bits = kind
    block = channels * bits // 8
    body = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block % 2**32, block, bits)
    if extensible:
        body += struct.pack("<HHIH", 22, bits, 0, tag) + GUID
    inner = b"WAVE" + chunk(b"fmt ", body) + b"".join(before) + b"data" + struct.pack("<I", len(raw)) + raw + tail
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


@given(
    KINDS, st.integers(1, 3), st.integers(0, 200), st.sampled_from([8000, 44100, 1]), CHUNKS, st.booleans(),
    st.binary(max_size=12), MUTATIONS, SEEDS,
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_whatever_is_read_comes_back(
    kind: tuple[int, int], channels: int, size: int, rate: int, chunks: list[tuple[bytes, bytes]], extensible: bool,
    tail: bytes, changes: list[tuple[int, int]], seed: int,
) -> None:  # fmt: skip
    """Whatever the chunks around the samples are, also where these end within a frame."""
    raw = np.random.default_rng(seed).bytes(size)
    content = file_of(kind, channels, raw, rate, [chunk(*c) for c in chunks], extensible, tail)
    file = Wav().read(content)
    assert Wav().write(file) == content
    assert file.members[0].values.shape == (size // (channels * kind[1] // 8), channels)
    changed = mutated(content, changes)
    try:
        again = Wav().read(changed)
    except Declined:
        return
    assert Wav().write(again) == changed


@given(KINDS, st.integers(1, 3), st.integers(0, 20), SEEDS)
@settings(max_examples=50, deadline=None)
def test_other_samples_with_the_same_rest(kind: tuple[int, int], channels: int, frames: int, seed: int) -> None:
    """A usual rest serves sounds of any length, in order of amplitude; one with a head of its own says no."""
    _, bits = kind
    rng = np.random.default_rng(seed)
    usual = file_of(kind, channels, rng.bytes(4 * channels * bits // 8), 8000, [], False, b"")
    file = Wav().read(usual)
    x = rng.integers(0, 1 << bits, (frames, channels), dtype=np.uint64).astype(file.members[0].values.dtype)
    again = Wav().read(Wav().write(File((Member("", x),), file.rest)))
    assert np.array_equal(again.members[0].values, x) and again.rest == file.rest
    odd = Wav().read(
        file_of(kind, channels, rng.bytes(4 * channels * bits // 8), 8000, [chunk(b"LIST", b"a")], False, b"")
    )
    if frames != 4:
        with pytest.raises(Declined, match="another sound"):
            Wav().write(File((Member("", x),), odd.rest))


def test_samples_are_numbered_by_amplitude() -> None:
    for bits, dtype in ((16, "<i2"), (32, "<i4")):
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        content = file_of((1, bits), 1, np.array([low, -1, 0, high], dtype).tobytes(), 8000, [], False, b"")
        found = Wav().read(content).members[0].values[:, 0].astype(np.int64)
        assert (found + low).tolist() == [low, -1, 0, high]
    three = b"".join(int(v).to_bytes(3, "little", signed=True) for v in (-(1 << 23), -1, 0, (1 << 23) - 1))
    found = Wav().read(file_of((1, 24), 1, three, 8000, [], False, b"")).members[0].values[:, 0]
    assert found.tolist() == [0, (1 << 23) - 1, 1 << 23, (1 << 24) - 1]


def test_mu_law() -> None:
    """G.711's table at its ends, and its order; every amplitude is its own nearest, but for −0."""
    assert AMPLITUDES[[0x00, 0x80, 0x7E, 0xFE, 0xFF]].tolist() == [-32124, 32124, -8, 8, 0]
    assert (np.diff(AMPLITUDES[CODES]) > 0).all() and np.array_equal(RANKS[CODES], np.arange(256))
    numbers = np.arange(256, dtype=np.uint8)
    again = to_mu_law(from_mu_law(numbers))
    assert again[RANKS[0x7F]] == RANKS[0xFF] and (again == numbers).sum() == 255
    x = np.arange(1 << 16, dtype=np.uint16)
    error = np.abs(from_mu_law(to_mu_law(x)).astype(int) - x)
    nearest = np.abs(AMPLITUDES[:, None] - (x[::97].astype(int) - (1 << 15))).min(0)
    assert (error[::97] <= nearest + 0.5).all()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"RIFX" + b"\0" * 40, "no RIFF WAVE file"),
        (sound(np.zeros((9, 1), np.uint16), 8000)[:50], "cut short: its head says 18 bytes of samples, and 6 follow"),
        (sound(np.zeros((9, 1), np.uint16), 8000)[:40], "no samples in it, or they are cut off"),
        (file_of((3, 32), 1, b"\0" * 8, 8000, [], False, b""), "floating-point"),
        (file_of((2, 8), 1, b"\0" * 8, 8000, [], False, b""), "the format 2"),
        (file_of((1, 12), 2, b"\0" * 8, 8000, [], False, b""), "12 bits"),
        (sound(np.zeros((0, 1), np.uint8), 8000)[:-4] + b"\xff" * 4, "does not say how long"),
    ],
)
def test_what_is_declined(content: bytes, words: str) -> None:
    with pytest.raises(Declined, match=words):
        Wav().read(content)
