"""Files of every kind come back as they were: values, names, order, shapes."""

import os
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coding.archives import LEVELS, SHAPE, allowed, header, independent_codec, pictures, read, write
from tests.coding.toys import FORMATS, Deflated, Npy, Several
from vlb.base.errors import UserError
from vlb.base.walk import gather
from vlb.coding import sources, writing
from vlb.coding.container import ArchiveReader
from vlb.coding.restoring import restore
from vlb.coding.summary import Summary
from vlb.coding.writing import write_archive
from vlb.core.schema import Categories
from vlb.data import Column
from vlb.data.formats.base import File, Member


def there_and_back(folder: Path, *inputs: Path) -> tuple[Summary, Path]:
    summary = write(folder / "a.vlb", *inputs)
    out = folder / "out"
    assert restore(read(folder / "a.vlb"), out, FORMATS, False, allowed(folder / "a.vlb")) == []
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
    file = File((Member("first", array), Member("second", array)), b"the rest")
    (tmp_path / "set.several").write_bytes(Several().write(file))
    _, out = there_and_back(tmp_path, tmp_path / "x.npy", tmp_path / "set.several")
    for name in ("x.npy", "set.several"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["12:30.npy", "a\\b.npy"])
def test_names_that_would_not_come_out_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / name, pictures(0, 2))
    with pytest.raises(UserError, match="rename"):
        write(tmp_path / "a.vlb", tmp_path / name)
    assert not (tmp_path / "a.vlb").exists()


def test_much_beside_the_model_is_kept_as_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BESIDE", 1000)
    members = (Member("x", pictures(0, 3)), Member("wide", np.zeros(2000)))
    (tmp_path / "set.several").write_bytes(Several().write(File(members, b"")))
    summary, out = there_and_back(tmp_path, tmp_path / "set.several")
    assert summary.examples == 0 and "not for the model" in summary.notes[0]
    assert (out / "set.several").read_bytes() == (tmp_path / "set.several").read_bytes()


def test_small_files_share_chunks_and_large_ones_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files stored as they are between them, and names that are no UTF-8."""
    monkeypatch.setattr(writing, "CHUNK_VALUES", 300)
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(25):
        content = bytes(SHAPE[1:]) + pictures(i, 1).tobytes()
        (folder / f"{i}.plane").write_bytes(zlib.compress(content, i % 10))
    np.save(folder / "15.npy", pictures(0, 45))
    (folder / "20.txt").write_text("as it is")
    (folder / os.fsdecode(b"\xff.npy")).write_bytes((folder / "15.npy").read_bytes())
    summary, out = there_and_back(tmp_path, folder)
    assert summary.examples == 115 and len(list(ArchiveReader(tmp_path / "a.vlb").chunks())) == 13
    assert len(summary.reencoded["the deflate stream"]) > 10
    for path in folder.iterdir():
        one, other = path.read_bytes(), (out / "in" / path.name).read_bytes()
        assert one == other or (path.suffix == ".plane" and Deflated().same(one, other))
    assert sum(1 for _ in (out / "in").iterdir()) == 28


def test_what_a_format_does_not_give_back_is_stored_as_it_is(tmp_path: Path) -> None:
    x = pictures(0, 9)
    np.save(tmp_path / "old.npy", x)
    content = (tmp_path / "old.npy").read_bytes()
    (tmp_path / "old.npy").write_bytes(content.replace(b"{'descr'", b"{ 'descr'").replace(b"  \n", b" \n"))
    assert np.array_equal(np.load(tmp_path / "old.npy"), x)
    summary, out = there_and_back(tmp_path, tmp_path / "old.npy")
    assert "would not give every byte" in summary.notes[0] and summary.examples == 0
    assert (out / "old.npy").read_bytes() == (tmp_path / "old.npy").read_bytes()


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_few_values_that_are_no_levels_are_exceptions(share: float, tmp_path: Path) -> None:
    x = pictures(0, 100).astype(np.int16)
    places = np.random.default_rng(0).random(x.shape) < share
    x[places] = np.random.default_rng(1).choice([-3, 99, 32767], places.sum())
    np.save(tmp_path / "x.npy", x)
    summary, out = there_and_back(tmp_path, tmp_path / "x.npy")
    assert (out / "x.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()
    assert summary.examples == (100 if share < 0.02 else 0)


def test_another_writer_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that gives other bytes; but not another encoder's streams where a format leaves them free."""
    np.save(tmp_path / "x.npy", pictures(0, 9))
    (tmp_path / "y.plane").write_bytes(zlib.compress(bytes(SHAPE[1:]) + pictures(0, 1).tobytes()))
    write(tmp_path / "a.vlb", tmp_path / "x.npy")
    write(tmp_path / "b.vlb", tmp_path / "y.plane")
    plane, npy = Deflated.write, Npy.write
    monkeypatch.setattr(Deflated, "write", lambda self, file: zlib.compress(zlib.decompress(plane(self, file)), 0))
    assert restore(read(tmp_path / "b.vlb"), tmp_path / "out", FORMATS, False, allowed(tmp_path / "b.vlb")) == []
    monkeypatch.setattr(Npy, "write", lambda self, file: npy(self, file) + b" ")
    with pytest.raises(UserError, match=r"x\.npy: this is not what was compressed"):
        restore(read(tmp_path / "a.vlb"), tmp_path / "other", FORMATS, False, allowed(tmp_path / "a.vlb"))
    assert len(restore(read(tmp_path / "a.vlb"), tmp_path / "other", FORMATS, True, allowed(tmp_path / "a.vlb"))) == 1


