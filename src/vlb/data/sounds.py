"""Sound as data: recordings cut into windows of one length, and split by recording.

Windows of one recording are in one split, for they are not independent. They follow each other from the beginning;
what is left over at the end of a recording, less than a window, is in none, and said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, NamedTuple

import numpy as np

from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.base.walk import LeftOut, Reason, found_in, reasons
from vlb.core.layouts import Wave
from vlb.core.position import maps
from vlb.core.schema import Levels, Schema
from vlb.data.asked import Asked
from vlb.data.dataset import SPLITS, Dataset, Split
from vlb.data.folder import arrangement
from vlb.data.recordings import SUFFIXES, Damaged, Manner, Recording, read_recording
from vlb.data.splits import division

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class Windows(Settings):
    """How recordings become examples. window: samples of each channel in one; mu_law: 16 bits as the 8 of µ-law;
    skip_damaged: leave out, and count, files that are damaged; position: each with where in its recording it lies."""

    window: Annotated[int, Within(16, 1 << 20)] = 512
    mu_law: bool = False
    skip_damaged: bool = False
    position: bool = False


class Cut(NamedTuple):
    """Windows of recordings. whole: (n,), of which each is; start: (n,), its first sample; length: (n,), samples of
    each channel of its recording; over: samples of each channel that are in none; short: recordings, by number, that
    hold no window; silent: those of one value."""

    x: np.ndarray
    whole: np.ndarray
    start: np.ndarray
    length: np.ndarray
    over: int
    short: tuple[int, ...]
    silent: tuple[int, ...]


def cut(sounds: list[np.ndarray], window: int) -> Cut:
    """Sounds (channels, time) as windows (n, channels, window), sound after sound."""
    counts = [sound.shape[1] // window for sound in sounds]
    parts = [
        sound[:, : count * window].reshape(len(sound), count, window).swapaxes(0, 1)
        for sound, count in zip(sounds, counts, strict=True)
    ]
    return Cut(
        np.ascontiguousarray(np.concatenate(parts)),
        np.repeat(np.arange(len(sounds)), counts),
        np.concatenate([np.arange(count, dtype=np.int64) * window for count in counts]),
        np.repeat([sound.shape[1] for sound in sounds], counts),
        sum(sound.shape[1] % window for sound in sounds),
        tuple(i for i, count in enumerate(counts) if not count),
        tuple(i for i, sound in enumerate(sounds) if sound.size and (sound == sound.flat[0]).all()),
    )


def positions(cut: Cut, layout: Wave) -> np.ndarray | None:
    """The maps of windows that come with their position, (n, maps, window), computed as they are asked for."""
    if not layout.position or layout.rate is None:
        return None
    window, rate = layout.shape[1], layout.rate
    shape = (len(cut.x), layout.maps, window)
    return Asked(shape, np.float32, lambda index: maps(cut.start[index], cut.length[index], window, rate)).array


def schema_of(manner: Manner, windows: Windows, classes: tuple[str, ...] | None = None) -> Schema:
    """What a window is."""
    layout = Wave((manner.channels, windows.window), manner.rate, manner.mu_law, windows.position)
    return Schema(layout=layout, kinds=Levels(manner.levels), labels=classes)


def load_sounds(path: Path, windows: Windows) -> Dataset:
    """The recordings of a folder, .wav and .flac, searched recursively, in sorted order, as a data set called after it.

    All are of one rate, depth and number of channels. Folders are splits and classes as `arranged` has them; without
    splits recordings are divided 80/10/10 by the permutation of `splits`.

    Raises `UserError`, naming the file, for what is missing, empty, damaged (unless it is to be skipped) or stored
    otherwise than the first, and where a split has no window.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        what = "is no folder" if path.exists() else "is not there"
        raise UserError(f"{path} {what}: give the path of a folder of recordings (.wav, .flac)")
    found = found_in(path, SUFFIXES, "recordings")
    try:
        read, damaged = _read(path, found.paths, windows)
    except Damaged as error:
        raise Damaged(f"{error}; --skip-damaged leaves such files out") from error
    if not read:
        raise UserError(f"{path}: all {len(found.paths)} recordings are damaged, the first is {damaged[0].path}")
    return made(path.name, read, windows, str(path), reasons([*found.left_out, *damaged]), found.links)


