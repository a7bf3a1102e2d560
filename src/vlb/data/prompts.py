"""Spoken prompts of a telephone exchange: 568 recordings of one voice, 8 kHz, 16-bit mono, 25.5 minutes, CC-BY-SA 3.0.

They are Debian's package asterisk-core-sounds-en-wav 1.6.1. Where they are not to be had, chirps are made instead.
"""

import io
import tarfile
from pathlib import Path, PurePath

import numpy as np

from vlb.base.errors import UserError
from vlb.data.cache import Known, Source, Unreachable, obtain, run_client
from vlb.data.dataset import Dataset
from vlb.data.formats.base import Declined
from vlb.data.formats.wav import Wav, to_mu_law
from vlb.data.recordings import Manner, Recording
from vlb.data.sounds import Windows, made

PACKAGE = "asterisk-core-sounds-en-wav"
VOICE = Path("usr/share/asterisk/sounds/en_US_f_Allison")
PACKED = "prompts.tar"  # all recordings, in the order of their paths
RATE, COUNT = 8000, 568


def prompts(cache: Path | None, windows: Windows) -> Dataset:
    """The prompts, divided by recording as a folder is; chirps, with a remark, where they are not to be had."""
    try:
        content = obtain(PROMPTS, cache)[PACKED]
    except UserError as error:
        made_up = made("chirps", _in(windows, chirps()), windows, "chirps")
        why = f"chirps stand in for the prompts, which are not to be had: {error}"
        return Dataset(
            made_up.name, made_up.schema, made_up.train, made_up.validation, made_up.test,
            remarks=(*made_up.remarks, why),
        )  # fmt: skip
    return made("prompts", _in(windows, unpacked(content)), windows, "the prompts")


def chirps(count: int = 100) -> dict[PurePath, np.ndarray]:
    """Tones that rise or fall, with two overtones and a little noise: one second each, uint16 (1, time)."""
    rng, t = np.random.default_rng(0), np.arange(RATE) / RATE
    sounds = dict[PurePath, np.ndarray]()
    for number in range(count):
        low, high, loud = rng.uniform(100, 400), rng.uniform(400, 1200), rng.uniform(500, 8000)
        phase = 2 * np.pi * np.cumsum(low + (high - low) * (t if number % 2 else t[::-1])) / RATE
        tone = np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)
        wave = loud * np.hanning(RATE) * tone + rng.normal(0, 20, RATE)
        sounds[PurePath(f"chirp-{number:03}.wav")] = (np.rint(wave) + (1 << 15)).astype(np.uint16)[None]
    return sounds


def unpacked(content: bytes) -> dict[PurePath, np.ndarray]:
    """The recordings in the packed file, uint16 (1, time) by their paths."""
    sounds = dict[PurePath, np.ndarray]()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            sounds[PurePath(member.name)] = Wav().read(stream.read()).members[0].values.T
    return sounds


def packed(folder: Path) -> bytes:
    """All recordings below a folder as one file, the same for the same recordings. Raises `Unreachable` where they are
    not so many."""
    paths = sorted(folder.rglob("*.wav"), key=lambda path: path.relative_to(folder).parts)
    if len(paths) != COUNT:
        raise Unreachable(f"{folder} has {len(paths)} recordings instead of {COUNT}")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in paths:
            content, member = path.read_bytes(), tarfile.TarInfo(path.relative_to(folder).as_posix())
            try:
                Wav().read(content)
            except Declined as error:
                raise Unreachable(f"{path} cannot be read: {error}") from error
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _in(windows: Windows, sounds: dict[PurePath, np.ndarray]) -> dict[PurePath, Recording]:
    if windows.mu_law:
        return {path: Recording(to_mu_law(x), Manner(RATE, 1, 256, True)) for path, x in sounds.items()}
    return {path: Recording(x, Manner(RATE, 1, 1 << 16, False)) for path, x in sounds.items()}


def _fetch(folder: Path) -> dict[str, bytes]:
    if (Path("/") / VOICE).is_dir():  # installed
        return {PACKED: packed(Path("/") / VOICE)}
    run_client(["apt-get", "download", PACKAGE], folder)
    packages = sorted(folder.glob("*.deb"))
    if len(packages) != 1:
        raise Unreachable(f"apt-get left {len(packages)} packages instead of one")
    run_client(["dpkg", "-x", packages[0].name, "unpacked"], folder)
    return {PACKED: packed(folder / "unpacked" / VOICE)}


PROMPTS = Source(
    "prompts",
    {PACKED: Known(24924160, "0305e06301b3c068a13a43f13ca6ffe8ca0bb09b349078877133da1cd3e46cbf")},
    _fetch,
    f"install them with `apt-get install {PACKAGE}`",
)
