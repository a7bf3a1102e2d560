"""Sets of points as examples of one shape, of which those with fewer points have absent ones, and apart again."""

from collections.abc import Sequence

import numpy as np

from vlb.core.layouts import Points, VaryingPoints
from vlb.data.dataset import Split


def layout_of(numbers: Sequence[int], coordinates: int) -> Points:
    """What clouds of so many points each are."""
    if len(set(numbers)) == 1:
        return Points((numbers[0], coordinates))
    return varying(max(numbers), coordinates, numbers)


def varying(most: int, coordinates: int, numbers: Sequence[int] | np.ndarray) -> VaryingPoints:
    """What clouds of at most so many points are, of which those for training have these numbers."""
    points, clouds = np.unique(numbers, return_counts=True)
    return VaryingPoints((most, coordinates), tuple(points.tolist()), tuple(clouds.tolist()))


def split_of(clouds: Sequence[np.ndarray], layout: Points, labels: np.ndarray | None = None) -> Split:
    """Clouds (n_i, d), of at most as many points as the layout has, as examples of it: an absent point is at the place
    of the cloud's last."""
    if not layout.padded:
        return Split(np.stack(clouds), labels)
    most, coordinates = layout.shape
    x, numbers = np.empty((len(clouds), *layout.shape)), np.array([len(cloud) for cloud in clouds])
    for row, cloud in zip(x, clouds, strict=True):
        row[: len(cloud)], row[len(cloud) :] = cloud, cloud[-1]
    observed = np.broadcast_to((np.arange(most) < numbers[:, None])[..., None], x.shape)
    return Split(x, labels, observed=observed, counted=numbers * coordinates)


def clouds_of(split: Split) -> list[np.ndarray]:
    """The clouds (n_i, d) of a split: `split_of` undone."""
    return apart(split.x, split.observed)


def apart(x: np.ndarray, observed: np.ndarray | None) -> list[np.ndarray]:
    """Clouds (n, N, d), of which some coordinates are there, as (n_i, d) each."""
    if observed is None:
        return list(x)
    return [cloud[there[:, 0]] for cloud, there in zip(x, observed, strict=True)]
