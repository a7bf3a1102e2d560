"""Point clouds that a person brings: arrays of them, and folders of arrays, meshes and scans."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from vlb.base.domains import MOST_POINTS
from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import LeftOut, Reason, found_in, reasons
from vlb.base.words import so_many
from vlb.core.schema import Real, Schema, VaryingPoints
from vlb.data.arrays import Part, Stored, npy_parts, npz_parts, read_array
from vlb.data.dataset import SPLITS, Dataset
from vlb.data.folder import arrangement
from vlb.data.labels import Labels, as_classes
from vlb.data.meshes import SUFFIXES as MESHES
from vlb.data.meshes import Damaged, Shape, are_places, points_of, read_shape, some_of
from vlb.data.sets import layout_of, split_of, varying
from vlb.data.splits import parted

SUFFIXES = (".npy", *MESHES)
HELD = (
    "an .npy or .npz file of clouds (clouds, points, coordinates), or, of several numbers of points, .npz with x "
    "(points, coordinates) and `numbers` (clouds,), or a folder of clouds and meshes "
    f"({', '.join(SUFFIXES)})"
)
UNUSABLE = "damaged, or of too few points"
OF_A_MESH = 256  # points that are taken from its surface, where nobody says how many


class Clouds(NamedTuple):
    """clouds: (n_i, d) each; labels: (n,) numbers or names of classes, where there are any; names: of files, where each
    cloud is one; notes: what to know, a line each."""

    clouds: list[np.ndarray]
    labels: np.ndarray | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


def load_points(
    path: Path, number: int | None = None, skip_damaged: bool = False, progress: Progress = SILENT
) -> Dataset:
    """Clouds of points of the plane or of space as a data set called after the path.

    An .npy file (clouds, points, coordinates), or an .npz file of such arrays, in splits and with labels as
    `arrays.load_npz` has them, or of the points of all clouds one after the other (points, coordinates) beside
    `numbers`, how many each cloud has; or a folder, searched recursively, with splits and classes as `arranged` has
    them, of files that are a cloud each: an .npy file (points, coordinates), a mesh (.off, .obj, .ply), of whose
    surface points are taken evenly by area, or a scan, which is such a file without faces.

    number: of points; of clouds with more, as many are drawn. By default as many as there are, of a mesh `OF_A_MESH`.
    skip_damaged: leave out, and count, files of a folder that cannot be read or have too few points. Where there are no
    splits, 80/10/10 by the permutation of `splits`.

    Raises `UserError`, naming the file, for what is missing, empty, damaged, no finite number, or of other coordinates
    than the first.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"there is nothing at {path}; give the path of {HELD}")
    if path.suffix.lower() in MESHES and path.is_file():
        raise UserError(f"{path} is a single shape: give the folder that holds all of them")
    try:
        return _of_folder(path, number, skip_damaged, progress) if path.is_dir() else _of_file(path, number)
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; give fewer clouds, or fewer --points") from error


def read_clouds(path: Path, schema: Schema) -> Clouds:
    """The clouds of a file, or of all files in a folder, for a model of a schema. Raises `UserError` as `load_points`,
    and for clouds of fewer points than the model's, or more where these vary, or of other coordinates."""
    if not path.exists():
        raise UserError(f"there is nothing at {path}; give a split's name, or the path of {HELD}")
    most, coordinates = schema.shape
    number = None if schema.layout.padded else most
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if path.is_dir():
        found = found_in(path, SUFFIXES, "clouds and no meshes")
        read = _read(path, found.paths, number, False, SILENT)
        clouds, names = list(read.clouds.values()), tuple(map(str, found.paths))
        notes, named = found.notes + read.remarks, arrangement(path, found.paths).named
        labels = np.array([named[one] for one in found.paths]) if named else None
    elif path.suffix.lower() in MESHES:
        shape = _shape(path)
        clouds, names = [points_of(shape, number or _own(shape), path)], (str(path),)
    else:
        x, labels, _, numbers = _stored(path)
        every = x[None] if x.ndim == 2 and numbers is None else x
        clouds = fewer(as_clouds(every, str(path), numbers), number, str(path))
    if (own := clouds[0].shape[1]) != coordinates:
        raise UserError(f"{path} holds points of {own} coordinates, and the model is of {coordinates}")
    if (largest := max(map(len, clouds))) > most:
        raise UserError(
            f"{path} has a cloud of {largest:,} points, and the model is of at most {most:,}: take some of its points"
        )
    return Clouds(clouds, labels, names, notes)


