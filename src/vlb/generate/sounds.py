"""Samples and data as sound."""

from base64 import b64encode

import numpy as np

from vlb.base.errors import UserError
from vlb.core.layouts import Layout, Wave
from vlb.data.formats.wav import from_mu_law, sound


def audible(layout: Layout, levels: int | None) -> Wave | None:
    """The layout, if examples of it are sound that a file holds."""
    heard = isinstance(layout, Wave) and layout.rate is not None and levels in (1 << 8, 1 << 16, 1 << 24)
    return layout if heard and isinstance(layout, Wave) else None


def wav(x: np.ndarray, wave: Wave | None) -> bytes:
    """One example (channels, time), whole numbers, as a .wav file of its own kind of samples. Raises `UserError` for
    examples that are no sound."""
    if wave is None or wave.rate is None:
        raise UserError(f"examples of shape {x.shape} are no sound: use .npz")
    return sound(np.ascontiguousarray(x.T), wave.rate, wave.mu_law)


def played(x: np.ndarray, wave: Wave) -> bytes:
    """The same for a browser, which does not play µ-law, nor everywhere 24 bits: with 16, or 8, bits."""
    assert wave.rate is not None
    if x.dtype == np.uint32:
        x = (x >> 8).astype(np.uint16)
    return sound(np.ascontiguousarray((from_mu_law(x) if wave.mu_law else x).T), wave.rate)


def amplitudes(x: np.ndarray, wave: Wave, levels: int) -> np.ndarray:
    """Samples (…) as amplitudes in [−1, 1]."""
    if wave.mu_law:
        x, levels = from_mu_law(x), 1 << 16
    return 2 * x.astype(np.float64) / levels - 1


def player(content: bytes) -> str:
    """An <audio> element that carries its .wav file with it."""
    return f'<audio controls preload="metadata" src="data:audio/wav;base64,{b64encode(content).decode()}"></audio>'
