"""Tables from end to end: training, samples as rows, scores of rows that are written otherwise."""

import csv
import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from vlb.core.schema import Categories, Column
from vlb.data.rows import as_parquet
from vlb.interfaces.cli import main

CITIES = ("Köln", 'the "big" one', "a,b", "")


def vlb(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of unequal columns, saved as a spreadsheet would: BOM, semicolons, CRLF, quotes."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    with (folder / "t.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["city", "size", "year built", "constant"])
        for _ in range(300):
            k = int(rng.integers(4))
            writer.writerow([CITIES[k], f"{k * 10 + int(rng.integers(9))}.0", 1990 + int(rng.integers(2)), "x"])
    changes = ("steps=5", "training.warmup=1", "components=4")
    words = [word for change in changes for word in ("--set", change)]
    assert vlb("train", "discrete-table", "--data", folder / "t.csv", "--out", folder / "run", *words) == 0
    return folder / "run"


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_samples_are_rows_of_the_columns_own_cells(run: Path, suffix: str, delimiter: str, tmp_path: Path) -> None:
    out = tmp_path / f"rows{suffix}"
    assert vlb("sample", run, "-n", "200", "-o", out) == 0
    with out.open(newline="", encoding="utf-8") as stream:
        names, *rows = csv.reader(stream, delimiter=delimiter)
    assert names == ["city", "size", "year built", "constant"] and len(rows) == 200
    assert {row[0] for row in rows} == set(CITIES) and {row[2] for row in rows} == {"1990", "1991"}
    assert {row[3] for row in rows} == {"x"} and all(0 <= float(row[1]) < 40 for row in rows)
    assert vlb("score", run, out, "-o", tmp_path / "scores.csv") == 0
    assert vlb("sample", run, "-n", "2", "-o", out) == 2  # it is there


def test_numbers_are_values_however_they_are_written(run: Path, tmp_path: Path) -> None:
    rows = [("Köln", size, "1990", "x") for size in ("3.0", "3", "3e0", "03.00")]
    with (tmp_path / "more.txt").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("city", "size", "year built", "constant"), *rows])
    assert vlb("score", run, tmp_path / "more.txt", "-o", tmp_path / "scores.csv") == 0
    with (tmp_path / "scores.csv").open(newline="") as stream:
        nats = {row["nats"] for row in csv.DictReader(stream)}
    assert len(nats) == 1
    assert vlb("compress", run, tmp_path / "more.txt", "-o", tmp_path / "a.vlb") == 0
    assert vlb("decompress", tmp_path / "a.vlb", "--model", run, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "more.txt").read_bytes() == (tmp_path / "more.txt").read_bytes()


