"""Fitting the components: expectation–maximisation over the cells that are there, and draws from the posterior.

For each component and real column, given E[z] and E[zzᵀ] of the rows that have the cell, loadings and mean are a
weighted ridge regression of y_d on (z, 1); nothing is imputed (Ghahramani & Hinton 1996, with missing cells). The ridge
is a prior N(centre, ψ/strength) and the variances have an inverse-gamma prior, whose centre is either nothing (one
component) or the fit of one component, towards which the components of a mixture are drawn: with few rows, more
components do little harm.

That cells are *missing at random* is assumed: given the cells that are there, whether one is missing says nothing about
its value.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
from torch import Tensor, nn

from vlb.base.progress import SILENT, Progress
from vlb.models.factor.components import Components, Rows, posterior
from vlb.models.factor.components import drawn as latent


@dataclass(frozen=True, eq=False)
class Prior:
    """centre: (1, D, Q + 1) of loadings and mean, strength: (Q + 1,) in rows; variances: (1, D), believed as much as
    `believed` cells; counts: (C,), rows of each category added to those of a component; groups: (C,) int64, the column
    of each; evenness: rows added to each component; floor: the least variance."""

    centre: Tensor
    strength: Tensor
    variances: Tensor
    believed: float
    counts: Tensor
    groups: Tensor
    evenness: float
    floor: float

    def log_density(self, components: Components) -> Tensor:
        """What `em` maximises beside log p, nats up to a constant."""
        error = (_coefficients(components) - self.centre).square() @ self.strength
        variances = components.variances
        believed = self.believed * (variances.log() + self.variances / variances)
        tables = (components.log_tables @ self.counts).sum()
        return tables + self.evenness * components.log_weights.sum() - 0.5 * (error / variances + believed).sum()


def _coefficients(components: Components) -> Tensor:
    return torch.cat((components.loadings, components.means.unsqueeze(-1)), -1)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over rows, weighted by p(j | row): of vvᵀ with v = (z, 1), (J, D, Q + 1, Q + 1); of vy, y², 1 over the cells
    that are there; of 1, (J,); of categories, (J, C)."""

    outer: Tensor
    cross: Tensor
    square: Tensor
    cells: Tensor
    rows: Tensor
    categories: Tensor

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def _sums(rows: Rows, shares: Tensor, z: Tensor, covariance: Tensor | None, categories: int) -> Statistics:
    """shares: (J, n) times the weights; z: (J, n, Q) means with their covariance (J, U, Q, Q) by pattern, or (n, Q)
    drawn, with None."""
    count, rank = len(shares), z.shape[-1]
    v = torch.cat((z, z.new_ones(*z.shape[:-1], 1)), -1)
    shared = v * shares.unsqueeze(-1)
    patterns, which = rows.patterns
    if rows.members is None:
        each = v.unsqueeze(-1) * v.unsqueeze(-2)
        if covariance is not None and which is None:
            each[..., :rank, :rank] += covariance
        outer = (shares.unsqueeze(1) * rows.known.T) @ each.flatten(-2)
    else:
        outer = patterns.T @ torch.stack([shared[:, at].mT @ v[..., at, :] for at in rows.members], 1).flatten(2)
    summed = outer.reshape(count, -1, rank + 1, rank + 1)
    if covariance is not None and which is not None:
        used = shares.new_zeros(count, len(patterns)).index_add_(1, which, shares)
        spread = (used.unsqueeze(1) * patterns.T) @ covariance.flatten(2)
        summed[..., :rank, :rank] += spread.view(count, -1, rank, rank)
    found = shares.new_zeros(count, categories)
    for codes, told in zip(rows.codes.T, rows.told.T, strict=True):
        found.index_add_(1, codes, shares * told)
    y = rows.known * rows.y
    return Statistics(summed, (shared.mT @ y).mT, shares @ y.square(), shares @ rows.known, shares.sum(1), found)


