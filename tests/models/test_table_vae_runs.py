"""VAEs of tables as runs, through the command line: what a user has who trains `table-vae` on a file."""

import csv
from pathlib import Path

import numpy as np
import pytest

import vlb
from tests.commands.test_tables import vlb as command
from tests.models.test_factor_runs import written
from vlb.base.errors import UserError

BRIEF = ("training.steps=400", "training.validate_every=50", "coder.width=24", "model.latents=3", "dropout=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table-vae")
    options = [word for change in BRIEF for word in ("--set", change)]
    table = written(folder / "table.csv", 400)
    assert command("train", "table-vae", "--data", table, "--out", folder / "run", *options) == 0
    return folder / "run"


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_training_learns_what_goes_together(run: Path) -> None:
    first = vlb.evaluate(run)
    assert first.gain > 3 * first.gain_error
    assert first.evaluation.paths == (("reconstruction",), ("kl", 1))
    tighter = vlb.evaluate(run, options=vlb.EvaluateOptions(likelihood="importance", draws=8))
    assert tighter.bits_per_dim < first.bits_per_dim and "importance-weighted" in str(tighter.bound)
    assert vlb.evaluate(run).bits_per_dim == first.bits_per_dim


def test_given_columns_are_of_the_conditional_model(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--given", "income") == 0
    assert "by the conditional model that its encoder makes" in " ".join(capsys.readouterr().out.split())
    assert command("score", run, "test", "--given", "income", "age", "-o", run.parent / "given.csv") == 0
    lines = read(run.parent / "given.csv")
    assert len(lines) == len(vlb.Run.open(run).data().test) and all(line["nats"] for line in lines)


def test_samples_are_rows_and_gaps_are_filled(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("sample", run, "-n", "20", "-o", tmp_path / "rows.csv") == 0
    rows = read(tmp_path / "rows.csv")
    assert len(rows) == 20 and set(rows[0]) == {"income", "age", "colour"} and rows[0]["colour"] in "rb"
    table = run.parent / "table.csv"
    before = read(table)
    capsys.readouterr()
    for ways in (["--draws", "1"], ["--point", "mean", "--uncertainty"]):
        out = tmp_path / f"{ways[0][2:]}.csv"
        assert command("impute", run, table, "-o", out, *ways) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "128 weighted draws" in said and "in the median" in said
        for row, filled in zip(before, read(out), strict=True):
            assert all(filled[name] == cell if cell else filled[name] for name, cell in row.items())


def test_it_is_compared_with_a_mixture_and_reported(run: Path, tmp_path: Path) -> None:
    options = vlb.TrainOptions(overrides=("model.draws=1", "model.steps=5"))
    vlb.train("table", options, data=run.parent / "table.csv", out=tmp_path / "mixture")
    found = vlb.compare([run, tmp_path / "mixture"])
    assert np.isfinite(found.comparisons[0].total.mean)
    assert vlb.tightness(run, options=vlb.TightnessOptions(examples=5, draws=8)).values()
    page = vlb.report(run).path.read_text()
    for heading in ("used for", "Every column by itself", "Columns together", "The rows least likely", "Lebesgue"):
        assert heading in page
    with pytest.raises(UserError, match="discrete-table"):
        vlb.compress(run, [run.parent / "table.csv"], tmp_path / "table.vlb")


def test_hierarchies_of_tables_train_by_the_choice_of_the_data(run: Path, tmp_path: Path) -> None:
    changes = (
        "model=hvae",
        "model.latents=[3, 2]",
        "model.width=16",
        "training.steps=20",
        "training.validate_every=10",
    )
    vlb.train("table-vae", vlb.TrainOptions(overrides=changes), data=run.parent / "table.csv", out=tmp_path / "run")
    assert vlb.Run.open(tmp_path / "run").configuration.likelihood is None
    scores = vlb.score(tmp_path / "run", "test", vlb.ScoreOptions(typicality=True, background="independent-pixels"))
    assert all(np.isfinite(values).all() for values in scores.columns.values())
    assert vlb.sample(tmp_path / "run", vlb.SampleOptions(n=3)).x.shape == (3, 3)
