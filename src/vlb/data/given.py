"""Examples that a person gives to a trained model, in the order in which they are given."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.progress import SILENT
from vlb.base.walk import found_in as files_in
from vlb.base.words import so_many
from vlb.core.layouts import Points, Volume, Wave
from vlb.core.schema import Schema
from vlb.data.arranged import SUFFIXES as PICTURES
from vlb.data.arranged import class_of
from vlb.data.arrays import read_array
from vlb.data.columns import placed
from vlb.data.contents import only_array
from vlb.data.dataset import Split
from vlb.data.folder import arrangement, read_pictures
from vlb.data.formats.delimited import SUFFIXES
from vlb.data.idx import labels_beside, read_idx
from vlb.data.labels import are_texts, class_labels, texts
from vlb.data.meshes import SUFFIXES as MESHES
from vlb.data.mixed import load_mixed_rows
from vlb.data.photographs import given_album, tiles
from vlb.data.points import read_clouds
from vlb.data.sets import split_of
from vlb.data.sounds import read_windows
from vlb.data.tables import load_rows
from vlb.data.values import as_images, as_levels
from vlb.data.volumes import as_volumes, read_solids

SHOWN = 5


class Given(NamedTuple):
    """Examples in order; names: a path for each, or for each thing that they are pieces of, where these are files of
    their own, else empty; notes: what was left out of a folder, and what else to know of it, a line each; unseen: rows
    of a table, by number from 0, that are not among the examples, for they have cells that the model cannot have, and
    which; what: the file that they are of."""

    split: Split
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unseen: Mapping[int, str] = MappingProxyType({})
    what: str = ""

    @property
    def left_out(self) -> str:
        """What there is to say of `unseen`, empty where it is."""
        if not self.unseen:
            return ""
        rows = f"{len(self.unseen):,} of {so_many(len(self.split) + len(self.unseen), 'row')}"
        first = "; ".join(list(self.unseen.values())[:SHOWN]) + ("; …" if len(self.unseen) > SHOWN else "")
        return f"{self.what}: {rows} left out, for they have cells that are no values of their columns: {first}"

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the examples, or of the things that these are pieces of, as float64 in the order that was given,
        NaN for rows that are not among them."""
        placed = np.full(len(values) + len(self.unseen), np.nan)
        placed[np.delete(np.arange(len(placed)), list(self.unseen))] = values
        return placed


def load_examples(path: Path, schema: Schema, *, conditional: bool = True) -> Given:
    """Examples of a schema from a folder of images, an .npy, .npz (`x`, `labels`) or IDX file, or one of another format
    that holds one array; of a table also from a .csv, .tsv, .txt or .dat file.

    Labels that are texts, in an .npz file or as the folders that pictures lie in, are names of the schema's classes.
    conditional: whether they matter; then a name or number that is no class is refused, and else such examples have no
    labels.

    Rows of a table with cells that the model has not seen are left out and named. Raises `UserError`, naming the file,
    for what is missing, empty or damaged, for examples of another shape or with other levels, and for values that are
    no whole numbers in range.
    """
    if schema.pieces is not None:
        return _pictures(Path(path).expanduser(), schema, conditional)
    if schema.gaps:
        rows = load_mixed_rows(Path(path).expanduser(), schema)
        kept = np.delete(np.arange(len(rows.x)), list(rows.unseen))
        split = Split(rows.x[kept], observed=rows.observed[kept])
        return Given(split, (), (*rows.remarks, *rows.empty), rows.unseen, str(path))
    if isinstance(schema.layout, Points) and not schema.discrete:
        sets = read_clouds(Path(path).expanduser(), schema)
        numbers = _classes(sets.labels, len(sets.clouds), str(path), schema, conditional)
        return Given(split_of(sets.clouds, schema.layout, numbers), sets.names, sets.notes)
    path, shape, levels, columns = Path(path).expanduser(), schema.shape, schema.levels, schema.columns
    if isinstance(schema.layout, Wave) and schema.layout.rate is not None:
        if not path.exists():
            raise UserError(f"there is nothing at {path}; give a split's name, or the path of recordings")
        heard = read_windows(path, schema)
        numbers = _classes(heard.labels, len(heard.x), str(path), schema, conditional)
        return Given(Split(heard.x, numbers, whole=heard.whole, planes=heard.planes), heard.names, heard.notes)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unseen: Mapping[int, str] = MappingProxyType({})
    labels, said = None, None
    try:
        if path.is_dir() and isinstance(schema.layout, Volume):
            solids = files_in(path, MESHES, "meshes")
            x = np.stack(list(read_solids(path, solids.paths, False, SILENT).volumes.values()))
            names, notes, named = tuple(map(str, solids.paths)), solids.notes, arrangement(path, solids.paths).named
            labels = np.array([named[one] for one in solids.paths]) if named else None
        elif path.is_dir():
            x, classes, said, found, remarks = read_pictures(path)
            names, notes = tuple(map(str, found.paths)), (*found.notes, *remarks)
            labels = None if classes is None else np.array(classes)
        elif not path.exists():
            raise UserError(f"there is nothing at {path}; give a split's name, or the path of examples")
        elif not path.is_file():
            raise UserError(f"{path} is no file and no folder: write what comes out of it into a file first")
        elif columns is not None and path.suffix.lower() in SUFFIXES:
            x, unseen = load_rows(path, columns)
        elif path.suffix.lower() in (".npy", ".npz"):
            x, labels, said, _ = read_array(path)
        elif path.suffix.lower() in (".idx", ".gz") or path.name.endswith("ubyte"):
            x, beside = read_idx(path), labels_beside(path)
            labels = None if beside is None else read_idx(beside)
        elif path.suffix.lower() in PICTURES:
            raise UserError(f"{path} is one image; give the folder that holds it")
        elif (found_in := only_array(path)) is not None:
            x = found_in
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
    if len(shape) == 4 and x.shape[1:] != shape:
        x = as_volumes(x, what)
    if tuple(x.shape[1:]) != tuple(shape):
        raise UserError(f"{what} holds examples of shape {tuple(x.shape[1:])}, and the model is of {tuple(shape)}")
    checked = as_levels(np.asarray(x), levels, what, "those of the model: give data on its scale")
    return Given(Split(checked, _classes(labels, len(checked), what, schema, conditional)), names, notes, unseen, what)


