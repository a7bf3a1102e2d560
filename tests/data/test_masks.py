"""Masks: what is filled, what is said of odd ones, and what is refused."""

from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base.errors import UserError
from vlb.data.brought import Brought
from vlb.data.masks import masks


def pictures(n: int = 2, channels: int = 1, names: tuple[str, ...] = ()) -> Brought:
    x = np.zeros((n, channels, 4, 6), np.uint8)
    return Brought("pictures", x, tuple(map(PurePath, names)), (), lambda x, suffix: {})


def hole(seed: int = 0, n: int | None = None) -> np.ndarray:
    return np.random.default_rng(seed).random((4, 6) if n is None else (n, 4, 6)) < 0.5


@settings(derandomize=True, deadline=None)
@given(
    n=st.integers(1, 4), channels=st.sampled_from([1, 3]), each=st.booleans(), seed=st.integers(0, 99),
    layout=st.sampled_from(["HW", "nHW", "nCHW", "nHWC"]), white=st.sampled_from([True, 1, 255, 0.5, -3]),
)  # fmt: skip
def test_every_layout_and_every_white_says_the_same(n, channels, each, seed, layout, white) -> None:
    each = each and layout != "HW"
    expected = np.broadcast_to(hole(seed, n if each else 1), (n, 4, 6))
    own = expected if each else expected[:1]
    values = np.where(own, white, type(white)(0))
    deep = np.repeat(values[:, None], channels, 1)
    laid = {"HW": values[0], "nHW": values, "nCHW": deep, "nHWC": deep.transpose(0, 2, 3, 1)}[layout]
    found = masks(laid, pictures(n, channels))
    assert found.holes.dtype == bool and np.array_equal(found.holes, expected)
    assert not any("neither" in note for note in found.notes)


def test_a_pixel_is_filled_where_any_channel_is_marked() -> None:
    red = np.zeros((4, 6, 3), np.uint8)
    red[1, 2, 0] = 255
    found = masks(red[None], pictures(3, 3))
    assert found.holes.sum() == 3 and found.holes[:, 1, 2].all() and found.notes == ()


def test_a_mask_file_is_for_all_pictures_and_a_folder_has_one_for_each(tmp_path: Path) -> None:
    (tmp_path / "m" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.bmp", "spare.png")):
        Image.fromarray(hole(number).astype(np.uint8) * 255).save(tmp_path / "m" / name)
    two = pictures(2, 1, ("a.jpg", "deep/b.png"))
    one = masks(tmp_path / "m" / "a.png", two)
    assert np.array_equal(one.holes, np.stack([hole(0)] * 2))
    found = masks(tmp_path / "m", two)
    assert np.array_equal(found.holes, np.stack([hole(0), hole(1)]))
    assert "left out: 1: spare.png" in " ".join(found.notes)
    np.save(tmp_path / "m.npy", found.holes)
    assert np.array_equal(masks(tmp_path / "m.npy", two).holes, found.holes)


def test_odd_masks_are_said() -> None:
    grey = hole() * np.arange(6, dtype=np.uint8) * 50
    assert f"{(hole()[:, 1:5]).sum()} pixels of the mask are neither black nor" in masks(grey, pictures()).notes[0]
    assert "the mask is white throughout" in masks(np.ones((4, 6)), pictures()).notes[0]
    assert "the mask is black throughout" in masks(np.zeros((4, 6)), pictures()).notes[0]
    each = np.stack([np.ones((4, 6)), np.zeros((4, 6)), hole()])
    words = " ".join(masks(each, pictures(3)).notes)
    assert "1 of 3 masks are white" in words and "1 of 3 masks are black" in words


def test_what_is_no_mask_is_refused_by_name(tmp_path: Path) -> None:
    def refused(mask: object, of: Brought | None = None) -> str:
        with pytest.raises(UserError) as caught:
            masks(mask, of or pictures())
        return str(caught.value)

    Image.fromarray(hole()[:, :5]).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((4, 6, 4), np.uint8)).save(tmp_path / "clear.png")
    (tmp_path / "text.txt").write_text("mask")
    assert "small.png is 5 × 4 pixels, and the pictures are 6 × 4" in refused(tmp_path / "small.png")
    assert "clear.png has an alpha channel" in refused(tmp_path / "clear.png")
    assert "text.txt is of no known kind" in refused(tmp_path / "text.txt")
    assert "no mask at" in refused(tmp_path / "none.png")
    assert "shape (6, 4)" in refused(hole().T)
    assert "holds 3 masks, and there are 2 pictures" in refused(np.stack([hole()] * 3)[:, None])
    assert "NaN" in refused(np.where(hole(), np.nan, 0.0))
    assert "array of <U1" in refused(np.full((4, 6), "x"))
    assert "give masks of arrays as .npy" in refused(tmp_path)
    (tmp_path / "m").mkdir()
    Image.fromarray(hole()).save(tmp_path / "m" / "a.png")
    assert "no mask for 1 of 2 pictures: b.png" in refused(tmp_path / "m", pictures(2, 1, ("a.png", "b.png")))
    Image.fromarray(hole()).save(tmp_path / "m" / "a.bmp")
    assert "two masks of one picture" in refused(tmp_path / "m", pictures(1, 1, ("a.png",)))
