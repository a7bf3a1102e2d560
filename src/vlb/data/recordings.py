"""Recordings: .wav files by the own format, .flac files by soundfile (extra), as numbers of whole samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.core.schema import MOST_LEVELS, smallest
from vlb.data.contents import content_of
from vlb.data.formats.base import Declined
from vlb.data.formats.rests import unpack
from vlb.data.formats.wav import Style, Wav, to_mu_law

SUFFIXES = (".flac", ".wav")
DEPTHS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}


class Damaged(UserError):
    """A recording that cannot be read."""


@dataclass(frozen=True)
class Manner:
    """How sound is stored. rate: samples a second; levels: how many values a sample has; mu_law: whether these are the
    256 of µ-law."""

    rate: int
    channels: int
    levels: int
    mu_law: bool

    def __str__(self) -> str:
        kind = "8-bit µ-law" if self.mu_law else f"{(self.levels - 1).bit_length()}-bit"
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"{kind} {channels} at {self.rate:,} Hz"


class Recording(NamedTuple):
    """values: (channels, time), numbered from the lowest amplitude up, uint8, uint16 or, of 24 bits, uint32."""

    values: np.ndarray
    manner: Manner


def read_recording(path: Path, mu_law: bool = False) -> Recording:
    """A recording; mu_law: 16 bits as 8-bit µ-law. Raises `UserError`, naming the file, and `Damaged` for one that is
    cut short or none."""
    recording = _flac(path) if path.suffix.lower() == ".flac" else _wav(path)
    values, manner = recording
    if not mu_law or manner.mu_law:
        return recording
    if manner.levels != 1 << 16:
        raise UserError(f"{path} is {manner}: µ-law is made of 16-bit samples; leave out --mu-law")
    return Recording(to_mu_law(values), Manner(manner.rate, manner.channels, 256, True))


def _wav(path: Path) -> Recording:
    try:
        file = Wav().read(content_of(path))
    except Declined as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    values, (style, _) = file.members[0].values, unpack(Style, file.rest)
    levels = 1 << (style.bits or 8 * values.dtype.itemsize)
    return Recording(values.T, _manner(path, style.rate, values.shape[1], levels, style.mu_law))


def _flac(path: Path) -> Recording:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise UserError(f"{path}: .flac files are read by soundfile: pip install 'vlb[sound]'") from error
    try:
        with soundfile.SoundFile(path) as file:
            depth = DEPTHS.get(file.subtype, 0)
            if not depth:
                raise UserError(f"{path} holds samples of the kind {file.subtype}: save it with 16 or 24 bits")
            manner = _manner(path, file.samplerate, file.channels, 1 << depth, False)
            samples = file.read(dtype="int32", always_2d=True)  # the highest bits of 32
            if len(samples) != file.frames:
                raise Damaged(f"{path} is cut short: {file.frames:,} samples are promised, {len(samples):,} follow")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        why = str(error).removeprefix("Error : ").rstrip(".")
        raise Damaged(f"{path} cannot be read: {why}; it may be cut short, get it again") from error
    numbers = (samples.view(np.uint32) ^ np.uint32(1 << 31)) >> (32 - depth)
    return Recording(numbers.astype(smallest(1 << depth)).T, manner)


def _manner(path: Path, rate: int, channels: int, levels: int, mu_law: bool) -> Manner:
    if levels > MOST_LEVELS:
        raise UserError(
            f"{path} has samples of {(levels - 1).bit_length()} bits, and a model has at most {MOST_LEVELS:,} levels: "
            "save it with 16 or 24 bits"
        )
    if not 0 < rate < 1 << 31:
        raise Damaged(f"{path} cannot be read: it says that it has {rate} samples a second")
    return Manner(rate, channels, levels, mu_law)
