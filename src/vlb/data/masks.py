"""Masks: which pixels of pictures are to be filled. White, or anything but 0, is to fill; black, 0, is kept."""

from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.data.arranged import SUFFIXES, pictures
from vlb.data.brought import Brought
from vlb.data.contents import content_of
from vlb.data.formats.base import Declined
from vlb.data.formats.npy import Npy
from vlb.data.pictures import read_picture
from vlb.data.values import CHANNELS

FIRST = 3  # of many, so many are named


class Masks(NamedTuple):
    """holes: (n, H, W) bool, True where a pixel is to be filled; notes: what is to be said of them."""

    holes: np.ndarray
    notes: tuple[str, ...]


def masks(mask: Any, of: Brought) -> Masks:
    """The masks of pictures: one for all of them, or as many as there are. A pixel is to be filled, all channels of it,
    where any channel of its mask is not 0.

    mask: a picture file; an .npy file or an array (H, W), (n, H, W), (n, C, H, W) or (n, H, W, C), in the order of the
    pictures; or a folder with a mask for each picture, of the same name but for the suffix.

    Raises `UserError`, naming the file, for masks of another size or number, and for what is none.
    """
    if not isinstance(mask, str | Path):
        return _told(_from_array(np.asarray(mask), of, "the mask"), of, "the mask")
    path = Path(mask).expanduser()
    try:
        if path.is_dir():
            values, notes = _from_folder(path, of)
            found = _told(values, of, str(path))
            return found._replace(notes=(*notes, *found.notes))
        if not path.is_file():
            raise UserError(f"there is no mask at {path}: give a picture, a folder of pictures or an .npy file")
        if path.suffix.lower() == ".npy":
            values = _from_array(Npy().read(content_of(path)).members[0].values, of, str(path))
        elif path.suffix.lower() in SUFFIXES:
            values = _from_picture(path, of)[None]
        else:
            raise UserError(f"{path} is of no known kind: give a mask as a picture, a folder of pictures or .npy")
    except Declined as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    return _told(values, of, str(path))


def _from_array(array: np.ndarray, of: Brought, what: str) -> np.ndarray:
    """Values (1 or n, H, W), the largest of the channels."""
    if array.dtype.kind not in "buif":
        raise UserError(
            f"{what} is an array of {array.dtype}: give truth values, or numbers that are 0 where pixels stay"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise UserError(f"{what} holds NaN: give truth values, or numbers that are 0 where pixels stay")
    array = np.abs(array)  # of channels, the one that is furthest from 0 counts
    n, channels, *sides = of.x.shape
    size = tuple(sides)
    if array.ndim == 2:
        found = array[None]
    elif array.ndim == 3 and array.shape[1:] == size and len(array) in (1, n):
        found = array
    elif array.ndim == 3 and array.shape[1:] == size and len(array) == channels:
        found = array.max(0)[None]
    elif array.ndim == 4 and array.shape[2:] == size and array.shape[1] in CHANNELS:
        found = array.max(1)
    elif array.ndim == 4 and array.shape[1:3] == size and array.shape[3] in CHANNELS:
        found = array.max(3)
    else:
        found = array
    if found.ndim != 3 or found.shape[1:] != size:
        raise UserError(
            f"{what} has shape {array.shape}, and the pictures are {size[1]} × {size[0]} pixels (H, W = {size})"
        )
    if len(found) not in (1, n):
        raise UserError(f"{what} holds {len(found)} masks, and there are {n} pictures: give one, or one for each")
    return found


def _from_picture(path: Path, of: Brought) -> np.ndarray:
    channels, (height, width) = read_picture(path).values, of.x.shape[2:]
    if len(channels) == 4:
        raise UserError(f"{path} has an alpha channel, and a mask is black and white: save it without")
    values = channels.max(0)
    if values.shape != (height, width):
        raise UserError(
            f"{path} is {values.shape[1]} × {values.shape[0]} pixels, and the pictures are {width} × {height}: give a "
            "mask of the same size"
        )
    return values


def _from_folder(folder: Path, of: Brought) -> tuple[np.ndarray, tuple[str, ...]]:
    if not of.names:
        raise UserError(f"{folder} is a folder of masks, which go with pictures by name: give masks of arrays as .npy")
    found = pictures(folder)
    own: dict[PurePath, PurePath] = {}
    for path in found.paths:
        if (name := path.with_suffix("")) in own:
            raise UserError(f"{folder} has two masks of one picture, {own[name]} and {path}: leave one of them out")
        own[name] = path
    lost = [str(name) for name in of.names if name.with_suffix("") not in own]
    if lost:
        raise UserError(f"{folder} has no mask for {len(lost)} of {len(of.names)} pictures{_named(lost)}")
    used = [own.pop(name.with_suffix("")) for name in of.names]
    notes = (f"masks of no picture, left out: {len(own)}{_named([str(path) for path in own.values()])}",) if own else ()
    return np.stack([_from_picture(folder / path, of) for path in used]), (*found.notes, *notes)


def _told(values: np.ndarray, of: Brought, what: str) -> Masks:
    """Values as masks of all pictures, with what is to be said of greys, and of masks that are of one colour."""
    holes, notes = values != 0, []
    grey = holes & (values != values.max(initial=0))
    if grey.any():
        notes.append(
            f"{what}: {int(grey.sum()):,} pixels of the mask are neither black nor its brightest, and are filled, as "
            "all that is not black"
        )
    every, none = (int(part.sum()) for part in (holes.all((1, 2)), ~holes.any((1, 2))))
    if every:
        notes.append(f"{what}: {_count(every, len(holes))} white throughout, so that nothing is known: drawn from p(x)")
    if none:
        notes.append(f"{what}: {_count(none, len(holes))} black throughout, so that nothing is to be filled")
    return Masks(np.broadcast_to(holes, (len(of.x), *holes.shape[1:])), tuple(notes))


def _count(some: int, every: int) -> str:
    return "the mask is" if every == 1 else f"{some} of {every} masks are"


def _named(names: list[str]) -> str:
    return f": {', '.join(names[:FIRST])}{', …' if len(names) > FIRST else ''}"
