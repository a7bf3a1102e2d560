"""Photographs of any size as examples of one: random crops to train on, tiles to be measured by.

What is held are places; pixels are decoded as they are asked for, so that a folder may be larger than memory.
"""

from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import reasons
from vlb.core.condition import Role
from vlb.core.layouts import Image
from vlb.core.schema import Levels, Pieces, Schema
from vlb.data.album import Album, album
from vlb.data.arranged import pictures
from vlb.data.asked import Asked
from vlb.data.dataset import SPLITS, Dataset, Split
from vlb.data.folder import arrangement
from vlb.data.pictures import DamagedPicture
from vlb.data.pieces import Grid, roles, windows
from vlb.data.splits import division

SAMPLE = 2048  # crops that stand for the training examples where these are to be counted
CROPS = 4  # a stream of random numbers, beside those of training


@dataclass(frozen=True, eq=False)
class Placed:
    """Pieces of the pictures of an album. picture: (n,), the number of each one's; place: (n, 2), where its tile is
    among the tiles, of which the parities matter; corner: (n, 2), its first pixel, margin and all."""

    album: Album
    pieces: Pieces
    picture: np.ndarray
    place: np.ndarray
    corner: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of x."""
        return (len(self.picture), self.album.channels, *self.pieces.window)

    def x(self, index: np.ndarray) -> np.ndarray:
        """The values of some of the pieces, (n, channels, *window)."""
        found = np.empty((len(index), *self.shape[1:]), np.uint8 if self.album.levels <= 256 else np.uint16)
        for number in np.unique(self.picture[index]):
            at = np.flatnonzero(self.picture[index] == number)
            found[at] = windows(self.pieces, self.album.picture(int(number)), self.corner[index[at]])
        return found

    def role(self, index: np.ndarray) -> np.ndarray:
        """The roles of some of the pieces, (n, channels, *window) uint8."""
        role = roles(self.pieces, self.place[index], self.corner[index], self.album.sizes[self.picture[index]])
        return np.broadcast_to(role[:, None], (len(index), *self.shape[1:]))

    @property
    def counted(self) -> np.ndarray:
        """How many values of its picture each tile has, (n,)."""
        first = self.corner + self.pieces.margin
        last = np.minimum(first + np.array(self.pieces.tile), self.album.sizes[self.picture])
        held: np.ndarray = self.album.channels * (last - np.maximum(first, 0)).prod(-1)
        return held

    def split(self, labels: np.ndarray | None, digest: bytes | None = None) -> Split:
        """As examples; labels: of each picture of the album."""
        observed = given = None
        if self.pieces.told:
            observed = Asked(self.shape, bool, lambda index: self.role(index) != Role.ABSENT).array
            given = Asked(self.shape, bool, lambda index: self.role(index) == Role.KNOWN).array
        return Split(
            Asked(self.shape, np.uint8 if self.album.levels <= 256 else np.uint16, self.x).array,
            None if labels is None else labels[self.picture],
            observed=observed,
            whole=self.picture,
            given=given,
            counted=self.counted,
            digest=digest,
            thing=self.album.picture,
        )


def tiles(album: Album, pieces: Pieces, chosen: np.ndarray) -> Placed:
    """The tiles of the pictures `chosen`, picture after picture."""
    picture, place, corner = [], [], []
    for number in chosen:
        grid = Grid(pieces, tuple(album.sizes[number]))
        every = np.arange(len(grid))
        picture.append(np.full(len(grid), number, np.int64))
        place.append(grid.places(every))
        corner.append(grid.corners(every))
    return Placed(album, pieces, *(np.concatenate(part) for part in (picture, place, corner)))


@dataclass(frozen=True, eq=False)
class Crops:
    """Random crops of the pictures `chosen`, where tiles might lie: each pixel is as likely as any other."""

    album: Album
    pieces: Pieces
    chosen: np.ndarray
    labels: np.ndarray | None

    def placed(self, seed: int, step: int, count: int) -> Placed:
        """So many of a step, a function of (seed, step)."""
        rng = np.random.default_rng([seed, CROPS, step])
        sizes = self.album.sizes[self.chosen]
        upto = np.cumsum(sizes.prod(-1))
        pixel = rng.integers(0, upto[-1], count)
        which = np.searchsorted(upto, pixel, "right")
        within = rng.integers(0, sizes[which])
        # A tile about a pixel that is as likely as any other, and never before a picture's first one, as no tile is.
        first = np.maximum(within - rng.integers(0, self.pieces.tile, (count, 2)), 0)
        place = rng.integers(0, 2, (count, 2))
        return Placed(self.album, self.pieces, self.chosen[which], place, first - self.pieces.margin)

    def draw(self, seed: int, step: int, count: int) -> Split:
        """The examples of a step."""
        return self.placed(seed, step, count).split(self.labels)


def load_photographs(folder: Path, pieces: Pieces, skip_damaged: bool = False, progress: Progress = SILENT) -> Dataset:
    """The pictures of any size below a folder: training draws crops of some, and the others are cut into tiles.

    Splits are of pictures, and folders are splits and classes as `files.load_images` has them; `train` is a sample of
    the crops. skip_damaged: leave out, and count, what is damaged. Raises `UserError`, naming the file, for what will
    not do.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"crops are of a folder of pictures, and {folder} is none: leave out --crop")
    progress.begin(f"looking through {folder}")
    found = pictures(folder)
    try:
        book = album(folder, found.paths, progress, skip_damaged)
    except DamagedPicture as error:
        raise UserError(f"{error}, or leave out all that are damaged: --skip-damaged") from error
    parts, classes, named, remarks = arrangement(folder, book.paths)
    numbers = {path: number for number, path in enumerate(book.paths)}
    labels = None if classes is None else np.array([classes.index(named[path]) for path in book.paths], np.int64)
    indices = division(
        len(parts["train"]), validation="validation" not in parts, test="test" not in parts, what=str(folder)
    )
    chosen = {}
    for name, index in zip(SPLITS, indices, strict=True):
        paths = parts[name] if name in parts else parts["train"]
        every = np.array([numbers[path] for path in paths], np.int64)
        chosen[name] = every if index is None else every[index]
    crops = Crops(book, pieces, chosen["train"], labels)
    small = _small(book, pieces)
    schema = Schema(
        layout=Image((book.channels, *pieces.window)), kinds=Levels(book.levels), labels=classes, pieces=pieces
    )
    return Dataset(
        folder.name,
        schema,
        crops.placed(0, 0, SAMPLE).split(labels, book.digest(chosen["train"])),
        tiles(book, pieces, chosen["validation"]).split(labels, book.digest(chosen["validation"])),
        tiles(book, pieces, chosen["test"]).split(labels, book.digest(chosen["test"])),
        left_out=(*found.left_out, *reasons(book.damaged)),
        remarks=(*found.remarks, *remarks, *book.remarks, *small, _words(book, pieces, chosen)),
        fresh=crops,
    )


