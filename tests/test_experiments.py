"""The experiments run, go on where they stopped and are what their page says; their formulas against closed forms."""

import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, exact_model, information, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.draws import Draws
from vlb.core.initial import initialise
from vlb.data import Dataset, load
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.placement import cheapest
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import gaussian_mixture

pytest.importorskip("scipy")
FOLDER = Path(__file__).parents[1] / "experiments"
QUICK = ("process",)
sys.path.insert(0, str(FOLDER))
try:
    BOOK = importlib.import_module("shared.book")
finally:
    sys.path.remove(str(FOLDER))


@pytest.fixture(autouse=True)
def beside() -> Iterator[None]:
    """Modules find those beside them, as commands do."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BOOK.NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_and_goes_on(name: str, tmp_path: Path) -> None:
    experiment = module(name).EXPERIMENT
    found = experiment.run("toy", tmp_path, tmp_path)
    assert experiment.figure("toy", tmp_path).stat().st_size > 1000 and len(experiment.alt) > 40
    assert experiment.tell(found)
    file = experiment.file("toy", tmp_path)
    kept = json.loads(file.read_text("utf-8"))
    first, *rest = kept["arms"]
    marked = kept["arms"][first] | {"cpu_seconds": 1e6}
    file.write_text(json.dumps(kept | {"arms": {first: marked}}), "utf-8")
    again = experiment.run("toy", tmp_path, tmp_path)
    assert again.seconds >= 1e6 and list(again.arms) == [first, *rest]
    assert again.arms == found.arms  # what is drawn is a function of the settings


def test_results_of_other_settings_are_refused(tmp_path: Path) -> None:
    experiment = module("process").EXPERIMENT
    with pytest.raises(UserError, match=r"has no .*process\.py"):
        experiment.found("toy", tmp_path)
    experiment.run("toy", tmp_path, tmp_path)
    file = experiment.file("toy", tmp_path)
    experiment.file("short", tmp_path).parent.mkdir()
    file.rename(experiment.file("short", tmp_path))
    with pytest.raises(UserError, match="other settings"):
        experiment.run("short", tmp_path, tmp_path)


def test_the_page_is_that_of_the_results() -> None:
    assert BOOK.page("short") == BOOK.PAGE.read_text("utf-8")


def test_every_experiment_is_in_the_book() -> None:
    there = {path.stem for path in FOLDER.glob("*.py")} - {"all", "page"}
    assert there == set(BOOK.NAMES)
    for experiment in BOOK.experiments():
        assert tuple(experiment.budgets) == module("shared.arms").BUDGETS
        assert experiment.file("short").is_file() <= (BOOK.READINGS / f"{experiment.name}.md").is_file(), (
            experiment.name
        )


def test_gaussian_steps_cost_what_the_model_says() -> None:
    """At T = 3 the exact model's sum of KLs, by 20,000 draws; false alarms: 6e-7."""
    variances = torch.tensor([0.05, 0.4, 2.0], dtype=torch.float64)
    law = gaussian_mixture(torch.ones(1), torch.zeros(1, 3), variances.unsqueeze(0))
    model = exact_model(law, LogSNRLinear(-3.0, 2.0))
    generator = seeded()
    x = law.expand(20_000).sample(generator)
    terms = model.at(3).terms(x, UNCONDITIONAL, generator)
    kls = sum(value for path, value in terms.items() if path[0] == "kl")
    log_snr = torch.linspace(3.0, -2.0, 4, dtype=torch.float64)
    anisotropy = module("anisotropy")
    widths = torch.log1p(variances.unsqueeze(1) * log_snr[[0, -1]].exp())
    limit = 0.5 * float((widths[:, 0] - widths[:, 1]).sum())
    assert abs(z_score(kls, limit + float(anisotropy.gaps(log_snr, variances).sum()))) < LIMIT
    # Placed rungs are no worse than even ones among the same candidates, and one γ per direction than any one γ.
    fine = torch.linspace(3.0, -2.0, 31, dtype=torch.float64)
    known = anisotropy.candidates(fine, variances)
    even, best = float(anisotropy.gaps(fine[::10], variances).sum()), known.total(cheapest(known, 3))
    each = (widths[:, 0] - widths[:, 1]) / 3
    assert float(1.5 * (torch.expm1(each) - each).sum()) < best < even


