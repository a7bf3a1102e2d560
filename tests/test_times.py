"""How times and levels are drawn: uniform each, even together, unbiased."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import LIMIT, exact_model, gauss_legendre, plane_mixture, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.models.diffusion import weightings as weighting
from vlb.models.diffusion.schedules import EDM, Cosine, LinearBeta, LogSNRLinear, Schedule
from vlb.models.diffusion.times import (
    AdaptiveTime,
    BinnedTime,
    DensityTime,
    LearnedTime,
    LearningTime,
    LeastVarianceTime,
    LowDiscrepancyTime,
    ScheduleTime,
    Times,
    UniformRung,
    UniformTime,
    WarpedTime,
    isotonic,
    low_discrepancy,
    uniform,
)


@pytest.mark.parametrize("draw", [uniform, low_discrepancy])
def test_each_time_is_uniform(draw) -> None:
    """Any one position of a batch, over many batches: mean, second moment and a Fourier coefficient."""
    generator = seeded(1)
    times = torch.stack([draw(7, generator) for _ in range(3_000)])
    assert times.dtype == torch.float64
    assert bool(((times >= 0) & (times < 1)).all())
    for position in (0, 3, 6):
        t = times[:, position]
        assert abs(z_score(t, 1 / 2)) < LIMIT
        assert abs(z_score(t**2, 1 / 3)) < LIMIT
        assert abs(z_score(torch.cos(2 * math.pi * t))) < LIMIT


@pytest.mark.parametrize("n", [1, 2, 49, 128])
def test_low_discrepancy_puts_one_time_in_every_stretch(n: int) -> None:
    """The order statistics are offset + i/n: each of the n equal stretches has exactly one time."""
    for seed in range(20):
        t = low_discrepancy(n, seeded(seed)).sort().values
        assert torch.equal((t * n - 1e-9).ceil().clamp(min=1).sort().values, torch.arange(1, n + 1).double())
        torch.testing.assert_close(t.diff(), torch.full((n - 1,), 1 / n).double())


def test_low_discrepancy_has_less_variance_and_the_same_mean() -> None:
    generator = seeded(2)
    means = {
        draw: torch.stack([(3 * draw(32, generator) ** 2).mean() for _ in range(1_000)])
        for draw in (uniform, low_discrepancy)
    }
    assert abs(z_score(means[low_discrepancy], 1.0)) < LIMIT
    # What is left is the offset's: 9/12n² against 4/5n.
    assert means[low_discrepancy].var() < 0.05 * means[uniform].var()


def test_position_does_not_tell_the_time() -> None:
    """Without the permutation, neighbours in a batch would have neighbouring times (sorted data would too)."""
    generator = seeded(3)
    times = torch.stack([low_discrepancy(16, generator) for _ in range(3_000)])
    step = (times[:, 1] - times[:, 0]) % 1
    assert abs(z_score(step, 0.5)) < LIMIT
    assert step.std() > 0.2


@pytest.mark.parametrize("measure", [UniformTime(), LowDiscrepancyTime()])
def test_times_estimate_an_integral(measure) -> None:
    generator, estimates = seeded(4), []
    for _ in range(2_000):
        t, weight = measure.draw(8, generator)
        estimates.append((weight * torch.exp(-3 * t)).mean())
    assert abs(z_score(torch.stack(estimates), (1 - math.exp(-3)) / 3)) < LIMIT


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_levels_estimate_a_sum(steps: int) -> None:
    generator, estimates = seeded(5), []
    for _ in range(2_000):
        level, weight = UniformRung(steps).draw(8, generator)
        assert level.min() >= 1
        assert level.max() <= steps
        estimates.append((weight * torch.sqrt(level.double())).mean())
    expected = torch.arange(1, steps + 1).double().sqrt().sum().item()
    if steps == 1:
        assert all(value == expected for value in estimates)
    else:
        assert abs(z_score(torch.stack(estimates), expected)) < LIMIT


def test_generators_decide_everything() -> None:
    assert torch.equal(low_discrepancy(9, seeded(6)), low_discrepancy(9, seeded(6)))
    assert not torch.equal(low_discrepancy(9, seeded(6)), low_discrepancy(9, seeded(7)))


LOW, HIGH = -5.0, 6.0


def bump(log_snr: Tensor) -> Tensor:
    """Some p(λ), up to a constant."""
    return 0.05 + torch.exp(-0.5 * (log_snr - 1) ** 2)


def learned_time(kind: type[LearningTime], schedule: Schedule) -> LearnedTime:
    """A sampler after it has seen some losses, unevenly."""
    measure, generator = kind(bins=20).build(schedule), seeded(9)
    for _ in range(30):
        log_snr = LOW + (HIGH - LOW) * torch.rand(16, generator=generator, dtype=torch.float64) ** 2
        measure.learn(measure.sums(log_snr, bump(log_snr), torch.ones(16), schedule))
    return measure


@pytest.mark.parametrize("kind", [AdaptiveTime, LeastVarianceTime, WarpedTime])
def test_times_follow_the_weights_as_they_say(kind: type[LearningTime]) -> None:
    """Of even errors, p(λ) ∝ w(λ) (Eq. 4.130, and its single-draw optimum); time warping does not know w."""
    schedule = LogSNRLinear(-HIGH, -LOW)
    log_snr = LOW + (HIGH - LOW) * (torch.arange(2_000, dtype=torch.float64) + 0.5) / 2_000
    masses = {}
    for name, weight in (("even", torch.ones(2_000)), ("bump", bump(log_snr))):
        measure = kind(bins=20).build(schedule)
        measure.learn(measure.sums(log_snr, torch.ones(2_000), weight, schedule))
        masses[name] = measure.masses()
    if kind is WarpedTime:
        assert torch.equal(masses["even"], masses["bump"])
        return
    share = bump(log_snr).view(20, 100)
    expected = share.mean(1) if kind is AdaptiveTime else share.square().mean(1).sqrt()
    torch.testing.assert_close(masses["bump"], 0.95 * expected / expected.sum() + 0.05 / 20)


def measures(schedule: Schedule) -> dict[str, Times]:
    return {
        "uniform": UniformTime(),
        "low-discrepancy": LowDiscrepancyTime(),
        "of-cosine": ScheduleTime(Cosine(-HIGH, -LOW)),
        "of-edm": ScheduleTime(EDM(-HIGH, -LOW)),
        "density": DensityTime(bump).build(schedule),
        "adaptive": learned_time(AdaptiveTime, schedule),
        "least-variance": learned_time(LeastVarianceTime, schedule),
        "warped": learned_time(WarpedTime, schedule),
    }


NAMES = list(measures(LogSNRLinear(-HIGH, -LOW)))


@pytest.mark.parametrize("schedule", [LogSNRLinear(-HIGH, -LOW), LinearBeta(-HIGH, -LOW)], ids=["linear", "beta"])
@pytest.mark.parametrize("name", NAMES)
def test_any_density_estimates_any_weighted_loss(name: str, schedule: Schedule) -> None:
    """E[weight(t) γ′(t) w(λ_t) h(λ_t)] = ∫w h dλ for every p(λ), w(λ) and schedule (Eq. 4.121)."""
    measure = measures(schedule)[name]
    nodes, quadrature = gauss_legendre(LOW, HIGH, 100)
    for weight in (weighting.Likelihood(), weighting.Sigmoid(1.0), weighting.EDM()):
        expected = (quadrature * weight(nodes) * bump(nodes)).sum().item()
        generator, estimates = seeded(6), []
        for _ in range(500):
            t, importance = measure.draw(8, generator, schedule)
            assert bool(((t >= 0) & (t <= 1)).all())
            log_snr = -schedule.gamma(t).squeeze(-1)
            estimates.append((importance * schedule.rate(t).squeeze(-1) * weight(log_snr) * bump(log_snr)).mean())
        assert abs(z_score(torch.stack(estimates), expected)) < LIMIT


@pytest.mark.parametrize("name", ["density", "adaptive", "warped"])
def test_every_density_is_drawn_evenly(name: str) -> None:
    """P(λ) at the drawn λ is itself evenly spread: each of n equal stretches of probability has one draw."""
    schedule = LinearBeta(-HIGH, -LOW)
    measure = measures(schedule)[name]
    assert isinstance(measure, BinnedTime)
    t, weight = measure.draw(64, seeded(1), schedule)
    log_snr = -schedule.gamma(t).squeeze(-1)
    edges = torch.linspace(LOW, HIGH, len(measure.masses()) + 1, dtype=torch.float64)
    below = ((log_snr.unsqueeze(1) - edges[:-1]) / (edges[1] - edges[0])).clamp(0, 1)
    probability = (below * measure.masses()).sum(1)
    assert torch.equal((probability.sort().values * 64 - 1e-6).floor().clamp(0), torch.arange(64).double())
    torch.testing.assert_close(weight, 1 / (measure.density(log_snr, schedule) * schedule.rate(t).squeeze(-1)))


def test_adaptive_density_follows_the_weighted_loss() -> None:
    """After enough draws p(λ) ∝ E w‖ε − ε̂‖², or w √E‖·‖⁴, up to the uniform share (Eq. 4.130)."""
    schedule, generator = LogSNRLinear(-HIGH, -LOW), seeded(2)
    centres = LOW + (torch.arange(40, dtype=torch.float64) + 0.5) * (HIGH - LOW) / 40
    for kind, power in ((AdaptiveTime, 1.0), (LeastVarianceTime, math.sqrt(2))):
        measure = kind(bins=40, decay=0.999, uniform_share=1e-9).build(schedule)
        for _ in range(300):
            t, _ = measure.draw(128, generator, schedule)
            log_snr = -schedule.gamma(t).squeeze(-1)
            # A loss with mean bump and E loss² = 2 bump² in half of the range, bump² in the other.
            exponential = -torch.log1p(-torch.rand(128, generator=generator, dtype=torch.float64))
            noise = torch.where(log_snr > 0, exponential, 1.0)
            measure.learn(measure.sums(log_snr, bump(log_snr) * noise, torch.full((128,), 3.0), schedule))
        expected = bump(centres) * torch.where(centres > 0, power, 1.0)
        torch.testing.assert_close(measure.masses(), expected / expected.sum(), rtol=0.3, atol=2e-3)
    assert measure.averages()[0] > 9 * 0.9 * bump(centres[0]) ** 2


def test_warped_density_is_the_slope_of_the_error_of_x() -> None:
    """With E‖x − x̂‖² = σ²/(1 + σ²) and so on, equal steps of u bring equal steps of it."""
    schedule = LogSNRLinear(-HIGH, -LOW)
    measure = WarpedTime(bins=200, uniform_share=1e-9).build(schedule)
    log_snr = LOW + (torch.arange(200, dtype=torch.float64) + 0.5) * (HIGH - LOW) / 200
    error = torch.sigmoid(-log_snr)
    measure.learn(measure.sums(log_snr, error * log_snr.exp(), torch.ones(200), schedule))
    slope = torch.sigmoid(log_snr) * torch.sigmoid(-log_snr)
    inner = slice(1, -1)
    normal = measure.masses() / measure.masses()[inner].sum()
    torch.testing.assert_close(normal[inner], slope[inner] / slope[inner].sum(), rtol=2e-3, atol=0)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_isotonic_fit_is_the_nearest_increasing_sequence(values: list[float]) -> None:
    """It increases, averages to the same, and has ⟨v − f, f⟩ = 0 and ⟨v − f, g⟩ ≤ 0 for increasing g."""
    v = torch.tensor(values, dtype=torch.float64)
    f = isotonic(v)
    assert bool((f.diff() >= -1e-12).all())
    assert ((v - f) * f).sum().item() == pytest.approx(0, abs=1e-9)
    tails = (v - f).flip(0).cumsum(0)  # ⟨v − f, 1[i ≥ k]⟩, which generate the increasing g
    assert tails[-1].item() == pytest.approx(0, abs=1e-9)
    assert bool((tails <= 1e-9).all())


def test_what_is_not_finite_is_not_learned() -> None:
    schedule = LogSNRLinear(-HIGH, -LOW)
    measure = AdaptiveTime(bins=4).build(schedule)
    before = {name: value.clone() for name, value in measure.state_dict().items()}
    bad = torch.tensor([math.nan, math.inf])
    measure.learn(measure.sums(torch.tensor([0.0, 1.0]), bad, torch.ones(2), schedule))
    assert all(torch.equal(before[name], value) for name, value in measure.state_dict().items())
    torch.testing.assert_close(measure.masses(), torch.full((4,), 0.25, dtype=torch.float64))


def test_sums_of_parts_add_up_to_those_of_the_whole() -> None:
    """What is learned from a batch does not depend on how it was cut: over devices, or to save memory."""
    schedule, generator = LogSNRLinear(-HIGH, -LOW), seeded(3)
    log_snr = LOW + (HIGH - LOW) * torch.rand(48, generator=generator, dtype=torch.float64)
    error, ones = bump(log_snr), torch.ones(48)
    whole, parts, fresh = (AdaptiveTime(bins=10).build(schedule) for _ in range(3))
    whole.learn(whole.sums(log_snr, error, ones, schedule))
    halves = [parts.sums(log_snr[half], error[half], ones[half], schedule) for half in (slice(20), slice(20, None))]
    parts.learn({name: halves[0][name] + halves[1][name] for name in halves[0]})
    torch.testing.assert_close(parts.masses(), whole.masses(), rtol=1e-14, atol=0)
    assert not torch.equal(whole.masses(), fresh.masses())


def exact_errors(log_snr: Tensor, seed: int) -> Tensor:
    """Draws of ½‖ε − ε̂‖² of the exact denoiser of a mixture, one per λ."""
    model = exact_model(plane_mixture(), LogSNRLinear(-HIGH, -LOW), exact_ends=False)
    generator = seeded(seed)
    x = plane_mixture().expand(len(log_snr)).sample(generator)
    return model.noise_error_at(x, -log_snr.unsqueeze(1), torch.ones(len(log_snr), 1), UNCONDITIONAL, generator)


def test_variance_difference_and_the_single_draw_optimum() -> None:
    """Eq. 4.129 for ∫w = 1, with drawn errors; and no density has less variance than p ∝ w √E h²."""
    weight = weighting.Sigmoid(2.0)
    nodes, quadrature = gauss_legendre(LOW, HIGH, 200)
    mass = (quadrature * weight(nodes)).sum()
    edges = torch.linspace(LOW, HIGH, 41, dtype=torch.float64)
    cell = torch.arange(40).repeat_interleave(1_000)
    spread = torch.rand(len(cell), generator=seeded(7), dtype=torch.float64)
    log_snr = edges[cell] + spread * (edges[1] - edges[0])
    h, w = exact_errors(log_snr, 8), weight(log_snr) / mass
    width = HIGH - LOW

    def second_moment(p: Tensor) -> Tensor:
        """∫(wh)²/p dλ, from λ uniform: draws (n,) whose mean it is."""
        return width * (w * h) ** 2 / p

    cosine = Cosine(-HIGH, -LOW).density(log_snr)
    gain = second_moment(w) - second_moment(cosine)  # 4.129: V_w(h) − V_p(ĥ), as their means agree
    direct = width * w * (1 - w / cosine) * h**2
    torch.testing.assert_close(gain, direct)
    by_bin = torch.zeros(40, dtype=torch.float64).index_add_(0, cell, (w * h) ** 2) / 1_000
    mean = torch.zeros(40, dtype=torch.float64).index_add_(0, cell, w * h) / 1_000

    def normalised(values: Tensor) -> Tensor:
        return (values / values.mean() / width)[cell]

    optimum = second_moment(normalised(by_bin.sqrt())).mean()
    for other in (w, cosine, normalised(mean), torch.full_like(w, 1 / width)):
        assert optimum < second_moment(other).mean()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda s: DensityTime(torch.zeros_like).build(s), "positive"),
        (lambda s: DensityTime(lambda at: 1 / at.clamp(min=0)).build(s), "positive and finite"),
        (lambda s: AdaptiveTime(bins=0), "bins"),
        (lambda s: AdaptiveTime(decay=1.0), "decay"),
        (lambda s: WarpedTime(uniform_share=0.0), "uniform_share"),
    ],
)
def test_bad_samplers_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(LogSNRLinear(-HIGH, -LOW))


def test_the_least_variance_shape_is_the_weight_times_the_root_mean_square() -> None:
    """w √E‖ε − ε̂‖⁴ of squared errors at one λ; the adaptive shape is their mean, with its weight (Eq. 4.130)."""
    error, weight = torch.tensor([0.5, 2.0, 3.0]), torch.tensor(0.3)
    for time, shape in ((LeastVarianceTime(), error.square().mean().sqrt()), (AdaptiveTime(), error.mean())):
        found = time.shape(time.statistic(torch.zeros(()), error, weight).mean())
        torch.testing.assert_close(found, weight * shape)
