"""What the precision of a network costs in bits/dim, on a trained model."""

import math

import pytest
import torch

from tests.oracles import seeded
from vlb.bound import estimate
from vlb.config import override
from vlb.data import load
from vlb.recipes import recipe
from vlb.runs import Run
from vlb.times import LowDiscrepancyTime
from vlb.train.loop import train


@pytest.mark.slow
def test_bfloat16_costs_less_than_two_thousandths_of_a_bit(tmp_path) -> None:
    """Bounds of one model in bfloat16 autocast and in float32, on the same examples, times and noise."""
    experiment, data = recipe("digits"), load("digits")
    for assignment in ("steps=200", "backbone=MLPConfig", "backbone.width=256", "warmup=20", "validate_every=0"):
        experiment = override(experiment, assignment)
    run = Run.create(tmp_path / "run", experiment, data)
    train(experiment, data, run)
    model, x = run.model(data), torch.from_numpy(data.test.x.copy())
    totals = []
    for enabled in (False, True):
        generator = seeded()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            draws = [estimate(model, x, None, LowDiscrepancyTime(), generator).total.double() for _ in range(4)]
        totals.append(torch.stack(draws).mean(0) / (64 * math.log(2)))
    assert totals[0].mean() < 2.4  # it has learnt something to lose
    assert (totals[1] - totals[0]).mean().abs() < 0.002
