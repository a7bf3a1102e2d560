"""Point clouds that a person brings: arrays of them, and folders of arrays, meshes and scans."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from vlb.base.domains import MOST_POINTS
from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import LeftOut, found_in, reasons
from vlb.base.words import so_many
from vlb.core.schema import Points, Real, Schema
from vlb.data.arrays import Stored, npy_parts, npz_parts, read_array
from vlb.data.dataset import SPLITS, Dataset, Split
from vlb.data.folder import arrangement
from vlb.data.labels import Labels, as_classes
from vlb.data.meshes import SUFFIXES as MESHES
from vlb.data.meshes import Damaged, Shape, are_places, points_of, read_shape, some_of
from vlb.data.splits import parted

SUFFIXES = (".npy", *MESHES)
HELD = (
    "an .npy or .npz file of clouds (clouds, points, coordinates), or a folder of clouds and meshes "
    f"({', '.join(SUFFIXES)})"
)
UNUSABLE = "damaged, or of too few points"
OF_A_MESH = 256  # points that are taken from its surface, where nobody says how many


class Clouds(NamedTuple):
    """x: (n, N, d); labels: (n,) numbers or names of classes, where there are any; names: of files, where each cloud is
    one; notes: what to know, a line each."""

    x: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


def load_points(
    path: Path, number: int | None = None, skip_damaged: bool = False, progress: Progress = SILENT
) -> Dataset:
    """Clouds of one number of points, of the plane or of space, as a data set called after the path.

    An .npy file (clouds, points, coordinates), or an .npz file of such arrays, in splits and with labels as
    `arrays.load_npz` has them; or a folder, searched recursively, with splits and classes as `arranged` has them, of
    files that are a cloud each: an .npy file (points, coordinates), a mesh (.off, .obj, .ply), of whose surface points
    are taken evenly by area, or a scan, which is such a file without faces.

    number: of points; of clouds with more, as many are drawn. By default that of the first, of a mesh `OF_A_MESH`.
    skip_damaged: leave out, and count, files of a folder that cannot be read or have too few points. Where there are no
    splits, 80/10/10 by the permutation of `splits`.

    Raises `UserError`, naming the file, for what is missing, empty, damaged, no finite number, of other coordinates
    than the first, or, where no number is given, of another number of points.
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
    and for clouds of fewer points than the model's, or of other coordinates."""
    if not path.exists():
        raise UserError(f"there is nothing at {path}; give a split's name, or the path of {HELD}")
    number, coordinates = schema.shape
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if path.is_dir():
        found = found_in(path, SUFFIXES, "clouds and no meshes")
        read = _read(path, found.paths, number, False, SILENT)
        x, names, notes = np.stack(list(read.clouds.values())), tuple(map(str, found.paths)), found.notes + read.remarks
        named = arrangement(path, found.paths).named
        labels = np.array([named[one] for one in found.paths]) if named else None
    elif path.suffix.lower() in MESHES:
        x, names = points_of(read_shape(path), number, path)[None], (str(path),)
    else:
        x, labels, _ = _stored(path)
        x = fewer(as_clouds(x[None] if x.ndim == 2 else x, str(path)), number, str(path))
    if x.shape[2] != coordinates:
        raise UserError(f"{path} holds points of {x.shape[2]} coordinates, and the model is of {coordinates}")
    return Clouds(x, labels, names, notes)


def as_clouds(x: np.ndarray, what: str) -> np.ndarray:
    """Clouds (n, N, d) as float64. Raises `UserError` for other shapes, and for what are no finite numbers."""
    if x.ndim != 3 or x.shape[2] not in (2, 3) or not len(x):
        raise UserError(
            f"{what} has shape {x.shape}; give clouds as (clouds, points, coordinates), of 2 or 3 coordinates"
        )
    if x.shape[1] < 2:
        raise UserError(f"{what} holds clouds of {so_many(x.shape[1], 'point')}: a cloud has at least 2")
    if x.dtype.kind not in "fiu":
        raise UserError(f"{what} holds {x.dtype}: coordinates are numbers")
    x = np.asarray(x, np.float64)
    if not (there := are_places(x)).all():
        cloud, point = np.argwhere(~there)[0][:2].tolist()
        raise UserError(f"{what}: point {point} of cloud {cloud} is {x[cloud, point].tolist()}, no place: remove it")
    return x


def fewer(x: np.ndarray, number: int | None, what: str) -> np.ndarray:
    """As many points of each cloud (n, N, d), all by default. Raises `UserError` where there are too few, or more than
    are seen together."""
    if number is None and x.shape[1] > MOST_POINTS:
        raise UserError(
            f"{what} has clouds of {x.shape[1]:,} points, and a model sees {MOST_POINTS:,}: say --points 1024"
        )
    if number is None or number == x.shape[1]:
        return x
    return np.stack([some_of(cloud, number, f"{what}, cloud {place},") for place, cloud in enumerate(x)])


