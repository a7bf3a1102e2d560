"""Labels as a person gives them: numbers of classes, or their names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError

MAX_CLASSES = 1 << 16


class Labels(NamedTuple):
    """Labels of a split as they are given, of how many examples, and what to call them."""

    labels: np.ndarray
    n: int
    what: str


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that puts "2" before "10" and both before "a", as a person would: digits count as the number they write."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return (*((0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts), (-1, 0, name))


def class_labels(labels: np.ndarray, n: int, what: str) -> np.ndarray:
    """Labels as (n,) int64; `UserError`, naming `what`, unless they are n whole numbers 0, 1, …"""
    if labels.dtype.kind not in "iub" or labels.shape not in ((n,), (n, 1)):
        raise UserError(
            f"{what}: labels must be {n} whole numbers or names of classes, one for each example; "
            f"found an array of {labels.dtype} of shape {labels.shape}"
        )
    if n and (int(labels.min()) < 0 or int(labels.max()) >= MAX_CLASSES):
        bad = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise UserError(f"{what}: found the label {bad}; number the classes 0, 1, 2, … (below {MAX_CLASSES})")
    return labels.reshape(n).astype(np.int64)


def as_classes(given: Sequence[Labels]) -> tuple[list[np.ndarray], tuple[str, ...] | None]:
    """The labels of each split as (n,) int64; the names of the classes, of all splits together, in natural order, where
    labels are texts. Raises `UserError` as `class_labels` and `texts`, and where only some are texts."""
    named = [are_texts(labels) for labels, _, _ in given]
    if not any(named):
        return [class_labels(*labels) for labels in given], None
    if not all(named):
        one, other = given[named.index(False)].what, given[named.index(True)].what
        raise UserError(f"{one}: labels are whole numbers, and of {other} they are texts; give both alike")
    said = [texts(*labels) for labels in given]
    names = tuple(sorted({name for names in said for name in names}, key=natural))
    if len(names) > MAX_CLASSES:
        raise UserError(f"{given[0].what}: {len(names)} different labels are too many classes: at most {MAX_CLASSES}")
    numbers = {name: number for number, name in enumerate(names)}
    return [np.array([numbers[name] for name in names], np.int64) for names in said], names


def are_texts(labels: np.ndarray) -> bool:
    """Whether labels are names, as numpy's kinds U and S hold them."""
    return labels.dtype.kind in "US"


def texts(labels: np.ndarray, n: int, what: str) -> list[str]:
    """n labels that are texts, in their order; bytes are UTF-8, and stand as surrogate escapes where they are not.

    Raises `UserError`, naming `what`, for another number of them, and for an empty text.
    """
    if labels.shape not in ((n,), (n, 1)):
        raise UserError(f"{what}: {n} labels are needed, one for each example; found an array of shape {labels.shape}")
    said = labels.reshape(n).tolist()
    names = [name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name for name in said]
    if "" in names:
        raise UserError(f"{what}: the label of example {names.index('')} is empty; name its class or leave it out")
    return names
