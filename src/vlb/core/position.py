"""Where a window lies in its recording, as maps beside its samples, so that beginnings and ends can be learned."""

from dataclasses import dataclass

import numpy as np
import torch

SCALES = (0.03, 1.0)  # seconds
MAPS = 2 * len(SCALES)
LASTING = 3.0  # seconds of a recording of which nothing is known


def maps(start: np.ndarray, length: np.ndarray, window: int, rate: int) -> np.ndarray:
    """Of windows that begin at samples `start` (n,) of recordings of so many samples `length` (n,), at a rate a second:
    (n, `MAPS`, window) float32.

    Of a time s, that since the recording's beginning and then that until its end, one map for each scale τ:
    (s − τ)/(s + τ) = tanh(½ log(s/τ)), from −1 at the end itself to 1 far from it. Quotients are rounded alike
    everywhere, as a decoder needs.
    """
    before = start[:, None] + np.arange(window) + 0.5
    seconds = np.stack((before, length[:, None] - before), 1)[:, :, None] / rate
    scales = np.array(SCALES)[:, None]
    found: np.ndarray = (seconds - scales) / (seconds + scales)
    return found.reshape(len(start), MAPS, window).astype(np.float32)


@dataclass(frozen=True)
class Place:
    """Where windows are said to lie that are of no recording: they begin `start` seconds after its beginning, anywhere
    in it if that is None; lasting: of the recording, seconds, at least a window."""

    start: float | None = None
    lasting: float = LASTING

    def maps(self, n: int, window: int, rate: int, generator: torch.Generator | None = None) -> np.ndarray:
        """(n, `MAPS`, window), at random places with a generator, else evenly over the recording."""
        length = max(window, round(self.lasting * rate))
        if self.start is not None:
            start = np.full(n, min(round(self.start * rate), length - window))
        elif generator is not None:
            start = torch.randint(length - window + 1, (n,), generator=generator).numpy()
        else:
            start = (np.arange(n) + 0.5) / n * (length - window)
        return maps(np.floor(start), np.full(n, length), window, rate)

    def __str__(self) -> str:
        where = "anywhere" if self.start is None else f"from {self.start:g} s on"
        return f"{where} in recordings of {self.lasting:g} s"


ANYWHERE = Place()