def test_large_files_that_are_stored_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PIECE", 1000)
    content = np.random.default_rng(0).bytes(3000)
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "b.bin").write_bytes(content[:2500])
    _, out = there_and_back(tmp_path, tmp_path / "a.bin", tmp_path / "b.bin")
    assert (out / "a.bin").read_bytes() == content and (out / "b.bin").read_bytes() == content[:2500]


def peak(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files take hardly more than one in either direction, and one a few times its size beside a chunk's."""
    monkeypatch.setattr(writing, "CHUNK_VALUES", 30_000)
    taken = []
    for count in (1, 4):
        folder = tmp_path / f"in{count}"
        folder.mkdir()
        for i in range(count):
            np.save(folder / f"{i}.npy", pictures(i, 12_000))
        path, out = tmp_path / f"{count}.vlb", tmp_path / f"out{count}"
        encoding = peak(lambda: write(path, folder))  # noqa: B023
        taken.append((encoding, peak(lambda: restore(read(path), out, FORMATS, False, allowed(path)))))  # noqa: B023
        assert (out / folder.name / "0.npy").read_bytes() == (folder / "0.npy").read_bytes()
    size = pictures(0, 12_000).nbytes
    assert taken[1][0] < 1.3 * taken[0][0] + size and taken[1][1] < 1.3 * taken[0][1] + size
    assert taken[0][1] < 8 * size + 30_000 * LEVELS * 8  # of the marginals of a chunk


def test_memory_for_files_as_they_are_is_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PIECE", 1 << 16)
    taken = []
    for size in (1 << 17, 1 << 21):
        (tmp_path / f"{size}.bin").write_bytes(np.random.default_rng(0).bytes(size))
        path, out = tmp_path / f"{size}.vlb", tmp_path / f"out{size}"
        encoding = peak(lambda: write(path, tmp_path / f"{size}.bin"))  # noqa: B023
        taken.append((encoding, peak(lambda: restore(read(path), out, FORMATS, False, allowed(path)))))  # noqa: B023
    assert all(large < small + (1 << 18) for small, large in zip(*taken, strict=True))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "no space left"), MemoryError])
