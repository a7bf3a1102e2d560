"""Point clouds from the surfaces of random shapes: sets for people who learn, and a known source."""

import numpy as np

from vlb.core.layouts import Points
from vlb.core.schema import Real, Schema
from vlb.data.dataset import Dataset, Split
from vlb.data.shapes import NAMES, rotations

COUNTS = (4000, 500, 500)  # of train, validation, test
NUMBER = 64  # of points in a cloud
NOISE = 0.02  # standard deviation of each coordinate: without it, points on a surface would have no density


def clouds(number: int = NUMBER) -> Dataset:
    """Surfaces of balls, boxes, cylinders and tori about the origin, (number, 3) points each, of 4 classes, by
    `default_rng(0)` (PCG64)."""
    rng = np.random.default_rng(0)
    train, validation, test = (_drawn(count, number, rng) for count in COUNTS)
    schema = Schema(layout=Points((number, 3)), kinds=Real(), labels=NAMES)
    said = f"points lie on the surfaces evenly, with Gaussian noise of {NOISE} in each coordinate"
    return Dataset("clouds", schema, train, validation, test, remarks=(said,))


def _drawn(count: int, number: int, rng: np.random.Generator) -> Split:
    labels = rng.integers(0, len(NAMES), count)
    return Split(surfaces(labels, number, rng), labels)


def surfaces(labels: np.ndarray, number: int, rng: np.random.Generator, noise: float = NOISE) -> np.ndarray:
    """Points (n, number, 3) on shapes of the classes (n,), evenly by area and independent of each other given the
    shape, float64.

    A shape just fits into a ball about the origin of radius r, uniform in [0.5, 1]. Its orientation is uniform over
    rotations, its proportions a and b are uniform in [0.4, 1], as in `vlb.data.shapes.solids`.
    """
    n = len(labels)
    radius = rng.uniform(0.5, 1, n)
    turn = rotations(rng.normal(size=(n, 4)))
    a, b = rng.uniform(0.4, 1, (2, n))
    x = np.empty((n, number, 3))
    for label, on in enumerate(ON):
        some = np.flatnonzero(labels == label)
        x[some] = on(a[some, None], b[some, None], number, rng)
    x = radius[:, None, None] * (x @ turn.swapaxes(1, 2))
    return x + noise * rng.normal(size=x.shape)


# Points (n, number, 3), evenly on shapes that just fit into the unit ball; a, b: (n, 1).


def _ball(a: np.ndarray, b: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    p = rng.normal(size=(len(a), number, 3))
    on: np.ndarray = p / np.sqrt((p**2).sum(-1, keepdims=True))
    return on


def _box(a: np.ndarray, b: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    half = np.concatenate((np.ones_like(a), a, b), 1) / np.sqrt(1 + a**2 + b**2)
    areas = half.prod(1, keepdims=True) / half
    axis = (rng.random((len(a), number, 1)) > (areas / areas.sum(1, keepdims=True)).cumsum(1)[:, None, :2]).sum(-1)
    p = rng.uniform(-1, 1, (len(a), number, 3))
    across = np.take_along_axis(p, axis[..., None], -1)
    np.put_along_axis(p, axis[..., None], np.where(across < 0, -1.0, 1.0), -1)
    return p * half[:, None]


def _cylinder(a: np.ndarray, b: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, (len(a), number))
    height, out = rng.uniform(-1, 1, angle.shape), np.sqrt(rng.random(angle.shape))
    side = rng.random(angle.shape) < 2 * a / (1 + 2 * a)  # 4πa of 4πa + 2π
    out, height = np.where(side, 1, out), np.where(side, height, np.where(height < 0, -1, 1))
    return np.stack((out * np.cos(angle), out * np.sin(angle), a * height), -1) / np.sqrt(1 + a**2)[..., None]


def _torus(a: np.ndarray, b: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    tube = 0.2 + 0.2 * a
    angle, around = rng.uniform(0, 2 * np.pi, (2, len(a), number))
    # The area at an angle of the tube is 1 + tube cos: where it is small, the angle is mirrored as often as it has to.
    around = np.where(2 * rng.random(around.shape) > 1 + tube * np.cos(around), np.pi - around, around)
    out = 1 + tube * np.cos(around)
    return np.stack((out * np.cos(angle), out * np.sin(angle), tube * np.sin(around)), -1) / (1 + tube)[..., None]


ON = (_ball, _box, _cylinder, _torus)  # by class
