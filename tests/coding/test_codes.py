"""Codes of distributions: exact inverses at the rate of the densities they stand for, whatever they must code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.coding.cells import Code, Uncodable
from vlb.coding.codes import FreeMixtureCode, MixtureCode, _split, data_code, drawn, scored
from vlb.coding.stack import BitStack
from vlb.core.distributions import Categorical, Normal, NormalMixture
from vlb.core.emissions import Bernoulli, Centres, DiscretisedLogistic, DiscretisedMixture
from vlb.core.schema import levels_schema


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def level_mixture(seed: int, n: int, levels: int, shift: float, log_variance: float, sharpness: float) -> NormalMixture:
    """What `ExactMixture` makes of a posterior head: components of one width at equal distances."""
    g = generator(seed)
    logits = sharpness * torch.randn(n, 3, levels, generator=g, dtype=torch.float64)
    location = torch.randn(n, 3, generator=g, dtype=torch.float64)
    values = (2 * torch.arange(levels, dtype=torch.float64) + 1) / levels - 1
    return NormalMixture(logits, location, shift * values.view(1, 1, -1), torch.full((1, 1, 1), log_variance).double())


def free_mixture(seed: int, n: int) -> NormalMixture:
    g = generator(seed)
    shape = (n, 3, 4)
    return NormalMixture(
        torch.randn(shape, generator=g, dtype=torch.float64),
        torch.randn(n, 3, generator=g, dtype=torch.float64),
        0.3 * torch.randn(shape, generator=g, dtype=torch.float64),
        torch.randn(shape, generator=g, dtype=torch.float64) - 6,
    )


def bits_of(code: Code, values: np.ndarray) -> float:
    """What pushing costs, values coming back and the stack as before."""
    stack = BitStack(np.random.default_rng(0).integers(1, 2**32, 8, dtype=np.uint32).tobytes())
    before, start = stack.content(), stack.bits
    code.push(stack, values)
    bits = stack.bits - start
    assert np.array_equal(code.pop(stack), values)
    assert stack.content() == before
    return bits


@pytest.mark.parametrize(
    ("p", "spacing"),
    [
        (Normal(torch.linspace(-9, 9, 3000).double().view(1000, 3), torch.tensor(-4.0).double()), 0.1),
        (Normal(torch.linspace(-9, 9, 3000).double().view(1000, 3), torch.linspace(-9, 0, 3).double()), 0.011),
        (level_mixture(0, 1000, 17, 0.9, -5.0, 3.0), 0.06),
        (level_mixture(1, 1000, 256, 0.9, -7.0, 9.0), 0.03),
        (level_mixture(2, 1000, 2, -0.4, -3.0, 1.0), 0.2),
        (free_mixture(3, 1000), 0.02),
    ],
)
def test_latents_cost_what_their_density_says(p: Normal | NormalMixture, spacing: float) -> None:
    """Mean over samples of cost + log₂(p δ). Rounding z to the grid moves it by up to (δ/σ)²/24 nats and snapping
    by 1e-3 bits; the sample's own spread is in both terms and leaves less than that."""
    z = p.sample(generator(7)).reshape(1000, 3)
    values = np.rint(z.numpy().reshape(-1) / spacing).astype(np.int64)
    at_grid = torch.from_numpy(values * spacing).view(1000, 3)
    ideal = -(p.log_prob(at_grid).sum().item() / math.log(2) + 3000 * math.log2(spacing))
    cost = bits_of(scored(p, spacing), values)
    assert abs(cost - ideal) / 3000 < 0.05
    # Rounding is fair on average over a draw from the code itself, which closes the balance more tightly.
    assert (cost - ideal) / 3000 > -0.05


def test_shared_and_free_components_agree() -> None:
    p = level_mixture(4, 300, 17, 0.7, -5.0, 4.0)
    spread = NormalMixture(p.log_weights, p.location, p.offsets, p.log_variance.expand(300, 3, 17))
    shared, free = scored(p, 0.07), scored(spread, 0.07)
    assert isinstance(shared, MixtureCode) and isinstance(free, FreeMixtureCode)
    values = np.rint(p.sample(generator(0)).numpy().reshape(-1) / 0.07).astype(np.int64)
    assert bits_of(shared, values) == pytest.approx(bits_of(free, values), rel=3e-3)


@given(
    st.integers(0, 2**32),
    st.floats(-8, 3),
    st.floats(0.003, 3),
    st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=5),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_what_is_far_away_is_coded_as_well(seed: int, log_variance: float, spacing: float, far: list[int]) -> None:
    codes = (
        scored(
            Normal(torch.randn(4, 3, generator=generator(seed)).double(), torch.tensor(log_variance).double()), spacing
        ),
        scored(level_mixture(seed, 4, 17, 0.9, log_variance, 3.0), spacing),
        scored(free_mixture(seed, 4), spacing),
    )
    values = np.zeros(12, np.int64)
    values[: len(far)] = far
    for code in codes:
        bits_of(code, values)


