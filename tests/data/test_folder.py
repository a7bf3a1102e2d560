"""Folders of image files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base.errors import UserError
from vlb.data import load
from vlb.data.arranged import natural
from vlb.data.files import load_images
from vlb.data.pictures import read_picture


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png16(path: Path, colour: int) -> None:
    """A 2×1 PNG of 16 bits per channel; colour type 0 is grayscale, 2 is RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + bytes(2 * 2 * (3 if colour == 2 else 1))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


def test_grayscale_and_rgb_round_trip(tmp_path: Path) -> None:
    for kind, shape in (("gray", (4, 6)), ("rgb", (4, 6, 3))):
        stack = [pixels(i, *shape) for i in range(12)]
        for i, image in enumerate(stack):
            write(tmp_path / kind / f"{i:02}.png", image)
        (tmp_path / kind / "notes.txt").write_text("not an image")
        (tmp_path / kind / "._00.png").write_text("not one either")
        data = load("images", tmp_path / kind)
        assert (data.name, data.levels, data.schema.classes) == (kind, 256, None)
        assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 1, 1]
        order = np.random.default_rng(0).permutation(12)
        read = np.concatenate([data.test.x, data.validation.x, data.train.x])
        expected = np.stack(stack)[order]
        expected = expected[:, None] if kind == "gray" else expected.transpose(0, 3, 1, 2)
        assert np.array_equal(read, expected)
        assert load_images(tmp_path / kind).fingerprint == data.fingerprint


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "PNG"])
def test_lossless_formats(tmp_path: Path, suffix: str) -> None:
    shape = (5, 7, 3) if suffix != "pgm" else (5, 7)
    # few colours, for a GIF has a palette
    stack = [pixels(i, *shape) // 128 * 255 for i in range(3)]
    for i, image in enumerate(stack):
        extra = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(image).save(tmp_path / f"{i}.{suffix}", **extra)
    data = load_images(tmp_path)
    order = np.random.default_rng(0).permutation(3)
    for part, i in zip((data.test, data.validation, data.train), order, strict=True):
        expected = stack[i].transpose(2, 0, 1) if stack[i].ndim == 3 else stack[i][None]
        assert np.array_equal(part.x[0], expected)


def test_jpeg(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.jpg", np.full((8, 8, 3), 40 * i, np.uint8))
    assert load_images(tmp_path).shape == (3, 8, 8)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for i in range(9):
        write(tmp_path / "abc"[i % 3] / f"{i}.png", np.full((2, 2), i, np.uint8))
    data = load_images(tmp_path)
    assert data.schema.classes == 3
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.labels, part.x[:, 0, 0, 0] % 3)
    write(tmp_path / "stray.png", np.full((2, 2), 9, np.uint8))
    assert load_images(tmp_path).schema.classes is None


def test_folders_named_after_splits(tmp_path: Path) -> None:
    for split, first, n in (("train", 0, 6), ("val", 100, 2), ("test", 200, 3)):
        for i in range(n):
            write(tmp_path / split / "ab"[i % 2] / f"{i}.png", np.full((2, 2), first + i, np.uint8))
    data = load_images(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 2, 3]
    assert data.validation.x.min() == 100
    assert data.schema.classes == 2
    assert np.array_equal(data.test.labels, data.test.x[:, 0, 0, 0] % 2)


def test_only_a_train_folder_is_divided(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / "train" / f"{i}.png", np.full((2, 2), i, np.uint8))
    data = load_images(tmp_path)
    assert data.schema.classes is None
    assert sorted(np.concatenate([s.x[:, 0, 0, 0] for s in (data.train, data.validation, data.test)])) == [*range(10)]


def test_palette_one_bit_and_levels(tmp_path: Path) -> None:
    for i in range(3):
        rgb = Image.fromarray(np.full((2, 2, 3), (10 * i, 20, 30), np.uint8))
        (tmp_path / "p").mkdir(exist_ok=True)
        rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p" / f"{i}.png")
        write(tmp_path / "bits" / f"{i}.png", pixels(i, 3, 3) > 100)
        write(tmp_path / "few" / f"{i}.png", pixels(i, 3, 3) % 17)
    assert sorted(load_images(tmp_path / "p").train.x.shape) == [1, 2, 2, 3]
    bits = load_images(tmp_path / "bits")
    assert (bits.levels, bits.shape, int(bits.train.x.max())) == (2, (1, 3, 3), 1)
    assert load_images(tmp_path / "few", levels=17).levels == 17
    write(tmp_path / "few" / "3.png", np.full((3, 3), 17, np.uint8))
    with pytest.raises(UserError, match=r"3\.png.*holds 17, outside 0\.\.16"):
        load_images(tmp_path / "few", levels=17)


def test_mixed_sizes_name_both_files(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.png", pixels(i, 4, 6))
    write(tmp_path / "3.png", pixels(3, 5, 6))
    with pytest.raises(UserError, match=r"0\.png is 6×4 grayscale, .*3\.png is 6×5 grayscale"):
        load_images(tmp_path)
    write(tmp_path / "3.png", pixels(3, 4, 6, 3))
    with pytest.raises(UserError, match="6×4 RGB"):
        load_images(tmp_path)


def test_empty_folder_and_too_few(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        load_images(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match="pickles, which are never opened"):
        load_images(tmp_path)
    write(tmp_path / "a.png", pixels(0, 2, 2))
    with pytest.raises(UserError, match="1 example; at least 3"):
        load_images(tmp_path)
    with pytest.raises(UserError, match="is one image"):
        load_images(tmp_path / "a.png")


def folder_with(tmp_path: Path, name: str) -> Path:
    for i in range(3):
        write(tmp_path / f"{i}.png", pixels(i, 8, 8, 3))
    return tmp_path / name


def test_truncated_and_foreign_files(tmp_path: Path) -> None:
    bad = folder_with(tmp_path, "bad.png")
    whole = (tmp_path / "0.png").read_bytes()
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
    for content in (b"", whole[: len(whole) // 2], whole[:30], b"GIF89a", b"nonsense", script):
        bad.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.png is no readable image"):
            load_images(tmp_path)


@pytest.mark.parametrize("mode", ["LA", "I", "F", "CMYK", "palette", "frames"])
def test_unsuitable_modes_say_what_to_do(tmp_path: Path, mode: str) -> None:
    bad = folder_with(tmp_path, "bad.tiff" if mode in ("I", "F", "CMYK") else "bad.png")
    if mode == "palette":
        Image.new("P", (8, 8)).save(bad, transparency=0)
    elif mode == "frames":
        frames = [Image.fromarray(pixels(i, 8, 8)) for i in range(2)]
        frames[0].save(bad, save_all=True, append_images=frames[1:])
    else:
        Image.new(mode, (8, 8)).save(bad)
    with pytest.raises(UserError, match=r"bad\.\w+ (is transparent; |has ).*(convert|save each)"):
        load_images(tmp_path)


@pytest.mark.parametrize("colour", [0, 2])
def test_16_bit_png_is_not_cut(tmp_path: Path, colour: int) -> None:
    for i in range(3):
        png16(tmp_path / f"{i}.png", colour)
    data = load_images(tmp_path)
    assert data.levels == 1 << 16 and data.train.x.dtype == np.uint16
    assert np.array_equal(data.train.x[0], read_picture(tmp_path / "0.png").values)


def test_pictures_with_alpha_are_no_others(tmp_path: Path) -> None:
    bad = folder_with(tmp_path, "bad.png")
    Image.new("RGBA", (8, 8)).save(bad)
    with pytest.raises(UserError, match="RGBA"):
        load_images(tmp_path)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with(tmp_path, "")
    for limit in (40, 10):  # a warning of Pillow's, then an error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match="decompression bomb"):
            load_images(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    folder_with(tmp_path, "")
    (tmp_path / "0.png").chmod(0)
    with pytest.raises(UserError, match=r"0\.png"):
        load_images(tmp_path)


def test_classes_are_in_natural_order_and_keep_their_names(tmp_path: Path) -> None:
    """Folders 0 … 10 are the classes 0 … 10, not 0, 1, 10, 2, …"""
    for i in range(33):
        write(tmp_path / str(i % 11) / f"{i}.png", np.full((2, 2), i % 11, np.uint8))
    data = load_images(tmp_path)
    assert data.schema.labels == tuple(str(i) for i in range(11))
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.labels, part.x[:, 0, 0, 0])
    assert (data.schema.label("2"), data.schema.label("10")) == (2, 10)


@given(names=st.sets(st.text(st.sampled_from("ab09 12_-é"), min_size=1, max_size=6), min_size=2, max_size=8))
@settings(derandomize=True, deadline=None)
def test_natural_order_is_total_and_by_number(names: set[str]) -> None:
    ordered = sorted(names, key=natural)
    assert len({natural(name) for name in names}) == len(names)
    numbers = [int(name) for name in ordered if name.isascii() and name.isdecimal()]
    assert numbers == sorted(numbers)
    assert sorted(["b", "a10", "a2", "a", "10", "2"], key=natural) == ["2", "10", "a", "a2", "a10", "b"]
