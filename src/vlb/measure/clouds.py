"""How alike two sets of point clouds are, by Chamfer distances between clouds (Yang et al. 2019, PointFlow)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

NUMBERS = 1 << 24  # of distances at a time


def chamfer(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """The distances (n, m) between n clouds a, (N_i, d) each, and m clouds b, (M_j, d) each, in squared units of the
    data:

    d(A, B) = mean over p in A of min over q in B of ‖p − q‖², and the same with A and B exchanged, added.

    It does not know an order of points, and is 0 between equal sets; it is no metric, for it is squared.
    """
    first, second = ([torch.from_numpy(np.ascontiguousarray(cloud, np.float64)) for cloud in x] for x in (a, b))
    padded = torch.nn.utils.rnn.pad_sequence(second, batch_first=True)
    counts = torch.tensor([len(cloud) for cloud in second])
    beyond = torch.arange(padded.shape[1]) >= counts[:, None]
    found = torch.empty(len(first), len(second), dtype=torch.float64)
    for row, one in enumerate(first):
        step = max(1, NUMBERS // max(1, len(one) * padded.shape[1]))
        for start in range(0, len(second), step):
            part = slice(start, start + step)
            some = padded[part]
            # Differences, and not a product of matrices: it would cancel where clouds are far from the origin.
            away = torch.cdist(one.expand(len(some), -1, -1), some, compute_mode="donot_use_mm_for_euclid_dist")
            squared = away.square()
            there = squared.masked_fill(beyond[part, None], torch.inf).amin(2).mean(1)
            back = squared.amin(1).masked_fill(beyond[part], 0.0).sum(1) / counts[part]
            found[row, part] = there + back
    distances: np.ndarray = found.numpy()
    return distances


@dataclass(frozen=True)
class Likeness:
    """Of samples and held-out clouds, as many of each, `count`.

    matching: the mean over held-out clouds of the distance to the nearest sample (minimal matching distance), squared
    units; coverage: the share of held-out clouds that are the nearest of some sample; one_nn: the share of all clouds
    whose nearest other is of their own kind (1-nearest-neighbour accuracy): ½ where the two cannot be told apart, 1
    where they can; matching_error: the standard error of `matching` over other held-out clouds.
    """

    count: int
    matching: float
    matching_error: float
    coverage: float
    one_nn: float

    @property
    def coverage_error(self) -> float:
        """About the standard error of `coverage` over other held-out clouds, were they hit independently."""
        return math.sqrt(self.coverage * (1 - self.coverage) / self.count)

    @property
    def one_nn_error(self) -> float:
        """About the standard error of `one_nn` over other samples and clouds, were all independent."""
        return math.sqrt(0.25 / (2 * self.count))


def likeness(samples: Sequence[np.ndarray], clouds: Sequence[np.ndarray]) -> Likeness:
    """Of n samples and n held-out clouds, (N_i, d) each. Raises `ValueError` where they are not as many, or fewer than
    two."""
    n = len(samples)
    if n != len(clouds) or n < 2:
        raise ValueError(f"{n} samples and {len(clouds)} clouds: as many of each are compared, two at least")
    cross = chamfer(samples, clouds)
    within = (chamfer(samples, samples), chamfer(clouds, clouds))
    for own in within:
        np.fill_diagonal(own, np.inf)
    right = (within[0].min(1) < cross.min(1)).sum() + (within[1].min(1) < cross.min(0)).sum()
    nearest = cross.min(0)
    error = float(nearest.std(ddof=1)) / math.sqrt(n)
    return Likeness(n, float(nearest.mean()), error, len(np.unique(cross.argmin(1))) / n, float(right) / (2 * n))
