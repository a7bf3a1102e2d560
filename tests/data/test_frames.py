"""DataFrames of pandas, polars and pyarrow say the same cells, and what holds none is refused by the column's name."""

import datetime as dt

import numpy as np
import pytest

from vlb.base.errors import UserError
from vlb.core.schema import Categories
from vlb.data.columns import cells_of, infer
from vlb.data.dates import DAYS
from vlb.data.frames import cells_of_frame, is_frame

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
TABLE = {
    "whole": [1, None, 3],
    "real": [1.5, float("nan"), 2.0],
    "text": ["x", None, "?"],
    "yes": [True, False, None],
    "day": [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)],
    "number as text": ["1", "2", None],
}
FRAMES = {"pandas": pd.DataFrame, "polars": lambda table: pl.DataFrame(table, strict=False), "pyarrow": pa.table}


@pytest.mark.parametrize("library", FRAMES)
def test_cells_are_those_of_the_frame(library: str) -> None:
    frame = FRAMES[library](TABLE)
    assert is_frame(frame) and not is_frame(np.zeros((2, 2))) and not is_frame([[1.0]])
    cells = {one.name: one for one in cells_of_frame(frame)}
    assert list(cells) == list(TABLE)
    assert cells["whole"].values.tolist() == [1, 0, 3] and cells["whole"].observed.tolist() == [True, False, True]
    assert cells["real"].values.tolist() == [1.5, 0, 2] and cells["real"].observed.tolist() == [True, False, True]
    assert cells["text"].values.tolist() == ["x", "", ""] and cells["text"].observed.tolist() == [True, False, False]
    assert infer(cells["yes"])[0].kind == Categories(("False", "True"))
    assert cells["day"].values.tolist() == cells_of("day", ["2020-01-01", "", "2021-01-01"]).values.tolist()
    assert infer(cells["day"])[0].kind in (Categories(("2020-01-01", "2021-01-01"), ordered=True),)
    assert cells["number as text"].values.tolist() == ["1", "2", ""]  # text stays text


def test_dates_and_categories_of_pandas() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=30))
    frame = pd.DataFrame({"day": days.dt.date, "kind": pd.Categorical(["a", "b", None] * 10)})
    day, kind = (infer(one)[0].kind for one in cells_of_frame(frame))
    assert day.unit == DAYS and day.resolution == 1.0
    assert kind == Categories(("a", "b"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda: pa.table({"deep": [[1], [2]]}), "'deep' is of List"),
        (lambda: pa.table({"raw": [b"a"]}), "'raw'"),
        (lambda: pd.DataFrame({"turned": [1j, 2j]}), "'turned' is of"),
        (lambda: pd.DataFrame({"mixed": [1, "a"]}), "'mixed' holds float beside str"),
        (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name"),
        (lambda: pd.DataFrame([[1, 2]]), "called 0"),
    ],
)
def test_what_holds_no_cells_is_refused(table, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells_of_frame(table())
