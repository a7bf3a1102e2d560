"""Pictures of every style come back, to the byte or but for what is their encoder's choice; damage is declined."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base import growth
from vlb.data.formats.base import Declined, File, Member
from vlb.data.formats.bmp import Bmp
from vlb.data.formats.png import MAGIC, Png
from vlb.data.formats.pnm import Pnm

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 19))
SEEDS = st.integers(0, 999)
MUTATIONS = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=2)
TAILS = st.sampled_from((b"", b"", b"\n", b"behind the end", b"P5\n1 1\n255\n\x07"))


def values(mode: str, size: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if mode == "1":
        return rng.random(size) > 0.5
    if mode == "I;16":
        return rng.integers(0, 1 << 16, size, dtype=np.uint16)
    channels = {"L": (), "P": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    smooth = np.add.outer(np.arange(size[0]), np.arange(size[1])).reshape(*size, *(1 for _ in channels))
    return ((smooth * 3 + rng.integers(0, 1 + seed % 50, (*size, *channels))) % 256).astype(np.uint8)


def saved(x: np.ndarray, kind: str, palette: bool = False, **options: object) -> bytes:
    image, buffer = Image.fromarray(x), io.BytesIO()
    (image.convert("P") if palette else image).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(content: bytes, before: list[bytes], after: list[bytes]) -> bytes:
    """A PNG file with more chunks behind its head and before its end."""
    return content[:33] + b"".join(before) + content[33:-12] + b"".join(after) + content[-12:]


ANCILLARY = st.lists(
    st.sampled_from(
        [
            chunk(b"tEXt", b"Comment\0said"),
            chunk(b"gAMA", struct.pack(">I", 45455)),
            chunk(b"pHYs", struct.pack(">IIB", 3780, 3780, 1)),
            chunk(b"tIME", bytes((7, 231, 1, 2, 3, 4, 5))),
            chunk(b"prVt", b"anything at all"),
            chunk(b"tRNS", b"\0\7"),
            chunk(b"eXIf", b"II*\0\0\0\0\0"),
        ]
    ),
    max_size=3,
)


def mutated(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    found = bytearray(content)
    for at, value in changes:
        found[at % len(found)] = value
    return bytes(found)


def returns(format_: Png | Pnm | Bmp, content: bytes) -> File | None:
    """What the format reads; None where it declines. Whatever it reads comes back."""
    try:
        file = format_.read(content)
    except Declined:
        return None
    try:
        made = format_.write(file)
    except Declined:
        return file
    assert made == content or (format_.freedom is not None and format_.same(made, content))
    again = format_.read(made)
    assert again.rest == file.rest and np.array_equal(again.members[0].values, file.members[0].values)
    return file


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.sampled_from(("1", "L", "P", "LA", "RGB", "RGBA", "I;16")), SIZES, SEEDS, ANCILLARY, ANCILLARY, TAILS)
def test_png(mode: str, size: tuple[int, int], seed: int, before: list[bytes], after: list[bytes], tail: bytes) -> None:
    """Pixels as Pillow reads them; every chunk and what is behind the last; nothing beside where there is nothing."""
    x = values(mode, size, seed)
    plain = saved(x, "PNG", mode == "P", compress_level=seed % 10)
    content = with_chunks(plain, before, after) + tail
    file = returns(Png(), content)
    assert file is not None
    assert np.array_equal(file.members[0].values, np.asarray(Image.open(io.BytesIO(plain))))
    assert Png().write(file) == Png().write(File(file.members, file.rest))
    made = Png().write(file)
    for part in (*before, *after, tail):
        assert part in made
    if not (before or after or tail or mode == "P"):
        assert file.rest == b""
    other = with_chunks(plain, [*before, chunk(b"tEXt", b"a\0b")], after) + tail
    assert not Png().same(other, content)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(("1", "L", "P", "RGB", "I;16")), SIZES, SEEDS, ANCILLARY, MUTATIONS, st.booleans())
def test_mutated_png(mode, size, seed, before, changes, mend) -> None:
    """With right checksums, too, so that the change reaches what is behind them."""
    content = mutated(with_chunks(saved(values(mode, size, seed), "PNG", mode == "P"), before, []), changes)
    returns(Png(), mended(content) if mend else content)


def mended(content: bytes) -> bytes:
    """With the checksum of every chunk made right."""
    found, at = bytearray(content), 8
    while at + 12 <= len(found):
        (length,) = struct.unpack_from(">I", found, at)
        if at + 12 + length > len(found):
            break
        found[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(found[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(found)


@pytest.mark.parametrize(
    "stream", [b"\0\1\2\0\3\4" + b"more", b"\0\1\2\0\3", b"\0\1\2\0\3\4"], ids=["more", "less", "hidden"]
)
def test_nothing_hides_in_the_pixels_of_a_png(stream: bytes) -> None:
    packed = zlib.compress(stream) + (b"hidden" if len(stream) == 6 else b"")
    head = chunk(b"IHDR", struct.pack(">2I5B", 2, 2, 8, 0, 0, 0, 0))
    content = MAGIC + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    with pytest.raises(Declined, match="more or less"):
        Png().read(content)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    head = chunk(b"IHDR", struct.pack(">2I5B", 1 << 20, 1 << 20, 8, 0, 0, 0, 0))
    with pytest.raises(Declined, match="bomb"):
        Png().read(MAGIC + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_pixels_that_weigh_next_to_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FREE", 1 << 20)
    head = chunk(b"IHDR", struct.pack(">2I5B", 4000, 4000, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(4001 * 4000)))
    with pytest.raises(Declined, match="bomb"):
        Png().read(MAGIC + head + rows + chunk(b"IEND", b""))


COLOURS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
KINDS = [(colour, bits) for colour, several in COLOURS.items() for bits in several]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def filtered_row(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    """A row as PNG's specification says it, byte by byte."""
    found = bytearray([kind])
    for i, value in enumerate(row):
        left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
        up = above[i]
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda near: abs(guess - near))
        found.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
    return bytes(found)


