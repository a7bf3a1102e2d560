"""Densities of tables with gaps as estimators of scikit-learn: what those of every kind of model share."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor, nn

from vlb.base.configuration import decode, encode
from vlb.base.errors import UserError
from vlb.base.results import Table
from vlb.base.words import so_many
from vlb.core.cells import UnknownCells
from vlb.core.condition import Condition, Role
from vlb.core.layouts import Vector
from vlb.core.schema import Column, Schema
from vlb.core.surroundings import ordinary
from vlb.data.columns import described
from vlb.data.described import read as read_described
from vlb.data.mixed import inferred, numbered
from vlb.data.rows import as_values, of_file
from vlb.interfaces.estimators.frames import frame_of, types_of
from vlb.interfaces.estimators.shown import Shown
from vlb.interfaces.estimators.tables import Given, fitted_to, given
from vlb.models.kinds import MODELS, AnyModel
from vlb.models.protocols import Imputing, require
from vlb.store.carried import carried, from_carried
from vlb.store.trained import Trained

SOURCE = Path("the pickle")


class Rows(NamedTuple):
    """Rows as the model takes them. x: (n, D) numbers; observed: (n, D), cells that are there; known: (n, D), those of
    them that the model can have: a category that it has not seen is none."""

    x: np.ndarray
    observed: np.ndarray
    known: np.ndarray


class TableDensity(Shown, DensityMixin, BaseEstimator):
    """A density of tables with gaps, by any kind of model that knows some cells given others. A kind says how it is
    configured and trained, what log p is, and what there is to know of it: `_configuration`, `_trained`, `_log_p` and
    `_facts`. Its parameters include `schema` and `random_state`."""

    schema: str | Path | None
    random_state: int | np.random.RandomState | None
    model_: Any

    def _configuration(self) -> Any:
        """Of the model. Raises `UserError` for parameters out of their domains."""
        raise NotImplementedError

    def _trained(
        self, config: Any, schema: Schema, x: np.ndarray, observed: np.ndarray, weight: np.ndarray | None
    ) -> nn.Module:
        """The model, fitted to rows x (n, D), of which the cells `observed` (n, D) are there; weight: (n,)."""
        raise NotImplementedError

    def _log_p(self, x: np.ndarray, known: np.ndarray) -> Tensor:
        """log p of the cells `known` (n, D) of rows x (n, D), or a bound below it: (n,) nats."""
        raise NotImplementedError

    def _facts(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the number called log p is, and more that is to be known, by name."""
        raise NotImplementedError

    @ordinary()
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit to X (n, D); sample_weight: (n,), how often each row counts."""
        table = fitted_to(self, X)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, table.table, dtype=np.float64)
        config = self._configuration()
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
        self.schema_, self.backend_ = schema, table.backend
        self.model_ = self._trained(config, schema, found.x, found.observed, weight)
        self.configuration_ = config
        log_p = self._log_p(found.x, found.observed).numpy()
        share = np.ones(len(log_p)) if weight is None else weight
        share = share / share.sum()
        mean = float(share @ log_p)
        self.bound_ = (mean, float(np.sqrt((share**2) @ (log_p - mean) ** 2)))
        self.types_ = {} if table.backend is None else types_of(table.table)
        return self

    @ordinary()
    def score_samples(self, X: Any) -> np.ndarray:
        """log p of the cells of each row that are there, or a bound below it, (n,) nats, per unit of each real column:
        −∞, with a warning, where one is a category that was not seen, and 0 where none is there."""
        check_is_fitted(self)
        rows = self.rows(given(self, X))
        log_p = self._log_p(rows.x, rows.known).numpy()
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
    def conditional(self, X: Any) -> UnknownCells:
        """The law of the cells that are missing given those that are there: its `mean`, `quantile` and `sample` are of
        the columns of `schema_`, categories by their numbers."""
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
            say((f"{so_many(len(found.unseen), 'row')} with cells that are no values of their columns ({first})",))
        say(found.remarks)
        return Rows(np.where(known, found.x, 0.0), found.observed, known)

    def law(self, rows: Rows) -> UnknownCells:
        """p(cells that are not known | those that are); the same for the same rows."""
        x, known = torch.from_numpy(rows.x), torch.from_numpy(rows.known)
        law: UnknownCells = self._filling().conditional(x, known, torch.Generator().manual_seed(0))
        return law

    def _filling(self) -> Any:
        """What knows cells given others: the model, as it does so by itself."""
        return self.model_

    def summary(self) -> Table | None:
        """What the fitted density is, and its bound with its error; None before `fit`."""
        if not hasattr(self, "model_"):
            return None
        mean, error = self.bound_
        what, facts = self._facts()
        rows = (
            ("log p, mean over the rows of fit", f"{mean:.3f} ± {error:.3f} nats"),
            *facts,
            ("columns", str(len(self.types_) or self.n_features_in_)),
            ("stated against", self.schema_.measure),
        )
        notes = (f"{what}: the error is that of the mean over rows", "unseen rows are less likely: score them")
        return Table(type(self).__name__, ("", ""), (rows,), notes=notes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and names, and the model as JSON and safetensors."""
        state = dict(super().__getstate__())
        if "model_" in state:
            model = state.pop("model_")
            config = state.pop("configuration_")
            section = {"type": MODELS.tag(config), **encode(config)}
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
            self.model_ = require(
                trained.build().double(), Imputing, f"a {type(self).__name__} is of a model for tables"
            )
            self.configuration_ = decode(AnyModel, trained.model, "the pickle: model")


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
