"""Columns of any kind as numbers and back: how a row of a table meets a network.

A real column goes through its monotone map and is one number; its law is a mixture of Gaussians there, a density in the
units of the data or, of a rounded column, the mass of its cell. Categories in order are one number, the standardised
place; others a number per value, a vertex of a simplex. The law of categories is listed either way, so that after a
noisy look at the numbers, z = α·embedded + σ·ε, every column's law is known exactly (`TableLaw.given`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.cells import merged
from vlb.core.columns import Columns
from vlb.core.condition import Role
from vlb.core.distributions import LOG_2PI, Categorical, log_between, sum_event
from vlb.core.emissions.base import Conjugate
from vlb.core.emissions.modules import MOST_LISTED
from vlb.core.initial import Examples
from vlb.core.maps import MonotoneMaps
from vlb.core.schema import Schema

APART = math.sqrt(2.0)  # numbers of a category, so that two vertices are 2 apart, like −1 and 1
NARROWEST = 0.01  # standard deviation of a component, in deviations of the mapped column: a density has a limit
NARROWEST_ROUNDED = 1e-4  # likewise where cells have mass


class TableEmission(nn.Module):
    """Rows x (n, D) of a schema, as E numbers; a law of O numbers, which are added to a bias that is trained on.

    A network that gives zeros gives the columns' own laws. of_column: (E,), the column that each number is of.
    """

    takes = frozenset({"role", "values"})
    in_units = frozenset({"maps.knots", "maps.slopes"})

    def __init__(self, schema: Schema, components: int) -> None:
        """components: Gaussians per real column. Raises `UserError` for a schema of no table, and for a column of too
        many values to list."""
        super().__init__()
        self.columns = columns = Columns(schema)
        wide = [place for place, count in zip(columns.categories, columns.counts, strict=True) if count > MOST_LISTED]
        if wide:
            raise UserError(
                f"the column {columns.names[wide[0]]!r} has more than {MOST_LISTED} values, too many to list: make it "
                "a real column with a resolution in schema.toml, or leave it out"
            )
        self.components = components
        self.maps = MonotoneMaps(len(columns.reals))
        logits = len(columns.groups)
        lines = torch.tensor(columns.on_line, dtype=torch.bool)
        widths = [1 if line else count for line, count in zip(columns.on_line, columns.counts, strict=True)]
        starts = np.concatenate(([0], np.cumsum(widths))).astype(int).tolist()
        within = torch.arange(logits) - torch.tensor(columns.offsets, dtype=torch.int64)[columns.groups]
        self.line = lines[columns.groups] if logits else torch.zeros(0, dtype=torch.bool)
        place = torch.tensor(starts[:-1], dtype=torch.int64)[columns.groups] if logits else within
        self.place = torch.where(self.line, place, place + within)  # (C,): the number that tells of a value
        self.first_places = starts[:-1]
        numbers = [column for column, width in zip(columns.categories, widths, strict=True) for _ in range(width)]
        self.of_column = torch.tensor([*columns.reals, *numbers], dtype=torch.int64)
        self.register_buffer("values", torch.where(self.line, within.double(), APART))
        self.bias = nn.Parameter(torch.zeros(3 * components * len(columns.reals) + logits))
        with torch.no_grad():
            self._spread()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers of a row, (E,)."""
        return (len(self.of_column),)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Of what is asked of a network, (O,)."""
        return (len(self.bias),)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`out_shape`."""
        return self.out_shape

    @torch.no_grad()
    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Maps, places and the columns' own laws from the cells that are there."""
        x = torch.from_numpy(np.ascontiguousarray(data.x))
        observed = torch.ones(x.shape, dtype=torch.bool) if data.observed is None else torch.from_numpy(data.observed)
        weight = torch.ones(len(x)).double() if data.weight is None else torch.from_numpy(data.weight).double()
        columns, reals = self.columns, len(self.columns.reals)
        there = observed.double() * weight.unsqueeze(1)
        if reals:
            self.maps.fit(columns.centres(x), there[:, columns.reals])
        told = observed[:, columns.categories]
        codes = columns.codes(x, told)
        counts = (1 / torch.tensor(columns.counts, dtype=torch.float64))[columns.groups] if columns.counts else None
        self._spread()
        if counts is None:
            return
        for code, own in zip(codes.T, there[:, columns.categories].T, strict=True):
            counts.index_add_(0, code, own)
        p = (counts.log() - grouped_logsumexp(counts.log(), columns)[columns.groups]).exp()
        self.bias[3 * self.components * reals :] = p.log().float()
        within = torch.arange(len(p)) - torch.tensor(columns.offsets, dtype=torch.int64)[columns.groups]
        mean = grouped_sum(p * within, columns)[columns.groups]
        deviation = grouped_sum(p * (within - mean).square(), columns).sqrt()[columns.groups].clamp(min=1e-3)
        self.get_buffer("values").copy_(torch.where(self.line, (within - mean) / deviation, APART))

    def _spread(self) -> None:
        """Gaussians about the middle of each mapped real, together of mean 0 and, from three on, variance 1."""
        reals, count = len(self.columns.reals), self.components
        start = self.bias.new_zeros(reals, count, 3)
        if count > 1:
            middles = torch.linspace(-1.0, 1.0, count)
            start[..., 1] = middles
            start[..., 2] = 0.5 * (1 - middles.square().mean()).clamp(min=0.1).log()
        self.bias[: start.numel()] = start.flatten()

    def embed(self, x: Tensor) -> Tensor:
        """Rows x (n, D) as numbers, (n, E) float64; cells that are not there hold any valid value. A real at an atom is
        0."""
        y, _ = self.maps(self.columns.centres(x))
        y = torch.where(self.columns.at_atoms(x)[:, self.columns.reals], 0.0, y)
        found = x.new_zeros(len(x), len(self.of_column) - y.shape[1], dtype=torch.float64)
        codes = self.columns.codes(x, torch.ones_like(x[:, self.columns.categories], dtype=torch.bool))
        values = self.get_buffer("values")
        for number, (code, first, count) in enumerate(
            zip(codes.T, self.first_places, self.columns.counts, strict=True)
        ):
            if self.columns.on_line[number]:
                found[:, first] = values[code]
            else:
                found[:, first : first + count] = -APART / count
                found[torch.arange(len(x)), self.place[code]] += APART
        return torch.cat((y, found), 1)

    def wide(self, elements: Tensor) -> Tensor:
        """What is said of columns (n, D), said of their numbers, (n, E)."""
        return elements[:, self.of_column]

    def roles(self, role: Tensor) -> Tensor:
        """The roles of numbers (n, E), of those of cells (n, D). The number of a real at an atom, which has no cell, is
        what the cell is that says so: its absence tells nothing more."""
        own = role.clone()
        for which, real in self.columns.atoms:
            own[:, real] = torch.where(own[:, real] == Role.ABSENT, own[:, which], own[:, real])
        return self.wide(own)

    def law(self, out: Tensor) -> "TableLaw":
        """p(x | ·) of rows from a network's output (n, O)."""
        raw = out.double() + self.bias.double()
        reals, count = len(self.columns.reals), self.components
        split = 3 * reals * count
        log_weights, means, log_stds = raw[:, :split].unflatten(1, (reals, count, 3)).unbind(-1)
        rounded = self.columns.resolutions.to(raw.device) > 0
        least = torch.where(rounded, NARROWEST_ROUNDED, NARROWEST).unsqueeze(1)
        variances = torch.exp(2 * log_stds.clamp(max=5.0)) + least.square()
        return TableLaw(self, log_weights, means, variances, raw[:, split:])


