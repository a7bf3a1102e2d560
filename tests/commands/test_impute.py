"""Gaps of a person's own table: what is filled, and that nothing else is touched, in every way a table is written."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vlb
from tests.commands.test_tables import vlb as command
from tests.data.test_mixed import rows
from vlb.base.errors import UserError
from vlb.data.formats.delimited import Delimited
from vlb.generate.options import ImputeOptions
from vlb.measure.options import EvaluateOptions, ScoreOptions

NAMES = ["age", "income", "colour", "when"]
BRIEF = [word for change in ("components=2", "rank=1", "draws=1", "model.steps=10") for word in ("--set", change)]


def written(path: Path, cells: list[list[str]], names: Sequence[str] = NAMES) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in [list(names), *cells]))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("impute")
    table = written(folder / "t.csv", rows(0, 300))
    assert command("train", "table", "--data", table, "--out", folder / "run", *BRIEF) == 0
    return folder / "run"


def test_draws_points_and_where_they_go(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = rows(1, 40)
    gone = np.array([[not cell for cell in row] for row in cells])
    table = written(tmp_path / "t.csv", cells)
    assert command("impute", run, table, "-o", tmp_path / "one.csv") == 0
    assert f"{gone.sum()} cells of 40 rows filled, in 1 draw" in " ".join(capsys.readouterr().out.split())
    assert command("impute", run, table, "-o", tmp_path / "d.csv", "--draws", "3") == 0
    draws = [(tmp_path / f"d-{number}.csv").read_text() for number in (1, 2, 3)]
    assert not (tmp_path / "d.csv").exists() and draws[0] == (tmp_path / "one.csv").read_text() != draws[1]
    for text in draws:
        found = np.array([line.split(",") for line in text.splitlines()[1:]], object)
        assert (found[~gone] == np.array(cells, object)[~gone]).all() and (found != "").all()
        assert all(re.fullmatch(r"-?\d+", cell) for cell in found[:, 0]) and set(found[:, 2]) <= {"green", "red"}
        assert all(re.fullmatch(r"-?\d+\.\d\d", cell) for cell in found[:, 1])
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", cell) for cell in found[:, 3])
    assert command("impute", run, table, "-o", tmp_path / "l.csv", "--draws", "3", "--long") == 0
    names, *lines = (tmp_path / "l.csv").read_text().splitlines()
    expected = [f"{number},{line}" for number, text in enumerate(draws, 1) for line in text.splitlines()[1:]]
    assert names == "draw,age,income,colour,when" and lines == expected
    assert command("impute", run, table, "-o", tmp_path / "p.csv", "--point", "mean", "--uncertainty") == 0
    point = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert list(point[0])[4:] == ["age_sd", "income_sd", "colour_probability", "when_sd"]
    for row, empty in zip(point, gone, strict=True):
        assert [bool(value) for value in list(row.values())[4:]] == empty.tolist()
        assert all(float(value) > 0 for value in list(row.values())[4:] if value)


@pytest.fixture(scope="module")
def run_of_array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("array")
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[:, 2] = x[:, 0] + 0.1 * x[:, 1]
    np.save(folder / "a.npy", np.column_stack((x, np.full(200, 7.0))))  # the last is a constant
    assert command("train", "table", "--data", folder / "a.npy", "--out", folder / "run", *BRIEF) == 0
    return folder / "run"


@given(
    n=st.integers(1, 6),
    dtype=st.sampled_from(["<f4", "<f8", ">f8", "f2"]),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 999),
)
@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_array_comes_back_with_its_gaps_filled(
    run_of_array: Path, tmp_path: Path, n: int, dtype: str, order: str, seed: int
) -> None:
    """In its type, its order of memory and, where nothing is missing, its bytes; by path and by array alike."""
    rng = np.random.default_rng(seed)
    x = np.array(np.column_stack((rng.normal(size=(n, 3)), np.full(n, 7.0))), dtype, order=order)  # type: ignore[call-overload]
    x[rng.random(x.shape) < rng.random()] = np.nan
    np.save(tmp_path / "x.npy", x)
    result = vlb.impute(run_of_array, tmp_path / "x.npy", ImputeOptions(draws=2))
    assert np.isnan(x).any() or set(result.tables) == {(tmp_path / "x.npy").read_bytes()}
    there, filled = ~np.isnan(x), vlb.impute(run_of_array, x, ImputeOptions(draws=2)).tables
    for table, array in zip(result.tables, filled, strict=True):
        found = np.load(io.BytesIO(table))
        assert found.dtype == x.dtype and found.flags.f_contiguous == x.flags.f_contiguous
        assert np.array_equal(found, array) and np.isfinite(found).all() and (found[there] == x[there]).all()
        assert (found[:, 3] == 7).all()
    (long,) = vlb.impute(run_of_array, x, ImputeOptions(draws=2, long=True)).tables
    assert np.array_equal(long, np.vstack([np.insert(array, 0, k, 1) for k, array in enumerate(filled, 1)]))


def test_an_array_has_no_names_to_add_or_to_find(run_of_array: Path, run: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "x.npy", np.array([[1.0, np.nan, 0.0, 7.0]]))
    assert command("impute", run_of_array, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--point", "mean") == 0
    assert np.isfinite(np.load(tmp_path / "y.npy")).all()
    assert command("impute", run_of_array, tmp_path / "x.npy", "-o", tmp_path / "z.npy", "--uncertainty") == 2
    assert "no row of names" in " ".join(capsys.readouterr().err.split())
    assert command("impute", run, tmp_path / "x.npy", "-o", tmp_path / "z.npy") == 2
    assert "columns without names" in " ".join(capsys.readouterr().err.split())
    assert command("impute", run_of_array, tmp_path / "x.npy", "-o", tmp_path / "z.csv") == 2
    with pytest.raises(UserError, match="shape"):
        vlb.impute(run_of_array, np.zeros(4))


def test_what_is_there_already_is_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", rows(1, 5))
    (tmp_path / "d-2.csv").write_text("mine")
    assert command("impute", run, table, "-o", tmp_path / "d.csv", "--draws", "3") == 2
    assert command("impute", run, table, "-o", tmp_path / "d.parquet") == 2
    assert command("impute", run, table, "-o", table) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d-2.csv", "t.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"point": "mean", "draws": 2}, "leave out --draws"),
        ({"point": "mode", "long": True}, "--long"),
        ({"point": "best"}, "point"),
        ({"draws": 0}, "--draws"),
    ],
)
def test_options_that_do_not_go_together(options: dict, said: str) -> None:
    with pytest.raises(vlb.UserError, match=said):
        ImputeOptions(**options)


def test_wrong_input_is_named_with_its_place(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(text: str, *flags: str) -> str:
        (tmp_path / "w.csv").write_text(text)
        assert command("impute", run, tmp_path / "w.csv", "-o", tmp_path / "o.csv", *flags) == 2
        assert not (tmp_path / "o.csv").exists()
        return " ".join(capsys.readouterr().err.split())

    assert "line 3: column 'colour' has 'blue'" in refused("age,income,colour,when\n1,,,\n,,blue,\n")
    assert "line 2: column 'age' has 'old'" in refused("age,income,colour,when\nold,,,\n")
    assert "no column 'when'" in refused("age,income,colour\n1,2,red\n")
    assert "a column 'age_sd' already" in refused("age,income,colour,when,age_sd\n,,,,\n", "--uncertainty")
    assert "a column 'draw' already" in refused("age,income,colour,when,draw\n,,,,\n", "--long")
    assert "one row" in refused("age,income,colour,when\n")
    assert command("impute", run, tmp_path / "none.csv", "-o", tmp_path / "o.csv") == 2
    with pytest.raises(vlb.UserError, match="list is no DataFrame"):
        vlb.impute(run, [1, 2])


def test_a_table_without_gaps_is_copied_and_an_empty_row_is_drawn(run: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", [["30", "0.0", "red", "2020-01-05"]])
    assert command("impute", run, table, "-o", tmp_path / "o.csv") == 0
    assert (tmp_path / "o.csv").read_bytes() == table.read_bytes()
    result = vlb.impute(run, written(tmp_path / "e.csv", [["", "NA", "?", "null"]]))
    assert result.cells == dict.fromkeys(NAMES, 1) and b"NA" not in result.tables[0]
    assert len(result.tables[0].decode().splitlines()) == 2 and "4 cells of 1 row " in str(result)


MARKS = st.sampled_from(["", "NA", "?", "null", "-"])
NOTES = st.just("two\nlines") | st.text(
    st.characters(codec="cp1252", exclude_characters="\0", exclude_categories=["Cc"]), max_size=8
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A table as a person may write it, and a pattern of what may become of it: a group for each gap."""
    delimiter = draw(st.sampled_from(",;\t|"))
    comma = draw(st.booleans()) and delimiter != ","
    places, newline = draw(st.sampled_from([2, 3])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding, trailing = draw(st.sampled_from(["utf-8", "cp1252"])), draw(st.sampled_from(["", delimiter]))
    start = "\ufeff" if encoding == "utf-8" and draw(st.booleans()) else ""
    quoting, break_at_end = draw(st.sampled_from(["some", "every", "needed"])), draw(st.booleans())
    order = draw(st.permutations([*NAMES, "note"]))

    def cell(text: str, missing: bool = False) -> tuple[str, str]:
        must = any(mark in text for mark in f'{delimiter}"\r\n')
        quoted = must or quoting == "every" or (quoting == "some" and draw(st.booleans()))
        raw = '"' + text.replace('"', '""') + '"' if quoted else text
        return raw, '"?[^"]+?"?' if missing else re.escape(raw)

    lines = [[cell(name) for name in order]]
    for values in rows(draw(st.integers(0, 99)), draw(st.integers(2, 6)), 0.0):
        values[1] = f"{float(values[1]):.{places}f}".replace(".", "," if comma else ".")
        own = {**dict(zip(NAMES, values, strict=True)), "note": draw(NOTES) or "é"}
        gone = {name: draw(st.booleans()) for name in NAMES} | {"note": False}
        lines.append([cell(draw(MARKS) if gone[name] else own[name], gone[name]) for name in order])
    ends = [newline] * (len(lines) - 1) + [newline if break_at_end else ""]
    own, like = (
        "".join(mark.join(cell[part] for cell in line) + after + end for line, end in zip(lines, ends, strict=True))
        for part, (mark, after) in enumerate(((delimiter, trailing), (re.escape(delimiter), re.escape(trailing))))
    )
    return (start + own).encode(encoding), (re.escape(start) + like).encode(encoding)


@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_no_byte_is_touched_but_in_gaps(run: Path, tmp_path: Path, made: tuple[bytes, bytes]) -> None:
    table, pattern = made
    (tmp_path / "t.csv").write_bytes(table)
    for options in (ImputeOptions(), ImputeOptions(point="median")):
        (found,) = vlb.impute(run, tmp_path / "t.csv", options).tables
        assert re.fullmatch(pattern, found, re.DOTALL), (table, found)
    (tmp_path / "u.csv").write_bytes(found)
    assert vlb.impute(run, tmp_path / "u.csv").tables == (found,)  # nothing is missing any more


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.integers(1, 3))
def test_added_columns_and_rows_leave_cells_as_they_are_written(run: Path, tmp_path: Path, made, draws: int) -> None:
    (tmp_path / "t.csv").write_bytes(made[0])
    apart = vlb.impute(run, tmp_path / "t.csv", ImputeOptions(draws=draws)).tables
    (long,) = vlb.impute(run, tmp_path / "t.csv", ImputeOptions(draws=draws, long=True, uncertainty=True)).tables
    one, whole = (Delimited().read(content).members[0].values for content in (apart[0], long))
    assert len(whole) == 1 + draws * (len(one) - 1) and whole[0, 0] == "draw"
    assert (whole[: len(one), 1 : 1 + one.shape[1]] == one).all()
    assert long.endswith((b"\r", b"\n")) == made[0].endswith((b"\r", b"\n"))


