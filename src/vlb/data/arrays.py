"""Arrays that a person brings: .npy and .npz, never a pickle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.walk import LeftOut, Reason, reasons
from vlb.data.contents import content_of
from vlb.data.dataset import SPLITS, Dataset, Split
from vlb.data.formats.base import Content, Declined
from vlb.data.formats.npy import MAGIC, Npy, Pickled
from vlb.data.formats.npz import Arrays, arrays_in
from vlb.data.labels import Labels, as_classes
from vlb.data.splits import completed
from vlb.data.values import as_images, as_levels, checked_levels, default_levels

LABEL_NAMES = ("labels", "label", "y")
NUMBERS = "numbers"  # of the rows of x that each example has, where these differ
Shaped = Callable[[np.ndarray, str], np.ndarray]  # an array, what to call it in messages: as (n, channels, …)
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


def load_npy(path: Path, levels: int | None, shaped: Shaped = as_images) -> Dataset:
    """An .npy file of images (see `values.as_images`), or as `shaped` has it, divided by `splits`; errors as
    `load_images`."""
    return _dataset(path, npy_parts(path), levels, shaped)


def load_npz(path: Path, levels: int | None, shaped: Shaped = as_images) -> Dataset:
    """An .npz file of images, or as `shaped` has it.

    Either one array of them (`x`, or the only one there is) with optional `labels` (or `y`); or
    `x_train`, and where there are any `x_valid` and `x_test`, with optional `labels_train` or
    `y_train` and so on. Labels are whole numbers, or texts (of numpy's kinds U or S): the names of the classes, in
    natural order. A whole number `levels` may be among them. Other arrays are not looked at, which is said.
    """
    archive = _open(path)
    if levels is None and "levels" in archive.names:
        levels = _levels_in(archive, path)
    parts, left_out = _parts(archive, path, "levels")
    return replace(_dataset(path, parts, levels, shaped), left_out=left_out)


def npy_parts(path: Path) -> "dict[str, Part]":
    """The array of an .npy file, which is all for training. Raises `UserError` as above."""
    return {"train": Part(_load_npy(path), None, str(path))}


def npz_parts(path: Path) -> "tuple[dict[str, Part], tuple[Reason, ...]]":
    """The arrays of an .npz file by split, called as `load_npz` has them, with how many rows of each an example has
    where an array `numbers` (or `numbers_train`, …) says it, and what else there is. Raises `UserError` as above."""
    return _parts(_open(path), path, numbered=True)


def _parts(
    archive: Arrays, path: Path, *others: str, numbered: bool = False
) -> "tuple[dict[str, Part], tuple[Reason, ...]]":
    """others: names that are looked at elsewhere; numbered: whether `numbers` are looked at."""
    names = archive.names
    counted = archive.names if numbered else ()
    keys = {
        split: (
            key,
            _one_of([f"{head}_{tail}" for tail in tails for head in LABEL_NAMES], names, path),
            _one_of([f"{NUMBERS}_{tail}" for tail in tails], counted, path),
        )
        for split, tails in SPLIT_NAMES.items()
        if (key := _one_of([f"x_{tail}" for tail in tails], names, path)) is not None
    }
    if not keys:
        keys["train"] = (
            _only_array(names, path),
            _one_of(LABEL_NAMES, names, path),
            _one_of([NUMBERS], counted, path),
        )
    if "train" not in keys:
        raise UserError(f"{path} has {', '.join(names)} but no x_train; add it, or give all examples as x")
    parts = {split: _part(archive, *those, path) for split, those in keys.items()}
    read = {*others, *(key for those in keys.values() for key in those)}
    return parts, reasons(LeftOut(name, "other arrays") for name in names if name not in read)


def _load_npy(path: Path) -> np.ndarray:
    content = content_of(path)
    if content[:2] == b"PK":
        raise UserError(f"{path} holds several arrays although it is called .npy; rename it to .npz")
    try:
        file = Npy().read(content)
    except Declined as error:
        raise _unreadable(str(path), error) from error
    if behind := Npy().behind(file):
        what = "another array" if behind.startswith(MAGIC) else f"{len(behind):,} bytes that are none of it"
        raise UserError(f"{path} holds {what} behind its array: save one array, and others in files of their own")
    return file.members[0].values


class Stored(NamedTuple):
    """One array of examples as a file holds it, unchecked; labels, levels and how many rows each example has where the
    file has them."""

    x: np.ndarray
    labels: np.ndarray | None
    levels: int | None
    numbers: np.ndarray | None = None


def read_array(path: Path) -> Stored:
    """The examples of an .npy or .npz file in its own order: `x`, or the only array. Raises `UserError` as above."""
    if path.suffix.lower() == ".npy":
        return Stored(_load_npy(path), None, None)
    archive = _open(path)
    levels = _levels_in(archive, path) if "levels" in archive.names else None
    label_key = _one_of(LABEL_NAMES, archive.names, path)
    key, numbers = _only_array(archive.names, path), _one_of([NUMBERS], archive.names, path)
    return Stored(
        _member(archive, key, path), _optional(archive, label_key, path), levels, _optional(archive, numbers, path)
    )


def from_arrays(path: Path, x: np.ndarray, labels: np.ndarray | None, levels: int | None) -> Dataset:
    """A data set, called after `path`, of one array of images and perhaps labels, numbers or texts."""
    return _dataset(path, {"train": Part(x, labels, str(path))}, levels, as_images)


class Part(NamedTuple):
    """A split, unchecked; what: it is, for messages; numbers: how many rows of x each example has, where that is
    said."""

    x: np.ndarray
    labels: np.ndarray | None
    what: str
    numbers: np.ndarray | None = None


def _part(archive: Arrays, key: str, labels: str | None, numbers: str | None, path: Path) -> Part:
    found, counts = _optional(archive, labels, path), _optional(archive, numbers, path)
    return Part(_member(archive, key, path), found, f"{path}[{key}]", counts)


def _dataset(path: Path, parts: dict[str, Part], levels: int | None, shaped: Shaped) -> Dataset:
    if levels is None:
        levels = default_levels(parts["train"].x, parts["train"].what)
    x = {
        split: as_levels(shaped(part.x, part.what), checked_levels(levels, part.what), part.what)
        for split, part in parts.items()
    }
    labelled = {split: part.labels for split, part in parts.items() if part.labels is not None}
    given = [Labels(labels, len(x[split]), parts[split].what) for split, labels in labelled.items()]
    numbers, names = as_classes(given)
    labels = dict(zip(labelled, numbers, strict=True))
    train, validation, test = (Split(x[split], labels.get(split)) if split in x else None for split in SPLITS)
    assert train is not None
    return completed(path.name, levels, train, validation, test, str(path), names)


def _open(path: Path) -> Arrays:
    content: Content = content_of(path)
    if content[: len(MAGIC)] == MAGIC:
        raise UserError(f"{path} holds a single array although it is called .npz; rename it to .npy")
    try:
        return arrays_in(content)
    except Declined as error:
        raise _unreadable(str(path), error) from error


def _member(archive: Arrays, key: str, path: Path) -> np.ndarray:
    if archive.names.count(key) > 1:
        raise UserError(f"{path} has {archive.names.count(key)} arrays called {key}; keep one of them")
    try:
        return archive.read(key)
    except Declined as error:
        raise _unreadable(f"{path}[{key}]", error) from error


def _optional(archive: Arrays, key: str | None, path: Path) -> np.ndarray | None:
    return None if key is None else _member(archive, key, path)


def _unreadable(what: str, error: Declined) -> UserError:
    if isinstance(error, Pickled):
        return UserError(
            f"{what} holds Python objects (a pickle), which could run code and are never loaded; "
            "save images as one integer array, such as images.astype('uint8'), names of classes as labels.astype('U')"
        )
    return UserError(f"{what} is no readable numpy file ({error}); it may be truncated, save it again")


def _levels_in(archive: Arrays, path: Path) -> int:
    value = _member(archive, "levels", path)
    if value.size != 1 or value.dtype.kind not in "iu":
        raise UserError(f"{path}[levels] must be one whole number; found {value.dtype} of shape {value.shape}")
    return checked_levels(int(value.reshape(())), f"{path}[levels]")


def _only_array(names: tuple[str, ...], path: Path) -> str:
    if "x" in names:
        return "x"
    others = [name for name in names if name not in (*LABEL_NAMES, "levels")]
    if len(others) == 1:
        return others[0]
    raise UserError(
        f"{path} holds {', '.join(names) or 'no arrays'}; call the images x, or x_train, x_valid and x_test"
    )


def _one_of(candidates: list[str] | tuple[str, ...], names: tuple[str, ...], path: Path) -> str | None:
    found = [candidate for candidate in candidates if candidate in names]
    if len(found) > 1:
        raise UserError(f"{path} has both {found[0]} and {found[1]}; keep one of them")
    return found[0] if found else None
