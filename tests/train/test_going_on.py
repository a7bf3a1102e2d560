"""A checkpoint may say anything, with a digest that is right: training goes on from it, or a sentence says why not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.test_loop import tiny
from vlb.base.errors import UserError
from vlb.data import Dataset, load
from vlb.pages.history import history
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.metrics import read_metrics

ABSENT: Any = object()
SENSELESS: list[Any] = [-1, 0.5, 10**30, 1e300, float("nan"), None, True, "", [], {}, {"x": 1}]
OTHERS = {
    "missing": lambda tensor: None,
    "flat": lambda tensor: tensor.reshape(-1)[:1],
    "whole": lambda tensor: tensor.long(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "NaN": lambda tensor: tensor * torch.nan,
    "double": lambda tensor: tensor.double(),
}


@pytest.fixture(scope="module", params=["float32", "float16"])
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Dataset]:
    data = load("digits")
    experiment = tiny("steps=2", "width=4", "validate_every=0", "checkpoint_every=1", f"precision={request.param}")
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", experiment, data)
    assert fit(experiment, data, run)
    return run, data


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Of everything in a checkpoint's state."""
    for name, part in value.items():
        yield (*path, name)
        if isinstance(part, dict):
            yield from places(part, (*path, name))


def went_on(begun: tuple[Run, Dataset], changed: Checkpoint, folder: Path) -> bool:
    """Whether it did; False where it was refused, in words."""
    original, data = begun
    shutil.copytree(original.path, folder / "run", dirs_exist_ok=True)
    run = Run.open(folder / "run")
    checkpoint.save(run.last, changed)
    try:
        return fit(run.experiment, data, run, resume=True)
    except UserError as error:
        assert "last.safetensors" in str(error) or "failed" in str(error)
        return False


LINES: list[Any] = [
    [], 1, "x", {}, {"step": None}, {"step": True}, {"step": -1}, {"step": 0.5}, {"step": 10**400}, {"step": 1e300},
    {"step": 10**10}, {"step": 1, "bits_per_dim": 10**400}, {"step": 1, "bits_per_dim": [1]}, {"step": 2, "lr": {}},
    {"step": 1, "validation": []}, {"step": 1, "validation": {}}, {"step": 1, "validation": {"bits_per_dim": None}},
    {"step": 1, "validation": {"bits_per_dim": 10**400}}, {"step": 1, "validation": "x"}, {"step": 1, "note": None},
]  # fmt: skip


def test_metrics_may_say_anything(begun: tuple[Run, Dataset], tmp_path: Path) -> None:
    original, data = begun
    shutil.copytree(original.path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    whole = [line for line in run.metrics.read_text().splitlines() if line]
    assert whole and [json.dumps(line) for line in read_metrics(run)] == whole
    run.metrics.write_text("\n".join([*map(json.dumps, LINES), *whole, "[" * 10**5, "1" * 5000, "\x00"]))
    assert fit(run.experiment, data, run, resume=True)
    assert run.metrics.read_text().splitlines() == whole
    assert history(run).steps == 2
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(UserError, match="cannot read"):
        read_metrics(run)


def with_state(stored: Checkpoint, path: tuple[str, ...], value: Any) -> Checkpoint:
    """With `value` at a place of the state, or without the place where it is `ABSENT`."""
    state = json.loads(json.dumps(stored.state))
    *inner, name = path
    holder = state
    for key in inner:
        holder = holder[key]
    del holder[name]
    if value is not ABSENT:
        holder[name] = value
    return Checkpoint(stored.tensors, state)


@pytest.mark.parametrize("turn", range(2))
def test_any_state(turn: int, begun: tuple[Run, Dataset], tmp_path: Path) -> None:
    """Every place is tried with values that it never takes, and with some of the others."""
    stored = checkpoint.read(begun[0].last)
    unread = begun[0].experiment.training.precision == "float32"  # without a scaled loss, how it was scaled
    for number, path in enumerate(places(stored.state)):
        scaler = path[0] == "scaler"
        for value in ((ABSENT, "x")[turn],):
            refused = not went_on(begun, with_state(stored, path, value), tmp_path)
            assert refused or (scaler and unread and value is not ABSENT) or (path[-1] == "reason" and value == "x"), (
                path
            )
        for value in SENSELESS[(number + turn) % 4 :: 4]:
            went_on(begun, with_state(stored, path, value), tmp_path)


@pytest.mark.parametrize("other", OTHERS)
def test_any_tensors(other: str, begun: tuple[Run, Dataset], tmp_path: Path) -> None:
    stored = checkpoint.read(begun[0].last)
    names = [n for n in stored.tensors if n.endswith(("bias", "exp_avg", "exp_avg_sq", "step"))]
    assert {name.split(".")[0] for name in names} == {"weights", "average", "optimiser"}
    for name in names[:: max(1, len(names) // 12)]:
        tensors = dict(stored.tensors)
        changed = OTHERS[other](tensors.pop(name))
        if changed is not None:
            tensors[name] = changed
        fits = other == "double" or (other == "flat" and changed.shape == stored.tensors[name].shape)
        assert went_on(begun, Checkpoint(tensors, stored.state), tmp_path) == fits, name
