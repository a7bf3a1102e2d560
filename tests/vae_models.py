"""Linear hierarchies made of the library's own classes: their posteriors are known, so their bounds must be log p."""

import math

import torch
from torch import Tensor, nn

from tests.gaussian_hierarchies import PPCA, TwoLevels
from vlb.core.emissions import CategoricalEmission, GaussianEmission
from vlb.models.vae.generative import LOG_VARIANCE_LIMIT, MarkovGenerator
from vlb.models.vae.merge import Direct, Joined, PrecisionWeighted
from vlb.models.vae.model import BottomUpVAE, TopDownVAE
from vlb.nn.coder import Dense, Single


def raw(log_variance: float) -> float:
    """What a network must give for `normal` to have this log-variance."""
    return LOG_VARIANCE_LIMIT * math.atanh(log_variance / LOG_VARIANCE_LIMIT)


def gaussian(dimensions: int, variance: float) -> GaussianEmission:
    """A Gaussian likelihood of this variance to double precision."""
    likelihood = GaussianEmission(dimensions).double()
    nn.init.constant_(likelihood.log_variance, math.log(variance))
    return likelihood


class Affine(nn.Module):
    """Means weight·x + bias, then constant log-variances: a Gaussian's 2C numbers, (batch, C_in) -> (batch, 2C)."""

    def __init__(self, weight: Tensor, bias: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.raw = nn.Parameter(torch.tensor([raw(math.log(v)) for v in variance.tolist()], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        mean = x @ self.weight.T + self.bias
        return torch.cat((mean, self.raw.expand(len(x), -1)), 1)


class Column(nn.Module):
    """A linear decoder with one output per element."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T + self.bias).unsqueeze(-1)


class Copies(nn.Module):
    """x itself as the features of every level."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * self.depth


def ppca_vae(stretch: float = 1.0, shift: float = 0.0) -> TopDownVAE:
    """The VAE class as `PPCA`, its encoder the exact posterior, its variance stretched and its mean shifted."""
    model = PPCA()
    precision = (model.weights**2).sum(0) / model.noise + 1
    gain = (model.weights / model.noise / precision).T
    encoder = Affine(gain, -gain @ model.mean + shift, stretch / precision)
    likelihood = gaussian(4, model.noise)
    generator = MarkovGenerator([(2,)], [], Column(model.weights, model.mean), likelihood).double()
    return TopDownVAE(generator, Single(encoder), [Direct(nn.Identity())], (4,))


def _two_level_generator() -> MarkovGenerator:
    m, eye = TwoLevels(), torch.eye(3, dtype=torch.float64)
    zeros, ones = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    transition = Affine(m.a * eye, zeros, m.b * ones)
    likelihood = gaussian(3, m.d)
    return MarkovGenerator([(3,), (3,)], [transition], Column(m.c * eye, zeros), likelihood).double()


def two_level_top_down(stretch: float = 1.0, merge: str = "precision") -> TopDownVAE:
    """`TwoLevels` as a top-down hierarchy; by precision weighting the merge is Bayes' rule (Eq. 2.26)."""
    m, eye = TwoLevels(), torch.eye(3, dtype=torch.float64)
    zeros, ones = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    noise = m.c**2 * m.b + m.d
    variance = 1 / (1 + (m.a * m.c) ** 2 / noise)
    top = Affine(variance * m.a * m.c / noise * eye, zeros, stretch * variance * ones)
    if merge == "precision":
        bottom: nn.Module = PrecisionWeighted(Affine(eye / m.c, zeros, m.d / m.c**2 * ones))
    else:
        variance = 1 / (1 / m.b + m.c**2 / m.d)
        weight = torch.cat((variance * m.c / m.d * eye, variance * m.a / m.b * eye), 1)
        bottom = Joined(Affine(weight, zeros, variance * ones))
    return TopDownVAE(_two_level_generator(), Copies(2), [bottom, Direct(top)], (3,))


def two_level_bottom_up(stretch: float = 1.0) -> BottomUpVAE:
    """`TwoLevels` as a bottom-up hierarchy."""
    m, eye = TwoLevels(), torch.eye(3, dtype=torch.float64)
    zeros, ones = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    marginal = m.a**2 + m.b
    variance = 1 / (1 / marginal + m.c**2 / m.d)
    first = Affine(variance * m.c / m.d * eye, zeros, stretch * variance * ones)
    variance = 1 / (1 + m.a**2 / m.b)
    second = Affine(variance * m.a / m.b * eye, zeros, variance * ones)
    return BottomUpVAE(_two_level_generator(), [first, second], (3,))


def small_categorical_vae(levels: int = 3, dimensions: int = 4, latents: int = 2) -> TopDownVAE:
    """An untrained VAE of few enough values to list them all: (dimensions,) of `levels` levels."""
    torch.manual_seed(0)
    likelihood = CategoricalEmission(torch.zeros(dimensions, levels))
    decoder = Dense(latents, (dimensions, levels), 16, 0, scale=4.0)
    encoder = Dense(dimensions, (2 * latents,), 16, 0, scale=0.3)
    generator = MarkovGenerator([(latents,)], [], decoder, likelihood)
    return TopDownVAE(generator, Single(encoder), [Direct(nn.Identity())], (dimensions,)).eval()
