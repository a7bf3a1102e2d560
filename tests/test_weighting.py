"""w(λ): each against the training loss it is the weighting of, and what a weighting optimises (Section 4.7)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import (
    SCALINGS,
    entropy,
    exact_model,
    gauss_legendre,
    information,
    line_mixture,
    noise_error,
    plane_mixture,
    seeded,
)
from vlb.base.errors import UserError
from vlb.models.diffusion import parameterization
from vlb.models.diffusion import weightings as weighting
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.process import VP
from vlb.models.diffusion.schedules import (
    EDM,
    Cosine,
    LearnedPerDimension,
    LinearBeta,
    LogSNRLinear,
    OptimalTransport,
    Schedule,
)

LOW, HIGH = -5.0, 6.0


def edm_network(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """EDM's F with σ̃ = σ/α and σ_d = ½: x = c_skip z̃ + c_out F, z̃ = z/α."""
    ratio, data = sigma / alpha, 0.5
    skip, out = data**2 / ((ratio**2 + data**2) * alpha), ratio * data / torch.sqrt(ratio**2 + data**2)
    return (1 - skip * alpha) / out, -skip * sigma / out


def excess(log_snr: Tensor) -> Tensor:
    """Some E‖ε − ε̂‖² as a function of λ: what a loss sees of a model, whatever it is."""
    return torch.sigmoid(0.7 * log_snr - 1) + 0.3 * torch.exp(-0.1 * (log_snr - 2) ** 2)


def training_loss(
    schedule: Schedule, factor, parameter, scaling: str, density=torch.ones_like, points: int = 4000
) -> float:
    """∫π(t) factor(λ_t) ‖out − ôut‖² dt by the midpoint rule in t: the loss as its authors state it."""
    t = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    gamma = schedule.gamma(t).squeeze(-1)
    alpha, sigma = SCALINGS[scaling](gamma)
    # ‖out − ôut‖² with the noise's error √excess in ε̂ and the x̂ that z = αx̂ + σε̂ then implies.
    noise = excess(-gamma).sqrt()
    a, b = parameter(alpha, sigma)
    out = a * (-sigma / alpha * noise) + b * noise
    return (density(t) * factor(-gamma) * out**2).mean().item()


def one(log_snr: Tensor) -> Tensor:
    return torch.ones_like(log_snr)


LOSSES = {
    "ddpm": (LinearBeta, weighting.NoiseLinearBeta(), one, parameterization.Noise(), "vp"),
    "iddpm": (Cosine, weighting.NoiseCosine(), one, parameterization.Noise(), "vp"),
    "v": (Cosine, weighting.VelocityCosine(), one, parameterization.Velocity(), "vp"),
    "flow": (OptimalTransport, weighting.FlowMatching(), one, parameterization.Flow(), "ot"),
    "indi": (OptimalTransport, weighting.Inversion(), one, parameterization.Data(), "ot"),
    "edm": (EDM, weighting.EDM(), one, edm_network, "ve"),
    "p2-half": (Cosine, weighting.P2(0.5), lambda at: (1 + at.exp()) ** -0.5, parameterization.Noise(), "vp"),
    "p2": (Cosine, weighting.P2(1.0), lambda at: 1 / (1 + at.exp()), parameterization.Noise(), "vp"),
    "min-snr": (Cosine, weighting.MinSNR(5.0), lambda at: at.exp().clamp(max=5), parameterization.Data(), "vp"),
    "vdm": (LogSNRLinear, weighting.Likelihood(), one, parameterization.Noise(), "vp"),
}


def weighted_integral(weight) -> float:
    """∫w(λ) E‖ε − ε̂‖² dλ, in two parts so that MinSNR's kink at log 5 is at an edge."""
    total = 0.0
    for low, high in ((LOW, math.log(5.0)), (math.log(5.0), HIGH)):
        nodes, weights = gauss_legendre(low, high, 80)
        total += (weights * weight(nodes) * excess(nodes)).sum().item()
    return total


@pytest.mark.parametrize("name", LOSSES)
def test_each_weighting_is_that_of_its_training_loss(name: str) -> None:
    """The published loss over uniform t equals c·∫w‖ε − ε̂‖² dλ: c from one model serves for any other (Eq. 4.113)."""
    schedule, weight, factor, parameter, scaling = LOSSES[name]
    chosen = schedule(-HIGH, -LOW)
    implied = weighting.implied(chosen, parameter, SCALINGS[scaling])
    nodes = torch.linspace(LOW, HIGH, 41, dtype=torch.float64)
    ratio = implied(nodes) * factor(nodes) / weight(nodes)
    torch.testing.assert_close(ratio, ratio[:1].expand(41), rtol=1e-9, atol=0)
    loss = training_loss(chosen, factor, parameter, scaling)
    assert loss == pytest.approx(ratio[0].item() * weighted_integral(weight), rel=2e-5)


