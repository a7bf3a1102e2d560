"""Formats of arrays: files come back to the byte, or but for their deflate streams, or are declined."""

import gzip
import io
import math
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as numpy_format

from vlb.base import growth
from vlb.base.errors import UserError
from vlb.data.arrays import read_array
from vlb.data.formats import FORMATS, recognised
from vlb.data.formats.base import Declined, File, Member, Writable
from vlb.data.formats.cifar import Cifar
from vlb.data.formats.gzip import Gzip
from vlb.data.formats.idx import Idx
from vlb.data.formats.npy import Npy, Pickled
from vlb.data.formats.npz import Npz, arrays_in
from vlb.measure import evaluation_file

from .test_idx import CODES, idx_bytes

DTYPES = ("u1", "?", "i1", "<u2", ">u2", "<i4", ">i8", "<f4", ">f8", "<c8", "S3", "<U2", ">U1", "<M8[s]")
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
NAMES = st.text(max_size=4) | st.sampled_from(("x", "y", "x.npy", "a/b", "x_train"))
TAILS = st.sampled_from((*[b""] * 12, b"\0", b"\x93NUMPY", b"behind it"))


@st.composite
def array(draw: st.DrawFn) -> np.ndarray:
    dtype, shape = np.dtype(draw(st.sampled_from(DTYPES))), draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    content = rng.integers(0, 2 if dtype.kind in "?SU" else 250, math.prod(shape) * dtype.itemsize).astype(np.uint8)
    if dtype.kind == "U":
        content[:] = 0
    values = content.view(dtype).reshape(shape) if content.size else np.zeros(shape, dtype)
    return np.asfortranarray(values) if draw(st.booleans()) else values


@st.composite
def npy(draw: st.DrawFn) -> bytes:
    """By numpy, of every version, or with a header as others write it."""
    values, stream = draw(array()), io.BytesIO()
    numpy_format.write_array(stream, values, (draw(st.integers(1, 3)), 0))
    content = stream.getvalue()
    form = draw(st.sampled_from(("numpy", "numpy", "long", "tight", "unpadded", "double quotes")))
    if form != "numpy":
        fortran = values.flags.f_contiguous and not values.flags.c_contiguous
        shape = repr(values.shape)
        if form == "long":
            shape = "(" + "".join(f"{side}L, " for side in values.shape) + ")"
        text = f"{{'descr': {values.dtype.str!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
        if form == "tight":
            text = text.replace(" ", "")
        if form == "double quotes":
            text = text.replace("'", '"')
        text += ("" if form == "unpadded" else " " * (-(len(text) + 11) % 16)) + "\n"
        content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()
        content += values.tobytes("F" if fortran else "C")
    return content + draw(TAILS)


class Pipe(io.RawIOBase):
    """A stream that does not seek: what zipfile writes then has descriptors."""

    def __init__(self) -> None:
        self.content = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self.content.write(data)  # type: ignore[arg-type]


@st.composite
def npz(draw: st.DrawFn) -> bytes:
    pipe, stream = Pipe(), io.BytesIO()
    out = pipe if draw(st.booleans()) else stream
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(("x", "y", "labels", "é")), max_size=3, unique=True))
        save = draw(st.sampled_from((np.savez, np.savez_compressed)))
        save(out, **{name: draw(array()) for name in names})
    else:
        with zipfile.ZipFile(out, "w") as archive:
            for name in draw(st.lists(NAMES, max_size=3)):
                info = zipfile.ZipInfo(name + draw(st.sampled_from((".npy", ".npy", ""))), (2001, 2, 3, 4, 5, 6))
                info.comment, info.external_attr = draw(st.binary(max_size=3)), draw(st.integers(0, 1 << 31))
                info.extra = draw(st.sampled_from((b"", b"\x55\x54\1\0a", b"\x01\0\2\0ab", b"odd")))
                info.compress_type = draw(st.sampled_from((0, 0, 8, 12)))
                with (
                    warnings.catch_warnings(action="ignore"),
                    archive.open(info, "w", force_zip64=draw(st.booleans())) as member,
                ):
                    member.write(draw(npy() | st.just(b"no array")))
            archive.comment = draw(st.binary(max_size=5))
    return (pipe.content if out is pipe else stream).getvalue() + draw(TAILS)


@st.composite
def idx(draw: st.DrawFn) -> bytes:
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    values = np.random.default_rng(0).integers(0, 100, shape)
    return idx_bytes(values, draw(st.sampled_from(sorted(CODES)))) + draw(TAILS)


