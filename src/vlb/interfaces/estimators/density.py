"""`MixtureDensity`: the mixture of factor analysers as a density estimator of scikit-learn."""

import warnings
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from vlb.base.configuration import encode
from vlb.base.errors import UserError
from vlb.base.results import Table
from vlb.core.condition import Condition, Role
from vlb.core.schema import Column, Schema, Vector
from vlb.core.surroundings import ordinary
from vlb.data.columns import described
from vlb.data.described import read as read_described
from vlb.data.mixed import inferred, numbered
from vlb.data.rows import as_values, of_file
from vlb.interfaces.estimators.frames import frame_of, types_of
from vlb.interfaces.estimators.shown import Shown
from vlb.interfaces.estimators.tables import Given, fitted_to, given
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.law import FactorLaw
from vlb.models.factor.model import FactorMixture
from vlb.models.kinds import MODELS
from vlb.models.protocols import require
from vlb.store.carried import carried, from_carried
from vlb.store.trained import Trained

SOURCE = Path("the pickle")


class Rows(NamedTuple):
    """Rows as the model takes them. x: (n, D) numbers; observed: (n, D), cells that are there; known: (n, D), those of
    them that the model can have: a category that it has not seen is none."""

    x: np.ndarray
    observed: np.ndarray
    known: np.ndarray


