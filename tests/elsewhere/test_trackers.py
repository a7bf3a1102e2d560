"""Curves of a training elsewhere are what `metrics.jsonl` holds, once each, also after a kill and a resumption."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import vlb as command
from tests.train.test_loop import tiny
from vlb.base.errors import UserError
from vlb.data import load
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.metrics import read_metrics
from vlb.training.trackers import TensorBoard, series, tracker


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.over = 0

    def require(self) -> None: ...

    @contextmanager
    def follow(self, run: Run) -> Iterator[Any]:
        self.told = read_metrics(run)
        try:
            yield self.told.append
        finally:
            self.over += 1


def killed(folder: Path, trackers: list[Any]) -> Run:
    """A run that a process left two steps beyond its last checkpoint, at step 9 of 12, with the lines until then."""
    experiment, data = tiny(), load("digits")
    run = Run.create(folder, experiment, data)
    assert fit(experiment, data, run, trackers=trackers)
    whole = run.metrics.read_text()
    half = Run.create(folder.parent / "half", tiny("steps=9"), data)
    assert fit(half.experiment, data, half, trackers=trackers)
    half.content["experiment"]["training"]["steps"] = 12
    (half.path / "config.json").write_text(json.dumps(half.content))
    half.metrics.write_text(whole)  # as though lines of steps 10 to 12 had been written before the kill
    return Run.open(half.path)


def test_trackers_are_told_every_line_once(tmp_path: Path) -> None:
    kept, other = Kept(), Kept()
    run = killed(tmp_path / "run", [kept, other])
    assert fit(run.experiment, load("digits"), run, resume=True, trackers=[kept, other])
    assert kept.told == other.told == read_metrics(run) and kept.over == 3
    steps = [line["step"] for line in kept.told if "validation" not in line]
    assert steps == sorted(set(steps)) and steps[-1] == 12


def test_a_fit_without_steps_is_told_too(tmp_path: Path) -> None:
    experiment, data, kept = tiny("steps=0"), load("digits"), Kept()
    run = Run.create(tmp_path / "run", experiment, data)
    assert fit(experiment, data, run, trackers=[kept])
    assert kept.told == read_metrics(run) and len(kept.told) == 1


def test_names_say_units() -> None:
    line = {"step": 3, "bits_per_dim": 2.0, "skipped": 1, "seconds": 0.5, "note": "a spike"}
    assert series(line) == {"training/bits_per_dim": 2.0, "training/skipped_updates": 1.0, "training/seconds": 0.5}
    bound = {"step": 3, "validation": {"bits_per_dim": 2.0, "prior": 0.1}}
    assert series(bound) == {"validation/bits_per_dim": 2.0, "validation/prior_bits_per_dim": 0.1}
    assert series({"step": 3, "validation": {"error_rate": 0.2}}) == {"validation/error_rate": 0.2}


@pytest.mark.parametrize(("tag", "package"), [("tensorboard", "tensorboard"), ("trackio", "trackio")])
def test_without_the_package_no_run_is_left(
    tag: str, package: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert command("train", "digits", "--out", tmp_path / "run", "--track", tag) == 2
    assert f"pip install 'vlb[{package}]'" in capsys.readouterr().err and not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="--track: 'tensorbord' is not offered; did you mean 'tensorboard'"):
        tracker("tensorbord")


def expected(run: Run) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(run):
        for name, value in series(line).items():
            found.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return found


@pytest.mark.slow
def test_event_files_hold_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = killed(tmp_path / "run", [TensorBoard()])
    assert fit(run.experiment, load("digits"), run, resume=True, trackers=[TensorBoard()])
    events = EventAccumulator(str(run.path / "tensorboard"), {"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags} == expected(run)


READ = """
import sys
from pathlib import Path
from tests.elsewhere.test_trackers import killed, fit, load
from vlb.training.trackers import Trackio
run = killed(Path(sys.argv[1]) / "run", [Trackio()])
assert fit(run.experiment, load("digits"), run, resume=True, trackers=[Trackio()])
"""


@pytest.mark.slow
def test_trackio_keeps_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    subprocess.run([sys.executable, "-c", READ, tmp_path], check=True, env=environment, timeout=250)
    run = Run.open(tmp_path / "half")
    code = (
        "import json, sys; from trackio.sqlite_storage import SQLiteStorage; import trackio; "
        "runs = [r for r in trackio.Api().runs('vlb') if r.name == sys.argv[1]]; assert len(runs) == 1; "
        "print('FOUND' + json.dumps(SQLiteStorage.get_logs('vlb', sys.argv[1], run_id=runs[0].id)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(run.path.resolve())],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    ).stdout
    logs = json.loads(said.partition("FOUND")[2])
    found: dict[str, list[tuple[int, float]]] = {}
    for log in logs:
        for name, value in log.items():
            if name.startswith(("training/", "validation/")):
                found.setdefault(name, []).append((log["step"], value))
    assert found == expected(run)
