"""A person's own data: folders of images, numpy arrays, IDX, CIFAR-10 binaries."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.base.walk import LeftOut, reasons, walk
from vlb.data.arranged import SUFFIXES
from vlb.data.arrays import from_arrays, load_npy, load_npz
from vlb.data.cifar import TEST_BIN, cifar_bins, read_bins
from vlb.data.dataset import Dataset, Split
from vlb.data.folder import load_folder
from vlb.data.idx import labels_beside, read_idx
from vlb.data.labels import class_labels
from vlb.data.splits import completed
from vlb.data.values import as_images, as_levels, checked_levels, default_levels

IDX_PARTS = (("train", "train-images-idx3-ubyte"), ("test", "t10k-images-idx3-ubyte"))


def load_images(path: Path, levels: int | None = None) -> Dataset:
    """Images from a path, as a data set called after it.

    - A folder of images, searched recursively, in sorted order. Grayscale gives one channel, RGB and
      palette images three, one-bit images one channel of 2 levels; all must agree in size and kind.
      Pixels are taken as stored (no EXIF rotation). If every image lies in exactly one level of
      subfolders, those are the classes, in natural order. Folders called train, test and validation
      (or training, testing, valid, val, dev; in any case) are splits; see `arranged`.
    - .npy, .npz: see `arrays`; four axes without another sign are read as `values.as_images` says.
    - IDX (`*.idx`, `*-ubyte`, also gzipped), with the labels file beside it that belongs to it by name;
      or a folder with train-images-idx3-ubyte and t10k-images-idx3-ubyte, the latter the test split.
    - CIFAR-10 binaries (`*.bin`), or a folder of them, in which test_batch.bin is the test split.

    levels: values are 0..levels-1. By default 256, or what an .npz file says in `levels`,
        or pictures by a largest value below 255.
    Where there are no splits, 80/10/10 by the fixed permutation of `splits`.

    Raises `UserError`, naming the file, for anything missing, empty, damaged, of mixed or wrong shape,
    with values outside the levels, or holding Python objects.
    """
    path = Path(path).expanduser()
    try:
        if levels is not None:
            checked_levels(levels, "the data")
        if path.is_dir():
            return _load_folder(path, levels)
        if not path.exists():
            raise UserError(f"there is nothing at {path}; give the path of a folder or a file of images")
        if not path.is_file():
            raise UserError(f"{path} is no file and no folder: write what comes out of it into a file first")
        return _load_file(path, levels)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; give fewer or smaller images") from error


def _load_folder(path: Path, levels: int | None) -> Dataset:
    bins = cifar_bins(path)
    if bins:
        return _with_left_out(_load_bins(path, bins, levels), path, bins)
    found = {split: file for split, name in IDX_PARTS if (file := _idx_file(path, name)) is not None}
    if "train" in found:
        beside = [labels for file in found.values() if (labels := labels_beside(file)) is not None]
        return _with_left_out(_load_idx_folder(path, found, levels), path, [*found.values(), *beside])
    return load_folder(path, levels)


def _load_file(path: Path, levels: int | None) -> Dataset:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return load_npy(path, levels)
    if suffix == ".npz":
        return load_npz(path, levels)
    if suffix == ".bin":
        return _load_bins(path, [path], levels)
    if suffix in (".idx", ".gz") or path.name.endswith("ubyte"):
        x, labels = _read_idx_pair(path)
        return from_arrays(path, x, labels, levels)
    if suffix in SUFFIXES:
        raise UserError(f"{path} is one image; give the folder that holds all of them")
    raise UserError(
        f"{path} is of no known kind; give a folder of images, or an .npy, .npz, IDX (.idx, -ubyte, .gz) or "
        "CIFAR-10 .bin file"
    )


def _load_bins(path: Path, bins: list[Path], levels: int | None) -> Dataset:
    levels = 256 if levels is None else levels
    tests = [file for file in bins if file.name.casefold() == TEST_BIN and len(bins) > 1]
    train = _leveled(read_bins(file for file in bins if file not in tests), levels, str(path))
    test = _leveled(read_bins(tests), levels, str(tests[0])) if tests else None
    return completed(path.name, levels, train, None, test, str(path))


def _load_idx_folder(path: Path, found: dict[str, Path], levels: int | None) -> Dataset:
    splits: dict[str, Split] = {}
    for split, file in found.items():
        x, labels = _read_idx_pair(file)
        if levels is None:
            levels = default_levels(x, str(file))
        images = as_levels(as_images(x, str(file)), levels, str(file))
        splits[split] = Split(images, None if labels is None else class_labels(labels, len(x), str(file)))
    assert levels is not None
    return completed(path.name, levels, splits["train"], None, splits.get("test"), str(path))


def _with_left_out(data: Dataset, folder: Path, read: Iterable[Path]) -> Dataset:
    """With what else lies in the folder that data were read from."""
    found, names = walk(folder), {file.name for file in read}
    others = [LeftOut(str(path), "other files") for path in found.files if str(path) not in names]
    return replace(data, left_out=reasons([*found.left_out, *others]))


def _idx_file(folder: Path, name: str) -> Path | None:
    """The file of that name as MNIST is found in the wild, raw or gzipped, and never a copy called otherwise.

    Raises `UserError` where there are two.
    """
    spelled = (name, name.replace("-idx3-", ".idx3-"))
    found = [file for stem in spelled for end in ("", ".gz") if (file := folder / (stem + end)).is_file()]
    if len({file.name.removesuffix(".gz") for file in found}) > 1:
        raise UserError(f"{folder} has both {found[0].name} and {found[-1].name}: keep one of them")
    return found[0] if found else None


def _read_idx_pair(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    beside = labels_beside(path)
    return read_idx(path), None if beside is None else read_idx(beside)


def _leveled(split: Split, levels: int, what: str) -> Split:
    return Split(as_levels(split.x, levels, what), split.labels)