def made(
    name: str,
    read: Mapping[PurePath, Recording],
    windows: Windows,
    what: str,
    out: Reasons = (),
    links: tuple[str, ...] = (),
) -> Dataset:
    """A data set of recordings by their paths, divided as these say; links: what is to be said of those that were
    followed. Raises `UserError`, naming `what`."""
    manner = one_manner(read, what)
    paths = list(read)
    arranged = arrangement(Path(what), paths)
    parts, classes = arranged.parts, arranged.classes
    indices = division(len(parts["train"]), validation="validation" not in parts, test="test" not in parts, what=what)
    schema = schema_of(manner, windows, classes)
    layout = schema.layout
    assert isinstance(layout, Wave)
    splits, number = dict[str, Split](), {path: i for i, path in enumerate(paths)}
    remarks = [*links, *arranged.remarks]
    over, all_, short, silent = 0, 0, list[PurePath](), list[PurePath]()
    for split, index in zip(SPLITS, indices, strict=True):
        own = parts[split] if split in parts and index is None else [parts["train"][i] for i in _known(index)]
        pieces = cut([read[path].values for path in own], windows.window)
        if not len(pieces.x):
            raise UserError(
                f"{what}: no recording of the {split} split is as long as a window of {windows.window:,} samples: give "
                "longer ones, or a shorter --window"
            )
        labels = None
        if classes is not None:
            labels = np.array([classes.index(arranged.named[path]) for path in own], np.int64)[pieces.whole]
        wholes = np.array([number[path] for path in own], np.int64)[pieces.whole]
        splits[split] = Split(pieces.x, labels, whole=wholes, planes=positions(pieces, layout))
        over, all_ = over + pieces.over, all_ + sum(read[path].values.shape[1] for path in own)
        short += [own[i] for i in pieces.short]
        silent += [own[i] for i in pieces.silent]
    remarks.append(f"{len(paths):,} recordings, {manner}, {all_ / manner.rate:,.0f} s")
    if over:
        remarks.append(f"at the ends of recordings, {over:,} samples ({over / all_:.1%}) make no whole window")
    remarks += [str(reason) for reason in reasons(LeftOut(str(path), "shorter than a window") for path in short)]
    remarks += [str(reason) for reason in reasons(LeftOut(str(path), "silent throughout") for path in silent)]
    return Dataset(
        name, schema, splits["train"], splits["validation"], splits["test"], left_out=out, remarks=tuple(remarks)
    )


class Heard(NamedTuple):
    """Windows for a model. x: (n, channels, window); whole: (n,), which recording each is of; labels: (n,) names of
    classes, where each recording lies in a folder of one; names: the file and the first second of each; planes: their
    positions, for a model that is told these; notes: what is to be said of them."""

    x: np.ndarray
    whole: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    planes: np.ndarray | None
    notes: tuple[str, ...]


def read_windows(path: Path, schema: Schema) -> Heard:
    """Windows of a recording, or of all in a folder, for a model of a schema. Raises `UserError` for other sound than
    the model's."""
    layout = schema.layout
    assert isinstance(layout, Wave) and layout.rate is not None
    windows = Windows(window=layout.shape[1], mu_law=layout.mu_law)
    paths: tuple[PurePath, ...] = (PurePath(path.name),)
    said: tuple[str, ...] = ()
    named = dict[PurePath, str]()
    if path.is_dir():
        found = found_in(path, SUFFIXES, "recordings")
        paths, said, named = found.paths, found.notes, arrangement(path, found.paths).named
    read, _ = _read(path if path.is_dir() else path.parent, paths, windows)
    manner, own = one_manner(read, str(path)), Manner(layout.rate, layout.shape[0], schema.levels, layout.mu_law)
    if manner != own:
        raise UserError(f"{path} is {manner}, and the model is of {own}: convert one of them")
    pieces = cut([recording.values for recording in read.values()], windows.window)
    if not len(pieces.x):
        raise UserError(f"{path} holds no window of {windows.window:,} samples: it is too short")
    names = tuple(f"{paths[i]} from {at / layout.rate:.3f} s" for i, at in zip(pieces.whole, pieces.start, strict=True))
    if pieces.over:
        said += (f"{pieces.over:,} samples at the ends of recordings make no whole window",)
    labels = np.array([named[one] for one in paths])[pieces.whole] if named else None
    return Heard(pieces.x, pieces.whole, labels, names, positions(pieces, layout), said)


def one_manner(read: Mapping[PurePath, Recording], what: str) -> Manner:
    """How all of them are stored. Raises `UserError` where two differ."""
    (first, (_, manner)), *others = read.items()
    for path, recording in others:
        if recording.manner != manner:
            raise UserError(
                f"{what}: recordings differ: {first} is {manner}, {path} is {recording.manner}; make them all alike"
            )
    return manner


def _read(
    folder: Path, paths: tuple[PurePath, ...], windows: Windows
) -> tuple[dict[PurePath, Recording], list[LeftOut]]:
    """Recordings by path; those that are damaged, if they are to be left out."""
    read, damaged = dict[PurePath, Recording](), list[LeftOut]()
    for path in paths:
        try:
            read[path] = read_recording(folder / path, windows.mu_law)
        except Damaged:
            if not windows.skip_damaged:
                raise
            damaged.append(LeftOut(str(path), "damaged files"))
    return read, damaged


def _known(index: np.ndarray | None) -> list[int]:
    assert index is not None  # of a split that the folder does not have
    return list(map(int, index))