def test_a_window_holds_its_ends() -> None:
    code = drawn(Normal(torch.zeros(1, 3).double(), torch.zeros(1, 3).double()), 0.5)
    bits_of(code, code.centre + np.array([-code.reach, 0, code.reach]))
    for beyond in (-code.reach - 1, code.reach + 1):
        with pytest.raises(Uncodable, match="window"):
            code.push(BitStack(), code.centre + np.array([0, 0, beyond]))


def test_what_is_too_far_is_refused() -> None:
    p = Normal(torch.zeros(1, 1).double(), torch.zeros(1, 1).double())
    for value in (2**40, -(2**40)):
        with pytest.raises(Uncodable, match="too far"):
            scored(p, 0.5).push(BitStack(), np.array([value]))
    with pytest.raises(Uncodable, match="window"):
        drawn(p, 0.5).push(BitStack(), np.array([100]))
    with pytest.raises(Uncodable, match="not finite"):
        drawn(Normal(torch.tensor([[math.nan]]), torch.zeros(1, 1)), 0.5)
    with pytest.raises(Uncodable, match="outside the table"):
        data_code(Categorical(torch.zeros(1, 1, 3))).push(BitStack(), np.array([3]))


def test_pops_are_draws_of_q() -> None:
    """z = δk from fair bits has q's mean and variance, the grid's δ²/12 added. False alarm: 6σ each, 4e-9."""
    n, spacing, mean, std = 40_000, 0.7, 0.33, 1.1
    q = Normal(torch.full((n, 1), mean).double(), torch.full((1, 1), 2 * math.log(std)).double())
    stack = BitStack(np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32).tobytes())
    z = drawn(q, spacing).pop(stack) * spacing
    stack.check()
    variance = std**2 + spacing**2 / 12
    assert abs(z.mean() - mean) < 6 * math.sqrt(variance / n) + 0.011 * spacing  # snapping: 1/128 spacing
    assert abs(z.var() / variance - 1) < 6 * math.sqrt(2 / n) + 0.02


@pytest.mark.parametrize(
    "p",
    [
        Categorical(3 * torch.randn(500, 4, 17, generator=generator(0)).double()),
        Bernoulli(2 * torch.randn(500, 4, generator=generator(1)).double()),
        DiscretisedMixture(
            torch.randn(500, 4, 3, generator=generator(2)).double(),
            0.5 * torch.randn(500, 4, 3, generator=generator(3)).double(),
            (2 * torch.randn(500, 4, 3, generator=generator(4)).double() - 6).exp(),
            Centres(64),
        ),
        DiscretisedMixture(
            torch.randn(500, 4, 3, generator=generator(2)).double(),
            0.5 * torch.randn(500, 4, 3, generator=generator(3)).double(),
            (4 * torch.randn(500, 4, 3, generator=generator(4)).double() - 12).exp(),
            Centres(1 << 16),
        ),
        DiscretisedLogistic(
            2 * torch.rand(500, 4, generator=generator(6)).double() - 1,
            0.5 * torch.randn(500, 4, generator=generator(7)).double() - 3,
            Centres(64),
        ),
    ],
)
def test_data_cost_their_log_mass(p: Categorical | Bernoulli | DiscretisedLogistic | DiscretisedMixture) -> None:
    x = p.sample(generator(5))
    ideal = -p.log_prob(x).sum().item() / math.log(2)
    cost = bits_of(data_code(p), x.numpy().reshape(-1).astype(np.int64))
    assert cost == pytest.approx(ideal, abs=2000 * 0.01)


@pytest.mark.parametrize("levels", [4097, 5000, 65_535, 65_536])
def test_the_last_of_very_many_levels_is_coded(levels: int) -> None:
    centres = Centres.of(levels_schema((2,), levels))
    zeros = torch.zeros(1, 2, 3, dtype=torch.float64)
    code = data_code(DiscretisedMixture(zeros, zeros, zeros + 0.1, centres))
    bits_of(code, np.array([levels - 1, 0]))


@given(st.integers(-(2**40), 2**40), st.integers(1, 12))
def test_a_place_is_split_at_the_nearest_whole(place: int, half_bits: int) -> None:
    parts = 1 << half_bits
    whole, rest = _split(np.array([place]), parts)
    assert whole[0] * parts + rest[0] == place and -parts / 2 <= rest[0] < parts / 2
