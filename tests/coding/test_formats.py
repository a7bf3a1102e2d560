"""The library's own formats in archives: files of every kind come back, and small ones stay small."""

import gzip
import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.coding.archives import allowed, pictures, read, write
from tests.data.formats.test_pictures import png_of
from vlb.coding.files import known
from vlb.coding.restoring import restore
from vlb.core.schema import Categories
from vlb.data import Column
from vlb.data.formats import FORMATS

COLUMNS = tuple(Column(f"c{j}", Categories(tuple(map(str, range(j + 2))))) for j in range(4))


def picture(seed: int, suffix: str, mode: str = "L", text: str = "", **options: object) -> bytes:
    x = pictures(seed, 1)[0, 0]
    if mode == "I;16":
        image = Image.fromarray(x.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(x if mode != "1" else x > 7).convert(mode)
    stream, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if text:
        info.add_text("Comment", text)
    extra = {"pnginfo": info} if suffix == "png" and text else {}
    image.save(stream, {"pgm": "ppm", "pbm": "ppm"}.get(suffix, suffix), **extra, **options)
    return stream.getvalue()


def plain(seed: int) -> bytes:
    x = pictures(seed, 1)[0, 0]
    return b"P2\n%d %d\n15\n" % x.shape[::-1] + b"\n".join(b" ".join(b"%d" % v for v in row) for row in x) + b"\n"


def arrays(seed: int, suffix: str, **others: np.ndarray) -> bytes:
    stream = io.BytesIO()
    if suffix == "npy":
        np.save(stream, pictures(seed, 5))
    else:
        np.savez(stream, x=pictures(seed, 5), **others)  # type: ignore[arg-type]
    return stream.getvalue()


def idx(seed: int, packed: bool) -> bytes:
    x = pictures(seed, 5)[:, 0]
    content = struct.pack(">4B3I", 0, 0, 8, 3, *x.shape) + x.tobytes()
    return gzip.compress(content, 6, mtime=seed) if packed else content


def table(seed: int, newline: str = "\n", head: str = "c0,c1,c2,c3") -> bytes:
    rng = np.random.default_rng(seed)
    rows = [",".join(str(rng.integers(0, j + 2)) for j in range(4)) for _ in range(60)]
    return (newline.join([head, *rows]) + newline).encode()


MADE: dict[str, Callable[[int], bytes]] = {
    "grey.png": lambda seed: picture(seed, "png"),
    "said.png": lambda seed: picture(seed, "png", text="a comment"),
    "fast.png": lambda seed: picture(seed, "png", compress_level=1),
    "deep.png": lambda seed: picture(seed, "png", "I;16"),
    "bits.png": lambda seed: picture(seed, "png", "1"),
    "colour.png": lambda seed: picture(seed, "png", "RGB"),
    "clear.png": lambda seed: picture(seed, "png", "LA"),
    "palette.png": lambda seed: picture(seed, "png", "P"),
    "a.bmp": lambda seed: picture(seed, "bmp"),
    "a.pgm": lambda seed: picture(seed, "pgm"),
    "a.pbm": lambda seed: picture(seed, "pbm", "1"),
    "deep-colour.png": lambda seed: png_of(pictures(seed, 3)[:, 0].transpose(1, 2, 0), 2, 16, False, seed),
    "interlaced.png": lambda seed: png_of(pictures(seed, 1)[0, 0, ..., None], 0, 8, True, seed),
    "four.png": lambda seed: png_of(pictures(seed, 1)[0, 0, ..., None], 0, 4, seed % 2 == 1, seed),
    "a.plain.pgm": lambda seed: plain(seed),
    "wide.bmp": lambda seed: picture(seed, "bmp", "RGBA"),
    "a.jpg": lambda seed: picture(seed, "jpeg"),
    "a.npy": lambda seed: arrays(seed, "npy"),
    "a.npz": lambda seed: arrays(seed, "npz"),
    "more.npz": lambda seed: arrays(seed, "npz", y=np.linspace(0, 1, 7), z=np.arange(5)),
    "a-images-idx3-ubyte": lambda seed: idx(seed, False),
    "a-images-idx3-ubyte.gz": lambda seed: idx(seed, True),
    "a.csv": lambda seed: table(seed),
    "b.csv": lambda seed: table(seed, "\r\n"),
    "c.csv": lambda seed: table(seed, head='c0,"c,1",c2,c3'),
}


def returned(folder: Path, files: dict[str, bytes], columns: tuple[Column, ...] | None) -> dict[str, str]:
    """Compress and restore; what was said of each file that was stored as it is."""
    (folder / "in").mkdir()
    for name, content in files.items():
        (folder / "in" / name).write_bytes(content)
    summary = write(folder / "a.vlb", folder / "in", columns=columns, formats=FORMATS)
    assert restore(read(folder / "a.vlb", columns), folder / "out", FORMATS, False, allowed(folder / "a.vlb")) == []
    free = {name for names in summary.reencoded.values() for name in names}
    for name, content in files.items():
        again = (folder / "out" / "in" / name).read_bytes()
        assert (again != content) == (f"in/{name}" in free), name
        assert again == content or known(FORMATS, name, content)[1].same(again, content), name
    return {note.split(":")[0].removeprefix("in/"): note for note in summary.notes}


@pytest.mark.parametrize("columns", [None, COLUMNS])
def test_files_of_every_format(columns: tuple[Column, ...] | None, tmp_path: Path) -> None:
    said = returned(tmp_path, {name: make(0) for name, make in MADE.items()}, columns)
    coded = {"grey.png", "said.png", "fast.png", "bits.png", "a.pgm", "a.pbm", "a.npy", "a.npz", "more.npz"}
    coded |= {"a-images-idx3-ubyte", "a-images-idx3-ubyte.gz", "interlaced.png", "four.png", "a.plain.pgm"}
    for name in ("a.csv", "b.csv", "c.csv") if columns else coded:
        assert name not in said, said[name]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(MADE)), st.integers(0, 3)), min_size=1, max_size=4, unique=True),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    st.sampled_from((b"", b"", b"\n", b"more")),
    st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_mutated_files_come_back(
    chosen: list[tuple[str, int]], mutations: list[tuple[int, int, int]], tail: bytes, of_tables: bool
) -> None:
    files = {f"{seed}{name}": bytearray(MADE[name](seed)) for name, seed in chosen}
    contents = list(files.values())
    for which, at, value in mutations:
        content = contents[which % len(contents)]
        content[at % len(content)] = value
    contents[-1] += tail
    with tempfile.TemporaryDirectory() as folder:
        made = {name: bytes(content) for name, content in files.items()}
        returned(Path(folder), made, COLUMNS if of_tables else None)