def png_of(x: np.ndarray, colour: int, bits: int, interlaced: bool, seed: int, *chunks: bytes) -> bytes:
    """x: (H, W, C) whole numbers; each row has a filter of its own."""
    rng, rows = np.random.default_rng(seed), b""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for left, top, right, down in passes if interlaced else ((0, 0, 1, 1),):
        part, above = x[top::down, left::right], b""
        for row in part if part.shape[1] else ():
            text = "".join(format(int(value), f"0{bits}b") for value in row.reshape(-1))
            text += "0" * (-len(text) % 8)
            packed = int(text, 2).to_bytes(len(text) // 8, "big")
            kind = int(rng.integers(5))
            rows += filtered_row(kind, packed, above or bytes(len(packed)), max(1, bits * x.shape[2] // 8))
            above = packed
    head = chunk(b"IHDR", struct.pack(">2I5B", x.shape[1], x.shape[0], bits, colour, 0, 0, interlaced))
    return MAGIC + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def by_pillow(content: bytes) -> np.ndarray | None:
    """The pixels; None where a chunk that says nothing of them is more than Pillow bears."""
    try:
        return np.asarray(Image.open(io.BytesIO(content)))
    except ValueError:
        return None


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(KINDS), st.booleans(), SIZES, SEEDS, ANCILLARY, TAILS, MUTATIONS)
def test_png_of_every_kind(kind, interlaced, size, seed, before, tail, changes) -> None:
    """Every depth, colour type and order of rows, by every filter: exact, and back; also where it is damaged."""
    colour, bits = kind
    x = np.random.default_rng(seed).integers(0, 1 << bits, (*size, CHANNELS[colour]))
    palette = [chunk(b"PLTE", bytes(k % 256 for k in range(3 << bits)))] if colour == 3 else []
    content = png_of(x, colour, bits, interlaced, seed, *palette, *before) + tail
    file = returns(Png(), content)
    assert file is not None
    found = file.members[0].values
    assert np.array_equal(found, x if x.shape[2] > 1 else x[..., 0])
    assert found.dtype == (bool if kind == (0, 1) else np.uint8 if bits <= 8 else np.uint16)
    made = Png().write(file)
    assert Png().same(made, content) and made.endswith(tail)
    if bits < 16 or colour == 0:  # what Pillow reads without a loss
        one, other = (by_pillow(part) for part in (content, made))
        assert (one is None) == (other is None) and (one is None or np.array_equal(one, other))
    other = x.copy()
    other[-1, -1, -1] ^= 1
    assert not Png().same(png_of(other, colour, bits, interlaced, seed, *palette, *before) + tail, content)
    returns(Png(), mended(mutated(content, changes)))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from(("1", "L", "RGB")),
    st.sampled_from((1, 15, 100, 255, 256, 1000, 65535)),
    st.sampled_from((b"\n", b" ", b"\n# a comment of 255\n", b"\t\t")),
    SIZES,
    SEEDS,
    TAILS,
    MUTATIONS,
)
def test_pnm(mode, most, space, size, seed, tail, changes) -> None:
    """Samples as stored for every largest value, whatever stands in comments; a second picture is kept."""
    x = values(mode, size, seed)
    if mode != "1":
        x = (x.astype(np.int64) * 257 % (most + 1)).astype(np.uint8 if most < 256 else ">u2")
    kind = {"1": 4, "L": 5, "RGB": 6}[mode]
    head = b"P%d" % kind + space + b"%d" % size[1] + space + b"%d" % size[0]
    raster = np.packbits(~x, axis=1).tobytes() if mode == "1" else x.tobytes()
    content = head + (b"\n" if mode == "1" else space + b"%d\n" % most) + raster + tail
    file = returns(Pnm(), content)
    assert file is not None and np.array_equal(file.members[0].values, x) and Pnm().write(file) == content
    assert Pnm().most(file) == (1 if mode == "1" else most)
    returns(Pnm(), mutated(content, changes))


SPACES = st.lists(st.sampled_from((" ", "\n", "  ", "\r\n", "\t", " # 7 said\n", "\n\n")), min_size=1, max_size=4)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from((1, 2, 3)), st.sampled_from((1, 15, 255, 1000)), SIZES, SEEDS, SPACES, SPACES, MUTATIONS)
def test_plain_pnm(kind: int, most: int, size: tuple[int, int], seed: int, inside, around, changes) -> None:
    """As stored, whatever stands between the values; and to the byte."""
    rng = np.random.default_rng(seed)
    shape = (*size, 3) if kind == 3 else size
    x = rng.integers(0, 2 if kind == 1 else most + 1, shape)
    gaps = ["", *inside] if kind == 1 else inside
    words = "".join(f"{value}{gaps[int(rng.integers(len(gaps)))]}" for value in x.reshape(-1))
    head = f"P{kind}{around[0]}{size[1]} {size[0]}" + ("" if kind == 1 else f"{around[-1]}{most}")
    content = (head + around[-1] + words).encode() + b"\n"
    file = returns(Pnm(), content)
    assert file is not None and np.array_equal(file.members[0].values, x == 0 if kind == 1 else x)
    assert Pnm().write(file) == content
    returns(Pnm(), mutated(content, changes))


