"""Discrete data under the flow: laws q(z_0 | x) that are laws, and bounds that bound."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.oracles import LIMIT, exact_model, plane_mixture, seeded, z_score
from tests.test_importance import MARGINALS, Silent, independent_model, log_mass
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres, Continuous
from vlb.data import Split
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.dequantisation import Diffused, TruncatedNormalBins, UniformBins, VariationalBins
from vlb.models.diffusion.flow.divergence import Hutchinson
from vlb.models.diffusion.flow.integrate import AdaptiveSteps
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear

START = torch.zeros(1, dtype=torch.float64)
TIGHT = AdaptiveSteps(1e-8)
EVERY = torch.cartesian_prod(torch.arange(3), torch.arange(3))


def shuffled() -> VariationalBins:
    """A variational dequantiser that is no longer where it starts."""
    made = VariationalBins(3, (2,))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=seeded(1), dtype=torch.float64)
    return made.requires_grad_(False)


def line_model() -> DiffusionModel:
    """One element of three levels with the first of MARGINALS."""
    denoiser = PosteriorDenoiser(Silent(), CategoricalPosterior(MARGINALS[:1].log()), VP()).double()
    return DiffusionModel(GaussianDiffusion(LogSNRLinear(-3.0, 16.0)), denoiser, Centres(3), (1,))


def test_with_the_exact_model_every_draw_is_log_p() -> None:
    """q(z_0|x) p(x) = p_ODE(z_0) p(x|z_0) where denoiser, decoder and prior are exact: tight at each draw and x."""
    bound = FlowBound(Flow(independent_model(), TIGHT))
    for seed in range(3):
        terms = bound.terms(EVERY, UNCONDITIONAL, seeded(seed))
        assert set(terms) == {("reconstruction",), ("dequantisation",), ("flow",)}
        torch.testing.assert_close(torch.stack(list(terms.values())).sum(0), -log_mass(EVERY), rtol=0, atol=2e-3)


@pytest.mark.parametrize("dequantisation", [UniformBins(), TruncatedNormalBins(), shuffled()], ids=str)
def test_draws_stay_in_their_bins(dequantisation) -> None:
    """z_0/α₀ lies in the bin of x, whose decoder then costs nothing."""
    model, x = independent_model(), EVERY.repeat(500, 1)
    z, _, log_likelihood = dequantisation(model, x, START, UNCONDITIONAL, seeded(2))
    alpha, _ = model.process.alpha_sigma(START, z)
    torch.testing.assert_close(((z / alpha + 1) * 1.5).floor().long(), x)
    assert bool((log_likelihood == 0).all())


def test_log_q_is_the_density_of_the_draws() -> None:
    """Against scipy's truncated normal, the uniform's volume, and torch's change of variables."""
    model, x = independent_model(), EVERY.repeat(100, 1)
    alpha, sigma = (level.item() for level in model.process.alpha_sigma(START, torch.zeros(1, 2)))
    centre, half = alpha * Centres(3).values(torch.zeros(1).double())[x], alpha / 3
    drawn = TruncatedNormalBins()(model, x, START, UNCONDITIONAL, seeded(3))
    tau = half / sigma
    expected = stats.truncnorm.logpdf(drawn.z.numpy(), -tau, tau, loc=centre.numpy(), scale=sigma).sum(1)
    np.testing.assert_allclose(drawn.log_q.numpy(), expected, rtol=1e-9)
    assert stats.kstest(((drawn.z - centre) / sigma).flatten().numpy(), stats.truncnorm(-tau, tau).cdf).pvalue > 1e-6
    drawn = UniformBins()(model, x, START, UNCONDITIONAL, seeded(4))
    torch.testing.assert_close(drawn.log_q, torch.full_like(drawn.log_q, -2 * np.log(2 * half)))
    learned = shuffled()
    drawn = learned(model, x, START, UNCONDITIONAL, seeded(5))
    mean, log_scale = learned.by_element.unsqueeze(1) + learned.by_level[:, x]
    location, scale = centre + half * mean.tanh(), sigma * log_scale.exp()
    low, high = ((edge - location) / scale for edge in (centre - half, centre + half))
    expected = stats.truncnorm.logpdf(*(part.numpy() for part in (drawn.z, low, high, location, scale))).sum(1)
    np.testing.assert_allclose(drawn.log_q.numpy(), expected, rtol=1e-9)


