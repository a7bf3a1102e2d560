"""Rounded columns: the mass of a cell given what comes before it, one column after another.

A Gaussian with correlations has no closed mass over a box, and density times resolution does not sum to one. The chain
rule does: P(cell of column d | centres of the cells before it) is a difference of normal distribution functions for
each component, and taking a column in changes p(j, z) by a density and a rank-one update (a Kalman filter's).
"""

from typing import NamedTuple

from torch import Tensor

from vlb.core.distributions import LOG_2PI, log_between
from vlb.models.factor.components import Components, Posterior


class Predicted(NamedTuple):
    """Mean and variance of a column in each component, (J, n) each, and Cov[z] W_d, (J, n, Q)."""

    mean: Tensor
    variance: Tensor
    gain: Tensor


class Chain:
    """p(j, z | what was taken in), to which columns are added one by one."""

    def __init__(self, components: Components, start: Posterior) -> None:
        self.components = components
        self.log_joint, self.mean = start.log_joint, start.mean
        self.covariance = start.by_row(start.covariance)
        self._asked: dict[int, Predicted] = {}  # since a column was taken in last

    def predicted(self, column: int) -> "Predicted":
        """What a real column is expected to be, before it is taken in."""
        if column not in self._asked:
            loading = self.components.loadings[:, column]
            mean = self.components.means[:, column, None] + (self.mean @ loading.unsqueeze(-1)).squeeze(-1)
            gain = (self.covariance @ loading[:, None, :, None]).squeeze(-1)
            spread = (gain @ loading.unsqueeze(-1)).squeeze(-1)
            self._asked[column] = Predicted(mean, self.components.variances[:, column, None] + spread, gain)
        return self._asked[column]

    def log_mass(self, column: int, low: Tensor, high: Tensor) -> Tensor:
        """log P(low < y < high) of a column given what was taken in, (n,) nats."""
        mean, variance, _ = self.predicted(column)
        deviation = variance.sqrt()
        mass = log_between((low - mean) / deviation, (high - mean) / deviation)
        return (self.log_joint + mass).logsumexp(0) - self.log_joint.logsumexp(0)

    def take_in(self, column: int, y: Tensor, rows: Tensor) -> None:
        """Take in y (n,) of a column, in the rows that are marked, (n,) bool."""
        mean, variance, gain = self.predicted(column)
        self._asked.clear()
        used = rows.to(y.dtype)
        error = (y - mean) * used
        density = -0.5 * (error.square() / variance + variance.log() + LOG_2PI)
        self.log_joint = self.log_joint + density * used
        self.mean = self.mean + gain * (error / variance).unsqueeze(-1)
        scaled = gain * (used / variance).unsqueeze(-1)
        self.covariance = self.covariance - scaled.unsqueeze(-1) * gain.unsqueeze(-2)