def test_discretisation_has_the_known_limit() -> None:
    """The integral is the information that is lost between its ends, and the gap approaches c/T."""
    discretisation = module("discretisation")
    values = discretisation.exact(discretisation.SCHEDULES["log-SNR-linear"], 10)
    low, high = discretisation.ENDS
    law = discretisation.BUMPS
    assert values["limit"] == pytest.approx(information(law, -low) - information(law, -high), abs=2e-4)
    gap = (values["bound"][-1] - values["limit"]) * values["steps"][-1]
    assert gap == pytest.approx(values["constant"], rel=0.02)


def test_feedback_is_the_gap_by_quadrature() -> None:
    process = module("process")
    values = process.feedback(process.Budget(points=12))
    rho = values["rho"][6]
    noise = process.NOISE
    # p(z_0 | z_1, x) has precision 1/(1 − ρ²) + 1/noise; the gap is ½ precision · Var of its mean over p(z_1 | x).
    joint = np.array([[1, rho, rho], [rho, 1, 1], [rho, 1, 1 + noise]])  # z_1, z_0, x
    both, pair = np.linalg.inv(joint[np.ix_([0, 2], [0, 2])]), joint[1, [0, 2]]
    conditional = joint[1, 1] - pair @ both @ pair
    slope = (pair @ both)[0]
    given_x = 1 - joint[0, 2] ** 2 / joint[2, 2]
    assert values["loss"][6] == pytest.approx(0.5 * slope**2 * given_x / conditional, rel=1e-9)


def test_frechet_distance_and_coverage_have_their_known_values() -> None:
    quality = module("shared.quality")
    a = np.random.default_rng(0).normal(size=(400, 5))
    shift = np.array([1.0, -2.0, 0.0, 0.5, 0.0])
    assert quality.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert quality.frechet(a, a + shift) == pytest.approx(float(shift @ shift), rel=1e-9)
    # Covariances S and 4S commute: tr(S + 4S − 2 · 2S) = tr S.
    assert quality.frechet(a, 2 * a - a.mean(0)) == pytest.approx(float(np.trace(np.cov(a.T))), rel=1e-9)
    assert quality.covered(a, a) == 1 and quality.covered(a + 100, a) == 0


def test_slope_is_that_of_a_power_law() -> None:
    steps = np.array([1, 2, 4, 8, 16])
    assert module("discretisation").slope(steps, 3.0 / steps**2) == pytest.approx(-2)
    assert math.isnan(module("discretisation").slope(steps, -1.0 / steps))


CURVES = st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=1, max_size=4)


@settings(deadline=None)
@given(CURVES, st.floats(0.01, 0.99))
def test_polynomial_noise_rises_between_its_ends_at_the_rate_it_says(curves: list[tuple[float, ...]], t: float) -> None:
    a, b, c = torch.tensor(curves, dtype=torch.float64).T.unsqueeze(0).unbind(1)
    schedule = module("shared.adaptive").Polynomials(-6.0, 5.0, (a, b, c))
    ends = schedule.gamma(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([[-6.0], [5.0]], dtype=torch.float64).expand_as(ends))
    time = torch.tensor([t], dtype=torch.float64, requires_grad=True)
    for place in range(len(curves)):
        (slope,) = torch.autograd.grad(schedule.gamma(time)[0, place], time)
        assert float(slope) == pytest.approx(float(schedule.rate(time.detach())[0, place]), rel=1e-9)
        assert float(slope) > 0


