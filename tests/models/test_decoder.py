"""Decoding in groups: exact laws whatever the network says, as samples, losses, bounds and codes."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from vlb.base.errors import UserError
from vlb.coding.diffusion import evenly
from vlb.coding.effort import placements
from vlb.coding.stack import BitStack
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.layouts import Points
from vlb.core.schema import Real, Schema, levels_schema
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.decoder import Lattices, Together, spread
from vlb.models.diffusion.denoiser import Mixture, Posterior, Prediction, Regression, Transform
from vlb.models.diffusion.loss import predictions
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.noisy import squared_error
from vlb.models.diffusion.process import VE, VP
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.samplers.transforms import transformed
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.stratified import Plan, StratifiedBound
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNet

LEVELS = 3


def model_of(shape: tuple[int, ...], stride: int = 2, head: object = None, seed: int = 0) -> DiffusionModel:
    """With a network that says anything."""
    made = Diffusion(
        schedule=LogSNRLinear(gamma_0=-1.0, gamma_1=6.0),
        backbone=MLP(width=16, blocks=1),
        head=head or Posterior(),
        decoder=Lattices(stride=stride),
    ).build(levels_schema(shape, LEVELS))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made.double().eval()


def everything(shape: tuple[int, ...]) -> Tensor:
    """All examples of a shape."""
    values = itertools.product(range(LEVELS), repeat=math.prod(shape))
    return torch.tensor(list(values)).view(-1, *shape)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.sampled_from([(1, 2, 2), (2, 1, 2), (1, 3), (1, 1, 2, 2), (1, 4), (1, 1, 1)]),
    stride=st.integers(2, 3),
    head=st.sampled_from([Posterior(), Mixture(components=2)]),
    seed=st.integers(0, 1000),
)
def test_masses_sum_to_one(shape: tuple[int, ...], stride: int, head: object, seed: int) -> None:
    model, x = model_of(shape, stride, head, seed), everything(shape)
    z = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        mass = model.likelihood(z.expand(x.shape)).log_prob(x).exp().sum()
    assert float(mass) == pytest.approx(1, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(roles=st.lists(st.sampled_from(list(Role)), min_size=4, max_size=4), seed=st.integers(0, 1000))
def test_masses_of_what_is_modelled_sum_to_one_given_the_rest(roles: list[Role], seed: int) -> None:
    model, x = model_of((1, 2, 2), seed=seed), everything((1, 2, 2))
    role = torch.tensor([int(role) for role in roles], dtype=torch.uint8).view(1, 1, 2, 2).expand(x.shape)
    values = torch.tensor([0, 2, 1, 1]).view(1, 1, 2, 2).expand(x.shape)
    z = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    agree = ((x == values) | (role == Role.MODELLED)).flatten(1).all(1)
    with torch.no_grad():
        law = model.likelihood(z.expand(x.shape), Condition(role=role, values=values))
        mass = law.log_prob(x)[agree].exp().sum()
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_samples_are_of_the_law() -> None:
    """Pearson's statistic of 81 outcomes, false alarm 1e-6."""
    model, x, n = model_of((1, 2, 2)), everything((1, 2, 2)), 20_000
    z = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        expected = n * model.likelihood(z.expand(x.shape)).log_prob(x).exp()
        drawn = model.likelihood(z.expand(n, 1, 2, 2)).sample(torch.Generator().manual_seed(1))
    places = (drawn.flatten(1) * LEVELS ** torch.arange(3, -1, -1)).sum(1)
    counts = torch.bincount(places, minlength=len(x)).double()
    often = expected >= 5
    seen = torch.cat((counts[often], counts[~often].sum().view(1)))
    right = torch.cat((expected[often], expected[~often].sum().view(1))).clamp(min=1e-9)
    assert float(((seen - right) ** 2 / right).sum()) < chi2.isf(1e-6, len(seen))


