"""A person's own files other than folders of images: .npy, .npz, IDX, CIFAR-10 binaries."""

import gzip
import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base.errors import UserError
from vlb.base.walk import Reason
from vlb.core.schema import levels_schema
from vlb.data import Dataset, load
from vlb.data.files import load_images
from vlb.data.given import load_examples

from .test_idx import idx_bytes


def random_images(*shape: int, levels: int = 256) -> np.ndarray:
    return np.random.default_rng(3).integers(0, levels, shape).astype(np.uint8 if levels <= 256 else np.uint16)


def in_file_order(data: Dataset, n: int) -> np.ndarray:
    """The examples of a divided data set, put back by the permutation that the documentation states."""
    order = np.random.default_rng(0).permutation(n)
    x = np.concatenate([data.test.x, data.validation.x, data.train.x])
    return x[np.argsort(order)]


@pytest.mark.parametrize("dtype", ["u1", "i8", ">i4", "u2", "f8"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    x = random_images(30, 5, 6)
    np.save(tmp_path / "a.npy", x.astype(dtype))
    data = load_images(tmp_path / "a.npy", levels=256)
    assert (data.name, data.levels, data.schema.classes, data.shape) == ("a.npy", 256, None, (1, 5, 6))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [24, 3, 3]
    assert data.train.x.dtype == np.uint8
    assert np.array_equal(in_file_order(data, 30)[:, 0], x)
    assert load("images", tmp_path / "a.npy").shape == (1, 5, 6) if dtype != "f8" else True


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7, 8), (1, 7, 8)),
        ((5, 3, 7, 8), (3, 7, 8)),
        ((5, 7, 8, 3), (3, 7, 8)),
        ((5, 7, 8, 4), (4, 7, 8)),
        ((5, 1, 8, 3), (1, 8, 3)),
        ((5, 3, 3, 3), (3, 3, 3)),
    ],
)
def test_channel_rule(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = random_images(*shape)
    np.save(tmp_path / "a.npy", x)
    data = load_images(tmp_path / "a.npy")
    assert data.shape == expected
    back = in_file_order(data, 5)
    assert np.array_equal(back if expected == shape[1:] else back.transpose(0, 2, 3, 1).reshape(shape), x)


@pytest.mark.parametrize("shape", [(5,), (5, 7), (5, 2, 8, 9), (1, 5, 3, 7, 8), (5, 0, 7), ()])
def test_wrong_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "bad.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=r"bad\.npy"):
        load_images(tmp_path / "bad.npy")


def test_boolean_and_wide_levels(tmp_path: Path) -> None:
    np.save(tmp_path / "bits.npy", random_images(6, 2, 2, levels=2).astype(bool))
    assert load_images(tmp_path / "bits.npy").levels == 2
    wide = random_images(6, 2, 2, levels=60000)
    np.savez(tmp_path / "wide.npz", x=wide, levels=60000)
    data = load_images(tmp_path / "wide.npz")
    assert (data.levels, data.train.x.dtype) == (60000, np.uint16)
    assert np.array_equal(in_file_order(data, 6)[:, 0], wide)


@pytest.mark.parametrize(
    ("value", "levels", "message"),
    [
        (17, 17, "example 2 holds 17, outside 0..16"),
        (-1, None, "example 2 holds -1.*shift them"),
        (300, None, "example 2 holds 300.*levels"),
        (0.5, 2, "example 2 holds 0.5, not a whole number.*integer data"),
        (np.nan, None, "example 2 holds nan"),
        (np.inf, 256, "example 2 holds inf"),
        (1.0, None, "float64; give integer data"),
        (1, 1, "levels = 1"),
        (1, 70000, "levels = 70000"),
    ],
)
def test_values_outside_the_levels(tmp_path: Path, value: float, levels: int | None, message: str) -> None:
    x = np.zeros((5, 2, 2), type(value))
    x[2, 1, 0] = value
    np.save(tmp_path / "bad.npy", x)
    with pytest.raises(UserError, match=message):
        load_images(tmp_path / "bad.npy", levels)


def test_npz_with_labels(tmp_path: Path) -> None:
    x, labels = random_images(20, 4, 4), np.arange(20) % 3
    for names in ({"x": x, "labels": labels}, {"x": x, "y": labels}, {"pictures": x, "y": labels[:, None]}):
        np.savez_compressed(tmp_path / "a.npz", **names)
        data = load_images(tmp_path / "a.npz")
        assert data.schema.classes == 3
        assert data.train.labels.dtype == np.int64
        order = np.random.default_rng(0).permutation(20)
        assert np.array_equal(data.test.labels, labels[order[:2]])
        assert np.array_equal(data.test.x[:, 0], x[order[:2]])


def test_npz_with_splits(tmp_path: Path) -> None:
    x, y = random_images(20, 4, 4, levels=5), np.arange(20) % 4
    np.savez(
        tmp_path / "a.npz",
        x_train=x[:12], x_valid=x[12:15], x_test=x[15:],
        y_train=y[:12], y_valid=y[12:15], y_test=y[15:], levels=5,
    )  # fmt: skip
    data = load_images(tmp_path / "a.npz")
    assert (data.levels, data.schema.classes) == (5, 4)
    for part, where in (
        (data.train, slice(12)),
        (data.validation, slice(12, 15)),
        (data.test, slice(15, 20)),
    ):
        assert np.array_equal(part.x[:, 0], x[where])
        assert np.array_equal(part.labels, y[where])
    np.savez(tmp_path / "b.npz", x_train=x[:15], x_test=x[15:])
    data = load_images(tmp_path / "b.npz")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 1, 5]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((4, 2, 2), "u1"), "b": np.zeros((4, 2, 2), "u1")}, "holds a, b; call the images x"),
        ({}, "no arrays"),
        ({"x_test": np.zeros((4, 2, 2), "u1")}, "no x_train"),
        ({"x_train": np.zeros((4, 2, 2), "u1"), "x_test": np.zeros((4, 3, 2), "u1")}, "shape"),
        ({"x": np.zeros((4, 2, 2), "u1"), "y": np.zeros(3, "i8")}, "labels must be 4"),
        ({"x": np.zeros((4, 2, 2), "u1"), "y": np.zeros(4, "f8")}, "labels must be 4 whole"),
        ({"x": np.zeros((4, 2, 2), "u1"), "y": np.full(4, -1)}, "label -1"),
        ({"x": np.zeros((4, 2, 2), "u1"), "y": np.zeros(4, "i8"), "labels": np.zeros(4, "i8")}, "both"),
        ({"x": np.zeros((4, 2, 2), "u1"), "levels": np.array(2.5)}, "levels. must be one whole"),
        ({"x": np.full((4, 2, 2), 9, "u1"), "levels": np.array(9)}, "holds 9, outside 0..8"),
        ({"x": np.zeros((2, 2, 2), "u1")}, "2 examples; at least 3"),
        ({"x": np.zeros((4, 2, 2), "c8")}, "complex64; give integer data"),
        ({"x": np.zeros((4, 2, 2), "U3")}, "give integer data"),
        ({"x": np.array([None] * 4)}, "pickle.*never loaded"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        load_images(path)
    assert "bad.npz" in str(caught.value)


def test_an_npz_with_other_members(tmp_path: Path) -> None:
    x = random_images(8, 2, 2)
    np.savez(tmp_path / "a.npz", x=x, names=np.array([None, {}]))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("read me.txt", "about")
    assert np.array_equal(in_file_order(load_images(tmp_path / "a.npz"), 8)[:, 0], x)
    stream = io.BytesIO()
    np.save(stream, x[::-1])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("x", stream.getvalue())  # numpy calls both x
    with pytest.raises(UserError, match=r"a\.npz has 2 arrays called x; keep one"):
        load_images(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.idx"])
def test_what_is_done_to_arrays_is_not_done_to_their_file(tmp_path: Path, name: str) -> None:
    x, path = random_images(8, 2, 2), tmp_path / name
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x=x)
    (tmp_path / "a.idx").write_bytes(idx_bytes(x))
    before = path.read_bytes()
    load_examples(path, levels_schema((1, 2, 2), 256)).split.x[:] = 0
    assert path.read_bytes() == before


def test_idx_in_several_gzip_streams(tmp_path: Path) -> None:
    x = random_images(10, 3, 4)
    content = idx_bytes(x)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]) + bytes(7))
    assert np.array_equal(in_file_order(load_images(tmp_path / "a.gz"), 10)[:, 0], x)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}, None]))
    (tmp_path / "b.npy").write_bytes(b"\x80\x04K\x01.")
    for name in ("a.npy", "b.npy"):
        with pytest.raises(UserError, match="pickle"):
            load_images(tmp_path / name)


