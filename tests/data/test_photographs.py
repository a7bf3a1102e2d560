"""Folders of photographs of any size: crops to train on, tiles to measure by."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from tests.told import Bars
from vlb.base.errors import UserError
from vlb.core.condition import Role
from vlb.core.schema import Pieces
from vlb.data import album as albums
from vlb.data.baselines import baselines, per_example
from vlb.data.dataset import Dataset, Split
from vlb.data.photographs import SAMPLE, Crops, load_photographs, tiles
from vlb.data.pieces import put
from vlb.data.sources import Cutting, load

MARGIN = Pieces((8, 8), 3, 4)
PLAIN = Pieces((8, 8), told=False)
SIZES = ((20, 17), (9, 31), (8, 8), (25, 12), (16, 16), (11, 40))


def folder_of(folder: Path, sizes: tuple[tuple[int, int], ...] = SIZES, channels: int = 3) -> Path:
    """PNG pictures of sizes (H, W), in which no two pixels are likely to be equal."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        pixels = rng.integers(0, 256, (*size, channels), np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(folder / f"{number:02}.png")
    return folder


def picture(folder: Path, number: int) -> np.ndarray:
    with Image.open(folder / f"{number:02}.png") as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def role_of(split: Split) -> np.ndarray:
    return split.batch(np.arange(len(split)), False, "cpu")[1].role.numpy()


@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize("pieces", (MARGIN, PLAIN))
def test_tiles_are_the_whole_pictures(tmp_path: Path, pieces: Pieces, channels: int) -> None:
    data = load_photographs(folder_of(tmp_path / "p", channels=channels), pieces)
    assert data.schema.pieces == pieces and data.schema.shape == (channels, *pieces.window)
    seen = []
    for split in (data.validation, data.test):
        for number in np.unique(split.whole):
            at = np.flatnonzero(split.whole == number)
            thing = picture(tmp_path / "p", int(number))
            assert np.array_equal(next(put(pieces, split.x[at], [thing.shape[1:]])), thing)
            assert np.array_equal(split.thing(int(number)), thing)
            assert split.counted[at].sum() == thing.size
            seen.append(number)
    assert len(seen) == len(set(seen)) == 2
    assert split.dimensions == split.counted.mean()
    if pieces.told:
        assert np.array_equal((role_of(split) == Role.MODELLED).reshape(len(split), -1).sum(1), split.counted)
    else:  # such a model models all of a tile, and is told nothing
        assert split.batch(np.arange(2), False, "cpu")[1].nothing


def test_examples_are_computed_alike_however_they_are_asked_for(tmp_path: Path) -> None:
    split = load_photographs(folder_of(tmp_path / "p"), MARGIN).test
    whole = np.asarray(split.x)
    assert whole.shape == split.x.shape and whole.dtype == np.uint8
    for index in (slice(1, 4), np.array([3, 0, 3]), -1, np.arange(len(split)) % 2 == 0):
        assert np.array_equal(split.x[index], whole[index])
        assert np.array_equal(split.observed[index], np.asarray(split.observed)[index])
    some = split.subset(3)
    assert len(some) == 3 and np.array_equal(some.x, whole[split.subset_index(3)])
    assert set(split.whole[split.subset_of_things(1)]) == set(split.whole[:1])


def crops(tmp_path: Path, pieces: Pieces, sizes: tuple[tuple[int, int], ...] = SIZES) -> Crops:
    data = load_photographs(folder_of(tmp_path / "p", sizes), pieces)
    assert isinstance(data.fresh, Crops)
    return data.fresh


def test_crops_are_a_function_of_seed_and_step(tmp_path: Path) -> None:
    """Whatever was drawn before, or is kept of pictures: a run that is resumed sees the same."""
    fresh = crops(tmp_path, MARGIN)
    first, others = fresh.draw(3, 7, 16), [fresh.draw(3, 8, 16), fresh.draw(4, 7, 16)]
    expected = np.asarray(first.x), role_of(first)
    again = load_photographs(tmp_path / "p", MARGIN).fresh.draw(3, 7, 16)
    assert np.array_equal(again.x, expected[0]) and np.array_equal(role_of(again), expected[1])
    assert not any(np.array_equal(np.asarray(other.x), expected[0]) for other in others)


