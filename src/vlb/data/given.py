"""Examples that a person gives to a trained model, in the order in which they are given."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import Schema
from vlb.data.arrays import read_array
from vlb.data.dataset import Split
from vlb.data.folder import read_pictures
from vlb.data.formats.delimited import SUFFIXES
from vlb.data.idx import labels_beside, read_idx
from vlb.data.splits import class_labels
from vlb.data.tables import load_rows
from vlb.data.values import as_images, as_levels


class Given(NamedTuple):
    """Examples in order; names: a path for each where they are files of their own, else empty."""

    split: Split
    names: tuple[str, ...]


def load_examples(path: Path, schema: Schema) -> Given:
    """Examples of a schema from a folder of images, an .npy, .npz (`x`, `labels`) or IDX file; of a table also from a
    .csv, .tsv, .txt or .dat file.

    Raises `UserError`, naming the file, for what is missing, empty or damaged, for examples of another shape or with
    other levels, and for values that are no whole numbers in range.
    """
    path, shape, levels, columns = Path(path).expanduser(), schema.shape, schema.levels, schema.columns
    names: tuple[str, ...] = ()
    labels, said = None, None
    try:
        if path.is_dir():
            x, names = read_pictures(path)
        elif not path.exists():
            raise UserError(f"there is nothing at {path}; give a split's name, or the path of examples")
        elif columns is not None and path.suffix.lower() in SUFFIXES:
            x = load_rows(path, columns)
        elif path.suffix.lower() in (".npy", ".npz"):
            x, labels, said = read_array(path)
        elif path.suffix.lower() in (".idx", ".gz") or path.name.endswith("ubyte"):
            x, beside = read_idx(path), labels_beside(path)
            labels = None if beside is None else read_idx(beside)
        else:
            table = " or a .csv, .tsv, .txt or .dat table" if columns is not None else ""
            raise UserError(f"{path} is of no known kind; give a folder of images, an .npy, .npz or IDX file{table}")
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    what = str(path)
    if x.ndim == 0 or len(x) == 0:
        raise UserError(f"{what} holds no examples")
    if said is not None and said != levels:
        raise UserError(f"{what} says that its data have {said} levels, and the model is of {levels}")
    if len(shape) == 3 and x.shape[1:] != shape:
        x = as_images(x, what)
    if tuple(x.shape[1:]) != tuple(shape):
        raise UserError(f"{what} holds examples of shape {tuple(x.shape[1:])}, and the model is of {tuple(shape)}")
    checked = as_levels(np.asarray(x), levels, what, "those of the model: give data on its scale")
    return Given(Split(checked, None if labels is None else class_labels(labels, len(checked), what)), names)
