"""Several processes train one model as one process would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import vlb
from tests.commands.test_cli import vlb as command
from tests.together import together
from tests.train.test_loop import same
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.training.batches import network_generator, step_generator

CPU = torch.device("cpu")


@given(st.integers(1, 8), st.integers(1, 9))
def test_shares_are_a_batch_and_what_is_uneven_is_refused(size: int, each: int) -> None:
    x = torch.arange(size * each)
    parts = [Ranks(rank, size).share(x, Condition(label=x)) for rank in range(size)]
    assert sorted(torch.cat([part for part, _ in parts]).tolist()) == x.tolist()
    assert all(torch.equal(part, told.label) and len(part) == each for part, told in parts)  # type: ignore[arg-type]
    Ranks(0, size).refuse_uneven(size * each)
    if size > 1:
        with pytest.raises(UserError, match=f"among {size} processes: choose training.batch among the multiples"):
            Ranks(0, size).refuse_uneven(size * each + 1)


def test_processes_draw_differently_and_the_first_as_one_alone() -> None:
    for make in (step_generator, network_generator):
        drawn = [torch.rand(3, generator=make(1, 2, CPU, rank)) for rank in range(3)]
        assert torch.equal(drawn[0], torch.rand(3, generator=make(1, 2, CPU)))
        assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


class Three(nn.Module):
    """A layer, a parameter that no loss reaches, and one that the first process alone reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle, self.some = nn.Linear(3, 1), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))


def find_gradients(ranks: Ranks) -> dict[str, torch.Tensor]:
    """What a process finds; the second goes before the first has asked for it a last time."""
    rank = ranks.rank
    torch.manual_seed(rank)
    module = Three()
    ranks.agree(module.state_dict().values())
    x = torch.linspace(-1, 1, 24).view(8, 3)
    mine, _ = ranks.share(x, Condition())
    loss = module.layer(mine).square().mean() + (module.some.sum() if rank == 0 else 0)
    loss.backward()
    ranks.average_gradients(module.parameters())
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    found |= {
        "mean": ranks.mean({"a": loss.detach()})["a"],
        "any": torch.tensor([ranks.any(rank == 1), ranks.any(False)]),
    }
    found |= {"weight": module.layer.weight.detach(), "sum": ranks.sum({"b": torch.full((2,), float(rank + 1))})["b"]}
    if rank == 0:
        try:
            ranks.sum({"c": torch.ones(())})
        except Lost as error:
            found["lost"] = torch.tensor(1.0)
            assert "is gone" in str(error)
    return found


def test_two_processes_have_the_gradient_of_the_whole(tmp_path: Path) -> None:
    found = together(tmp_path, "tests.train.test_ranks", "find_gradients")
    lost = found[0].pop("lost", None)
    assert lost is not None and found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    torch.manual_seed(0)
    module = Three()
    assert torch.equal(module.layer.weight, found[0]["weight"])
    loss = module.layer(torch.linspace(-1, 1, 24).view(8, 3)).square().mean()
    (loss + 0.5 * module.some.sum()).backward()  # that of the first process has half the weight
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (name not in found[0])
        if parameter.grad is not None:
            torch.testing.assert_close(found[0][name], parameter.grad)
    assert found[0]["any"].tolist() == [True, False] and found[0]["sum"].tolist() == [3.0, 3.0]


def test_what_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = Ranks(0, 2)
    with pytest.raises(UserError, match="--out DIR"):
        vlb.train("digits", ranks=two)
    with pytest.raises(UserError, match="multiples of 2"):
        vlb.train("digits", vlb.TrainOptions(overrides=("batch=9",)), out=tmp_path / "run", ranks=two)
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command("recipes") == 2 and "without torchrun" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert command("train", "digits", "--out", tmp_path / "run") == 2
    assert "WORLD_SIZE" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert ALONE.any(True) and not ALONE.any(False)


SETTINGS = ("steps=40", "batch=16", "backbone.widths=[8,16]", "checkpoint_every=4", "validate_every=20", "warmup=4")


def started(out: Path, *more: str, processes: int = 2) -> subprocess.Popen[bytes]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    settings = [] if "--resume" in more else [part for one in SETTINGS for part in ("--set", one)]
    line = [sys.executable, *launch, "-m", "vlb", "train", "digits", "--out", str(out), *settings, *more]
    return subprocess.Popen(line, start_new_session=True, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_killed_and_resumed_by_as_many_ends_with_the_same_bits(tmp_path: Path, way: str) -> None:
    """And its bound is that of one process with the same batches, within noise of training: both learn as much."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert started(whole, "--set", f"parallel={way}").wait(timeout=600) == 0
    process = started(killed, "--set", f"parallel={way}")
    while not (killed / "checkpoints/last.safetensors").is_file():
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert started(killed, "--resume").wait(timeout=600) == 0
    assert same(whole / "checkpoints/last.safetensors", killed / "checkpoints/last.safetensors")
    one = tmp_path / "one"
    assert command("train", "digits", "--out", one, *(part for each in SETTINGS for part in ("--set", each))) == 0
    bounds = [vlb.evaluate(run, options=vlb.EvaluateOptions(passes=4)).bits_per_dim for run in (whole, one)]
    assert bounds[0] == pytest.approx(bounds[1], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_process_that_is_lost_ends_training_with_what_was_done(tmp_path: Path, way: str) -> None:
    """The second of two is killed: the first saves what it can, and --resume goes on."""
    out = tmp_path / "run"
    process = started(out, "--set", f"parallel={way}")
    while not (out / "checkpoints/last.safetensors").is_file():
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert started(out, "--resume").wait(timeout=600) == 0