def test_crops_are_of_the_training_pictures_where_tiles_might_lie(tmp_path: Path) -> None:
    data = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    fresh = data.fresh
    held_out = set(data.validation.whole) | set(data.test.whole)
    placed = fresh.placed(0, 0, 500)
    assert set(placed.picture) == set(range(len(SIZES))) - held_out
    first = placed.corner + MARGIN.margin
    assert (first >= 0).all() and (first < placed.album.sizes[placed.picture]).all()
    split = placed.split(None)
    assert (split.counted > 0).all()
    # Known and modelled pixels are the picture's own, at their places.
    x, role = np.asarray(split.x[:50]), placed.role(np.arange(50))
    for i in range(50):
        thing = picture(tmp_path / "p", int(placed.picture[i]))
        for at in np.argwhere(role[i, 0] != Role.ABSENT):
            assert np.array_equal(x[i][:, at[0], at[1]], thing[:, *(placed.corner[i] + at)])


def test_every_pixel_is_as_likely_to_be_trained_on(tmp_path: Path) -> None:
    """Of crops that no edge stops, the share that holds a pixel is the same for each: a χ² test on pictures, with a
    false alarm in 10⁶, of 4,000 crops."""
    sizes = ((40, 40), (40, 80), (80, 80), *((8, 8),) * 12)
    fresh = crops(tmp_path, PLAIN, sizes)
    areas = fresh.album.sizes[fresh.chosen].prod(-1)
    placed = fresh.placed(1, 2, 4000)
    found = np.array([(placed.picture == number).sum() for number in fresh.chosen])
    assert stats.chisquare(found, 4000 * areas / areas.sum()).pvalue > 1e-6


def test_train_is_a_sample_of_the_crops(tmp_path: Path) -> None:
    data = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    assert len(data.train) == SAMPLE
    # Elements of pieces have one law a channel, and the marginals say so.
    assert data.log_marginals.shape == (3 * 14 * 14, 256)
    assert np.allclose(data.log_marginals, np.repeat(data.log_marginals[:: 14 * 14], 14 * 14, 0))
    assert np.allclose(np.exp(data.log_marginals).sum(1), 1)


def test_what_is_kept_of_pictures_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    expected = np.asarray(data.train.x[:64])
    monkeypatch.setattr(albums, "KEPT", 1)
    again = load_photographs(tmp_path / "p", MARGIN)
    assert np.array_equal(again.train.x[:64], expected)
    assert len(again.fresh.album._kept) == 1