def as_clouds(x: np.ndarray, what: str, numbers: np.ndarray | None = None) -> list[np.ndarray]:
    """Clouds (n_i, d) as float64, of an array (n, N, d), or of all their points (Σ n_i, d), of which each has so many.

    Raises `UserError` for other shapes, and for what are no finite numbers."""
    if numbers is not None:
        counts = _checked(numbers, x, what)
    elif x.ndim != 3 or not len(x):
        raise UserError(
            f"{what} has shape {x.shape}; give clouds as (clouds, points, coordinates), of 2 or 3 coordinates, or the "
            "points of all as x (points, coordinates) beside `numbers`, how many each has, in an .npz file"
        )
    else:
        counts = np.full(len(x), x.shape[1])
    if x.shape[-1] not in (2, 3):
        raise UserError(f"{what} has shape {x.shape}: points are of 2 or 3 coordinates")
    if counts.min() < 2:
        which = f"cloud {int(counts.argmin())} has " if numbers is not None else "holds clouds of "
        raise UserError(f"{what}: {which}{so_many(int(counts.min()), 'point')}: a cloud has at least 2")
    if x.dtype.kind not in "fiu":
        raise UserError(f"{what} holds {x.dtype}: coordinates are numbers")
    points = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    starts = np.cumsum(counts) - counts
    if not (there := are_places(points).all(1)).all():
        row = int(np.flatnonzero(~there)[0])
        cloud = int(np.searchsorted(starts, row, "right")) - 1
        raise UserError(
            f"{what}: point {row - int(starts[cloud])} of cloud {cloud} is {points[row].tolist()}, no place: remove it"
        )
    return np.split(points, starts[1:])


def fewer(clouds: Sequence[np.ndarray], number: int | None, what: str) -> list[np.ndarray]:
    """As many points of each cloud (n_i, d), all by default. Raises `UserError` where there are too few, or more than
    are seen together."""
    if number is not None:
        return [some_of(cloud, number, f"{what}, cloud {place},") for place, cloud in enumerate(clouds)]
    for place, cloud in enumerate(clouds):
        _refuse_large(cloud, f"{what}, cloud {place},")
    return list(clouds)