def test_rectified_flow_at_logit_normal_times() -> None:
    weight = weighting.RectifiedFlow(0.3, 0.9)
    pi = weight.density
    path = OptimalTransport(-HIGH, -LOW)
    start, width = path.stretch

    def restricted(t: Tensor) -> Tensor:
        return pi(start + width * t)

    loss = training_loss(path, one, parameterization.Flow(), "ot", restricted)
    # u-error (1 + e^{−λ/2})² and p(λ) = sech²(λ/4)/8 make ½π(t)e^{−λ/2}, over the share of the path that is left.
    assert loss == pytest.approx(0.5 * weighted_integral(weight) / width, rel=2e-5)
    nodes, weights = gauss_legendre(1e-9, 1 - 1e-9, 400)
    assert (weights * pi(nodes)).sum().item() == pytest.approx(1, abs=1e-8)


def test_edm_monotonic_is_edm_beyond_its_peak_and_flat_before() -> None:
    monotonic = weighting.EDMMonotonic()
    assert monotonic.peak == pytest.approx(-3.31, abs=0.005)
    log_snr = torch.linspace(-8, 8, 3201, dtype=torch.float64)
    edm = weighting.EDM()(log_snr)
    torch.testing.assert_close(monotonic(log_snr)[log_snr > monotonic.peak], edm[log_snr > monotonic.peak])
    torch.testing.assert_close(monotonic(log_snr), edm.flip(0).cummax(0).values.flip(0), rtol=1e-6, atol=0)


MONOTONE = {
    "likelihood": (weighting.Likelihood(), True),
    "ddpm": (weighting.NoiseLinearBeta(), False),
    "iddpm": (weighting.NoiseCosine(), False),
    "v": (weighting.VelocityCosine(), True),
    "flow": (weighting.FlowMatching(), True),
    "rectified": (weighting.RectifiedFlow(), False),
    "indi": (weighting.Inversion(), True),
    "edm": (weighting.EDM(), False),
    "edm-monotonic": (weighting.EDMMonotonic(), True),
    "sigmoid": (weighting.Sigmoid(2.0), True),
    "p2": (weighting.P2(), False),
    "min-snr": (weighting.MinSNR(), False),
    "implied": (weighting.implied(Cosine(-HIGH, -LOW), parameterization.Velocity(), VP()), True),
}


@pytest.mark.parametrize("name", MONOTONE)
def test_describe_knows_the_monotone_ones(name: str) -> None:
    weight, monotone = MONOTONE[name]
    described = weighting.describe(weight, -HIGH, -LOW)
    assert described.monotone == monotone
    assert str(described).startswith("monotone" if monotone else "not monotone")
    # The mixture has mass 1, its atoms included: at t = 1 there is one where w rises before it falls.
    total = described.atom + sum(share.mass for share in described.mixture(16)) + described.top
    ends = weight(torch.tensor([LOW, HIGH], dtype=torch.float64)) / described.scale
    assert total == pytest.approx(1)
    assert described.atom == pytest.approx(ends[1].item()) and described.top == pytest.approx(1 - ends[0].item())
    shown = [float(line.split("%")[0]) for line in str(described).splitlines()[1:]]
    assert sum(shown) == pytest.approx(100, abs=0.05 * len(shown) + 1e-9)
    if monotone:
        assert described.top == 0
        assert all(share.mass >= 0 for share in described.mixture(16))
    else:
        low, high = described.minimised[0]
        middle = torch.tensor(0.5 * (low + high), dtype=torch.float64)
        assert described.density(middle) < 0


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.floats(-6, 6), st.sampled_from(["linear", "cosine"]))
def test_kernel_and_atom_are_a_distribution_over_t(shift: float, name: str) -> None:
    """∫₀¹ p_w(t) dt + atom = 1 under any schedule (Eq. 4.149 holds only without the atom)."""
    schedule = {"linear": LogSNRLinear, "cosine": Cosine}[name](-HIGH, -LOW)
    described = weighting.describe(weighting.Sigmoid(shift), -HIGH, -LOW)
    nodes, weights = gauss_legendre(0.0, 1.0, 400)
    kernel = described.kernel(nodes, schedule)
    assert (weights * kernel).sum().item() + described.atom == pytest.approx(1, abs=1e-6)


def test_the_bound_has_all_its_mass_at_zero() -> None:
    described = weighting.describe(weighting.Likelihood(), -HIGH, -LOW)
    assert described.atom == 1
    assert all(share.mass == 0 for share in described.mixture())


