"""`vlb train table`: tables of any columns, with gaps, through the verbs, by the schema that a person may edit."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vlb
from tests.commands.test_cli import vlb as run_vlb
from tests.data.test_mixed import NAMES, rows
from tests.data.test_mixed import csv as write_csv
from vlb.training import outcome

QUICK = ("--set", "draws=2", "--set", "most_components=2", "--set", "most_rank=2", "--set", "model.steps=10")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    write_csv(folder / "t.csv", rows(0, 200))
    assert run_vlb("train", "table", "--data", folder / "t.csv", "--out", folder / "run", *QUICK) == 0
    return folder / "run"


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_samples_are_cells_that_the_columns_may_hold(run: Path, tmp_path: Path) -> None:
    assert run_vlb("sample", run, "-n", "200", "-o", tmp_path / "s.csv") == 0
    found = cells(tmp_path / "s.csv")
    assert len(found) == 200 and tuple(found[0]) == NAMES
    for row in found:
        assert float(row["age"]).is_integer() and row["colour"] in ("green", "red")
        assert round(float(row["income"]) * 100) == pytest.approx(float(row["income"]) * 100)
        assert np.datetime64(row["when"], "D")
    at_zero = sum(float(row["income"]) == 0 for row in found)
    assert 40 < at_zero < 120  # 0.4 of them: beyond six standard errors on either side


def test_rows_are_scored_in_order_with_gaps(run: Path, tmp_path: Path) -> None:
    given = [["30", "0.00", "red", "2020-03-01"], ["", "", "", ""], ["30", "0.00", "blue", "2020-03-01"]]
    table = write_csv(tmp_path / "u.csv", given)
    assert run_vlb("score", run, table, "-o", tmp_path / "scores.csv") == 0
    found = cells(tmp_path / "scores.csv")
    assert float(found[0]["nats"]) > 0 and float(found[1]["nats"]) == 0  # of nothing, log p is 0
    assert found[2]["nats"] == "" and "blue" in found[2]["left_out"]


@pytest.mark.parametrize("background", ["lzma", "uniform"])
def test_backgrounds_of_discrete_data_are_refused_at_once(run: Path, background: str, tmp_path: Path, capsys) -> None:
    assert run_vlb("score", run, "test", "--background", background, "-o", tmp_path / "s.csv") == 2
    said = capsys.readouterr().err
    assert "independent-pixels" in said and "evaluating" not in said


def test_evaluation_names_what_it_is_stated_against(run: Path, tmp_path: Path) -> None:
    assert run_vlb("evaluate", run, "--json", tmp_path / "e.json") == 0
    said = json.loads((tmp_path / "e.json").read_text())
    assert "interval of 0.01" in said["kind"] and said["levels"] is None and said["se_monte_carlo"] == 0
    assert said["bits_per_dim"] < said["baselines"]["independent_pixels"]


def test_a_run_needs_no_data_and_knows_its_own_again(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert vlb.evaluate(tmp_path / "run").bits_per_dim == vlb.evaluate(run).bits_per_dim
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["experiment"]["data"]["path"] = str(tmp_path / "gone.csv")
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert len(vlb.sample(tmp_path / "run", vlb.SampleOptions(n=3)).x) == 3
    table = write_csv(tmp_path / "u.csv", rows(3, 20))
    found = vlb.score(tmp_path / "run", table).columns["nats"]
    assert np.array_equal(found, vlb.score(run, table).columns["nats"])


def test_the_schema_that_a_run_writes_may_be_edited(run: Path, tmp_path: Path) -> None:
    text = (run / "schema.toml").read_text().replace("resolution = 1.0\n", "resolution = 10.0\n", 1)
    (tmp_path / "schema.toml").write_text(text)
    table = write_csv(tmp_path / "t.csv", rows(0, 200))
    words = ("--data", table, "--schema", tmp_path / "schema.toml", "--out", tmp_path / "run", *QUICK)
    assert run_vlb("train", "table", *words) == 0
    drawn = vlb.sample(tmp_path / "run", vlb.SampleOptions(n=50)).as_text().decode().splitlines()[1:]
    assert all(float(line.split(",")[0]) % 10 == 0 for line in drawn)
    assert run_vlb("train", "digits", "--schema", tmp_path / "schema.toml", "--out", tmp_path / "x") == 2


def test_identifiers_are_refused_until_they_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [[str(i), f"user {i}", *row] for i, row in enumerate(rows(0, 60))]
    table = write_csv(tmp_path / "t.csv", cells, names=("id", "user", *NAMES))
    words = ("train", "table", "--data", table, "--out", tmp_path / "run", *QUICK)
    assert run_vlb(*words) == 2
    said = capsys.readouterr().err
    assert "'id'" in said and "'user'" in said and "--leave-out" in said
    assert run_vlb(*words, "--leave-out", "id", "user") == 0
    assert (tmp_path / "run/schema.toml").read_text().count("[[column]]") == len(NAMES)
    assert run_vlb("score", tmp_path / "run", table, "-o", tmp_path / "s.csv") == 0
    assert run_vlb("evaluate", tmp_path / "run") == 0
    assert run_vlb(*words[: -len(QUICK) - 1], tmp_path / "other", "--leave-out", "name") == 2


def test_models_of_discrete_data_refuse_real_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_csv(tmp_path / "t.csv", rows(0, 50))
    changes = ("--set", "model=mixture", "--set", "loss=mixture")
    assert run_vlb("train", "table", "--data", table, *changes, "--out", tmp_path / "r") == 2
    assert "discrete" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_fit_that_says_nothing_of_rows_held_out_is_told_so_without_advice_on_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "FAR_OF_COLUMNS", -1e6)
    table = write_csv(tmp_path / "t.csv", rows(0, 60))
    assert run_vlb("train", "table", "--data", table, "--out", tmp_path / "run", *QUICK) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "far above" in said and "model.components" in said and "learning_rate" not in said
