"""The mixture of tables with gaps: reals through monotone maps, categories by tables, and every marginal exact."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.columns import Columns
from vlb.core.condition import UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.initial import Examples
from vlb.core.maps import MonotoneMaps
from vlb.core.schema import Schema
from vlb.core.terms import EXACT, TermPath
from vlb.models.factor.chain import Chain
from vlb.models.factor.components import NAMES, PIECE, Components, Rows, posterior
from vlb.models.factor.fitting import Fit, Mapped, fitted
from vlb.models.factor.law import FactorLaw

TAKES = frozenset({"role", "values"})


class FactorMixture(nn.Module):
    """Σ_j w_j N(f(reals); m_j, W_j W_jᵀ + Ψ_j) |∂f| Π_c p_jc(category c), over the columns of a table.

    x is (n, D): reals in the units of the data, of all other kinds the numbers of values. A condition's role says what
    is modelled, known and absent. The law is against Lebesgue measure in each real column's unit, counting for
    categories, and the mass of a cell where a real column has a resolution; there, the reals with a density and the
    categories come first, and each rounded column is given those before it in the schema's order, known cells always.
    """

    bound = EXACT
    takes = TAKES
    in_units = frozenset({"maps.knots", "maps.slopes"})

    def __init__(self, schema: Schema, fit: Fit) -> None:
        super().__init__()
        self.schema, self.shape, self.fit_by = schema, schema.shape, fit
        self.columns = Columns(schema)
        reals, categories = len(self.columns.reals), len(self.columns.groups)
        self.maps = MonotoneMaps(reals)
        counts = torch.tensor(self.columns.counts, dtype=torch.float64)
        even = -counts.log()[self.columns.groups] if categories else torch.zeros(0, dtype=torch.float64)
        standard = {
            "log_weights": torch.zeros(1),
            "means": torch.zeros(1, reals),
            "loadings": torch.zeros(1, reals, 1),
            "variances": torch.ones(1, reals),
            "log_tables": even.unsqueeze(0),
        }
        for name in NAMES:
            self.register_buffer(name, standard[name].double())

    @property
    def components(self) -> Components:
        """The components, of all draws of the parameters."""
        return Components(**{name: self.get_buffer(name) for name in NAMES})

    @components.setter
    def components(self, found: Components) -> None:
        for name, value in found.parts().items():
            setattr(self, name, value.detach().clone())

    def resize(self, weights: Mapping[str, Tensor]) -> None:
        """Make room for other numbers of components and another rank, if `weights` by name have them in one voice:
        both were chosen by the data, so that configuration and schema do not say them."""
        loadings = weights.get("loadings")
        if loadings is None or loadings.ndim != 3 or min(len(loadings), loadings.shape[2]) < 1:
            return
        shapes = {name: (len(loadings), *self.get_buffer(name).shape[1:]) for name in NAMES}
        shapes["loadings"] = (*shapes["loadings"][:2], loadings.shape[2])
        if all(name in weights and tuple(weights[name].shape) == shape for name, shape in shapes.items()):
            for name, shape in shapes.items():
                setattr(self, name, self.get_buffer(name).new_zeros(shape))

    def fit_to(self, data: Examples, generator: torch.Generator, progress: Progress) -> None:
        """Maps of the columns, then everything else by EM on the cells that are there, with the weights of rows."""
        x = torch.from_numpy(np.ascontiguousarray(data.x))
        observed = None if data.observed is None else torch.from_numpy(data.observed)
        weight = None if data.weight is None else torch.from_numpy(data.weight)
        self.fit(x, observed, weight, generator, progress)

    @torch.no_grad()
    def fit(
        self,
        x: Tensor,
        observed: Tensor | None,
        weight: Tensor | None,
        generator: torch.Generator,
        progress: Progress = SILENT,
    ) -> None:
        """Fit to x (n, D), of which only the cells that are `observed` (n, D) count; weight: (n,) of the rows.

        Raises `UserError` for cells that are no values, and for weights of which none is positive."""
        observed = torch.ones(x.shape, dtype=torch.bool) if observed is None else observed
        weight = torch.ones(len(x), dtype=torch.float64) if weight is None else weight.double()
        if len(x) == 0 or not weight.isfinite().all() or (weight < 0).any() or not (weight > 0).any():
            raise UserError("a mixture is fitted to at least one row, with weights that are not negative and not all 0")
        used = weight > 0
        x, observed, weight = x[used], observed[used], weight[used]
        there = observed[:, self.columns.reals].double() * weight.unsqueeze(1)
        few: Tensor | slice = slice(None)
        if len(x) > PIECE_OF_MAPS:
            few = torch.randperm(len(x), generator=generator)[:PIECE_OF_MAPS].sort().values
        progress.begin("fitting the maps of columns")
        reals, offered, maps = self._reals(x, observed), [], []
        for adapt in (self.maps.straighten, self.maps.fit):
            adapt(reals[few], there[few])
            rows = replace(self.rows(x, observed), weight=weight)
            offered.append(Mapped(rows, (self.maps(reals)[1] * rows.known).sum(1)))
            maps.append({name: value.clone() for name, value in self.maps.state_dict().items()})
        table, added = self._marginals(offered[0].rows)
        taken, self.components = fitted(offered, table, added, self.columns.groups, self.fit_by, generator, progress)
        self.maps.load_state_dict(maps[taken])

    def rows(self, x: Tensor, known: Tensor) -> Rows:
        """Rows x (n, D) as the components meet them, of which only the `known` cells (n, D) are looked at."""
        reals = known[:, self.columns.reals]
        told = known[:, self.columns.categories]
        y, _ = self.maps(self._reals(x, known))
        return Rows(y, reals.double(), self.columns.codes(x, told), told.double(), y.new_ones(len(x)))

    @torch.no_grad()
    def log_prob(self, x: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """log p(modelled | known) of rows x (n, D), absent cells left out: (n,) nats, per unit of each real column.

        Raises `UserError` for a cell that counts and is no value."""
        refuse_others(condition, TAKES, "this mixture")
        role = torch.zeros(x.shape, dtype=torch.uint8) if condition.role is None else condition.role
        modelled, known = role == Role.MODELLED, role == Role.KNOWN
        size = self.piece
        parts = [
            self._log_prob(x[at : at + size], modelled[at : at + size], known[at : at + size])
            for at in range(0, len(x), size)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def _log_prob(self, x: Tensor, modelled: Tensor, known: Tensor) -> Tensor:
        components, columns = self.components, self.columns
        chained = torch.zeros(x.shape[1], dtype=torch.bool)
        chained[[columns.reals[number] for number in columns.rounded]] = True
        block = modelled & ~chained
        start = posterior(components, self.rows(x, known | block))
        total = start.log_joint.logsumexp(0)
        if known.any():
            total = total - posterior(components, self.rows(x, known)).log_joint.logsumexp(0)
        reals = self._reals(x, known | modelled)
        y, log_slope = self.maps(reals)
        total = total + (log_slope * block[:, columns.reals]).sum(1)
        if (modelled & chained).any():
            chain = Chain(components, start)
            half = columns.resolutions / 2
            low, high = self.maps(reals - half)[0], self.maps(reals + half)[0]
            for number in columns.rounded:
                counted = modelled[:, columns.reals[number]]
                total = total + torch.where(counted, chain.log_mass(number, low[:, number], high[:, number]), 0.0)
                chain.take_in(number, y[:, number], counted)
        return total

    @torch.no_grad()
    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator | None = None) -> FactorLaw:
        """The law of the cells of rows x (n, D) that are not `known` (n, D), given those that are: exact, so that
        nothing is drawn."""
        return FactorLaw(self.maps, self.columns, x, known, self.components, self.rows(x, known))

    def responsibilities(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """p(j | known cells), (n, J), over the components of all draws."""
        known = torch.ones(x.shape, dtype=torch.bool) if known is None else known
        return self.conditional(x, known).responsibilities()

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """−log p(modelled | known), (n,) nats: nothing is drawn."""
        return {("negative_log_likelihood",): -self.log_prob(x, condition)}

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n rows (n, D) float64; `steps` is ignored. Known cells are the condition's `values`, all others are drawn
        given them, together."""
        refuse_others(condition, TAKES, "this mixture")
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        known = (
            torch.zeros(n, *self.shape, dtype=torch.bool) if condition.role is None else condition.role == Role.KNOWN
        )
        if known.any() and condition.values is None:
            raise UserError("some cells are said to be known and have no values: give the condition's values")
        x = torch.zeros(n, *self.shape, dtype=torch.float64) if condition.values is None else condition.values
        return self.conditional(x, known).sample(generator)

    @property
    def piece(self) -> int:
        """Rows whose p(z | …) of all components fits in memory."""
        components = self.components
        width = len(components.means) * max((components.rank + 1) ** 2, *self.shape, 1)
        return max(1, PIECE // width)

    def _reals(self, x: Tensor, known: Tensor) -> Tensor:
        """The reals of x, (n, reals) float64, rounded ones as centres; a middle value where they are not known."""
        there = known[:, self.columns.reals]
        reals = self.columns.centres(x)
        wrong = there & ~reals.isfinite()
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            name = self.columns.names[self.columns.reals[column]]
            raise UserError(
                f"row {row}, column {name!r}: {reals[row, column]} is no number; say which cells are missing"
            )
        knots = self.maps.get_buffer("knots")
        return torch.where(there, reals, knots[:, knots.shape[1] // 2])

    def _marginals(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The law of each category by itself, (C,), and how many rows it counts for, (C,): as many as its column has
        values in one row alone, at least one, which is about how many rows would have a value that is in none (Good
        1953). They are added to each column in all."""
        groups = self.columns.groups
        columns = len(self.columns.counts)
        counts = torch.zeros(len(groups), dtype=torch.float64)
        for codes, told in zip(rows.codes.T, rows.told.T, strict=True):
            counts.index_add_(0, codes, told * rows.weight)
        alone = ((counts > 0) & (counts <= 1)).double()
        added = torch.zeros(columns, dtype=torch.float64).index_add_(0, groups, alone).clamp(min=1)
        if len(groups):
            counts = counts + (added / torch.tensor(self.columns.counts, dtype=torch.float64))[groups]
        totals = torch.zeros(columns, dtype=torch.float64).index_add_(0, groups, counts)
        return counts / totals[groups], added[groups]


PIECE_OF_MAPS = 1 << 13  # rows that the maps are fitted to
