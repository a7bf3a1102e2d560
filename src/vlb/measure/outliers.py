"""log p per example as a tool: what it says of data from elsewhere.

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

from vlb.base.errors import UserError


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
