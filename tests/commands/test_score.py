"""`vlb score`: files with a value per example, and what is refused."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.commands.test_cli import TINY, vlb
from vlb.data import load
from vlb.data.baselines import baselines, per_example

QUICK = ("--passes", "2", "--draws", "2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    assert vlb("train", "digits", "--out", folder / "digits", *TINY) == 0
    assert vlb("train", "digits", "--out", folder / "labelled", "--condition", "labels", *TINY) == 0
    for recipe in ("digits-mixture", "digits-ladder"):
        assert vlb("train", recipe, "--out", folder / recipe, "--set", "steps=2", "--set", "validate_every=0") == 0
    return folder


def test_values_of_a_split(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    background = ("--background", "independent-pixels", "--typicality")
    assert vlb("score", runs / "digits", "validation", "-o", out, *QUICK, *background) == 0
    with np.load(out) as archive:
        scores = {name: archive[name] for name in archive.files}
    about = json.loads(str(scores.pop("about")))
    assert all(len(column) == 180 for column in scores.values())
    assert scores["bits_per_dim"] == pytest.approx(scores["nats"] / (64 * math.log(2)))
    assert (scores["monte_carlo_error_nats"] > 0).all()
    assert scores["likelihood_ratio"] == pytest.approx(scores["nats"] - scores["background_nats"])
    assert scores["typicality"] == pytest.approx(np.abs(scores["nats"] - about["training_nats"]))
    assert "bound" in about["nats"] and about["kind"] == "discrete, 17 levels"
    assert vlb("score", runs / "digits", "validation", "-o", out, *QUICK) == 2


def test_exact_values_of_given_examples_as_a_table(runs: Path, tmp_path: Path) -> None:
    data = load("digits")
    np.save(tmp_path / "x.npy", data.test.x[:7])
    out = tmp_path / "s.csv"
    assert vlb("score", runs / "digits-mixture", tmp_path / "x.npy", "-o", out, "--background", "lzma") == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["example"] for row in rows] == [str(i) for i in range(7)]
    assert all(float(row["monte_carlo_error_nats"]) == 0 for row in rows)
    assert all(float(row["background_nats"]) > 0 for row in rows)


def test_a_run_as_background(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    assert vlb("score", runs / "digits", "test", "-o", out, *QUICK, "--background", runs / "digits-mixture") == 0
    with np.load(out) as archive:
        assert archive["background_nats"].shape == (360,)


def test_the_name_of_a_split_is_that_split(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("test").mkdir()
    assert vlb("score", runs / "digits-mixture", "test", "-o", "s.npz", *QUICK) == 0
    assert vlb("evaluate", runs / "digits-mixture", "--split", "test", "--passes", "2") == 0
    assert vlb("score", runs / "digits-mixture", "./test", "-o", "t.npz", *QUICK) == 2


def test_pixels_per_example_add_up_to_the_baseline() -> None:
    data = load("digits")
    mean = per_example("independent-pixels", data, data.test).mean() / (64 * math.log(2))
    assert mean == pytest.approx(baselines(data, "test")["independent_pixels"])
    assert per_example("uniform", data, data.test) == pytest.approx(64 * math.log(17))


def test_bad_requests_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = runs / "digits", tmp_path / "s.npz"
    np.save(tmp_path / "nan.npy", np.full((2, 1, 8, 8), np.nan))
    np.save(tmp_path / "unlabelled.npy", np.zeros((2, 1, 8, 8), np.uint8))
    cases = [
        ((run, "tset", "-o", out), "nothing at tset"),
        ((run, tmp_path / "nan.npy", "-o", out), "not a whole number"),
        ((run, "test", "-o", tmp_path / "s.txt"), ".npz or .csv"),
        ((run, "test", "-o", out, "--passes", "1"), "--passes: expected a whole number from 2"),
        ((run, "test", "-o", out, "--draws", "0"), "--draws"),
        ((run, "test", "-o", out, "--background", "lzmaa"), "did you mean 'lzma'"),
        ((runs / "digits-ladder", "test", "-o", out), "ladder network has no likelihood"),
        ((run, "test", "-o", out, "--background", runs / "digits-ladder", *QUICK), "ladder network has no likelihood"),
        ((runs / "labelled", tmp_path / "unlabelled.npy", "-o", out), "labels"),
    ]
    for arguments, words in cases:
        assert vlb("score", *arguments) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()
