"""What the system refuses is said in a line, with what is kept and what to do, and never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands.test_cli import TINY, vlb
from tests.disk import no_file_beyond
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.data import load
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training import loop
from vlb.training.recipes import recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "labels"
    assert vlb("train", "digits", "--out", path, "--condition", "labels", *TINY) == 0
    return path


def test_training_that_cannot_be_noted_saves_and_stops(tmp_path: Path) -> None:
    """And, gone on with, ends as if nothing had been."""
    experiment = recipe("digits")
    for assignment in (
        "steps=6", "batch=8", "backbone=mlp", "backbone.width=8", "backbone.blocks=1", "validate_every=4", "warmup=1",
        "log_every=3", "training.validation_examples=20",
    ):  # fmt: skip
        experiment = override(experiment, assignment)
    digits = load("digits")
    whole, run = (Run.create(tmp_path / name, experiment, digits) for name in ("whole", "refused"))
    assert loop.fit(experiment, digits, whole)
    for step, obstacle in ((3, True), (4, True), (6, False)):
        if obstacle:
            kept = run.metrics.read_bytes() if run.metrics.exists() else b""
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Run, "metrics", property(lambda self: Full(self.path / "metrics.jsonl")))
                with pytest.raises(UserError, match=rf"metrics.*saved at step {step} of 6.*--resume"):
                    loop.fit(experiment, digits, run, resume=True)
            assert run.metrics.read_bytes() == kept if run.metrics.exists() else not kept
        else:
            assert loop.fit(experiment, digits, run, resume=True)
    for one, other in ((run.last, whole.last), (run.best, whole.best)):
        found, expected = checkpoint.read(one), checkpoint.read(other)
        assert found.state == expected.state
        assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in found.tensors.items())
    assert not (run.last.stat().st_mode ^ run.path.joinpath("config.json").stat().st_mode)


class Full(type(Path())):  # type: ignore[misc]
    """A file that cannot grow."""

    def open(self, mode: str = "r", *arguments: object, **named: object) -> object:
        if mode == "a":
            raise OSError(28, "No space left on device")
        return super().open(mode, *arguments, **named)


def test_an_evaluation_whose_values_are_not_kept_is_shown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("evaluate", run, "--passes", "2", "--examples", "20")
    with no_file_beyond(1000):
        assert vlb(*command) == 0
    shown = capsys.readouterr()
    assert "bits/dim" in shown.out and "values are not kept" in " ".join(shown.err.split())
    with no_file_beyond(1000):
        assert vlb(*command, "--values", tmp_path / "x.npz") == 2
    shown = capsys.readouterr()
    assert "bits/dim" in shown.out and "x.npz" in shown.err and not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_labels_beyond_the_classes_are_named(
    verb: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=load("digits").test.x[:3], y=np.array([0, 12, 3]), levels=17)
    how = ("score", run, path, "-o", tmp_path / "x.csv") if verb == "score" else ("evaluate", run, "--split", path)
    assert vlb(*how, "--passes", "2") == 2
    assert "x.npz has the label 12, and the model knows 0 to 9" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")])
def test_output_that_cannot_be_written(streams: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        given = {name: full if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
        process = subprocess.run([sys.executable, "-m", "vlb", "recipes"], **given, text=True, env=os.environ)
    assert process.returncode == 2
    if process.stderr is not None:
        assert process.stderr.startswith("vlb: ") and process.stderr.count("\n") == 1
        assert "No space left on device" in process.stderr
