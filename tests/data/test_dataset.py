"""Splits, shapes, fingerprints, and the known sources that need no network."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split, load, sources
from vlb.data.sources import SOURCES
from vlb.data.splits import completed, division


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_digits_are_the_stated_permutation_of_the_bundled_data(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    parts = (digits.test, digits.validation, digits.train)
    assert [len(part) for part in parts] == [360, 180, 1257]
    assert np.array_equal(np.concatenate([part.x for part in parts])[:, 0], bunch.images[order])
    assert np.array_equal(np.concatenate([part.labels for part in parts]), bunch.target[order])
    assert (digits.shape, digits.dimensions, digits.levels, digits.schema.classes) == ((1, 8, 8), 64, 17, 10)
    assert digits.train.x.dtype == np.uint8
    assert max(int(part.x.max()) for part in parts) == 16


def test_digits_are_read_without_importing_scikit_learn(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # whoever imports it fails
    assert load("digits").fingerprint == digits.fingerprint
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="install scikit-learn"):
        load("digits")


def test_fingerprint_is_of_the_content_not_the_name(digits: Dataset) -> None:
    assert len(digits.fingerprint) == 16
    assert load("digits").fingerprint == digits.fingerprint
    assert replace(digits, name="another").fingerprint == digits.fingerprint
    assert replace(digits, schema=levels_schema((1, 8, 8), 256)).fingerprint != digits.fingerprint
    assert replace(digits, train=digits.test, test=digits.train).fingerprint != digits.fingerprint
    changed = digits.train.x.copy()
    changed[5, 0, 3, 3] ^= 1
    assert replace(digits, train=Split(changed, digits.train.labels)).fingerprint != digits.fingerprint
    relabelled = Split(digits.train.x, digits.train.labels[::-1])
    assert replace(digits, train=relabelled).fingerprint != digits.fingerprint
    strided = Split(np.asfortranarray(digits.train.x), digits.train.labels)
    assert replace(digits, train=strided).fingerprint == digits.fingerprint


def test_split_by_name(digits: Dataset) -> None:
    assert digits.split("validation") is digits.validation
    with pytest.raises(UserError, match="did you mean 'test'"):
        digits.split("tests")


def test_unknown_source_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        load("mnst")
    with pytest.raises(UserError, match=r"fashion-mnist.*images"):
        load("qqqqqqq")
    with pytest.raises(UserError, match="needs a path"):
        load("images")
    assert {"digits", "iris", "mnist", "binarised-mnist", "fashion-mnist", "cifar10"} <= set(SOURCES)


def test_splits_that_cannot_belong_together_are_refused() -> None:
    a, b = Split(np.zeros((2, 1, 2, 2), np.uint8)), Split(np.zeros((2, 1, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the test split has shape \(1, 3, 3\)"):
        Dataset("x", levels_schema((1, 2, 2), 256), a, a, b)
    with pytest.raises(ValueError, match="labels"):
        Split(a.x, np.zeros(3, np.int64))


@given(n=st.integers(3, 500), validation=st.booleans(), test=st.booleans())
@settings(derandomize=True, deadline=None)
def test_division_is_a_partition(n: int, validation: bool, test: bool) -> None:
    parts = division(n, validation=validation, test=test, what="x")
    assert [part is not None for part in parts] == [True, validation, test]
    indices = np.concatenate([part for part in parts if part is not None])
    assert sorted(indices) == list(range(n))
    tenth = max(1, n // 10)
    assert len(parts[0]) == n - tenth * (validation + test)
    again = division(n, validation=validation, test=test, what="x")
    assert all(np.array_equal(p, q) for p, q in zip(parts, again, strict=True) if p is not None)


def test_completed_takes_only_what_is_missing() -> None:
    train = Split(np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1))
    test = Split(np.full((4, 1, 1, 1), 77, np.uint8))
    data = completed("a", 256, train, None, test, "a")
    assert data.test is test
    assert (len(data.train), len(data.validation)) == (18, 2)
    assert sorted(np.concatenate([data.train.x, data.validation.x]).reshape(-1)) == list(range(20))


def test_completed_refuses_what_does_not_fit() -> None:
    train = Split(np.zeros((5, 1, 2, 2), np.uint8), np.zeros(5, np.int64))
    with pytest.raises(UserError, match="test split is empty"):
        completed("a", 256, train, None, Split(np.zeros((0, 1, 2, 2), np.uint8), np.zeros(0, np.int64)), "a")
    with pytest.raises(UserError, match="test split have shape"):
        completed("a", 256, train, None, Split(np.zeros((2, 1, 3, 2), np.uint8), np.zeros(2, np.int64)), "a")
    with pytest.raises(UserError, match="only some splits have labels"):
        completed("a", 256, train, None, Split(np.zeros((2, 1, 2, 2), np.uint8)), "a")
    with pytest.raises(UserError, match="holds 2 examples; at least 3"):
        completed("a", 256, Split(np.zeros((2, 1, 2, 2), np.uint8)), None, None, "a")


def test_binarisation_is_a_fixed_draw_with_the_grey_value_as_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is never 1, 255 always, v in v/255 of its pixels (z-score: false alarm below 1e-6); the draw never changes."""
    values = np.array([0, 1, 100, 200, 255], np.uint8)

    def grey(cache: Path | None = None) -> Dataset:
        x = np.broadcast_to(values[:, None], (5000, 1, 5, 4))
        return Dataset(
            "mnist", levels_schema((1, 5, 4), 256, 10), *(Split(x, np.zeros(5000, np.int64)) for _ in range(3))
        )

    monkeypatch.setattr(sources, "mnist", grey)
    data = sources.binarised_mnist()
    assert (data.levels, data.name, data.shape) == (2, "binarised-mnist", (1, 5, 4))
    assert data.fingerprint == sources.binarised_mnist().fingerprint
    assert not np.array_equal(data.train.x, data.test.x)
    for row, value in enumerate(values):
        p, found = value / 255, data.train.x[:, 0, row]
        assert abs(found.mean() - p) <= 5 * (p * (1 - p) / found.size) ** 0.5
