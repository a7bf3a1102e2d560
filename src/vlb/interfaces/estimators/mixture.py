"""`MixtureDensity`: the mixture of factor analysers as a density estimator of scikit-learn."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlb.core.schema import Schema
from vlb.interfaces.estimators.density import TableDensity, seeded, told
from vlb.models.factor.config import FactorAnalysers


class MixtureDensity(TableDensity):
    """A density of tables with gaps: a mixture of factor analysers on mapped reals, with tables for categories. It is
    fitted to the cells that are there; NaN, and None in a DataFrame, is a gap.

        p(x) = Σ_j w_j N(f(reals); m_j, W_j W_jᵀ + Ψ_j) |∂f| Π_c p_jc(category c)

    The columns of an array are reals with a density. Those of a DataFrame of pandas, polars or pyarrow are what their
    cells look like – rounded numbers have the mass of an interval, few whole numbers are categories in order – unless
    `schema`, the path of a schema.toml, says what they are. Give one where estimators are compared, as in
    cross-validation: parts of a table may look different.

    components, rank: how many, and of which rank; where they are None, held-out rows choose them, up to
    `most_components`, fewer where a loading would have less than two cells, and `most_rank`. pull, pull_means,
    believed: as if so many rows said that loadings and means of components are alike, and so many cells that variances
    are. smoothing: rows of the marginals added to the categories of every component, times as many as values of the
    column are in one row alone. floor: the least variance, of that of a mapped column. draws: of the parameters from
    their posterior, over which the model is averaged; 0: the mode alone. steps: of EM, at most. random_state: as of
    scikit-learn.

    Fitted: `model_`, a `vlb.models.factor.model.FactorMixture`; `schema_`, what the columns hold; `bound_`, the mean of
    log p of the rows it was fitted to, and its standard error over rows, nats. Raises `UserError` with advice, naming
    the column, for tables that cannot be modelled.
    """

    def __init__(
        self,
        *,
        components: int | None = None,
        most_components: int = 32,
        rank: int | None = None,
        most_rank: int = 24,
        pull: float = 30.0,
        pull_means: float = 3.0,
        believed: float = 20.0,
        smoothing: float = 1.0,
        floor: float = 1e-4,
        draws: int = 16,
        steps: int = 60,
        schema: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.components = components
        self.most_components = most_components
        self.rank = rank
        self.most_rank = most_rank
        self.pull = pull
        self.pull_means = pull_means
        self.believed = believed
        self.smoothing = smoothing
        self.floor = floor
        self.draws = draws
        self.steps = steps
        self.schema = schema
        self.random_state = random_state

    def _configuration(self) -> FactorAnalysers:
        return FactorAnalysers(**{field.name: getattr(self, field.name) for field in fields(FactorAnalysers)})

    def _trained(
        self, config: Any, schema: Schema, x: np.ndarray, observed: np.ndarray, weight: np.ndarray | None
    ) -> nn.Module:
        model = config.build(schema)
        weights = None if weight is None else torch.from_numpy(weight)
        model.fit(torch.from_numpy(x), torch.from_numpy(observed), weights, seeded(self.random_state))
        return model

    def _log_p(self, x: np.ndarray, known: np.ndarray) -> Tensor:
        log_p: Tensor = self.model_.log_prob(torch.from_numpy(x), told(known))
        return log_p

    def _facts(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        count, _, rank = self.model_.components.loadings.shape
        return "log p is exact", (("components, of all draws", str(count)), ("rank", str(rank)))
