"""Files of every kind come back as they were: values, names, order, shapes."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.coding.archives import LEVELS, SHAPE, header, independent_codec, pictures, write
from vlb.base.errors import UserError
from vlb.base.walk import gather
from vlb.coding import reading, sources, writing
from vlb.coding.container import ArchiveReader
from vlb.coding.restoring import restore
from vlb.coding.writing import Summary, write_archive


def there_and_back(folder: Path, *inputs: Path) -> tuple[Summary, Path]:
    summary = write(folder / "a.vlb", *inputs)
    out = folder / "out"
    assert restore(reading.contents(ArchiveReader(folder / "a.vlb"), independent_codec()), out, False) == []
    return summary, out


@pytest.mark.parametrize("values", [60, 1 << 20])
@pytest.mark.parametrize(
    "array",
    [
        pictures(0, 9),
        pictures(0, 9)[:, 0].astype(np.int64),
        pictures(0, 9).reshape(9, 30).astype(">u2"),
        np.asfortranarray(pictures(0, 9)[:, 0]),
        np.moveaxis(pictures(0, 9), 1, -1),
        pictures(0, 9).astype(np.float32),
        pictures(0, 9) + np.uint8(LEVELS),
        pictures(0, 9).astype(np.int16) - 3,
        np.zeros((0, 6, 5), np.uint8),
        np.array(3.5),
        np.arange(7),
        np.array(["ab", "c"]),
        np.arange(12, dtype=np.complex64).reshape(2, 2, 3),
        np.ones((3, 1, 6, 5), bool),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays(array: np.ndarray, values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK_VALUES", values)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "set.npz", first=array, second=array)
    _, out = there_and_back(tmp_path, tmp_path / "x.npy", tmp_path / "set.npz")
    with np.load(out / "set.npz") as restored:
        assert restored.files == ["first", "second"]
        for other in (np.load(out / "x.npy"), restored["first"], restored["second"]):
            assert other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array)


@pytest.mark.parametrize("name", ["12:30.npy", "a\\b.npy"])
def test_names_that_would_not_come_out_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / name, pictures(0, 2))
    with pytest.raises(UserError, match="rename"):
        write(tmp_path / "a.vlb", tmp_path / name)
    assert not (tmp_path / "a.vlb").exists()


def test_arrays_with_huge_elements_or_rows_are_kept_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_ROW", 1000)
    np.save(tmp_path / "long.npy", np.array(["x" * 300]))
    np.save(tmp_path / "wide.npy", np.zeros((2, 1001), np.uint8))
    np.savez(tmp_path / "set.npz", wide=np.zeros((2, 1001), np.uint8), x=pictures(0, 3))
    summary, out = there_and_back(tmp_path, *(tmp_path / f"{n}" for n in ("long.npy", "wide.npy", "set.npz")))
    assert len(summary.notes) == 3
    for name in ("long.npy", "wide.npy", "set.npz"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()


def test_text_of_many_digits_comes_back(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(["x" * 1_200_000]))
    _, out = there_and_back(tmp_path, tmp_path / "x.npy")
    assert np.load(out / "x.npy") == np.load(tmp_path / "x.npy")


@pytest.mark.parametrize("packed", [False, True])
def test_idx(packed: bool, tmp_path: Path) -> None:
    x = pictures(0, 20)[:, 0]
    content = struct.pack(">4B3I", 0, 0, 8, 3, *x.shape) + x.tobytes()
    file = tmp_path / ("t10k-images-idx3-ubyte" + (".gz" if packed else ""))
    file.write_bytes(gzip.compress(content) if packed else content)
    _, out = there_and_back(tmp_path, file)
    restored = (out / file.name).read_bytes()
    assert (gzip.decompress(restored) if packed else restored) == content


def test_folders_of_everything(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub" / "deep").mkdir(parents=True)
    images = pictures(1, 6)[:, 0]
    for i, suffix in enumerate(("png", "bmp", "pgm")):
        Image.fromarray(images[i]).save(folder / f"{i}.{suffix}")
        Image.fromarray(images[i + 3]).save(folder / "sub" / "deep" / f"ünï {i}.{suffix}")
    others = {
        "large.png": Image.fromarray(np.zeros((9, 9), np.uint8)),
        "colour.png": Image.fromarray(np.zeros((6, 5, 3), np.uint8)),
        "bright.png": Image.fromarray(np.full((6, 5), 200, np.uint8)),
        "clear.png": Image.fromarray(np.zeros((6, 5, 4), np.uint8)),
        "photo.jpg": Image.fromarray(images[0]),
        "palette.png": Image.fromarray(images[0]).convert("P"),
    }
    for name, image in others.items():
        image.save(folder / name)
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").touch()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "broken.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    summary, out = there_and_back(tmp_path, folder)
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    assert sorted(p.relative_to(out / "photos") for p in (out / "photos").rglob("*")) == before
    coded = 0
    for path in before:
        old, new = folder / path, out / "photos" / path
        if path.stem.split()[-1].isdigit():
            coded += 1
            with Image.open(old) as a, Image.open(new) as b:
                assert a.mode == b.mode and a.format == b.format and np.array_equal(np.asarray(a), np.asarray(b))
        elif old.is_file():
            assert old.read_bytes() == new.read_bytes()
    assert coded == 6 and len(summary.notes) == len(others) + 5


def test_large_files_that_are_stored_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PIECE", 1000)
    content = np.random.default_rng(0).bytes(3000)
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "b.bin").write_bytes(content[:2500])
    _, out = there_and_back(tmp_path, tmp_path / "a.bin", tmp_path / "b.bin")
    assert (out / "a.bin").read_bytes() == content and (out / "b.bin").read_bytes() == content[:2500]


@pytest.mark.parametrize("seed", range(3))
def test_no_larger_than_png(seed: int, tmp_path: Path) -> None:
    """Even where the model is wrong; the archive's own frame is about 100 bytes."""
    rng = np.random.default_rng(seed)
    picture = (np.add.outer(np.arange(6), np.arange(5)) + rng.integers(0, 2)).astype(np.uint8)
    for name, values in (("smooth", picture), ("blank", picture * 0 + 15)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        summary = write(tmp_path / f"{name}.vlb", tmp_path / f"{name}.png")
        assert summary.bytes_out <= (tmp_path / f"{name}.png").stat().st_size + 110


def peak(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as much input takes no more memory in either direction, but for the list of chunks."""
    monkeypatch.setattr(writing, "CHUNK_VALUES", 30_000)
    taken = []
    for count in (3_000, 12_000):
        np.save(tmp_path / f"{count}.npy", pictures(0, count))
        path, out = tmp_path / f"{count}.vlb", tmp_path / f"out{count}"
        encoding = peak(lambda: write(path, tmp_path / f"{count}.npy"))  # noqa: B023
        found = reading.contents(ArchiveReader(path), independent_codec())
        taken.append((encoding, peak(lambda: restore(found, out, False))))  # noqa: B023
        assert np.array_equal(np.load(out / f"{count}.npy"), pictures(0, count))
    assert taken[1][0] < 1.1 * taken[0][0] + 50_000 and taken[1][1] < 1.1 * taken[0][1] + 50_000


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "no space left"), MemoryError])
def test_what_is_interrupted_leaves_no_file(error: BaseException | type, tmp_path: Path) -> None:
    """In the middle of the second file, in either direction."""
    np.save(tmp_path / "x.npy", pictures(0, 40))

    def stopping(parts: Iterable[Any]) -> Iterator[Any]:
        yield next(iter(parts))
        raise error

    codec, found = independent_codec(), sources.items(gather([tmp_path / "x.npy"]).files, SHAPE, LEVELS)
    with pytest.raises((KeyboardInterrupt, UserError, MemoryError)):
        write_archive(tmp_path / "a.vlb", header(), codec, stopping(found), None, writing.Options())
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    write(tmp_path / "a.vlb", tmp_path / "x.npy")
    with pytest.raises((KeyboardInterrupt, UserError, MemoryError)):
        restore(stopping(reading.contents(ArchiveReader(tmp_path / "a.vlb"), codec)), tmp_path / "out", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vlb", "x.npy"]


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures(0, 3))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "sub" / "x.npy", pictures(0, 3))
    for inputs, message in (
        ([tmp_path / "absent"], "nothing at"),
        ([tmp_path / "nothing"], "nothing to compress"),
        ([tmp_path / "x.npy", tmp_path / "sub" / "x.npy"], "two inputs"),
    ):
        with pytest.raises(UserError, match=message):
            write(tmp_path / "a.vlb", *inputs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nothing", "sub", "x.npy"]
    write(tmp_path / "a.vlb", tmp_path / "x.npy")
    before = (tmp_path / "a.vlb").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "a.vlb", tmp_path / "x.npy")
    with pytest.raises(UserError, match="exists already"):
        restore(iter(()), tmp_path / "sub", False)
    assert (tmp_path / "a.vlb").read_bytes() == before


def test_salvage_keeps_what_is_whole_and_names_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK_VALUES", 300)
    x = pictures(0, 40)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "note.txt").write_text("a note")
    write(tmp_path / "a.vlb", tmp_path / "x.npy", tmp_path / "note.txt")
    archive = ArchiveReader(tmp_path / "a.vlb")
    damaged = bytearray((tmp_path / "a.vlb").read_bytes())
    sizes = archive._sizes
    damaged[archive._start + sizes[0] + 30] ^= 1
    (tmp_path / "b.vlb").write_bytes(damaged)
    found = lambda: reading.contents(ArchiveReader(tmp_path / "b.vlb"), independent_codec())  # noqa: E731
    with pytest.raises(UserError, match="chunk 1 is damaged"):
        restore(found(), tmp_path / "out", False)
    assert not (tmp_path / "out").exists()
    problems = restore(found(), tmp_path / "out", True)
    assert "chunk 1" in problems[0] and "rows 10 to 19" in problems[1] and len(problems) == 2
    restored = np.load(tmp_path / "out" / "x.npy")
    assert np.array_equal(restored[:10], x[:10]) and np.array_equal(restored[20:], x[20:])
    assert not restored[10:20].any()
    assert (tmp_path / "out" / "note.txt").read_text() == "a note"