def test_ordinary_plain_pnm_says_little() -> None:
    rows = b"\n".join(b" ".join(b"%d" % (7 * i * j % 256) for i in range(28)) for j in range(28))
    file = returns(Pnm(), b"P2\n28 28\n255\n" + rows + b"\n")
    assert file is not None and len(zlib.compress(file.rest)) < 80


def test_odd_numbers_in_plain_pnm_are_read_and_not_written() -> None:
    file = Pnm().read(b"P2\n2 1\n255\n007 1\n")
    assert file.members[0].values.tolist() == [[7, 1]]
    with pytest.raises(Declined, match="zeros before"):
        Pnm().write(file)


def test_a_rest_of_another_plain_picture_is_declined() -> None:
    file = Pnm().read(b"P2\n2 2\n255\n1 2\n3 4\n")
    for x in (np.zeros((2, 3), np.uint8), np.zeros((1, 2), np.uint8)):
        with pytest.raises(Declined, match="rest of a"):
            Pnm().write(File((Member("", x),), file.rest))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.sampled_from(("1", "L", "RGB")), SIZES, SEEDS, TAILS, MUTATIONS, st.booleans())
def test_bmp(mode, size, seed, tail, changes, upright) -> None:
    x = values(mode, size, seed)
    content = saved(x, "BMP")
    if upright:  # as few programs write it: the first row first
        start = struct.unpack_from("<I", content, 10)[0]
        rows = np.frombuffer(content, np.uint8, offset=start).reshape(size[0], -1)[::-1]
        content = content[:22] + struct.pack("<i", -size[0]) + content[26:start] + rows.tobytes()
    file = returns(Bmp(), content + tail)
    assert file is not None and np.array_equal(file.members[0].values, x)
    assert Bmp().write(file) == content + tail
    assert file.rest == b"" or upright or tail
    returns(Bmp(), mutated(content, changes))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(SIZES, SEEDS, st.booleans(), TAILS, MUTATIONS)
