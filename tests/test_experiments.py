"""The experiments run, go on where they stopped and are what their page says; their formulas against closed forms."""

import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.oracles import LIMIT, exact_model, information, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
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