@pytest.mark.parametrize("weight", [weighting.Sigmoid(1.0), weighting.Inversion(), weighting.EDM(), weighting.P2()])
def test_weighted_loss_is_a_mixture_of_elbos(weight) -> None:
    """L_w = E_{p_w}[−ELBO_t(z_t) − H(q(z_t | x))] − w(λ_min) L(1), with signs (Eq. 4.152, 4.161, 4.164, corrected).

    For the exact model −ELBO_t averages to the entropy of q(z_t), found by quadrature over z; the left-hand side
    is an integral of noise errors over λ. The two have nothing in common but the identity.
    """
    mixture, schedule = line_mixture(), Cosine(-HIGH, -LOW)
    described = weighting.describe(weight, -HIGH, -LOW)
    nodes, weights = gauss_legendre(LOW, HIGH, 60)
    errors = torch.tensor([noise_error(mixture, log_snr) for log_snr in nodes.tolist()], dtype=torch.float64)
    loss = 0.5 * (weights * weight(nodes) * errors).sum().item() / described.scale

    def elbo_gap(log_snr: float) -> float:
        """E[−ELBO_t(z_t)] − H(q(z_t | x)) of the exact model, with z_t = x + σε."""
        sigma = math.exp(-0.5 * log_snr)
        return entropy(mixture.diffused(1.0, sigma)) - 0.5 * math.log(2 * math.pi * math.e * sigma**2)

    times, time_weights = gauss_legendre(0.0, 1.0, 200)
    gaps = torch.tensor([elbo_gap(-g) for g in schedule.gamma(times).squeeze(-1).tolist()], dtype=torch.float64)
    mixed = (time_weights * described.kernel(times, schedule) * gaps).sum().item() + described.atom * elbo_gap(HIGH)
    last = weight(torch.tensor(LOW, dtype=torch.float64)).item() / described.scale * information(mixture, LOW)
    assert loss == pytest.approx(mixed - last, abs=2e-6)


def test_uncertainty_learns_the_logarithm_of_the_loss() -> None:
    """The minimum of ∫[e^{−u} h + u] dλ is u = log h, whatever density λ is drawn from."""
    log_snr = torch.linspace(LOW, HIGH, 400, dtype=torch.float64)
    h = torch.exp(0.4 * torch.cos(math.pi * (log_snr - LOW) / (HIGH - LOW)) - 1)
    learned = weighting.Uncertainty().build(LogSNRLinear(-HIGH, -LOW))
    torch.testing.assert_close(learned(log_snr), torch.ones_like(log_snr))
    optimiser = torch.optim.LBFGS(learned.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (learned(log_snr) * h + learned.penalty(log_snr)).mean()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(learned.penalty(log_snr).detach(), h.log(), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "weight, message",
    [
        (lambda at: at, "not negative"),
        (lambda at: 1 / (at - LOW), "finite"),
        (lambda at: torch.log(at), "finite"),
        (torch.zeros_like, "zero everywhere"),
        (lambda at: at.mean(), "same shape"),
    ],
)
def test_a_function_that_is_no_weight_is_refused(weight, message: str) -> None:
    with pytest.raises(UserError, match=message):
        weighting.describe(weight, -HIGH, -LOW)
    model = exact_model(plane_mixture(), LogSNRLinear(-HIGH, -LOW))
    with pytest.raises(UserError, match=message):
        DiffusionLoss(weighting=weighting.FromFunction(weight)).build(model)


def test_a_weight_is_asked_for_between_the_ends_alone() -> None:
    """For λ from −γ₁ to −γ₀, which are not symmetric about 0."""
    gamma_0, gamma_1 = -9.0, 4.0
    weighting.check(lambda log_snr: torch.where((log_snr >= -4) & (log_snr <= 9), 1.0, -1.0).double(), gamma_0, gamma_1)
    for bad in (lambda log_snr: (log_snr < -3.9).double(), lambda log_snr: (log_snr > 8.9).double()):
        with pytest.raises(UserError, match="not negative"):
            weighting.check(lambda log_snr, bad=bad: 1 - 2 * bad(log_snr), gamma_0, gamma_1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: weighting.NoiseLinearBeta(0.0, 1.0),
        lambda: weighting.NoiseLinearBeta(2.0, 1.0),
        lambda: weighting.EDM(std=0.0),
        lambda: weighting.P2(-1.0),
        lambda: weighting.MinSNR(0.0),
        lambda: weighting.RectifiedFlow(std=-1.0),
        lambda: weighting.Uncertainty(terms=0),
    ],
)
def test_bad_parameters_are_refused(make) -> None:
    with pytest.raises(UserError, match=r"expected|beta_min < beta_max"):
        make()


def test_no_weighting_overflows() -> None:
    log_snr = torch.linspace(-40, 40, 401, dtype=torch.float64)
    for weight, _ in MONOTONE.values():
        if not isinstance(weight, weighting.Implied):  # which ends with its schedule
            assert bool(torch.isfinite(weight(log_snr)).all()), weight


def test_weightings_are_of_the_reference_where_dimensions_differ() -> None:
    """A schedule per dimension has one λ for w: the mean, so w = const changes nothing but the scale."""
    schedule = LearnedPerDimension(-HIGH, -LOW).build(2)
    model = exact_model(plane_mixture(), schedule, exact_ends=False)
    loss = DiffusionLoss().build(model)
    assert weighting.describe(loss.weighting, schedule.gamma_0, schedule.gamma_1).monotone
    t = torch.rand(3, generator=seeded(), dtype=torch.float64)
    assert loss.weighting(-schedule.gamma(t).mean(-1)).shape == (3,)
