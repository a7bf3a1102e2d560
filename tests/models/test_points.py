"""Diffusion models of point clouds: order means nothing, densities are in the units of the data, Gaussian data have the
exact bound."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.nn.test_backbones import perturbed
from tests.oracles import seeded
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.emissions import CoordinateMixture, Coordinates
from vlb.core.initial import initialise
from vlb.core.layouts import Points
from vlb.core.schema import Real, Schema
from vlb.data import Split
from vlb.data.sets import split_of, varying
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.noisy import noised_by, predicted, squared_error, surprise
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.config import Mixture
from vlb.models.vae.config import VAE
from vlb.nn.mlp import MLP
from vlb.nn.sets import SetAttention, SetBackbone
from vlb.nn.unet import UNet


def schema(number: int, coordinates: int = 3) -> Schema:
    return Schema(layout=Points((number, coordinates)), kinds=Real())


def model_of(
    x: np.ndarray | Split, layout: Points | None = None, *, components: int = 2, gamma_0: float = -8.0
) -> DiffusionModel:
    """Untrained, of clouds x (n, N, d) or of a split of a layout."""
    configuration = Diffusion(
        schedule=LogSNRLinear(gamma_0=gamma_0, gamma_1=6.0),
        backbone=SetAttention(width=16, blocks=2),
        head=Preconditioned(components=components),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        split = x if isinstance(x, Split) else Split(x)
        model = configuration.build(Schema(layout=layout or Points(split.x.shape[1:]), kinds=Real()))
    initialise(model, split, seeded(0))
    return model


def clouds(number: int, coordinates: int = 3, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(number)
    return 5 + rng.normal(size=(count, 1, coordinates)) + 2 * rng.normal(size=(count, number, coordinates))


@given(st.integers(2, 9), st.integers(2, 3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_network_of_sets_commutes_with_permutations(number: int, coordinates: int, seed: int) -> None:
    network = perturbed(SetBackbone(coordinates, 4, 0, 16, 2, (0, 1), 0.0), seed).double()
    z = torch.randn(3, number, coordinates, generator=seeded(seed), dtype=torch.float64)
    gamma = torch.linspace(-8, 6, 3, dtype=torch.float64).unsqueeze(1)
    order = torch.randperm(number, generator=seeded(seed))
    found = network(z[:, order], gamma, UNCONDITIONAL)
    torch.testing.assert_close(found, network(z, gamma, UNCONDITIONAL)[:, order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", [-8.0, -3.0, 2.0])
def test_the_bound_does_not_know_an_order(gamma: float) -> None:
    """A permuted cloud under permuted noise has the same errors and the same log p(x | z)."""
    x = torch.from_numpy(clouds(7))
    model = model_of(x.numpy())
    perturbed(model.denoiser.backbone)  # type: ignore[arg-type]
    model = model.double()
    order, few = torch.randperm(7, generator=seeded(3)), x[:5]
    eps = torch.randn(few.shape, generator=seeded(1), dtype=torch.float64)
    t = ((torch.full((5,), gamma) + 8) / 14).double()

    def measured(x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        noisy = noised_by(model, x, model.embedding.embed(x), t, UNCONDITIONAL, eps)
        (found,) = predicted(model, noisy)
        return squared_error(found, noisy), surprise(found, noisy)

    for one, other in zip(measured(few, eps), measured(few[:, order], eps[:, order]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@given(st.lists(st.integers(2, 6), min_size=2, max_size=4), st.integers(2, 3), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_absent_points_are_nothing(numbers: list[int], coordinates: int, seed: int) -> None:
    """Among larger ones, a cloud has the terms that it has by itself under the same noise, and what stands in place of
    absent points does not matter."""
    rng = np.random.default_rng(seed)
    clouds = [rng.normal(size=(number, coordinates)) for number in numbers]
    layout = varying(7, coordinates, numbers)
    split = split_of(clouds, layout)
    model = model_of(split, layout)
    perturbed(model.denoiser.backbone, seed)  # type: ignore[arg-type]
    model = model.double()
    x, condition = split.batch(np.arange(len(split)), False, "cpu")
    eps = torch.randn(x.shape, generator=seeded(seed), dtype=torch.float64)
    t = torch.linspace(0, 1, len(split), dtype=torch.float64)

    def measured(x: Tensor, eps: Tensor, t: Tensor, condition: Condition) -> list[Tensor]:
        noisy = noised_by(model, x, model.embedding.embed(x), t, condition, eps)
        (found,) = predicted(model, noisy)
        return [squared_error(found, noisy), surprise(found, noisy), model.prior_kl(x, seeded(0), condition=condition)]

    found = measured(x, eps, t, condition)
    far = torch.where(condition.role == Role.ABSENT, 1e3, x)  # type: ignore[arg-type]
    for one, other in zip(found, measured(far, eps.where(far == x, 5.0), t, condition), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for i, number in enumerate(numbers):
        by_itself = Condition(role=torch.zeros(1, number, coordinates, dtype=torch.uint8))
        parts = measured(x[i : i + 1, :number], eps[i : i + 1, :number], t[i : i + 1], by_itself)
        for one, other in zip(found, parts, strict=True):
            torch.testing.assert_close(one[i : i + 1], other, rtol=1e-6, atol=1e-6)


@given(st.floats(1e-4, 1e4), st.floats(-1e6, 1e6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_density_scales_with_the_unit(scale: float, shift: float, seed: int) -> None:
    """log p of scaled data is less by N·d·log(scale): the Jacobian is in, and shifts are nothing."""
    x = clouds(4, 2)

    def log_p(x: np.ndarray) -> Tensor:
        coordinates = Coordinates(2)
        initialise(coordinates, Split(x), seeded(0))
        draw = seeded(seed)
        parts = [torch.randn(len(x), 4, 2, 3, generator=draw) for _ in range(2)]
        law = coordinates.mixture(*parts, torch.rand(len(x), 4, 2, 3, generator=draw) + 0.1)
        return law.log_prob(torch.from_numpy(x))

    torch.testing.assert_close(
        log_p(scale * x + shift), log_p(x) - 8 * math.log(scale), rtol=1e-5, atol=1e-3 if abs(shift) < 1e3 else 0.1
    )


def test_the_density_integrates_to_one() -> None:
    coordinates = Coordinates(2)
    initialise(coordinates, Split(clouds(4, 2)), seeded(0))
    law = coordinates.mixture(
        *(torch.randn(1, 1, 2, 3, generator=seeded(k)) for k in (1, 2)), torch.full((1, 1, 2, 3), 0.2)
    )
    assert isinstance(law, CoordinateMixture)
    axis = torch.linspace(-40, 50, 20001, dtype=torch.float64)
    density = law.log_probs(torch.stack((axis, axis), -1)[:, None]).exp()[:, 0]
    for total in torch.trapezoid(density, axis, dim=0):
        assert total.item() == pytest.approx(1, abs=1e-6)
    drawn = torch.cat([law.sample(seeded(k)) for k in range(2000)])[:, 0]
    mean = law.mode()[0, 0]
    spread = law.variance[0, 0].sqrt() * coordinates.get_buffer("scale")
    assert ((drawn.mean(0) - mean).abs() < 5.5 * spread / math.sqrt(2000)).all()  # 4e-8 a coordinate


@pytest.mark.parametrize("components", [1, 4])
def test_silence_is_exact_of_gaussian_points(components: int) -> None:
    """Points of one Gaussian with one deviation are what the untrained model is of: its bound is −log p, in the units
    of the data, up to its Monte Carlo error."""
    rng = np.random.default_rng(0)
    x = 100 + 7 * rng.normal(size=(400, 6, 3))
    model = model_of(x, components=components)
    coordinates = model.denoiser.continuum  # type: ignore[attr-defined]
    shift, scale = (coordinates.get_buffer(name).numpy() for name in ("shift", "scale"))
    z = (x - shift) / scale
    exact = (0.5 * z**2 + 0.5 * math.log(2 * math.pi)).sum((1, 2)) + 18 * math.log(scale)
    few = torch.from_numpy(x[:16])
    with torch.no_grad():
        totals = torch.stack(
            [torch.stack([*model.terms(few, UNCONDITIONAL, seeded(k)).values()]).sum(0) for k in range(60)]
        ).numpy()
    means = totals.mean(1)
    error = means.std(ddof=1) / math.sqrt(len(means))
    # 7 standard errors (3e-9 for 59 degrees of freedom); and what components, the narrowest deviation and p(z_1) cost.
    assert abs(means.mean() - exact[:16].mean()) < 7 * error + 0.05


def test_samples_are_where_the_data_are() -> None:
    x = 100 + 7 * np.random.default_rng(0).normal(size=(400, 6, 3))
    drawn = model_of(x).sample(100, steps=40, generator=seeded(0))
    assert drawn.dtype == torch.float64 and drawn.shape == (100, 6, 3)
    error = 7 / math.sqrt(drawn.numel())
    assert abs(drawn.mean().item() - 100) < 6 * error and abs(drawn.std().item() - 7) < 6 * error


def test_far_away_coordinates_keep_their_digits() -> None:
    """Of points at 5·10⁶, as surveyors have them, a millimetre counts: embedded and back, and in samples."""
    x = 5e6 + 0.5 * np.random.default_rng(1).normal(size=(30, 5, 3))
    model = model_of(x)
    coordinates = model.denoiser.continuum  # type: ignore[attr-defined]
    assert model.in_units == {"denoiser.continuum.shift", "denoiser.continuum.scale"}  # so that they may be of any size
    again = coordinates.unembed(coordinates.embed(torch.from_numpy(x)))
    assert (again - torch.from_numpy(x)).abs().max() < 1e-5
    drawn = model.sample(50, steps=10, generator=seeded(0))
    assert len(torch.unique(drawn)) == drawn.numel()


def test_one_place_is_no_scale() -> None:
    """Clouds of one point many times over have no deviation: nothing is divided by 0."""
    model = model_of(np.full((5, 4, 3), 3.0))
    terms = model.terms(torch.full((2, 4, 3), 3.0, dtype=torch.float64), UNCONDITIONAL, seeded(0))
    assert all(term.isfinite().all() for term in terms.values())


@pytest.mark.parametrize("backbone", [MLP(), UNet()])
def test_networks_that_know_an_order_are_refused(backbone: MLP | UNet) -> None:
    with pytest.raises(UserError, match=r"order of points means nothing.*set-attention"):
        Diffusion(backbone=backbone, head=Preconditioned()).build(schema(5))


@pytest.mark.parametrize("configuration", [Diffusion(backbone=SetAttention()), Mixture(), VAE()])
def test_other_models_are_refused(configuration: Diffusion | Mixture | VAE) -> None:
    with pytest.raises(UserError, match=r"recipe points|of tables"):
        configuration.build(schema(5))


@pytest.mark.parametrize("shape", [(5,), (1, 4, 4)])
def test_attention_over_sets_is_of_points(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="needs points"):
        SetAttention().build(shape, (*shape, 2), 0, False)
    with pytest.raises(UserError, match="told no planes"):
        SetAttention().build((4, 3), (4, 3, 2), 0, False, 2)


def test_it_learns_that_points_belong_together() -> None:
    """Clouds about a centre of their own: below points by themselves by far, near the law that is known."""
    rng = np.random.default_rng(0)
    x = 3 * rng.normal(size=(500, 1, 2)) + 0.3 * rng.normal(size=(500, 6, 2))
    torch.manual_seed(0)
    model = model_of(x, gamma_0=-6.0)
    loss = DiffusionLoss().build(model)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    generator = seeded(0)
    values = []
    for step in range(120):
        index = torch.randint(0, 500, (64,), generator=generator)
        terms, _ = loss(model, torch.from_numpy(x)[index], UNCONDITIONAL, generator, step)
        total = torch.stack([*terms.values()]).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(total.item())
    covariance = np.kron(np.eye(2), 9 * np.ones((6, 6)) + 0.09 * np.eye(6))
    exact = 0.5 * (12 * math.log(2 * math.pi * math.e) + np.linalg.slogdet(covariance)[1]) / 12
    alone = 0.5 * math.log(2 * math.pi * math.e * 9.09)
    assert exact < np.mean(values[-20:]) < exact + 0.5 * (alone - exact)


def test_dropout_is_offered() -> None:
    network = SetAttention(dropout=0.5).build((4, 3), (4, 3, 2), 0, False)
    assert any(isinstance(part, nn.Dropout) and part.p == 0.5 for part in network.modules())
