"""Tables from end to end: training, samples as rows, scores of rows that are written otherwise."""

import csv
from pathlib import Path

import numpy as np
import pytest

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
    assert vlb("train", "table", "--data", folder / "t.csv", "--out", folder / "run", *words) == 0
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


def test_samples_of_pictures_are_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("sample", tmp_path, "-o", tmp_path / "rows.xls") == 2
    assert ".csv, .tsv or .parquet (of a table)" in " ".join(capsys.readouterr().err.split())
