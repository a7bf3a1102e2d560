"""How much the map of a column bends, by its likelihood: Newton's method on a dozen numbers for each column.

With the slopes s at its knots a map's y is linear, and its slope between two knots is a mean of theirs. So the variance
of y is a form sᵀ C s, and the log-likelihood of the cells of one column, y being Gaussian, is

    Σ_n w_n log((1 − r_n) s_k + r_n s_{k+1}) − ½ Σ_n w_n log(sᵀ C s)

for cells a share r_n of the way from knot k = k_n to the next. `torch.optim` would load torch's compiler: 1 s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BOUND = 1.3862943611198906  # log 4: of |log slope|
SMOOTH, RIDGE = 100.0, 0.1  # weights of squared second differences and of squares of the log-slopes, nats
TINY = 1e-12
STEPS, HALVINGS = 60, 12
ENOUGH = 1e-9  # nats for each cell, that a step is worth


@dataclass(frozen=True, eq=False)
class Bending:
    """What the slopes of D columns are judged by. moments: (D, J, J), C; piece, share, weight: (D, n), k, r and w;
    count: (D,), Σ w. Slopes are exp(b tanh(u/b)), within [1/4, 4], of u (D, J)."""

    moments: Tensor
    piece: Tensor
    share: Tensor
    weight: Tensor
    count: Tensor

    def value(self, u: Tensor) -> Tensor:
        """Less the log-likelihood, plus penalties, (D,) nats."""
        s = bounded(u)
        variance = torch.einsum("di,dij,dj->d", s, self.moments, s)
        fit = 0.5 * self.count * (variance + TINY).log() - (self.weight * self._slope(s).log()).sum(1)
        return fit + SMOOTH * u.diff(n=2, dim=1).square().sum(1) + RIDGE * u.square().sum(1)

    def derivatives(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient (D, J) and the Hessian (D, J, J) of `value`."""
        s, t = bounded(u), torch.tanh(u / BOUND)
        first, second = s * (1 - t.square()), s * (1 - t.square()) * (1 - t.square() - 2 * t / BOUND)
        across = (self.moments @ s.unsqueeze(-1)).squeeze(-1)
        variance = ((across * s).sum(1) + TINY)[:, None]
        pull = self.weight / self._slope(s)
        curve = pull / self._slope(s)
        left, right = 1 - self.share, self.share
        gradient = self.count[:, None] * across / variance
        gradient = gradient.scatter_add(1, self.piece, -pull * left).scatter_add(1, self.piece + 1, -pull * right)
        diagonal = torch.zeros_like(u).scatter_add(1, self.piece, curve * left.square())
        diagonal = diagonal.scatter_add(1, self.piece + 1, curve * right.square())
        beside = torch.zeros_like(u[:, 1:]).scatter_add(1, self.piece, curve * left * right)
        bent = self.moments / variance.unsqueeze(-1)
        bent = bent - 2 * (across / variance).unsqueeze(-1) * (across / variance).unsqueeze(-2)
        hessian = self.count[:, None, None] * bent + diagonal.diag_embed()
        hessian = hessian + beside.diag_embed(1) + beside.diag_embed(-1)
        hessian = hessian * first.unsqueeze(-1) * first.unsqueeze(-2) + (gradient * second).diag_embed()
        bends = torch.eye(u.shape[1], dtype=u.dtype).diff(n=2, dim=0)
        penalty = 2 * (SMOOTH * bends.T @ bends + RIDGE * torch.eye(u.shape[1], dtype=u.dtype))
        return gradient * first + u @ penalty, hessian + penalty

    def least(self) -> Tensor:
        """Where `value` is least, (D, J): Newton's method, downhill also where the Hessian has negative eigenvalues, in
        steps that are halved until they gain."""
        u = torch.zeros(self.moments.shape[:2], dtype=self.moments.dtype)
        value = self.value(u)
        for _ in range(STEPS):
            gradient, hessian = self.derivatives(u)
            curvatures, directions = torch.linalg.eigh(hessian)
            along = (directions.mT @ gradient.unsqueeze(-1)).squeeze(-1) / curvatures.abs().clamp(min=RIDGE)
            step = (directions @ along.unsqueeze(-1)).squeeze(-1)
            before, open_ = value, torch.ones_like(value, dtype=torch.bool)
            for halving in range(HALVINGS):
                tried = u - step * 0.5**halving
                found = self.value(tried)
                gains = open_ & (found <= value)
                u, value = torch.where(gains[:, None], tried, u), torch.where(gains, found, value)
                open_ = open_ & ~gains
                if not open_.any():
                    break
            if not (before - value > ENOUGH * self.count.clamp(min=1)).any():
                break
        return u

    def _slope(self, s: Tensor) -> Tensor:
        left, right = s.gather(1, self.piece), s.gather(1, self.piece + 1)
        return left + (right - left) * self.share


def bounded(u: Tensor) -> Tensor:
    """Slopes within [1/4, 4] of numbers on the whole line."""
    return (BOUND * torch.tanh(u / BOUND)).exp()