def test_misnamed_numpy_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=random_images(5, 2, 2))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"rename it to \.npz"):
        load_images(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", random_images(5, 2, 2))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(UserError, match=r"rename it to \.npy"):
        load_images(tmp_path / "b.npz")


@given(zipped=st.booleans(), position=st.integers(0, 10**6), value=st.integers(0, 255), keep=st.floats(0.3, 1.5))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_damaged_numpy_files_are_a_user_error(zipped: bool, position: int, value: int, keep: float) -> None:
    stream = io.BytesIO()
    if zipped:
        np.savez(stream, x=random_images(6, 3, 3))
    else:
        np.save(stream, random_images(6, 3, 3))
    content = bytearray(stream.getvalue())
    content[position % len(content)] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("a.npz" if zipped else "a.npy")
        path.write_bytes(content[: int(keep * len(content))])
        try:
            data = load_images(path)
        except UserError:
            return
        assert data.train.x.dtype == np.uint8


@pytest.mark.parametrize("packed", [False, True])
def test_idx_with_the_labels_beside_it(tmp_path: Path, packed: bool) -> None:
    x, labels = random_images(10, 3, 4), np.arange(10)
    for name, array in (("train-images-idx3-ubyte", x), ("train-labels-idx1-ubyte", labels)):
        content = idx_bytes(array)
        (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    data = load_images(tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed))
    assert (data.schema.classes, data.shape, len(data.train)) == (10, (1, 3, 4), 8)
    assert np.array_equal(in_file_order(data, 10)[:, 0], x)
    assert np.array_equal(data.test.x[0, 0], x[data.test.labels[0]])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:9]))
    with pytest.raises(UserError, match="labels must be 10"):
        load_images(tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed))


