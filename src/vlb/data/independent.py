"""Real numbers by themselves: what a model of a table or of points has to beat, in the units of the data."""

import math
import warnings
from typing import Protocol

import numpy as np
from scipy.special import log_ndtr

from vlb.core.layouts import Points
from vlb.core.schema import Real, Schema
from vlb.data.dataset import Split

KERNELS, OF_EACH, SEEN = 32, 50, 20_000  # of a mixture of points: Gaussians, points for each, points that are seen
TINY = 1e-9  # the least deviation of a real column, relative to its largest value


class Independent(Protocol):
    """A law of parts of an example by themselves."""

    def log_prob(self, rows: Split) -> np.ndarray:
        """log p of the elements of each example that are there and not given, (n,) nats, under the schema's dominating
        measure."""


def independent(schema: Schema, rows: Split) -> Independent:
    """Real elements by themselves, fitted to some examples: columns of a table, or coordinates of points."""
    return GaussianPoint(rows) if isinstance(schema.layout, Points) else IndependentColumns(schema, rows)


class GaussianPoint:
    """Points independent of each other, in any order, of one Gaussian in each coordinate."""

    def __init__(self, rows: Split) -> None:
        points = _points(rows)
        self.mean = points.mean(0)
        least = TINY * np.maximum(1e-300, np.abs(points).max(0))
        self.deviation = np.maximum(points.std(0), least)

    def log_prob(self, rows: Split) -> np.ndarray:
        """log p of the points of each cloud as a tuple, (n,) nats."""
        z = (rows.x - self.mean) / self.deviation
        each = -0.5 * z**2 - np.log(self.deviation) - 0.5 * math.log(2 * math.pi)
        total: np.ndarray = np.where(rows.modelled, each, 0.0).sum((1, 2))
        return total


class MixedPoint:
    """Points independent of each other, of one mixture of at most `KERNELS` Gaussians with any covariances, fitted
    by EM (scikit-learn's, seed 0) to at most `SEEN` points, `OF_EACH` or more for each of them."""

    def __init__(self, rows: Split) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        points = _points(rows)
        if len(points) > SEEN:
            points = points[np.random.default_rng(0).choice(len(points), SEEN, replace=False)]
        self.mean, self.scale = (
            points.mean(0),
            max(float(points.std()), TINY * max(1e-290, float(np.abs(points).max()))),
        )
        kernels = max(1, min(KERNELS, len(np.unique(points, axis=0)) // OF_EACH))
        self.law = GaussianMixture(kernels, reg_covar=1e-6, max_iter=50, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.law.fit((points - self.mean) / self.scale)

    def log_prob(self, rows: Split) -> np.ndarray:
        """log p of the points of each cloud as a tuple, (n,) nats."""
        n, number, coordinates = rows.x.shape
        each = self.law.score_samples((rows.x.reshape(-1, coordinates) - self.mean) / self.scale)
        each = each.reshape(n, number) - coordinates * math.log(self.scale)
        total: np.ndarray = np.where(rows.modelled[..., 0], each, 0.0).sum(1)
        return total


class IndependentColumns:
    """Σ_c log p_c(x_c): categories by their frequencies, add-one smoothed, reals by a Gaussian each, whose cell has the
    mass where a column is rounded; fitted to the observed cells of some rows. What is not observed is left out."""

    def __init__(self, schema: Schema, rows: Split) -> None:
        kinds = schema.each if schema.columns is not None else schema.each * schema.dimensions
        self.kinds = kinds
        self.parts: list[np.ndarray] = []  # log-probabilities of a category, or mean and deviation of a real
        x, observed = _flat(rows)
        for kind, values, there in zip(kinds, x.T, observed.T, strict=True):
            seen = values[there]
            if kind.count is None:
                mean = float(seen.mean()) if len(seen) else 0.0
                least = TINY * max(1e-300, float(np.abs(seen).max()) if len(seen) else 1.0)
                step = kind.resolution or 0.0 if isinstance(kind, Real) else 0.0
                self.parts.append(np.array([mean, max(float(seen.std()) if len(seen) else 1.0, step / 2, least)]))
            else:
                counts = np.bincount(seen.astype(np.int64), minlength=kind.count) + 1.0
                self.parts.append(np.log(counts / counts.sum()))

    def log_prob(self, rows: Split) -> np.ndarray:
        """log p of the cells of each row that are there and not given, (n,) nats, under the schema's dominating
        measure."""
        x, observed = _flat(rows)
        total = np.zeros(len(x))
        for kind, part, values, there in zip(self.kinds, self.parts, x.T, observed.T, strict=True):
            if kind.count is not None:
                log_p = part[np.where(there, values, 0).astype(np.int64)]
            else:
                log_p = _normal(values, part[0], part[1], kind.resolution if isinstance(kind, Real) else None)
            total += np.where(there, log_p, 0.0)
        return total


def _normal(values: np.ndarray, mean: float, deviation: float, resolution: float | None) -> np.ndarray:
    z = (values - mean) / deviation
    if resolution is None:
        return -0.5 * z**2 - math.log(deviation) - 0.5 * math.log(2 * math.pi)
    # In the tail that is nearer to it, where masses of cells do not cancel.
    half = 0.5 * resolution / deviation
    far, near = log_ndtr(-(np.abs(z) - half)), log_ndtr(-(np.abs(z) + half))
    mass: np.ndarray = far + np.log1p(-np.exp(np.minimum(near - far, -1e-300)))
    return mass


def _points(rows: Split) -> np.ndarray:
    """All points (n, d) of clouds."""
    return rows.x[rows.modelled[..., 0]]


def _flat(rows: Split) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) values and which a likelihood is of."""
    return rows.x.reshape(len(rows), -1), rows.modelled.reshape(len(rows), -1)