def test_what_is_interrupted_leaves_no_file(error: BaseException | type, tmp_path: Path) -> None:
    """In the middle of the second file, in either direction."""
    np.save(tmp_path / "x.npy", pictures(0, 40))

    def stopping(parts: Iterable[Any]) -> Iterator[Any]:
        yield next(iter(parts))
        raise error

    codec, found = independent_codec(), gather([tmp_path / "x.npy"]).files
    with pytest.raises((KeyboardInterrupt, UserError, MemoryError)):
        write_archive(tmp_path / "a.vlb", header(), codec, stopping(found), FORMATS, None, writing.Options())
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    write(tmp_path / "a.vlb", tmp_path / "x.npy")
    with pytest.raises((KeyboardInterrupt, UserError, MemoryError)):
        restore(stopping(read(tmp_path / "a.vlb")), tmp_path / "out", FORMATS, False, allowed(tmp_path / "a.vlb"))
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
        restore(iter(()), tmp_path / "sub", FORMATS, False, allowed(tmp_path / "a.vlb"))
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
    with pytest.raises(UserError, match="chunk 1 is damaged"):
        restore(read(tmp_path / "b.vlb"), tmp_path / "out", FORMATS, False, allowed(tmp_path / "b.vlb"))
    assert not (tmp_path / "out").exists()
    problems = restore(read(tmp_path / "b.vlb"), tmp_path / "out", FORMATS, True, allowed(tmp_path / "b.vlb"))
    assert "chunk 1" in problems[0] and "rows 10 to 19" in problems[1] and len(problems) == 2
    restored = np.load(tmp_path / "out" / "x.npy")
    assert np.array_equal(restored[:10], x[:10]) and np.array_equal(restored[20:], x[20:])
    assert not restored[10:20].any()
    assert (tmp_path / "out" / "note.txt").read_text() == "a note"


def test_without_the_beginning_of_a_file_the_others_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of ten examples: a in 0 to 2, b in 2 and 3, c in 3."""
    monkeypatch.setattr(writing, "CHUNK_VALUES", 300)
    for name, count in (("a", 25), ("b", 10), ("c", 5)):
        np.save(tmp_path / f"{name}.npy", pictures(count, count))
    write(tmp_path / "a.vlb", *(tmp_path / f"{name}.npy" for name in "abc"))
    archive = ArchiveReader(tmp_path / "a.vlb")
    ends = np.cumsum([archive._start, *archive._sizes])
    for lost, whole in enumerate(("bc", "bc", "c", "a")):
        damaged = bytearray((tmp_path / "a.vlb").read_bytes())
        damaged[ends[lost] + 20] ^= 1
        (tmp_path / "b.vlb").write_bytes(damaged)
        out = tmp_path / f"out{lost}"
        problems = restore(read(tmp_path / "b.vlb"), out, FORMATS, True, allowed(tmp_path / "b.vlb"))
        assert f"chunk {lost}" in problems[0] and len(problems) > 1
        for name in whole:
            assert (out / f"{name}.npy").read_bytes() == (tmp_path / f"{name}.npy").read_bytes()


COLUMNS = tuple(Column(f"c{j}", Categories(tuple(map(str, range(j + 2))))) for j in range(4))
DTYPES = st.sampled_from(("u1", "<i2", ">i4", "<f4", "?", "<u8", "i1", "<U2"))
SHAPES = st.sampled_from(((9, *SHAPE), (9, 30), (30, 6, 5), (6, 5), (9, 6, 5, 1), SHAPE, (0, *SHAPE), (7,), ()))
CELLS = st.sampled_from(("0", "1", "0", "1", "", "née", "\udcff", " 1", "1\r"))


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape, dtype = draw(SHAPES), draw(DTYPES)
    x = np.array(np.random.default_rng(draw(st.integers(0, 9))).integers(0, LEVELS, shape), object)
    for place in draw(st.lists(st.integers(0, max(0, x.size - 1)), max_size=9)) if x.size else ():
        x.reshape(-1)[place] = draw(st.sampled_from((0, 1, LEVELS, 77)))
    return x.astype(np.int64).astype(dtype)


@st.composite
def contents(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of any kind, and perhaps what became of it."""
    kind = draw(st.sampled_from(("npy", "several", "plane", "csv", "bin")))
    if kind == "npy":
        content = Npy().write(File((Member("", draw(arrays())),), b""))
    elif kind == "several":
        names = st.text(st.characters(codec="ascii"), max_size=3)
        members = tuple(Member(*named) for named in draw(st.lists(st.tuples(names, arrays()), max_size=3)))
        content = Several().write(File(members, draw(st.binary(max_size=5))))
    elif kind == "plane":
        content = zlib.compress(bytes(SHAPE[1:]) + draw(arrays()).astype("u1").tobytes(), draw(st.integers(0, 9)))
    elif kind == "csv":
        rows = draw(st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=3))
        rows += [["0", "1", "0", "1"]] * draw(st.sampled_from((0, 200)))
        content = "\n".join(["c0,c1,c2,c3", *map(",".join, rows)]).encode("utf-8", "surrogateescape")
    else:
        content = draw(st.binary(max_size=50))
    mutated = bytearray(content)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=2)):
        if mutated:
            mutated[at % len(mutated)] = value
    return kind, bytes(mutated) + draw(st.sampled_from((b"", b"", b"\n", b"more")))


