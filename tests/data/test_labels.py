"""Labels that are names of classes: the classes are these, in natural order, whatever numpy holds the texts as."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.core.schema import levels_schema
from vlb.data.files import load_images
from vlb.data.given import load_examples
from vlb.data.labels import MAX_CLASSES, Labels, as_classes, natural

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 16, (n, 1, 2, 3)).astype(np.uint8)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(NAMES, min_size=3, max_size=12), st.lists(NAMES, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_texts_are_the_classes(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], tested: list[str], packed: bool, column: bool
) -> None:
    """Of both splits together; a run's examples have their labels by the names again."""

    def array(names: list[str]) -> np.ndarray:
        found = np.array([name.encode() for name in names]) if packed else np.array(names)
        return found[:, None] if column else found

    path = saved(
        tmp_path_factory.mktemp("labels") / "a.npz",
        x_train=images(len(said)),
        y_train=array(said),
        x_valid=images(len(tested)),
        y_valid=array(tested),
        x_test=images(len(tested)),
        y_test=array(tested),
    )
    data = load_images(path)
    assert data.schema.labels == tuple(sorted({*said, *tested}, key=natural))
    assert data.train.labels is not None and data.test.labels is not None
    assert [data.schema.labels[k] for k in data.train.labels] == said
    assert [data.schema.labels[k] for k in data.test.labels] == tested
    assert [data.about.examples_of(name) for name in tested] == [said.count(name) for name in tested]
    again = load_examples(saved(path.with_name("b.npz"), x=images(len(tested)), labels=array(tested)), data.schema)
    assert again.split.labels is not None and again.split.labels.tolist() == data.test.labels.tolist()


def test_bytes_that_are_no_text_are_names_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=images(3), labels=np.array([b"\xff", b"a", b"\xff"]))
    assert load_images(path).schema.labels == ("a", "\udcff")


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.array(["a", "", "b"]), "label of example 1 is empty"),
        (np.array(["a", "b"]), "3 labels are needed"),
        (np.array([["a", "b"]] * 3), "3 labels are needed"),
        (np.array("a"), "3 labels are needed"),
        (np.array([0.5, 1.0, 2.0]), "whole numbers or names"),
        (np.array(["a", "b", "c"], object), "pickle"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: np.ndarray, why: str) -> None:
    path = saved(tmp_path / "a.npz", x=images(3), labels=labels)
    with pytest.raises(UserError, match=why):
        load_images(path)
    with pytest.raises(UserError, match=why):
        load_examples(path, levels_schema((1, 2, 3), 256, 3))


def test_numbers_and_texts_are_not_mixed(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.npz", x_train=images(3), y_train=np.arange(3), x_test=images(2), y_test=np.array(["1", "2"])
    )
    with pytest.raises(UserError, match=r"x_train\]: labels are whole numbers, and of .*x_test\] they are texts"):
        load_images(path)


def test_classes_are_limited() -> None:
    many = np.arange(MAX_CLASSES + 1).astype("U6")
    with pytest.raises(UserError, match="too many classes"):
        as_classes([Labels(many, len(many), "x")])
