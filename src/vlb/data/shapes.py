"""Solid shapes at random places, sizes and orientations: volumes for people who learn, and a known source."""

from dataclasses import replace

import numpy as np

from vlb.core.schema import levels_schema
from vlb.data.dataset import Dataset, Split

SIDE = 16
NAMES = ("ball", "box", "cylinder", "torus")
COUNTS = (4000, 500, 500)  # of train, validation, test
PIECES = 200  # that are looked at together


def shapes() -> Dataset:
    """Balls, boxes, cylinders and tori, (1, 16, 16, 16), of 2 levels and 4 classes, by `default_rng(0)` (PCG64)."""
    rng = np.random.default_rng(0)
    train, validation, test = (_drawn(count, rng) for count in COUNTS)
    schema = replace(levels_schema((1, SIDE, SIDE, SIDE), 2), labels=NAMES)
    return Dataset("shapes", schema, train, validation, test)


def _drawn(count: int, rng: np.random.Generator) -> Split:
    labels = rng.integers(0, len(NAMES), count)
    return Split(solids(labels, rng), labels)


def solids(labels: np.ndarray, rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Shapes of the classes (n,) as uint8 (n, 1, side, side, side): 1 where the middle of a voxel is within.

    A shape just fits into a ball of radius r, uniform in [0.25, 0.45] side, whose centre is uniform over the places
    where it does not leave the volume. Its orientation is uniform over rotations, its proportions a and b are uniform
    in [0.4, 1]: boxes have half sides as 1 : a : b; cylinders a height of 2a for a radius of 1; tori have a tube of
    radius 0.2 + 0.2 a for a ring of radius 1.
    """
    n = len(labels)
    radius = side * rng.uniform(0.25, 0.45, n)
    centre = radius[:, None] + rng.random((n, 3)) * (side - 2 * radius[:, None])
    turn = rotations(rng.normal(size=(n, 4)))
    a, b = rng.uniform(0.4, 1, (2, n))
    at = np.stack(np.meshgrid(*[np.arange(side) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)
    x = np.empty((n, side**3), np.uint8)
    for label, holds in enumerate(HOLDS):
        every = np.flatnonzero(labels == label)
        for start in range(0, len(every), PIECES):
            some = every[start : start + PIECES]
            p = np.moveaxis((at - centre[some, None]) @ turn[some] / radius[some, None, None], -1, 0)
            x[some] = holds(p, a[some, None], b[some, None])
    return x.reshape(n, 1, side, side, side)


# Which points p (3, n, m) a shape holds, scaled so that it just fits into the unit ball, (n, m); a, b: (n, 1).


def _ball(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _square(p) <= 1


def _box(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    half = 1 / np.sqrt(1 + a**2 + b**2)
    return (np.abs(p[0]) <= half) & (np.abs(p[1]) <= a * half) & (np.abs(p[2]) <= b * half)


def _cylinder(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    flank = 1 / np.sqrt(1 + a**2)
    return (_square(p[:2]) <= flank**2) & (np.abs(p[2]) <= a * flank)


def _torus(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    tube = 0.2 + 0.2 * a
    outer = 1 + tube
    inside: np.ndarray = (outer * np.sqrt(_square(p[:2])) - 1) ** 2 + (outer * p[2]) ** 2 <= tube**2
    return inside


def _square(p: np.ndarray) -> np.ndarray:
    squares: np.ndarray = (p**2).sum(0)
    return squares


HOLDS = (_ball, _box, _cylinder, _torus)  # by class


def rotations(q: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) of quaternions (n, 4) of any length but 0."""
    w, x, y, z = (q / np.sqrt((q**2).sum(-1, keepdims=True))).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.moveaxis(np.array(rows), -1, 0)
