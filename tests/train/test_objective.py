"""Which gradient of the one backward pass goes where, and that whatever learns resumes exactly and is its own."""

import gc
import math
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracles import LIMIT, SCALINGS, exact_model, line_grid, line_mixture, plane_mixture, seeded, z_score
from tests.told import Told
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING, UNCONDITIONAL
from vlb.data import Dataset, load
from vlb.models.diffusion import weightings as weighting
from vlb.models.diffusion.loss import DiffusionTerms
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.patterns import _around, some_known
from vlb.models.diffusion.schedules import Cosine, Learned, LearnedPerDimension, LearnedSchedule, LogSNRLinear
from vlb.models.diffusion.times import AdaptiveTime, UniformTime
from vlb.store import checkpoint
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

BOUND = DiffusionTerms(UniformTime(), weighting.Likelihood(), 1.0)


def terms_of(loss: DiffusionTerms, model: DiffusionModel, x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """The terms of one step, from which the loss learns."""
    terms, sums = loss(model, x, UNCONDITIONAL, seeded(seed), 0)
    loss.learn(sums)
    return terms


def biased(model: DiffusionModel) -> torch.nn.Parameter:
    """Give an exact model one parameter of its own, an error in ε̂, and return it."""
    parameter = torch.nn.Parameter(torch.tensor(0.2, dtype=torch.float64))
    exact = model.denoiser.forward

    def forward(z, gamma, condition=UNCONDITIONAL):
        prediction = exact(z, gamma, condition)
        return prediction._replace(eps=prediction.eps + parameter)

    model.denoiser.forward = forward
    return parameter


def test_shape_sees_the_gradient_of_the_square_and_all_else_that_of_the_loss() -> None:
    """One backward pass against two explicit ones: d mean(L²) for the shape, d mean(L) for ends and network."""
    model = exact_model(plane_mixture(), Learned(-5.0, 4.0).build(2), exact_ends=False)
    theta = biased(model)
    schedule = model.process.schedule
    assert isinstance(schedule, LearnedSchedule)
    x = plane_mixture().expand(32).sample(seeded())
    terms = terms_of(BOUND, model, x, 1)
    sum(terms.values()).backward()
    found = {name: p.grad.clone() for name, p in schedule.named_parameters()} | {"theta": theta.grad.clone()}

    t, _ = UniformTime().draw(32, seeded(1))
    generator = seeded(1)
    UniformTime().draw(32, generator)
    loss = model.term(x, t, UNCONDITIONAL, generator) / 2
    shape = [f"shapes.{name}" for name, _ in schedule.shapes.named_parameters()]
    square = torch.autograd.grad((loss**2).mean(), list(schedule.shapes.parameters()), retain_graph=True)
    for name, gradient in zip(shape, square, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    ends = model.ends(x, UNCONDITIONAL, generator)
    whole = loss.mean() + (ends.reconstruction.mean() + ends.prior.mean()) / 2
    others = torch.autograd.grad(whole, [schedule.start, schedule.log_width, theta])
    for name, gradient in zip(("start", "log_width", "theta"), others, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_ends_see_the_gradient_of_the_bound() -> None:
    """With exact denoiser and decoder, E[−VLB] = H(x) + KL(q(z_1) ‖ p(z_1)): flat in γ₀, and known in γ₁."""
    mixture, gradients = line_mixture(), []
    for seed in range(300):
        model = exact_model(mixture, Learned(-3.0, -0.5).build(1), exact_ends=False)
        model.denoiser.decodes = True
        schedule = model.process.schedule
        assert isinstance(schedule, LearnedSchedule)
        x = mixture.expand(64).sample(seeded(seed))
        sum(terms_of(BOUND, model, x, 1_000 + seed).values()).backward()
        # With γ₁ = γ₀ + e^w: d/dw = (γ₁ − γ₀) ∂/∂γ₁, and d/dγ₀ moves both ends.
        by_gamma_1 = schedule.log_width.grad / schedule.log_width.exp().detach()
        gradients.append(torch.cat((schedule.start.grad - by_gamma_1, by_gamma_1)))

    def divergence(gamma: float) -> float:
        noisy = mixture.diffused(*(level.item() for level in SCALINGS["vp"](torch.tensor(gamma).double())))
        z, weight = line_grid(noisy)
        normal = -0.5 * z.squeeze(1) ** 2 - 0.5 * math.log(2 * math.pi)
        return (weight * noisy.log_prob(z).exp() * (noisy.log_prob(z) - normal)).sum().item()

    slope = (divergence(-0.499) - divergence(-0.501)) / 0.002
    both = torch.stack(gradients)
    assert abs(z_score(both[:, 0])) < LIMIT
    assert abs(z_score(both[:, 1], slope)) < LIMIT
    assert slope < -0.01


def test_training_the_shape_takes_variance_out_of_the_loss_and_leaves_its_mean() -> None:
    model = exact_model(plane_mixture(), Learned(-7.0, 5.0, learn_ends=False).build(2), exact_ends=False)
    schedule = model.process.schedule
    x = plane_mixture().expand(20_000).sample(seeded(5))
    t = torch.rand(20_000, generator=seeded(6), dtype=torch.float64)
    optimiser = torch.optim.Adam(schedule.shapes.parameters(), lr=0.05)
    with torch.no_grad():
        before = model.term(x, t, UNCONDITIONAL, seeded(7))
    for step in range(200):
        optimiser.zero_grad()
        sum(terms_of(BOUND, model, x[:256], 100 + step).values()).backward()
        optimiser.step()
    with torch.no_grad():
        after = model.term(x, t, UNCONDITIONAL, seeded(7))
    assert after.var() < 0.9 * before.var()
    standard_error = math.sqrt((before.var() + after.var()).item() / 20_000)
    assert abs((after.mean() - before.mean()).item()) < LIMIT * standard_error


def test_a_schedule_per_dimension_sees_the_gradient_of_the_bound() -> None:
    model = exact_model(plane_mixture(), LearnedPerDimension(-5.0, 4.0).build(2), exact_ends=False)
    # The oracle's mixture knows one γ for all dimensions: a stand-in that any γ suits.
    model.denoiser = Halving()
    schedule = model.process.schedule
    x = plane_mixture().expand(16).sample(seeded())
    terms_of(BOUND, model, x, 1)["diffusion"].backward()
    found = [p.grad.clone() for p in schedule.parameters()]
    generator = seeded(1)
    t, _ = UniformTime().draw(16, generator)
    expected = torch.autograd.grad(model.term(x, t, UNCONDITIONAL, generator).mean() / 2, list(schedule.parameters()))
    torch.testing.assert_close(found, list(expected))


class Halving(torch.nn.Module):
    """ε̂ = z/2."""

    decodes = False
    takes = NOTHING

    def forward(self, z, gamma, condition=UNCONDITIONAL):
        from vlb.models.diffusion.denoiser import Prediction

        return Prediction(z, z / 2, None)


@pytest.mark.parametrize("weight", [weighting.Likelihood(), weighting.Sigmoid(2.0)], ids=["bound", "sigmoid"])
def test_the_weighted_objective_is_the_same_under_any_sampler(weight) -> None:
    """Differences between uniform and adaptive times are within Monte Carlo error; the sampler has adapted."""
    schedule = LogSNRLinear(-6.0, 5.0)
    measure = AdaptiveTime(bins=30).build(schedule)
    model = exact_model(plane_mixture(), schedule, exact_ends=False)
    x = plane_mixture().expand(256).sample(seeded())
    losses = {"uniform": [], "adaptive": []}
    for step in range(300):
        for name, chosen in (("uniform", UniformTime()), ("adaptive", measure)):
            loss = DiffusionTerms(chosen, weight, 0.01)
            losses[name].append(terms_of(loss, model, x, step + 1_000 * len(name))["diffusion"].detach())
    first, second = (torch.stack(values) for values in losses.values())
    assert abs(z_score(first - second)) < LIMIT
    assert measure.masses().max() > 2 * measure.masses().min()


def test_times_learn_the_error_per_unit_of_log_snr() -> None:
    """ε̂ = z/2 errs by ½[D(1 − σ/2)² + α²E‖x‖²/4] at λ, whatever γ′ is there: within 10 %, seven standard errors."""
    schedule = Cosine(-6.0, 5.0)
    measure = AdaptiveTime(bins=20).build(schedule)
    model = exact_model(plane_mixture(), schedule, exact_ends=False)
    model.denoiser = Halving()
    x = plane_mixture().expand(100_000).sample(seeded())
    _, sums = DiffusionTerms(measure, weighting.Likelihood(), 1e-4)(model, x, UNCONDITIONAL, seeded(1), 0)
    gamma = -(torch.linspace(-5, 6, 2_001, dtype=torch.float64)[:-1] + 11 / 4_000)
    alpha, sigma = SCALINGS["vp"](gamma)
    error = 0.5 * (2 * (1 - sigma / 2) ** 2 + alpha**2 * x.double().square().sum(1).mean() / 4)
    torch.testing.assert_close(sums["sum"] / sums["count"], error.view(20, 100).mean(1), rtol=0.1, atol=0)


def test_uncertainty_adds_its_penalty_and_learns() -> None:
    schedule = LogSNRLinear(-6.0, 5.0)
    learned = weighting.Uncertainty().build(schedule)
    model = exact_model(plane_mixture(), schedule, exact_ends=False)
    x = plane_mixture().expand(64).sample(seeded())
    terms = terms_of(DiffusionTerms(UniformTime(), learned, 0.1), model, x, 1)
    bound = terms_of(DiffusionTerms(UniformTime(), weighting.Likelihood(), 0.1), model, x, 1)
    torch.testing.assert_close(terms["diffusion"], bound["diffusion"])  # u = 0 at the start
    assert terms["uncertainty"] == 0
    sum(terms.values()).backward()
    # d/du of ∫[e^{−u}h + u]dλ at u = 0 is ∫(1 − h)dλ: the first coefficient is u's mean.
    assert learned.coefficients.grad[0].item() == pytest.approx(11.0 - bound["diffusion"].item())


SETTINGS = (
    "steps=8", "batch=16", "model.backbone=mlp", "backbone.width=16", "backbone.blocks=1", "validate_every=4",
    "checkpoint_every=2", "log_every=2", "warmup=3",
)  # fmt: skip
LEARNERS = {
    "learned": ("model.schedule=learned", "schedule.gamma_0=-6", "loss.times=low-discrepancy"),
    "per-dimension": ("model.schedule=learned-per-dimension", "schedule.gamma_0=-6"),
    "adaptive": ("loss.times=adaptive", "loss.weighting=sigmoid"),
    "warped-uncertain": ("loss.times=warped", "loss.weighting=uncertainty"),
    "of-cosine": ("loss.times=schedule", "loss.weighting=edm"),
}


def configured(*assignments: str) -> Experiment:
    experiment = recipe("digits")
    for assignment in assignments:
        experiment = override(experiment, assignment)
    return experiment


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.mark.parametrize("more", [("backbone=mlp",), ("condition=labels",), ("roles=true", "known_share=0.5")])
def test_one_call_of_the_network_gives_the_terms_of_two(more: tuple[str, ...], digits: Dataset) -> None:
    experiment = recipe("digits")
    for assignment in (*more, "dropout=0", "times=low-discrepancy"):
        experiment = override(experiment, assignment)
    model = experiment.build(digits)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(4)))
    x, condition = digits.train.batch(np.arange(12), experiment.conditional, torch.device("cpu"))
    calls = []
    model.denoiser.backbone.register_forward_hook(lambda module, inputs, out: calls.append(len(out)))
    terms, _ = experiment.build_loss(model)(model, x, condition, seeded(5), 0)
    assert calls == [12 + 2]

    generator, few = seeded(5), slice(2)
    if "role" in model.takes:
        condition = replace(condition, role=some_known(x, condition, 0.5, generator))
    t, _ = experiment.loss.times.draw(12, generator)
    wanted = model.noise_error(x, t, model.process.schedule.rate(t), condition, generator)
    ends = model.ends(x[few], condition.take(few), generator)
    for name, value in (("diffusion", wanted), ("reconstruction", ends.reconstruction), ("prior", ends.prior)):
        torch.testing.assert_close(terms[name].double(), value.double().mean() / 64, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_learns_is_resumed_to_the_same_bits(name: str, tmp_path: Path, digits: Dataset) -> None:
    experiment = configured(*SETTINGS, *LEARNERS[name])
    whole = Run.create(tmp_path / "whole", experiment, digits)
    assert fit(experiment, digits, whole)
    broken = Run.create(tmp_path / "broken", experiment, digits)

    def fail(step: int) -> None:
        if step == 5:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(experiment, digits, broken, progress=Told(fail))
    reopened = Run.open(broken.path)
    assert reopened.experiment == experiment
    assert fit(experiment, digits, reopened, resume=True)
    first, second = checkpoint.read(whole.last), checkpoint.read(broken.last)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)
    model = experiment.build(digits)
    start = {f"model.{k}": v for k, v in model.state_dict().items() if k.startswith("process.schedule")}
    start |= {f"loss.{k}": v for k, v in experiment.build_loss(model).state_dict().items()}
    assert bool(start) == (name != "of-cosine")
    assert any(not torch.equal(v, first.tensors[f"weights.{k}"]) for k, v in start.items()) or not start
    model = reopened.model()
    kept = checkpoint.read(reopened.chosen).section("average.loss")
    averaged = reopened.loss(model).state_dict()
    assert averaged.keys() == kept.keys() and all(torch.equal(averaged[k], kept[k]) for k in kept)
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    assert bool((model.process.schedule.gamma(t).diff(dim=0) > 0).all())


@pytest.mark.parametrize(
    "assignments, message",
    [
        (("model.schedule=learned",), "--set loss.times=low-discrepancy"),
        (("model.schedule=learned", "loss.times=uniform", "loss.weighting=sigmoid"), "trained on the bound"),
        (("model.schedule=per-column",), "64"),
        (("model.schedule=linear-beta", "model.schedule.gamma_0=7"), "γ₀ = 7"),
    ],
)
def test_what_does_not_fit_together_is_refused(assignments, message: str, digits: Dataset) -> None:
    with pytest.raises(UserError, match=message):
        experiment = configured(*SETTINGS, *assignments)
        experiment.build_loss(experiment.build(digits))


def test_a_loss_of_another_kind_of_model_is_refused(digits: Dataset) -> None:
    experiment = configured(*SETTINGS, "loss=elbo")
    with pytest.raises(UserError, match="--set loss=diffusion"):
        experiment.build_loss(experiment.build(digits))


@pytest.mark.parametrize("name", ["adaptive", "of-cosine", "warped-uncertain"])
def test_a_loss_keeps_neither_the_model_nor_its_schedule(name: str, digits: Dataset) -> None:
    """Once it has made terms, the model can go; and its state is its own."""
    learned = ("model.schedule=learned-per-dimension", "learn_ends=false")
    experiment = configured(*SETTINGS, *LEARNERS[name], *learned)
    model = experiment.build(digits)
    loss = experiment.build_loss(model)
    terms, sums = loss(model, torch.from_numpy(digits.train.x[:8].copy()), UNCONDITIONAL, seeded(), 0)
    loss.learn(sums)
    assert not any(key.startswith(("process", "denoiser")) for key in loss.state_dict())
    gone = [weakref.ref(model), weakref.ref(model.process.schedule)]
    del model, terms
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_hole_is_a_rectangle_in_a_picture_of_any_sides() -> None:
    known = _around(torch.rand(4, 200, generator=torch.Generator().manual_seed(0)), 6, 11)
    assert known.shape == (200, 1, 6, 11)
    rows, columns = (~known[:, 0]).any(2), (~known[:, 0]).any(1)
    assert torch.equal(~known[:, 0], rows.unsqueeze(2) & columns.unsqueeze(1))
    assert all(
        bool((side.diff(dim=1, prepend=side[:, :1]) != 0).sum(1).max() <= 2) for side in (rows.int(), columns.int())
    )
    uniform = torch.tensor([[0.5], [0.0], [1.0], [0.3]])  # the upper half, over the whole width
    assert torch.equal(~_around(uniform, 6, 11)[0, 0], (torch.arange(6) < 3).unsqueeze(1).expand(6, 11))
