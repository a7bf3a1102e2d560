"""Tables as scikit-learn passes them around: arrays of numbers, and DataFrames of the library that they came from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from vlb.core.schema import AnyKind
from vlb.data.columns import Cells
from vlb.data.frames import filled_frame, narwhals
from vlb.data.mixed import Sheet, frame
from vlb.data.numbers import POINT
from vlb.data.rows import as_values
from vlb.interfaces.estimators.frames import NUMBERS, types_of


class Given(NamedTuple):
    """A table that was checked. table: an array (n, D) of numbers, or a DataFrame whose names are text; sheet: what its
    cells hold; backend: the library of a DataFrame, None for an array; labels: those of the columns of a DataFrame of
    pandas in which they are no text, else None."""

    table: Any
    sheet: Sheet
    backend: str | None = None
    labels: Any = None

    @property
    def observed(self) -> np.ndarray:
        """Which cells are not missing, (n, D) bool."""
        return np.stack([cells.observed for cells in self.sheet.cells], 1)

    @property
    def names(self) -> list[str]:
        """Of the columns; x0, x1, … where they have none."""
        return [str(cells.name) for cells in self.sheet.cells]

    def numeric(self, place: int) -> bool:
        """Whether a column is of numbers."""
        return self.backend is None or types_of(self.table)[self.names[place]] in NUMBERS

    def filled(self, put: Mapping[str, Cells], kinds: Mapping[str, AnyKind]) -> Any:
        """A copy of the table with the cells that are not observed from `put`, by the name of a column: reals, or of
        other `kinds` the numbers of values."""
        if self.backend is not None:
            return filled_frame(self.table, put, kinds)
        completed = self.table.copy()
        for name, cells in put.items():
            gaps = ~cells.observed
            completed[gaps, self.names.index(name)] = as_values(kinds[name], cells.values[gaps])
        return completed


def fitted_to(estimator: BaseEstimator, X: Any) -> Given:
    """The table that an estimator is fitted to; it remembers the columns. Raises `ValueError` for what is no table."""
    return _read(estimator, X, framed=hasattr(X, "columns"), reset=True)


def given(estimator: BaseEstimator, X: Any) -> Given:
    """A table for an estimator that was fitted to another. Raises `ValueError` where columns are not the same."""
    return _read(estimator, X, framed=hasattr(X, "columns") and estimator.backend_ is not None, reset=False)


def _read(estimator: BaseEstimator, X: Any, *, framed: bool, reset: bool) -> Given:
    if framed:
        table, labels = X, None
        if hasattr(X, "set_axis") and not all(isinstance(name, str) for name in X.columns):
            table, labels = X.set_axis(numbered_names(X.shape[1]), axis=1), X.columns
        sheet = frame(table, "X")
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return Given(table, sheet, narwhals().from_native(table, eager_only=True).implementation.value, labels)
    array = validate_data(estimator, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan")
    if array.dtype.kind == "O":  # of lists with None
        array = array.astype(np.float64)
    names = getattr(estimator, "feature_names_in_", numbered_names(array.shape[1]))
    values = array.astype(np.float64)
    gone = np.isnan(values)
    cells = (Cells(name, np.where(no, 0.0, own), ~no) for name, own, no in zip(names, values.T, gone.T, strict=True))
    return Given(array, Sheet("X", tuple(cells), None, (POINT,)))


def taken(table: Any, places: np.ndarray) -> Any:
    """The columns of an array or DataFrame at some places."""
    if isinstance(table, np.ndarray):
        return table[:, places]
    frame = narwhals().from_native(table, eager_only=True)
    return frame.select(np.array(frame.columns, object)[places].tolist()).to_native()


def numbered_names(count: int) -> list[str]:
    """What columns without names are called, as scikit-learn does."""
    return [f"x{place}" for place in range(count)]