def test_the_fingerprint_is_of_files_and_of_how_they_are_cut(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p")
    known = load_photographs(folder, MARGIN).fingerprint
    assert load("images", folder, cut=Cutting(MARGIN)).fingerprint == known
    assert load_photographs(folder, PLAIN).fingerprint != known
    assert load_photographs(folder, Pieces((8, 8), 3, 2)).fingerprint != known
    pixels = np.asarray(Image.open(folder / "00.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(folder / "00.png")
    assert load_photographs(folder, MARGIN).fingerprint != known


def test_folders_are_splits_and_classes(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for name in ("dogs", "cats"):
            folder_of(tmp_path / "p" / split / name, SIZES[:count])
    data = load_photographs(tmp_path / "p", MARGIN)
    assert data.schema.labels == ("cats", "dogs")
    paths = data.fresh.album.paths
    for split, name in ((data.test, "test"), (data.train, "train"), (data.validation, "train")):
        for number, label in set(zip(split.whole, split.labels, strict=True)):
            assert paths[number].parts[:2] == (name, data.schema.labels[label])


def test_baselines_are_of_what_is_modelled(tmp_path: Path) -> None:
    data = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    nats = per_example("independent-pixels", data, data.test)
    x, modelled = np.asarray(data.test.x), role_of(data.test) == Role.MODELLED
    p = np.exp(data.log_marginals).reshape(*data.shape, 256)
    one = sum(-np.log(p[(*at, x[(0, *at)])]) for at in map(tuple, np.argwhere(modelled[0])))
    assert np.isclose(nats[0], one)
    found = baselines(data, "test")
    assert np.isclose(found["independent_pixels"], nats.sum() / data.test.counted.sum() / np.log(2))
    sizes = [(tmp_path / "p" / f"{number:02}.png").stat().st_size for number in np.unique(data.test.whole)]
    assert found["png"] == pytest.approx(8 * sum(sizes) / data.test.counted.sum(), rel=0.02)  # noise is not compressed


def refused(folder: Path, words: str, pieces: Pieces = PLAIN) -> None:
    with pytest.raises(UserError, match=words):
        load_photographs(folder, pieces)


def test_what_will_not_do_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "small", ((20, 20),) * 5 + ((20, 5),))
    refused(folder, r"05\.png is 5×20, smaller than the crop of 8×8.*--set model.roles=true")
    data = load_photographs(folder, MARGIN)
    assert any("smaller than the crop of 8×8, beyond which a tile is absent (1 of 6" in line for line in data.remarks)
    folder = folder_of(tmp_path / "mixed")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "grey.png")
    refused(folder, r"00\.png is RGB, .*grey\.png is greyscale")
    folder = folder_of(tmp_path / "animated")
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "two.gif", save_all=True, append_images=frames[1:])
    refused(folder, r"two\.gif has several frames")
    folder = folder_of(tmp_path / "cmyk")
    Image.new("CMYK", (9, 9)).save(folder / "print.jpg")
    refused(folder, r"print\.jpg has the mode CMYK; convert it")
    refused(folder / "00.png", "crops are of a folder of pictures")
    refused(folder_of(tmp_path / "two", SIZES[:2]), "at least 3 are needed")


def test_progressive_jpegs_are_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p")
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "06.jpg", progressive=True)
    book = load_photographs(folder, MARGIN).fresh.album
    assert np.array_equal(book.picture(6), np.asarray(Image.open(folder / "06.jpg")).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", (".png", ".jpg", ".bmp", ".ppm", ".webp", ".tiff"))
def test_truncated_files_are_named_or_counted(tmp_path: Path, suffix: str) -> None:
    folder = folder_of(tmp_path / "p")
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"zz{suffix}")
    content = (folder / f"zz{suffix}").read_bytes()
    (folder / f"zz{suffix}").write_bytes(content[: len(content) // 2])
    refused(folder, rf"zz\{suffix} is no readable image.*--skip-damaged")
    data = load_photographs(folder, MARGIN, skip_damaged=True)
    assert any("damaged pictures" in str(reason) and f"zz{suffix}" in str(reason) for reason in data.left_out)
    assert len(data.fresh.album) == len(SIZES)
    (folder / f"zz{suffix}").unlink()
    assert load_photographs(folder, MARGIN).fingerprint == data.fingerprint


def test_a_picture_that_changes_meanwhile_is_named(tmp_path: Path) -> None:
    data = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    for file in (tmp_path / "p").iterdir():
        Image.new("RGB", (10, 10)).save(file)
    with pytest.raises(UserError, match=r"\.png has changed while it was used"):
        data.test.x[:]


def test_a_folder_is_looked_at_once_and_said_to_be(tmp_path: Path) -> None:
    told = Bars()
    load_photographs(folder_of(tmp_path / "p"), MARGIN, progress=told)
    assert [bar.what for bar in told.bars] == [f"looking through {tmp_path / 'p'}", "looking at 6 pictures"]
    assert told.bars[1].done == [1, 2, 3, 4, 5, 6]


def test_tiles_of_an_album_follow_its_pictures(tmp_path: Path) -> None:
    data: Dataset = load_photographs(folder_of(tmp_path / "p"), MARGIN)
    found = tiles(data.fresh.album, MARGIN, np.array([4, 1]))
    assert found.picture.tolist() == [4] * 4 + [1] * 8
