"""Pictures are taken as stored, in training and scoring, by one rule for each property whatever the kind of file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.data.formats.test_pictures import CHANNELS, png_of
from vlb.base.errors import UserError
from vlb.core.schema import levels_schema
from vlb.data.files import load_images
from vlb.data.formats.bmp import Bmp
from vlb.data.formats.png import Png
from vlb.data.given import load_examples
from vlb.data.pictures import read_picture, sketch_picture, table

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 9))
SEEDS = st.integers(0, 99)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def grey_png(x: np.ndarray, bits: int, *chunks: bytes) -> bytes:
    """x: (H, W) on the scale of its bits."""
    places = np.unpackbits(x[..., None].astype(np.uint8), axis=-1)[..., 8 - bits :].reshape(len(x), -1)
    rows = np.packbits(places, axis=1)
    stream = b"".join(b"\0" + row.tobytes() for row in rows)
    head = chunk(b"IHDR", struct.pack(">2I5B", x.shape[1], x.shape[0], bits, 0, 0, 0, 0))
    packed = chunk(b"IDAT", zlib.compress(stream))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + packed + chunk(b"IEND", b"")


def grey_tiff(x: np.ndarray, bits: int) -> bytes:
    """x: (H, W) on the scale of its bits; black is 0."""
    places = np.unpackbits(x[..., None].astype(np.uint8), axis=-1)[..., 8 - bits :].reshape(len(x), -1)
    rows = np.packbits(places, axis=1).tobytes()
    tags = ((256, x.shape[1]), (257, len(x)), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, len(x)))
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(rows)))]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(rows)) + rows + directory


def pnm(x: np.ndarray, most: int) -> bytes:
    raster = x.astype(">u2" if most > 255 else np.uint8).tobytes()
    return b"P%d # said\n%d %d\n%d\n" % (6 if x.ndim == 3 else 5, x.shape[1], x.shape[0], most) + raster


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder_of(folder: Path, suffix: str, *contents: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for i, content in enumerate(contents):
        (folder / f"{i}{suffix}").write_bytes(content)
    return folder


def values(size: tuple[int, ...], most: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most + 1, size)


def test_the_documentation_has_the_rules() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    start = "<!-- rules: written by vlb.data.pictures.table -->\n"
    assert text.split(start)[1].split("<!-- end -->")[0] == table()


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.sampled_from((1, 15, 100, 254, 255, 256, 999, 65535)), SIZES, st.booleans(), SEEDS)
def test_pnm_is_never_stretched(tmp_path_factory, most: int, size: tuple[int, int], colour: bool, seed: int) -> None:
    x = values((*size, 3) if colour else size, most, seed)
    folder = folder_of(tmp_path_factory.mktemp("pnm"), ".pnm", *[pnm(x, most)] * 3)
    data = load_images(folder)
    assert data.levels == most + 1
    assert np.array_equal(data.train.x[0], x.transpose(2, 0, 1) if colour else x[None])
    assert np.array_equal(load_examples(folder, data.schema).split.x[0], data.train.x[0])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.sampled_from((2, 4)), SIZES, SEEDS, st.sampled_from((grey_png, grey_tiff)))
def test_few_bits_are_never_stretched(tmp_path_factory, bits: int, size: tuple[int, int], seed: int, file) -> None:
    x = values(size, (1 << bits) - 1, seed)
    path = tmp_path_factory.mktemp("few") / "a.png"
    path.write_bytes(file(x, bits))
    assert np.array_equal(np.asarray(Image.open(path)), x * (255 // ((1 << bits) - 1)))  # as Pillow has it
    picture = read_picture(path)
    assert picture.levels == 1 << bits and np.array_equal(picture.values[0], x)


def test_levels_must_agree_unless_they_are_given(tmp_path: Path) -> None:
    x = values((2, 3), 15, 0)
    folder = folder_of(tmp_path / "a", ".pgm", pnm(x, 15), pnm(x, 15), pnm(x, 100))
    with pytest.raises(UserError, match=r"0\.pgm has 16 levels, .*2\.pgm has 101"):
        load_images(folder)
    with pytest.raises(UserError, match=r"0\.pgm has 16 levels, .*2\.pgm has 101"):
        load_examples(folder, levels_schema((1, 2, 3), 16))
    assert load_images(folder, levels=17).levels == 17


def test_pictures_of_other_levels_are_not_scored(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", ".pgm", pnm(values((2, 3), 15, 0), 15))
    with pytest.raises(UserError, match=r"16 levels, and the model is of 256"):
        load_examples(folder, levels_schema((1, 2, 3), 256))
    eight = folder_of(tmp_path / "b", ".pgm", pnm(values((2, 3), 15, 0), 255))
    assert load_examples(eight, levels_schema((1, 2, 3), 16)).split.x.max() < 16


def tiff16() -> bytes:
    """RGB of 16 bits, which Pillow would cut to 8 without a word."""
    pixels = struct.pack("<6H", *range(256, 262))
    tags = ((256, 2), (257, 1), (259, 1), (262, 2), (273, 8), (277, 3), (278, 1), (279, len(pixels)))
    entries = sorted([*(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)])
    entries.insert(2, struct.pack("<HHII", 258, 3, 3, 8 + len(pixels)))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    bits = struct.pack("<3H", 16, 16, 16)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels) + len(bits)) + pixels + bits + directory


def transparent(mode: str, kind: str, colour: object) -> bytes:
    return saved(Image.new(mode, (3, 2)), kind, transparency=colour)


REFUSED = {
    "grey with alpha": (saved(Image.new("LA", (3, 2)), "PNG"), "is transparent"),
    "tiff of 16 bits": (tiff16(), "more than 8 bits"),
    "several pgm": (pnm(values((2, 3), 255, 0), 255) * 2, "several frames"),
    "grey with a transparent one": (transparent("L", "PNG", 3), "is transparent"),
    "RGB with a transparent one": (transparent("RGB", "PNG", (1, 2, 3)), "is transparent"),
    "transparent palette": (transparent("P", "PNG", 0), "is transparent"),
    "4 bits with a transparent one": (grey_png(values((2, 3), 15, 0), 4, chunk(b"tRNS", b"\0\3")), "is transparent"),
    "CMYK": (saved(Image.new("CMYK", (3, 2)), "JPEG"), "has the mode CMYK"),
    "cut short": (pnm(values((2, 3), 255, 0), 255)[:-1], "no readable image"),
    "above its largest": (pnm(np.full((2, 3), 9), 9)[:-1] + b"\x0a", "no readable image"),
    "claims much": (b"P5\n999999999 999999999\n255\n\0", "no readable image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    content, why = REFUSED[name]
    folder = folder_of(tmp_path / "a", ".png", *[content] * 3)
    with pytest.raises(UserError, match=rf"0\.png .*{why}"):
        load_images(folder)
    with pytest.raises(UserError, match=rf"0\.png .*{why}"):
        load_examples(folder, levels_schema((1, 2, 3), 256))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_said_and_not_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 16, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    plain, turned = (saved(Image.fromarray(x), kind, **options, **more) for more in ({}, {"exif": exif}))
    folder = folder_of(tmp_path / "a", ".jpg", plain, turned, turned, turned)
    data = load_images(folder)
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.x[0], np.asarray(Image.open(io.BytesIO(plain))).transpose(2, 0, 1))
    said = [remark for remark in data.remarks if "orientation" in remark]
    assert len(said) == (orientation != 1)
    if said:
        assert "not applied" in said[0] and "3 of 4" in said[0]
        assert said[0] in load_examples(folder, data.schema).notes


def test_profiles_are_said_once(tmp_path: Path) -> None:
    x = Image.new("RGB", (3, 2))
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    x16 = grey_png(values((2, 3), 15, 0), 4, chunk(b"gAMA", struct.pack(">I", 45455)))
    folder = folder_of(tmp_path / "a", ".png", saved(x, "PNG"), *[saved(x, "PNG", icc_profile=icc)] * 2)
    data = load_images(folder)
    assert [remark for remark in data.remarks if "profile" in remark] == [
        "a colour profile, which is not applied: pixels are taken as stored (2 of 3, the first "
        + data.remarks[-1].rsplit(" ", 1)[1]
    ]
    (tmp_path / "gamma.png").write_bytes(x16)
    assert [rule.property.split(" ")[:3] for rule in read_picture(tmp_path / "gamma.png").said] == [
        ["a", "colour", "profile"]
    ]


def test_further_views_and_narrow_channels_are_said(tmp_path: Path) -> None:
    views = [Image.new("RGB", (3, 2), (i, i, i)) for i in (0, 90)]
    (tmp_path / "a.jpg").write_bytes(saved(views[0], "MPO", save_all=True, append_images=views[1:]))
    head = struct.pack("<2sIII", b"BM", 58, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(head + b"\xff\x7f\0\0")
    assert ["only the first" in rule.words for rule in read_picture(tmp_path / "a.jpg").said] == [True]
    assert ["5 or 6 bits" in rule.words for rule in read_picture(tmp_path / "a.bmp").said] == [True]


def test_what_is_ordinary_says_nothing(tmp_path: Path) -> None:
    for kind, suffix in (
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("BMP", "bmp"),
        ("GIF", "gif"),
        ("TIFF", "tif"),
        ("PPM", "ppm"),
    ):
        (tmp_path / f"a.{suffix}").write_bytes(saved(Image.new("RGB", (3, 2)), kind))
        picture = read_picture(tmp_path / f"a.{suffix}")
        assert (picture.said, picture.levels, picture.values.shape) == ((), 256, (3, 2, 3))


def bmp_kinds(x: np.ndarray, kind: str) -> bytes:
    """x: (H, W, 4) uint8."""
    image = Image.fromarray(x)
    if kind == "P":
        image = image.convert("RGB").quantize(7)
    return saved(image if kind == "RGBA" else image.convert(kind), "BMP")


PNG_KINDS = [(0, b) for b in (1, 2, 4, 8, 16)] + [
    (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16),
]  # fmt: skip
KINDS = st.sampled_from([*PNG_KINDS, "1", "L", "P", "RGB", "RGBA"])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(KINDS, st.booleans(), st.tuples(st.integers(1, 9), st.integers(1, 19)), SEEDS)
def test_training_and_archives_read_equal_values(tmp_path_factory, kind, interlaced: bool, size, seed: int) -> None:
    """Where a picture is taken, its pixels are those that its format gives, by which archives are written."""
    palette = np.random.default_rng(seed).integers(0, 256, (256, 3)).astype(np.uint8)
    if isinstance(kind, tuple):
        colour, bits = kind
        chunks = [chunk(b"PLTE", palette[: 1 << bits].tobytes())] if colour == 3 else []
        x = values((*size, CHANNELS[colour]), (1 << bits) - 1, seed)
        content, format_ = png_of(x, colour, bits, interlaced, seed, *chunks), Png()
    else:
        content, format_ = bmp_kinds(values((*size, 4), 255, seed).astype(np.uint8), kind), Bmp()
        palette = np.frombuffer(content[54:][: 4 * 256], np.uint8).reshape(-1, 4)[:, 2::-1] if kind == "P" else palette
    path = tmp_path_factory.mktemp("both") / "a"
    path.write_bytes(content)
    found = format_.read(content).members[0].values
    if found.shape[2:] == (2,):
        with pytest.raises(UserError, match="transparent"):
            read_picture(path)
        return
    picture, sketch = read_picture(path), sketch_picture(path)
    assert (picture.values.shape, picture.levels, picture.said) == (sketch.shape, sketch.levels, sketch.said)
    assert any("alpha" in rule.words for rule in picture.said) == (picture.values.shape[0] == 4)
    picture = picture.values.transpose(1, 2, 0)
    if kind == "P" or (isinstance(kind, tuple) and kind[0] == 3):
        found = palette[found]
    assert np.array_equal(picture, found if found.ndim == 3 else found[..., None])
