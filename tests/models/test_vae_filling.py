"""What a VAE says of elements that are not known, by weighing draws of its latents, beside the same law by counting."""

import math

import pytest
import torch
from torch import Tensor

from tests.oracles import seeded
from vlb.core.emissions.offered import CategoricalOutput
from vlb.core.schema import levels_schema
from vlb.models.vae.config import HVAE, VAE
from vlb.models.vae.filling import population
from vlb.models.vae.model import VariationalHierarchy
from vlb.nn.coder import DenseCoder

SHAPE, LEVELS, N = (1, 2, 2), 3, 4000
KNOWN = torch.tensor([[[True, False], [False, True]]])
X = torch.tensor([[[2, 0], [0, 1]]])


def wild(model: VariationalHierarchy, seed: int) -> VariationalHierarchy:
    """A model that is nothing in particular, and whose encoder is not its posterior."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def counted(model: VariationalHierarchy, n: int = 120_000) -> Tensor:
    """p(the two unknown elements | the known ones) of a model, (3, 3), by likelihood weighting: samples of all latents
    from p, each weighed by what is known. Their error is a few thousandths."""
    total = torch.zeros(LEVELS, LEVELS, dtype=torch.float64)
    with torch.no_grad():
        for part in range(8):
            generator = seeded(100 + part)
            state = model.start(n // 8)
            for number in reversed(range(model.depth)):
                state = model.advance(number, state, model.rung(number, state).p.sample(generator))
            p = model.decoded(state.features).logits.double().softmax(-1).view(-1, 4, LEVELS)
            weight = p[:, 0, 2] * p[:, 3, 1]
            total += torch.einsum("n,ni,nj->ij", weight, p[:, 1], p[:, 2])
    return total / total.sum()


MODELS = {
    "vae": VAE(latents=2, coder=DenseCoder(width=8, dropout=0.0), likelihood=CategoricalOutput()),
    "top-down": HVAE(latents=(2, 2), width=8, dropout=0.0, likelihood=CategoricalOutput()),
    "bottom-up": HVAE(latents=(2, 2), width=8, dropout=0.0, inference="bottom-up", likelihood=CategoricalOutput()),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_draws_have_the_conditional_law(name: str) -> None:
    """Each of 9 pairs of unknown elements as often as it should be, within 5.5 standard errors of 4,000 draws, a
    population of 32 for each, and 0.01 for what the weights of a population and the oracle are off by."""
    torch.manual_seed(0)
    model = wild(MODELS[name].build(levels_schema(SHAPE, LEVELS)), 1)
    expected = counted(model)
    x, known = X.expand(N, *SHAPE), KNOWN.expand(N, *SHAPE)
    law = population(model, x, known, seeded(3), draws=32, rounds=3)
    drawn = law.sample(seeded(4))
    assert torch.equal(drawn[known], x[known]) and drawn.dtype == x.dtype
    assert bool((law.effective >= 1).all()) and bool((law.effective <= 32 + 1e-6).all()) and law.draws == 32
    places = drawn.flatten(1)[:, 1] * LEVELS + drawn.flatten(1)[:, 2]
    found = torch.bincount(places, minlength=9).view(LEVELS, LEVELS) / N
    assert float((expected - expected.sum(1, keepdim=True) * expected.sum(0, keepdim=True)).abs().max()) > 0.005
    assert bool(((found - expected).abs() < 5.5 * (expected * (1 - expected) / N).sqrt() + 0.01).all()), (
        found,
        expected,
    )


@pytest.mark.parametrize("name", list(MODELS))
def test_the_mean_weight_of_a_round_is_the_mass_of_what_is_known(name: str) -> None:
    """Unbiased whatever the guesses are, by likelihood weighting. The mean over 4,000 populations of each, within 6 of
    their standard errors and 1 % for the oracle: weights are bounded by 8 p(known | z), so errors are normal."""
    torch.manual_seed(0)
    model = wild(MODELS[name].build(levels_schema(SHAPE, LEVELS)), 1)
    with torch.no_grad():
        generator, n = seeded(9), 100_000
        state = model.start(n)
        for number in reversed(range(model.depth)):
            state = model.advance(number, state, model.rung(number, state).p.sample(generator))
        p = model.decoded(state.features).logits.double().softmax(-1).view(-1, 4, LEVELS)
        each = p[:, 0, 2] * p[:, 3, 1]
    law = population(model, X.expand(N, *SHAPE), KNOWN.expand(N, *SHAPE), seeded(5), draws=16, rounds=2)
    means = law.log_weights.logsumexp(1).exp() / 16
    error = math.hypot(float(means.std()) / N**0.5, float(each.std()) / n**0.5)
    assert abs(float(means.mean() - each.mean())) < 6 * error