def schema_of(x: np.ndarray, labels: tuple[str, ...] | None) -> Schema:
    """What each of some clouds (n, N, d) is."""
    return Schema(layout=Points(x.shape[1:]), kinds=Real(), labels=labels)


def _of_file(path: Path, number: int | None) -> Dataset:
    what = str(path)
    try:
        if path.suffix.lower() == ".npz":
            parts, left_out = npz_parts(path)
        elif path.suffix.lower() == ".npy":
            parts, left_out = npy_parts(path), ()
        else:
            raise UserError(f"{path} is of no known kind: points are {HELD}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    single = next((part for part in parts.values() if part.x.ndim == 2), None)
    if single is not None:
        raise UserError(
            f"{single.what} is a single cloud, of shape {single.x.shape}: give several, or a folder of such"
        )
    x = {split: as_clouds(part.x, part.what) for split, part in parts.items()}
    largest = max(part.shape[1] for part in x.values())
    x = {split: fewer(part, number, parts[split].what) for split, part in x.items()}
    labelled = [split for split in SPLITS if split in parts and parts[split].labels is not None]
    found, names = as_classes(
        [
            Labels(labels, len(x[split]), parts[split].what)
            for split in labelled
            if (labels := parts[split].labels) is not None
        ]
    )
    numbers = dict(zip(labelled, found, strict=True))
    train, validation, test = (Split(x[split], numbers.get(split)) if split in x else None for split in SPLITS)
    assert train is not None
    made = parted(train, validation, test, what)
    classes = names or (None if made.classes is None else tuple(map(str, range(made.classes))))
    schema = schema_of(made.train.x, classes)
    drawn = (
        (f"clouds have up to {largest:,} points, of which {number:,} are drawn",) if number and number < largest else ()
    )
    return Dataset(path.name, schema, *made[:3], left_out=left_out, remarks=drawn)


def _of_folder(path: Path, number: int | None, skip_damaged: bool, progress: Progress) -> Dataset:
    found = found_in(path, SUFFIXES, "clouds and no meshes")
    try:
        read = _read(path, found.paths, number, skip_damaged, progress)
    except Damaged as error:
        raise Damaged(f"{error}; --skip-damaged leaves such files out") from error
    if not read.clouds:
        raise UserError(f"{path}: none of {len(found.paths)} clouds can be used, the first so: {read.damaged[0].why}")
    arranged = arrangement(path, tuple(read.clouds))
    splits = arranged.split(read.clouds)
    made = parted(splits["train"], splits.get("validation"), splits.get("test"), str(path))
    schema = schema_of(made.train.x, arranged.classes)
    unusable = [LeftOut(left.path, UNUSABLE) for left in read.damaged]
    return Dataset(
        path.name,
        schema,
        *made[:3],
        left_out=reasons([*found.left_out, *unusable]),
        remarks=(*found.links, *arranged.remarks, *read.remarks),
    )


class _Read(NamedTuple):
    """Clouds by path; those that cannot be used, and why; remarks: what to say of what was done."""

    clouds: dict[PurePath, np.ndarray]
    damaged: list[LeftOut]
    remarks: tuple[str, ...]


def _read(folder: Path, paths: Sequence[PurePath], number: int | None, skip_damaged: bool, progress: Progress) -> _Read:
    clouds, damaged, chosen = dict[PurePath, np.ndarray](), list[LeftOut](), number
    meshes = larger = 0
    progress.begin(f"reading {folder.name}", len(paths))
    for done, path in enumerate(paths):
        try:
            shape = _shape(folder / path)
            own = OF_A_MESH if shape.faces is not None else len(shape.vertices)
            chosen = chosen or own
            if number is None and shape.faces is None:
                _refuse_other(folder, path, own, chosen)
            cloud = points_of(shape, chosen, folder / path)
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
        larger += shape.faces is None and len(shape.vertices) > chosen
        progress.at(done + 1)
    remarks = []
    if meshes:
        remarks.append(
            f"of the surfaces of {meshes:,} meshes {chosen:,} points each are taken, evenly by area: on surfaces alone "
            "they have no density in space, so that a bound on theirs is limited by the least noise γ₀ alone"
        )
    if larger:
        remarks.append(f"{so_many(larger, 'cloud')} had more points, of which {chosen:,} each are drawn")
    return _Read(clouds, damaged, tuple(remarks))


def _refuse_other(folder: Path, path: PurePath, own: int, chosen: int) -> None:
    if own > MOST_POINTS:
        raise UserError(
            f"{folder / path} has {own:,} points, and a model sees {MOST_POINTS:,}: say how many, --points 1024"
        )
    if own != chosen:
        raise UserError(
            f"{folder}: {path} has {own} points, those before it {chosen}: say how many each is to have, --points "
            f"{min(own, chosen)}"
        )


def _shape(path: Path) -> Shape:
    """What is in a file of one cloud. Raises `Damaged`, naming it."""
    if path.suffix.lower() in MESHES:
        return read_shape(path)
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
