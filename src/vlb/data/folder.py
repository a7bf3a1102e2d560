"""A folder of image files, read one after the other into arrays made beforehand."""

import os
import re
import warnings
from pathlib import Path, PurePath

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from vlb.base.errors import UserError
from vlb.data.dataset import Dataset, Split
from vlb.data.splits import completed, division
from vlb.data.values import as_levels, checked_levels

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
# Pillow's other formats include ones that start an interpreter (PostScript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def load_folder(folder: Path, levels: int | None) -> Dataset:
    """Every image under `folder`, in the order of their paths; see `files.load_images` for the rules."""
    paths = _images(folder)
    if not paths:
        raise UserError(f"{folder} holds no images ({' '.join(sorted(SUFFIXES))}){_hint(folder)}")
    parts, within = _own_splits(paths)
    classes = _classes([path for part in within.values() for path in part])
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
        task = progress.add_task(f"reading {folder.name}", total=len(paths))
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
            if classes is not None:
                labels = np.array([classes[within[source][position].parts[0]] for position in order], np.int64)
            splits[split] = Split(x, labels)
    names = None if classes is None else tuple(classes)
    return completed(folder.name, levels, splits["train"], splits["validation"], splits["test"], what, names)


def read_pictures(folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Every image under `folder` in the order of their paths, (n, C, H, W), and these paths. Raises `UserError`."""
    paths = _images(folder)
    if not paths:
        raise UserError(f"{folder} holds no images ({' '.join(sorted(SUFFIXES))}){_hint(folder)}")
    pixels = [_pixels(folder / path) for path in paths]
    for path, image in zip(paths, pixels, strict=True):
        _same_kind(image, pixels[0], folder / path, folder / paths[0])
    return np.stack(pixels), tuple(str(path) for path in paths)


def _images(folder: Path) -> list[PurePath]:
    """Paths of image files relative to `folder`, sorted; hidden files and folders are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place)
        found += [
            PurePath((here / name).relative_to(folder))
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found, key=lambda path: path.parts)


def _own_splits(paths: list[PurePath]) -> tuple[dict[str, list[PurePath]], dict[str, list[PurePath]]]:
    """Paths by split, and the same ones relative to the split's folder; one 'train' if there are none."""
    tops = {path.parts[0] if len(path.parts) > 1 else "" for path in paths}
    if "train" not in tops or not tops <= SPLIT_FOLDERS.keys():
        return {"train": paths}, {"train": paths}
    parts: dict[str, list[PurePath]] = {}
    within: dict[str, list[PurePath]] = {}
    for path in paths:
        split = SPLIT_FOLDERS[path.parts[0]]
        parts.setdefault(split, []).append(path)
        within.setdefault(split, []).append(PurePath(*path.parts[1:]))
    return parts, within


def _classes(paths: list[PurePath]) -> dict[str, int] | None:
    """Class numbers of subfolders in natural order, if every image lies in exactly one level of them."""
    if any(len(path.parts) != 2 for path in paths):
        return None
    return {name: i for i, name in enumerate(sorted({path.parts[0] for path in paths}, key=natural))}


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that puts "2" before "10" and both before "a", as a person would: digits count as the number they write."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return (*((0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts), (-1, 0, name))


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


def _hint(folder: Path) -> str:
    if (folder / "data_batch_1").is_file() or (folder / "data_batch_1.pkl").is_file():
        return "; its data batches look like pickles, which are never opened: get CIFAR-10's binary version"
    return "; put images in it, or give the path of another folder or of an .npy, .npz, IDX or .bin file"
