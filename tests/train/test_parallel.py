"""A model of which each process holds a part is trained as one of which each holds all."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.together import together
from tests.train.test_loop import same
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.base.progress import SILENT
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.core.shards import local, shared, whole
from vlb.data import load
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.metrics import read_metrics
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

MODULE = "tests.train.test_parallel"
COMMON = (
    "steps=6", "batch=12", "training.warmup=2", "validate_every=3", "validation_examples=20", "checkpoint_every=3",
    "log_every=1",
)  # fmt: skip
# Sizes that two processes do not divide; parameters in float64, which stay whole; parts that are called twice.
KINDS = {
    "muon": ("digits", "backbone.widths=[8]", "backbone.attention=[false]"),
    "schedule": (
        "digits", "backbone=mlp", "backbone.width=9", "backbone.blocks=1", "optimiser=adamw", "model.schedule=learned",
        "loss.times=low-discrepancy", "clip=0.1",
    ),
    "parts": ("digits", "backbone.widths=[8,8]", "optimiser=adamw", "activation_checkpointing=true", "accumulate=2"),
    "vae": ("digits-vae",),
    "cascade": ("digits-cascade",),
}  # fmt: skip


class Stops(Exception):
    """Ends a training."""


class Until:
    """Progress that ends a training after a step."""

    begin = say = staticmethod(lambda *_: None)

    def __init__(self, last: int) -> None:
        self.last = last

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        if done == self.last:
            raise Stops


def begun(out: Path, kind: str, parallel: str, ranks: Ranks) -> Run:
    """A new run."""
    name, *settings = KINDS[kind]
    experiment = recipe(name)
    for assignment in (*COMMON, *settings, f"parallel={parallel}"):
        experiment = override(experiment, assignment)
    ranks.once(lambda: Run.create(out, experiment, load("digits")) and None)
    return Run.open(out)


def trained(run: Run, ranks: Ranks, last: int = 0, resume: bool = False) -> None:
    """Train a run, until the step `last` or its end."""
    try:
        fit(run.experiment, load("digits"), run, resume=resume, ranks=ranks, progress=Until(last) if last else SILENT)
    except Stops:
        ranks.wait()


def trainer(run: Run, ranks: Ranks) -> Trainer:
    model = run.experiment.build(load("digits"))
    made = run.experiment
    return Trainer(model, made.build_loss(model), made.training, made.seed, torch.device("cpu"), ranks=ranks)


def restored(run: Run, ranks: Ranks) -> bool:
    """Whether what processes hold of a checkpoint is, put together, that checkpoint."""
    going_on = trainer(run, ranks)
    going_on.restore(run)
    if ranks.size > 1:
        held = [p for p in going_on.module.parameters() if shared(p)]
        assert held and sum(local(p).numel() for p in held) < sum(p.numel() for p in held)
    made = going_on.checkpoint()
    if not ranks.writes:
        return not made.tensors
    stored = checkpoint.read(run.last)
    return made.state == stored.state and all(torch.equal(made.tensors[k], v) for k, v in stored.tensors.items())


def find_pairs(ranks: Ranks, folder: str, *kinds: str) -> bool:
    for kind in kinds:
        for parallel in ("ddp", "fsdp"):
            trained(begun(Path(folder) / f"{kind}-{parallel}", kind, parallel, ranks), ranks)
    return True


def find_resumed(ranks: Ranks, folder: str) -> dict[str, Any]:
    """Stops after a checkpoint, and goes on."""
    run = begun(Path(folder) / "stopped", "muon", "fsdp", ranks)
    trained(run, ranks, last=4)
    found = {"restored": restored(run, ranks)}
    ranks.once(lambda: shutil.copytree(run.path, Path(folder) / "copy") and None)
    trained(run, ranks, resume=True)
    return found


def find_lost(ranks: Ranks, folder: str) -> str:
    """The second of two goes after a step: what the first says."""
    run = begun(Path(folder) / "lost", "muon", "fsdp", ranks)
    going_on = trainer(run, ranks)
    data = load("digits").train
    x, condition = data.batch(np.arange(6), False, "cpu")
    going_on.update(x, condition)
    if ranks.rank == 1:
        return ""
    try:
        going_on.update(x, condition)
        return "nothing"
    except Lost as error:
        return str(error)


def find_restored(ranks: Ranks, folder: str) -> bool:
    return restored(Run.open(Path(folder)), ranks)


def check_alike(folder: Path, kind: str) -> None:
    """Losses, norms of gradients and bounds of shards are those of replicas, up to the order of sums."""
    replicas, shards = (Run.open(folder / f"{kind}-{way}") for way in ("ddp", "fsdp"))
    lines = [read_metrics(run) for run in (replicas, shards)]
    assert len(lines[0]) == len(lines[1]) == 8
    for one, other in zip(*lines, strict=True):
        assert one.keys() == other.keys()
        for key in set(one) - {"seconds", "validation"}:
            assert other[key] == pytest.approx(one[key], rel=1e-3, abs=1e-6), (kind, one["step"], key)
        for key, value in one.get("validation", {}).items():
            assert other["validation"][key] == pytest.approx(value, rel=1e-3, abs=1e-6), (kind, one["step"], key)
    stored = [checkpoint.read(run.last).tensors for run in (replicas, shards)]
    kinds = [{name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} for tensors in stored]
    assert kinds[0] == kinds[1]


def find_all(ranks: Ranks, folder: str) -> dict[str, Any]:
    """All of it, in the same processes, whose start takes the longest."""
    find_pairs(ranks, folder, "muon", "schedule")
    return find_resumed(ranks, folder) | {"lost": find_lost(ranks, folder)}


def test_shards_train_as_replicas_do_and_go_on_to_the_same_bits(tmp_path: Path) -> None:
    """And by one process, too; where one is lost, it is noticed within a step."""
    first, second = together(tmp_path, MODULE, "find_all", tmp_path)
    assert first["restored"] and second["restored"] and "is gone" in first["lost"]
    for kind in ("muon", "schedule"):
        check_alike(tmp_path, kind)
    assert same(*(tmp_path / name / "checkpoints/last.safetensors" for name in ("muon-fsdp", "stopped")))
    copy = Run.open(tmp_path / "copy")
    assert restored(copy, ALONE)
    trained(copy, ALONE, resume=True)
    assert checkpoint.read(copy.last).state["step"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_shards_of_every_kind_train_as_replicas_do(tmp_path: Path, size: int) -> None:
    """And what two shared out, three restore."""
    assert together(tmp_path, MODULE, "find_pairs", tmp_path, *KINDS, size=size) == [True] * size
    for kind in KINDS:
        check_alike(tmp_path, kind)
    other = 5 - size
    assert together(tmp_path, MODULE, "find_restored", tmp_path / "muon-fsdp", size=other) == [True] * other


def test_what_does_not_go_with_shards_is_refused(tmp_path: Path) -> None:
    assert whole(torch.ones(2)).sum() == 2
    for setting in ("compile=true", "precision=float16"):
        experiment = recipe("digits")
        for assignment in ("parallel=fsdp", setting):
            experiment = override(experiment, assignment)
        model = experiment.build(load("digits"))
        with pytest.raises(UserError, match=f"leave out training.{setting.partition('=')[0]}"):
            Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
