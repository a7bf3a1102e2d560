"""A folder of image files, read one after the other into arrays made beforehand."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from vlb.base.errors import UserError
from vlb.data.arranged import SPLIT_NAMES, Pictures, class_of, natural, own_splits, pictures
from vlb.data.dataset import Dataset, Split
from vlb.data.pictures import Picture, read_picture
from vlb.data.splits import completed, division
from vlb.data.values import as_levels, checked_levels


def load_folder(folder: Path, levels: int | None) -> Dataset:
    """Every image under `folder`, in the order of their paths; see `files.load_images` for the rules."""
    found = pictures(folder)
    parts = own_splits(folder, found.paths)
    split_folders = parts["train"][0].parts[0].casefold() in SPLIT_NAMES and len(parts["train"][0].parts) > 1
    named = {path: class_of(path, split_folders) for path in found.paths}
    classes = {name: i for i, name in enumerate(sorted({n for n in named.values() if n is not None}, key=natural))}
    stray = next((path for path, name in named.items() if name is None), None)
    remarks = found.remarks
    if stray is not None and classes:
        remarks += (f"folders are no classes, for not every picture lies in exactly one: {stray}",)
    labelled = stray is None
    what = str(folder)
    indices = division(len(parts["train"]), validation="validation" not in parts, test="test" not in parts, what=what)
    chosen = dict(zip(("train", "validation", "test"), indices, strict=True))
    first = read_picture(folder / parts["train"][0])
    if levels is None:
        levels = first.most + 1
    said = Counter[str]()
    checked_levels(levels, what)
    console = Console(stderr=True)
    splits: dict[str, Split] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"reading {folder.name}", total=len(found.paths))
        for split, index in chosen.items():
            source = split if split in parts else "train"
            order = range(len(parts[source])) if index is None else index
            # Filled in its final order, so that the whole is in memory once.
            x = np.empty((len(order), *first.pixels.shape), np.uint8 if levels <= 256 else np.uint16)
            for row, position in enumerate(order):
                path = folder / parts[source][position]
                picture = read_picture(path)
                _same_kind(picture, first, path, folder / parts["train"][0])
                x[row] = as_levels(picture.pixels[None], levels, str(path))[0]
                said.update(picture.said)
                progress.advance(task)
            labels = None
            if labelled:
                labels = np.array([classes[str(named[parts[source][position]])] for position in order], np.int64)
            splits[split] = Split(x, labels)
    names = tuple(classes) if labelled else None
    data = completed(folder.name, levels, splits["train"], splits["validation"], splits["test"], what, names)
    return replace(data, left_out=found.left_out, remarks=remarks + _remarks(said))


class Read(NamedTuple):
    """Pictures in the order of their paths. x: (n, C, H, W); classes: the folder that each lies in, None unless each
    lies in exactly one (below train, validation or test where these are all there is); found: what there was; most:
    the largest value that a sample may have."""

    x: np.ndarray
    classes: tuple[str, ...] | None
    found: Pictures
    most: int


def read_pictures(folder: Path) -> Read:
    """Every image under `folder`. Raises `UserError`."""
    found = pictures(folder)
    paths = found.paths
    read = [read_picture(folder / path) for path in paths]
    for path, picture in zip(paths, read, strict=True):
        _same_kind(picture, read[0], folder / path, folder / paths[0])
    below = all(len(path.parts) > 1 and path.parts[0].casefold() in SPLIT_NAMES for path in paths)
    split = below and any(len(path.parts) > 2 for path in paths)
    classes = [name for path in paths if (name := class_of(path, split)) is not None]
    found = replace(found, unapplied=_remarks(Counter(what for picture in read for what in picture.said)))
    x = np.stack([picture.pixels for picture in read])
    return Read(x, tuple(classes) if len(classes) == len(paths) else None, found, read[0].most)


def _remarks(said: Counter[str]) -> tuple[str, ...]:
    """What pictures have that was not applied, a sentence each."""
    return tuple(f"{count} pictures have {what}" for what, count in said.items())


def _same_kind(picture: Picture, first: Picture, path: Path, first_path: Path) -> None:
    if picture.pixels.shape == first.pixels.shape and picture.most == first.most:
        return
    raise UserError(
        f"images differ: {first_path} is {_kind(first)}, {path} is {_kind(picture)}; "
        "make them all of one size and one number of channels"
    )


def _kind(picture: Picture) -> str:
    channels, height, width = picture.pixels.shape
    colour = "one-bit" if picture.most == 1 else "grayscale" if channels == 1 else "RGB"
    levels = f" of values up to {picture.most}" if picture.most not in (1, 255) else ""
    return f"{width}×{height} {colour}{levels}"