@st.composite
def gzipped(draw: st.DrawFn) -> bytes:
    plain = draw(idx())
    cut = draw(st.integers(0, len(plain)))
    parts = [plain] if draw(st.booleans()) else [plain[:cut], plain[cut:]]
    content = b""
    for part in parts:
        flags, fields = draw(st.integers(0, 31)), b""
        fields += b"\2\0ab" if flags & 4 else b""
        fields += b"name\0" if flags & 8 else b""
        fields += b"comment\0" if flags & 16 else b""
        head = b"\x1f\x8b\x08" + bytes((flags,)) + draw(st.binary(min_size=6, max_size=6)) + fields
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if flags & 2 else b""
        packer = zlib.compressobj(draw(st.integers(0, 9)), zlib.DEFLATED, -15)
        stream = packer.compress(part) + packer.flush()
        content += head + stream + struct.pack("<II", zlib.crc32(part), len(part))
    return content + draw(TAILS)


@st.composite
def cifar(draw: st.DrawFn) -> bytes:
    records = np.random.default_rng(draw(st.integers(0, 3))).integers(0, 256, (draw(st.integers(0, 3)), 3073))
    records[:, 0] %= 10
    return records.astype(np.uint8).tobytes() + draw(TAILS)


FILES = {"a.bin": cifar(), "a.npy": npy(), "a.npz": npz(), "a-ubyte": idx(), "a-ubyte.gz": gzipped()}
KINDS: dict[str, Writable] = {
    "a.bin": Cifar(),
    "a.npy": Npy(),
    "a.npz": Npz(),
    "a-ubyte": Idx(),
    "a-ubyte.gz": Gzip(Idx()),
}


def returned(name: str, content: bytes) -> File | None:
    """What is read of a file, which is written again as promised; None if it is declined."""
    kind = KINDS[name]
    try:
        file = kind.read(memoryview(content))
        made = kind.write(file)
    except Declined:
        return None
    assert made == content or (kind.freedom is not None and kind.same(made, content))
    again = kind.read(made)
    assert again.rest == file.rest and kind.same(content, content)
    for one, other in zip(again.members, file.members, strict=True):
        assert (one.name, one.values.dtype, one.values.shape) == (other.name, other.values.dtype, other.values.shape)
        assert one.values.tobytes() == other.values.tobytes()
    return file


@pytest.mark.parametrize("name", FILES)
def test_files_come_back(name: str) -> None:
    kept = []

    @given(FILES[name])
    @settings(derandomize=True, deadline=None, max_examples=300)
    def check(content: bytes) -> None:
        kept.append(returned(name, content) is not None)

    check()
    assert sum(kept) > 0.3 * len(kept)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_come_back_or_are_declined(name: str) -> None:
    @given(
        FILES[name],
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
        st.integers(0, 2000),
        st.binary(max_size=3),
    )
    @settings(derandomize=True, deadline=None, max_examples=400)
    def check(content: bytes, changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
        changed = bytearray(content)
        for at, value in changes if changed else ():
            changed[at % len(changed)] = value
        kept = len(changed) - cut % (len(changed) + 1) if cut % 2 else len(changed)
        returned(name, bytes(changed[:kept]) + tail)

    check()


@pytest.mark.parametrize("name", FILES)
def test_random_rests_are_declined_or_written(name: str) -> None:
    @given(
        st.binary(max_size=40)
        | st.sampled_from((b"[]", b"{}", b"[{},{},0]", b'{"version":9}\n', b'[{"date":-1},{},""]'))
    )
    @settings(derandomize=True, deadline=None, max_examples=200)
    def check(rest: bytes) -> None:
        try:
            made = KINDS[name].write(File((Member("", np.zeros((2, 3), np.uint8)),), rest))
        except Declined:
            return
        assert isinstance(made, bytes)

    check()


@given(npy())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_npy_is_read_as_numpy_reads_it(content: bytes) -> None:
    with warnings.catch_warnings(action="ignore"):
        expected = np.load(io.BytesIO(content))
    values = Npy().read(content).members[0].values
    assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
    assert values.tobytes() == expected.tobytes()


@given(array())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_usual_files_have_no_rest(values: np.ndarray) -> None:
    values = np.ascontiguousarray(values) if values.ndim else values
    stream, several = io.BytesIO(), io.BytesIO()
    np.save(stream, values)
    np.savez(several, x=values, y=values)
    assert Npy().read(stream.getvalue()).rest == b"" == Npz().read(several.getvalue()).rest
    member = Member("", values)
    assert Npy().write(File((member,), b"")) == stream.getvalue()
    named = tuple(Member(name, values) for name in "xy")
    assert Npz().write(File(named, b"")) == several.getvalue()


@given(npy(), array())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_rest_serves_other_arrays_or_is_refused(content: bytes, other: np.ndarray) -> None:
    rest = Npy().read(content).rest
    try:
        made = Npy().write(File((Member("", other),), rest))
    except Declined:
        return
    again = Npy().read(made)
    assert again.members[0].values.shape == other.shape and again.members[0].values.dtype == other.dtype
    assert again.members[0].values.tobytes() == other.tobytes()


def test_members_that_numpy_confuses_are_each_their_own() -> None:
    stream, parts = io.BytesIO(), []
    for k in range(3):
        part = io.BytesIO()
        np.save(part, np.full(2, k))
        parts.append(part.getvalue())
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, part in zip(("a.npy", "a", "a"), parts, strict=True):
            archive.writestr(name, part)
    file = Npz().read(stream.getvalue())
    assert [(name, values[0]) for name, values in file.members] == [("a", 0), ("a", 1), ("a", 2)]
    assert Npz().write(file) == stream.getvalue()
    with pytest.raises(Declined, match="3 members are called a"):
        arrays_in(stream.getvalue()).read("a")


def test_other_members_are_not_read() -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(3), names=np.array([None, {}]))
    assert arrays_in(stream.getvalue()).read("x").tolist() == [0, 1, 2]
    with pytest.raises(Pickled):
        arrays_in(stream.getvalue()).read("names")
    with pytest.raises(Declined, match=r"names\.npy in it: Python objects"):
        Npz().read(stream.getvalue())


