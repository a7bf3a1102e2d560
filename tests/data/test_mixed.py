"""Tables with gaps as rows of a schema: every format says the same, and what does not fit is named with its place."""

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base import growth
from vlb.base.errors import UserError
from vlb.core.schema import Categories, Real
from vlb.data import arrow
from vlb.data import described as toml
from vlb.data.columns import Described, cells_of, described, infer
from vlb.data.dates import like_date
from vlb.data.given import load_examples
from vlb.data.mixed import frame, inferred, load_mixed, load_mixed_rows, numbered, sheet

NAMES = ("age", "income", "colour", "when")
COLOURS = ("green", "red")


def rows(seed: int, n: int, gaps: float = 0.2) -> list[list[str]]:
    """Cells of a table of a whole number, a gridded one with an atom, a category and a date, with gaps."""
    generator = np.random.default_rng(seed)
    income = np.where(generator.random(n) < 0.4, 0.0, np.round(generator.gamma(3.0, 100.0, n), 2))
    columns = [
        [str(value) for value in generator.integers(18, 80, n)],
        [f"{value:.2f}" for value in income],
        [COLOURS[value] for value in generator.integers(0, 2, n)],
        [str(np.datetime64("2020-01-01") + int(value)) for value in generator.integers(0, 400, n)],
    ]
    gone = generator.random((n, 4)) < gaps
    return [["" if gone[i, j] else columns[j][i] for j in range(4)] for i in range(n)]


def csv(path: Path, cells: list[list[str]], names=NAMES, delimiter=",") -> Path:
    path.write_text("\n".join(delimiter.join(row) for row in ([list(names)] if names else []) + cells) + "\n")
    return path


def test_kinds_gaps_and_splits_of_a_table(tmp_path: Path) -> None:
    cells = rows(0, 300)
    data = load_mixed(csv(tmp_path / "t.csv", cells))
    kinds = {column.name: column.kind for column in data.schema.columns}
    assert kinds["age"] == Real(1.0) and kinds["income"] == Real(0.01) and kinds["colour"] == Categories(COLOURS)
    assert kinds["income, which atom"] == Categories(("0", "")) and kinds["when"].resolution == 1.0
    assert [len(part) for part in (data.train, data.validation, data.test)] == [240, 30, 30]
    assert data.train.x.dtype == np.float64 and np.isfinite(data.train.x).all()
    which, value = (list(kinds).index(name) for name in ("income, which atom", "income"))
    at_atom = data.train.observed[:, which] & (data.train.x[:, which] == 0)
    assert at_atom.any() and not data.train.observed[at_atom, value].any()
    assert any("cells are missing" in remark for remark in data.remarks)
    assert any("'age'" in remark or '"age"' in remark or "age" in remark for remark in data.remarks)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([",", ";", "\t"]))
