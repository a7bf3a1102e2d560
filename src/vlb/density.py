"""log p per example as a tool: precise values for single examples, and what they say of data from elsewhere.

A low −log p does not make an example typical: simple pictures are likely under models of complicated ones (Nalisnick
et al. 2019). Three corrections are here. Typicality, | −log p(x) − H |, asks whether an example is as likely as the
training data are, and not likelier (Nalisnick et al. 2019b). A likelihood ratio, log p_background(x) − log p(x), takes
away what any model finds easy (Ren et al. 2019); with a compressor in place of the background it is the complexity
correction of Serrà et al. (2020). All are in nats, and larger means stranger.
"""

import lzma
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.bound import estimate
from vlb.errors import UserError
from vlb.models.diffusion import DiffusionModel


class EvenTimes:
    """The k-th of K draws of an example is at the time (u + k/K) mod 1, u uniform, of its own for each example.

    For one call of `bound.estimate`, with `draws` = K: the mean over K places is then a systematic sample of t.
    """

    def __init__(self, draws: int) -> None:
        self.draws, self.made = draws, 0
        self.start: Tensor | None = None

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times (n,) and their weights, 1."""
        if self.start is None:
            self.start = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        t = (self.start + self.made / self.draws) % 1
        self.made += 1
        return t, torch.ones_like(t)


@dataclass(frozen=True, eq=False)
class PerExample:
    """A diffusion model's bound by `draws` ≥ 1 times per example, spread evenly over [0, 1] for each of them.

    The mean over many examples gains little from this, which spreads times over a batch anyway; a single example's
    value gains all of the variance between noise levels.
    """

    model: DiffusionModel
    draws: int

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"a bound needs at least one draw, not {self.draws}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.model.shape

    @property
    def bound(self) -> str:
        """What the sum of `terms` is, in words."""
        return self.model.bound

    def terms(self, x: Tensor, condition: object, generator: torch.Generator) -> dict[str, Tensor]:
        """One randomisation of the three terms of −VLB(x), (batch,) nats each."""
        drawn = estimate(self.model, x, condition, EvenTimes(self.draws), generator, self.draws)
        return {"reconstruction": drawn.reconstruction, "prior": drawn.prior, "diffusion": drawn.diffusion}


def typicality(nats: np.ndarray, entropy: float) -> np.ndarray:
    """| −log p(x) − H |, (examples,) nats; entropy: the mean of −log p over training data."""
    distance: np.ndarray = np.abs(nats - entropy)
    return distance


def likelihood_ratio(nats: np.ndarray, background: np.ndarray) -> np.ndarray:
    """log p_background(x) − log p(x), (examples,) nats, from −log of both."""
    return nats - background


def complexity(x: np.ndarray, levels: int) -> np.ndarray:
    """The length of every example compressed by itself, (examples,) nats: LZMA of its values, without a header.

    x: (n, *shape) whole numbers below `levels`. Lengths are whole bytes, coarse for small examples.
    """
    kind = "u1" if levels <= 256 else "<u2"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    lengths = [
        len(lzma.compress(np.ascontiguousarray(example, kind).tobytes(), lzma.FORMAT_RAW, filters=filters))
        for example in x
    ]
    return np.array(lengths, np.float64) * 8 * math.log(2)


@dataclass(frozen=True)
class Detection:
    """auroc: the probability that a strange example scores higher than a known one; error: its standard error."""

    auroc: float
    error: float


def detection(known: np.ndarray, strange: np.ndarray) -> Detection:
    """How well scores, (n,) and (m,), tell strange examples from known ones: Mann & Whitney's statistic, ties as half.

    The error is DeLong's, from the placement of each example among those of the other kind. Raises `UserError` for
    fewer than 2 of either.
    """
    n, m = len(known), len(strange)
    if min(n, m) < 2:
        raise UserError(f"detection is measured with at least 2 examples of each kind, not {n} and {m}")
    order_known, order_strange = np.sort(known), np.sort(strange)
    below = (np.searchsorted(order_known, strange, "left") + np.searchsorted(order_known, strange, "right")) / (2 * n)
    above = 1 - (np.searchsorted(order_strange, known, "left") + np.searchsorted(order_strange, known, "right")) / (
        2 * m
    )
    return Detection(float(below.mean()), math.sqrt(below.var(ddof=1) / m + above.var(ddof=1) / n))
