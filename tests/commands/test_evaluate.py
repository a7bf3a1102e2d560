"""`vlb evaluate`: precision, values per example, resumption, and data the model cannot be asked about."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.test_cli import TINY, vlb
from vlb.data import load as load_data
from vlb.measure import planning
from vlb.measure.evaluation_file import load, read
from vlb.models.diffusion.stratified import StratifiedBound

SOME = ("--examples", "60")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "plain"
    assert vlb("train", "digits", "--out", path, *TINY) == 0
    return path


def test_values_per_example_are_kept_and_add_up(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    assert vlb("evaluate", run, "--passes", "3", "--examples", "90", "--json", out) == 0
    result = json.loads(out.read_text())
    kept = load(Path(result["values"]))
    assert Path(result["values"]).parent == run / "evaluations"
    assert kept.evaluation.bits_per_dim == result["bits_per_dim"]
    assert kept.evaluation.se_monte_carlo == result["se_monte_carlo"]
    assert (kept.subject.data, kept.subject.split, kept.subject.levels) == ("digits", "test", 17)
    assert kept.subject.fingerprint == result["data"]["fingerprint"]
    assert len(kept.index) == 90 and kept.evaluation.values.shape == (90, len(kept.evaluation.paths))


def test_a_second_look_costs_nothing_and_more_passes_go_on(run: Path, tmp_path: Path) -> None:
    values = tmp_path / "v.npz"
    assert vlb("evaluate", run, *SOME, "--passes", "2", "--values", values) == 0
    first = load(values)
    assert vlb("evaluate", run, *SOME, "--passes", "4", "--values", values) == 0
    more = load(values)
    assert np.array_equal(more.evaluation.pass_means[:2], first.evaluation.pass_means)
    assert vlb("evaluate", run, *SOME, "--passes", "4", "--values", tmp_path / "w.npz") == 0
    assert np.array_equal(load(tmp_path / "w.npz").evaluation.values, more.evaluation.values)


def test_a_plan_is_made_once_for_a_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed; what is no plan any more is planned anew, to the same numbers."""
    first, again, anew = (tmp_path / f"{name}.npz" for name in ("first", "again", "anew"))
    assert vlb("evaluate", run, "--passes", "2", "--examples", "50", "--values", first) == 0
    (file,) = (run / "evaluations").glob("plan-*.json")
    with monkeypatch.context() as patched:
        patched.setattr(planning, "fit", lambda *_: pytest.fail("planned anew"))
        assert vlb("evaluate", run, "--passes", "2", "--examples", "50", "--values", again) == 0
        assert vlb("evaluate", run, "--passes", "2", "--examples", "50", "--seed", "1", "--values", tmp_path / "o") == 0
    file.write_text('{"masses": [0.5')
    assert vlb("evaluate", run, "--passes", "2", "--examples", "50", "--values", anew) == 0
    values = [load(path).evaluation.values for path in (first, again, anew)]
    assert np.array_equal(values[0], values[1]) and np.array_equal(values[0], values[2])


