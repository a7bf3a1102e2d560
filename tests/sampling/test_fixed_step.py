"""Fixed-step samplers: observed orders, laws per step, invariance to the scaling, inverses.

The reference is `ProbabilityFlow` at a tolerance of 1e-11, itself held to closed forms in test_ode.
"""

import pytest
import torch

from tests.oracles import LIMIT, SCALINGS, SCHEDULES, exact_model, plane_mixture, seeded, z_score
from tests.sampling.laws import ENDS, Bent, ChosenNoise, gaussian_model, observed_order, variance
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.models.diffusion.grids import EDMGrid, UniformLogSNR, UniformT
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.heun import Heun
from vlb.models.diffusion.samplers.ode import ProbabilityFlow
from vlb.models.diffusion.samplers.stepping import FixedStep, Reverse, State, walk
from vlb.models.diffusion.schedules import FromFunction, LogSNRLinear, Schedule

DETERMINISTIC: list[tuple[FixedStep, int]] = [(DDIM(), 1), (Heun(), 2), (DPMSolver(), 2)]
STOCHASTIC: list[tuple[FixedStep, int]] = [
    (DDIM(1.0), 1),
    (DDIM(0.5), 1),
    (Heun(churn=0.3), 2),
    (Heun(churn=0.5, low=0.1, high=5.0), 2),
    (DPMSolver(1.0), 2),
    (DPMSolver(0.5), 2),
]
FINE = ProbabilityFlow(1e-11, 1e-11)


def latents(model: DiffusionModel, n: int = 24) -> torch.Tensor:
    return model.prior(torch.zeros(n, *model.shape, dtype=torch.float64)).sample(seeded(7))


@pytest.mark.parametrize(("method", "order"), DETERMINISTIC, ids=str)
@pytest.mark.parametrize("grid", [UniformT(), UniformLogSNR(), EDMGrid()], ids=str)
def test_order_of_the_deterministic_methods(method: FixedStep, order: int, grid) -> None:
    """Root mean square distance from the exact flow on the mixture, on smooth grids of every kind."""
    model = exact_model(plane_mixture(), SCHEDULES["ot" if grid == UniformT() else "linear"](-4.0, 3.0))
    z_1 = latents(model)
    exact = FINE(model, z_1, ENDS, seeded())

    def error(steps: int) -> float:
        z_0 = method(model, z_1, grid(model.process.schedule, steps), seeded())
        return (z_0 - exact).square().mean().sqrt().item()

    assert abs(observed_order(error, (64, 128, 256)) - order) < 0.2


@pytest.mark.parametrize(("method", "order"), STOCHASTIC, ids=str)
def test_weak_order_of_the_stochastic_methods(method: FixedStep, order: int) -> None:
    """The error of V[z_0] on Gaussian data, without Monte Carlo: each unit of noise is followed to the end."""
    v = 0.3
    model = gaussian_model(torch.zeros(1), torch.tensor([v]), LogSNRLinear(-4.0, 3.0))
    (a_0, s_0), (a_1, s_1) = (
        [p.item() for p in model.process.alpha_sigma(t, torch.zeros(1, 1))] for t in ENDS.split(1)
    )

    def error(steps: int) -> float:
        grid = UniformLogSNR()(model.process.schedule, steps)
        return abs(variance(method, model, grid, a_1**2 * v + s_1**2) - (a_0**2 * v + s_0**2))

    assert abs(observed_order(error, (64, 128, 256)) - order) < 0.2


@pytest.mark.parametrize("method", [Heun(churn=0.5), DPMSolver(1.0)], ids=str)
def test_stochastic_methods_sample_the_mixture(method: FixedStep) -> None:
    """Component shares, moments and mean log-density of q(z_0), where the bias is far below the standard error."""
    mixture, n = plane_mixture(), 5_000
    model = exact_model(mixture, LogSNRLinear(-4.0, 3.0))
    z_0 = method(model, latents(model, n), UniformLogSNR()(model.process.schedule, 100), seeded(1))
    law = mixture.diffused(*model.process.alpha_sigma(torch.zeros(1), z_0))
    fresh = law.expand(100_000).sample(seeded(2))
    for j in range(3):
        assert abs(z_score(law.responsibilities(z_0)[:, j], law.log_weights[0, j].exp().item())) < LIMIT
    for i in range(2):
        assert abs(z_score(z_0[:, i], law.mean()[0, i].item())) < LIMIT
        assert abs(z_score((z_0[:, i] - law.mean()[0, i]) ** 2, law.covariance()[0, i, i].item())) < LIMIT
    assert abs(z_score(law.log_prob(z_0), law.log_prob(fresh).mean().item())) < LIMIT


