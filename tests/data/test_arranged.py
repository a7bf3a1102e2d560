"""How pictures lie in folders: splits and classes by name, and nothing that looks like a split is taken for a class."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlb.base.errors import UserError
from vlb.base.walk import Reason
from vlb.core.schema import Schema, levels_schema
from vlb.data.arranged import SPLIT_NAMES, natural, own_splits, sounding
from vlb.data.files import load_images
from vlb.data.given import load_examples

CASES = st.sampled_from([str.lower, str.upper, str.title])
SPLITS = st.builds(lambda name, case: case(name), st.sampled_from(sorted(SPLIT_NAMES)), CASES)
TOPS = st.sets(st.one_of(SPLITS, st.sampled_from(["cat", "dog", "10", "2"])), min_size=1, max_size=5)


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 2), value, np.uint8)).save(path)
    return path


@given(tops=TOPS, stray=st.booleans())
@settings(derandomize=True, deadline=None)
def test_splits_by_name_or_refused(tops: set[str], stray: bool) -> None:
    """Whatever is named after a split becomes that split, or the folder is refused with what lies beside."""
    paths = [PurePath(top, "c", "x.png") for top in sorted(tops)] + [PurePath("stray.png")] * stray
    named = {top for top in tops if top.casefold() in SPLIT_NAMES}
    kinds = [SPLIT_NAMES[top.casefold()] for top in named]
    if not named:
        assert own_splits(Path("d"), paths) == {"train": paths}
        return
    if stray or named != tops or "train" not in kinds or len(set(kinds)) < len(kinds):
        with pytest.raises(UserError, match=r"^d") as caught:
            own_splits(Path("d"), paths)
        assert any(name in str(caught.value) for name in named)
        return
    found = own_splits(Path("d"), paths)
    assert {path.parts[0] for part in found.values() for path in part} == tops
    for split, part in found.items():
        assert all(SPLIT_NAMES[path.parts[0].casefold()] == split for path in part)


@pytest.mark.parametrize(
    "names", [("Train", "Val", "TEST"), ("training", "dev", "testing"), ("train", "valid", "Test")]
)
def test_the_usual_names_in_any_case(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        for i in range(4 - number):
            picture(tmp_path / name / "ab"[i % 2] / f"{i}.png", 10 * number)
    data = load_images(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 3, 2]
    assert [int(part.x.max()) for part in (data.train, data.validation, data.test)] == [0, 10, 20]
    assert data.schema.labels == ("a", "b")


ALIKE = st.builds(
    lambda before, name, after, case: case(f"{before}{name}{after}"),
    st.sampled_from(["", "seg_", "images-", "1_", "my data/", "nested/deep/"]),
    st.sampled_from([*sorted(SPLIT_NAMES), "eval", "evaluation", "holdout", "held-out"]),
    st.sampled_from(["", "s", "_set", " images", "2017", "-data", "set", "val", "_test"]),
    CASES,
)


@given(alike=ALIKE)
@settings(derandomize=True, deadline=None)
def test_what_is_called_like_a_split_is_one_or_refused(alike: str) -> None:
    """At any depth, for else its pictures would be trained on."""
    paths = [PurePath("cats/0.png"), PurePath(alike, "0.png"), PurePath(alike, "dogs", "1.png")]
    with pytest.raises(UserError, match="split"):
        own_splits(Path("d"), paths)


@pytest.mark.parametrize("name", ["train_station", "latest", "valley", "developers", "test tube", "contest", "10", "a"])
def test_classes_that_are_called_otherwise_are_classes(name: str) -> None:
    paths = [PurePath(name, "0.png"), PurePath("b", "0.png")]
    assert own_splits(Path("d"), paths) == {"train": paths}
    below = [PurePath("train", "train", "0.png"), PurePath("train", name, "0.png")]  # trains, to learn from
    assert own_splits(Path("d"), below) == {"train": below}


PAIRS = st.permutations(sorted(SPLIT_NAMES)).map(lambda names: (names[0], names[1]))


@given(
    names=PAIRS,
    around=st.sampled_from(["{}A", "{}B1", "x-{}", "my_{}_pictures", "deep/crops.{}.v2"]),
    case=st.sampled_from([str.lower, str.title]),
)
@settings(derandomize=True, deadline=None)
def test_pairs_of_folders_that_differ_by_a_split_are_refused(
    names: tuple[str, str], around: str, case: Callable[[str], str]
) -> None:
    """trainA beside testA, as data sets of two domains have them; alone, or of one split, it is said."""
    paths = [PurePath(around.format(case(name)), "0.png") for name in names]
    if SPLIT_NAMES[names[0]] == SPLIT_NAMES[names[1]]:
        assert own_splits(Path("d"), paths) == {"train": paths}
    else:
        with pytest.raises(UserError, match="looks like a split"):
            own_splits(Path("d"), paths)
    assert sounding(paths[:1]) == (f"folders that sound like splits and are taken for none: 1 ({paths[0].parent})",)


def test_folders_that_sound_like_splits_are_said(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / "train" / ("a", "val")[i % 2] / f"{i}.png", i)
    told = "folders that sound like splits and are taken for none: 1 (train/val)"
    assert told in load_images(tmp_path).remarks


def test_what_is_beside_splits_is_named(tmp_path: Path) -> None:
    for name in ("train", "test"):
        picture(tmp_path / name / "0.png")
    picture(tmp_path / "cats" / "0.png")
    with pytest.raises(UserError, match=r"train are named|test and train are named.*cats"):
        load_images(tmp_path)
    picture(tmp_path / "cats" / "0.png").unlink()
    picture(tmp_path / "stray.png")
    with pytest.raises(UserError, match=r"stray\.png"):
        load_images(tmp_path)


def test_everything_left_out_is_said(tmp_path: Path) -> None:
    for i in range(9):
        picture(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", i)
        picture(tmp_path / "far" / f"{i}.png", i)
    (tmp_path / "in" / "c").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "a" / "notes.txt").write_text("")
    (tmp_path / "in" / ".hidden.png").write_text("")
    (tmp_path / "in" / "empty").mkdir()
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    about = load_images(tmp_path / "in").about
    assert {reason.why: reason.count for reason in about.left_out} == {
        "hidden files": 1, "other files (.txt)": 1, "links to nothing": 1, "pipes": 1, "empty folders": 1,
    }  # fmt: skip
    assert [count.name for count in about.classes] == ["a", "b", "c"]
    assert any("links" in remark and "c" in remark for remark in about.remarks)
    assert sum(count.examples for count in about.splits) == 18
    assert len(dict(about.rows)) >= 4


def test_a_stray_picture_beside_classes_is_said(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png")
    picture(tmp_path / "stray.png")
    data = load_images(tmp_path)
    assert data.schema.labels is None and "stray.png" in " ".join(data.remarks)


@given(names=st.lists(st.sampled_from(["2", "10", "a", "b"]), min_size=1, max_size=6))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_folders_give_labels_by_the_models_names(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """In whatever folders the model's classes come, and however few of them, labels are its own numbers."""
    folder = tmp_path_factory.mktemp("given")
    labels = tuple(sorted({"2", "10", "a", "b"}, key=natural))
    for number, name in enumerate(names):
        picture(folder / name / f"{number}.png", labels.index(name))
    schema = named(labels)
    split = load_examples(folder, schema).split
    assert split.labels is not None and split.labels.tolist() == split.x[:, 0, 0, 0].tolist()
    np.savez(folder / "x.npz", x=split.x, labels=np.array([labels[i] for i in split.labels]))
    assert load_examples(folder / "x.npz", schema).split.labels.tolist() == split.labels.tolist()  # type: ignore[union-attr]
    picture(folder / "unknown" / "0.png")
    with pytest.raises(UserError, match=r"no class 'unknown'; the classes are 2, 10, a, b"):
        load_examples(folder, schema)
    assert load_examples(folder, schema, conditional=False).split.labels is None


def named(labels: tuple[str, ...]) -> Schema:
    return replace(levels_schema((1, 2, 2), 256), labels=labels)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte.bak", "train-images-idx3-ubyte (1)", "train-images-idx3-ubyte~"]
)
def test_a_backup_beside_an_idx_file_is_not_read(tmp_path: Path, name: str) -> None:
    for stem, value in (("train-images.idx3-ubyte", 1), (name, 2)):
        header = bytes([0, 0, 8, 3]) + b"".join(side.to_bytes(4, "big") for side in (5, 2, 2))
        (tmp_path / stem).write_bytes(header + bytes([value] * 20))
    data = load_images(tmp_path)
    assert data.train.x.max() == 1 and data.left_out == (Reason("other files", 1, (name,)),)
    (tmp_path / "train-images-idx3-ubyte").write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(UserError, match="keep one"):
        load_images(tmp_path)
