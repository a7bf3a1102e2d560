"""Volumes as pictures: their surface, seen from before, above and the left."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SIDE = 96  # pixels
AZIMUTH, ELEVATION = math.radians(35), math.radians(30)
SHADES = np.array([255.0, 165.0, 95.0])  # of faces across depth, which points up, height and width


class Rays(NamedTuple):
    """The ray of each pixel through the faces of voxels, from the eye on. voxel: (SIDE², faces), behind each face, by
    number, that beyond the volume one past the last; shade: (SIDE², faces), of each face."""

    voxel: np.ndarray
    shade: np.ndarray


def surface(x: np.ndarray, levels: int) -> np.ndarray:
    """Volumes x (n, 1, D, H, W) of integers below `levels` as pictures (n, 1, SIDE, SIDE) of uint8.

    A voxel is solid at half of the levels and above. The first axis points up. Faces have a shade for each axis, which
    falls by a third with the distance; where no solid voxel is, it is black.
    """
    rays = _rays(x.shape[2:])
    pictures, each = np.empty((len(x), 1, SIDE, SIDE), np.uint8), np.arange(SIDE**2)
    for one, picture in zip(x, pictures, strict=True):
        hit = np.append(one.reshape(-1) >= levels / 2, False)[rays.voxel]
        first = hit.argmax(1)
        picture[0] = np.where(hit[each, first], rays.shade[each, first], 0).reshape(SIDE, SIDE)
    return pictures


@lru_cache(maxsize=4)
def _rays(size: tuple[int, ...]) -> Rays:
    """Parallel ones, over all that is seen of the volume."""
    level = math.cos(ELEVATION)
    ahead = np.array([-math.sin(ELEVATION), level * math.cos(AZIMUTH), level * math.sin(AZIMUTH)])
    right = np.array([0.0, -math.sin(AZIMUTH), math.cos(AZIMUTH)])
    up = np.array([level, math.sin(ELEVATION) * math.cos(AZIMUTH), math.sin(ELEVATION) * math.sin(AZIMUTH)])
    sides = np.array(size)
    reach = max(np.abs(right) @ sides, np.abs(up) @ sides) / 2
    along = reach * (2 * (np.arange(SIDE) + 0.5) / SIDE - 1)
    start = (sides / 2 + along[None, :, None] * right - along[:, None, None] * up).reshape(-1, 3)
    faces = [(np.arange(side + 1) - start[:, a, None]) / ahead[a] for a, side in enumerate(size)]
    axis = np.repeat(np.arange(3), sides + 1)
    distance = np.concatenate(faces, 1)
    order = distance.argsort(1)
    distance = np.take_along_axis(distance, order, 1)
    middle = (distance[:, 1:] + distance[:, :-1]) / 2
    voxel = np.floor(start[:, None] + middle[..., None] * ahead).astype(np.int64)
    inside = ((voxel >= 0) & (voxel < sides)).all(-1)
    number = np.where(inside, np.ravel_multi_index(tuple(np.moveaxis(voxel, -1, 0)), size, mode="clip"), sides.prod())
    far = (distance[:, :-1] / np.sqrt((sides**2).sum()) + 0.5).clip(0, 1)
    return Rays(number.astype(np.int32), (SHADES[axis[order[:, :-1]]] * (1 - far / 3)).astype(np.uint8))
