"""What the precision of a network costs in bits/dim, and what never loses precision."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import seeded
from tests.told import Told
from tests.train.test_loop import same
from vlb.base.configuration import override
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.data import Dataset, load
from vlb.models.diffusion.times import LowDiscrepancyTime
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.metrics import read_metrics
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

LOW = ("bfloat16", "float16")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def small(*more: str) -> Experiment:
    experiment = recipe("digits")
    for assignment in ("backbone=mlp", "backbone.width=256", "warmup=20", "validate_every=0", *more):
        experiment = override(experiment, assignment)
    return experiment


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=LOW)
def test_low_precision_costs_less_than_two_thousandths_of_a_bit(
    dtype: torch.dtype, tmp_path: Path, digits: Dataset
) -> None:
    """Bounds of one model under autocast and in float32, on the same examples, times and noise."""
    run = Run.create(tmp_path / "run", small("steps=200"), digits)
    fit(run.experiment, digits, run)
    model, x = run.model(), torch.from_numpy(digits.test.x.copy())
    totals = []
    for enabled in (False, True):
        generator = seeded()
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=enabled):
            draws = [
                estimate(model, x, UNCONDITIONAL, LowDiscrepancyTime(), generator).total.double() for _ in range(4)
            ]
        totals.append(torch.stack(draws).mean(0) / (64 * math.log(2)))
    assert totals[0].mean() < 2.4  # it has learnt something to lose
    assert (totals[1] - totals[0]).mean().abs() < 0.002


class Watched(nn.Module):
    """A backbone that notes the precision of what it is given and of what it computes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: set[tuple[torch.dtype, torch.dtype, torch.dtype]] = set()

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        out = self.inner(z, gamma, condition)
        self.seen.add((z.dtype, gamma.dtype, out.dtype))
        return out


@pytest.mark.parametrize("precision", LOW)
def test_only_the_network_computes_in_low_precision(precision: str, digits: Dataset) -> None:
    """γ reaches the network in float64, z in float32; the loss is that of float32 up to the network's rounding."""
    losses = []
    for chosen in ("float32", precision):
        experiment = small("steps=1", f"precision={chosen}")
        model = experiment.build(digits)
        watched = model.denoiser.backbone = Watched(model.denoiser.backbone)
        trainer = Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
        x = torch.from_numpy(digits.train.x[:64].copy())
        with trainer.autocast():
            terms, _ = trainer.module(x, UNCONDITIONAL, seeded(), 0)
        losses.append(torch.stack(list(terms.values())).sum().detach())
        low = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[chosen]
        assert watched.seen == {(torch.float32, torch.float64, low)}
    assert all(loss.dtype in (torch.float32, torch.float64) for loss in losses)
    assert float(losses[1]) == pytest.approx(float(losses[0]), abs=1e-3)


@pytest.mark.parametrize("schedule", ["log-snr-linear", "learned"])
def test_training_in_float16_with_a_scaled_loss_learns(schedule: str, tmp_path: Path, digits: Dataset) -> None:
    """An overflow costs its update and halves the scale; the rest learn what float32 learns, nearly."""
    ends = []
    for precision in ("float32", "float16"):
        more = (f"schedule={schedule}", f"precision={precision}", "steps=60", "backbone.width=64", "log_every=20",
                "loss.times=low-discrepancy")  # fmt: skip
        run = Run.create(tmp_path / precision, small(*more, "learning_rate=0.003"), digits)
        assert fit(run.experiment, digits, run)
        ends.append(read_metrics(run)[-1])
    assert ends[1]["bits_per_dim"] == pytest.approx(ends[0]["bits_per_dim"], abs=0.03)
    assert ends[1]["skipped"] <= 5


def test_a_resumed_run_in_float16_ends_with_the_same_bits(tmp_path: Path, digits: Dataset) -> None:
    experiment = small("steps=8", "precision=float16", "checkpoint_every=2", "backbone.width=16")
    whole, broken = (Run.create(tmp_path / name, experiment, digits) for name in ("whole", "broken"))
    fit(experiment, digits, whole)

    def fail(step: int) -> None:
        if step == 5:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(experiment, digits, broken, progress=Told(fail))
    fit(experiment, digits, broken, resume=True)
    assert same(whole.last, broken.last)
