"""Pictures as a person brings them, and the same arrays and files with other pixels: what a file says beside its pixels
stays, where a file of its kind can be written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.base.words import so_many
from vlb.core.layouts import Image
from vlb.core.schema import Schema
from vlb.data.arranged import SUFFIXES
from vlb.data.contents import content_of
from vlb.data.folder import read_pictures
from vlb.data.formats.base import Declined, File, Member, Writable
from vlb.data.formats.bmp import Bmp
from vlb.data.formats.npy import Npy
from vlb.data.formats.png import Png
from vlb.data.formats.pnm import Pnm
from vlb.data.pictures import UNSAID, Tally, read_picture
from vlb.data.values import as_images, as_levels

# Kinds of picture files that are written, none of which loses anything.
WRITTEN: Mapping[str, Writable] = MappingProxyType(
    {".png": Png(), ".bmp": Bmp(), ".pgm": Pnm(), ".ppm": Pnm(), ".pbm": Pnm(), ".pnm": Pnm()}
)

ITSELF = PurePath()  # the name of one file


@dataclass(frozen=True, eq=False)
class Brought:
    """Pictures on the scale of a model.

    what: where they are from; x: (n, C, H, W) levels; names: of the files they are, relative to a folder, none of an
    array; notes: what is to be said of them; written: x with other pixels as the contents of files by the suffix asked
    for: of a folder by their names, of one file under the name `ITSELF`.
    """

    what: str
    x: np.ndarray
    names: tuple[PurePath, ...]
    notes: tuple[str, ...]
    written: Callable[[np.ndarray, str], dict[PurePath, bytes]]


def suffixes(path: Path) -> tuple[str, ...]:
    """How files may end in which pictures like those at `path` are written; none where they go into a folder.

    Raises `UserError` for what is no picture, no folder and no .npy file."""
    if path.is_dir():
        return ()
    if not path.is_file():
        raise UserError(f"there is no picture at {path}: give a picture, a folder of pictures or an .npy file")
    suffix = path.suffix.lower()
    if suffix != ".npy" and suffix not in SUFFIXES:
        raise UserError(f"{path} is no picture, as a mask is for: give a picture, a folder of pictures or an .npy file")
    return tuple(dict.fromkeys((suffix, ".png"))) if suffix in WRITTEN else (".png" if suffix in SUFFIXES else suffix,)


def brought(pictures: Any, schema: Schema) -> Brought:
    """A picture file, a folder of them, an .npy file or an array: (H, W), (C, H, W), (n, H, W), (n, C, H, W) or
    (n, H, W, C).

    Raises `UserError`, naming the file, for what is missing, empty or damaged, of another size than the schema's
    images, or has values that are none of its levels.
    """
    if not isinstance(pictures, str | Path):
        return _array(np.asarray(pictures), b"", "the array", schema)
    path = Path(pictures).expanduser()
    suffixes(path)
    try:
        if path.is_dir():
            return _folder(path, schema)
        if path.suffix.lower() != ".npy":
            return _file(path, schema)
        file = Npy().read(content_of(path))
        return _array(file.members[0].values, file.rest, str(path), schema)
    except Declined as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def images(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A view of an array of one or more images as (n, C, H, W). Raises `UserError` for other than `shape`."""
    if array.ndim == 2:
        found = array[None, None]
    elif array.shape == shape:
        found = array[None]
    else:
        found = array if array.ndim == 4 and array.shape[1:] == shape else as_images(array, what)
    if found.shape[1:] != shape or not len(found):
        raise UserError(f"{what} has shape {array.shape}, and the model is of images {size(shape)}")
    return found


def size(shape: tuple[int, ...]) -> str:
    """Of a picture (C, H, W), in words."""
    channels, height, width = shape
    return f"of {width} × {height} pixels in {so_many(channels, 'channel')}"


def _array(array: np.ndarray, rest: bytes, what: str, schema: Schema) -> Brought:
    shape = _shape(schema)
    x = as_levels(images(array, shape, what), schema.levels, what, "those of the model: give data on its scale")

    def written(x: np.ndarray, suffix: str) -> dict[PurePath, bytes]:
        if suffix != ".npy":
            raise UserError(f"arrays are written as .npy, not as {suffix or 'a folder'}")
        new = np.array(array, order="K")
        images(new, shape, what)[...] = x
        return {ITSELF: Npy().write(File((Member("", new),), rest))}

    return Brought(what, x, (), (), written)


