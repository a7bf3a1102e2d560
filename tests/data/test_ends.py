"""Where pictures end: what a writer makes has nothing behind it and lacks nothing; what is appended or cut is said."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base.errors import UserError
from vlb.data.ends import end_of
from vlb.data.pictures import read_picture

WRITERS = {
    "png": {}, "jpeg": {"quality": 90}, "jpeg-progressive": {"progressive": True}, "gif": {}, "bmp": {},
    "webp": {"lossless": True}, "ppm": {},
}  # fmt: skip


def written(kind: str, size: tuple[int, int], seed: int) -> bytes:
    x = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(x).save(stream, kind.partition("-")[0], **WRITERS[kind])
    return stream.getvalue()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.sampled_from(list(WRITERS)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**31),
    st.binary(min_size=1, max_size=30),
)
def test_a_picture_ends_where_its_writer_ended_it(kind: str, size: tuple[int, int], seed: int, more: bytes) -> None:
    content = written(kind, size, seed)
    if kind == "ppm":
        assert end_of(content) is None
        return
    assert end_of(content) == len(content)
    assert end_of(content + more) == len(content)
    assert end_of(content + content) == len(content)
    for cut in {1, 2, len(content) // 3} - {0}:
        found = end_of(content[: len(content) - cut])
        assert found is not None and found > len(content) - cut


@pytest.mark.parametrize("kind", WRITERS)
def test_what_lies_behind_is_said(kind: str, tmp_path: Path) -> None:
    content, path = written(kind, (5, 7), 0), tmp_path / f"x.{kind}"
    path.write_bytes(content)
    clean = read_picture(path)
    assert not clean.said
    path.write_bytes(content + b"\1more")
    assert np.array_equal(read_picture(path).values, clean.values)
    assert [rule.property.partition(" (")[0] for rule in read_picture(path).said] == ["bytes behind the picture's end"]


def test_a_file_without_its_end_is_said_or_refused(tmp_path: Path) -> None:
    content, path = written("png", (5, 7), 0), tmp_path / "x.png"
    path.write_bytes(content[:-4])
    assert [rule.property for rule in read_picture(path).said] == ["a file cut short behind its last pixel"]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"x\.png is no readable image"):
        read_picture(path)
