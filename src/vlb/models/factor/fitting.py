"""Which components: rank, number and maps, by the bound on rows held out; then all rows, then draws that carry how
uncertain the parameters are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import Settings, Steps, Within
from vlb.base.progress import SILENT, Progress
from vlb.models.factor.components import Components, Rows, log_likelihood, together
from vlb.models.factor.em import Prior, ascent, em, swept

HELD_OUT = 0.2
CHOOSING = 4096  # rows among which rank and number are chosen
DRAWING = 4096  # rows for which `draws` draws are kept: of more rows fewer, for parameters are the surer
BURN, THIN = 12, 3  # sweeps before the first draw, and per draw
PATIENCE = 2  # choices in a row that bring nothing end the search
LOOK = 5  # steps of EM, after which rows held out say whether to go on
FEW = 4  # components with which all maps are tried
CELLS = 2  # that are there for each loading and mean of the components that are tried, at least
LEAST = 10  # rows: below, one component of rank 1 is taken


Several = Annotated[int, Within(1, 1000)]


@dataclass(frozen=True, kw_only=True)
class Fit(Settings):
    """How a factor mixture is fitted.

    components, rank: how many, and of which rank; where they are not given, the likelihood of held-out rows chooses
    them, up to `most_components`, fewer where a loading would have less than two cells, and `most_rank`. pull,
    pull_means, believed: as if so many rows said that loadings and means of components are alike, and so many cells
    that variances are. smoothing: rows of the marginals added to the categories of every component, times as many as
    values of the column are in one row alone. floor: the least variance, of that of a mapped column. draws: how many
    draws of the parameters from their posterior the model is averaged over, so that its laws carry how uncertain they
    are; fewer for many rows; 0: the mode alone. steps: of EM, at most.
    """

    components: Several | None = None
    most_components: Several = 32
    rank: Several | None = None
    most_rank: Several = 24
    pull: Annotated[float, Within(0, 1e6, above=True)] = 30.0
    pull_means: Annotated[float, Within(0, 1e6, above=True)] = 3.0
    believed: Annotated[float, Within(0, 1e6, above=True)] = 20.0
    smoothing: Annotated[float, Within(0, 1e6, above=True)] = 1.0
    floor: Annotated[float, Within(1e-12, 1)] = 1e-4
    draws: Annotated[int, Within(0, 1000)] = 16
    steps: Steps = 60


@dataclass(frozen=True, eq=False)
class Mapped:
    """Rows under some maps of their reals; log_slope: (n,), the sum of log dy/dx over the known reals of each."""

    rows: Rows
    log_slope: Tensor


def fitted(
    offered: Sequence[Mapped],
    table: Tensor,
    added: Tensor,
    groups: Tensor,
    fit: Fit,
    generator: torch.Generator,
    progress: Progress = SILENT,
) -> tuple[int, Components]:
    """Which of the maps that are offered, the simplest first, and the components of its rows. table: (C,), the marginal
    of each category, smoothed; added: (C,), how many rows it counts for in each component; groups: (C,), its column.
    Where nothing is held out, the last maps are taken."""
    # Before anything that depends on how many rows there are: a row of weight two is as two rows.
    disturbance = int(torch.randint(2**62, (), generator=generator))
    order = torch.randperm(len(offered[0].rows), generator=generator)[:CHOOSING]
    choosers = [Chooser(mapped, table, added, groups, fit, order, disturbance, progress) for mapped in offered]
    place = chosen(choosers)
    chooser, rows = choosers[place], offered[place].rows
    rank, count = chooser.rank, chooser.count
    # The fit of the rows for choosing is where that of all rows starts.
    one, _ = em(chooser.single(rank), rows, chooser.weak(rank), fit.steps, progress=progress)
    found, prior = one, chooser.weak(rank)
    if count > 1:
        prior = chooser.pulling(one)
        found, _ = em(chooser.several(rank, count), rows, prior, fit.steps, progress=progress)
    return place, averaged(found, rows, prior, fit.draws, generator, progress)


def chosen(choosers: Sequence["Chooser"]) -> int:
    """Which maps: those that are best with few components, unless others are with as many as these then want. What
    suits columns by themselves may make each of several components less Gaussian. The last, where nothing is held
    out."""
    held, places = choosers[0].held, range(len(choosers))
    if not len(held):
        return len(choosers) - 1
    first = best(places, lambda place: choosers[place].with_components(choosers[place].up_to(FEW)), held.weight)
    count = choosers[first].count
    return best(places, lambda place: choosers[place].with_components(count), held.weight)


def averaged(
    components: Components,
    rows: Rows,
    prior: Prior,
    draws: int,
    generator: torch.Generator,
    progress: Progress = SILENT,
) -> Components:
    """The even mixture of `draws` draws from the posterior of components, fewer where there are many rows; of none, the
    components as they are."""
    if not draws or not len(rows):
        return components
    kept: list[Components] = []
    count = max(1, min(draws, draws * DRAWING // len(rows)))
    pieces = rows.pieces(components)
    progress.begin("drawing parameters", BURN + THIN * count)
    for sweep in range(1, BURN + THIN * count + 1):
        components, mean = swept(components, pieces, prior, generator)
        progress.at(sweep)
        if sweep > BURN and (sweep - BURN) % THIN == 0:
            kept.append(mean)
    return together(kept)


class Chooser:
    """Fits of most of the rows, judged by the others."""

    def __init__(
        self,
        mapped: Mapped,
        table: Tensor,
        added: Tensor,
        groups: Tensor,
        fit: Fit,
        order: Tensor,
        disturbance: int,
        progress: Progress = SILENT,
    ) -> None:
        self.fit, self.table, self.groups, self.disturbance = fit, table, groups, disturbance
        self.counts = fit.smoothing * added * table
        self.progress = progress
        chosen = fit.rank is None or fit.components is None
        held = int(HELD_OUT * len(order)) if chosen and len(order) >= LEAST else 0
        out, kept = order[:held].sort().values, order[held:].sort().values
        self.held, self.kept, self.log_slope = mapped.rows.take(out), mapped.rows.take(kept), mapped.log_slope[out]
        self.columns = mapped.rows.y.shape[1]
        self.singles: dict[int, Components] = {}
        self.mixtures: dict[int, Components] = {}

    @cached_property
    def rank(self) -> int:
        """The rank that the rows held out like best."""
        most = max(1, min(self.fit.most_rank, self.columns - 1))
        if self.fit.rank is not None or not len(self.held):
            return min(self.fit.rank or 1, max(1, self.columns))
        return self.best("rank", _doubled(1, most), self.of_rank)

    @cached_property
    def count(self) -> int:
        """The number of components of this rank that the rows held out like best."""
        return self.up_to(self.fit.most_components)

    def up_to(self, most: int) -> int:
        """The same of at most so many, unless it is given."""
        if self.fit.components is not None or not len(self.held):
            return self.fit.components or 1
        sizes = _doubled(1, min(most, self.most(self.rank)))
        return self.best("number of components", sizes, self.with_components)

    def with_components(self, count: int) -> Tensor:
        """log p of the rows held out by so many components of the rank that is chosen, at most as many as are tried,
        (m,) nats."""
        few = count if self.fit.components is not None else min(count, self.most(self.rank))
        return self.held_out(self.several(self.rank, few))

    def most(self, rank: int) -> int:
        """Up to how many components of a rank are tried: few cells cannot tell many loadings apart, and these take most
        of the time."""
        cells = float(self.kept.known.sum())
        told = int(cells / (CELLS * (rank + 1) * self.columns)) if self.columns else self.fit.most_components
        return max(1, min(self.fit.most_components, told))

    def best(self, what: str, sizes: Sequence[int], judged: Callable[[int], Tensor]) -> int:
        """The best of rising sizes by log p (m,) of the rows held out, which is told."""
        share = self.held.weight / self.held.weight.sum()
        self.progress.begin(f"choosing the {what}", len(sizes))

        def told(size: int) -> Tensor:
            found = judged(size)
            mean = float((share * found).sum())
            self.progress.at(sizes.index(size) + 1, detail=f"{size}: {mean:.3f} nats a row held out")
            return found

        return best(sizes, told, self.held.weight)

    def of_rank(self, rank: int) -> Tensor:
        """log p of the rows held out by one component of a rank, (m,) nats."""
        return self.held_out(self.single(rank))

    def held_out(self, components: Components) -> Tensor:
        """log p of the rows held out, (m,) nats."""
        return log_likelihood(components, self.held) + self.log_slope

    def single(self, rank: int) -> Components:
        """One component: it starts from the principal directions of the cells that are there."""
        if rank not in self.singles:
            prior = self.weak(rank)
            self.singles[rank], _ = em(self.start(rank), self.kept, prior, self.fit.steps)
        return self.singles[rank]

    def start(self, rank: int) -> Components:
        """Principal directions, missing cells at the mean of their columns."""
        rows = self.kept
        there = rows.known * rows.weight.unsqueeze(1)
        mean = (there * rows.y).sum(0) / there.sum(0).clamp(min=1e-12)
        filled = (rows.y - mean) * rows.known * rows.weight.sqrt().unsqueeze(1)
        values, vectors = torch.linalg.eigh(filled.T @ filled / max(1e-12, float(rows.weight.sum())))
        few = min(rank, self.columns)
        loadings = mean.new_zeros(1, self.columns, rank)
        top = vectors[:, self.columns - few :] * values[self.columns - few :].clamp(min=0).sqrt()
        loadings[0, :, :few] = top
        variances = mean.new_full((1, self.columns), 0.5)
        return Components(mean.new_zeros(1), mean.unsqueeze(0), loadings, variances, self.table.log().unsqueeze(0))

    def several(self, rank: int, count: int) -> Components:
        """Components that start as the fit of one, disturbed and of several scales."""
        if count == 1:
            return self.single(rank)
        if count not in self.mixtures:
            one = self.single(rank)
            self.mixtures[count] = self.grown(self.disturbed(one, count), self.pulling(one))
        return self.mixtures[count]

    def grown(self, components: Components, prior: Prior) -> Components:
        """Components after EM, which ends where `LOOK` more steps do not surely gain on the rows held out."""
        found, before = components, None
        for step, (found, _) in enumerate(ascent(components, self.kept, prior, self.fit.steps), 1):
            if len(self.held) and step % LOOK == 0:
                now = self.held_out(found)
                if before is not None and not surely(now - before, self.held.weight):
                    break
                before = now
        return found

    def disturbed(self, one: Components, count: int) -> Components:
        """`count` components about one."""
        generator = torch.Generator().manual_seed(self.disturbance)
        scales = torch.linspace(-0.5, 0.5, count, dtype=torch.float64).exp().unsqueeze(1)
        moved = 0.3 * torch.randn(count, one.rank, generator=generator, dtype=torch.float64) @ one.loadings[0].T
        noise = torch.randn(count, len(self.groups), generator=generator, dtype=torch.float64)
        tables = one.log_tables + 0.3 * noise
        if len(self.groups):
            totals = tables.new_zeros(count, int(self.groups.max()) + 1).index_add_(1, self.groups, tables.exp())
            tables = tables - totals.log()[:, self.groups]
        even = scales.new_full((count,), -math.log(count))
        return Components(
            even, one.means + moved, one.loadings * scales.unsqueeze(-1), one.variances * scales.square(), tables
        )

    def weak(self, rank: int) -> Prior:
        """Of one component: as if a tenth of a row said 0, and two cells that variances are 1/1000."""
        strength = torch.full((rank + 1,), 0.1, dtype=torch.float64)
        strength[-1] = 0.01
        centre = strength.new_zeros(1, self.columns, rank + 1)
        return self.prior(centre, strength, strength.new_full((1, self.columns), 1e-3), 2.0)

    def pulling(self, one: Components) -> Prior:
        """Of several: towards one, as if `pull` or `pull_means` rows and `believed` cells said so."""
        centre = torch.cat((one.loadings, one.means.unsqueeze(-1)), -1)
        strength = centre.new_full((one.rank + 1,), self.fit.pull)
        strength[-1] = self.fit.pull_means
        return self.prior(centre, strength, one.variances, self.fit.believed)

    def prior(self, centre: Tensor, strength: Tensor, variances: Tensor, believed: float) -> Prior:
        return Prior(centre, strength, variances, believed, self.counts, self.groups, 1.0, self.fit.floor)


def surely(gain: Tensor, weight: Tensor) -> bool:
    """Whether gains (m,) of rows of some weight (m,) are positive in the mean by more than one standard error."""
    share = weight / weight.sum()
    mean = (share * gain).sum()
    return bool(mean > (share * (gain - mean)).square().sum().sqrt())


def best(choices: Sequence[int], judged: Callable[[int], Tensor], weight: Tensor) -> int:
    """The first of several choices over which the best of them does not surely gain (Breiman et al. 1984), each judged
    by log p (m,) of rows of some weight (m,). The search ends where `PATIENCE` in a row are no better than one
    before."""
    found: list[Tensor] = []
    top = 0
    for place, choice in enumerate(choices):
        found.append(judged(choice))
        if (weight * (found[place] - found[top])).sum() > 0:
            top = place
        if place - top >= PATIENCE:
            break
    return next(
        choice for choice, values in zip(choices, found, strict=False) if not surely(found[top] - values, weight)
    )


def _doubled(first: int, last: int) -> list[int]:
    """first, twice it, … up to `last`, which is among them."""
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(min(last, 2 * sizes[-1]))
    return sizes
