"""A folder of image files, read one after the other into arrays made beforehand."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from vlb.base.errors import UserError
from vlb.data.arranged import SPLIT_NAMES, Pictures, class_of, natural, own_splits, pictures
from vlb.data.dataset import Dataset, Split
from vlb.data.splits import completed, division
from vlb.data.values import as_levels, checked_levels

# Pillow's other formats include ones that start an interpreter (PostScript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


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
    first = _pixels(folder / parts["train"][0])
    if levels is None:
        levels = 2 if first.dtype == np.bool_ else 256
    checked_levels(levels, what)
    console = Console(stderr=True)
    splits: dict[str, Split] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"reading {folder.name}", total=len(found.paths))
        for split, index in chosen.items():
            source = split if split in parts else "train"
            order = range(len(parts[source])) if index is None else index
            # Filled in its final order, so that the whole is in memory once.
            x = np.empty((len(order), *first.shape), np.uint8 if levels <= 256 else np.uint16)
            for row, position in enumerate(order):
                path = folder / parts[source][position]
                image = _pixels(path)
                _same_kind(image, first, path, folder / parts["train"][0])
                x[row] = as_levels(image[None], levels, str(path))[0]
                progress.advance(task)
            labels = None
            if labelled:
                labels = np.array([classes[str(named[parts[source][position]])] for position in order], np.int64)
            splits[split] = Split(x, labels)
    names = tuple(classes) if labelled else None
    data = completed(folder.name, levels, splits["train"], splits["validation"], splits["test"], what, names)
    return replace(data, left_out=found.left_out, remarks=remarks)


class Read(NamedTuple):
    """Pictures in the order of their paths. x: (n, C, H, W); classes: the folder that each lies in, None unless each
    lies in exactly one (below train, validation or test where these are all there is); found: what there was."""

    x: np.ndarray
    classes: tuple[str, ...] | None
    found: Pictures


def read_pictures(folder: Path) -> Read:
    """Every image under `folder`. Raises `UserError`."""
    found = pictures(folder)
    paths = found.paths
    pixels = [_pixels(folder / path) for path in paths]
    for path, image in zip(paths, pixels, strict=True):
        _same_kind(image, pixels[0], folder / path, folder / paths[0])
    below = all(len(path.parts) > 1 and path.parts[0].casefold() in SPLIT_NAMES for path in paths)
    split = below and any(len(path.parts) > 2 for path in paths)
    classes = [name for path in paths if (name := class_of(path, split)) is not None]
    return Read(np.stack(pixels), tuple(classes) if len(classes) == len(paths) else None, found)


def _pixels(path: Path) -> np.ndarray:
    """One image as (C, H, W), uint8 or (one-bit images) bool; `UserError`, naming it, if it will not do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's remarks on metadata are no concern here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                problem = _unsuitable(image, path)
                if problem is not None:
                    raise UserError(f"{path} {problem}")
                values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} is refused as a possible decompression bomb ({error}); leave it out") from error
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        raise UserError(f"{path} is no readable image ({error}); it may be truncated, get it again") from error
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _unsuitable(image: Image.Image, path: Path) -> str | None:
    if getattr(image, "is_animated", False) and image.format != "MPO":
        return "has several frames; save each as an image of its own"
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or (image.mode == "P" and "transparency" in image.info):
        return "is transparent; put it on a background first, or drop the alpha channel (convert it to RGB)"
    if image.mode.startswith(("I", "F")) or _is_16_bit_png(path):
        return (
            "has more than 8 bits per channel; convert it to 8 bits, or give the images as an .npz file "
            "with an integer array `levels`"
        )
    if image.mode not in ("1", "L", "P", "RGB"):
        return f"has the mode {image.mode}; convert it to grayscale or RGB"
    return None


def _is_16_bit_png(path: Path) -> bool:
    """Whether the header says 16 bits: Pillow would cut colour images of that kind to 8 without a word."""
    with path.open("rb") as stream:
        head = stream.read(25)
    return len(head) == 25 and head.startswith(PNG_MAGIC) and head[24] == 16


def _same_kind(image: np.ndarray, first: np.ndarray, path: Path, first_path: Path) -> None:
    if image.shape == first.shape and image.dtype == first.dtype:
        return
    raise UserError(
        f"images differ: {first_path} is {_kind(first)}, {path} is {_kind(image)}; "
        "make them all of one size and one number of channels"
    )


def _kind(image: np.ndarray) -> str:
    channels, height, width = image.shape
    colour = "one-bit" if image.dtype == np.bool_ else "grayscale" if channels == 1 else "RGB"
    return f"{width}×{height} {colour}"