def test_a_folder_of_idx_brings_its_test_split(tmp_path: Path) -> None:
    x = random_images(14, 3, 4)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(x[:10]))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(x[10:]))
    data = load_images(tmp_path)
    assert np.array_equal(data.test.x[:, 0], x[10:])
    assert (len(data.train), len(data.validation), data.schema.classes) == (9, 1, None)


def cifar_bin(n: int, seed: int) -> bytes:
    records = np.random.default_rng(seed).integers(0, 256, (n, 3073)).astype(np.uint8)
    records[:, 0] %= 10
    return records.tobytes()


def test_cifar_bins(tmp_path: Path) -> None:
    for i in (1, 2):
        (tmp_path / f"data_batch_{i}.bin").write_bytes(cifar_bin(5, i))
    single = load_images(tmp_path / "data_batch_1.bin")
    records = np.frombuffer(cifar_bin(5, 1), np.uint8).reshape(5, 3073)
    assert np.array_equal(in_file_order(single, 5).reshape(5, -1), records[:, 1:])
    assert single.shape == (3, 32, 32)
    assert len(load_images(tmp_path).train) == 8
    (tmp_path / "test_batch.bin").write_bytes(cifar_bin(3, 7))
    data = load_images(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [9, 1, 3]
    assert np.array_equal(data.test.labels, np.frombuffer(cifar_bin(3, 7), np.uint8)[::3073])


@pytest.mark.parametrize("content", [b"", cifar_bin(3, 1)[:-1], b"\x0b" + cifar_bin(3, 1)[1:], b"12"])
def test_bad_cifar_bins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.bin"):
        load_images(tmp_path / "bad.bin")


def test_nothing_there_or_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is nothing at"):
        load_images(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match="no known kind"):
        load_images(tmp_path / "a.txt")
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(UserError, match="no readable numpy file"):
        load_images(tmp_path / "a.npy")


def test_memory_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    np.save(tmp_path / "a.npy", random_images(5, 2, 2))
    monkeypatch.setattr("vlb.data.arrays.as_levels", refuse)
    with pytest.raises(UserError, match="does not fit into memory"):
        load_images(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["data_batch_1 (1).bin", "test_batch.bak.bin", "notes.txt", "more.bin"])
def test_what_lies_beside_cifar_batches_is_left_out_and_said(tmp_path: Path, name: str) -> None:
    record = bytes([3]) + bytes(3072)
    for file in ("data_batch_1.bin", "Test_Batch.bin"):
        (tmp_path / file).write_bytes(record * 4)
    (tmp_path / name).write_bytes(record * 3)
    data = load_images(tmp_path)
    assert (len(data.train) + len(data.validation), len(data.test)) == (4, 4)
    assert [reason.first for reason in data.left_out] == [(name,)]


@pytest.mark.parametrize("name", ["test.bin", "a copy.bin", "mine (2).bin", "val_1.bin"])
def test_bins_that_look_like_test_examples_or_copies_are_refused(tmp_path: Path, name: str) -> None:
    for file in ("mine.bin", name):
        (tmp_path / file).write_bytes((bytes([3]) + bytes(3072)) * 4)
    with pytest.raises(UserError, match="would be trained on"):
        load_images(tmp_path)


def test_arrays_that_are_not_read_are_said(tmp_path: Path) -> None:
    x = np.zeros((5, 2, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, X_test=x, y_train=np.arange(5), more=np.zeros(3))
    assert load_images(tmp_path / "a.npz").left_out == (Reason("other arrays", 2, ("X_test", "more")),)


def test_one_picture_is_no_folder_of_them(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.PNG", format="PNG")
    for reader in (load_images, lambda path: load_examples(path, levels_schema((1, 2, 3), 256))):
        with pytest.raises(UserError, match="is one image; give the folder"):
            reader(tmp_path / "a.PNG")
