"""`Imputer`: tables completed from p(missing cells | those that are there)."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted
from torch import Tensor

from vlb.base.domains import Count, admit
from vlb.base.errors import UserError, suggestion
from vlb.base.results import Table
from vlb.core.cells import UnknownCells
from vlb.core.schema import AnyKind, Categories, Real
from vlb.core.surroundings import ordinary
from vlb.data.columns import Cells
from vlb.data.frames import joined
from vlb.data.rows import of_file
from vlb.interfaces.estimators.density import Rows, TableDensity, seeded
from vlb.interfaces.estimators.mixture import MixtureDensity
from vlb.interfaces.estimators.shown import Shown
from vlb.interfaces.estimators.tables import Given, fitted_to, given, taken

Point = Callable[[UnknownCells], Tensor]

POINTS: dict[str, Point] = {
    "mean": UnknownCells.mean,
    "median": UnknownCells.median,
    "mode": UnknownCells.mode,
}
DRAW = "draw"


class Imputer(Shown, TransformerMixin, BaseEstimator):
    """Fills the gaps of a table from a density: p(missing cells | those that are there), exact by a mixture, by
    weighted draws of the latents by a VAE, by descents by a diffusion model.

    estimator: a `MixtureDensity`, `VAEDensity` or `DiffusionDensity`, which is fitted to X; None: a `MixtureDensity`
    with its defaults. point: what `transform` fills in, "mean", "median", "mode" – each of a cell by itself – or
    "draw", the cells of a
    row together. n_draws: how many completed tables `draws` returns. keep_empty_features: whether columns without any
    cell in `fit` are kept, with 0 where they are of numbers, as `SimpleImputer` does, or dropped. add_indicator:
    whether a column follows for each that had gaps in `fit`, which says where. random_state: of the draws, and of the
    default estimator.

    A cell that is there is never changed. A table comes back as it came: an array, or a DataFrame of its library with
    the types of its columns, order and index, unless `set_output` says otherwise; in columns of whole numbers the mean
    is rounded. A row with no cell at all is filled in from p(x). A category that was not seen stays, and tells nothing
    about the others; a cell that is likeliest one of those that a schema calls `other` stays missing. Columns that the
    schema of the estimator leaves out are left as they are.

    Fitted: `estimator_`, of the columns that are not empty.
    """

    def __init__(
        self,
        estimator: TableDensity | None = None,
        *,
        point: str = "mean",
        n_draws: int = 5,
        keep_empty_features: bool = False,
        add_indicator: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.point = point
        self.n_draws = n_draws
        self.keep_empty_features = keep_empty_features
        self.add_indicator = add_indicator
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the density to X (n, D)."""
        if self.point not in (*POINTS, DRAW):
            raise UserError(f"point: {self.point!r} is not offered; {suggestion(str(self.point), (*POINTS, DRAW))}")
        table = fitted_to(self, X)
        full, gaps = np.flatnonzero(table.observed.any(0)), np.flatnonzero(~table.observed.all(0))
        if not len(full):
            raise UserError("X has no cell that is not missing")
        estimator = MixtureDensity(random_state=self.random_state) if self.estimator is None else self.estimator
        self.estimator_ = clone(estimator).fit(taken(table.table, full))
        self.full_, self.gaps_, self.backend_ = full, gaps, table.backend
        return self

    @ordinary()
    def transform(self, X: Any) -> Any:
        """X with its gaps filled, by `point`."""
        check_is_fitted(self)
        return self._completed(X, [self._drawn() if self.point == DRAW else POINTS[self.point]])[0]

    @ordinary()
    def draws(self, X: Any) -> list[Any]:
        """`n_draws` tables, X with its gaps filled by a draw each: analyse each, and pool what you find."""
        check_is_fitted(self)
        return self._completed(X, [self._drawn()] * admit(Count, self.n_draws, "n_draws"))

    def summary(self) -> Table | None:
        """That of the density; None before `fit`."""
        return self.estimator_.summary() if hasattr(self, "estimator_") else None

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns that `transform` returns."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.array([*names[self._kept], *map(indicator, names[self._shown])], object)

    @property
    def _kept(self) -> np.ndarray:
        """The places of the columns that are not dropped."""
        return np.arange(self.n_features_in_) if self.keep_empty_features else self.full_

    @property
    def _shown(self) -> np.ndarray:
        """The places of the columns of which an indicator says where they had gaps."""
        return self.gaps_ if self.add_indicator else self.gaps_[:0]

    def _drawn(self) -> Point:
        generator = seeded(self.random_state)
        return lambda law: law.sample(generator)

    def _completed(self, X: Any, points: list[Point]) -> list[Any]:
        """A table with its gaps filled by each of the points."""
        table, density = given(self, X), self.estimator_
        rows = density.rows(given(density, taken(table.table, self.full_)))
        some = ~rows.known.all(1)
        law = density.law(Rows(*(part[some] for part in rows))) if some.any() else None
        completed = []
        for point in points:
            x = rows.x.copy()
            if law is not None:
                x[some] = point(law).numpy()
            completed.append(self._filled(table, *self._cells(table, rows.observed, x)))
        return completed

    def _cells(self, table: Given, observed: np.ndarray, x: np.ndarray) -> tuple[dict[str, Cells], dict[str, AnyKind]]:
        """What is filled in where cells are not observed, and its kind, by the name of the column. observed, x: (n, D)
        as the density has them."""
        cells, kinds, place = dict[str, Cells](), dict[str, AnyKind](), 0
        for column, values in of_file(x, self.estimator_.columns):
            gaps = ~observed[:, place]
            if isinstance(column.kind, Categories) and column.kind.other:  # no text stands for the others
                gaps &= values < len(column.kind.values)
            name = str(column.name)
            cells[name], kinds[name] = Cells(name, values, ~gaps), column.kind
            place += len(column.columns)
        if self.keep_empty_features:
            empty = np.setdiff1d(np.arange(self.n_features_in_), self.full_)
            for at in empty:
                if table.numeric(at):
                    name = table.names[at]
                    cells[name], kinds[name] = Cells(name, np.zeros(len(x)), table.observed[:, at]), Real()
        return cells, kinds

    def _filled(self, table: Given, cells: dict[str, Cells], kinds: dict[str, AnyKind]) -> Any:
        kept = taken(table.filled(cells, kinds), self._kept)
        marks = {indicator(table.names[place]): ~table.observed[:, place] for place in self._shown}
        if table.backend is None:
            return np.column_stack((kept, *marks.values())) if marks else kept
        whole = joined(kept, marks)
        if table.labels is None:
            return whole
        return whole.set_axis([*table.labels[self._kept], *map(indicator, table.labels[self._shown])], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def indicator(name: Any) -> str:
    """What the column is called that says where another has gaps, as scikit-learn does."""
    return f"missingindicator_{name}"