def given_album(path: Path, schema: Schema) -> tuple[Album, tuple[str, ...]]:
    """Pictures that a person gives to a trained model, a folder of them or one, and what is to be said of the folder.
    Raises `UserError` for what will not do, and for pictures of other channels or levels than the model's."""
    if path.is_dir():
        found = pictures(path)
        book, notes = album(path, found.paths, SILENT), found.notes
    elif path.is_file():
        book, notes = album(path.parent, (PurePath(path.name),), SILENT), ()
    else:
        raise UserError(f"there is nothing at {path}; give a split's name, a picture, or a folder of pictures")
    if (book.channels, book.levels) != (schema.shape[0], schema.levels):
        raise UserError(
            f"{path} holds pictures of {book.channels} channels and {book.levels} levels, and the model is of "
            f"{schema.shape[0]} and {schema.levels}: convert them"
        )
    return book, notes


def _small(album: Album, pieces: Pieces) -> tuple[str, ...]:
    """What is to be said of pictures that are smaller than a tile. Raises `UserError` where the model would have to
    model what is not there."""
    small = np.flatnonzero((album.sizes < np.array(pieces.tile)).any(-1))
    if not len(small):
        return ()
    first, tile = album.paths[small[0]], "×".join(map(str, reversed(pieces.tile)))
    height, width = album.sizes[small[0]]
    if not pieces.told:
        raise UserError(
            f"{album.folder / first} is {width}×{height}, smaller than the crop of {tile}: choose a smaller --crop, "
            "leave it out, or train a model that is told what is absent: --set model.roles=true"
        )
    return (
        f"pictures smaller than the crop of {tile}, beyond which a tile is absent ({len(small):,} of {len(album):,}, "
        f"the first {first})",
    )


def _words(album: Album, pieces: Pieces, chosen: dict[str, np.ndarray]) -> str:
    """What examples are."""
    counts = ", ".join(f"{name} {len(chosen[name]):,}" for name in SPLITS)
    tile = "×".join(map(str, reversed(pieces.tile)))
    margin = f" with a margin of {pieces.margin} in {pieces.phases} phases" if pieces.margin else ""
    beyond = "absent" if pieces.told else "modelled too, as a repetition of its edge"
    return (
        f"pictures ({counts}) are seen in tiles of {tile}{margin}, what lies beyond a picture is {beyond}; training "
        f"draws fresh crops, of which {SAMPLE:,} are the examples of train"
    )
