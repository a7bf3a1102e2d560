"""A folder of image files, read one after the other into arrays made beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from vlb.base.errors import UserError
from vlb.data.arranged import SPLIT_NAMES, Pictures, class_of, own_splits, pictures, sounding
from vlb.data.dataset import Dataset, Split
from vlb.data.labels import natural
from vlb.data.pictures import UNSAID, Picture, Tally, read_picture
from vlb.data.splits import completed, division
from vlb.data.values import as_levels, checked_levels


def load_folder(folder: Path, levels: int | None) -> Dataset:
    """Every image under `folder`, in the order of their paths; see `files.load_images` for the rules."""
    found = pictures(folder)
    parts, classes, named, remarks = arrangement(folder, found.paths)
    remarks = found.remarks + remarks
    what = str(folder)
    indices = division(len(parts["train"]), validation="validation" not in parts, test="test" not in parts, what=what)
    chosen = dict(zip(("train", "validation", "test"), indices, strict=True))
    first = read_picture(folder / parts["train"][0])
    wanted = checked_levels(first.levels if levels is None else levels, what)
    tally = Tally()
    console = Console(stderr=True)
    splits: dict[str, Split] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"reading {folder.name}", total=len(found.paths))
        for split, index in chosen.items():
            source = split if split in parts else "train"
            order = range(len(parts[source])) if index is None else index
            # Filled in its final order, so that the whole is in memory once.
            x = np.empty((len(order), *first.values.shape), np.uint8 if wanted <= 256 else np.uint16)
            for row, position in enumerate(order):
                path = folder / parts[source][position]
                picture = read_picture(path)
                _same_kind(picture, first, path, folder / parts["train"][0])
                if levels is None:
                    _same_levels(picture, first, path, folder / parts["train"][0])
                x[row] = as_levels(picture.values[None], wanted, str(path))[0]
                tally.add(picture.said, str(parts[source][position]))
                progress.advance(task)
            labels = None
            if classes is not None:
                labels = np.array([classes.index(named[parts[source][position]]) for position in order], np.int64)
            splits[split] = Split(x, labels)
    data = completed(folder.name, wanted, splits["train"], splits["validation"], splits["test"], what, classes)
    return replace(data, left_out=found.left_out, remarks=(*remarks, *tally.remarks))


class Arrangement(NamedTuple):
    """How pictures lie in a folder. parts: their paths by split; classes: the names of their classes, in order, None
    unless each lies in exactly one; named: the class of each path; remarks: what is to be said of it."""

    parts: dict[str, list[PurePath]]
    classes: tuple[str, ...] | None
    named: dict[PurePath, str]
    remarks: tuple[str, ...]

    def split(self, read: Mapping[PurePath, np.ndarray]) -> dict[str, Split]:
        """What was read of each path, by split, with the numbers of the classes."""
        return {
            split: Split(np.stack([read[path] for path in paths]), self.labels(paths))
            for split, paths in self.parts.items()
        }

    def labels(self, paths: Sequence[PurePath]) -> np.ndarray | None:
        """The numbers of the classes of paths, (n,) int64, where there are any."""
        if self.classes is None:
            return None
        return np.array([self.classes.index(self.named[path]) for path in paths], np.int64)


def arrangement(folder: Path, paths: Sequence[PurePath]) -> Arrangement:
    """How the pictures of a folder lie, by the rules of `arranged`. Raises `UserError` as `own_splits` does."""
    parts = own_splits(folder, paths)
    split_folders = parts["train"][0].parts[0].casefold() in SPLIT_NAMES and len(parts["train"][0].parts) > 1
    found = {path: class_of(path, split_folders) for path in paths}
    named = {path: name for path, name in found.items() if name is not None}
    stray = next((path for path in paths if path not in named), None)
    remarks = sounding(paths)
    if stray is None:
        return Arrangement(parts, tuple(sorted(set(named.values()), key=natural)), named, remarks)
    if named:
        remarks += (f"folders are no classes, for not every file lies in exactly one: {stray}",)
    return Arrangement(parts, None, {}, remarks)


class Read(NamedTuple):
    """Pictures in the order of their paths. x: (n, C, H, W); classes: the folder that each lies in, None unless each
    lies in exactly one (below train, validation or test where these are all there is); levels: what the files say, None
    where they are of 8 bits and say nothing; found: what there was; remarks: what is to be said of pixels."""

    x: np.ndarray
    classes: tuple[str, ...] | None
    levels: int | None
    found: Pictures
    remarks: tuple[str, ...]


def read_pictures(folder: Path) -> Read:
    """Every image under `folder`. Raises `UserError`."""
    found = pictures(folder)
    paths = found.paths
    read, tally = [read_picture(folder / path) for path in paths], Tally()
    saying = next((i for i, picture in enumerate(read) if picture.levels != UNSAID), None)
    for path, picture in zip(paths, read, strict=True):
        _same_kind(picture, read[0], folder / path, folder / paths[0])
        if saying is not None and picture.levels != UNSAID:
            _same_levels(picture, read[saying], folder / path, folder / paths[saying])
        tally.add(picture.said, str(path))
    below = all(len(path.parts) > 1 and path.parts[0].casefold() in SPLIT_NAMES for path in paths)
    split = below and any(len(path.parts) > 2 for path in paths)
    classes = [name for path in paths if (name := class_of(path, split)) is not None]
    return Read(
        np.stack([picture.values for picture in read]),
        tuple(classes) if len(classes) == len(paths) else None,
        None if saying is None else read[saying].levels,
        found,
        tally.remarks,
    )


def _same_kind(picture: Picture, first: Picture, path: Path, first_path: Path) -> None:
    image, other = picture.values, first.values
    if image.shape == other.shape and image.dtype == other.dtype:
        return
    raise UserError(
        f"images differ: {first_path} is {_kind(other)}, {path} is {_kind(image)}; "
        "make them all of one size and one number of channels; a run on crops (--crop) takes any size"
    )


def _same_levels(picture: Picture, first: Picture, path: Path, first_path: Path) -> None:
    if picture.levels != first.levels:
        raise UserError(
            f"images differ: {first_path} has {first.levels} levels, {path} has {picture.levels}; "
            "save them all with the same largest value"
        )


def _kind(image: np.ndarray) -> str:
    channels, height, width = image.shape
    colour = "one-bit" if image.dtype == np.bool_ else {1: "grayscale", 3: "RGB", 4: "RGBA"}[channels]
    colour += " of 16 bits" if image.dtype == np.uint16 else ""
    return f"{width}×{height} {colour}"
