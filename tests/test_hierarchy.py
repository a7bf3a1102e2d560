"""The loops: order, choosers, and what a step records."""

import pytest
import torch
from torch import Tensor

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.oracles import LIMIT, exact_model, seeded, z_score
from vlb.core.hierarchy import Rung, climb, descend, from_posterior, from_prior, last_state
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import gaussian_mixture


def test_descent_goes_from_the_top_to_the_data() -> None:
    model = TwoLevels()
    steps = list(descend(model, model.start(3), from_prior(seeded())))
    assert [step.number for step in steps] == [1, 0]
    assert [len(step.state.latents) for step in steps] == [1, 2]
    assert all(torch.equal(step.state.latents[-1], step.z) for step in steps)


def test_climb_goes_from_the_data_to_the_top() -> None:
    x = torch.randn(3, 3, generator=seeded(), dtype=torch.float64)
    steps = list(climb(TwoLevels(), x, lambda _, q: q.sample(seeded(1))))
    assert [step.number for step in steps] == [0, 1]
    assert steps[0].below is x
    assert steps[1].below is steps[0].z


def test_the_chooser_decides() -> None:
    """Given latents in, the same latents out: reconstruction and decoding are descents too."""
    model, given = TwoLevels(), {1: torch.full((2, 3), 7.0).double(), 0: torch.full((2, 3), -1.0).double()}
    steps = list(descend(model, model.start(2), lambda level, rung: given[level]))
    assert all(step.z is given[step.number] for step in steps)
    torch.testing.assert_close(steps[1].p.mean, model.a * given[1])


def test_choosers_are_lazy() -> None:
    """A codec interleaves: rung 0 may not be asked for before level 1 was chosen."""
    model, seen = TwoLevels(), []
    walk = descend(model, model.start(2), lambda level, rung: seen.append(level) or rung.p.mean)
    assert seen == []
    next(walk)
    assert seen == [1]


def test_choosing_from_the_posterior_needs_data() -> None:
    model = TwoLevels()
    with pytest.raises(ValueError, match="start the descent from data"):
        last_state(descend(model, model.start(2), from_posterior(seeded())))


def test_an_empty_descent_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rung"):
        last_state(iter(()))


@pytest.mark.parametrize("model", [PPCA(), TwoLevels()], ids=["ppca", "two-levels"])
def test_posterior_latents_of_model_data_follow_the_prior(model) -> None:
    """The aggregate posterior is the prior where q is exact: every level, every element."""
    generator = seeded(2)
    x = model.likelihood(last_state(descend(model, model.start(20_000), from_prior(generator)))).sample(generator)
    for step in descend(model, model.infer(x), from_posterior(generator)):
        standard = (step.z - step.p.mean) * (-0.5 * step.p.log_variance).exp()
        for i in range(standard.shape[1]):
            assert abs(z_score(standard[:, i])) < LIMIT
            assert abs(z_score(standard[:, i] ** 2, 1.0)) < LIMIT


def test_equal_generators_walk_equally() -> None:
    model = TwoLevels()
    one, two = (last_state(descend(model, model.start(4), from_prior(seeded(3)))) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.latents, two.latents, strict=True))


@pytest.mark.parametrize("steps", [20, 100])
def test_replacing_known_parts_of_latents_does_not_impute(steps: int) -> None:
    """Not even with an exact model: x₂ given x₁ = 1.5 of a Gaussian with correlation 0.9 is N(1.35, 0.19); drawing x₁'s
    part of every latent from q and the rest from p gives a mean below 1 and half again the variance."""
    covariance = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=torch.float64)
    law = gaussian_mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), covariance)
    model = exact_model(law, LogSNRLinear(-8.0, 8.0))
    grid, generator, n = model.at(steps), seeded(0), 20_000
    known = torch.full((n, 2), 1.5, dtype=torch.float64)

    def choose(level: int, rung: Rung) -> Tensor:
        z = rung.p.sample(generator)
        z[:, 0] = model.process.marginal(known, grid.time(level)).sample(generator)[:, 0]
        return z

    x = last_state(descend(grid, grid.start(n), choose)).z[:, 1]
    assert x.mean() < 1.0 and x.var() > 0.24  # 40 and 25 standard errors away from the truth, at least