def test_decimals_are_written_as_the_column_is(run: Path, tmp_path: Path) -> None:
    for cells, like in (
        (["1.5", "2.25"], r"-?\d+(\.\d?[1-9])?"),
        (["1,500", "2,250"], r"-?\d+,\d{3}"),
        (["7", "8"], r"-?\d+\.\d\d|-?\d+(\.\d?[1-9])?"),
    ):
        text = "age;income;colour;when\n" + "".join(f"30.0;{cell};red;2020-01-02 10:30\n" for cell in [*cells, ""])
        (tmp_path / "t.csv").write_text(text.replace("30.0", "30,0" if "," in cells[0] else "30.0") + ";;;\n" * 20)
        lines = vlb.impute(run, tmp_path / "t.csv").tables[0].decode().splitlines()[3:]
        assert all(re.fullmatch(like, line.split(";")[1]) for line in lines), lines
        assert all(re.fullmatch(r"-?\d+[.,]0", line.split(";")[0]) for line in lines), lines
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d 00:00", line.split(";")[3]) for line in lines[1:]), lines


def frames(cells: list[list[str]]) -> dict:
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    values = {
        "when": [np.datetime64(row[3]).item() if row[3] else None for row in cells],
        "age": [int(row[0]) if row[0] else None for row in cells],
        "name": [f"n{number}" for number in range(len(cells))],
        "income": [float(row[1]) if row[1] else None for row in cells],
        "colour": [row[2] or None for row in cells],
    }
    pandas = pd.DataFrame(values, index=[number // 2 for number in range(len(cells))])
    typed = pandas.assign(age=pandas.age.astype("Int16"), colour=pd.Categorical(pandas.colour))
    dated = typed.assign(when=pd.to_datetime(pandas.when).dt.tz_localize("Europe/Berlin"))
    enum = pl.DataFrame(values, schema_overrides={"colour": pl.Enum(["green", "red"]), "age": pl.Int8})
    coded = pa.table({**values, "colour": pa.array(values["colour"]).dictionary_encode()})
    return {"pandas": pandas, "typed": typed, "dated": dated, "polars": pl.DataFrame(values), "enum": enum,
            "arrow": pa.table(values), "coded": coded}  # fmt: skip


@pytest.mark.parametrize("kind", ["pandas", "typed", "dated", "polars", "enum", "arrow", "coded"])
def test_a_frame_comes_back_as_it_was_with_its_gaps_filled(run: Path, kind: str) -> None:
    nw = pytest.importorskip("narwhals.stable.v2")
    table = frames(rows(3, 40))[kind]
    expected = vlb.impute(run, frames(rows(3, 40))["pandas"], ImputeOptions(draws=2)).tables[1]
    found = vlb.impute(run, table, ImputeOptions(draws=2)).tables[1]
    own, new, like = (nw.from_native(frame) for frame in (table, found, expected))
    assert type(found) is type(table) and new.schema == own.schema and list(new.columns) == list(own.columns)
    for name in own.columns:
        assert not new[name].is_null().any()
        cells = zip(own[name].is_null().to_list(), own[name].to_list(), new[name].to_list(), strict=True)
        assert all(gone or before == after for gone, before, after in cells)
        texts = [[str(cell)[:10].removesuffix(".0") for cell in frame[name].to_list()] for frame in (new, like)]
        assert texts[0] == texts[1]  # every kind of frame says the same
    if kind in ("pandas", "typed", "dated"):
        assert found.index.equals(table.index)
    (long,) = vlb.impute(run, table, ImputeOptions(draws=2, long=True, uncertainty=True)).tables
    stacked = nw.from_native(long)
    assert type(long) is type(table) and stacked.columns[:2] == ["draw", "when"] and len(stacked) == 80
    assert stacked["draw"].to_list() == [1] * 40 + [2] * 40 and stacked["age_sd"].is_null().any()
    assert stacked["age"].to_list()[40:] == new["age"].to_list()


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["pandas", "typed", "dated", "polars", "enum", "arrow", "coded"]),
    seed=st.integers(0, 999),
    n=st.integers(1, 6),
    share=st.sampled_from([0.0, 0.3, 0.8]),
    order=st.permutations(["when", "age", "name", "income", "colour"]),
)
def test_no_cell_of_a_frame_is_touched_but_gaps(run: Path, kind: str, seed: int, n: int, share: float, order) -> None:
    """Rows, columns, types and index stay, whatever is missing; a column that holds nothing gets a type."""
    nw = pytest.importorskip("narwhals.stable.v2")
    own = nw.from_native(frames(rows(seed, n, share))[kind])[order]
    native = own.to_native()
    (filled,) = vlb.impute(run, native, ImputeOptions(seed=seed)).tables
    new = nw.from_native(filled)
    assert type(filled) is type(native) and new.columns == order and len(new) == n
    assert not hasattr(native, "index") or filled.index.equals(native.index)
    for name in order:
        gone = own[name].is_null().to_list()
        assert all(gone) or new.schema[name] == own.schema[name]
        cells = zip(gone, own[name].to_list(), new[name].to_list(), strict=True)
        assert all(after is not None if lost else before == after for lost, before, after in cells)
    again = nw.from_native(vlb.impute(run, filled).tables[0])
    assert all(again[name].to_list() == new[name].to_list() for name in order)  # nothing is missing any more