@given(st.lists(contents(), min_size=1, max_size=6), st.sampled_from((90, 1 << 20)), st.booleans())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_every_file_comes_back(files: list[tuple[str, bytes]], values: int, table: bool) -> None:
    """To the byte or, where a format's encoder is free, the same; and the input is not guessed from what was read."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "CHUNK_VALUES", values)
        folder, columns = Path(name) / "in", COLUMNS if table else None
        folder.mkdir()
        for i, (kind, content) in enumerate(files):
            (folder / f"{i}.{kind}").write_bytes(content)
        summary = write(Path(name) / "a.vlb", folder, columns=columns)
        free = {name for names in summary.reencoded.values() for name in names}
        path = Path(name) / "a.vlb"
        assert restore(read(path, columns), Path(name) / "out", FORMATS, False, allowed(path)) == []
        for i, (kind, content) in enumerate(files):
            again = (Path(name) / "out" / "in" / f"{i}.{kind}").read_bytes()
            assert (again != content) == (f"in/{i}.{kind}" in free)
            assert again == content or Deflated().same(again, content)


def test_damage_costs_the_files_of_its_own_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk ends where a file does, once it holds enough: large files end theirs, small ones come together."""
    monkeypatch.setattr(writing, "CHUNK_EXAMPLES", 8)
    folder = tmp_path / "in"
    folder.mkdir()
    sizes = (3, 3, 3, 20, 8, 1, 1)
    for i, count in enumerate(sizes):
        np.save(folder / f"{i}.npy", pictures(i, count))
    write(tmp_path / "a.vlb", folder)
    archive = ArchiveReader(tmp_path / "a.vlb")
    ends = np.cumsum([archive._start, *archive._sizes])
    for chunk, lost in enumerate(((0, 1, 2), (3,), (4,), (5, 6))):
        damaged = bytearray((tmp_path / "a.vlb").read_bytes())
        damaged[ends[chunk + 1] - 6] ^= 1
        (tmp_path / "b.vlb").write_bytes(damaged)
        out = tmp_path / f"out{chunk}"
        said = restore(read(tmp_path / "b.vlb"), out, FORMATS, True, allowed(tmp_path / "b.vlb"))[0]
        assert f"chunk {chunk}" in said and said.endswith(", ".join(f"in/{i}.npy" for i in lost))
        assert sorted(path.name for path in out.rglob("*.npy")) == [
            f"{i}.npy" for i in range(len(sizes)) if i not in lost
        ]
