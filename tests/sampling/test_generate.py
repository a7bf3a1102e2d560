"""From nothing to x and back, with the model's own ends."""

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import LIMIT, exact_model, plane_mixture, seeded, z_score
from tests.sampling.laws import ENDS
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.grids import UniformLogSNR, UniformT
from vlb.models.diffusion.kernels import ExactMixture
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.generate import decode, encode, generate
from vlb.models.diffusion.samplers.heun import Heun
from vlb.models.diffusion.samplers.ode import ProbabilityFlow
from vlb.models.diffusion.samplers.transforms import clip_to_levels, transformed
from vlb.models.diffusion.schedules import LogSNRLinear

MASSES = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])


class Nothing(nn.Module):
    """A backbone that says nothing: with a posterior head, the exact model of independent elements."""

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        return torch.zeros(*z.shape, 4)


def independent_model() -> DiffusionModel:
    """Two independent elements with four levels each, float32 as networks are."""
    denoiser = PosteriorDenoiser(Nothing(), CategoricalPosterior(MASSES.log()), VP())
    return DiffusionModel(GaussianDiffusion(LogSNRLinear(-6.0, 6.0)), denoiser, Centres(4), (2,))


def test_ancestral_generation_is_the_models_own() -> None:
    """The same draws in the same order as `model.sample`, to the bit."""
    for model in (independent_model(), exact_model(plane_mixture(), LogSNRLinear(-6.0, 4.0))):
        grid = UniformT()(model.process.schedule, 7)
        own = model.sample(5, steps=7, generator=seeded(1))
        assert torch.equal(generate(model, Ancestral(), 5, grid, seeded(1)), own)


@pytest.mark.parametrize(
    "sampler",
    [Ancestral(ExactMixture()), DDIM(1.0), Heun(), Heun(churn=0.5), DPMSolver(), DPMSolver(1.0), ProbabilityFlow()],
    ids=str,
)
def test_generated_levels_have_the_masses_of_the_model(sampler) -> None:
    model, n = independent_model(), 4_000
    x = generate(model, sampler, n, UniformLogSNR()(model.process.schedule, 150), seeded(2))
    assert x.shape == (n, 2) and x.dtype == torch.int64
    for d in range(2):
        for k in range(4):
            assert abs(z_score((x[:, d] == k).double(), MASSES[d, k].item())) < LIMIT


def test_a_grid_may_end_where_the_head_decodes() -> None:
    """From γ = 0 the head's p(x | z_t) finishes what the steps leave, exactly for independent elements."""
    model, n = independent_model(), 4_000
    grid = torch.cat((torch.tensor([0.5]), torch.linspace(0.5, 1, 80).double()[1:])).double()
    x = generate(model, Heun(), n, grid, seeded(3))
    for k in range(4):
        assert abs(z_score((x[:, 0] == k).double(), MASSES[0, k].item())) < LIMIT


def test_decoding_an_encoding_gives_the_data_back() -> None:
    """Centres by the mode of p(x | z₀) and reals by its mean."""
    model = independent_model()
    x = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    for sampler, grid in ((ProbabilityFlow(), ENDS), (Heun(), UniformLogSNR()(model.process.schedule, 60))):
        z_1 = encode(model, sampler, x, grid)
        assert z_1.dtype == torch.float64
        assert torch.equal(decode(model, sampler, z_1, grid).mode(), x)
    reals = exact_model(plane_mixture(), LogSNRLinear(-6.0, 4.0), exact_ends=False)
    x = plane_mixture().expand(30).sample(seeded(4))
    flow = ProbabilityFlow(1e-9, 1e-9)
    torch.testing.assert_close(decode(reals, flow, encode(reals, flow, x, ENDS), ENDS).mean, x, rtol=0, atol=1e-5)


def test_clipping_a_posterior_head_changes_nothing() -> None:
    """Its x̂ is a mean of levels already."""
    model = independent_model()
    clipped = transformed(model, clip_to_levels(model))
    grid = UniformLogSNR()(model.process.schedule, 10)
    assert torch.equal(generate(clipped, Heun(), 50, grid, seeded(5)), generate(model, Heun(), 50, grid, seeded(5)))
