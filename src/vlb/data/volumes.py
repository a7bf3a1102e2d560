"""Volumes that a person brings: arrays of voxels, .npy and .npz, and folders of meshes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import LeftOut, found_in, reasons
from vlb.data.arrays import load_npy, load_npz
from vlb.data.dataset import Dataset
from vlb.data.folder import arrangement
from vlb.data.meshes import SUFFIXES, Damaged, read_shape, solid
from vlb.data.splits import completed

HELD = (
    "an .npy or .npz file of voxels (n, depth, height, width), whole numbers or booleans, or a folder of meshes "
    f"({', '.join(SUFFIXES)})"
)
SIDE = 32  # of the voxels of a mesh
TWO = "save them as booleans, or with levels = 2 in an .npz file, and a model is of these two alone"


def load_volumes(path: Path, skip_damaged: bool = False, progress: Progress = SILENT) -> Dataset:
    """An .npy or .npz file of volumes (see `as_volumes` and `arrays`), as a data set called after it.

    Or a folder of meshes, searched recursively, with splits and classes as `arranged` has them: `SIDE`³ voxels of two
    levels each (`meshes.solid`). skip_damaged: leave out, and count, those that cannot be used.

    Booleans have two levels, integers 256, unless an .npz file says in `levels` how many. Where there are no splits,
    80/10/10 by the fixed permutation of `splits`. Raises `UserError`, naming the file, for what is missing, empty,
    damaged, of another shape, no whole number or outside the levels.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _of_meshes(path, skip_damaged, progress)
    loaders = {".npy": load_npy, ".npz": load_npz}
    if not path.is_file():
        what = "is no file" if path.exists() else "is not there"
        raise UserError(f"{path} {what}: give the path of {HELD}")
    if path.suffix.lower() not in loaders:
        raise UserError(f"{path} is of no known kind: volumes are {HELD}")
    try:
        data = loaders[path.suffix.lower()](path, None, as_volumes)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; give fewer or smaller volumes") from error
    if data.levels > 2 and data.train.x.max() <= 1:
        return replace(data, remarks=(*data.remarks, f"all voxels are 0 or 1, of {data.levels} levels: {TWO}"))
    return data


class Solids(NamedTuple):
    """Volumes (1, SIDE, SIDE, SIDE) of meshes by path; those that cannot be used."""

    volumes: dict[PurePath, np.ndarray]
    damaged: list[LeftOut]


def read_solids(folder: Path, paths: Sequence[PurePath], skip_damaged: bool, progress: Progress) -> Solids:
    """Meshes of a folder as volumes. Raises `Damaged`, naming the file, for one that cannot be used."""
    found, damaged = dict[PurePath, np.ndarray](), list[LeftOut]()
    progress.begin(f"reading {folder.name}", len(paths))
    for done, path in enumerate(paths, 1):
        try:
            found[path] = solid(read_shape(folder / path), SIDE, folder / path)[None].astype(np.uint8)
        except Damaged as error:
            if not skip_damaged:
                raise
            damaged.append(LeftOut(str(path), str(error)))
        progress.at(done)
    return Solids(found, damaged)


def _of_meshes(path: Path, skip_damaged: bool, progress: Progress) -> Dataset:
    found = found_in(path, SUFFIXES, "meshes")
    try:
        read, damaged = read_solids(path, found.paths, skip_damaged, progress)
    except Damaged as error:
        raise Damaged(f"{error}; --skip-damaged leaves such files out") from error
    if not read:
        raise UserError(f"{path}: none of {len(found.paths)} meshes can be used, the first so: {damaged[0].why}")
    arranged = arrangement(path, tuple(read))
    splits = arranged.split(read)
    data = completed(
        path.name, 2, splits["train"], splits.get("validation"), splits.get("test"), str(path), arranged.classes
    )
    said = f"{len(read):,} meshes as {SIDE}×{SIDE}×{SIDE} voxels, each as large as it fits"
    unusable = [LeftOut(left.path, "damaged, or without an inside") for left in damaged]
    return replace(
        data, left_out=reasons([*found.left_out, *unusable]), remarks=(said, *found.links, *arranged.remarks)
    )


def as_volumes(x: np.ndarray, what: str) -> np.ndarray:
    """A view of x, (n, D, H, W) or (n, 1, D, H, W), as the latter. Raises `UserError` for any other shape."""
    if x.ndim not in (4, 5) or (x.ndim == 5 and x.shape[1] != 1):
        raise UserError(
            f"{what} has shape {x.shape}; give volumes of one channel as (n, depth, height, width) or (n, 1, depth, "
            "height, width)"
        )
    if not x.size:
        raise UserError(f"{what} has shape {x.shape}: there are no voxels in it; give volumes of some")
    return x[:, None] if x.ndim == 4 else x