def test_arrays_are_views() -> None:
    for save in (np.save, np.savez):
        stream = io.BytesIO()
        save(stream, np.arange(12))  # type: ignore[operator]
        content = np.frombuffer(stream.getvalue(), np.uint8)
        kind = Npy() if save is np.save else Npz()
        assert np.shares_memory(kind.read(memoryview(content)).members[0].values, content)


def test_claims_take_no_memory() -> None:
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
    with pytest.raises(Declined, match="only 0 follow"):
        Npy().read(content)
    claim = bytes((0, 0, 8, 4)) + struct.pack(">4I", *[(1 << 32) - 1] * 4)
    with pytest.raises(Declined, match="only 1;"):
        KINDS["a-ubyte"].read(claim + b"1")
    with pytest.raises(Declined, match="damaged, or a possible decompression bomb"):
        KINDS["a-ubyte.gz"].read(gzip.compress(claim + b"1"))


@pytest.mark.parametrize("members", [1, 9])
def test_bombs_are_refused_before_they_are_unpacked(
    members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One large member, or several, which share what a small file may become."""
    monkeypatch.setattr(growth, "FREE", 1 << 22)
    values, stream = np.zeros(9_000_000 // members, np.uint8), io.BytesIO()
    np.savez_compressed(stream, **{f"x{i}": values for i in range(members)})
    path = tmp_path / "x.npz"
    path.write_bytes(stream.getvalue())
    packed = gzip.compress(idx_bytes(np.zeros(9_000_000)))
    tracemalloc.start()
    for read in (lambda: Npz().read(stream.getvalue()), lambda: Gzip(Idx()).read(packed)):
        with pytest.raises(Declined, match="bomb"):
            read()
    with pytest.raises(UserError, match="bomb"):
        read_array(path)
    with pytest.raises(UserError, match="bomb"):
        evaluation_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_formats_are_told_by_name_and_head() -> None:
    x, stream = np.zeros((2, 3, 3), np.uint8), io.BytesIO()
    np.save(stream, x)
    raw = idx_bytes(x)
    for name, head, kind in (
        ("a.npy", stream.getvalue(), Npy),
        ("train-images-idx3-ubyte", raw, Idx),
        ("train-images.idx3-ubyte.gz", gzip.compress(raw), Gzip),
        ("a.npz", b"PK\3\4", Npz),
    ):
        found = recognised(FORMATS, name, head)
        assert found is not None and isinstance(found.format, kind) and FORMATS[found.number] is found.format
    for name, head in (("a.gz", gzip.compress(b"text")), ("a.idx", b"text"), ("a.zip", b"PK\3\4"), ("a", b"")):
        assert recognised(FORMATS, name, head) is None
    assert all(isinstance(kind, Writable) for kind in FORMATS)
