"""What is counted and keyed beside the codes: rates of whole files, keys of whitening, spacing of latents."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.coding.bitsback import _key
from vlb.coding.diffusion import discretised, evenly, grids
from vlb.coding.sequence import Account
from vlb.coding.summary import Summary
from vlb.models.diffusion.model import DiffusionModel

counts = st.integers(0, 1 << 40)


@settings(derandomize=True, deadline=None)
@given(counts, counts, counts, st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.floats(0, 1e9))))
def test_rates_times_what_they_are_of_are_bits(
    values: int, written: int, model: int, parts: list[tuple[int, int, float]]
) -> None:
    """Of a whole file 8 bits a byte, without a carried model, and with it; of bits back, those of its own examples."""
    accounts = [Account(direct + more, direct, 0.0, net) for direct, more, net in parts]
    summary = Summary(values=values, bytes_out=written, model_bytes=model, accounts=accounts)
    if not values:
        assert math.isnan(summary.gross) and math.isnan(summary.gross_with_model)
    else:
        assert summary.gross_with_model * values == pytest.approx(8 * written)
        assert (summary.gross_with_model - summary.gross) * values == pytest.approx(8 * model, abs=1e-3 * values)
    own = sum(more for _, more, _ in parts)
    if not own:
        assert math.isnan(summary.net(7))
    else:
        assert summary.net(7) * 7 * own == pytest.approx(sum(net for *_, net in parts))


rungs = st.tuples(st.integers(0, (1 << 16) - 1), st.integers(0, 1 << 40))


@given(rungs, rungs)
def test_no_two_rungs_of_a_try_are_whitened_alike(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (_key(*one) == _key(*other)) == (one == other)


@pytest.mark.parametrize("unit", [0.5, 0.25])
def test_latents_lie_a_share_of_the_narrowest_law_apart(model: DiffusionModel, unit: float) -> None:
    """δ, to eight bits, against the closed forms: σ_t|s² = σ_t² (1 − SNR_t/SNR_s), σ_Q² = σ_s² (1 − SNR_t/SNR_s), and
    σ_t² = 1/(1 + SNR_t), for variance is preserved."""
    hierarchy = discretised(model, evenly(1, 5))
    gamma = [float(hierarchy.model.process.schedule.gamma(hierarchy.time(i))) for i in range(hierarchy.depth)]
    variance = [1 / (1 + math.exp(-one)) for one in gamma]
    for i, grid in enumerate(grids(hierarchy, unit)):
        lost_below = -math.expm1(gamma[i - 1] - gamma[i]) if i else 1.0
        lost_above = -math.expm1(gamma[i] - gamma[i + 1]) if i + 1 < hierarchy.depth else 1.0
        deviation = math.sqrt(variance[i] * min(lost_below, lost_above))
        assert grid.spacing == pytest.approx(unit * deviation, rel=2**-8)
        mantissa, _ = math.frexp(grid.spacing)
        assert (mantissa * 256).is_integer()
