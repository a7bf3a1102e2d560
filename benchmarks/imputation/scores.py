"""Scores of what was put into hidden cells, in units of each column's standard deviation.

The energy score is proper: no other law of the hidden cells of a row has a lower expectation than the true one
(Gneiting & Raftery 2007). So has log p no higher one. RMSE asks for the mean alone.
"""

import numpy as np

DRAWS = 19  # so that the k-th smallest and the k-th largest of them cover (20 − 2k)/20


def embedded(x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """x (…, D) with a category as its indicators over √2, so that two different ones are 1 apart: (…, K)."""
    parts = [
        column[..., None] if not count else (column[..., None] == np.arange(count)) / np.sqrt(2)
        for column, count in zip(np.moveaxis(x, -1, 0), counts, strict=True)
    ]
    return np.concatenate(parts, -1)


def energy(draws: np.ndarray, x: np.ndarray, gone: np.ndarray, counts: np.ndarray) -> float:
    """The mean over rows of E‖X − x‖ − ½ E‖X − X'‖ over the hidden cells of a row together, unbiased by draws (M, n, D)
    of them; of one draw, which then is a prediction without spread, ‖X − x‖. Rows without hidden cells are left out."""
    rows = gone.any(1)
    counted = np.repeat(gone, np.maximum(counts, 1), axis=1)[rows]
    found = embedded(draws[:, rows], counts) * counted
    truth = embedded(x[rows], counts) * counted
    error = np.linalg.norm(found - truth, axis=-1).mean(0)
    many = len(found)
    pairs = sum(np.linalg.norm(found[i + 1 :] - found[i], axis=-1).sum(0) for i in range(many - 1))
    spread = pairs / (many * (many - 1)) if many > 1 else 0.0
    return float((error - spread).mean())


def interval(draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends (n, D) of an interval in which a further draw lies with probability `level`: order statistics of draws
    (M, n, D), where level · (M + 1) is an even distance."""
    many = len(draws) + 1
    outside = round((1 - level) / 2 * many)
    ordered = np.sort(draws, axis=0)
    return ordered[outside - 1], ordered[many - outside - 1]


def coverage(low: np.ndarray, high: np.ndarray, x: np.ndarray, gone: np.ndarray) -> float:
    """The share of hidden cells (n, D) within their interval."""
    return float(((low <= x) & (x <= high))[gone].mean())


def rmse(found: np.ndarray, x: np.ndarray, gone: np.ndarray) -> float:
    """The root of the mean squared error over hidden cells (n, D)."""
    return float(np.sqrt(((found - x)[gone] ** 2).mean()))


def mae(found: np.ndarray, x: np.ndarray, gone: np.ndarray) -> float:
    """The mean absolute error over hidden cells (n, D)."""
    return float(np.abs((found - x)[gone]).mean())


def accuracy(found: np.ndarray, x: np.ndarray, gone: np.ndarray) -> float:
    """The share of hidden categories (n, D) that were found."""
    return float((found == x)[gone].mean())
