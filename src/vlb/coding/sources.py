"""What goes into an archive: pictures, arrays and other files, told apart and cut into chunks.

Lossless pictures of the model's size and levels and arrays of them are coded by the model. Anything else
in the input – JPEGs, which are smaller as they are, pictures of another size, arrays of floats – is stored
as it is, through the general codec, so that nothing is ever left out.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.base.walk import Named
from vlb.coding.names import member, storable
from vlb.data.idx import read_idx
from vlb.data.tables import pieces

PICTURE_FORMATS = ("PNG", "BMP", "PPM")
MODES = ("L", "RGB", "1")
NPY, NPZ, IDX, IDX_GZ = range(4)
TABLES = (".csv", ".tsv")
MAX_ROW = 1 << 25  # bytes of a row of an array that is stored as an array


@dataclass(frozen=True)
class Picture:
    """A picture's pixels as (C, H, W) uint8; kind: index into `PICTURE_FORMATS` × `MODES`."""

    name: str
    kind: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Array:
    """An array in a file; container: NPY, NPZ, IDX or IDX_GZ; member: its name in an .npz file."""

    name: str
    member: str
    container: int
    values: np.ndarray


@dataclass(frozen=True)
class Other:
    """A file that is stored as it is."""

    name: str
    path: Path
    reason: str


@dataclass(frozen=True)
class Table:
    """A table of text."""

    name: str
    path: Path


Item = Picture | Array | Table | Other


def items(files: Iterable[Named], shape: tuple[int, ...], levels: int) -> Iterator[Item]:
    """What is in files that `vlb.base.walk.gather` found, in their order.

    Raises `UserError` for a file that cannot be read, and first of all for a name that would not come out again.
    """
    found = list(files)
    for path, name in found:
        if not storable(name):
            raise UserError(
                f"{path} cannot be stored under its name, which would not come out again on every system: rename it "
                "without backslashes, and without colons in its first part"
            )
    for path, name in found:
        yield from _items(path, name, shape, levels)


def _items(path: Path, name: str, shape: tuple[int, ...], levels: int) -> Iterator[Item]:
    suffix = path.suffix.lower()
    try:
        if suffix in (".npy", ".npz"):
            yield from _arrays(path, name)
        elif suffix == ".idx" or name.removesuffix(".gz").endswith("ubyte"):
            yield _idx(path, name)
        elif suffix in (".png", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm"):
            yield _picture(path, name, shape, levels)
        elif suffix in TABLES and len(shape) == 1:
            yield _table(path, name)
        else:
            yield Other(name, path, "of no kind that the model codes")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _table(path: Path, name: str) -> Item:
    try:
        count = sum(1 for _ in pieces(path))
    except UserError:
        return Other(name, path, "no text in UTF-8")
    return Table(name, path) if count else Other(name, path, "nothing in it")


def _arrays(path: Path, name: str) -> Iterator[Item]:
    try:
        if path.suffix.lower() == ".npy":
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            arrays = [Array(name, "", NPY, _native(loaded))]
        else:
            with np.load(path, allow_pickle=False) as archive:
                arrays = [Array(name, member(inner), NPZ, _native(archive[inner])) for inner in archive.files]
    except OSError:
        raise
    except Exception as error:  # numpy lets many kinds escape from what it cannot read
        yield Other(name, path, f"no plain array ({error})")
        return
    if arrays:
        yield from arrays
    else:
        yield Other(name, path, "no arrays in it")


def _native(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "biufcSU" or x.ndim > 8 or not x.dtype.itemsize or not holdable(x.shape, x.dtype):
        raise ValueError(f"shape {x.shape} of {x.dtype}")
    if math.prod(x.shape[1:]) * x.dtype.itemsize > MAX_ROW:
        raise ValueError(f"rows of more than {MAX_ROW >> 20} MiB")
    return x


def holdable(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of such a shape can be, even one without elements."""
    return math.prod(max(side, 1) for side in shape) * dtype.itemsize < 1 << 62


def _idx(path: Path, name: str) -> Item:
    try:
        values = read_idx(path)
    except UserError as error:
        return Other(name, path, str(error))
    if values.dtype != np.uint8:
        return Other(name, path, "no bytes in it")
    return Array(name, "", IDX_GZ if name.endswith(".gz") else IDX, values)


def _picture(path: Path, name: str, shape: tuple[int, ...], levels: int) -> Item:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=PICTURE_FORMATS) as image:
                size, mode, format_ = image.size, image.mode, image.format
                if mode not in MODES or getattr(image, "is_animated", False) or _deep(path):
                    return Other(name, path, f"a picture of mode {mode}, which is kept as its file")
                if ((3 if mode == "RGB" else 1), size[1], size[0]) != shape:
                    return Other(name, path, f"{size[0]}×{size[1]} {mode}, another size than the model's")
                pixels = np.asarray(image, np.uint8)
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        return Other(name, path, f"no readable picture ({error})")
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if pixels.max() >= levels:
        return Other(name, path, f"values up to {pixels.max()}, where the model knows 0..{levels - 1}")
    assert format_ is not None
    return Picture(name, PICTURE_FORMATS.index(format_) * len(MODES) + MODES.index(mode), pixels)


def _deep(path: Path) -> bool:
    """16-bit colour PNGs and 16-bit PPMs, which Pillow would cut to 8 bits."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"\x89PNG"):
        return len(head) > 24 and head[24] == 16
    if head[:1] == b"P":
        return b"255" not in head and head[:2] not in (b"P1", b"P4")
    return False


PLAIN, ROWS, FLAT, PLANES, CHANNELS_LAST = range(5)


def layout(array_shape: tuple[int, ...], dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """How rows of an array are examples of `shape`: not at all (`PLAIN`), or as `row_shape` says."""
    if dtype.kind not in "biu" or len(array_shape) < 2 or array_shape[0] == 0:
        return PLAIN
    return next((kind for kind in (ROWS, FLAT, PLANES, CHANNELS_LAST) if array_shape[1:] == row_shape(kind, shape)), 0)


def row_shape(kind: int, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a row that is an example of `shape`: the same, flat, without its only channel, or channels last."""
    if kind == ROWS:
        return shape
    if kind == FLAT:
        return (math.prod(shape),)
    if kind == PLANES and shape[0] == 1:
        return shape[1:]
    if kind == CHANNELS_LAST and len(shape) == 3:
        return (*shape[1:], shape[0])
    return None


def as_examples(rows: np.ndarray, kind: int, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of an array as (n, *shape), in the dtype of the array."""
    if kind == CHANNELS_LAST:
        rows = np.moveaxis(rows, -1, 1)
    return np.ascontiguousarray(rows).reshape(len(rows), *shape)


def as_rows(x: np.ndarray, kind: int, row_shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The inverse of `as_examples`."""
    if kind == CHANNELS_LAST:
        x = np.moveaxis(x, 1, -1)
    return np.ascontiguousarray(x).astype(dtype).reshape(len(x), *row_shape)
