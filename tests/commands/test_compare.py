"""`vlb compare`: any mix of runs, saved values and baselines, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.commands.test_cli import TINY, vlb

QUICK = ("--passes", "2", "--examples", "30")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    assert vlb("train", "digits", "--out", folder / "one", *TINY) == 0
    assert vlb("train", "digits", "--out", folder / "two", "--seed", "1", *TINY) == 0
    assert vlb("train", "digits", "--out", folder / "labelled", "--condition", "labels", *TINY) == 0
    for recipe in ("digits-vae", "digits-mixture", "digits-ladder"):
        assert vlb("train", recipe, "--out", folder / recipe, "--set", "steps=2", "--set", "validate_every=0") == 0
    return folder


def test_a_mix_of_models(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "c.json", tmp_path / "c.html"
    models = (runs / "one", runs / "two", runs / "digits-vae", runs / "digits-mixture", "independent-pixels")
    assert vlb("compare", *models, *QUICK, "--json", out, "-o", page) == 0
    found = json.loads(out.read_text())
    assert [model["name"] for model in found["models"]] == [Path(model).name for model in models]
    assert found["examples"] == 30 and found["kind"] == "discrete, 17 levels"
    for comparison, model in zip(found["comparisons"], found["models"][1:], strict=True):
        gap = model["bits_per_dim"] - found["models"][0]["bits_per_dim"]
        assert comparison["bits_per_dim"] == pytest.approx(gap)
        assert comparison["interval_nats"][0] <= comparison["nats"] <= comparison["interval_nats"][1]
        assert comparison["p_value"] <= comparison["p_value_holm"] <= 1
        if comparison["terms"]:
            assert sum(comparison["terms"].values()) == pytest.approx(comparison["nats"])
    assert [level["name"] for level in found["noise_levels"]] == ["two"]
    html = page.read_text()
    assert "<script" not in html and "http:" not in html.replace("http://www.w3.org", "")
    assert html.count("<svg") == 5 and "data:image/png" in html
    assert "bounds are compared" in " ".join(capsys.readouterr().out.split())
    assert vlb("compare", *models, *QUICK, "--json", out) == 2


def test_saved_values_settle_the_examples(runs: Path, tmp_path: Path) -> None:
    values, out = tmp_path / "v.npz", tmp_path / "c.json"
    assert vlb("evaluate", runs / "one", "--passes", "2", "--examples", "20", "--values", values) == 0
    assert vlb("compare", values, runs / "two", "uniform", "--passes", "2", "--json", out) == 0
    found = json.loads(out.read_text())
    assert found["examples"] == 20 and found["noise_levels"] == []
    assert vlb("compare", values, runs / "two", "--passes", "2", "--examples", "5") == 2
    assert vlb("compare", values, runs / "two", "--split", "validation") == 2


@pytest.mark.parametrize(
    "models, words",
    [
        (("one",), "at least two"),
        (("one", "one"), "given twice"),
        (("one", "one/"), "given twice"),
        (("one", "labelled"), "told the labels"),
        (("one", "digits-ladder"), "ladder network has no likelihood"),
        (("one", "nothing"), "no run or file"),
        (("independent-pixels", "uniform"), "give a run"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    runs: Path, models: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [name if name in ("independent-pixels", "uniform") else f"{runs}/{name}" for name in models]
    assert vlb("compare", *given, *QUICK) == 2
    assert words in capsys.readouterr().err


def test_runs_of_other_data_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((runs / "two" / "config.json").read_text())
    config["data"]["fingerprint"] = "0" * 16
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config))
    assert vlb("compare", runs / "one", other, *QUICK) == 2
    assert "other data" in capsys.readouterr().err


def test_sampling_and_compressing_a_ladder_say_why_not(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    ladder = runs / "digits-ladder"
    assert vlb("sample", ladder, "-o", tmp_path / "s.png") == 2
    assert "ladder network has no likelihood" in capsys.readouterr().err
    assert vlb("compress", ladder, tmp_path / "in", "-o", tmp_path / "c.vlb") == 2
    assert "ladder network has no likelihood" in capsys.readouterr().err
