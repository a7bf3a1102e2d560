"""Guidance, clipping and snapping: scores in closed form, αx̂ + σε̂ = z, and what is left alone."""

import pytest
import torch

from tests.oracles import SCALINGS, exact_model, plane_mixture, seeded
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.emissions import Centres, Listed
from vlb.models.diffusion.denoiser import Denoises, Prediction
from vlb.models.diffusion.samplers.transforms import Clipped, Guided, Snapped, clip_to_levels, transformed
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import MixtureDenoiser

scalings = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


def noisy(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """z and γ from little noise to much."""
    z = 1.5 * torch.randn(n, 2, generator=seeded(), dtype=torch.float64)
    return z, torch.linspace(-4, 4, n, dtype=torch.float64).unsqueeze(1)


def assert_recombines(prediction: Prediction, z: torch.Tensor, gamma: torch.Tensor, scaling) -> None:
    alpha, sigma = scaling(gamma)
    torch.testing.assert_close(alpha * prediction.x + sigma * prediction.eps, z, rtol=1e-9, atol=1e-9)


@scalings
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_is_the_score_of_a_tilted_law(scaling, scale: float) -> None:
    """ε̂ = −σ∇ log [q(z | y)^w q(z)^{1−w}]."""
    mixture, (z, gamma) = plane_mixture(), noisy()
    label = torch.arange(len(z)) % 3
    prediction = Guided(MixtureDenoiser(mixture, scaling), scale)(z, gamma, Condition(label=label))
    alpha, sigma = scaling(gamma)
    given = mixture.component(label).diffused(alpha, sigma).score(z)
    free = mixture.diffused(alpha, sigma).score(z)
    torch.testing.assert_close(prediction.eps, -sigma * (scale * given + (1 - scale) * free), rtol=1e-8, atol=1e-8)
    assert_recombines(prediction, z, gamma, scaling)


def test_guidance_needs_a_label() -> None:
    guided = Guided(MixtureDenoiser(plane_mixture(), SCALINGS["vp"]), 2.0)
    with pytest.raises(UserError, match="class label"):
        guided(*noisy())


@scalings
def test_clipping_keeps_to_the_range_and_to_z(scaling) -> None:
    denoiser, (z, gamma) = MixtureDenoiser(plane_mixture(), scaling), noisy()
    plain, clipped = denoiser(z, gamma), Clipped(denoiser, scaling, -0.5, 0.7)(z, gamma)
    inside = (plain.x >= -0.5) & (plain.x <= 0.7)
    assert bool(inside.any()) and not bool(inside.all())
    assert clipped.x.min() == -0.5 and clipped.x.max() == 0.7
    assert torch.equal(clipped.x[inside], plain.x[inside]) and torch.equal(clipped.eps[inside], plain.eps[inside])
    assert_recombines(clipped, z, gamma, scaling)


def test_clipping_to_everything_changes_no_bit() -> None:
    denoiser, (z, gamma) = MixtureDenoiser(plane_mixture(), SCALINGS["vp"]), noisy()
    plain, clipped = denoiser(z, gamma), Clipped(denoiser, SCALINGS["vp"], -1e9, 1e9)(z, gamma)
    assert torch.equal(plain.x, clipped.x) and torch.equal(plain.eps, clipped.eps)


class Coin:
    """A head whose mode and mean disagree: level 4 of 5 with mass 0.6, else level 0."""

    decodes = True
    takes = NOTHING

    def __call__(self, z: torch.Tensor, gamma: torch.Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        logits = torch.tensor([0.4, 0.0, 0.0, 0.0, 0.6], dtype=torch.float64).log().expand(*z.shape, 5)
        alpha, sigma = SCALINGS["vp"](gamma)
        x = torch.full_like(z, 0.16)
        return Prediction(x, (z - alpha * x) / sigma, Listed(logits, Centres(5).values(z)))


def test_snapping_asks_the_head_or_takes_the_nearest_level() -> None:
    levels, scaling, (z, gamma) = Centres(5), SCALINGS["vp"], noisy()
    by_head = Snapped(Coin(), scaling, levels)(z, gamma)
    torch.testing.assert_close(by_head.x, torch.full_like(z, 0.8))
    assert_recombines(by_head, z, gamma, scaling)
    plain: Denoises = MixtureDenoiser(plane_mixture(), scaling, decodes=False)
    nearest = Snapped(plain, scaling, levels)(z, gamma)
    distance = (plain(z, gamma).x.unsqueeze(-1) - levels.values(z)).abs()
    torch.testing.assert_close(nearest.x, levels.values(z)[distance.argmin(-1)])
    assert_recombines(nearest, z, gamma, scaling)


def test_transforms_compose_inside_a_model() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    guided = Guided(model.denoiser, 5.0)
    changed = transformed(model, Clipped(guided, model.process.scaling, -1.0, 1.0))
    z, t, label = noisy()[0], torch.tensor([0.5]), Condition(label=torch.zeros(40, dtype=torch.long))
    torch.testing.assert_close(
        changed.predict(z, t, label).x, guided(z, torch.full((40, 1), -0.5, dtype=torch.float64), label).x.clamp(-1, 1)
    )
    assert changed.learns_decoder and changed.prior is model.prior and changed.process is model.process
    assert model.denoiser is guided.denoiser


def test_impossible_ranges_are_refused() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0))
    with pytest.raises(UserError, match="low < high"):
        Clipped(model.denoiser, SCALINGS["vp"], 1.0, 1.0)
    with pytest.raises(UserError, match="data with levels"):
        clip_to_levels(model)


def test_a_guidance_of_zero_or_one_changes_no_bit() -> None:
    denoiser, (z, gamma) = MixtureDenoiser(plane_mixture(), SCALINGS["vp"]), noisy()
    label = Condition(label=torch.arange(len(z)) % 3)
    assert torch.equal(Guided(denoiser, 1.0)(z, gamma, label).eps, denoiser(z, gamma, label).eps)
    assert torch.equal(Guided(denoiser, 0.0)(z, gamma, label).eps, denoiser(z, gamma).eps)
