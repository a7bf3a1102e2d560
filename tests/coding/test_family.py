"""Every model with a likelihood of discrete data codes, by one loop: exactly, at the rate of its bound."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.commands.test_cli import vlb
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.coding import models
from vlb.coding.bitsback import Climbing, Descending, Exact
from vlb.coding.cells import Uncodable
from vlb.coding.codes import scored
from vlb.coding.diffusion import evenly
from vlb.coding.effort import remembered
from vlb.coding.header import Header, Numerics
from vlb.coding.hierarchies import HierarchySettings, latent_shapes, measured
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.products import MAX_COMPONENTS, GaussianProductMixture, ProductMixture
from vlb.coding.sequence import Lanes
from vlb.coding.settings import Settings
from vlb.coding.stack import BitStack
from vlb.coding.wire import Reader
from vlb.core.condition import UNCONDITIONAL
from vlb.core.distributions import MixtureOfNormals
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.mixture.gaussian import gaussian_mixture
from vlb.models.vae.model import VariationalHierarchy
from vlb.store.experiment import Experiment
from vlb.training.recipes import recipe

SMALL = ("model.width=24", "model.dropout=0")
CATEGORIES = "model.likelihood=categorical"
VAE = ("model.coder.width=24", "model.coder.dropout=0")
KINDS = {
    "mixture": ("digits-mixture", ("model.components=7", "model.em_steps=3"), Exact),
    "vae": ("digits-vae", VAE, Descending),
    "vae, logistic, VampPrior": (
        "digits-vae",
        (*VAE, "model.likelihood=discretised-logistic", "model.prior=vamp", "model.prior.inputs=9"),
        Descending,
    ),
    "bottom-up": ("digits-hvae-bottom-up", (*SMALL, CATEGORIES), Climbing),
    "top-down": ("digits-hvae-top-down", (*SMALL, CATEGORIES), Descending),
    "top-down, relative": ("digits-hvae-top-down", (*SMALL, CATEGORIES, "model.merge=relative"), Descending),
    "residual": ("digits-vae", ("model=residual-hvae", "model.halvings=[1,2]", *SMALL), Descending),
}


def chosen(name: str, assignments: tuple[str, ...]) -> Experiment:
    experiment = recipe(name)
    for assignment in assignments:
        experiment = override(experiment, assignment)
    return experiment


def settings_for(model: nn.Module, x: np.ndarray) -> Settings:
    if isinstance(model, VariationalHierarchy):
        return measured(model, torch.tensor(x), Lanes(16))
    return MixtureSettings(Lanes(16))


def wild(model: nn.Module) -> nn.Module:
    """Weights far from where training starts, so that no latent is unused: an identity must hold for any weights."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("inputs") and not isinstance(model, CategoricalMixture):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith("log_scales"):  # of a constant pixel it is so narrow that a code's least mass is far more
                buffer.clamp_(min=-1)
    return models.prepared(model)


@pytest.fixture(scope="module", params=KINDS)
def member(request: pytest.FixtureRequest, digits: Dataset) -> tuple[nn.Module, type]:
    name, assignments, order = KINDS[request.param]
    return wild(chosen(name, assignments).build(digits)), order


def full(seed: int, words: int = 30_000) -> BitStack:
    return BitStack(np.random.default_rng(seed).integers(1, 2**32, words, dtype=np.uint32).tobytes())


def test_the_net_rate_is_the_bound(member: tuple[nn.Module, type], test_images: np.ndarray) -> None:
    """Two estimates of −VLB from independent draws of the latents: 6 standard errors of their difference (false
    alarm 2e-9), and 1 % for the grid and snapping."""
    model, order = member
    codec = settings_for(model, test_images[:100]).codec(model)
    assert isinstance(codec.batch, order)
    x = torch.tensor(test_images[:150])
    with torch.no_grad():
        draws = [sum(model.terms(x, UNCONDITIONAL, torch.Generator().manual_seed(s)).values()) for s in range(8)]
    totals = torch.stack([draw for draw in draws if isinstance(draw, torch.Tensor)]).double() / math.log(2)
    bound, spread = totals.mean().item(), (totals.var(0).mean() / len(x)).sqrt().item()
    stack = full(0)
    before, content = stack.bits, stack.content()
    codec.batch.encode(stack, test_images[:150])
    rate = (stack.bits - before) / len(x)
    assert abs(rate - bound) < 6 * spread * math.sqrt(1 + 1 / 8) + 0.01 * bound
    assert np.array_equal(codec.batch.decode(stack, 150), test_images[:150])
    assert stack.content() == content


@pytest.mark.parametrize("count", [1, 2, 40])
def test_sequences_begin_with_nothing(member: tuple[nn.Module, type], test_images: np.ndarray, count: int) -> None:
    model, order = member
    codec = settings_for(model, test_images[:100]).codec(model)
    content, account = codec.encode(test_images[:count])
    assert np.array_equal(codec.decode(content, count), test_images[:count])
    assert order is not Exact or account.direct == 0


def test_latents_of_a_bound_are_what_is_coded(digits: Dataset) -> None:
    model = chosen(*KINDS["residual"][:2]).build(digits)
    assert latent_shapes(model) == [(4, 4, 4), (4, 2, 2)]
    with pytest.raises(Uncodable, match="spacings"):
        HierarchySettings((1, 2, 3)).codec(model)


def test_binary_data(digits: Dataset) -> None:
    parts = [Split((split.x > 7).astype(np.uint8)) for split in (digits.train, digits.validation, digits.test)]
    binary = Dataset("binary", levels_schema(parts[0].x.shape[1:], 2), *parts)
    model = wild(chosen("digits-vae", (*VAE, "model.likelihood=bernoulli")).build(binary))
    codec = settings_for(model, parts[2].x).codec(model)
    content, _ = codec.encode(parts[2].x)
    assert models.levels(binary.schema) == 2
    assert np.array_equal(codec.decode(content, len(parts[2].x)), parts[2].x)


