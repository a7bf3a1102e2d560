"""Numbers are put into a file as its column has them: places, marks, signs; and what was there stays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlb.coding.tabled import _codes, _symbols
from vlb.coding.wording import worded
from vlb.core.schema import Real
from vlb.data.columns import infer
from vlb.data.filled import Filled, filled
from vlb.data.mixed import numbered, sheet
from vlb.data.numbers import COMMA, NOTATIONS, POINT, Notation

ROWS = 30


def columns(seed: int, places: int, way: Notation, end: str) -> list[str]:
    """Numbers up to tens of thousands, one below one and one above ten thousand among them; three cells missing."""
    generator = np.random.default_rng(seed)
    values = np.round(generator.uniform(-(10 ** generator.uniform(1, 5, ROWS)), 10**4), places)
    texts = [way.written(f"{value:.{places}f}") + end for value in [0.5, 12345.5, *values]]
    return [*texts, "", "", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filled")


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**31),
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from(NOTATIONS),
    st.sampled_from(["", "%", " %"]),
)
def test_what_is_put_into_gaps_is_written_as_the_column_is(
    folder: Path, seed: int, places: int, way: Notation, end: str
) -> None:
    """And read as what was put there, to the places of the column."""
    texts = columns(seed, places, way, end)
    path = folder / "t.csv"
    path.write_text("a;b\n" + "".join(f"{text};x\n" for text in texts))
    table = sheet(path)
    column, _ = infer(table.cells[0])
    rows = numbered(table, column.columns)
    values, missing = rows.x[:, 0].copy(), ~rows.observed[:, 0]
    assert not rows.unseen and missing.sum() == 3
    values[missing] = np.random.default_rng(seed).uniform(-20_000, 20_000, 3)
    (content,) = filled(table, [[Filled(0, column, values, missing)]], long=False)
    path.write_bytes(content)
    own = [line.rpartition(";")[0] for line in content.decode().splitlines()[1:]]
    assert own[:-3] == texts[:-3] and all(text.endswith(end) for text in own)
    again = numbered(sheet(path), column.columns)
    np.testing.assert_allclose(again.x[:, 0], values, atol=0.5 * 10**-places + 1e-9)
    assert all(len(text.removesuffix(end).rpartition(way.decimal)[2]) == places for text in own if places)


@pytest.mark.parametrize(
    ("way", "end"), [*((way, "") for way in NOTATIONS), *((way, end) for way in (POINT, COMMA) for end in ("%", " %"))]
)
def test_archives_have_a_wording_for_it(folder: Path, way: Notation, end: str) -> None:
    """All cells of such a column are coded by their values, none by its text."""
    texts = columns(0, 2, way, end)
    path = folder / "t.csv"
    path.write_text("a;b\n" + "".join(f"{text};x\n" for text in texts))
    column, _ = infer(sheet(path).cells[0])
    assert isinstance(column.kind, Real)
    column = replace(column, kind=replace(column.kind, resolution=0.01))
    symbols = _symbols(_codes(texts, column), 0, column)
    found = worded(symbols, texts, column)
    assert found.texts(symbols, column).tolist() == texts and not found.own
