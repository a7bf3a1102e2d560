"""Volumes that a person brings: arrays of voxels, .npy and .npz."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.data.arrays import load_npy, load_npz
from vlb.data.dataset import Dataset

HELD = "an .npy or .npz file of voxels (n, depth, height, width), whole numbers or booleans"
TWO = "save them as booleans, or with levels = 2 in an .npz file, and a model is of these two alone"


def load_volumes(path: Path) -> Dataset:
    """An .npy or .npz file of volumes (see `as_volumes` and `arrays`), as a data set called after it.

    Booleans have two levels, integers 256, unless an .npz file says in `levels` how many. Where there are no splits,
    80/10/10 by the fixed permutation of `splits`. Raises `UserError`, naming the file, for what is missing, empty,
    damaged, of another shape, no whole number or outside the levels.
    """
    path = Path(path).expanduser()
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
