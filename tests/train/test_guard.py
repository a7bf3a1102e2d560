"""Updates that are not finite are skipped, counted and explained; gradients are clipped."""

import json

import pytest
import torch
from torch import nn

from vlb.training.guard import LEARNING, PATIENCE, SPIKES, Diverged, Guard


def backward(scale: float) -> tuple[nn.Linear, torch.Tensor]:
    model = nn.Linear(3, 1, bias=False)
    nn.init.ones_(model.weight)
    loss = model(torch.full((1, 3), scale)).sum()
    loss.backward()
    return model, loss


def test_clipping_keeps_the_direction_and_reports_the_norm() -> None:
    model, loss = backward(2.0)
    assert Guard(clip=1.0).admit(model, loss, {"a": loss}, 1) == pytest.approx(2 * 3**0.5)
    assert model.weight.grad is not None
    assert float(model.weight.grad.norm()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_update_is_refused_and_named(bad: float) -> None:
    guard = Guard(clip=1.0)
    model, loss = backward(bad)
    assert guard.admit(model, loss, {"fine": torch.zeros(()), "diffusion": loss}, 7) is None
    assert guard.skipped == 1
    assert "step 7" in guard.reason and "diffusion" in guard.reason and "fine" not in guard.reason


def test_a_spike_is_forgotten_and_a_stream_of_them_stops() -> None:
    guard = Guard(clip=1.0)
    for step in range(PATIENCE - 1):
        guard.admit(*backward(float("nan")), {}, step)
    guard.admit(*backward(1.0), {}, 50)
    assert guard.in_a_row == 0
    with pytest.raises(Diverged, match=f"{PATIENCE} updates were refused"):
        for step in range(PATIENCE):
            guard.admit(*backward(float("nan")), {}, step)


def usual(guard: Guard, updates: int = LEARNING) -> None:
    for step in range(updates):
        assert guard.admit(*backward(1.0 + 0.3 * (step % 2)), {}, step) is not None


def test_a_gradient_spike_is_skipped_counted_and_named() -> None:
    guard = Guard(clip=1.0, spike=10.0)
    usual(guard)
    assert guard.admit(*backward(5.0), {}, 30) is not None
    assert guard.admit(*backward(100.0), {}, 31) is None
    assert guard.skipped == 1 and "step 31" in guard.reason and "spike" in guard.reason
    assert guard.admit(*backward(1.0), {}, 32) is not None


def test_spikes_are_not_skipped_for_ever() -> None:
    """A gradient that grew and stays so is let through after a while, and is then the usual one."""
    guard = Guard(clip=1.0, spike=10.0)
    usual(guard)
    admitted = [guard.admit(*backward(1e4), {}, step) is not None for step in range(3 * SPIKES)]
    assert admitted == [False] * SPIKES + [True] * (2 * SPIKES)
    assert guard.skipped == SPIKES


def test_the_first_gradients_are_no_spikes() -> None:
    guard = Guard(clip=1.0, spike=10.0)
    assert all(guard.admit(*backward(10.0 ** (step % 4)), {}, step) is not None for step in range(LEARNING))


def test_a_restored_guard_decides_alike() -> None:
    guard, other = Guard(clip=1.0, spike=10.0), Guard(clip=1.0, spike=10.0)
    usual(guard)
    guard.admit(*backward(100.0), {}, 30)
    other.restore(json.loads(json.dumps(guard.state)), "x")
    assert other == guard