class MixtureDensity(Shown, DensityMixin, BaseEstimator):
    """A density of tables with gaps: a mixture of factor analysers on mapped reals, with tables for categories. It is
    fitted to the cells that are there; NaN, and None in a DataFrame, is a gap.

        p(x) = Σ_j w_j N(f(reals); m_j, W_j W_jᵀ + Ψ_j) |∂f| Π_c p_jc(category c)

    The columns of an array are reals with a density. Those of a DataFrame of pandas, polars or pyarrow are what their
    cells look like – rounded numbers have the mass of an interval, few whole numbers are categories in order – unless
    `schema`, the path of a schema.toml, says what they are. Give one where estimators are compared, as in
    cross-validation: parts of a table may look different.

    components, rank: how many, and of which rank; where they are None, held-out rows choose them, up to
    `most_components` and `most_rank`. pull, believed: as if so many rows and cells said that components are alike.
    smoothing: rows of the marginals added to the categories of every component. floor: the least variance, of that of a
    mapped column. draws: of the parameters from their posterior, over which the model is averaged; 0: the mode alone.
    steps: of EM, at most. random_state: as of scikit-learn.

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
        most_rank: int = 16,
        pull: float = 30.0,
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
        self.believed = believed
        self.smoothing = smoothing
        self.floor = floor
        self.draws = draws
        self.steps = steps
        self.schema = schema
        self.random_state = random_state

    @ordinary()
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to X (n, D); sample_weight: (n,), how often each row counts."""
        table = fitted_to(self, X)
        weight = None
        if sample_weight is not None:
            weight = torch.from_numpy(_check_sample_weight(sample_weight, table.table, dtype=np.float64))
        config = FactorAnalysers(**{field.name: getattr(self, field.name) for field in fields(FactorAnalysers)})
        if self.schema is None:
            held, _ = inferred(table.sheet, gridded=table.backend is not None)
        else:
            held = read_described(Path(self.schema))
        columns = tuple(column for one in held for column in one.columns)
        schema = Schema(layout=Vector((len(columns),)), kinds=columns, gaps=True)
        found = numbered(table.sheet, columns)
        if found.unseen:
            raise UserError(f"X: {next(iter(found.unseen.values()))}: mend the cell, or the schema")
        say(found.remarks)
        x, observed = torch.from_numpy(found.x), torch.from_numpy(found.observed)
        model = config.build(schema)
        model.fit(x, observed, weight, seeded(self.random_state))
        log_p = model.log_prob(x, told(found.observed)).numpy()
        share = np.ones(len(x)) if weight is None else weight.numpy()
        share = share / share.sum()
        mean = float(share @ log_p)
        self.bound_ = (mean, float(np.sqrt((share**2) @ (log_p - mean) ** 2)))
        self.model_, self.schema_, self.backend_ = model, schema, table.backend
        self.types_ = {} if table.backend is None else types_of(table.table)
        return self

    @ordinary()
    def score_samples(self, X: Any) -> np.ndarray:
        """log p of the cells of each row that are there, (n,) nats, per unit of each real column: −∞, with a warning,
        where one is a category that was not seen, and 0 where none is there."""
        check_is_fitted(self)
        rows = self.rows(given(self, X))
        log_p = self.model_.log_prob(torch.from_numpy(rows.x), told(rows.known)).numpy()
        return np.where((rows.known == rows.observed).all(1), log_p, -np.inf)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: larger is better."""
        return float(np.mean(self.score_samples(X)))

    @ordinary()
    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows from the density: an array, or a DataFrame of the library of the one in fit. A value that a schema
        calls `other` is NaN, or an empty text."""
        check_is_fitted(self)
        generator = seeded(self.random_state if random_state is None else random_state)
        x = self.model_.sample(n_samples, generator=generator).numpy()
        cells = {str(column.name): as_values(column.kind, values) for column, values in of_file(x, self.columns)}
        if self.backend_ is None:
            return np.array([[np.nan if cell == "" else float(cell) for cell in own] for own in cells.values()]).T
        return frame_of(cells, self.types_, self.backend_)

    @ordinary()
    def conditional(self, X: Any) -> FactorLaw:
        """The law of the cells that are missing given those that are there, exact: its `mean`, `quantile` and `sample`
        are of the columns of `schema_`, categories by their numbers."""
        check_is_fitted(self)
        return self.law(self.rows(given(self, X)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of `schema_`."""
        return self.schema_.columns or ()

    def rows(self, table: Given) -> Rows:
        """A table as the model takes it; what does not fit is said as a warning."""
        named = {one.name for one in described(self.columns)}
        cells = tuple(cells for cells in table.sheet.cells if cells.name in named)
        found = numbered(replace(table.sheet, cells=cells), self.columns)
        most = np.array([np.inf if column.kind.count is None else column.kind.count for column in self.columns])
        with np.errstate(invalid="ignore"):
            known = found.observed & np.isfinite(found.x) & ((found.x >= 0) & (found.x < most) | np.isinf(most))
        if found.unseen:
            first = next(iter(found.unseen.values()))
            say((f"{len(found.unseen)} rows have cells that were not seen in fit ({first})",))
        say(found.remarks)
        return Rows(np.where(known, found.x, 0.0), found.observed, known)

    def law(self, rows: Rows) -> FactorLaw:
        """p(cells that are not known | those that are)."""
        law: FactorLaw = self.model_.conditional(torch.from_numpy(rows.x), torch.from_numpy(rows.known))
        return law

    def summary(self) -> Table | None:
        """What the fitted density is, and its bound with its error; None before `fit`."""
        if not hasattr(self, "model_"):
            return None
        mean, error = self.bound_
        count, _, rank = self.model_.components.loadings.shape
        rows = (
            ("log p, mean over the rows of fit", f"{mean:.3f} ± {error:.3f} nats"),
            ("components, of all draws", str(count)),
            ("rank", str(rank)),
            ("columns", str(len(self.types_) or self.n_features_in_)),
            ("stated against", self.schema_.measure),
        )
        notes = ("log p is exact: the error is that of the mean over rows", "unseen rows are less likely: score them")
        return Table("MixtureDensity", ("", ""), (rows,), notes=notes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and names, and the model as JSON and safetensors."""
        state = dict(super().__getstate__())
        if "model_" in state:
            model = state.pop("model_")
            section = {"type": MODELS.tag(model.fit_by), **encode(model.fit_by)}
            tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            state["carried"] = carried(Trained(section, encode(state.pop("schema_")), tensors, SOURCE))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raises `UserError` for a model that is damaged."""
        state = dict(state)
        content = state.pop("carried", None)
        super().__setstate__(state)
        if content is not None:
            trained = from_carried(content, SOURCE)
            self.schema_ = trained.example
            self.model_ = require(trained.build(), FactorMixture, "a MixtureDensity is of a mixture for tables")


def say(notes: Iterable[str]) -> None:
    """Warn of what a person should know of a table."""
    for note in notes:
        warnings.warn(f"X: {note}", stacklevel=4)


def seeded(random_state: Any) -> torch.Generator:
    """A generator from what scikit-learn calls a random state."""
    return torch.Generator().manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))


def told(known: np.ndarray) -> Condition:
    """That known cells (n, D) are modelled, and the others absent."""
    return Condition(role=torch.from_numpy(np.where(known, Role.MODELLED, Role.ABSENT).astype(np.uint8)))
