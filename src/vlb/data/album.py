"""Pictures of any sizes in a folder, decoded when they are asked for: what is kept of them is bounded."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePath

import numpy as np

from vlb.base.errors import UserError
from vlb.base.progress import Progress
from vlb.base.walk import LeftOut
from vlb.base.words import so_many
from vlb.data.pictures import DamagedPicture, Sketch, Tally, read_picture, sketch_picture
from vlb.data.values import as_levels

KEPT = 1 << 29  # bytes of pictures that are decoded and kept


@dataclass(frozen=True, eq=False)
class Album:
    """Pictures of one number of channels and levels. paths: within the folder; sizes: (pictures, 2) int64, heights and
    widths; digests: SHA-256 of each file as it was looked at; remarks: what is to be said of pixels."""

    folder: Path
    paths: tuple[PurePath, ...]
    sizes: np.ndarray
    channels: int
    levels: int
    digests: tuple[bytes, ...]
    damaged: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()
    _kept: "OrderedDict[int, np.ndarray]" = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.paths)

    def picture(self, number: int) -> np.ndarray:
        """One picture, (channels, H, W). Raises `UserError` where it is damaged, or another one than it was."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        path = self.folder / self.paths[number]
        values = as_levels(read_picture(path).values[None], self.levels, str(path))[0]
        if values.shape != (self.channels, *self.sizes[number]):
            raise UserError(f"{path} has changed while it was used: begin again")
        self._kept[number] = values
        while len(self._kept) > 1 and sum(picture.nbytes for picture in self._kept.values()) > KEPT:
            self._kept.popitem(last=False)
        return values

    def digest(self, pictures: np.ndarray) -> bytes:
        """What stands for the content of some of the pictures: 32 bytes."""
        return sha256(b"".join(self.digests[int(i)] for i in pictures)).digest()


def album(folder: Path, paths: Sequence[PurePath], progress: Progress, skip_damaged: bool = False) -> Album:
    """The pictures at paths within a folder, each looked at once. skip_damaged: leave out those that are damaged.

    Raises `UserError` for what will not do, and where channels or levels differ.
    """
    kept: list[tuple[PurePath, Sketch]] = []
    damaged, tally = [], Tally()
    progress.begin(f"looking at {so_many(len(paths), 'picture')}", len(paths))
    for number, path in enumerate(paths, 1):
        try:
            sketch = sketch_picture(folder / path)
        except DamagedPicture:
            if not skip_damaged:
                raise
            damaged.append(LeftOut(str(path), "damaged pictures"))
            continue
        finally:
            progress.at(number)
        kept.append((path, sketch))
        _refuse_others(folder, kept[0], (path, sketch))
        tally.add(sketch.said, str(path))
    if not kept:
        raise UserError(f"{folder}: every picture is damaged ({damaged[0].path}, …): get them again")
    first = kept[0][1]
    return Album(
        folder,
        tuple(path for path, _ in kept),
        np.array([sketch.shape[1:] for _, sketch in kept], np.int64),
        first.shape[0],
        first.levels,
        tuple(sketch.digest for _, sketch in kept),
        tuple(damaged),
        tally.remarks,
    )


def _refuse_others(folder: Path, first: tuple[PurePath, Sketch], other: tuple[PurePath, Sketch]) -> None:
    (path, one), (its, two) = first, other
    if one.shape[0] != two.shape[0]:
        colours = {1: "greyscale", 3: "RGB", 4: "RGBA"}
        raise UserError(
            f"pictures differ: {folder / path} is {colours[one.shape[0]]}, {folder / its} is {colours[two.shape[0]]}; "
            "make them all of one number of channels"
        )
    if one.levels != two.levels:
        raise UserError(
            f"pictures differ: {folder / path} has {one.levels} levels, {folder / its} has {two.levels}; save them all "
            "with the same largest value"
        )
