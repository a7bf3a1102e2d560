"""The components of a factor mixture, rows of a table as they meet them, and p(j, z | the cells that are known).

    p(x) = Σ_j w_j N(y; m_j, W_j W_jᵀ + Ψ_j) Π_c p_jc(x_c),   y = f(x) the mapped reals, c the categorical columns.

Given the latent z ~ N(0, I) cells are independent, so a missing cell is a factor less: with S = I + Σ_d W_d W_dᵀ / ψ_d
over the known cells d alone, z is N(S⁻¹ Σ_d W_d (y_d − m_d) / ψ_d, S⁻¹), and log p of the known cells follows by the
matrix determinant lemma. S is a function of which cells are known: one Cholesky factor per pattern.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vlb.core.distributions import LOG_2PI

PIECE = 1 << 22  # numbers in the largest tensor of a piece of the rows: 32 MiB
FEW = 32  # rows per pattern of known cells, from which on they are taken pattern by pattern


@dataclass(frozen=True, eq=False)
class Components:
    """log_weights: (J,), normalised; means, variances: (J, D) of mapped reals; loadings: (J, D, Q); log_tables: (J, C),
    the log-probabilities of all categorical columns, one after the other. float64."""

    log_weights: Tensor
    means: Tensor
    loadings: Tensor
    variances: Tensor
    log_tables: Tensor

    @property
    def rank(self) -> int:
        """Q."""
        return self.loadings.shape[2]

    def parts(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in NAMES}


NAMES = ("log_weights", "means", "loadings", "variances", "log_tables")


def together(drawn: list[Components]) -> Components:
    """The even mixture of mixtures of one rank."""
    joined = {name: torch.cat([getattr(part, name) for part in drawn]) for name in NAMES}
    return replace(Components(**joined), log_weights=joined["log_weights"] - math.log(len(drawn)))


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as components meet them.

    y: (n, D) mapped reals; known: (n, D), 1 or 0; codes: (n, E) int64, the places of the categories in `log_tables`;
    told: (n, E), 1 or 0; weight: (n,). What is not known may hold anything that is valid.
    """

    y: Tensor
    known: Tensor
    codes: Tensor
    told: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor | slice) -> "Rows":
        """The rows at `index`."""
        return Rows(self.y[index], self.known[index], self.codes[index], self.told[index], self.weight[index])

    @cached_property
    def patterns(self) -> tuple[Tensor, Tensor | None]:
        """The different rows of `known`, (U, D), and which of them each row has, (n,); all rows and None where most
        have a pattern of their own, for that is less work than to look them up."""
        if not self.known.shape[1]:  # a table of categories alone, which torch's unique refuses
            return self.known[:1], torch.zeros(len(self), dtype=torch.int64)
        found, which = torch.unique(self.known, dim=0, return_inverse=True)
        return (self.known, None) if 2 * len(found) > len(self) else (found, which.reshape(-1))

    @cached_property
    def members(self) -> tuple[Tensor, ...] | None:
        """The rows of each pattern; None where nearly each has one of its own."""
        patterns, which = self.patterns
        if which is None or len(patterns) * FEW > len(self):
            return None
        return which.argsort(stable=True).split(which.bincount(minlength=len(patterns)).tolist())

    def pieces(self, components: Components) -> "list[Rows]":
        """The rows cut so that p(z | …) of all components fits in memory."""
        width = len(components.means) * max((components.rank + 1) ** 2, self.y.shape[1], 1)
        size = max(1, PIECE // width)
        return [self] if len(self) <= size else [self.take(part) for part in _slices(len(self), size)]


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


@dataclass(frozen=True, eq=False)
class Posterior:
    """log_joint: (J, n), log w_j p_j(known cells) without the maps' Jacobian; mean: (J, n, Q) of z given j and the
    known cells; factor: (J, U, Q, Q), the lower Cholesky factor of its precision by pattern; which: (n,), the pattern
    of each row, None where they are the rows."""

    log_joint: Tensor
    mean: Tensor
    factor: Tensor
    which: Tensor | None

    @cached_property
    def covariance(self) -> Tensor:
        """Of z given j and the known cells, by pattern, (J, U, Q, Q)."""
        return torch.cholesky_inverse(self.factor)

    def by_row(self, by_pattern: Tensor) -> Tensor:
        """What each row has of what each pattern has, (J, n, …) of (J, U, …)."""
        return by_pattern if self.which is None else by_pattern[:, self.which]

    def variances(self, loadings: Tensor) -> Tensor:
        """Of W_d z given j and the known cells, by pattern, for loadings (J, D, Q): (J, U, D)."""
        half = torch.linalg.solve_triangular(self.factor, loadings.mT.unsqueeze(1), upper=False)
        return half.square().sum(-2)


def posterior(components: Components, rows: Rows) -> Posterior:
    """p(j, z | known cells) of each row."""
    means, loadings, variances = components.means, components.loadings, components.variances
    count, _, rank = loadings.shape
    patterns, which = rows.patterns
    scaled = loadings / variances.unsqueeze(-1)
    outer = (scaled.unsqueeze(-1) * loadings.unsqueeze(-2)).flatten(2)
    one = torch.eye(rank, dtype=means.dtype)
    factor = torch.linalg.cholesky((patterns @ outer).view(count, len(patterns), rank, rank) + one)
    error = (rows.y - means.unsqueeze(1)) * rows.known
    score = error @ scaled
    if rows.members is None:
        of_row = factor if which is None else factor[:, which]
        mean = torch.cholesky_solve(score.unsqueeze(-1), of_row).squeeze(-1)
    else:
        mean = torch.empty_like(score)
        for pattern, at in enumerate(rows.members):
            mean[:, at] = torch.cholesky_solve(score[:, at].mT, factor[:, pattern]).mT
    distance = ((error.square()) @ (1 / variances).unsqueeze(-1)).squeeze(-1) - (score * mean).sum(-1)
    volume = variances.log() @ patterns.T + 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    volume = volume if which is None else volume[:, which]
    log_joint = -0.5 * (distance + volume + LOG_2PI * rows.known.sum(1))
    log_joint = log_joint + components.log_weights.unsqueeze(1)
    for codes, told in zip(rows.codes.T, rows.told.T, strict=True):
        log_joint = log_joint + components.log_tables[:, codes] * told
    return Posterior(log_joint, mean, factor, which)


def drawn(components: Components, rows: Rows, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """A draw of z given the component `chosen` (n,) of each row and its known cells, (n, Q)."""
    loadings = components.loadings[chosen]
    scaled = loadings * (rows.known / components.variances[chosen]).unsqueeze(-1)
    one = torch.eye(components.rank, dtype=loadings.dtype)
    factor = torch.linalg.cholesky(scaled.mT @ loadings + one)
    score = scaled.mT @ (rows.y - components.means[chosen]).unsqueeze(-1)
    noise = torch.randn(score.shape, generator=generator, dtype=torch.float64)
    spread = torch.linalg.solve_triangular(factor.mT, noise, upper=True)
    return (torch.cholesky_solve(score, factor) + spread).squeeze(-1)


def log_likelihood(components: Components, rows: Rows) -> Tensor:
    """log p of each row's known cells in mapped units, (n,) nats."""
    parts = [posterior(components, part).log_joint.logsumexp(0) for part in rows.pieces(components)]
    return torch.cat(parts) if parts else rows.y.new_zeros(0)