def test_bmp_of_32_bits(size: tuple[int, int], seed: int, alike: bool, tail: bytes, changes) -> None:
    """Colours as Pillow has them; the fourth bytes come back, whether they are all alike or not."""
    x = values("RGBA", size, seed)
    x[..., 3] = 255 if alike else x[..., 3]
    content = saved(x, "BMP") + tail
    assert struct.unpack_from("<H", content, 28)[0] == 32
    file = returns(Bmp(), content)
    assert file is not None and np.array_equal(file.members[0].values, x[..., :3])
    assert np.array_equal(file.members[0].values, np.asarray(Image.open(io.BytesIO(content))))
    assert Bmp().write(file) == content
    assert not alike or len(file.rest) < 54 + 40 + len(tail)
    returns(Bmp(), mutated(content, changes))


def test_rows_are_filtered_strip_by_strip() -> None:
    x = values("RGB", (150, 3), 7)
    assert np.array_equal(Png().read(Png().write(File((Member("", x),), b""))).members[0].values, x)


@pytest.mark.parametrize("bits", [4, 16])
def test_other_bmps_are_declined(bits: int) -> None:
    head = struct.pack("<2sIII", b"BM", 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, bits, 0, 4, 0, 0, 0, 0)
    with pytest.raises(Declined, match=f"{bits} bits"):
        Bmp().read(head + b"\1\2\3\4")


@pytest.mark.parametrize("format_", [Png(), Pnm(), Bmp()], ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("dtype", ["u1", ">u2", "f4", "i8", "?", "u2"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3), (2, 3, 5), (4,), (0, 3)])
def test_what_no_picture_holds_is_declined(format_, dtype: str, shape: tuple[int, ...]) -> None:
    x = np.ones(shape, dtype)
    try:
        made = format_.write(File((Member("", x),), b""))
    except Declined:
        return
    assert np.array_equal(format_.read(made).members[0].values, x)


@pytest.mark.parametrize(
    ("format_", "content"),
    [
        (Pnm(), b"P5\n# said\n4 4\n255\n" + bytes(16)),
        (Bmp(), saved(values("RGB", (4, 4), 0), "BMP", dpi=(72, 72))),
        (Bmp(), saved(values("L", (4, 4), 0), "BMP", dpi=(72, 72))),
    ],
)
def test_a_head_of_another_picture_is_declined(format_: Pnm | Bmp, content: bytes) -> None:
    """Values of another size with a rest that says this one would not come back."""
    file = format_.read(content)
    x = file.members[0].values
    with pytest.raises(Declined, match="another picture"):
        format_.write(File((Member("", np.concatenate((x, x))),), file.rest))
