"""Point clouds as pictures, seen from before, above and the left, and as .ply files."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.core.layouts import Layout, Points
from vlb.generate.volumes import AZIMUTH, ELEVATION

SIDE = 144  # pixels
NEAR, FAR = 255.0, 50.0  # brightness of points by their depth
RADIUS = 0.011  # of a dot, of the picture's side


class View(NamedTuple):
    """What is seen: the ball of a radius about a centre (d,), the last axis pointing up."""

    centre: np.ndarray
    radius: float

    @classmethod
    def of(cls, clouds: Sequence[np.ndarray]) -> "View":
        """All of clouds (n_i, d) but what lies far outside the others."""
        points = np.concatenate(clouds)
        centre = np.median(points, 0)
        far = float(np.quantile(np.sqrt(((points - centre) ** 2).sum(1)), 0.999))
        return cls(centre, 1.05 * far or 1.0)


def scatter(clouds: Sequence[np.ndarray], view: View | None = None) -> np.ndarray:
    """Clouds (n_i, 2 or 3) as pictures (n, 1, SIDE, SIDE) of uint8: dots, the nearer the brighter, on black."""
    view = View.of(clouds) if view is None else view
    reach = max(1, round(RADIUS * SIDE))
    dots = [
        (i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1) if i * i + j * j <= reach**2 + 0.5
    ]
    pictures = np.zeros((len(clouds), 1, SIDE, SIDE), np.uint8)
    for picture, cloud in zip(pictures, clouds, strict=True):
        p = (cloud - view.centre) / view.radius
        across, up, depth = (p[:, 0], p[:, 1], np.zeros(len(p))) if p.shape[1] == 2 else _turned(p)
        row, column = (np.rint((SIDE - 1) * (0.5 + sign * 0.47 * part)) for sign, part in ((-1, up), (1, across)))
        bright = FAR + (NEAR - FAR) * ((0.8 - depth) / 1.6).clip(0, 1)
        for i, j in dots:
            inside = (row + i >= 0) & (row + i < SIDE) & (column + j >= 0) & (column + j < SIDE)
            place = (row[inside] + i).astype(int), (column[inside] + j).astype(int)
            np.maximum.at(picture[0], place, bright[inside].astype(np.uint8))
    return pictures


def _turned(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Across, up and away from the eye."""
    level = math.cos(ELEVATION)
    ahead = np.array([level * math.cos(AZIMUTH), level * math.sin(AZIMUTH), -math.sin(ELEVATION)])
    right = np.array([-math.sin(AZIMUTH), math.cos(AZIMUTH), 0.0])
    up = np.array([math.sin(ELEVATION) * math.cos(AZIMUTH), math.sin(ELEVATION) * math.sin(AZIMUTH), level])
    return p @ right, p @ up, p @ ahead


def of_points(layout: Layout) -> Points | None:
    """The layout, if examples of it are clouds."""
    return layout if isinstance(layout, Points) else None


def ply(x: np.ndarray) -> bytes:
    """A cloud (N, 3) as a .ply file of doubles. Raises `UserError` for what is no cloud in space."""
    if x.ndim != 2 or x.shape[1] != 3:
        raise UserError(f"a .ply file holds points of space, not an example of shape {x.shape}: use .npy or .npz")
    axes = "".join(f"property double {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(x)}\n{axes}end_header\n"
    return head.encode("ascii") + x.astype("<f8").tobytes()
