"""Step grids: what they are uniform in, their ends, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import SCHEDULES
from vlb.base.errors import UserError
from vlb.models.diffusion.grids import EDMGrid, Quantiles, UniformLogSNR, UniformT, check_grid
from vlb.models.diffusion.schedules import LogSNRLinear

schedules = pytest.mark.parametrize("schedule", [kind(-9.0, 4.0) for kind in SCHEDULES.values()], ids=SCHEDULES)


def assert_whole(grid: torch.Tensor, steps: int) -> None:
    assert grid.dtype == torch.float64 and len(grid) == steps + 1
    assert grid[0] == 0 and grid[-1] == 1
    check_grid(grid)


@schedules
@settings(derandomize=True, deadline=None, max_examples=20)
@given(steps=st.integers(1, 500))
def test_each_grid_is_uniform_in_its_coordinate(schedule, steps: int) -> None:
    coordinates = {
        UniformT(): lambda t: t,
        UniformLogSNR(): lambda t: -schedule.gamma(t).squeeze(-1),
        EDMGrid(): lambda t: (0.5 * schedule.gamma(t).squeeze(-1)).exp() ** (1 / 7),
    }
    for make, coordinate in coordinates.items():
        grid = make(schedule, steps)
        assert_whole(grid, steps)
        values = coordinate(grid)
        expected = values[0] + (values[-1] - values[0]) * torch.arange(steps + 1) / steps
        torch.testing.assert_close(values, expected, rtol=1e-8, atol=1e-8)


@schedules
def test_exponents_of_edm_pass_into_uniform_log_snr(schedule) -> None:
    """σ̃^{1/ρ} → 1 + log σ̃ / ρ as ρ → ∞."""
    torch.testing.assert_close(EDMGrid(1e8)(schedule, 20), UniformLogSNR()(schedule, 20), rtol=1e-5, atol=1e-6)


@schedules
def test_quantiles_of_known_densities(schedule) -> None:
    """Of the schedule's own density: uniform in t. Of a constant: uniform in λ."""
    own = Quantiles(schedule.density)(schedule, 40)
    torch.testing.assert_close(own, UniformT()(schedule, 40), rtol=0, atol=1e-5)
    flat = Quantiles(torch.ones_like)(schedule, 40)
    torch.testing.assert_close(flat, UniformLogSNR()(schedule, 40), rtol=0, atol=1e-9)


def test_quantiles_hold_equal_mass() -> None:
    """Against the normal distribution function, with a stretch where the density is nil."""
    schedule, centre, width = LogSNRLinear(-12.0, 8.0), 2.0, 0.5
    grid = Quantiles(lambda log_snr: torch.exp(-0.5 * ((log_snr - centre) / width) ** 2))(schedule, 10)
    inner = -schedule.gamma(grid[1:-1]).squeeze(-1)
    mass = 0.5 * torch.erfc(-(inner - centre) / (width * math.sqrt(2)))
    torch.testing.assert_close(mass, torch.arange(9, 0, -1) / 10, rtol=0, atol=1e-5, check_dtype=False)
    assert_whole(grid, 10)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([0.0, 0.6, 0.4, 1.0], r"t\[1\] = 0.6 is followed by 0.4"),
        ([1.0, 0.5, 0.0], "must increase"),
        ([0.0, 0.5, 0.5, 1.0], "repeated"),
        ([0.0, float("nan"), 1.0], "must increase"),
        ([0.5], "at least two"),
        ([-0.1, 1.0], r"\[0, 1\]"),
        ([0.0, 1.5], r"\[0, 1\]"),
    ],
)
def test_grids_out_of_order_are_refused(grid: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_grid(torch.tensor(grid))


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda log_snr: -torch.ones_like(log_snr), "≥ 0"),
        (lambda log_snr: log_snr / 0, "finite"),
        (lambda log_snr: torch.ones(3), "for each λ"),
        (torch.zeros_like, "zero on all"),
    ],
)
def test_densities_that_are_none_are_refused(density, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Quantiles(density)(LogSNRLinear(-5, 5), 4)


def test_impossible_grids_are_refused() -> None:
    schedule = LogSNRLinear(-5, 5)
    for make in (UniformT(), UniformLogSNR(), EDMGrid()):
        with pytest.raises(UserError, match="at least one step"):
            make(schedule, 0)
    with pytest.raises(UserError, match="rho: expected"):
        EDMGrid(0)
