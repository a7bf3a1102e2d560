"""out = a·x + b·ε under every scaling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, SCALINGS, seeded, z_score
from vlb.models.diffusion.parameterization import EDM, Data, Flow, Noise, Score, Velocity, amplification, solve, target

PARAMETERIZATIONS = {"x": Data(), "eps": Noise(), "v": Velocity(), "score": Score(), "u": Flow(), "edm": EDM(0.5)}


def draws(gamma: float, scaling, seed: int = 0):
    x, eps, out = torch.randn(3, 4, 5, generator=seeded(seed), dtype=torch.float64).unbind(0)
    alpha, sigma = scaling(torch.full((4, 1), gamma, dtype=torch.float64))
    return x, eps, out, alpha, sigma, alpha * x + sigma * eps


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(gamma=st.floats(-14, 14), seed=st.integers(0, 2**31))
def test_solve_inverts_target(parameterization, scaling, gamma: float, seed: int) -> None:
    x, eps, _, alpha, sigma, z = draws(gamma, scaling, seed)
    solved = solve(parameterization, target(parameterization, x, eps, alpha, sigma), z, alpha, sigma)
    torch.testing.assert_close(solved[0], x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(solved[1], eps, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(gamma=st.floats(-10, 10))
def test_any_output_is_consistent_with_z(parameterization, scaling, gamma: float) -> None:
    """Whatever the network says, αx̂ + σε̂ = z and ‖Δout‖² = (a − bα/σ)²‖Δx‖²."""
    x, eps, out, alpha, sigma, z = draws(gamma, scaling)
    x_hat, eps_hat = solve(parameterization, out, z, alpha, sigma)
    torch.testing.assert_close(alpha * x_hat + sigma * eps_hat, z, rtol=1e-9, atol=1e-7)
    a, b = parameterization(alpha, sigma)
    true = target(parameterization, x, eps, alpha, sigma)
    error = ((true - out) ** 2).sum(1)
    torch.testing.assert_close(
        error, ((a - b * alpha / sigma) ** 2).squeeze(1) * ((x - x_hat) ** 2).sum(1), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_v_and_u_solve_at_both_ends(scaling) -> None:
    """Their denominators α² + σ² and α + σ never vanish: neither end costs digits, in float32 either."""
    for gamma in (-30.0, 30.0):
        for parameterization in (Velocity(), Flow(), EDM(0.5), EDM(2.0)):
            x, eps, _, alpha, sigma, z = (value.float() for value in draws(gamma, scaling))
            solved = solve(parameterization, target(parameterization, x, eps, alpha, sigma), z, alpha, sigma)
            known = 0 if gamma < 0 else 1  # the clean end determines x, the noisy one ε
            torch.testing.assert_close(solved[known], (x, eps)[known], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 3.0])
@settings(derandomize=True, deadline=None, max_examples=40)
@given(gamma=st.floats(-12, 12))
def test_edm_is_its_preconditioning(scaling, sigma_data: float, gamma: float) -> None:
    """x̂ = c_skip z + c_out F, c_skip = σ_d²/((σ̃² + σ_d²)α), c_out = σ̃σ_d/√(σ̃² + σ_d²), in every scaling."""
    _, _, out, alpha, sigma, z = draws(gamma, scaling)
    noise_level = sigma / alpha
    total = noise_level**2 + sigma_data**2
    expected = sigma_data**2 / (total * alpha) * z + noise_level * sigma_data / total.sqrt() * out
    torch.testing.assert_close(solve(EDM(sigma_data), out, z, alpha, sigma)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("gamma", [-8.0, 0.0, 6.0])
def test_edm_target_has_unit_variance_and_no_correlation_with_z(scaling, gamma: float) -> None:
    """For data of variance σ_d², V[F] = 1, and F is uncorrelated with z: what c_skip was chosen for."""
    n = 40_000
    x = 2.0 * torch.randn(n, 1, generator=seeded(1), dtype=torch.float64)
    eps = torch.randn(n, 1, generator=seeded(2), dtype=torch.float64)
    alpha, sigma = scaling(torch.full((n, 1), gamma, dtype=torch.float64))
    z, out = alpha * x + sigma * eps, target(EDM(2.0), x, eps, alpha, sigma)
    assert abs(z_score(out**2, 1.0)) < LIMIT
    assert abs(z_score(out * z)) < LIMIT


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
@pytest.mark.parametrize("gamma", [-9.0, 0.0, 7.0])
def test_amplification_is_the_derivative_of_x(parameterization, scaling, gamma: float) -> None:
    """σ/α for ε (Eq. 4.50), and its like for others."""
    _, _, out, alpha, sigma, z = draws(gamma, scaling)
    change = 1e-3 * torch.ones_like(out)
    moved = solve(parameterization, out + change, z, alpha, sigma)[0]
    ratio = ((moved - solve(parameterization, out, z, alpha, sigma)[0]) / change).abs()
    factor = amplification(parameterization, alpha, sigma).expand_as(ratio)
    torch.testing.assert_close(ratio, factor, rtol=1e-6, atol=1e-9)