def test_a_mixture_of_products_costs_its_density() -> None:
    """The chain rule leaves nothing out: mean cost against log p δ^D; 1 % of the entropy for snapping."""
    generator = torch.Generator().manual_seed(0)
    means, logs = torch.randn(5, 3, generator=generator).double(), torch.randn(5, 3, generator=generator).double() - 1
    p = MixtureOfNormals(torch.randn(5, generator=generator).double(), means, logs, n=800)
    spacing = 1 / 32
    values = np.rint(p.sample(generator).numpy().reshape(-1) / spacing).astype(np.int64)
    values[0], values[5] = 10_000, -70_000_000  # what lies beyond the window is coded as well
    code, stack = scored(p, spacing), full(1)
    before, content = stack.bits, stack.content()
    code.push(stack, values)
    cost = stack.bits - before
    assert np.array_equal(code.pop(stack), values) and stack.content() == content
    inside = torch.from_numpy(values.reshape(800, 3)[2:] * spacing)
    ideal = -p.log_prob(inside).sum().item() / math.log(2) - inside.numel() * math.log2(spacing)
    assert cost == pytest.approx(ideal, rel=0.03)
    with pytest.raises(Uncodable, match="components"):
        ProductMixture(np.zeros(MAX_COMPONENTS + 1, np.int64), [])


def test_small_differences_between_machines_do_not_matter(
    member: tuple[nn.Module, type], test_images: np.ndarray
) -> None:
    model, _ = member
    settings, stack, x = settings_for(model, test_images[:100]), full(2), test_images[:30]
    settings.codec(model).batch.encode(stack, x)
    other = models.prepared(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(
                1 + 2e-16 * torch.randint(-1, 2, parameter.shape, generator=torch.Generator().manual_seed(3))
            )
    assert np.array_equal(settings.codec(other).batch.decode(stack, len(x)), x)


def test_headers_that_name_another_kind_of_model_are_refused(member: tuple[nn.Module, type]) -> None:
    model, order = member
    for settings in (evenly(2, 2), HierarchySettings((1,) * 9), MixtureSettings()):
        if order is Exact and isinstance(settings, MixtureSettings):
            continue
        made = Header(b"12345678", False, (1, 8, 8), 17, settings, Numerics("cpu", 1, (2, 13)))
        with pytest.raises(Uncodable):
            Header.read(Reader(made.content())).settings.codec(model)


@pytest.mark.parametrize(
    "assignments",
    [
        ("head=regression",),
        ("head=regression", "scaling=VE"),
        ("head=mixture",),
        ("head=energy",),
        ("scaling=OT",),
        ("model.schedule=cosine",),
        ("schedule=learned",),
        ("schedule=learned-per-dimension",),
    ],
    ids=" ".join,
)
def test_every_diffusion_codes(assignments: tuple[str, ...], digits: Dataset, tmp_path: Path) -> None:
    network = ("backbone=mlp", "backbone.width=16", "backbone.blocks=1")
    model = models.prepared(models.checked(chosen("digits", (*network, *assignments)).build(digits)))
    x = torch.from_numpy(digits.validation.x[:16].copy())
    settings = remembered(model, models.Measuring(tmp_path, b"12345678", lambda: (x, UNCONDITIONAL)), 3, Lanes(16))
    codec = settings.codec(model)
    content, account = codec.encode(digits.test.x[:40])
    assert np.array_equal(codec.decode(content, 40), digits.test.x[:40])
    assert account.direct < 40
    again = models.Measuring(tmp_path, b"12345678", lambda: pytest.fail("what is kept needs no examples"))
    assert remembered(model, again, 3, Lanes(16)) == settings


def test_what_has_no_code_says_why() -> None:
    mixture = gaussian_mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2).unsqueeze(0))
    with pytest.raises(UserError, match="discrete data"):
        models.checked(mixture)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mixture", "vae, logistic, VampPrior"])
def test_archives_of_predecessors(
    name: str, digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_name, assignments, _ = KINDS[name]
    run, sets = (
        tmp_path / "run",
        [part for a in (*assignments, "steps=10", "training.warmup=2") for part in ("--set", a)],
    )
    assert vlb("train", recipe_name, "--out", run, *sets) == 0
    np.save(tmp_path / "x.npy", digits.test.x[:50])
    assert vlb("compress", run, tmp_path / "x.npy", "-o", tmp_path / "a.vlb", "--embed-model") == 0
    assert vlb("decompress", tmp_path / "a.vlb", "-o", tmp_path / "out") == 0
    assert np.array_equal(np.load(tmp_path / "out" / "x.npy"), digits.test.x[:50])
    assert vlb("compress", run, tmp_path / "x.npy", "-o", tmp_path / "b.vlb", "--steps", "3") == 2
    assert "--steps is for diffusion models" in capsys.readouterr().err


@given(st.lists(st.integers(-40, 40), min_size=6, max_size=6))
def test_latents_beyond_the_window_of_a_product_of_mixtures_come_back(values: list[int]) -> None:
    cells = [np.full((2, 9), 1 << 10, np.int64) for _ in range(3)]
    code = GaussianProductMixture(ProductMixture(np.zeros(2, np.int64), cells), np.array([-4, 0, 4]), 2)
    stack = BitStack(np.random.default_rng(0).bytes(400) + b"\1")
    before = stack.content()
    code.push(stack, np.array(values))
    assert code.pop(stack).tolist() == values and stack.content() == before
