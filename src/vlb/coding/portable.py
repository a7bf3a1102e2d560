"""Numbers that come out the same on every machine: snapped parameters and functions tabulated without libm.

A network's outputs differ in the last digits between machines, batch shapes and thread counts. Every
parameter of a code is therefore rounded to a grid far wider than those differences, and everything
computed from the rounded parameters uses only operations that IEEE 754 defines to the last bit
(sums in a fixed order, products), or sums of whole numbers small enough to be exact in any order.
"""

from functools import cache

import numpy as np

LOG_STEP = 1 / 32  # nats; rounding log-probabilities costs about LOG_STEP²/24 nats a symbol
LOG_FLOOR = -24.0
_EXP_STEP = float.fromhex("0x1.f03f56a88b5d8p-1")  # exp(−1/32)
_CDF_STEP = 1 / 256
_CDF_REACH = 10
_EXP_CELL = float.fromhex("0x1.fffe0000ffffbp-1")  # exp(−_CDF_STEP²)
_EXP_HALF_CELL = float.fromhex("0x1.ffff00003ffffp-1")  # exp(−_CDF_STEP²/2)
_EXP_SMALL = float.fromhex("0x1.fe00ffaabffbcp-1")  # exp(−1/256)
WEIGHT_UNIT = 1 << 20
MOST = 1 << 52  # beyond it, float64 has no fractions


@cache
def _exponentials() -> np.ndarray:
    """exp(−k·LOG_STEP) for k = 0, 1, … down to LOG_FLOOR."""
    count = round(-LOG_FLOOR / LOG_STEP)
    return np.cumprod(np.concatenate(([1.0], np.full(count, _EXP_STEP))))


@cache
def _normal_cdf() -> np.ndarray:
    """Φ at multiples of _CDF_STEP within ±_CDF_REACH, by products and a running sum alone."""
    count = round(_CDF_REACH / _CDF_STEP)
    ratios = np.cumprod(np.concatenate(([_EXP_HALF_CELL], np.full(count - 1, _EXP_CELL))))
    density = np.cumprod(np.concatenate(([1.0], ratios)))
    area = np.concatenate(([0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))))
    upper = area / (2 * area[-1])
    return np.concatenate((0.5 - upper[:0:-1], 0.5 + upper))


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Φ(x), to about 1e-6 and monotone, the same bits everywhere."""
    place = np.clip((x + _CDF_REACH) / _CDF_STEP, 0, len(_normal_cdf()) - 1)
    cell = np.minimum(place.astype(np.int64), len(_normal_cdf()) - 2)
    low = _normal_cdf()[cell]
    return low + (place - cell) * (_normal_cdf()[cell + 1] - low)


@cache
def _logistic() -> np.ndarray:
    """1/(1 + eˣ) at x = 0, 1/256, … 32, by products and quotients alone."""
    falls = np.cumprod(np.concatenate(([1.0], np.full(32 * 256, _EXP_SMALL))))
    return falls / (1 + falls)


def logistic_cdf(x: np.ndarray) -> np.ndarray:
    """1/(1 + e⁻ˣ) to about 1e-6, monotone, the same bits everywhere; 0 left of −32."""
    table = _logistic()
    place = np.minimum(np.abs(x) * 256, len(table) - 1)
    cell = np.minimum(place.astype(np.int64), len(table) - 2)
    tail = table[cell] + (place - cell) * (table[cell + 1] - table[cell])
    tail = np.where(np.abs(x) > 32, 0.0, tail)
    return np.where(x > 0, 1 - tail, tail)


def snap(values: np.ndarray, steps: int) -> np.ndarray:
    """`values` as whole multiples of 1/steps: int64; those that have no fractions in float64 as the last that has."""
    return np.rint(np.clip(values * steps, -MOST, MOST)).astype(np.int64)


def snapped_weights(logits: np.ndarray) -> np.ndarray:
    """Logits (…, K) as snapped weights of their softmax, whole numbers up to WEIGHT_UNIT in float64.

    The logarithms are rounded relative to the largest. Each is at least 0, and the largest is WEIGHT_UNIT.
    """
    below = logits.max(-1, keepdims=True) - logits
    index = np.minimum(np.rint(below / LOG_STEP), len(_exponentials()) - 1).astype(np.int64)
    return np.rint(_exponentials()[index] * WEIGHT_UNIT)


def snapped_probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits (…, K) as positive weights of their softmax, snapped like `snapped_weights` but never zero."""
    below = logits.max(-1, keepdims=True) - logits
    index = np.minimum(np.rint(below / LOG_STEP), len(_exponentials()) - 1).astype(np.int64)
    return _exponentials()[index]