def one_step(method: FixedStep, model: DiffusionModel, z_t: torch.Tensor, noise: float) -> torch.Tensor:
    """z_s of a step from t = 0.6 to s = 0.5 with every draw equal to `noise`."""
    reverse = ChosenNoise(model, seeded(), UNCONDITIONAL, [torch.tensor(noise, dtype=torch.float64)])
    t, s = reverse.levels(torch.tensor([0.6, 0.5], dtype=torch.float64), z_t)
    return method.step(reverse, State(z_t, t), s).z


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("method", [DDIM(1.0), DPMSolver(1.0)], ids=str)
def test_a_stochastic_step_is_the_ancestral_kernel(method: FixedStep, scaling, schedule: type[Schedule]) -> None:
    """Mean and variance of the step are those of q(z_s | z_t, x = x̂) (Eq. 3.103, A.21), exactly."""
    model = exact_model(plane_mixture(), schedule(-6.0, 4.0), scaling)
    z_t, t, s = latents(model), torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    kernel = model.process.posterior(z_t, model.predict(z_t, t).x, s, t)
    mean = one_step(method, model, z_t, 0.0)
    deviation = one_step(method, model, z_t, 1.0) - mean
    torch.testing.assert_close(mean, kernel.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(deviation, (0.5 * kernel.log_variance).exp().expand_as(mean), rtol=1e-10, atol=1e-12)


def test_ddim_with_full_noise_is_ancestral_sampling() -> None:
    """Along a whole grid and with the same draws."""
    model = exact_model(plane_mixture(), LogSNRLinear(-6.0, 4.0))
    z_1, grid = latents(model), UniformT()(model.process.schedule, 30)
    torch.testing.assert_close(
        DDIM(1.0)(model, z_1, grid, seeded(3)), Ancestral()(model, z_1, grid, seeded(3)), rtol=1e-9, atol=1e-9
    )


def test_churn_follows_the_forward_process() -> None:
    """The rise is q(z_γ̂ | z_t) (Eq. 3.22), bounded by a factor of two in σ̃² and by γ₁."""
    model = exact_model(plane_mixture(), LogSNRLinear(-6.0, 4.0), SCALINGS["ot"])
    z = latents(model)
    schedule = model.process.schedule

    def raised(churn: float, t: float, s: float, noise: float) -> State:
        reverse = ChosenNoise(model, seeded(), UNCONDITIONAL, [torch.tensor(noise, dtype=torch.float64)])
        levels = reverse.levels(torch.tensor([t, s], dtype=torch.float64), z)
        return Heun(churn=churn).raised(reverse, State(z, levels[0]), levels[1])

    lower, upper = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.52], dtype=torch.float64)
    transition = model.process.transition(z, lower, upper)
    mean = raised(0.2, 0.5, 0.4, 0.0)
    assert mean.level.gamma.item() == pytest.approx(schedule.gamma(upper).item(), abs=1e-12)
    torch.testing.assert_close(mean.z, transition.mean)
    spread = raised(0.2, 0.5, 0.4, 1.0).z - mean.z
    torch.testing.assert_close(spread, (0.5 * transition.log_variance).exp().expand_as(spread))
    assert raised(9.0, 0.5, 0.4, 0.0).level.gamma.item() == pytest.approx(
        schedule.gamma(lower).item() + 0.693147, abs=1e-6
    )
    assert raised(0.2, 1.0, 0.9, 0.0).level.gamma.item() == 4.0


