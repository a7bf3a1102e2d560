"""Schedules of numbered steps, and networks that are told their numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import LIMIT, seeded
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.emissions import Centres
from vlb.data.dataset import Split
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.numbered import NumberedDenoiser
from vlb.models.diffusion.parameterization import Data, Noise, Velocity, target
from vlb.models.diffusion.process import OT, VE, VP, GaussianDiffusion
from vlb.models.diffusion.schedules import CosineSteps, LinearSteps, NumberedSteps, ScaledLinearSteps
from vlb.models.diffusion.schedules.steps import STEPS

ALL = pytest.mark.parametrize("kind", STEPS.values(), ids=STEPS)
ENDS = st.tuples(st.floats(-14, 0), st.floats(0.5, 14))


@ALL
@settings(derandomize=True, deadline=None, max_examples=30)
@given(ends=ENDS, t=st.floats(0, 1), count=st.integers(2, 300))
def test_a_schedule_of_steps_is_one(kind: type[NumberedSteps], ends: tuple[float, float], t: float, count: int) -> None:
    """It has its ends, increases, has its inverse and, but at a step itself, its rate."""
    noise = kind(*ends, count=count)
    assert noise.gamma(torch.tensor([0.0, 1.0])).flatten().tolist() == pytest.approx(ends, abs=1e-9)
    time = torch.tensor([t], dtype=torch.float64, requires_grad=True)
    gamma = noise.gamma(time)
    assert noise.inverse(gamma.detach()).item() == pytest.approx(t, abs=1e-9)
    (slope,) = torch.autograd.grad(gamma.sum(), time)
    assert slope.item() > 0
    place = noise.unit_inverse(gamma.detach()).item() * (count - 1)
    if abs(place - round(place)) > 1e-6:
        assert noise.rate(time.detach()).item() == pytest.approx(slope.item(), rel=1e-8)


@pytest.mark.parametrize("steps", [LinearSteps(), ScaledLinearSteps(), CosineSteps(), LinearSteps(count=7)])
def test_alpha_at_step_n_is_the_product_of_what_every_step_keeps(steps: NumberedSteps) -> None:
    kept = 1.0
    own = steps.among(2**20)  # of so many levels the outermost lie at −1 and 1, almost
    for number, beta in enumerate(steps.betas.tolist()):
        kept *= 1 - beta
        t = torch.tensor([number / (steps.count - 1)], dtype=torch.float64)
        assert VP()(steps.table[number])[0].item() ** 2 == pytest.approx(kept, rel=1e-9)
        assert own.gamma(t).item() == pytest.approx(steps.table[number].item(), abs=1e-5)
        assert steps.number(steps.table[number]).item() == pytest.approx(number, abs=1e-6)
    assert steps.number(torch.tensor([-60.0, 60.0], dtype=torch.float64)).tolist() == [0, steps.count - 1]


def test_the_published_rules_have_their_formulas() -> None:
    linear, scaled, cosine = LinearSteps(count=5).betas, ScaledLinearSteps(count=5).betas, CosineSteps(count=5).betas
    for n in range(5):
        assert linear[n].item() == pytest.approx(1e-4 + n / 4 * (0.02 - 1e-4))
        root = math.sqrt(0.00085) + n / 4 * (math.sqrt(0.012) - math.sqrt(0.00085))
        assert scaled[n].item() == pytest.approx(root**2)
        below, above = (math.cos((u / 5 + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (n, n + 1))
        assert cosine[n].item() == pytest.approx(min(1 - above / below, 0.999))


class Knowing(torch.nn.Module):
    """A network that is told numbers, and knows x from −1 to 1: it answers as one trained with a parameterization."""

    takes = NOTHING

    def __init__(self, x: Tensor, parameterization: object, steps: NumberedSteps) -> None:
        super().__init__()
        self.x, self.parameterization, self.steps = x, parameterization, steps
        self.told: list[float] = []

    def forward(self, z: Tensor, number: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        self.told.append(float(number[0]))
        alpha, sigma = (part.view(-1, 1) for part in VP()(self.steps.table[number[:, 0].round().long()]))
        return target(self.parameterization, self.x, (z - alpha * self.x) / sigma, alpha, sigma).unsqueeze(-1)


@pytest.mark.parametrize("scaling", [VP(), VE(), OT()])
@pytest.mark.parametrize("output", [Noise(), Velocity(), Data()])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_what_such_a_network_says_is_read_in_our_units(scaling: object, output: object, levels: int) -> None:
    """x̂ is x at the centre of its bin, ε̂ the noise, at every step and under every scaling."""
    generator, steps, centres = seeded(2), LinearSteps(count=50), Centres(levels)
    x = torch.randint(0, levels, (5, 6), generator=generator)
    network = Knowing(2 * x.double() / (levels - 1) - 1, output, steps)
    denoiser = NumberedDenoiser(network, output, steps, centres, scaling)
    for number in (0, 1, 20, 49):
        t = torch.full((5,), number / 49, dtype=torch.float64)
        gamma = steps.among(levels).gamma(t)
        alpha, sigma = scaling(gamma)
        v, eps = 2 * (x.double() + 0.5) / levels - 1, torch.randn(5, 6, generator=generator, dtype=torch.float64)
        found = denoiser(alpha * v + sigma * eps, gamma)
        assert network.told[-1] == pytest.approx(number, abs=1e-6)
        torch.testing.assert_close(found.x, v, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found.eps, eps, rtol=1e-6, atol=1e-6)


class Mean(torch.nn.Module):
    """ε̂ of standard normal x, which z is a part of: x̂ = αz, with the error σ, where ε̂ = σz."""

    takes = NOTHING

    def __init__(self, steps: NumberedSteps) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, z: Tensor, number: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        _, sigma = VP()(self.steps.unit_gamma(number / (self.steps.count - 1)))
        return (sigma.to(z.dtype) * z).unsqueeze(-1)


def test_the_law_of_x_is_as_wide_as_predictions_are_off() -> None:
    """For x of deviation s about 0, x̂ = αz/c is off by √(((1 − α²) s)² + (ασ/c)²)."""
    steps, centres = LinearSteps(), Centres(256)
    x = torch.randn(400, 50, generator=seeded(4)).mul(0.3).clamp(-1, 1)
    x = centres.nearest(x).numpy().astype("uint8")
    denoiser = NumberedDenoiser(Mean(steps), Noise(), steps, centres, VP())
    denoiser.initialise(Split(x), seeded(5))
    deviation = centres.embed(torch.from_numpy(x)).std().item()
    for gamma in (-9.0, -3.0, 0.0, 3.0):
        level = torch.tensor([[gamma]], dtype=torch.float64)
        own = level + 2 * math.log(256 / 255)
        alpha, sigma = (float(part) for part in VP()(own))
        expected = math.hypot(sigma**2 * deviation, alpha * sigma * 255 / 256)
        law = denoiser(torch.zeros(1, 50), level).law
        assert law.variance[0, 0].sqrt().item() == pytest.approx(expected, rel=0.05)


def test_its_bound_is_one_of_a_law() -> None:
    """Masses of x given z sum to one, so that no bound is below the entropy of data drawn from levels evenly."""
    steps, centres = LinearSteps(count=100), Centres(4)
    denoiser = NumberedDenoiser(Mean(steps), Noise(), steps, centres, VP())
    model = DiffusionModel(GaussianDiffusion(steps.among(4)), denoiser, centres, (50,))
    x = torch.randint(0, 4, (400, 50), generator=seeded(6))
    denoiser.initialise(Split(x.numpy().astype("uint8")), seeded(5))
    law = model.likelihood(torch.randn(3, 50, generator=seeded(7)), t=torch.tensor([0.4]))
    masses = torch.stack([law.log_probs(torch.full((3, 50), k)).exp() for k in range(4)]).sum(0)
    torch.testing.assert_close(masses, torch.ones_like(masses))
    bound = sum(model.terms(x, UNCONDITIONAL, seeded(8)).values())
    lowest = 50 * math.log(4)
    assert bound.mean().item() > lowest - LIMIT * bound.std().item() / 20