def _of_file(path: Path, number: int | None) -> Dataset:
    try:
        if path.suffix.lower() == ".npz":
            parts, left_out = npz_parts(path)
        elif path.suffix.lower() == ".npy":
            parts, left_out = npy_parts(path), ()
        else:
            raise UserError(f"{path} is of no known kind: points are {HELD}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    whole = {split: _clouds(part) for split, part in parts.items()}
    largest = max(len(cloud) for clouds in whole.values() for cloud in clouds)
    clouds = {split: fewer(every, number, parts[split].what) for split, every in whole.items()}
    labelled = [split for split in SPLITS if split in parts and parts[split].labels is not None]
    found, names = as_classes(
        [
            Labels(labels, len(clouds[split]), parts[split].what)
            for split in labelled
            if (labels := parts[split].labels) is not None
        ]
    )
    numbers = dict(zip(labelled, found, strict=True))
    remarks = (
        (f"clouds have up to {largest:,} points, of which {number:,} are drawn",) if number and number < largest else ()
    )
    return _dataset(path, clouds, numbers, names, left_out, remarks)


def _dataset(
    path: Path,
    clouds: Mapping[str, Sequence[np.ndarray]],
    labels: Mapping[str, np.ndarray],
    classes: tuple[str, ...] | None,
    left_out: tuple[Reason, ...],
    remarks: tuple[str, ...],
) -> Dataset:
    """Of clouds (n_i, d) and numbers of classes by split; classes: their names, where they have names. Raises
    `UserError` as `parted`, and for splits of different coordinates."""
    every = [cloud for part in clouds.values() for cloud in part]
    coordinates = {cloud.shape[1] for cloud in every}
    if len(coordinates) > 1:
        raise UserError(f"{path} has points of 2 and of 3 coordinates: give them apart")
    sizes = [len(cloud) for cloud in every]
    layout = layout_of(sizes, *coordinates)
    train, validation, test = (
        split_of(clouds[split], layout, labels.get(split)) if split in clouds else None for split in SPLITS
    )
    assert train is not None
    made = parted(train, validation, test, str(path))
    if isinstance(layout, VaryingPoints):
        counts = made.train.sizes // layout.shape[1]
        layout = varying(layout.shape[0], layout.shape[1], counts)
        remarks += (
            f"clouds have from {min(sizes):,} to {max(sizes):,} points, {counts.mean():,.0f} in the mean of train: a "
            "density is of the points given their number",
        )
    names = classes or (None if made.classes is None else tuple(map(str, range(made.classes))))
    schema = Schema(layout=layout, kinds=Real(), labels=names)
    return Dataset(path.name, schema, *made[:3], left_out=left_out, remarks=remarks)


def _clouds(part: Part) -> list[np.ndarray]:
    if part.x.ndim == 2 and part.numbers is None:
        raise UserError(
            f"{part.what} is a single cloud, of shape {part.x.shape}: give several, a folder of such, or how many "
            "points each has as `numbers` beside x in an .npz file"
        )
    return as_clouds(part.x, part.what, part.numbers)


def _checked(numbers: np.ndarray, x: np.ndarray, what: str) -> np.ndarray:
    """How many of the points x each cloud has, (n,) int64."""
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not numbers.size:
        raise UserError(
            f"{what}: `numbers` holds {numbers.dtype} of shape {numbers.shape}: it is how many points each cloud has, "
            "a whole number each"
        )
    counts = numbers.astype(np.int64)
    if x.ndim != 2 or counts.min() < 0 or counts.sum() != len(x):
        raise UserError(
            f"{what} has shape {x.shape} beside `numbers` of {counts.sum():,} points in all: give the points of all "
            "clouds, one cloud after the other, as (points, coordinates)"
        )
    return counts


def _of_folder(path: Path, number: int | None, skip_damaged: bool, progress: Progress) -> Dataset:
    found = found_in(path, SUFFIXES, "clouds and no meshes")
    try:
        read = _read(path, found.paths, number, skip_damaged, progress)
    except Damaged as error:
        raise Damaged(f"{error}; --skip-damaged leaves such files out") from error
    if not read.clouds:
        raise UserError(f"{path}: none of {len(found.paths)} clouds can be used, the first so: {read.damaged[0].why}")
    arranged = arrangement(path, tuple(read.clouds))
    clouds = {split: [read.clouds[one] for one in paths] for split, paths in arranged.parts.items()}
    labels = {split: own for split, paths in arranged.parts.items() if (own := arranged.labels(paths)) is not None}
    unusable = [LeftOut(left.path, UNUSABLE) for left in read.damaged]
    left_out = reasons([*found.left_out, *unusable])
    return _dataset(path, clouds, labels, arranged.classes, left_out, (*found.links, *arranged.remarks, *read.remarks))


class _Read(NamedTuple):
    """Clouds by path; those that cannot be used, and why; remarks: what to say of what was done."""

    clouds: dict[PurePath, np.ndarray]
    damaged: list[LeftOut]
    remarks: tuple[str, ...]


def _read(folder: Path, paths: Sequence[PurePath], number: int | None, skip_damaged: bool, progress: Progress) -> _Read:
    clouds, damaged = dict[PurePath, np.ndarray](), list[LeftOut]()
    meshes = larger = 0
    progress.begin(f"reading {folder.name}", len(paths))
    for done, path in enumerate(paths):
        try:
            shape = _shape(folder / path)
            if number is None and shape.faces is None:
                _refuse_large(shape.vertices, str(folder / path))
            cloud = points_of(shape, number or _own(shape), folder / path)
        except Damaged as error:
            if not skip_damaged:
                raise
            damaged.append(LeftOut(str(path), str(error)))
            continue
        first = next(iter(clouds.values()), cloud)
        if cloud.shape[1] != first.shape[1]:
            raise UserError(
                f"{folder}: {path} has points of {cloud.shape[1]} coordinates, {next(iter(clouds))} of "
                f"{first.shape[1]}: give them apart"
            )
        clouds[path] = cloud
        meshes += shape.faces is not None
        larger += shape.faces is None and len(shape.vertices) > len(cloud)
        progress.at(done + 1)
    remarks = []
    if meshes:
        remarks.append(
            f"of the surfaces of {meshes:,} meshes {number or OF_A_MESH:,} points each are taken, evenly by area: on "
            "surfaces alone they have no density in space, so that a bound on theirs is limited by the least noise γ₀ "
            "alone"
        )
    if larger:
        remarks.append(f"{so_many(larger, 'cloud')} had more points, of which {number:,} each are drawn")
    return _Read(clouds, damaged, tuple(remarks))


def _own(shape: Shape) -> int:
    """How many points a shape has where nobody says it."""
    return OF_A_MESH if shape.faces is not None else len(shape.vertices)


def _refuse_large(cloud: np.ndarray, what: str) -> None:
    if len(cloud) > MOST_POINTS:
        raise UserError(
            f"{what} has {len(cloud):,} points, and a model sees {MOST_POINTS:,}: say how many each is to have, "
            "--points 1024"
        )


def _shape(path: Path) -> Shape:
    """What is in a file of one cloud. Raises `Damaged`, naming it."""
    if path.suffix.lower() in MESHES:
        shape = read_shape(path)
        if len(shape.vertices) < 2:
            raise Damaged(f"{path} has 1 point: a cloud has at least 2")
        return shape
    try:
        x = _stored(path).x
        if x.ndim == 3:
            raise UserError(
                f"{path} holds several clouds: in a folder each is a file of its own, (points, coordinates)"
            )
        return Shape(as_clouds(x[None], str(path))[0], None)
    except UserError as error:
        raise Damaged(str(error)) from error


def _stored(path: Path) -> Stored:
    if path.suffix.lower() not in (".npy", ".npz"):
        raise UserError(f"{path} is of no known kind: points are {HELD}")
    try:
        return read_array(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