@pytest.mark.parametrize("method", [method for method, _ in DETERMINISTIC + STOCHASTIC], ids=str)
def test_samples_are_the_same_in_every_scaling(method: FixedStep) -> None:
    """z^A = (α^A/α^B) z^B along the whole walk (A.45)."""
    schedule = LogSNRLinear(-6.0, 4.0)
    walks = {}
    for name, scaling in SCALINGS.items():
        model = exact_model(plane_mixture(), schedule, scaling)
        alpha, _ = model.process.alpha_sigma(torch.ones(1), torch.zeros(1, 2))
        z_1 = alpha * torch.randn(8, 2, generator=seeded(4), dtype=torch.float64)
        times = UniformLogSNR()(schedule, 12).flip(0)
        walks[name] = [state.z / state.level.alpha for state in walk(method, Reverse(model, seeded(5)), z_1, times)]
    for name in ("ve", "ot"):
        torch.testing.assert_close(walks[name], walks["vp"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("method", "order"), DETERMINISTIC, ids=str)
def test_a_schedule_per_dimension(method: FixedStep, order: int) -> None:
    """Independent Gaussians, each at its own pace: the flow is (z₁ − α₁m) √(V₀/V₁) + α₀m in each dimension."""
    mean, spread = torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.2, 1.5, 0.01])
    model = gaussian_model(mean, spread, Bent(-4.0, 3.0, torch.tensor([0.0, 0.5, -0.8])))
    z_1 = latents(model)
    (a_0, s_0), (a_1, s_1) = (model.process.alpha_sigma(t, z_1) for t in ENDS.split(1))
    ratio = ((a_0**2 * spread + s_0**2) / (a_1**2 * spread + s_1**2)).sqrt()
    exact = a_0 * mean + ratio * (z_1 - a_1 * mean)

    def error(steps: int) -> float:
        z_0 = method(model, z_1, UniformT()(model.process.schedule, steps), seeded())
        return (z_0 - exact).square().mean().sqrt().item()

    assert abs(observed_order(error, (100, 200, 400)) - order) < 0.2
    torch.testing.assert_close(FINE(model, z_1, ENDS, seeded()), exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("method", "order"), DETERMINISTIC, ids=str)
def test_decoding_an_encoding_converges_to_the_identity(method: FixedStep, order: int) -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    z_0 = plane_mixture().diffused(*model.process.alpha_sigma(ENDS[:1], torch.zeros(1, 2))).expand(16).sample(seeded(6))

    def error(steps: int) -> float:
        grid = UniformLogSNR()(model.process.schedule, steps)
        back = method(model, method.encode(model, z_0, grid), grid, seeded())
        return (back - z_0).square().mean().sqrt().item()

    assert observed_order(error, (64, 128, 256)) > order - 0.2
    assert error(256) < 0.1


@pytest.mark.parametrize("method", [method for method, _ in DETERMINISTIC + STOCHASTIC], ids=str)
def test_extreme_ends_stay_finite(method: FixedStep) -> None:
    """σ₀ = e^{−20} and α₁ = e^{−20}, in float32: x̂ and ε̂ enter directly, and nothing is divided by either."""
    model = exact_model(plane_mixture(), FromFunction(lambda t: 80 * t - 40), exact_ends=False)
    z_1 = torch.randn(8, 2, generator=seeded(8))
    z_0 = method(model, z_1, UniformLogSNR()(model.process.schedule, 200), seeded(9))
    assert z_0.dtype == torch.float32 and bool(z_0.isfinite().all())
    assert bool((z_0.abs() < 5).all())


def test_the_same_seed_gives_the_same_samples() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    z_1, grid = latents(model), UniformLogSNR()(model.process.schedule, 5)
    for method, _ in STOCHASTIC:
        a, b, c = (method(model, z_1, grid, seeded(seed)) for seed in (0, 0, 1))
        assert torch.equal(a, b) and not torch.equal(a, c)
    for method, _ in DETERMINISTIC:
        assert torch.equal(method(model, z_1, grid, seeded(0)), method(model, z_1, grid, seeded(1)))


def test_no_noise_is_the_deterministic_method() -> None:
    """The stochastic families pass continuously into their deterministic members."""
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    z_1, grid = latents(model), UniformLogSNR()(model.process.schedule, 8)
    for family in (DDIM, DPMSolver, Heun):
        still, nearly = (family(value)(model, z_1, grid, seeded()) for value in (0.0, 1e-14))
        torch.testing.assert_close(nearly, still, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDIM(1.5), "eta: expected a number from 0 to 1, not 1.5"),
        (lambda: DDIM(-0.1), "from 0 to 1"),
        (lambda: DPMSolver(-1.0), "from 0"),
        (lambda: Heun(churn=-1.0), "churn: expected"),
        (lambda: Heun(low=2.0, high=1.0), "low < high"),
        (lambda: Heun(inflation=0.0), "above 0"),
    ],
)
def test_impossible_methods_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_grids_out_of_order_are_refused_by_every_sampler() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    for sampler in (DDIM(), Heun(), DPMSolver(), Ancestral(), ProbabilityFlow()):
        with pytest.raises(UserError, match="must increase"):
            sampler(model, latents(model), torch.tensor([0.0, 0.6, 0.4, 1.0]), seeded())


def test_a_stochastic_method_does_not_encode() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    with pytest.raises(UserError, match="no inverse"):
        DDIM(1.0).encode(model, latents(model), ENDS)