def test_columns_that_hold_nothing_get_a_type(run: Path) -> None:
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    nothing = {name: [None, None] for name in NAMES}
    for table in (pd.DataFrame(nothing), pl.DataFrame(nothing), pa.table(nothing)):
        (found,) = vlb.impute(run, table).tables
        (again,) = vlb.impute(run, found).tables
        assert type(found) is type(table) and str(found) == str(again)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_files_of_columns(run: Path, tmp_path: Path, suffix: str) -> None:
    pa, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    table = frames(rows(3, 40))["arrow"]
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert command("impute", run, path, "-o", tmp_path / f"o{suffix}") == 0
    out = tmp_path / f"o{suffix}"
    found = parquet.read_table(out) if suffix == ".parquet" else pa.ipc.open_file(out.read_bytes()).read_all()
    assert found.equals(vlb.impute(run, table).tables[0])


def test_a_table_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    lines = [f"{value:.1f},{int(value > 0)}" for value in generator.normal(size=120)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert command("train", "table", "--data", tmp_path / "t.csv", "--no-header", "--out", tmp_path / "r", *BRIEF) == 0
    (tmp_path / "g.csv").write_text(",1\n0.5,\n")
    assert (
        command("impute", tmp_path / "r", tmp_path / "g.csv", "-o", tmp_path / "o.csv", "--long", "--draws", "2") == 0
    )
    assert re.fullmatch(r"1,-?\d+\.\d,1\n1,0\.5,[01]\n2,-?\d+\.\d,1\n2,0\.5,[01]\n", (tmp_path / "o.csv").read_text())
    capsys.readouterr()
    assert command("impute", tmp_path / "r", tmp_path / "g.csv", "-o", tmp_path / "p.csv", "--uncertainty") == 2
    assert "no row of names" in " ".join(capsys.readouterr().err.split())
    assert vlb.score(tmp_path / "r", tmp_path / "t.csv", ScoreOptions(given=("2",))).about["dimensions"] == 1


@pytest.mark.parametrize("told", [("colour",), ("colour", "income")])
def test_log_p_of_columns_given_others(run: Path, tmp_path: Path, told: tuple[str, ...]) -> None:
    """log p(a | b) + log p(b) = log p(a, b), where b has no rounded column, or its cells are at its atom."""
    cells = [[row[0], "0" if row[1] else "", *row[2:]] for row in rows(4, 30)]
    alone = [[cell if name in told else "" for name, cell in zip(NAMES, row, strict=True)] for row in cells]
    table, part = written(tmp_path / "t.csv", cells), written(tmp_path / "b.csv", alone)
    both, given_b, b = (
        vlb.score(run, path, ScoreOptions(given=names)).columns["nats"]
        for path, names in ((table, ()), (table, told), (part, ()))
    )
    assert np.allclose(given_b + b, both, atol=1e-9) and np.ptp(b) > 0
    out = tmp_path / "s.csv"
    assert command("score", run, table, "-o", out, "--given", *told) == 0
    scored = [float(row["nats"]) for row in csv.DictReader(io.StringIO(out.read_text()))]
    assert np.array_equal(scored, given_b)


def test_evaluations_given_columns(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = EvaluateOptions(given=("colour", "income"))
    found = vlb.evaluate(run, "test", options)
    nats = vlb.score(run, "test", ScoreOptions(given=options.given)).columns["nats"]
    assert isinstance(found, vlb.EvaluationResult) and found.nats_per_example == pytest.approx(nats.mean())
    assert found.dimensions == 2 and "given colour, income" in found.words  # an atom's column goes with its own
    names = [tmp_path / "a.npz", tmp_path / "b.npz"]
    assert command("evaluate", run, "--values", names[0], "--given", "colour", "income") == 0
    assert command("evaluate", run, "--values", names[1]) == 0
    capsys.readouterr()
    assert command("compare", *names) == 2 and "given colour" in " ".join(capsys.readouterr().err.split())
    for wrong, said in ((("color",), "no such column; the columns are age"), (tuple(NAMES), "names all columns")):
        with pytest.raises(vlb.UserError, match=said):
            vlb.evaluate(run, "test", EvaluateOptions(given=wrong))
