"""What examples say of each element by itself: counts, log-marginals, moments; read in pieces, as memory allows."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

# log p of a value that an element does not have: as a probability it is 0 to the last bit, and 0 times it is 0.
IMPOSSIBLE = -1e9


def chunks(x: np.ndarray, values: int = 1 << 22) -> Iterator[np.ndarray]:
    """Views of consecutive examples of x (n, *shape), about `values` values in each."""
    step = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        yield x[start : start + step]


def counts(x: np.ndarray, levels: int) -> np.ndarray:
    """How often each dimension of x (n, *shape) takes each value 0 … K−1: (D, K) int64."""
    dimensions = math.prod(x.shape[1:])
    offsets = np.arange(dimensions, dtype=np.int64) * levels
    found = np.zeros(dimensions * levels, np.int64)
    for chunk in chunks(x):
        cells = chunk.reshape(len(chunk), dimensions) + offsets
        found += np.bincount(cells.reshape(-1), minlength=found.size)
    return found.reshape(dimensions, levels)


def log_marginals(x: np.ndarray, levels: int, each: Sequence[int] | None = None, laws: int | None = None) -> np.ndarray:
    """(D, K) float64 log-probabilities in nats, one categorical for each dimension of x (n, *shape).

    With add-one smoothing: p = (count + 1) / (n + K). D is in the order of a flattened example. each: K by dimension,
    where they differ; what a dimension does not have is `IMPOSSIBLE`. laws: of how many equal parts of a flattened
    example the elements have one law (`Schema.laws`); it is (laws, K) then.
    """
    if laws is None or laws == math.prod(x.shape[1:]):
        found, n = counts(x, levels), len(x)
    else:  # counted apart, they would be too many
        found, n = np.zeros((laws, levels), np.int64), len(x) * math.prod(x.shape[1:]) // laws
        for chunk in chunks(x):
            found += counts(chunk.reshape(len(chunk), laws, -1).swapaxes(1, 2).reshape(-1, laws), levels)
    log_p: np.ndarray = np.log(found + 1.0)
    if each is None:
        log_p -= math.log(n + levels)
        return log_p
    log_p -= np.log(len(x) + np.asarray(each, np.float64))[:, None]
    return np.where(np.arange(levels) < np.asarray(each)[:, None], log_p, IMPOSSIBLE)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each dimension of x (n, *shape): (D,) float64 each."""
    total, squares = np.zeros(math.prod(x.shape[1:])), np.zeros(math.prod(x.shape[1:]))
    for chunk in chunks(x):
        flat = chunk.reshape(len(chunk), -1).astype(np.float64)
        total += flat.sum(0)
        squares += (flat**2).sum(0)
    mean = total / len(x)
    return mean, np.sqrt(np.maximum(squares / len(x) - mean**2, 0.0))