def _file(path: Path, schema: Schema) -> Brought:
    picture = read_picture(path)
    tally = Tally()
    tally.add(picture.said, path.name)
    x = _levels(picture.values[None], picture.levels, str(path), schema)

    def written(new: np.ndarray, suffix: str) -> dict[PurePath, bytes]:
        return {ITSELF: rewritten(path, new[0], suffix)}

    return Brought(str(path), x, (PurePath(path.name),), (*tally.remarks, *_anew([path])), written)


def _folder(folder: Path, schema: Schema) -> Brought:
    read = read_pictures(folder)
    paths = read.found.paths
    names = [path if path.suffix.lower() in WRITTEN else path.with_suffix(".png") for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{folder}: two pictures would be written as {sorted(twice)[0]}: rename one of them")
    changed = [path for path, name in zip(paths, names, strict=True) if path != name]
    notes = [*read.found.notes, *read.remarks, *_anew([folder / path for path in paths])]
    if changed:
        notes.append(f"{len(changed)} pictures are of kinds that lose pixels, and become .png (the first {changed[0]})")

    def written(x: np.ndarray, suffix: str) -> dict[PurePath, bytes]:
        each = zip(paths, names, x, strict=True)
        return {name: rewritten(folder / path, own, name.suffix) for path, name, own in each}

    x = _levels(read.x, UNSAID if read.levels is None else read.levels, str(folder), schema)
    return Brought(str(folder), x, paths, tuple(notes), written)


def rewritten(path: Path, x: np.ndarray, suffix: str) -> bytes:
    """The picture file with pixels x (C, H, W): all else as it was where the file's own kind is written, and its pixels
    are no indices of a palette; else a plain one. Raises `UserError` for a kind that is not written."""
    kind = WRITTEN.get(suffix.lower())
    if kind is None:
        raise UserError(f"pictures are written as {', '.join(WRITTEN)}, which lose nothing, and not as {suffix}")
    own = _own(kind, path)
    if own is not None:
        file, values = own
        return kind.write(File((Member("", _as_stored(x, values)),), file.rest))
    plain = read_picture(path).values
    return kind.write(
        File((Member("", _as_stored(x, plain[0] if len(plain) == 1 else plain.transpose(1, 2, 0))),), b"")
    )


def _anew(paths: Sequence[Path]) -> tuple[str, ...]:
    """What is to be said of files of a kind that is written, of which the pixels alone are."""
    found = [path for path in paths if (kind := WRITTEN.get(path.suffix.lower())) and _own(kind, path) is None]
    if not found:
        return ()
    few = f"{len(found)} (the first {found[0].name})"
    return (f"written anew as plain files, for they have a palette or are packed: {few}",)


def _own(kind: Writable, path: Path) -> tuple[File, np.ndarray] | None:
    """The file as its format reads it, if that reads the pixels that a picture is taken for."""
    content = content_of(path)
    if not kind.recognises(path.name, content[:64]):
        return None
    try:
        file = kind.read(content)
    except Declined:
        return None
    values, seen = file.members[0].values, read_picture(path).values
    same = values.ndim in (2, 3) and np.array_equal(np.atleast_3d(values).transpose(2, 0, 1), seen)
    palette = values.ndim == 2 and len(seen) == 3
    return (file, values) if same and not palette else None


def _as_stored(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """x (C, H, W) as (H, W) or (H, W, C) in the type of `values`."""
    return (x[0] if values.ndim == 2 else x.transpose(1, 2, 0)).astype(values.dtype)


def _levels(x: np.ndarray, said: int, what: str, schema: Schema) -> np.ndarray:
    if said not in (UNSAID, schema.levels):
        raise UserError(f"{what} is of {said} levels, and the model of {schema.levels}: give pictures on its scale")
    return as_levels(
        images(x, _shape(schema), what), schema.levels, what, "those of the model: give pictures on its scale"
    )


def _shape(schema: Schema) -> tuple[int, ...]:
    assert isinstance(schema.layout, Image)
    return schema.shape