def test_one_group_stands_for_all_without_bias() -> None:
    """Of many copies of one picture: 5 standard errors of the difference, false alarm 6e-7."""
    model = model_of((1, 2, 2))
    x = torch.tensor([0, 2, 1, 1]).view(1, 1, 2, 2).expand(8001, 1, 2, 2)
    t = torch.full((len(x),), 0.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        place = model.process.schedule.place(t)
        *_, found = predictions(model, x, place, slice(len(x)), UNCONDITIONAL, generator)
        right = model.reconstruction(x, UNCONDITIONAL, generator)
    difference = float(found.mean() - right.mean())
    assert abs(difference) < 5 * math.sqrt(float(found.var() + right.var()) / len(x))


def test_the_diffusion_part_is_that_of_a_model_without_groups() -> None:
    model, x = model_of((1, 2, 2)), everything((1, 2, 2))
    t = torch.rand(len(x), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        rate = model.process.schedule.rate(t)
        right = model.noise_error(x, t, rate, UNCONDITIONAL, torch.Generator().manual_seed(1))
        place, few = model.process.schedule.place(t), slice(8)
        said, noisy, _ = predictions(model, x, place, few, UNCONDITIONAL, torch.Generator().manual_seed(1))
        found = squared_error(said, noisy)
    assert torch.allclose(found, right.double())


def test_every_way_to_the_bound_agrees() -> None:
    """Continuous time stratified and plain, and the model under another scaling: 5 standard errors, 6e-7."""
    model = model_of((1, 2, 2))
    x = torch.tensor([0, 2, 1, 1]).view(1, 1, 2, 2).expand(4000, 1, 2, 2)
    totals = []
    with torch.no_grad():
        for way in (model, StratifiedBound(model, Plan.plain(4)), model.under(VE())):
            terms = way.terms(x, UNCONDITIONAL, torch.Generator().manual_seed(len(totals)))
            totals.append(torch.stack(list(terms.values())).sum(0))
    for other in totals[1:]:
        error = math.sqrt(float(totals[0].var() + other.var()) / len(x))
        assert abs(float(totals[0].mean() - other.mean())) < 5 * error


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 3, 5), (2, 7), (1, 2, 3, 2)])
def test_codes_come_back_at_the_rate_of_the_bound(shape: tuple[int, ...]) -> None:
    """Six standard errors of both (false alarm 2e-9), and 1 % for grid and snapping."""
    model = model_of(shape)
    chosen, x = evenly(2, 3), np.random.default_rng(0).integers(0, LEVELS, (60, *shape)).astype(np.uint8)
    codec = chosen.codec(model).batch
    words = np.random.default_rng(1).integers(1, 2**32, 20_000, dtype=np.uint32).tobytes()
    stack = BitStack(words)
    before, content = stack.bits, stack.content()
    codec.encode(stack, x)
    net = (stack.bits - before) / x.size
    assert np.array_equal(codec.decode(stack, len(x)), x)
    assert stack.content() == content
    hierarchy, images = chosen.bounded(model), torch.from_numpy(x)
    with torch.no_grad():
        totals = torch.stack(
            [elbo(hierarchy, hierarchy.infer(images), images, torch.Generator().manual_seed(s)).total for s in range(4)]
        )
    bits = totals / math.log(2) / math.prod(shape)
    error = float(bits.var(0).mean().sqrt()) * math.sqrt(1.25 / len(x))
    assert abs(net - float(bits.mean())) < 6 * error + 0.01 * net


def test_what_decodes_in_groups_starts_at_t_0() -> None:
    """It was taught nothing of groups at other times."""
    model = model_of((1, 2, 2))
    x = torch.from_numpy(np.random.default_rng(0).integers(0, LEVELS, (32, 1, 2, 2)))
    assert {found.places[0] for found in placements(model, x, 4).values()} == {0}


@settings(deadline=None)
@given(stride=st.integers(2, 5), axes=st.integers(1, 3))
def test_each_place_has_its_turn(stride: int, axes: int) -> None:
    if stride**axes <= 64:
        assert sorted(spread(stride, axes).tolist()) == list(range(stride**axes))


def test_neighbours_come_last() -> None:
    """Of four lattices the second is across the first: none of its elements is beside one of the first."""
    groups = Lattices().groups(levels_schema((1, 6, 6), 2))[0]
    assert torch.equal(groups[:2, :2], torch.tensor([[0, 2], [3, 1]]))
    assert torch.equal(groups[2:, 2:], groups[:-2, :-2])


class Counting(Transform):
    """Counts what it is asked."""

    asked = 0

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        self.asked += 1
        return self.denoiser(z, gamma, condition)


@pytest.mark.parametrize("copied", [lambda m: m.under(VP()), lambda m: transformed(m, m.denoiser)])
def test_models_made_of_others_decode_as_these(copied: Callable[[DiffusionModel], DiffusionModel]) -> None:
    model, x = model_of((1, 2, 2)), everything((1, 2, 2))
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(copied(model).likelihood(z).log_prob(x), model.likelihood(z).log_prob(x))


def test_a_sampler_asks_as_often_as_is_said() -> None:
    """Once a step, and once for each lattice."""
    model = model_of((1, 4, 4))
    counting = Counting(model.denoiser)
    grid = torch.linspace(0, 1, 6, dtype=torch.float64)
    generate(transformed(model, counting), Ancestral(), 3, grid, torch.Generator().manual_seed(0))
    assert counting.asked == model.at(grid).evaluations == 5 + 4


def test_lattices_without_elements_are_none() -> None:
    assert Lattices(stride=3).groups(levels_schema((1, 1, 2), 2)).flatten().tolist() == [0, 1]


def test_what_has_no_lattices_is_refused() -> None:
    backbone = MLP(width=8, blocks=1)
    made = Diffusion(backbone=backbone, decoder=Lattices())
    with pytest.raises(UserError, match="pictures, sound and volumes"):
        made.build(levels_schema((5,), 2))
    with pytest.raises(UserError, match="more than 64 lattices"):
        Diffusion(backbone=backbone, decoder=Lattices(stride=8)).build(levels_schema((1, 8, 8, 8), 2))
    points = Schema(layout=Points((4, 2)), kinds=Real())
    with pytest.raises(UserError):
        made.build(points)
    with pytest.raises(UserError, match="a law of each"):
        Diffusion(backbone=backbone, decoder=Lattices(), head=Regression()).build(levels_schema((1, 4, 4), 2))


def test_together_is_one_evaluation() -> None:
    assert Together().groups(levels_schema((1, 4, 4), 2)) is None
    assert model_of((1, 4, 4)).decodings == 4
    wave = Diffusion(backbone=UNet(widths=(8,), attention=(False,)), decoder=Lattices(stride=3))
    assert wave.build(levels_schema((1, 16), 4)).decodings == 3