def test_a_wide_normal_in_a_bin_is_uniform() -> None:
    model, x = independent_model(), EVERY.repeat(100, 1)
    learned = VariationalBins(3, (2,))
    with torch.no_grad():
        learned.by_level[1] = 20.0
        found, expected = (way(model, x, START, UNCONDITIONAL, seeded(6)) for way in (learned, UniformBins()))
    torch.testing.assert_close(found.z, expected.z, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.log_q, expected.log_q, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dequantisation", [UniformBins(), TruncatedNormalBins()], ids=str)
def test_a_bin_bounds_the_mass_of_the_flow_in_it(dequantisation) -> None:
    """E_q[…] ≥ −log ∫_bin p_ODE(z) dz, by quadrature; its gap is KL(q(z|x) ‖ p_ODE(z | bin))."""
    model = line_model()
    flow, n = Flow(model, TIGHT), 3_000
    alpha = model.process.alpha_sigma(START, torch.zeros(1, 1))[0].item()
    for level in range(3):
        edges = alpha * (2 * torch.tensor([level, level + 1], dtype=torch.float64) / 3 - 1)
        nodes = torch.linspace(edges[0].item(), edges[1].item(), 801, dtype=torch.float64).unsqueeze(1)
        density = flow.log_prob(nodes, UNCONDITIONAL, seeded()).log_prob.exp()
        mass = torch.trapezoid(density, nodes.squeeze(1))
        terms = FlowBound(flow, dequantisation).terms(torch.full((n, 1), level), UNCONDITIONAL, seeded(6))
        gap = torch.stack(list(terms.values())).sum(0) + mass.log()
        assert z_score(gap) > -LIMIT
        assert abs(z_score((-gap).exp(), 1.0)) < LIMIT  # importance weights: E_q[p/q] is the mass itself


def test_fitting_a_dequantiser_tightens_the_bound() -> None:
    model = independent_model(gamma_0=-6.0)
    x = torch.multinomial(MARGINALS, 4_000, replacement=True, generator=seeded(7)).T
    learned = VariationalBins(3, (2,))
    batches = [(x[64 * i : 64 * (i + 1)], UNCONDITIONAL) for i in range(40)]
    learned.fit(model, batches, START, seeded(8))
    assert not any(parameter.requires_grad for parameter in learned.parameters())
    fitted, uniform = (
        torch.stack(list(FlowBound(Flow(model), way).terms(x[-1000:], UNCONDITIONAL, seeded(9)).values())).sum(0)
        for way in (learned, UniformBins())
    )
    assert z_score(uniform - fitted) > LIMIT
    assert z_score(fitted + log_mass(x[-1000:])) > 0


def test_an_evaluation_states_both_errors_and_the_evaluations() -> None:
    """Through `vlb.evaluate`, as any bound; Hutchinson's probes are part of the Monte Carlo error."""
    model = independent_model()
    bound = FlowBound(Flow(model, AdaptiveSteps(1e-3), Hutchinson()), UniformBins())
    split = Split(EVERY.numpy().astype(np.uint8))
    result = measure_bound(bound, split, passes=3)
    assert result.sums["calls"] == 3 and result.sums["examples"] == 27
    evaluations, error = result.observed("evaluations", "calls"), result.observed("error", "examples")
    assert evaluations is not None and evaluations > 12 and error is not None
    assert result.se_monte_carlo > 0 and result.se_data > 0
    assert all(word in str(result.bound) for word in ("probability-flow", "uniform", "Hutchinson"))
    assert result.paths == (("reconstruction",), ("dequantisation",), ("flow",))


def test_a_condition_reaches_decoder_and_flow() -> None:
    class Told(nn.Module):
        """Logits for level 0 that are the label."""

        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
            out = z.new_zeros(*z.shape, 3)
            if condition.label is not None:
                out[..., 0] += condition.label.view(-1, *(1 for _ in z.shape[1:]))
            return out

    denoiser = PosteriorDenoiser(Told(), CategoricalPosterior(MARGINALS.log()), VP()).double()
    model = DiffusionModel(GaussianDiffusion(LogSNRLinear(-3.0, 16.0)), denoiser, Centres(3), (2,))
    labels = torch.arange(9) % 2 * 2
    total = torch.stack(
        list(FlowBound(Flow(model, TIGHT)).terms(EVERY, Condition(label=labels), seeded()).values())
    ).sum(0)
    logits = MARGINALS.double().log() + torch.nn.functional.one_hot(torch.tensor(0), 3) * labels.view(-1, 1, 1)
    expected = logits.log_softmax(-1).gather(2, EVERY.unsqueeze(-1)).sum((1, 2))
    torch.testing.assert_close(total, -expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("dequantisation", [UniformBins(), TruncatedNormalBins(), VariationalBins(3, (2,))], ids=str)
def test_continuous_data_have_no_bins(dequantisation) -> None:
    model = independent_model()
    continuous = DiffusionModel(model.process, model.denoiser, Continuous(), (2,))
    with pytest.raises(UserError, match="Diffused"):
        dequantisation(continuous, torch.zeros(1, 2), START, UNCONDITIONAL, seeded())


def test_continuous_data_are_bounded_as_a_density() -> None:
    """`Diffused` with an exact decoder, prior and denoiser is log p(x) at every draw, of real x too."""
    mixture = plane_mixture()
    model = exact_model(mixture, LogSNRLinear(-6.0, 5.0))
    x = mixture.expand(30).sample(seeded(10))
    total = torch.stack(list(FlowBound(Flow(model, TIGHT), Diffused()).terms(x, UNCONDITIONAL, seeded()).values())).sum(
        0
    )
    torch.testing.assert_close(total, -mixture.log_prob(x), rtol=0, atol=1e-6)