def test_every_format_says_the_same(seed: int, delimiter: str) -> None:
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    import pyarrow.parquet

    cells = rows(seed, 60)
    text = sheet(csv(FOLDER / "t.csv", cells, delimiter=delimiter))
    found, _ = inferred(text)
    columns = [column for one in found for column in one.columns]
    expected = numbered(text, columns)
    assert not expected.unseen
    values = {
        "age": [int(row[0]) if row[0] else None for row in cells],
        "income": [float(row[1]) if row[1] else None for row in cells],
        "colour": [row[2] or None for row in cells],
        "when": [np.datetime64(row[3]).item() if row[3] else None for row in cells],
    }
    pyarrow.parquet.write_table(pa.table(values), FOLDER / "t.parquet")
    with pa.OSFile(str(FOLDER / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.table(values).schema) as writer:
        writer.write_table(pa.table(values))
    tables = [sheet(FOLDER / "t.parquet"), sheet(FOLDER / "t.arrow")]
    tables += [
        frame(pd.DataFrame(values)),
        frame(pl.DataFrame(values)),
        frame(pd.DataFrame(values)[list(values)[::-1]]),
        frame(pd.DataFrame(values).assign(when=lambda table: pd.to_datetime(table.when))),
    ]
    for table in tables:
        again = numbered(table, columns)
        assert np.array_equal(again.observed, expected.observed)
        assert np.array_equal(again.x, expected.x) and not again.unseen


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("what", ["rows", "texts"])
def test_a_table_that_would_fill_memory_is_refused(
    what: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few bytes, for all its cells are equal; and read where that is what it weighs, or where its cells are few."""
    pa, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    monkeypatch.setattr(growth, "FREE", 1 << 20)
    monkeypatch.setattr(arrow, "RATIO", 10)
    monkeypatch.setattr(arrow, "CELLS", 1 << 14)
    count, many = (200, 200_000) if what == "rows" else (30, 3_000)
    for rows, refused in ((count, False), (many, True)):
        values = pa.array([1.5, 2.5] * (rows // 2)) if what == "rows" else pa.array(["x" * 5000, "y"] * (rows // 2))
        table, path = pa.table({"a": values, "b": pa.array(range(rows))}), tmp_path / f"{rows}.{suffix}"
        if suffix == "parquet":
            parquet.write_table(table, path, compression="zstd")
        else:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
                writer.write_table(table)
        if refused:
            with pytest.raises(UserError, match=f"{rows}.{suffix}: it becomes .*fill memory.*csv"):
                sheet(path)
        else:
            found = sheet(path)
            assert found.source.equals(table) and len(found.cells[0].values) == rows


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    global FOLDER
    FOLDER = tmp_path


def test_a_schema_file_decides_what_is_read(tmp_path: Path) -> None:
    table = csv(tmp_path / "t.csv", rows(1, 100))
    kept = [one for one in described(load_mixed(table).schema.columns) if one.name != "when"]
    (tmp_path / "schema.toml").write_text(toml.written(kept).replace("resolution = 1.0", "resolution = 5.0"))
    data = load_mixed(table, schema=tmp_path / "schema.toml")
    columns = {column.name: column.kind for column in data.schema.columns}
    assert "when" not in columns and columns["age"] == Real(5.0)
    assert any("left out" in remark and "when" in remark for remark in data.remarks)
    assert any("age" in remark and "rounded" in remark for remark in data.remarks)


def test_what_a_column_does_not_know_is_named(tmp_path: Path) -> None:
    table = csv(tmp_path / "t.csv", rows(2, 100))
    columns = load_mixed(table).schema.columns
    cells = [
        ["30", "0", "blue", ""],
        ["thirty", "1.5", "red", "2020-05-01"],
        ["", "", "", ""],
        ["31", "2", "red", "soon"],
    ]
    found = numbered(sheet(csv(tmp_path / "u.csv", cells)), columns)
    assert sorted(found.unseen) == [0, 1, 3] and not found.observed[2].any()
    assert "line 2" in found.unseen[0] and "colour" in found.unseen[0] and "blue" in found.unseen[0]
    assert "age" in found.unseen[1] and "when" in found.unseen[3]
    with pytest.raises(UserError, match="no column 'income'"):
        numbered(sheet(csv(tmp_path / "v.csv", [["1"]], names=["age"])), columns)


def test_a_column_of_texts_may_list_what_else_is_missing(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(
        'missing = ["-9"]\n[[column]]\nname = "a"\ntype = "categories"\nvalues = ["None", "some"]\n'
        '[[column]]\nname = "b"\ntype = "real"\n'
    )
    table = csv(tmp_path / "t.csv", [["None", "-9"], ["some", "1.5"], ["-9", "2.5"], ["NA", "?"]], names=["a", "b"])
    data = load_mixed(table, schema=tmp_path / "schema.toml")
    observed = np.concatenate([part.observed for part in (data.train, data.validation, data.test)])
    assert sorted(observed.tolist()) == sorted([[True, False], [True, True], [False, True], [False, False]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,\n1,2\n3,4\n5,6\n", "column 2 has no name"),
        ("a,a\n1,2\n3,4\n", "both called|same name"),
        ("a,b\n", "one row"),
        ("", "no table"),
        ("a,b\n1,\n2,\n3,\n", "'b' has no cell"),
        ("a,b\n1,inf\n2,1.5\n3,2\n", "'b' holds an infinity in line 2"),
        ("a\n1\n2\n", "at least 3"),
    ],
)
def test_bad_tables_are_refused_with_the_place(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message) as refusal:
        load_mixed(tmp_path / "t.csv")
    assert "t.csv" in str(refusal.value)


def test_what_is_odd_of_a_table_is_said(tmp_path: Path) -> None:
    def remarks(content: str) -> str:
        (tmp_path / "t.csv").write_text(content)
        return "; ".join(load_mixed(tmp_path / "t.csv").remarks)

    spike = [*["0"] * 40, *(f"{number}.5" for number in range(60))]
    assert remarks("a,b\n" + "".join(f"{cell},x\n" for cell in spike)).endswith("no cell is missing")
    found = remarks("a,b\n1,x\n,\n2,y\nNA,?\n1,x\n2,y\n")
    assert "2 rows without any cell, in line 3, line 5: nothing is known of them" in found and "33.3% of" in found
    assert "looks like data (1, 2): add names" in remarks("1,2\n" + "3,4\n" * 9)


def test_columns_and_rows_at_use_are_named_as_they_are(tmp_path: Path) -> None:
    pd, pa, parquet = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "pyarrow.parquet"))
    schema = load_mixed(csv(tmp_path / "t.csv", rows(0, 60))).schema

    def refused(content: str) -> str:
        (tmp_path / "u.csv").write_text(content)
        with pytest.raises(UserError) as caught:
            load_mixed_rows(tmp_path / "u.csv", schema)
        return str(caught.value)

    names = [column.name for column in described(schema.columns)]
    said = refused(",".join([names[0].upper(), f" {names[1]}", *names[2:]]) + "\n" + "," * (len(names) - 1) + "\n")
    assert f"(rename '{names[0].upper()}', ' {names[1]}', which differs by spaces or capitals)" in said
    (tmp_path / "e.csv").write_text(",".join(names) + "\n" + ("1" + "," * (len(names) - 1) + "\n") * 3)
    assert "without any cell: column" in " ".join(load_mixed_rows(tmp_path / "e.csv", schema).empty)
    table = pd.DataFrame({name: [None, None] for name in names}).assign(**{names[0]: [1.0, np.inf]})
    assert next(iter(numbered(frame(table), schema.columns).unseen.values())).startswith("row 2: column")
    twice = pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: two columns of the table have the same name, 'a'"):
        sheet(tmp_path / "t.parquet")


def test_alike_things_of_many_columns_are_said_once(tmp_path: Path) -> None:
    """One line of 600 columns, whose details differ, names the first few and counts the rest."""
    generator = np.random.default_rng(0)
    names = [f"c{j}" for j in range(600)]
    drawn = generator.choice(["a", "b", "c", "d"], (40, 600), p=[0.3, 0.3, 0.2, 0.2]).astype(object)
    drawn[generator.integers(0, 40, 600), range(600)] = [f"odd {j}" for j in range(600)]
    said = load_mixed(csv(tmp_path / "t.csv", drawn.tolist(), names)).remarks
    assert len(said) < 5 and sum(map(len, said)) < 1000
    assert said[0].startswith("'c0', 'c1', 'c2', 'c3', 'c4' and 595 more columns: categories, some of them in one row")
    assert "odd 0" in said[0] and "595" not in said[0].replace("595 more", "")
    schema = load_mixed(csv(tmp_path / "t.csv", [["1.5", "2.5", "x"], ["3.5", "4.5", "y"]] * 9, ["a", "b", "c"])).schema
    assert [column.name for column in schema.columns] == ["a", "b", "c"]
    rows = [["a"] * 600] * 3
    found = numbered(
        sheet(csv(tmp_path / "u.csv", rows, names)),
        [column for name in names for column in Described(name, Real()).columns],
    )
    assert len(found.remarks) == 6 and "595 more columns" in found.remarks[-1]
    assert all(len(why) < 500 and "595 more columns" in why for why in found.unseen.values())


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["%d/%m/%Y", "%d.%m.%y", "%m-%d-%Y", "%Y/%m/%d", "%d %b %Y", "%B %d, %Y", "%Y-%m-%dT%H:%M:%SZ"]),
    st.sampled_from(["%d/%m/%Y %H:%M", "%Y-%m-%d", "%b %Y", "%d-%b-%y", "%m/%d/%y %I:%M %p"]),
    st.sampled_from([9, 400]),
)
def test_dates_in_any_form_get_the_advice_of_dates(seed: int, one: str, other: str, days: int) -> None:
    """Whether they are few, so that they become categories, or many, so that they are refused."""
    generator = np.random.default_rng(seed)
    when = [dt.datetime(2021, 1, 1) + dt.timedelta(days=int(day), minutes=7) for day in generator.integers(0, days, 80)]
    texts = [day.strftime(one if i % 2 else other) for i, day in enumerate(when)]
    try:
        said = infer(cells_of("when", texts))[1].text
    except UserError as error:
        said = str(error)
    assert "80 of 80 cells look like dates" in said and "write all as 2024-01-31" in said


def test_texts_in_which_points_or_numbers_stand_look_like_no_dates() -> None:
    for text in ("1.2.3", "10.0.0.1", "12-3", "1.5", "2021", "May be", "A1-2-3", "march", "12:30"):
        assert not like_date(text), text


@pytest.mark.parametrize("put", ["inf", "-Infinity", "abc", "12 kg", "2020-05-01", "5%"])
def test_what_is_no_finite_number_at_use_is_said_to_be_none(put: str, tmp_path: Path) -> None:
    schema = load_mixed(csv(tmp_path / "t.csv", rows(1, 100))).schema
    path = csv(tmp_path / "u.csv", [["30", "1.5", "red", ""], [put, "2", "red", ""], ["31", put, "green", put]])
    given = load_examples(path, schema)
    number = "which is no finite number"
    assert given.unseen[1] == f"line 3: column 'age' has '{put}', {number}"
    assert given.unseen[2].startswith(f"line 4: column 'income' has '{put}', {number}")
    assert (", column 'when' has" in given.unseen[2]) == (put != "2020-05-01")
    assert given.left_out.startswith(f"{path}: 2 of 3 rows left out, for they have cells that are no values")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_wide_encoding_is_told_by_its_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    cells = rows(3, 60)
    plain = csv(tmp_path / "plain.csv", cells)
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "wide.csv").write_bytes((mark + plain.read_text("utf-8")).encode(encoding))
    one, other = load_mixed(plain), load_mixed(tmp_path / "wide.csv")
    assert np.array_equal(one.train.x, other.train.x) and one.schema == other.schema
    said = f"the text is {encoding[:6].upper()}, by its byte order mark"
    assert (said in other.remarks) == (encoding != "utf-8-sig")


@pytest.mark.parametrize(
    ("name", "put", "own"),
    [
        ("age", "old", "a number"),
        ("income", "12 €", "a number"),
        ("colour", "7", "one of its 2 values"),
        ("when", "3/1/2020", "a date"),
    ],
)
def test_a_column_of_another_type_is_named_with_its_file_and_a_row(
    tmp_path: Path, name: str, put: str, own: str
) -> None:
    """Where all of its cells are no values; one such cell costs its row alone, and an empty one nothing."""
    schema = load_mixed(csv(tmp_path / "t.csv", rows(1, 100))).schema
    place, cells = NAMES.index(name), rows(2, 5)
    for row in cells:
        row[place] = put
    cells[0][place] = ""
    expected = f"u.csv: column '{name}' is of another type than in the schema: none of its 4 cells is {own} (line 3"
    found = numbered(sheet(csv(tmp_path / "u.csv", cells)), schema.columns)
    assert list(found.unseen) == [1, 2, 3, 4] and expected in found.changed[0] and found.changed[0] in found.remarks
    with pytest.raises(UserError, match=re.escape(expected)):
        load_mixed(tmp_path / "u.csv", schema=schema.columns)
    with pytest.raises(UserError, match=re.escape(expected.replace("line 3", "line 2"))):
        load_mixed_rows(csv(tmp_path / "u.csv", cells[1:]), schema)
    assert not numbered(sheet(csv(tmp_path / "u.csv", cells[:2])), schema.columns).changed