def test_a_precision_out_of_reach_says_what_was_reached(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, out = tmp_path / "v.npz", tmp_path / "e.json"
    options = (*SOME, "--precision", "1e-6", "--passes", "2", "--budget", "3", "--values", values, "--json", out)
    assert vlb("evaluate", run, *options) == 2
    error = capsys.readouterr().err.replace("\n", " ")
    assert "after 3 passes" in error and "try --budget" in error and str(values) in error
    assert not out.exists()
    assert len(load(values).evaluation.pass_means) == 3
    assert vlb("evaluate", run, *SOME, "--precision", "0.2", "--passes", "2", "--values", values, "--json", out) == 0
    assert json.loads(out.read_text())["se_monte_carlo"] <= 0.2


def test_draws_are_planned_where_they_are_needed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few examples, or to a precision; of many, one time each will do, and costs less."""
    monkeypatch.setattr("vlb.measure.evaluate.LARGE", 100)
    bounds = {}
    for name, options in {"many": (), "precise": ("--precision", "1"), "few": ("--split", "FEW")}.items():
        np.save(tmp_path / "few.npy", load_data("digits").test.x[:100])
        out = tmp_path / f"{name}.json"
        places = [str(tmp_path / "few.npy") if option == "FEW" else option for option in options]
        assert vlb("evaluate", run, "--passes", "2", "--json", out, *places) == 0
        bounds[name] = json.loads(out.read_text())
    assert bounds["many"]["estimator"] is None
    assert bounds["precise"]["estimator"]["kind"] == bounds["few"]["estimator"]["kind"] == "stratified"


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_numbers(run: Path, tmp_path: Path) -> None:
    values = tmp_path / "v.npz"
    arguments = ["evaluate", str(run), "--passes", "40", "--values", str(values)]
    code = (
        f"import vlb.measure.keeper as m; m.SAVE_SECONDS = 0\nfrom vlb.interfaces.cli import main; main({arguments!r})"
    )
    kills = 0
    for attempt in range(20):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        before = values.stat().st_mtime_ns if values.exists() else 0
        while process.poll() is None:
            if values.exists() and values.stat().st_mtime_ns > before and kills < 3:
                time.sleep(0.05 * (attempt + 1))
                process.kill()
                kills += process.wait() == -signal.SIGKILL
            elif time.monotonic() > deadline:
                process.kill()
            time.sleep(0.01)
        if process.returncode == 0:
            break
    assert kills == 3 and process.returncode == 0
    assert vlb("evaluate", run, "--passes", "40", "--values", tmp_path / "w.npz") == 0
    killed, whole = load(values), load(tmp_path / "w.npz")
    assert np.array_equal(killed.evaluation.values, whole.evaluation.values)
    assert np.array_equal(killed.evaluation.pass_means, whole.evaluation.pass_means)


def test_an_interrupt_says_how_to_go_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terms, calls = StratifiedBound.terms, 0

    def interrupted(self: StratifiedBound, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return terms(self, *arguments)

    values = tmp_path / "v.npz"
    monkeypatch.setattr(StratifiedBound, "terms", interrupted)
    assert vlb("evaluate", run, "--values", values) == 130
    assert "v.npz, and the same command goes on" in " ".join(capsys.readouterr().err.split())
    assert len(read(values).tally.batch_means) == 1


def test_other_examples_are_another_evaluation(run: Path, tmp_path: Path) -> None:
    found = []
    for count in ("7", "5", "7"):
        out = tmp_path / f"{len(found)}.json"
        assert vlb("evaluate", run, "--passes", "2", "--examples", count, "--json", out) == 0
        found.append(json.loads(out.read_text()))
    assert [result["examples"] for result in found] == [7, 5, 7]
    assert found[0] == found[2] and found[0]["values"] != found[1]["values"]


@pytest.fixture(scope="module")
def kept(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Values of another evaluation."""
    values = tmp_path_factory.mktemp("values") / "other.npz"
    assert vlb("evaluate", run, "--passes", "2", "--seed", "7", "--examples", "20", "--values", values) == 0
    return values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "seed"),
        (("--seed", str(2**63)), "seed"),
        (("--precision", "0"), "--precision: expected a finite number above 0"),
        (("--precision", "nan"), "--precision: expected a finite number above 0"),
        (("--budget", "9"), "belongs to --precision"),
        (("--passes", "8", "--budget", "3", "--precision", "1"), "at least the 8 passes"),
        (("--values", "/nowhere/v.npz"), "no folder"),
        (("--values", "OTHER"), "something else"),
        (("--values", "JUNK"), "no whole file"),
    ],
)
def test_bad_requests_are_explained(
    options: tuple[str, ...], message: str, run: Path, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"junk")
    before = kept.read_bytes()
    places = {"OTHER": str(kept), "JUNK": str(junk)}
    assert vlb("evaluate", run, *(places.get(option, option) for option in options)) == 2
    error = capsys.readouterr().err
    assert message in error.replace("\n", " ") and "Traceback" not in error
    assert kept.read_bytes() == before and junk.read_bytes() == b"junk"


def test_ones_own_examples_have_a_bound(run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "mine.npy", x)
    out = tmp_path / "e.json"
    assert vlb("evaluate", run, "--split", tmp_path / "mine.npy", "--passes", "2", "--json", out) == 0
    result = json.loads(out.read_text())
    assert (result["examples"], result["split_examples"], result["data"]["name"]) == (5, 5, "mine.npy")
    # Uniform values cost more than log2 K under any model that has learned something else.
    assert result["bits_per_dim"] > result["baselines"]["uniform"]
    assert load(Path(result["values"])).subject.data == "mine.npy"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((5, 1, 9, 9), np.uint8)}, "shape"),
        ({"x": np.zeros((5, 3, 8, 8), np.uint8)}, "shape"),
        ({"x": np.full((5, 1, 8, 8), 17, np.uint8)}, "outside 0..16"),
        ({"x": np.zeros((5, 1, 8, 8), np.uint8), "levels": np.array(256)}, "256 levels"),
        ({"x": np.full((5, 1, 8, 8), np.nan)}, "nan"),
        ({"x": np.full((5, 1, 8, 8), np.inf)}, "inf"),
        ({"x": np.zeros((0, 1, 8, 8), np.uint8)}, "no examples"),
    ],
)
def test_data_that_the_model_is_not_of_are_refused(
    arrays: dict[str, np.ndarray], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    out = tmp_path / "e.json"
    assert vlb("evaluate", run, "--split", tmp_path / "mine.npz", "--json", out) == 2
    error = capsys.readouterr().err.replace("\n", " ")
    assert message in error and "mine.npz" in error and "Traceback" not in error
    assert not out.exists()


def test_labels_that_the_model_does_not_know_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "labelled"
    assert vlb("train", "digits", "--out", run, "--condition", "labels", *TINY) == 0
    x = np.zeros((3, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, labels=np.array([0, 1, 10]))
    assert vlb("evaluate", run, "--split", tmp_path / "mine.npz") == 2
    assert "label 10" in capsys.readouterr().err
    np.savez(tmp_path / "bare.npz", x=x)
    assert vlb("evaluate", run, "--split", tmp_path / "bare.npz") == 2
    assert "have none" in capsys.readouterr().err


def test_a_run_that_cannot_be_written_to_is_evaluated_all_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "e.json"
    assert vlb("evaluate", run, *SOME, "--passes", "2", "--json", out) == 0
    assert json.loads(out.read_text())["values"] is None
    assert "no values are kept" in " ".join(capsys.readouterr().err.split())
