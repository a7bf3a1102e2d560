"""Tables of text: cells to the byte, columns of discrete values."""

import re
from pathlib import Path

import numpy as np
import pytest

from vlb.base.errors import UserError
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Schema
from vlb.data import load
from vlb.data.formats.delimited import SUFFIXES
from vlb.data.given import load_examples
from vlb.data.tables import as_levels, load_rows, load_table, ordered


def test_columns_are_ordered_by_size_or_alphabetically() -> None:
    assert ordered({"10", "9", "9.0", "-1", "1e1"}) == ("-1", "9", "10")
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
    x, unknown = as_levels(np.array([["7", "maybe"], ["8", "no"]], object), data.schema.columns)
    assert unknown == {1: "maybe"} and data.schema.columns[0].values[x[0, 0]] == "7" and x[1, 1] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", "no table.*line 3"),
        (b"", "no table"),
        (b"a,b\n", "no table"),
        (
            b"a\n" + b"".join(b"%d\n" % i for i in range(1100)),
            "column 'a' has 1100 distinct values, number 1025 of them in line 1026",
        ),
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


@pytest.mark.parametrize(
    ("content", "header", "values", "said"),
    [
        (
            "a;b\n1,5;x\n10,25;x\n2;y\n1,50;y\n",
            True,
            (("1,5", "2", "10,25"), ("x", "y")),
            "decimal commas.* column 'a'$",
        ),
        ("1,5;2,5\n3,5;4,5\n5,5;6,5\n", False, (("1,5", "3,5", "5,5"), ("2,5", "4,5", "6,5")), "column 1, column 2$"),
        ("a,b\n1,2;3\n2,2;3\n3,2;3\n", True, (("1", "2", "3"), ("2;3",)), "1 of numbers in order, 1 of categories"),
        ('"a";"b"\n"1,5";1.5\n"2.5";1.5\n2;2\n', True, (("1,5", "2", "2.5"), ("1.5", "2")), "1 of numbers"),
        ('a,b\n"1,5",1\n"10,5",1\n"2,5",1\n', True, (("1,5", "10,5", "2,5"), ("1",)), "1 of numbers"),
        ("n;k\n1;2\n2;2\n3;2\n", False, (("1", "2", "3", "n"), ("2", "k")), r"looks like names \(n, k\)"),
        ("1;2\n1;2\n2;2\n3;2\n", True, (("1", "2", "3"), ("2",)), r"looks like data \(1, 2\): .* --no-header"),
        ("ab cd\n1 2\n3 4\n3 5\n", True, (("1 2", "3 4", "3 5"),), "one column, of whole lines"),
    ],
)
def test_what_is_decided_is_said(
    content: str, header: bool, values: tuple[tuple[str, ...], ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(content)
    data = load("table", tmp_path / "t.csv", header)
    assert data.schema.columns is not None and tuple(column.values for column in data.schema.columns) == values
    assert any(re.search(said, remark) for remark in data.remarks), data.remarks


def test_columns_have_names_all_or_none() -> None:
    kind = Categories(("a",))
    Schema(layout=Vector((2,)), kinds=(Column(None, kind), Column(None, kind)))
    with pytest.raises(UserError, match="name all of them, or none"):
        Schema(layout=Vector((2,)), kinds=(Column("a", kind), Column(None, kind)))


def test_numbers_that_floats_confuse_stay_apart(tmp_path: Path) -> None:
    """Numbers of accounts, say: of 9007199254740993 a float keeps 9007199254740992."""
    long = ["9007199254740992", "9007199254740993", "123456789012345678901", "123456789012345678902"]
    assert ordered({*long, "9007199254740993.0"}) == tuple(long)
    assert ordered({"1", "1e400"}) == ("1", "1e400")
    (tmp_path / "t.csv").write_text("a\n" + "\n".join(long * 3) + "\n")
    data = load_table(tmp_path / "t.csv")
    assert data.schema.kinds[0].values == tuple(long)
    with pytest.raises(UserError, match="every row"):
        (tmp_path / "u.csv").write_text("a\n9007199254740994\n")
        load_rows(tmp_path / "u.csv", data.schema.kinds)
