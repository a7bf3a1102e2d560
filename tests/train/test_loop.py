"""Training continues exactly, however it was interrupted."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.told import Told
from vlb.base.configuration import encode, override
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.data import Dataset, load
from vlb.models.kinds import AnyModel
from vlb.models.loss import Sums, Terms
from vlb.store import checkpoint
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.batches import step_generator
from vlb.training.loop import drop_labels, fit
from vlb.training.metrics import read_metrics
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

SETTINGS = (
    "steps=12", "batch=16", "backbone=mlp", "backbone.width=24", "backbone.blocks=1", "validate_every=4",
    "checkpoint_every=3",
    "log_every=2", "warmup=3",
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def tiny(*more: str) -> Experiment:
    experiment = recipe("digits")
    for assignment in (*SETTINGS, *more):
        experiment = override(experiment, assignment)
    return experiment


def same(a: Path, b: Path) -> bool:
    first, second = checkpoint.read(a), checkpoint.read(b)
    return (
        first.state == second.state
        and first.tensors.keys() == second.tensors.keys()
        and all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)
    )


def without_time(run: Run) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(run)]


@pytest.mark.parametrize(
    "more",
    [
        ("condition=labels",),
        ("model.schedule=learned", "loss.times=low-discrepancy"),
        ("model.schedule=learned-per-dimension",),
        ("optimiser=adamw",),
        ("loss.times=least-variance", "loss.weighting=uncertainty"),
    ],
    ids=lambda more: more[0],
)
def test_an_exception_and_a_resume_change_nothing(more: tuple[str, ...], tmp_path: Path, digits: Dataset) -> None:
    """Nor do they where schedules, times or weightings learn along."""
    experiment = tiny(*more)
    whole = Run.create(tmp_path / "whole", experiment, digits)
    assert fit(experiment, digits, whole)

    broken = Run.create(tmp_path / "broken", experiment, digits)

    def fail(step: int) -> None:
        if step == 8:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(experiment, digits, broken, progress=Told(fail))
    assert fit(experiment, digits, Run.open(broken.path), resume=True)
    assert same(whole.last, broken.last)
    assert same(whole.best, broken.best)
    assert [line for line in without_time(whole) if "validation" in line] == [
        line for line in without_time(broken) if "validation" in line
    ]


SMALL_UNET = ("backbone=unet", "backbone.widths=[8, 8]", "backbone.attention=[false, true]")
FAMILY = {
    "unet": ("digits", SMALL_UNET),
    "unet, labels": ("digits", (*SMALL_UNET, "condition=labels", "precision=bfloat16")),
    "adaptive": ("digits", ("backbone=mlp", "backbone.width=24", "weighting=sigmoid")),
    "warped, uncertainty": ("digits", ("backbone=mlp", "backbone.width=24", "times=warped", "weighting=uncertainty")),
    "adamw, even times": ("digits", (*SMALL_UNET, "optimiser=adamw", "times=low-discrepancy")),
    "energy": ("digits", (*SMALL_UNET, "head=energy")),
    "mlp": ("digits", ("backbone=mlp", "backbone.width=24")),
    "mixture": ("digits-mixture", ("em_steps=2", "components=3")),
    "dense vae": ("digits-vae", ("coder.width=24", "loss.warmup=8")),
    "convolutional vae": ("digits-vae", ("coder=convolutional", "coder.widths=[8, 8]", "prior=vamp")),
    "bottom-up": ("digits-hvae-bottom-up", ("width=24",)),
    "top-down": ("digits-hvae-top-down", ("width=24",)),
    "residual": ("digits-hvae-top-down", ("model=residual-hvae", "model.width=8")),
    "ladder": ("digits-ladder", ("widths=[32, 16]", "costs=[10, 1, 0.1, 0.1]")),
}


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_changes_tensors_in_place_where_the_average_looks(name: str, digits: Dataset) -> None:
    base, more = FAMILY[name]
    experiment = recipe(base)
    for assignment in ("batch=8", "ema=0", *more):
        experiment = override(experiment, assignment)
    model = experiment.build(digits)
    trainer = Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
    x, condition = digits.train.batch(np.arange(8), experiment.conditional, torch.device("cpu"))
    before = {name: value.clone() for name, value in trainer.module.state_dict().items()}
    for _ in range(2):
        trainer.update(x, condition)
    now = trainer.module.state_dict()
    assert any(not torch.equal(before[name], value) for name, value in now.items())
    for name, value in now.items():  # with ema=0 the average is the current value
        assert torch.equal(trainer.average.tensors[name], value), name


@pytest.mark.parametrize("name", FAMILY)
def test_every_kind_of_model_resumes_to_the_same_tensors(name: str, tmp_path: Path, digits: Dataset) -> None:
    """Killed after a checkpoint and resumed: weights, averages and moments are those of the uninterrupted run.

    Convolutions hold their weights in another memory order than files do, and a fused optimiser reads memory.
    """
    base, more = FAMILY[name]
    experiment = recipe(base)
    general = ("steps=7", "batch=8", "validate_every=4", "checkpoint_every=3", "log_every=1", "training.warmup=3")
    for assignment in (*general, *more):
        experiment = override(experiment, assignment)
    whole = Run.create(tmp_path / "whole", experiment, digits)
    assert fit(experiment, digits, whole)
    killed = Run.create(tmp_path / "killed", experiment, digits)

    def kill(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(experiment, digits, killed, progress=Told(kill))
    assert checkpoint.read(killed.last).state["step"] == 3
    assert fit(experiment, digits, killed, resume=True)
    assert same(whole.last, killed.last)
    assert same(whole.best, killed.best)
    assert without_time(whole) == without_time(killed)


def test_ctrl_c_saves_where_it_stopped(tmp_path: Path, digits: Dataset) -> None:
    experiment = tiny()
    run = Run.create(tmp_path / "run", experiment, digits)

    def interrupt(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert not fit(experiment, digits, run, progress=Told(interrupt))
    assert checkpoint.read(run.last).state["step"] == 5
    assert fit(experiment, digits, run, resume=True)
    assert checkpoint.read(run.last).state["step"] == 12


def start(path: Path, *more: str) -> subprocess.Popen[bytes]:
    """`vlb train` of a few hundred small steps, on one thread."""
    settings = [part for s in (*SETTINGS, "steps=300") for part in ("--set", s)] if "--resume" not in more else []
    command = [sys.executable, "-m", "vlb", "train", "digits", "--out", str(path), *settings, *more]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill_and_resume(path: Path, moments: list[float]) -> int:
    """Start, SIGKILL at each of `moments` seconds after training began, resume to the end; count the kills."""
    kills = 0
    for moment in moments:
        written = (path / "metrics.jsonl").stat().st_mtime_ns if (path / "metrics.jsonl").is_file() else 0
        process = start(path, *(["--resume"] if (path / "config.json").is_file() else []))
        while process.poll() is None and (
            not (path / "metrics.jsonl").is_file() or (path / "metrics.jsonl").stat().st_mtime_ns == written
        ):
            time.sleep(0.005)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert start(path, "--resume").wait(timeout=120) == 0
    return kills


@pytest.mark.parametrize(
    "moments", [[0.1], pytest.param([0.003 * i**2 for i in range(14)], marks=pytest.mark.slow)], ids=["once", "often"]
)
def test_killed_and_resumed_ends_with_the_same_bits(moments: list[float], tmp_path: Path) -> None:
    assert start(tmp_path / "whole").wait(timeout=120) == 0
    assert kill_and_resume(tmp_path / "killed", moments) >= 1
    assert same(tmp_path / "whole/checkpoints/last.safetensors", tmp_path / "killed/checkpoints/last.safetensors")


def test_training_improves_on_independent_pixels(tmp_path: Path, digits: Dataset) -> None:
    experiment = tiny("steps=150", "width=128", "validate_every=75", "learning_rate=0.003")
    run = Run.create(tmp_path / "run", experiment, digits)
    fit(experiment, digits, run)
    bounds = [line["validation"]["bits_per_dim"] for line in read_metrics(run) if "validation" in line]
    assert bounds[-1] < 2.40  # the untrained model is the independent-pixel model at 2.43


def test_a_non_finite_step_is_skipped_and_noted(digits: Dataset) -> None:
    experiment = tiny()
    model = experiment.build(digits)

    class Poisoned(Terms[nn.Module]):
        def forward(
            self, model: nn.Module, x: torch.Tensor, condition: Condition, generator: torch.Generator, step: int
        ) -> tuple[dict[str, torch.Tensor], Sums]:
            return {"diffusion": torch.tensor(torch.nan, requires_grad=True) * next(model.parameters()).sum()}, {}

    trainer = Trainer(model, Poisoned(), experiment.training, 0, torch.device("cpu"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    progress = trainer.update(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), UNCONDITIONAL)
    assert progress.skipped == 1 and "diffusion" in progress.note
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_another_seed_is_another_run(digits: Dataset) -> None:
    a, b = (dataclasses.replace(tiny(), seed=seed).build(digits).state_dict() for seed in (0, 1))
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_global_randomness_is_left_alone(tmp_path: Path, digits: Dataset) -> None:
    before = torch.get_rng_state()
    fit(tiny(), digits, Run.create(tmp_path / "run", tiny(), digits))
    assert torch.equal(before, torch.get_rng_state())


def test_labels_are_dropped_at_the_stated_rate() -> None:
    labels = Condition(label=torch.arange(100))
    dropped = sum(int((drop_labels(labels, 0.1, 0, step).label < 0).sum()) for step in range(100))  # type: ignore[operator]
    assert abs(dropped - 1000) < 5 * 30  # binomial: five standard deviations, false alarms below 1e-6


def test_steps_draw_different_noise() -> None:
    a, b = (torch.rand(4, generator=step_generator(0, step, torch.device("cpu"))) for step in (0, 1))
    assert not torch.equal(a, b)


def test_a_torn_metrics_line_is_dropped(tmp_path: Path, digits: Dataset) -> None:
    run = Run.create(tmp_path / "run", tiny(), digits)
    run.metrics.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "bi')
    assert read_metrics(run) == [{"step": 1}]


def test_weights_of_another_model_are_refused(tmp_path: Path, digits: Dataset) -> None:
    run = Run.create(tmp_path / "run", tiny(), digits)
    fit(tiny(), digits, run)
    other = Run(run.path, run.content | {"model": encode(tiny("backbone.width=32").model, AnyModel)})
    with pytest.raises(UserError, match="does not fit"):
        other.model()