def _regression(sums: Statistics, prior: Prior) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (J, D, Q + 1), twice the rate of the variances (J, D), and the precision of the coefficients in
    units of 1/ψ."""
    precision = sums.outer + prior.strength.diag()
    cross = sums.cross + prior.strength * prior.centre
    best = torch.linalg.solve(precision, cross.unsqueeze(-1)).squeeze(-1)
    squares = sums.square + prior.centre.square() @ prior.strength - (best * cross).sum(-1)
    return best, squares.clamp(min=0) + prior.believed * prior.variances, precision


def _tables(counts: Tensor, groups: Tensor) -> Tensor:
    """log of counts (J, C) divided by their sums over each column."""
    if not len(groups):
        return counts
    totals = counts.new_zeros(len(counts), int(groups.max()) + 1).index_add_(1, groups, counts)
    return (counts / totals[:, groups]).clamp(min=torch.finfo(counts.dtype).tiny).log()


def maximised(sums: Statistics, prior: Prior) -> Components:
    """The M step."""
    best, rate, _ = _regression(sums, prior)
    variances = (rate / (sums.cells + prior.believed)).clamp(min=prior.floor)
    weights = sums.rows + prior.evenness
    tables = _tables(sums.categories + prior.counts, prior.groups)
    return Components((weights / weights.sum()).log(), best[..., -1], best[..., :-1], variances, tables)


def ascent(
    components: Components, rows: Rows, prior: Prior, steps: int, tolerance: float = 1e-4
) -> Iterator[tuple[Components, Tensor]]:
    """The components after each of at most `steps` steps, and log p + log prior before it, nats; it never falls
    (Dempster, Laird & Rubin 1977). The last is no step, where one gains less than `tolerance` nats per cell."""
    size = float((rows.weight * (rows.known.sum(1) + rows.told.sum(1))).sum())
    pieces, last = rows.pieces(components), -math.inf
    for step in range(steps):
        total, sums = prior.log_density(components), []
        for part in pieces:
            found = posterior(components, part)
            evidence = found.log_joint.logsumexp(0)
            total = total + (part.weight * evidence).sum()
            shares = (found.log_joint - evidence).exp() * part.weight
            sums.append(_sums(part, shares, found.mean, found.covariance, len(prior.groups)))
        ended = step > 3 and float(total) - last < tolerance * size
        last = float(total)
        if not ended:
            components = maximised(reduce(Statistics.__add__, sums), prior)
        yield components, total
        if ended:
            return


def em(
    components: Components,
    rows: Rows,
    prior: Prior,
    steps: int,
    tolerance: float = 1e-4,
    progress: Progress = SILENT,
) -> tuple[Components, Tensor]:
    """The end of `ascent`, and log p + log prior before each of its steps, nats."""
    path: list[Tensor] = []
    weight = float(rows.weight.sum())
    progress.begin("EM on all rows", steps)
    for after, total in ascent(components, rows, prior, steps, tolerance):
        components = after
        path.append(total)
        progress.at(len(path), detail=f"{float(total) / weight:.3f} nats a row")
    progress.at(len(path), total=len(path))
    return components, torch.stack(path)


def swept(
    components: Components, pieces: Sequence[Rows], prior: Prior, generator: torch.Generator
) -> tuple[Components, Components]:
    """One sweep of data augmentation (Tanner & Wong 1987) over all rows in pieces: j and z of each row given its cells
    and the components, then components given these, which are independent regressions. A row of weight w counts as w
    rows. Beside them those with the mean of the tables given j, to be averaged over: given j and z tables are
    independent of the rest, so it has the same mean, and a category that hardly any row has is not at 0 in it, as it is
    in almost any draw."""
    sums = []
    for part in pieces:
        found = posterior(components, part)
        chosen = torch.multinomial(found.log_joint.softmax(0).T, 1, generator=generator).squeeze(1)
        shares = nn.functional.one_hot(chosen, len(components.means)).T * part.weight
        sums.append(_sums(part, shares, latent(components, part, chosen, generator), None, len(prior.groups)))
    total = reduce(Statistics.__add__, sums)
    after = drawn(total, prior, generator)
    return after, replace(after, log_tables=_tables(total.categories + prior.counts, prior.groups))


def drawn(sums: Statistics, prior: Prior, generator: torch.Generator) -> Components:
    """Components from their posterior given j and z: normal–inverse-gamma and Dirichlet."""
    best, rate, precision = _regression(sums, prior)
    gamma = torch._standard_gamma((sums.cells + prior.believed) / 2, generator=generator)
    variances = (rate / 2 / gamma).clamp(min=prior.floor)
    noise = torch.randn(best.shape, generator=generator, dtype=torch.float64).unsqueeze(-1)
    spread = torch.linalg.solve_triangular(torch.linalg.cholesky(precision).mT, noise, upper=True).squeeze(-1)
    best = best + variances.sqrt().unsqueeze(-1) * spread
    weights = torch._standard_gamma(sums.rows + prior.evenness, generator=generator)
    counts = torch._standard_gamma(sums.categories + prior.counts, generator=generator)
    tables = _tables(counts.clamp(min=torch.finfo(counts.dtype).tiny), prior.groups)
    return Components((weights / weights.sum()).log(), best[..., -1], best[..., :-1], variances, tables)
