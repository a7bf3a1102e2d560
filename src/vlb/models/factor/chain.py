"""Rounded columns: the mass of a cell given what comes before it, one column after another.

A Gaussian with correlations has no closed mass over a box, and density times resolution does not sum to one. The chain
rule does: P(cell of column d | centres of the cells before it) is a difference of normal distribution functions for
each component, and taking a column in changes p(j, z) by a density and a rank-one update (a Kalman filter's).
"""

from torch import Tensor

from vlb.core.distributions import LOG_2PI, log_between
from vlb.models.factor.components import Components, Posterior


class Chain:
    """p(j, z | what was taken in), to which columns are added one by one."""

    def __init__(self, components: Components, start: Posterior) -> None:
        self.components = components
        self.log_joint, self.mean = start.log_joint, start.mean
        self.covariance = start.covariance[:, start.which]

    def predicted(self, column: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of a real column in each component, (J, n) each."""
        loading = self.components.loadings[:, column]
        mean = self.components.means[:, column, None] + (self.mean @ loading.unsqueeze(-1)).squeeze(-1)
        spread = (self._gain(column) @ loading.unsqueeze(-1)).squeeze(-1)
        return mean, self.components.variances[:, column, None] + spread

    def log_mass(self, column: int, low: Tensor, high: Tensor) -> Tensor:
        """log P(low < y < high) of a column given what was taken in, (n,) nats."""
        mean, variance = self.predicted(column)
        deviation = variance.sqrt()
        mass = log_between((low - mean) / deviation, (high - mean) / deviation)
        return (self.log_joint + mass).logsumexp(0) - self.log_joint.logsumexp(0)

    def take_in(self, column: int, y: Tensor, rows: Tensor) -> None:
        """Take in y (n,) of a column, in the rows that are marked, (n,) bool."""
        mean, variance = self.predicted(column)
        used = rows.to(y.dtype)
        error = (y - mean) * used
        gain = self._gain(column)
        density = -0.5 * (error.square() / variance + variance.log() + LOG_2PI)
        self.log_joint = self.log_joint + density * used
        self.mean = self.mean + gain * (error / variance).unsqueeze(-1)
        scaled = gain * (used / variance).unsqueeze(-1)
        self.covariance = self.covariance - scaled.unsqueeze(-1) * gain.unsqueeze(-2)

    def _gain(self, column: int) -> Tensor:
        """Cov[z] W_d, (J, n, Q)."""
        loading = self.components.loadings[:, column]
        return (self.covariance @ loading[:, None, :, None]).squeeze(-1)
