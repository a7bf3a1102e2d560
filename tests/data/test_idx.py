"""IDX: round trips, and nothing but `UserError` for whatever else a file may hold."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.data.idx import parse_idx, read_idx

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx_bytes(x: np.ndarray, kind: str = "u1") -> bytes:
    return bytes([0, 0, CODES[kind], x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.astype(kind).tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_round_trip(tmp_path: Path, kind: str, packed: bool) -> None:
    x = np.random.default_rng(0).integers(0, 100, (4, 3, 2))
    path = tmp_path / "a.idx"
    path.write_bytes(gzip.compress(idx_bytes(x, kind)) if packed else idx_bytes(x, kind))
    read = read_idx(path)
    assert read.dtype == np.dtype(kind).newbyteorder("=")
    assert np.array_equal(read, x)
    assert np.array_equal(parse_idx(idx_bytes(x, kind), "x"), x)


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), cut=st.integers(1, 700))
@settings(derandomize=True, deadline=None)
def test_truncated_bytes_are_a_user_error(shape: list[int], cut: int) -> None:
    content = idx_bytes(np.zeros(shape))
    with pytest.raises(UserError):
        parse_idx(content[: -min(cut, len(content))], "x")
    with pytest.raises(UserError):
        parse_idx(content + b"\0" * cut, "x")


@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.sampled_from([8, 9, 11, 12, 13, 14]), st.integers(0, 6), st.binary(max_size=60)).map(
            lambda t: bytes([0, 0, t[0], t[1]]) + t[2]
        ),
    )
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_random_bytes_parse_or_are_a_user_error(content: bytes) -> None:
    try:
        x = parse_idx(content, "x")
    except UserError:
        return
    assert x.nbytes == len(content) - 4 - 4 * x.ndim


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 60))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_damaged_gzip_is_a_user_error(position: int, value: int, cut: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 3))
    packed = bytearray(gzip.compress(idx_bytes(x), mtime=0))
    packed[position % len(packed)] = value
    # hypothesis and function-scoped tmp_path do not mix
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.gz"
        path.write_bytes(bytes(packed[: len(packed) - cut]))
        try:
            read = read_idx(path)
        except UserError as error:
            assert str(path) in str(error)
        else:
            assert np.array_equal(read, x)


def test_a_huge_claim_takes_no_memory(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3)
    raw, packed = tmp_path / "a.idx", tmp_path / "a.idx.gz"
    raw.write_bytes(header + b"123")
    packed.write_bytes(gzip.compress(header + b"123"))
    for path, said in ((raw, "truncated or damaged"), (packed, "damaged, or a possible decompression bomb")):
        with pytest.raises(UserError, match=said):
            read_idx(path)


def test_a_gzip_bomb_is_read_no_further_than_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(idx_bytes(np.zeros((2, 2, 2))))
        for _ in range(20):
            stream.write(bytes(1 << 20))
    with pytest.raises(UserError, match="holds more"):
        read_idx(path)
    # the claim is within what this much deflate could hold, and still not true
    path.write_bytes(
        gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 10, 30, 30) + np.random.default_rng(0).bytes(500))
    )
    with pytest.raises(UserError, match="only 500"):
        read_idx(path)


def test_not_idx(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an IDX file"):
        parse_idx(b"", "x")
    with pytest.raises(UserError, match="no values"):
        parse_idx(idx_bytes(np.zeros((0, 3, 3))), "x")
    with pytest.raises(UserError, match="cannot read"):
        read_idx(tmp_path / "nothing")