@dataclass(frozen=True)
class RowEmbedding:
    """Rows as the numbers of an emission that belongs to another module."""

    emission: TableEmission

    def embed(self, x: Tensor) -> Tensor:
        """Rows x (n, D) as numbers, (n, E) float64."""
        return self.emission.embed(x)

    def wide(self, elements: Tensor) -> Tensor:
        """What is said of columns (n, D), said of their numbers, (n, E)."""
        return self.emission.wide(elements)

    def roles(self, role: Tensor) -> Tensor:
        """The roles of numbers, (n, E), of those of cells, (n, D)."""
        return self.emission.roles(role)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "TableLaw":
        """The columns' own laws after a noisy look."""
        nothing = z.new_zeros(len(z), *self.emission.out_shape)
        return self.emission.law(nothing).given(z, alpha, sigma)


@dataclass(frozen=True, eq=False)
class TableLaw(Conjugate):
    """p(x | ·) of rows, each column by itself.

    log_weights, unnormalised, means, variances: (n, reals, M), of the mapped reals; logits: (n, C), of all categories.
    """

    emission: TableEmission
    log_weights: Tensor
    means: Tensor
    variances: Tensor
    logits: Tensor

    @property
    def columns(self) -> Columns:
        """Those of the table."""
        return self.emission.columns

    @property
    def log_tables(self) -> Tensor:
        """log p of the values of all categories, (n, C)."""
        columns = self.columns
        return self.logits - grouped_logsumexp(self.logits, columns)[:, columns.groups]

    @property
    def mean(self) -> Tensor:
        """Of the embedded x, (n, E) float64."""
        return torch.cat(((self.log_weights.softmax(-1) * self.means).sum(-1), self._numbers(1)), 1)

    @property
    def variance(self) -> Tensor:
        """Of each of the numbers, (n, E) float64."""
        weights = self.log_weights.softmax(-1)
        centre = (weights * self.means).sum(-1, keepdim=True)
        reals = (weights * (self.variances + (self.means - centre).square())).sum(-1)
        mean = self._numbers(1)
        line = self._of_line(mean)
        squares = self._numbers(2)
        p = (mean + self._evenly(mean)) / APART
        return torch.cat((reals, torch.where(line, (squares - mean.square()).clamp(min=0), APART**2 * p * (1 - p))), 1)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "TableLaw":
        """The law given z = α·embedded + σ·ε as well: z (n, E), α and σ broadcast against it (Bayes).

        A Gaussian times a Gaussian is one, and two vertices of a simplex are told apart by their own numbers alone.
        """
        reals = len(self.columns.reals)
        z, a, s = z.double(), alpha.double().expand(z.shape), sigma.double().expand(z.shape)
        own, a_own, noise = z[:, :reals, None], a[:, :reals, None], s[:, :reals, None].square()
        total = a_own.square() * self.variances + noise
        error = own - a_own * self.means
        values, place = self.emission.get_buffer("values"), reals + self.emission.place.to(z.device)
        snr = (a / s).square()[:, place]
        seen = (a / s.square() * z)[:, place] * values - 0.5 * snr * values.square()
        return replace(
            self,
            log_weights=self.log_weights - 0.5 * (error.square() / total + total.log()),
            means=self.means + a_own * self.variances / total * error,
            variances=self.variances * noise / total,
            logits=self.logits + seen,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Of rows (n, D): (n,) nats, per unit of each real column that is not rounded."""
        return sum_event(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same of each cell, (n, D); cells that are not there hold any valid value."""
        columns, maps = self.columns, self.emission.maps
        found = value.new_zeros(value.shape, dtype=torch.float64)
        if columns.reals:
            reals = columns.centres(value)
            y, log_slope = maps(reals)
            log_weights, deviations = self.log_weights.log_softmax(-1), self.variances.sqrt()
            error = (y.unsqueeze(-1) - self.means) / deviations
            own = (log_weights - 0.5 * (error.square() + LOG_2PI) - deviations.log()).logsumexp(-1) + log_slope
            if columns.rounded:
                half = columns.resolutions.to(reals.device) / 2
                low, high = (
                    (maps(end)[0].unsqueeze(-1) - self.means) / deviations for end in (reals - half, reals + half)
                )
                mass = (log_weights + log_between(low, torch.maximum(high, low + 1e-12))).logsumexp(-1)
                own = torch.where(half > 0, mass, own)
            found[:, columns.reals] = own
        if columns.categories:
            codes = columns.codes(value, torch.ones_like(value[:, columns.categories], dtype=torch.bool))
            found[:, columns.categories] = self.log_tables.gather(1, codes)
        return found

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw of each row, (n, D) float64: reals in the units of the data, numbers of the values of categories."""
        columns = self.columns
        chosen = Categorical(self.log_weights).sample(generator).unsqueeze(-1)
        mean, variance = (part.gather(-1, chosen).squeeze(-1) for part in (self.means, self.variances))
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64).to(mean.device)
        reals = columns.to_grid(self.emission.maps.inverse(mean + variance.sqrt() * noise))
        tables = self.logits.split(columns.counts, 1) if columns.counts else ()
        drawn = [Categorical(table).sample(generator) for table in tables]
        like = reals.new_zeros(len(reals), columns.count)
        return merged(columns, like, torch.zeros_like(like, dtype=torch.bool), reals, drawn)

    def _numbers(self, power: int) -> Tensor:
        """E of the numbers of categories, or of their squares where they lie on a line: (n, numbers)."""
        emission, p = self.emission, self.log_tables.exp()
        found = p.new_zeros(len(p), len(emission.of_column) - len(self.columns.reals))
        found.index_add_(1, emission.place.to(p.device), p * emission.get_buffer("values") ** power)
        return found - self._evenly(found) if power == 1 else found

    def _evenly(self, numbers: Tensor) -> Tensor:
        """What is taken from each number so that vertices lie about 0, (numbers,); 0 on a line."""
        emission = self.emission
        found = torch.zeros(numbers.shape[1], dtype=torch.float64)
        if self.columns.counts:
            counts = torch.tensor(self.columns.counts, dtype=torch.float64)[self.columns.groups]
            found[emission.place] = torch.where(emission.line, 0.0, APART / counts)
        return found.to(numbers.device)

    def _of_line(self, numbers: Tensor) -> Tensor:
        found = torch.zeros(numbers.shape[1], dtype=torch.bool)
        found[self.emission.place] = self.emission.line
        return found.to(numbers.device)


def grouped_sum(values: Tensor, columns: Columns) -> Tensor:
    """Sums over the values of each column of categories: (…, C) -> (…, columns)."""
    groups = columns.groups.to(values.device)
    return values.new_zeros(*values.shape[:-1], len(columns.counts)).index_add(-1, groups, values)


def grouped_logsumexp(values: Tensor, columns: Columns) -> Tensor:
    """log Σ exp over the values of each column of categories: (…, C) -> (…, columns)."""
    groups = columns.groups.to(values.device)
    index = groups.expand(values.shape)
    start = values.new_full((*values.shape[:-1], len(columns.counts)), -torch.inf)
    most = start.scatter_reduce(-1, index, values.detach(), "amax")
    return grouped_sum((values - most[..., groups]).exp(), columns).log() + most
