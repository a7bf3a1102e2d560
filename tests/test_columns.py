"""A column has its own levels: no mass, no sample and no baseline is of cells that do not exist."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import seeded
from vlb.core.condition import UNCONDITIONAL
from vlb.core.emissions import Centres
from vlb.core.emissions.offered import CategoricalOutput, DiscretisedLogisticOutput, MixtureOutput
from vlb.core.initial import initialise
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Schema
from vlb.data.baselines import baselines, per_example
from vlb.data.dataset import Dataset, Split
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Mixture as MixtureHead
from vlb.models.diffusion.samplers.transforms import clip_to_levels
from vlb.models.mixture.config import Mixture
from vlb.models.vae.config import HVAE, VAE
from vlb.nn.mlp import MLP

COUNTS = (2, 3, 7, 1)
SMALL = MLP(width=8, blocks=1)
DENSE = [CategoricalOutput(), DiscretisedLogisticOutput(), MixtureOutput(components=2)]
KINDS = {
    "mixture": Mixture(components=3, em_steps=5),
    "diffusion": Diffusion(backbone=SMALL),
    "diffusion of a mixture": Diffusion(backbone=SMALL, head=MixtureHead(components=2)),
    "hierarchy": HVAE(latents=(2, 2), width=8),
} | {f"vae, {type(likelihood).__name__}": VAE(latents=2, likelihood=likelihood) for likelihood in DENSE}


def schema(counts: tuple[int, ...] = COUNTS) -> Schema:
    columns = [Column(f"c{i}", Categories(tuple(f"v{k}" for k in range(count)))) for i, count in enumerate(counts)]
    return Schema(layout=Vector((len(counts),)), kinds=tuple(columns))


def rows(n: int, counts: tuple[int, ...] = COUNTS, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, count, n) for count in counts], 1).astype(np.uint8)


def every_row(counts: tuple[int, ...] = COUNTS) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*map(range, counts))))


def made(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = KINDS[kind].build(schema())
    initialise(model, Split(rows(200)), seeded())
    with torch.no_grad():  # away from where it starts, as training would take it
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(1)))
    return model.eval()


def test_masses_of_all_rows_sum_to_one() -> None:
    model = made("mixture")
    assert model.log_prob(every_row()).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("likelihood", DENSE, ids=lambda likelihood: type(likelihood).__name__)
@settings(derandomize=True, deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_laws_of_a_decoder_sum_to_one_over_the_values_that_there_are(likelihood, counts, seed) -> None:
    counts = (*counts, 2)
    emission = likelihood.build(schema(counts))
    initialise(emission, Split(rows(50, counts)), seeded())
    out = torch.randn(1, len(counts), emission.outputs, generator=seeded(seed))
    for column, count in enumerate(counts):
        x = torch.zeros(count, len(counts), dtype=torch.int64)
        x[:, column] = torch.arange(count)
        law = emission.law(out.expand(count, -1, -1))
        assert law.log_probs(x)[:, column].exp().sum().item() == pytest.approx(1, abs=1e-5)
        assert bool((law.sample(seeded(seed)) < torch.tensor(counts)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_holds_an_impossible_cell(kind: str) -> None:
    x = made(kind).sample(400, steps=4, generator=seeded(2))
    assert bool((x >= 0).all()) and bool((x < torch.tensor(COUNTS)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_every_bound_is_finite_and_has_finite_gradients(kind: str) -> None:
    model, x = made(kind), every_row()
    total = sum(term.sum() for term in model.terms(x, UNCONDITIONAL, seeded(3)).values())
    assert total.isfinite()
    total.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_where_no_network_says_anything_z_alone_decides_among_the_values_that_there_are() -> None:
    centres = Centres.of(schema())
    z = torch.randn(50, 4, generator=seeded(4))
    alpha, sigma = torch.full((50, 1), 0.9), torch.full((50, 1), 0.4)
    law = centres.given(z, alpha, sigma)
    for column, count in enumerate(COUNTS):
        assert float(law.logits.softmax(-1)[:, column, count:].sum()) == 0
    values = centres.values(z)
    one = Centres(7).given(z[:, 2:3], alpha, sigma)
    torch.testing.assert_close(law.logits[:, 2], one.logits[:, 0])
    torch.testing.assert_close(values[1, :3], torch.tensor([-2 / 3, 0, 2 / 3]))


def test_levels_round_trip_and_ranges_are_each_columns_own() -> None:
    centres, x = Centres.of(schema()), every_row()
    assert torch.equal(centres.nearest(centres.embed(x)), x)
    torch.testing.assert_close(centres.unembed(centres.embed(x).double()), x.double(), rtol=0, atol=1e-5)
    clipped = clip_to_levels(made("diffusion"))
    torch.testing.assert_close(clipped.high, torch.tensor([1 - 1 / count for count in COUNTS]).double())


def test_baselines_are_of_the_cells_that_there_are() -> None:
    data = Dataset("t", schema(), Split(rows(300)), Split(rows(50, seed=1)), Split(rows(60, seed=2)))
    found = baselines(data, "test")
    assert found["uniform"] == pytest.approx(sum(map(math.log2, COUNTS)) / 4)
    np.testing.assert_allclose(np.exp(data.log_marginals).sum(1), 1)
    nats = per_example("independent-pixels", data, data.test)
    assert found["independent_pixels"] == pytest.approx(nats.mean() / 4 / math.log(2))
    assert per_example("uniform", data, data.test) == pytest.approx(sum(map(math.log, COUNTS)))
