"""Examples given to a trained model: read in order, and refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlb.base.errors import UserError
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Schema, levels_schema
from vlb.data.files import load_images
from vlb.data.given import load_examples
from vlb.data.idx import read_idx

SHAPE = (1, 4, 4)


def images(n: int = 5, levels: int = 17) -> np.ndarray:
    return np.random.default_rng(0).integers(0, levels, (n, *SHAPE)).astype(np.uint8)


def test_arrays_keep_their_order(tmp_path: Path) -> None:
    x = images()
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", x[:, 0])
    np.savez(tmp_path / "c.npz", x=x, labels=np.arange(5), levels=17)
    for name in ("a.npy", "b.npy", "c.npz"):
        given = load_examples(tmp_path / name, levels_schema(SHAPE, 17))
        assert np.array_equal(given.split.x, x) and given.names == ()
    assert load_examples(tmp_path / "c.npz", levels_schema(SHAPE, 17)).split.labels.tolist() == list(range(5))


def test_vectors_need_not_be_images(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 9, (6, 7))
    np.save(tmp_path / "v.npy", x)
    assert np.array_equal(load_examples(tmp_path / "v.npy", levels_schema((7,), 9)).split.x, x)


def test_a_folder_is_read_by_sorted_paths(tmp_path: Path) -> None:
    x = images(3, 256)
    (tmp_path / "train").mkdir()
    for name, image in zip(("b.png", "a.png", "train/c.png"), x, strict=True):
        Image.fromarray(image[0]).save(tmp_path / name)
    given = load_examples(tmp_path, levels_schema(SHAPE, 256))
    assert given.names == ("a.png", "b.png", "train/c.png")
    assert np.array_equal(given.split.x, x[[1, 0, 2]])


def test_idx_is_read(tmp_path: Path) -> None:
    x = images()[:, 0]
    header = bytes([0, 0, 8, 3]) + b"".join(int(side).to_bytes(4, "big") for side in x.shape)
    (tmp_path / "d.idx").write_bytes(header + x.tobytes())
    assert np.array_equal(read_idx(tmp_path / "d.idx"), x)
    assert np.array_equal(load_examples(tmp_path / "d.idx", levels_schema(SHAPE, 17)).split.x[:, 0], x)


@pytest.mark.parametrize(
    "content, words",
    [
        (images(levels=256), "17 levels"),
        (np.full((2, *SHAPE), np.nan), "not a whole number"),
        (np.full((2, *SHAPE), 0.5), "not a whole number"),
        (np.full((2, *SHAPE), -1), "outside 0..16"),
        (np.zeros((0, *SHAPE), np.uint8), "no examples"),
        (np.zeros((2, 3, 4, 4), np.uint8), "shape"),
        (np.zeros((2, 1, 5, 4), np.uint8), "shape"),
        (np.zeros((2, 16), np.uint8), "shape"),
        (np.array(3), "no examples"),
        (np.array([{"a": 1}]), "no readable|pickle"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: np.ndarray, words: str) -> None:
    np.save(tmp_path / "bad.npy", content)
    with pytest.raises(UserError, match=words) as caught:
        load_examples(tmp_path / "bad.npy", levels_schema(SHAPE, 17))
    assert "bad.npy" in str(caught.value)


def test_other_reasons(tmp_path: Path) -> None:
    np.savez(tmp_path / "levels.npz", x=images(), levels=256)
    with pytest.raises(UserError, match="256 levels, and the model is of 17"):
        load_examples(tmp_path / "levels.npz", levels_schema(SHAPE, 17))
    (tmp_path / "text.txt").write_text("?")
    with pytest.raises(UserError, match="no known kind"):
        load_examples(tmp_path / "text.txt", levels_schema(SHAPE, 17))
    with pytest.raises(UserError, match="nothing at"):
        load_examples(tmp_path / "missing.npy", levels_schema(SHAPE, 17))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        load_examples(tmp_path / "empty", levels_schema(SHAPE, 17))
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="no readable"):
        load_examples(tmp_path / "short.npy", levels_schema(SHAPE, 17))


def test_a_table_is_read_by_the_columns_of_the_model(tmp_path: Path) -> None:
    schema = Schema(
        layout=Vector((2,)), kinds=(Column("a", Categories(("1", "2", "3"))), Column("b", Categories(("no", "yes"))))
    )
    path = tmp_path / "t.csv"
    path.write_text("a,b\n3,no\n1,yes\n")
    assert load_examples(path, schema).split.x.tolist() == [[2, 0], [0, 1]]
    path.write_text("b,a\nno,3\n")
    with pytest.raises(UserError, match="line 1: column 1 is called 'b', and the model's 'a'"):
        load_examples(path, schema)
    path.write_text('a,b\n3,no\n4,"y\nes"\n2,yes\n1,maybe\n')
    given = load_examples(path, schema)
    assert given.split.x.tolist() == [[2, 0], [1, 1]]
    assert given.unseen == {
        1: r"line 3: column 'a' has '4', column 'b' has 'y\nes'",
        3: "line 6: column 'b' has 'maybe'",
    }
    assert given.left_out.startswith(f"{path}: 2 of 4 rows left out") and all(
        why in given.left_out for why in given.unseen.values()
    )
    assert np.array_equal(given.placed(np.array([5.0, 7.0])), [5, np.nan, 7, np.nan], equal_nan=True)
    path.write_text("a,b\n4,yes\n")
    with pytest.raises(UserError, match=r"every row .*line 2: column 'a' has '4'"):
        load_examples(path, schema)
    with pytest.raises(UserError, match="no known kind"):
        load_examples(path, levels_schema((2,), 3))


@pytest.mark.parametrize(("behind", "said"), [(None, "another array"), (b"\n", "1 bytes that are none")])
def test_what_lies_behind_an_array_is_not_left_out(behind: bytes | None, said: str, tmp_path: Path) -> None:
    """`np.save` twice into one stream writes two, of which a reader finds the first."""
    path, x = tmp_path / "two.npy", np.zeros((9, 1, 2, 2), np.uint8)
    with path.open("wb") as stream:
        np.save(stream, x)
        if behind is None:
            np.save(stream, x + 1)
        else:
            stream.write(behind)
    for read in (lambda: load_images(path), lambda: load_examples(path, levels_schema((1, 2, 2), 256))):
        with pytest.raises(UserError, match=f"holds {said}"):
            read()
