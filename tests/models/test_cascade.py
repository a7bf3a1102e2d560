"""A cascade is a model of the whole: its bands are a bijection of images, and so its masses add up to what its parts'
masses do."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from tests.oracles import seeded
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.coding.cascade import CascadeSettings
from vlb.coding.diffusion import evenly
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import LABEL, PLANES, UNCONDITIONAL, Condition
from vlb.core.schema import levels_schema
from vlb.core.terms import EXACT, TermPath
from vlb.data import Dataset, Split, load
from vlb.measure.evaluation import measure_bound
from vlb.models.cascade.bands import Bands, Haar, Phases
from vlb.models.cascade.config import Cascade
from vlb.models.cascade.loss import CascadeLoss
from vlb.models.cascade.model import Cascading
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import AdaptiveTime
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNet
from vlb.store.experiment import Experiment, Training
from vlb.store.runs import Run
from vlb.training.loop import fit

EITHER = pytest.mark.parametrize("bands", [Haar(), Phases()], ids=lambda bands: type(bands).__name__)
LEVELS, DRAWS = 5, 60


@EITHER
@given(
    levels=st.integers(2, 65536),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 2**32),
)
def test_images_come_back_from_their_bands(bands: Bands, levels: int, shape: tuple[int, ...], seed: int) -> None:
    n, channels, height, width = shape
    x = torch.randint(levels, (n, channels, 2 * height, 2 * width), generator=torch.Generator().manual_seed(seed))
    coarse, details = bands.split(x, levels)
    assert coarse.shape == (n, channels, height, width) and details.shape == (n, 3 * channels, height, width)
    for band in (coarse, details):
        assert int(band.min()) >= 0 and int(band.max()) < levels
    assert torch.equal(bands.join(coarse, details, levels), x)


@EITHER
@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_no_value_of_the_bands_is_without_an_image(bands: Bands, levels: int) -> None:
    """Every image of 2×2 pixels, and as many bands: all of them."""
    every = torch.cartesian_prod(*[torch.arange(levels)] * 4).view(-1, 1, 2, 2)
    coarse, details = bands.split(every, levels)
    both = torch.cat((coarse, details), 1).flatten(1)
    assert len(both.unique(dim=0)) == levels**4


@pytest.mark.parametrize("levels", [2, 3, 16, 17])
def test_haar_has_means_and_differences_where_they_are_small(levels: int) -> None:
    a, b = torch.cartesian_prod(torch.arange(levels), torch.arange(levels)).unbind(1)
    coarse, detail = Haar().lift(a, b, levels)
    small = (2 * (b - a).abs()) < levels
    assert torch.equal(coarse[small], ((a + b) // 2)[small])
    assert torch.equal(detail[small], (b - a + levels // 2)[small])


def test_of_a_fifth_of_the_pairs_of_digits_the_mean_wraps_around() -> None:
    data = load("digits")
    a, b = (torch.from_numpy(data.train.x[..., place::2].astype(np.int64)) for place in (0, 1))
    coarse, _ = Haar().lift(a, b, data.levels)
    wrapped = (coarse != (a + b) // 2).double().mean()
    assert 0.2 < float(wrapped) < 0.22


class Table:
    """p(y | planes) over all y, (C, H, W) of K levels each, by a table of log-masses for every value of the planes."""

    bound = EXACT

    def __init__(self, shape: tuple[int, ...], given: int, seed: int) -> None:
        self.shape = shape
        self.takes = PLANES if given > 1 else frozenset()
        values = LEVELS ** math.prod(shape)
        self.log_mass = torch.randn(given, values, dtype=torch.float64, generator=seeded(seed)).log_softmax(1)

    def terms(self, x: torch.Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, torch.Tensor]:
        row = torch.zeros(len(x), dtype=torch.int64)
        if condition.planes is not None:
            row = _number(((condition.planes + 1) * LEVELS / 2 - 0.5).round().long())
        return {("surprise",): -self.log_mass[row, _number(x)]}


def _number(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    return (flat * LEVELS ** torch.arange(flat.shape[1])).sum(1)


@EITHER
def test_masses_multiply_to_masses_that_sum_to_one(bands: Bands) -> None:
    """Over all images of 2×2 pixels of 5 levels, by exact models of the coarse pixel and of the details given it."""
    model = Cascading(bands, (1, 2, 2), LEVELS, Table((1, 1, 1), 1, 0), [Table((3, 1, 1), LEVELS, 1)])
    every = torch.cartesian_prod(*[torch.arange(LEVELS)] * 4).view(-1, 1, 2, 2)
    terms = model.terms(every, UNCONDITIONAL, seeded())
    assert set(terms) == {("details", 1, "surprise"), ("coarse", "surprise")}
    masses = (-torch.stack(list(terms.values())).sum(0)).exp()
    torch.testing.assert_close(masses.sum(), torch.ones((), dtype=torch.float64))
    coarse, _ = bands.split(every, LEVELS)
    marginal = torch.zeros(LEVELS, dtype=torch.float64).index_add(0, coarse.flatten(), masses)
    torch.testing.assert_close(marginal, model.coarse.log_mass[0].exp())


def small(**more: object) -> Cascade:
    part = Diffusion(
        schedule=LogSNRLinear(gamma_0=-6.0, gamma_1=5.0),
        backbone=UNet(widths=(8,), attention=(True,)),
    )
    return replace(Cascade(coarse=part, details=part), **more)


def pictures(n: int, size: int = 8, levels: int = LEVELS) -> Dataset:
    """Blurs, so that details follow from the coarse band."""
    noise = np.random.default_rng(0).normal(size=(n, 1, size, size))
    for axis in (2, 3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    x = np.clip(np.round(levels / 2 + noise / 2), 0, levels - 1).astype(np.uint8)
    labels = np.arange(n) % 3
    cut = [Split(x[part], labels[part]) for part in (slice(n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n))]
    return Dataset("blurs", levels_schema((1, size, size), levels, 3), *cut)


def test_an_untrained_cascade_of_phases_is_the_model_of_independent_pixels() -> None:
    """Its networks start at zero, so that each band's bound is that of its marginals; the prior's term is small."""
    data = pictures(400)
    experiment = Experiment(recipe="digits", model=small(bands=Phases(), depth=2), loss=CascadeLoss())
    model = experiment.build(data).eval()
    found = measure_bound(model, data.test, passes=16)
    marginal = np.log(
        np.stack([(data.train.x == level).mean(0) * (200 / (200 + LEVELS)) + 1 / (200 + LEVELS) for level in range(5)])
    )
    chosen = np.take_along_axis(marginal, data.test.x[None, :, 0].astype(int).transpose(1, 0, 2, 3), 0)[:, None]
    exact = -chosen.sum() / (len(data.test) * data.dimensions * math.log(2))
    assert abs(found.bits_per_dim - exact) < 0.02 + 5 * found.se_monte_carlo


def test_networks_are_told_the_coarse_band() -> None:
    data = pictures(60)
    model = Experiment(recipe="digits", model=small(condition="labels"), loss=CascadeLoss()).build(data)
    assert model.takes == LABEL and model.details[0].takes == LABEL | PLANES and model.coarse.takes == LABEL
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(1)))
    x = torch.from_numpy(data.train.x[:4])
    one, other = (model.told(band, UNCONDITIONAL) for band in (torch.zeros(4, 1, 4, 4), torch.ones(4, 1, 4, 4)))
    detail, z, t = model.details[0], torch.zeros(4, 3, 4, 4), torch.full((1,), 0.5)
    assert not torch.equal(detail.predict(z, t, one).x, detail.predict(z, t, other).x)
    with pytest.raises(UserError, match="planes"):
        detail.predict(z, t)
    with pytest.raises(UserError, match="planes"):
        model.terms(x, one, seeded())


def test_the_loss_is_the_mean_of_the_bound_and_learns_what_each_band_shows() -> None:
    data = pictures(60)
    loss = CascadeLoss(coarse=DiffusionLoss(times=AdaptiveTime(bins=4)), details=DiffusionLoss(decoder_share=1.0))
    experiment = Experiment(recipe="digits", model=small(depth=2), loss=loss)
    model = experiment.build(data)
    built = experiment.build_loss(model)
    x = torch.from_numpy(data.train.x[:4])
    terms, sums = built(model, x, UNCONDITIONAL, seeded(3), 0)
    assert {name.rsplit("_", 1)[0] for name in terms} == {"details_1", "details_2", "coarse"}
    built.learn(sums)
    assert float(built.bands[2].times.weight.sum()) > 0
    draws = [sum(built(model, x, UNCONDITIONAL, seeded(seed), 0)[0].values()).item() for seed in range(DRAWS)]
    bound = [
        torch.stack(list(model.terms(x, UNCONDITIONAL, seeded(seed)).values())).sum(0).mean().item() / 64
        for seed in range(DRAWS)
    ]
    error = math.hypot(np.std(draws), np.std(bound)) / math.sqrt(DRAWS)
    assert abs(np.mean(draws) - np.mean(bound)) < 6 * error  # by Student's law at 60 draws, false alarms: 1e-7


@pytest.mark.parametrize(
    ("bands", "depth"), [(Haar(), 1), pytest.param(Phases(), 2, marks=pytest.mark.slow)], ids=["haar", "phases"]
)
def test_a_cascade_goes_through_the_verbs(bands: Bands, depth: int, tmp_path: Path) -> None:
    data = pictures(200)
    training = Training(steps=30, batch=16, warmup=1, validate_every=15, checkpoint_every=15, learning_rate=3e-3)
    experiment = Experiment(
        recipe="digits-cascade", model=small(bands=bands, depth=depth), loss=CascadeLoss(), training=training
    )
    run = Run.create(tmp_path / "run", experiment, data)
    assert fit(experiment, data, run)
    run = Run.open(run.path)
    found = vlb.evaluate(run.model(), "test", vlb.EvaluateOptions(passes=4), apart=data)
    assert {path[0] for path in found.terms} == {"details", "coarse"}
    x = vlb.sample(run, vlb.SampleOptions(n=2)).x
    assert x.shape == (2, 1, 8, 8) and x.max() < LEVELS

    np.save(tmp_path / "x.npy", data.test.x)
    vlb.compress(run, [tmp_path / "x.npy"], tmp_path / "x.vlb", vlb.CompressOptions(steps=4))
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "out", run=run.path)
    assert (tmp_path / "out/x.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()


@settings(max_examples=30)
@given(steps=st.lists(st.integers(1, 40), min_size=2, max_size=17))
def test_settings_come_back_from_a_header(steps: list[int]) -> None:
    written = CascadeSettings(tuple(evenly(1, count) for count in steps))
    writer = Writer()
    written.write(writer)
    assert CascadeSettings.read(Reader(writer.content())) == written


def test_settings_that_make_no_sense_are_damage() -> None:
    writer = Writer()
    CascadeSettings((evenly(1, 3),)).write(writer)
    with pytest.raises(Damaged):
        CascadeSettings.read(Reader(writer.content()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(depth=4).build(levels_schema((1, 8, 8), 4)), "odd"),
        (lambda: small().build(levels_schema((1, 7, 8), 4)), "odd"),
        (lambda: small().build(levels_schema((8,), 4)), "images"),
        (lambda: small(coarse=Diffusion(roles=True)), "told what the whole is"),
        (lambda: small(coarse=Diffusion(condition="labels")), "told what the whole is"),
    ],
)
def test_what_makes_no_cascade_is_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_an_mlp_is_told_planes_too() -> None:
    schema = levels_schema((1, 4, 4), 4)
    part = Diffusion(backbone=MLP(width=16, blocks=1))
    model = Cascade(coarse=part, details=part).build(schema)
    terms = model.terms(torch.zeros(3, 1, 4, 4, dtype=torch.int64), UNCONDITIONAL, seeded())
    assert all(term.shape == (3,) for term in terms.values())


def test_a_recipe_sets_parts_by_name() -> None:
    from vlb.training.recipes import recipe

    experiment = override(recipe("digits-cascade"), "model.details.backbone.dropout=0.1")
    assert experiment.model.details.backbone.dropout == 0.1 and experiment.model.coarse.backbone.dropout == 0.2