def _classes(labels: np.ndarray | None, n: int, what: str, schema: Schema, conditional: bool) -> np.ndarray | None:
    """Labels of n examples, names or numbers, as numbers of the schema's classes."""
    if labels is not None and are_texts(labels):
        labels = _numbered(texts(labels, n, what), schema, what, conditional)
    numbers = None if labels is None else class_labels(labels, n, what)
    known = schema.classes
    if conditional and numbers is not None and known is not None and int(numbers.max()) >= known:
        raise UserError(f"{what} has the label {int(numbers.max())}, and the model knows 0 to {known - 1}")
    return numbers


def _pictures(path: Path, schema: Schema, conditional: bool) -> Given:
    """Pictures of any size, cut into tiles."""
    book, found = given_album(path, schema)
    classes = [class_of(name, False) for name in book.paths]
    known = [name for name in classes if name is not None]
    labels = _numbered(known, schema, str(path), conditional) if len(known) == len(classes) else None
    assert schema.pieces is not None
    split = tiles(book, schema.pieces, np.arange(len(book))).split(labels, book.digest(np.arange(len(book))))
    return Given(split, tuple(map(str, book.paths)), (*found, *book.remarks))


def told(split: Split, schema: Schema, names: Sequence[str]) -> Split:
    """The split with the columns of these names given, as likelihoods are to be of the other columns; those of a table
    without names are called by their numbers from 1. Raises `UserError` for names of no columns, or of all."""
    if not names:
        return split
    places = placed(schema.columns or ())
    known = {column.name if column.name is not None else str(j): j for j, (_, column) in enumerate(places, 1)}
    if lost := [name for name in names if name not in known]:
        shown = f"the columns are {', '.join(list(known)[:20])}" if known else "these data are no table"
        raise UserError(f"--given {lost[0]}: there is no such column; {shown}")
    given = np.zeros(schema.dimensions, bool)
    for place, column in (places[known[name] - 1] for name in names):
        given[place : place + len(column.columns)] = True
    if given.all():
        raise UserError("--given names all columns, and leaves none whose likelihood could be stated: leave one out")
    return replace(split, given=np.broadcast_to(given, split.x.shape))


def _numbered(names: list[str], schema: Schema, what: str, conditional: bool) -> np.ndarray | None:
    """Classes by the schema's names as their numbers."""
    known = {name: number for number, name in enumerate(schema.labels or ())}
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        return np.array([known[name] for name in names], np.int64)
    if conditional and schema.labels is not None:
        shown = ", ".join(schema.labels[:20]) + (", …" if len(schema.labels) > 20 else "")
        raise UserError(f"{what}: there is no class {unknown!r}; the classes are {shown}: rename it or leave it out")
    return None
