"""Which cells are hidden: completely at random, at random, and not at random.

Logistic mechanisms as in Muzellec et al. (2020, "Missing data imputation using optimal transport"): logits of variance
one, and a constant found by bisection so that the expected share of hidden cells is the rate.
"""

from collections.abc import Callable

import numpy as np

USUAL = ("mcar", 0.3)  # the mechanism and the rate that every method runs at
SEEN = 0.3  # the share of columns of which "mar" hides nothing


def mcar(x: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Each cell by itself with probability `rate`."""
    return rng.random(x.shape) <= rate


def mar(x: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Three tenths of the columns are seen whole; a cell of another is hidden with a probability that is logistic in a
    random combination of these, with mean `rate` in each of the others."""
    columns = x.shape[1]
    order = rng.permutation(columns)
    seen, others = np.split(order, [min(columns - 1, max(1, round(SEEN * columns)))])
    scores = standard(standard(x[:, seen]) @ rng.normal(size=(len(seen), len(others))))
    gone = np.zeros(x.shape, bool)
    gone[:, others] = rng.random(scores.shape) <= chances(scores, rate)
    return gone


def mnar(x: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """A cell is hidden with a probability that is logistic in its own value, rising or falling by column."""
    signs = rng.choice([-1.0, 1.0], x.shape[1])
    return rng.random(x.shape) <= chances(standard(x) * signs, rate)


def standard(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1; constants stay 0."""
    deviation = x.std(0)
    return (x - x.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def chances(scores: np.ndarray, rate: float) -> np.ndarray:
    """Logistic in scores (n, D), with mean `rate` in each column."""
    low, high = np.full(scores.shape[1], -50.0), np.full(scores.shape[1], 50.0)
    for _ in range(60):
        middle = (low + high) / 2
        less = (1 / (1 + np.exp(-scores - middle))).mean(0) < rate
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return 1 / (1 + np.exp(-scores - middle))


MECHANISMS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "mcar": mcar,
    "mar": mar,
    "mnar": mnar,
}


def hidden(mechanism: str, x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """The cells of x (n, D) that are hidden, (n, D) bool."""
    return MECHANISMS[mechanism](x, rate, np.random.default_rng(seed))
