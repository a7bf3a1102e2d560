"""Levels can be trained independently of each other (§3, v): what a few levels learn is those levels' KL."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.oracles import SCALINGS, line_mixture, seeded
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.models.diffusion.denoiser import RegressionDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Noise
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear

STEPS, CHOSEN = 6, (2, 5)


@dataclass(frozen=True)
class SomeLevels:
    """A measure of a few levels only: (n,) levels and the weight that makes it their sum."""

    levels: tuple[int, ...]

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(self.levels), (n,), generator=generator)
        return torch.tensor(self.levels)[index], torch.full((n,), float(len(self.levels)), dtype=torch.float64)


class LayerPerLevel(nn.Module):
    """ε̂ = (w_i z + b_i) with weights of its own at each level of an even grid: nothing is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(STEPS + 1, 2, dtype=torch.float64))

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        level = ((gamma[:, 0] + 4.0) / 8.0 * STEPS).round().long()
        w, b = self.weights[level].unsqueeze(-1).unbind(1)
        return (w * z + b).unsqueeze(-1)


def test_training_a_few_levels_reduces_exactly_their_kl() -> None:
    mixture, n = line_mixture(), 4_000
    network = LayerPerLevel()
    scaling = SCALINGS["vp"]
    model = DiffusionModel(
        GaussianDiffusion(LogSNRLinear(-4.0, 4.0)),
        RegressionDenoiser(network, Noise(), scaling),
        Continuous(),
        (1,),
    )
    grid, test = model.at(STEPS), mixture.expand(n).sample(seeded())

    def kls() -> Tensor:
        """The mean KL of the steps 1 … T, with the same noise at every call."""
        with torch.no_grad():
            return elbo(grid, grid.infer(test), test, seeded(1)).kl[:, 1:].flip(1).mean(0)

    before, measure = kls(), SomeLevels(CHOSEN)
    optimiser, generator = torch.optim.Adam(network.parameters(), 0.05), seeded(2)
    for _ in range(150):
        x = mixture.expand(256).sample(generator)
        place, weight = measure.draw(256, generator)
        optimiser.zero_grad()
        (grid.term(x, place, UNCONDITIONAL, generator) * weight).mean().backward()
        optimiser.step()
    after = kls()
    for level in range(1, STEPS + 1):
        if level in CHOSEN:
            assert after[level - 1] < 0.9 * before[level - 1]
        else:
            assert after[level - 1] == before[level - 1]

    # What is learnt is the optimum of each level by itself: linear regression of ε on z_t, in closed form.
    for level in CHOSEN:
        alpha, sigma = (v.item() for v in model.process.alpha_sigma(grid.time(level), test[:1]))
        spread = mixture.diffused(alpha, sigma).covariance()[0, 0, 0].item()
        slope = sigma / spread
        learnt = network.weights[level].detach()
        assert abs(learnt[0].item() - slope) < 0.05
        assert abs(learnt[1].item() + slope * alpha * mixture.mean()[0, 0].item()) < 0.05
