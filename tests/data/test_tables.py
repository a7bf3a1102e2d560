"""Tables of text: cells to the byte, columns of discrete values."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.data import load
from vlb.data.formats.delimited import SUFFIXES
from vlb.data.given import load_examples
from vlb.data.tables import as_levels, load_table, ordered, pieces, split

CELL = st.text(st.characters(codec="utf-8", exclude_characters='",\n\r'), max_size=5) | st.sampled_from(
    ['"a,b"', '"say ""no"""', '"two\nlines"', '""', " 7"]
)
ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_what_is_split_is_the_same_text(rows: list[list[str]], newline: str, ended: bool) -> None:
    text = newline.join(map(",".join, rows)) + (newline if ended else "")
    cells = split(text, ",")
    if cells is not None:  # a table of one empty cell is none
        assert cells.text() == text
        assert cells.rows == rows or len(rows[0]) == 1 or "two\nlines" in text


@given(st.text(st.sampled_from('a",;\n\r'), max_size=30))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_a_table_or_not(text: str) -> None:
    cells = split(text, ",")
    assert cells is None or cells.text() == text


@given(st.text(st.sampled_from('a",;\n\r'), max_size=60), st.integers(1, 9))
@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pieces_are_the_file_and_end_at_rows(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    found = list(pieces(tmp_path / "t.csv", size))
    assert "".join(found) == text
    assert all(piece.endswith("\n") and piece.count('"') % 2 == 0 for piece in found[:-1])


def test_columns_are_ordered_by_size_or_alphabetically() -> None:
    assert ordered({"10", "9", "9.0", "-1"}) == ("-1", "9", "9.0", "10")
    assert ordered({"10", "9", "none"}) == ("10", "9", "none")
    assert ordered({"nan", "1"}) == ("1", "nan")


def test_a_table_is_a_data_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(30)};{rng.choice(['yes', 'no'])}" for _ in range(100)]
    (tmp_path / "t.csv").write_text("age;member\n" + "\n".join(rows))
    data = load("table", tmp_path / "t.csv")
    assert data.schema.columns is not None and [column.name for column in data.schema.columns] == ["age", "member"]
    assert data.schema.columns[1].values == ("no", "yes") and data.levels == len(data.schema.columns[0].values)
    assert data.shape == (2,) and [len(s) for s in (data.train, data.validation, data.test)] == [80, 10, 10]
    x, unknown = as_levels([["7", "maybe"], ["8", "no"]], data.schema.columns)
    assert unknown == {1: "maybe"} and data.schema.columns[0].values[x[0, 0]] == "7" and x[1, 1] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", "no table.*line 3: 1, in line 1: 2"),
        (b"", "no table"),
        (b"a,b\n", "no table"),
        (b"a\n\xff\n", "no UTF-8 text"),
        (b"a\n" + b"".join(b"%d\n" % i for i in range(1100)), "'a' has 1100 distinct values"),
        (b"a\n1\n", "at least 3"),
    ],
)
def test_what_is_no_table_says_so(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match="cannot read"):
        load_table(tmp_path / "absent.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_what_trains_can_be_scored_whatever_it_is_called(suffix: str, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text("\n".join(delimiter.join(row) for row in [("a", "b"), *(("1", "x"), ("2", "y")) * 10]))
    schema = load_table(path).schema
    assert load_examples(path, schema).split.x.tolist() == [[0, 0], [1, 1]] * 10
