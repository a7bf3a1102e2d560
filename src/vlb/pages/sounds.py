"""Samples of sound beside data: how they look, over time and by frequency, and how they are heard."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.core.layouts import Wave
from vlb.core.position import LASTING
from vlb.data import Dataset
from vlb.data.pieces import alone
from vlb.generate.pictures import png
from vlb.generate.sounds import amplitudes, audible, played, player
from vlb.models.protocols import LikelihoodModel
from vlb.pages import figures
from vlb.pages.markup import picture_element, text

SHOWN, ACROSS = 8, 4
PAUSE = 0.25  # seconds between two that are played one after the other
REACH = 90.0  # decibels from the loudest to what is drawn as silence


@dataclass(frozen=True)
class Sounds:
    """samples, data: (n, C, T) whole numbers below `levels`; how: the samples came about, in words."""

    samples: np.ndarray
    data: np.ndarray
    wave: Wave
    levels: int
    how: str


def heard(model: LikelihoodModel, data: Dataset, *, device: torch.device | str = "cpu", seed: int = 0) -> Sounds | None:
    """Samples by the model's own way beside windows drawn from the test split; None for what is no sound."""
    wave = audible(data.schema.layout, data.schema.count)
    if wave is None:
        return None
    generator, condition = torch.Generator().manual_seed(seed), alone(data.schema, SHOWN).to(device)
    x = model.sample(SHOWN, generator=generator, condition=condition).cpu().numpy().astype(data.schema.dtype)
    how = "ancestral sampling" + (f", evenly over a recording of {LASTING:g} s" if wave.position else "")
    return Sounds(x, data.test.subset(SHOWN).x, wave, data.levels, how)


def section(sounds: Sounds) -> str:
    """Both, side by side."""
    both = "".join(
        f"<figure><figcaption>{title}</figcaption>{_figure(x, sounds, title)}</figure>"
        for title, x in (("Samples", sounds.samples), ("Data", sounds.data))
    )
    assert sounds.wave.rate is not None
    seconds = sounds.wave.shape[1] / sounds.wave.rate
    note = (
        f"Samples by {sounds.how}, not selected; data: windows drawn from the test split. Each lasts {seconds:.3f} s; "
        f"the player has all of them, one after another, with pauses of {PAUSE} s. Above, amplitudes over time, each "
        "on its own scale, which stands beside it; below, their spectra over time, up to "
        f"{sounds.wave.rate / 2000:g} kHz, the same {REACH:.0f} dB in both figures."
    )
    return f'<section><h2>Samples beside data</h2>{both}<p class="note">{text(note)}</p></section>'


def _figure(x: np.ndarray, sounds: Sounds, title: str) -> str:
    wave, levels = sounds.wave, sounds.levels
    loud = amplitudes(x, wave, levels)
    svg = waveforms(loud, title)
    spectra = [spectrogram(one) for one in loud.mean(1)]
    gap = np.full((spectra[0].shape[0], 1), 255, np.uint8)
    strip = np.concatenate([part for one in spectra for part in (one, gap)][:-1], 1)
    picture = picture_element(png(strip, 4), f"{title}: spectra of {len(x)} windows")
    heard_ = player(played(_joined(x, sounds), wave))
    return f'<div class="chart wide">{svg}</div><div class="wide">{picture}</div>{heard_}'


def waveforms(loud: np.ndarray, title: str) -> str:
    """Amplitudes (n, C, T) over time, each on a scale of its own."""
    figure, axes = figures.panels(len(loud), ACROSS, 0.9)
    for one, place in zip(loud, axes, strict=True):
        reach = float(np.abs(one).max()) or 1.0
        place.plot(one.T, linewidth=0.7, color=figures.FIRST)
        place.set_ylim(-1.05 * reach, 1.05 * reach)
        place.set_xticks([])
        place.set_yticks([-reach, reach], [f"−{reach:.2g}", f"{reach:.2g}"], fontsize=7)
    return figures.as_svg(figure, f"waves-{title.lower()}", f"{title}: {len(loud)} waveforms")


def spectrogram(loud: np.ndarray, frame: int = 128, hop: int = 16) -> np.ndarray:
    """Of amplitudes (T,): power by frequency, the highest first, over time, as a picture (frame/2 + 1, n) uint8; white
    is 0 dB, a sine at full scale, black `REACH` below."""
    padded = np.pad(loud, (0, max(0, frame - len(loud))))
    window = np.hanning(frame + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    power = (np.abs(np.fft.rfft(frames * window, axis=1)) / (window.sum() / 2)) ** 2
    shade = 1 + 10 * np.log10(power + 1e-20) / REACH
    return np.rint(255 * shade.clip(0, 1)).astype(np.uint8).T[::-1]


def _joined(x: np.ndarray, sounds: Sounds) -> np.ndarray:
    """All (n, C, T) in a row, with pauses, (C, time)."""
    assert sounds.wave.rate is not None
    pause = np.full((x.shape[1], int(PAUSE * sounds.wave.rate)), sounds.levels // 2, x.dtype)
    return np.concatenate([part for one in x for part in (one, pause)], 1)
