"""Arrays of real vectors as tables, and two moons whose law is known."""

from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.data.columns import Cells
from vlb.data.contents import only_array

RADIUS, NOISE = 1.0, 0.15
POINTS = 2000  # of the quadrature along a moon


def array_of(path: Path) -> np.ndarray:
    """The array in an .npy file. Raises `UserError` where there is none."""
    values = only_array(path)
    if values is None:
        raise UserError(f"{path} holds no array of numbers: a table is numbers (rows, columns)")
    return values


def vectors(values: np.ndarray, what: str) -> tuple[Cells, ...]:
    """The columns, without names, of numbers (n, D); NaN is missing. Raises `UserError`, naming `what`, for others."""
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.size:
        raise UserError(f"{what} holds {values.dtype} of shape {values.shape}: a table is numbers (rows, columns)")
    numbers = values.astype(np.float64)
    observed = ~np.isnan(numbers)
    return tuple(
        Cells(None, np.where(there, column, 0.0), there) for column, there in zip(numbers.T, observed.T, strict=True)
    )


def moons(count: int, seed: int = 0) -> np.ndarray:
    """Draws (count, 2) of two half circles that lie in each other, with Gaussian noise: see `moons_log_density`."""
    rng = np.random.default_rng(seed)
    angle, second = rng.uniform(0, np.pi, count), rng.random(count) < 0.5
    points: np.ndarray = np.where(second[:, None], _second(angle), _first(angle))
    return points + rng.normal(0, NOISE, points.shape)


def moons_log_density(x: np.ndarray) -> np.ndarray:
    """log p of points (n, 2), (n,) nats: ½ Σ over both moons of ∫ N(x; c(θ), σ²) dθ/π, by the midpoint rule, in
    steps of a hundredth of σ."""
    angles = (np.arange(POINTS) + 0.5) * np.pi / POINTS
    total = np.zeros(len(x))
    for centre in (*_first(angles), *_second(angles)):
        total += np.exp(-0.5 * ((x - centre) ** 2).sum(1) / NOISE**2)
    with np.errstate(divide="ignore"):
        log_p: np.ndarray = np.log(total / (2 * POINTS)) - np.log(2 * np.pi * NOISE**2)
    return log_p


def _first(angle: np.ndarray) -> np.ndarray:
    return RADIUS * np.stack((np.cos(angle), np.sin(angle)), -1)


def _second(angle: np.ndarray) -> np.ndarray:
    return RADIUS * np.stack((1 - np.cos(angle), 0.5 - np.sin(angle)), -1)