def test_rows_that_the_model_has_not_seen_are_left_out_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("a,b", "20", "1990", "x"),
        ("Köln", "3", "1990", "x"),
        ("Bonn", "3.5", "1990", "x"),
        ("", "30", "1991", "x"),
    ]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("city", "size", "year built", "constant"), *rows])
    assert vlb("score", run, tmp_path / "t.csv", "-o", tmp_path / "s.csv") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 examples" in said and "1 of 4 rows left out" in said and "column 'city' has 'Bonn'" in said
    with (tmp_path / "s.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["example"] for row in found] == ["0", "1", "2", "3"]
    assert [bool(row["nats"]) for row in found] == [True, True, False, True]
    assert [row["left_out"] for row in found] == [
        "",
        "",
        "line 4: column 'city' has 'Bonn', column 'size' has '3.5'",
        "",
    ]
    assert vlb("score", run, tmp_path / "t.csv", "-o", tmp_path / "s.npz", "--background", "lzma", "--typicality") == 0
    with np.load(tmp_path / "s.npz") as archive:
        assert all(
            np.isnan(archive[name]).tolist() == [False, False, True, False] for name in archive if name != "about"
        )
        assert json.loads(str(archive["about"]))["left_out"].keys() == {"2"}
    assert vlb("evaluate", run, "--split", tmp_path / "t.csv", "--json", tmp_path / "e.json") == 0
    told = json.loads((tmp_path / "e.json").read_text())
    assert told["examples"] == 3 and "line 4: column 'city'" in told["left_out"]
    assert "1 of 4 rows left out" in " ".join(capsys.readouterr().out.split())
    assert vlb("compress", run, tmp_path / "t.csv", "-o", tmp_path / "a.vlb") == 0
    assert "as they are written, the first in row 2, column 'size': '20'; stored as it is" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_table_without_names_of_decimal_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, file, run = np.random.default_rng(0), tmp_path / "t.dat", tmp_path / "run"
    rows = [(f"{rng.integers(20)},5", str(rng.integers(3)), str(rng.choice(["b", "a"]))) for _ in range(100)]
    file.write_text("".join(";".join(row) + "\n" for row in rows))
    words = ("--set", "steps=2", "--set", "training.warmup=1", "--set", "components=2")
    assert vlb("train", "discrete-table", "--data", file, "--no-header", "--out", run, *words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "decimal commas, 1,5 being 1.5, in column 1 " in said and "2 of numbers in order, 1 of categories" in said
    assert json.loads((run / "config.json").read_text())["experiment"]["data"]["header"] is False
    assert vlb("score", run, file, "-o", tmp_path / "s.csv") == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 101
    assert vlb("evaluate", run) == 0 and vlb("evaluate", run, "--split", file) == 0
    assert vlb("compress", run, file, "-o", tmp_path / "a.vlb") == 0
    assert "as it is" not in capsys.readouterr().err
    assert vlb("decompress", tmp_path / "a.vlb", "--model", run, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "t.dat").read_bytes() == file.read_bytes()
    assert vlb("sample", run, "-n", "50", "-o", tmp_path / "rows.csv") == 0
    with (tmp_path / "rows.csv").open(newline="") as stream:
        drawn = list(csv.reader(stream))
    assert len(drawn) == 50 and all({row[j] for row in drawn} <= {row[j] for row in rows} for j in range(3))
    assert vlb("score", run, tmp_path / "rows.csv", "-o", tmp_path / "r.csv") == 0
    assert vlb("report", run) == 0 and f"--data {file} --no-header" in (run / "report.html").read_text()
    assert vlb("train", "digits", "--no-header", "--out", tmp_path / "d") == 2
    assert vlb("train", "discrete-table", "--no-header", "--out", run, "--resume") == 2


def test_samples_as_parquet_have_the_types_of_their_columns(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert vlb("sample", run, "-n", "50", "-o", tmp_path / "rows.parquet") == 0
    assert vlb("sample", run, "-n", "50", "-o", tmp_path / "rows.csv") == 0
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "int64", "int64", "string"]
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as stream:
        rows = [
            {**row, "size": float(row["size"]), "year built": int(row["year built"])} for row in csv.DictReader(stream)
        ]
    assert table.to_pylist() == rows


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "9007199254740993"), "int64"),
        (("-9223372036854775808", "9223372036854775807"), "int64"),
        (("0.5", "1e30"), "double"),
        (("1", "9223372036854775808"), "double"),
        (("9223372036854775808", "9223372036854775809"), "string"),
        (("0.1", "0.10000000000000000001"), "string"),
    ],
)
def test_parquet_tells_apart_what_a_column_does(values: tuple[str, ...], kind: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    written = as_parquet(np.arange(len(values))[:, None], (Column("a", Categories(values)),))
    table = parquet.read_table(BytesIO(written))
    assert [str(field.type) for field in table.schema] == [kind]
    cells = [row["a"] for row in table.to_pylist()]
    assert cells == [type(cell)(value) for cell, value in zip(cells, values, strict=True)]


def test_parquet_without_pyarrow_names_the_extra(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert vlb("sample", run, "-o", tmp_path / "rows.parquet") == 2
    assert "pip install 'vlb[tables]'" in " ".join(capsys.readouterr().err.split())


def test_samples_of_pictures_are_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("sample", tmp_path, "-o", tmp_path / "rows.xls") == 2
    assert ".csv, .tsv or .parquet (of a table)" in " ".join(capsys.readouterr().err.split())