def adaptive(gamma_1: float = 5.0) -> tuple[Any, Any, Dataset]:
    """An untrained model of the digits with a context of 3 numbers, and its module."""
    found, data = module("shared.adaptive"), load("digits")
    overrides = ("backbone=mlp", "backbone.width=16", "backbone.blocks=1", f"model.schedule.gamma_1={gamma_1}")
    experiment = module("shared.training").configured("digits", overrides, 0)
    with Draws(seeded()):
        decoder = experiment.model.build(data.schema, planes=1)
        initialise(decoder, data.train, seeded())
        model = found.AdaptiveDiffusion(decoder, found.Adapted(3, 64, 8, -6.0, gamma_1), 3, 8)
    return model.eval(), found, data


@torch.no_grad()
def disturbed(module: torch.nn.Module, size: float) -> None:
    """Weights that are not zero."""
    for parameter in module.parameters():
        parameter += size * torch.randn(parameter.shape, generator=seeded())


@torch.no_grad()
def test_a_context_that_moves_nothing_leaves_the_bound() -> None:
    """Term by term, on the same noise, in continuous time and in steps, and in training."""
    model, found, data = adaptive()
    disturbed(model.decoder, 0.05)
    x = torch.from_numpy(data.test.x[:20])
    c, _ = model.context(x, seeded())
    _, told = model.given(c)
    for own, other in ((model, model.decoder), (found.Stepped(model, 3), model.decoder.at(3))):
        terms, same = own.terms(x, UNCONDITIONAL, seeded()), other.terms(x, told, seeded())
        assert float(terms.pop(("context",)).abs().max()) == 0
        assert terms.keys() == same.keys()
        for path, value in terms.items():
            torch.testing.assert_close(value, same[path], rtol=1e-5, atol=1e-4)
    loss, _ = found.AdaptiveTerms(0.25)(model, x, UNCONDITIONAL, seeded(), 0)
    plain, _ = DiffusionLoss(decoder_share=0.25).build(model.decoder)(model.decoder, x, told, seeded(), 0)
    for name, value in plain.items():
        assert float(loss[name]) == pytest.approx(float(value), rel=1e-5)


@torch.no_grad()
def test_whatever_way_noise_goes_by_context_an_exact_model_has_its_bound() -> None:
    """The untrained network is the exact denoiser of independent pixels, whatever c is: E[bound] = KL + −log p(x).

    By 2,880 draws; false alarms: 6e-7. The mass of z_1 that N(0, 1) does not have is below 1e-3 nats at γ₁ = 12.
    """
    model, _, data = adaptive(12.0)
    disturbed(model.noise, 1.0)
    disturbed(model.encoder, 0.3)
    x, generator = torch.from_numpy(data.test.x).repeat(8, 1, 1, 1), seeded()
    c, kl = model.context(x, generator)
    given_c, told = model.given(c)
    gamma = given_c.process.schedule.gamma(torch.tensor([0.5], dtype=torch.float64))
    assert float(gamma.std(0).mean()) > 0.5 and float(gamma.mean(0).std()) > 0.2 and float(kl.mean()) > 0.1
    ends = given_c.ends(x, told, generator)
    time = torch.rand(len(x), generator=generator, dtype=torch.float64)
    bound = ends.reconstruction + ends.prior + given_c.term(x, time, told, generator)
    log_p = model.decoder.denoiser.head.bias.log_softmax(-1)
    exact = -log_p.gather(1, x.flatten(1).long().T).sum(0)
    assert abs(z_score(bound - exact)) < LIMIT


def test_training_moves_curves_and_contexts() -> None:
    model, found, data = adaptive()
    disturbed(model.decoder, 0.05)
    disturbed(model.noise, 0.1)
    terms, _ = found.AdaptiveTerms(1.0)(model, torch.from_numpy(data.train.x[:32]), UNCONDITIONAL, seeded(), 0)
    sum(terms.values()).backward()
    for part in (model.noise, model.encoder, model.lift, model.decoder.denoiser):
        assert any(
            parameter.grad is not None and float(parameter.grad.abs().max()) > 0 for parameter in part.parameters()
        )
