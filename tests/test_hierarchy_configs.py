"""Configurations of the predecessors: what they build, their free bits and warm-up, and what they refuse."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.building import built
from tests.oracles import seeded
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.emissions.offered import BernoulliOutput, DiscretisedLogisticOutput, GaussianOutput
from vlb.core.marginals import log_marginals
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split, load
from vlb.data.baselines import baselines
from vlb.measure.evaluation import measure_bound
from vlb.models.mixture.config import Mixture
from vlb.models.vae.config import HVAE, VAE, ResidualHVAE
from vlb.models.vae.generative import MarkovGenerator
from vlb.models.vae.loss import ElboLoss, ElboTerms
from vlb.models.vae.prior import Aggregate, Vamp
from vlb.nn.coder import ConvolutionalCoder, DenseCoder
from vlb.store.experiment import Training
from vlb.training.batches import batch_indices
from vlb.training.options import TrainOptions
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer
from vlb.training.verb import adjust

SMALL = {
    "vae": VAE(latents=4, coder=DenseCoder(width=16)),
    "conv": VAE(latents=4, coder=ConvolutionalCoder(widths=(8, 8))),
    "logistic": VAE(latents=4, coder=DenseCoder(width=16), likelihood=DiscretisedLogisticOutput()),
    "vamp": VAE(latents=4, coder=DenseCoder(width=16), prior=Vamp(inputs=5)),
    "aggregate": VAE(latents=4, coder=DenseCoder(width=16), prior=Aggregate(examples=9)),
    "bottom-up": HVAE(latents=(4, 3), inference="bottom-up", width=16),
    "precision": HVAE(latents=(4, 3, 1), width=16),
    "joined": HVAE(latents=(4, 3, 2), merge="joined", width=16),
    "relative": HVAE(latents=(4, 3, 2), merge="relative", width=16),
    "residual": ResidualHVAE(halvings=(0, 1, 1, 2), channels=2, width=8),
}
ALL = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def odd(levels: int = 4) -> Dataset:
    """Images of 5×7 in two channels."""
    x = np.random.default_rng(0).integers(0, levels, (30, 2, 5, 7)).astype(np.uint8)
    return Dataset("odd", levels_schema((2, 5, 7), levels), Split(x[:20]), Split(x[20:25]), Split(x[25:]))


@ALL
def test_a_few_steps_lower_the_bound_and_reach_every_parameter(config, digits: Dataset) -> None:
    torch.manual_seed(0)
    model = built(config, digits)
    made = ElboLoss(warmup=200).build(model)
    x = torch.from_numpy(digits.train.x[:64])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses, reached = [], set()
    for step in range(40):
        terms, _ = made(model, x, UNCONDITIONAL, seeded(step), step)
        loss = torch.stack(list(terms.values())).sum()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        reached |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        optimiser.step()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert reached == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@ALL
def test_odd_images_and_samples_of_the_right_kind(config) -> None:
    model = built(config, odd()).eval()
    x = model.sample(3, generator=seeded(1))
    assert x.shape == (3, 2, 5, 7) and not x.is_floating_point() and int(x.min()) >= 0 and int(x.max()) < 4
    terms = model.terms(torch.from_numpy(odd().test.x), UNCONDITIONAL, seeded(2))
    assert len(terms) == model.depth + 1 and all(term.shape == (5,) for term in terms.values())


def test_untrained_residual_hierarchy_is_the_independent_pixel_model(digits: Dataset) -> None:
    """Its decoder gives zeros and its q is p: the bound is the baseline, exactly."""
    model = built(ResidualHVAE(halvings=(0, 1, 2), width=8), digits).eval()
    bound = measure_bound(model, digits.test, passes=2)
    assert bound.bits_per_dim == pytest.approx(baselines(digits, "test")["independent_pixels"], abs=1e-5)
    assert bound.terms[("kl", 1)] == bound.terms[("kl", 2)] == bound.terms[("kl", 3)] == 0


def test_both_directions_have_one_generative_network(digits: Dataset) -> None:
    shapes = [
        {n: tuple(p.shape) for n, p in built(HVAE(inference=way, width=16), digits).generator.named_parameters()}
        for way in ("bottom-up", "top-down")
    ]
    assert shapes[0] == shapes[1]
    assert isinstance(built(HVAE(width=16), digits).generator, MarkovGenerator)


@pytest.mark.parametrize(
    ("config", "steps", "warmup"),
    [
        (VAE(latents=8, coder=ConvolutionalCoder(widths=(16, 16), dropout=0.0)), 200, 0),
        (VAE(latents=8, coder=DenseCoder(width=64), prior=Vamp(inputs=30)), 120, 0),
        (VAE(latents=8, coder=DenseCoder(width=64), prior=Aggregate(examples=100)), 120, 0),
        (ResidualHVAE(halvings=(0, 1, 2), channels=2, width=16, dropout=0.0), 200, 150),
    ],
    ids=["conv", "vamp", "aggregate", "residual"],
)
def test_trained_for_seconds_it_beats_independent_pixels(config, steps: int, warmup: int, digits: Dataset) -> None:
    """On held-out data, by the training loop, with latents in use."""
    torch.manual_seed(0)
    model = built(config, digits)
    settings = Training(steps=steps, batch=64, learning_rate=4e-3, warmup=10, ema=0.9, clip=5.0)
    trainer = Trainer(model, ElboLoss(warmup=warmup).build(model), settings, 0, torch.device("cpu"))
    x = torch.from_numpy(digits.train.x)
    for step in range(steps):
        trainer.update(x[batch_indices(0, step, 64, len(x))], UNCONDITIONAL)
    trainer.module.load_state_dict(trainer.average.tensors)
    found = measure_bound(model.eval(), digits.validation, passes=2)
    assert found.bits_per_dim < baselines(digits, "validation")["independent_pixels"] - 0.05
    assert found.kl_per_rung is not None and sum(found.kl_per_rung) > 0.02


def test_free_bits_and_warm_up_do_what_they_say(digits: Dataset) -> None:
    config = HVAE(latents=(4, 3), width=16)
    torch.manual_seed(0)
    model, x = built(config, digits).eval(), torch.from_numpy(digits.train.x[:32])
    plain, _ = ElboTerms()(model, x, UNCONDITIONAL, seeded(3), 0)
    assert sum(plain.values()).item() * 64 == pytest.approx(
        sum(model.terms(x, UNCONDITIONAL, seeded(3)).values()).mean().item(), rel=1e-5
    )
    free, _ = ElboTerms(free_nats=1e3)(model, x, UNCONDITIONAL, seeded(3), 0)
    assert free["kl_1"].item() * 64 == pytest.approx(1e3)
    # Below the threshold a level's KL has no gradient of its own.
    (gradient,) = torch.autograd.grad(free["kl_2"], [next(model.merges.parameters())], allow_unused=True)
    assert gradient is None or not gradient.abs().any()
    warming = ElboTerms(warmup=4)
    evaluated, _ = warming(model, x, UNCONDITIONAL, seeded(3), 0)
    torch.testing.assert_close(evaluated["kl_1"], plain["kl_1"])
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    weighted = [warming(model, x, UNCONDITIONAL, seeded(3), step)[0]["kl_1"] for step in range(6)]
    shares = [(kl / plain["kl_1"]).item() for kl in weighted]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], rel=1e-4)


def test_mixture_is_exact_and_beats_independent_pixels(digits: Dataset) -> None:
    model = built(Mixture(components=10, em_steps=15), digits)
    result = measure_bound(model, digits.test, passes=2)
    assert result.se_monte_carlo == 0 and model.bound.exact
    assert result.bits_per_dim < baselines(digits, "test")["independent_pixels"] - 0.1
    one = built(Mixture(components=1, em_steps=2, smoothing=1e-3), digits)
    counts = one.logits.detach().softmax(-1).double().numpy()
    # A single component is the marginals, up to smoothing.
    assert np.abs(counts - np.exp(log_marginals(digits.train.x, 17))).max() < 0.02


@pytest.mark.parametrize(
    "config, message",
    [
        (HVAE(latents=()), "at least one rung"),
        (VAE(likelihood=BernoulliOutput()), r"two levels.*17.*categorical"),
        (VAE(likelihood=GaussianOutput()), r"density.*17 discrete levels.*categorical"),
        (VAE(coder=ConvolutionalCoder(widths=(8, 8, 8, 8))), r"do not fit images of 8×8.*at most 3"),
        (VAE(coder=ConvolutionalCoder(widths=())), "widths"),
        (ResidualHVAE(halvings=(1, 4)), r"do not fit images of 8×8.*at most 3"),
        (ResidualHVAE(halvings=(2, 1)), "never fall"),
        (ResidualHVAE(halvings=()), "at least one rung"),
        (VAE(prior=Aggregate(examples=2000)), "between 1 and the 1257"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_way_out(config, message: str, digits: Dataset) -> None:
    with pytest.raises(UserError, match=message):
        built(config, digits)


def test_labels_and_tables_are_refused_where_they_do_not_serve(digits: Dataset) -> None:
    for config in (VAE(), HVAE(), ResidualHVAE(), Mixture()):
        with pytest.raises(UserError, match="--condition"):
            adjust(dataclasses.replace(recipe("digits-vae"), model=config), TrainOptions(condition="labels"), None)
    with pytest.raises(UserError, match="need images"):
        ResidualHVAE().build(levels_schema((70,), 4))
    vector = VAE(latents=2, coder=DenseCoder(width=8)).build(levels_schema((70,), 4))
    assert vector.sample(2, generator=seeded()).shape == (2, 70)


@pytest.mark.parametrize("levels", [3, 4, 17])
def test_no_other_number_of_levels_has_a_bernoulli_likelihood(levels: int) -> None:
    with pytest.raises(UserError, match=rf"two levels.*{levels}"):
        BernoulliOutput().build(levels_schema((70,), levels))


def test_binary_data_have_a_bernoulli_likelihood() -> None:
    data = odd(2)
    config = VAE(latents=2, coder=DenseCoder(width=8), likelihood=BernoulliOutput())
    model = built(config, data).eval()
    with torch.no_grad():
        for parameter in model.generator.decoder.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    x = torch.from_numpy(data.test.x)
    terms = model.terms(x, UNCONDITIONAL, seeded(4))
    expected = -torch.from_numpy(log_marginals(data.train.x, data.levels))[torch.arange(70), x.flatten(1).long()].sum(1)
    torch.testing.assert_close(terms[("reconstruction",)].double(), expected, rtol=1e-4, atol=1e-3)
    assert math.isfinite(sum(terms.values()).sum().item())