@pytest.mark.parametrize("seed", range(3))
def test_no_larger_than_png(seed: int, tmp_path: Path) -> None:
    """Even where the model is wrong; the archive's own frame is about 120 bytes."""
    rng = np.random.default_rng(seed)
    values = (np.add.outer(np.arange(6), np.arange(5)) + rng.integers(0, 2)).astype(np.uint8)
    for name, x in (("smooth", values), ("blank", values * 0 + 15)):
        Image.fromarray(x).save(tmp_path / f"{name}.png")
        summary = write(tmp_path / f"{name}.vlb", tmp_path / f"{name}.png", formats=FORMATS)
        assert summary.bytes_out <= (tmp_path / f"{name}.png").stat().st_size + 120


def test_forty_small_pictures_hardly_cost_more_than_their_values(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(40):
        (tmp_path / "in" / f"{i}.png").write_bytes(picture(i, "png"))
    x = np.concatenate([pictures(i, 1) for i in sorted(range(40), key=lambda i: f"{i}.png")])
    np.save(tmp_path / "x.npy", x)
    several = write(tmp_path / "a.vlb", tmp_path / "in", formats=FORMATS)
    one = write(tmp_path / "b.vlb", tmp_path / "x.npy", formats=FORMATS)
    assert several.examples == 40 and several.bytes_out < one.bytes_out + 130
