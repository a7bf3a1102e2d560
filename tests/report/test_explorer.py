"""What `vlb explore` shows, without a page: numbers against closed forms, and refusals as the verbs say them.

Statistical tests are of six standard errors, a false-alarm rate of 2e-9 each.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from tests.report.reading import read
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.models.mixture.gaussian import gaussian_mixture
from vlb.pages.explorer import charts, trained
from vlb.pages.explorer.encodings import encodings, mapped
from vlb.pages.explorer.study import (
    GRIDS,
    MIXTURE,
    SAMPLERS,
    SCHEDULES,
    WEIGHTINGS,
    costs,
    curves,
    error_rates,
    noised,
    samples,
    studied,
)
from vlb.pages.explorer.trained import Trained
from vlb.store.runs import Run

ENDS = {"gamma_0": -6.0, "gamma_1": 4.0}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLB_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("tag", SCHEDULES.offered)
def test_every_schedule_gives_a_density_of_noise_levels(tag: str) -> None:
    found = curves(studied({"schedule": {"type": tag, **ENDS}}))
    assert found.log_snr[0] == pytest.approx(6) and found.log_snr[-1] == pytest.approx(-4)
    assert float(torch.trapezoid(found.density, found.axis)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("tag", WEIGHTINGS.offered)
def test_the_mixture_of_bounds_that_a_weighting_is_sums_to_one(tag: str) -> None:
    study = studied({"schedule": {"type": "log-snr-linear", **ENDS}, "weighting": tag})
    found = curves(study)
    rest = float(torch.trapezoid(found.kernel, found.t))
    assert rest + study.described.atom + study.described.top == pytest.approx(1, abs=5e-3)
    assert float(found.weight.max()) == pytest.approx(1, abs=0.01)


def test_the_rate_of_a_gaussian_is_in_closed_form() -> None:
    variances = torch.tensor([0.3, 2.0], dtype=torch.float64)
    law = gaussian_mixture(torch.ones(1), torch.zeros(1, 2), variances.unsqueeze(0))
    log_snr = torch.linspace(-8, 8, 9, dtype=torch.float64)
    x = law.expand(5).sample(torch.Generator().manual_seed(0))
    found = error_rates(law, log_snr, x, torch.Generator().manual_seed(1))
    snr = log_snr.exp().unsqueeze(1)
    exact = 0.5 * (snr * variances / (snr * variances + 1)).sum(1, keepdim=True)  # d/dλ of ½ log(1 + SNR v)
    assert torch.allclose(found, exact.expand_as(found), rtol=1e-9)


def test_steps_cost_what_the_descent_of_the_model_costs() -> None:
    study = studied({"schedule": {"type": "cosine", **ENDS}, "steps": 6})
    found, generator = costs(study), torch.Generator().manual_seed(5)
    x = MIXTURE.expand(4000).sample(generator)
    with torch.no_grad():
        terms = study.model.at(study.times).terms(x, UNCONDITIONAL, generator)
    for number in range(6):
        walked = terms[("kl", 6 - number)]
        error = float(walked.std()) * (1 / 4000 + 1 / 500) ** 0.5
        assert abs(float(found.kl[number] - walked.mean())) < 6 * error  # ours, of 500 draws, has less variance


def test_steps_cost_more_than_continuous_time_and_more_of_them_less() -> None:
    few, many = (costs(studied({"steps": steps})) for steps in (8, 64))
    assert few.excess[0] - many.excess[0] > 6 * (few.excess[1] + many.excess[1]) and many.excess[0] > 6 * many.excess[1]
    for found in (few, many):
        assert found.bound - found.excess[0] == pytest.approx(found.reconstruction + found.prior + found.diffusion)
        assert bool((found.edges.diff() > 0).all()) and len(found.kl) == len(found.edges) - 1


def test_with_steps_enough_samples_are_as_likely_as_exact_draws() -> None:
    for sampler in ("ode", "dpm2m"):
        found = samples(studied({"sampler": sampler, "steps": 64, "grid": "snr"}))
        apart = found.log_p[0] - found.exact_log_p[0]
        assert abs(apart) < 6 * (found.log_p[1] ** 2 + found.exact_log_p[1] ** 2) ** 0.5
        assert (found.evaluations is None) == (sampler == "ode")


def test_noise_is_the_same_at_all_times() -> None:
    study, x = studied({}), torch.ones(2, 3, dtype=torch.float64)
    t, log_snr, z = noised(study, x)
    alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    noise = [(one - a * x) / s for one, a, s in zip(z, alpha, sigma, strict=True)]
    assert len(t) == 8 and all(torch.allclose(one, noise[0], atol=1e-9) for one in noise)


@pytest.mark.parametrize(
    ("given", "more", "words"),
    [
        ({"steps": 2.5}, "", "steps: expected a whole number from 1 to 128"),
        ({"steps": None}, "", "steps: expected a whole number"),
        ({"steps": 10**9}, "", "steps: expected"),
        ({"seed": -1}, "", "seed: expected"),
        ({"schedule": {"type": "cosine", "gamma_0": 9, "gamma_1": 5}}, "", "needs γ₀ < γ₁"),
        ({"schedule": {"type": "cosine", "gamma_0": float("nan")}}, "", "schedule.gamma_0"),
        ({"schedule": "cosin"}, "", "did you mean 'cosine'"),
        ({"schedule": "learned"}, "", "not offered"),
        ({}, "shift=1", "no field is called"),
        ({}, "hello", "field=value"),
        ({"weighting": "edm"}, "weighting.std=0", "weighting.std"),
    ],
)
def test_what_is_typed_wrong_is_answered_in_a_sentence(given: dict[str, object], more: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        charts.page(studied(given, more))
    assert not str(caught.value).startswith("page")


def test_a_page_of_a_study_is_whole_whatever_is_chosen() -> None:
    first = read(charts.page(studied({"steps": 3})))
    assert len(first.all("svg")) == 4 and len(first.all("img")) == 8
    for number, sampler in enumerate(SAMPLERS.offered):
        schedule, weighting = ([*family.offered][number % len(family.offered)] for family in (SCHEDULES, WEIGHTINGS))
        grid = "t" if sampler == "ode" else [*GRIDS.offered][number % 3]
        chosen = {"type": schedule, **ENDS}
        study = studied({"schedule": chosen, "weighting": weighting, "sampler": sampler, "grid": grid, "steps": 3})
        assert bool(samples(study).x.isfinite().all()) and "Weighting: " in charts.told(study)


def of(run: Run) -> Trained:
    return Trained("a run", run)


def test_samples_are_those_of_the_verb() -> None:
    options = vlb.SampleOptions(n=3, steps=4, seed=2)
    shown = read(trained.samples(trained.opened("vlb:digits"), options))
    assert "3 samples by ancestral in 4 steps" in shown.text and len(shown.all("img")) == 3
    expected = vlb.sample("vlb:digits", options).x
    pictures = read(trained.presented(expected, Run.open("vlb:digits").schema, [""] * 3)).all("img")
    assert [picture["src"] for picture in pictures] == [picture["src"] for picture in shown.all("img")]
    rows = read(trained.samples(trained.opened("vlb:iris"), vlb.SampleOptions(n=2)))
    assert len(rows.all("tr")) == 3 and "sepal length" in rows.text


def test_a_path_ends_in_a_picture_and_is_of_diffusion_alone(predecessors: dict[str, Run], labelled_run: Run) -> None:
    digits = trained.opened("vlb:digits")
    assert len(read(trained.path(digits, 5, None, 0)).all("img")) == 2 * 6 + 1
    assert trained.path(of(labelled_run), 2, "3", 0) != trained.path(of(labelled_run), 2, "4", 0)
    with pytest.raises(UserError, match="a denoising path needs a diffusion model"):
        trained.path(of(predecessors["digits-vae"]), 5, None, 0)


def test_the_hardest_are_the_least_likely(predecessors: dict[str, Run]) -> None:
    run = predecessors["digits-mixture"]
    shown = trained.extremes(of(run))
    captions = [float(value) for value in re.findall(r"<figcaption>([\d.]+)</figcaption>", shown)]
    nats = np.sort(vlb.score(run, "test").columns["nats"])
    count = trained.EXTREMES
    assert captions == [round(value, 1) for value in (*nats[::-1][:count], *nats[:count])]
    assert read(shown).text.count("360 test examples") == 1
    with pytest.raises(UserError, match="a ladder network has no likelihood"):
        trained.extremes(of(predecessors["digits-ladder"]))


@pytest.mark.parametrize("name", ["digits-mixture", "digits-vae", "digits-hvae-bottom-up", "digits-hvae-top-down"])
def test_encodings_of_every_kind(name: str, predecessors: dict[str, Run]) -> None:
    shown = read(encodings(of(predecessors[name])))
    assert "test examples" in shown.text.lower() and shown.all("img")
    assert bool(shown.all("svg")) == (name != "digits-mixture")


def test_encodings_of_diffusion_come_back_and_others_are_refused(predecessors: dict[str, Run]) -> None:
    shown = read(encodings(trained.opened("vlb:digits")))
    (share,) = re.findall(r"([\d.]+)% of the elements come back", shown.text)
    assert float(share) > 80 and len(shown.all("img")) == 3 * 8
    assert "components" in read(encodings(trained.opened("vlb:iris"))).text
    with pytest.raises(UserError, match="holds a LadderNetwork"):
        encodings(of(predecessors["digits-ladder"]))


def test_a_map_shows_all_variance_of_a_plane() -> None:
    points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) @ torch.randn(2, 5)
    shown, share = mapped(points, ["<b>", "$x"] * 10)
    assert share == pytest.approx(1) and "&lt;b&gt;" in shown and "<b>" not in shown
    assert 0 < mapped(torch.randn(20, 5), None)[1] < 1
    assert mapped(torch.zeros(3, 1), None)[1] == 1


def test_what_cannot_fill_says_it_as_the_verb_does(predecessors: dict[str, Run]) -> None:
    for name in ("digits-mixture", "digits-vae"):
        trained.probe(of(predecessors[name]))
    trained.probe(trained.opened("vlb:iris"))
    for run in (Run.open("vlb:digits"), predecessors["digits-ladder"]):
        with pytest.raises(UserError) as verb:
            vlb.impute(run, np.zeros((8, 8), np.uint8), mask=np.ones((8, 8), bool))
        with pytest.raises(UserError) as page:
            trained.probe(of(run))
        assert str(page.value) == str(verb.value)


def test_what_is_painted_is_filled(predecessors: dict[str, Run]) -> None:
    mixture, hole = of(predecessors["digits-mixture"]), np.zeros((8, 8), bool)
    hole[2:5, 3:] = True
    shown = read(trained.inpainted(mixture, 4, hole, 3, 0))
    assert "15 pixels of 1 picture filled, in 3 draws" in shown.text and len(shown.all("img")) == 5
    with pytest.raises(UserError, match="nothing is painted"):
        trained.inpainted(mixture, 4, hole & False, 3, 0)
    for number in (-1, 360, 1.5):
        with pytest.raises(UserError, match="numbered from 0 to 359"):
            trained.canvas(mixture, number)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="another size"):
        trained.hole_of(mixture, np.zeros((7, 7)))
    assert not trained.hole_of(mixture, None).any()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.booleans(), min_size=64, max_size=64), st.floats(128, 255))
def test_a_pixel_is_painted_where_half_of_it_is(bits: list[bool], opacity: float) -> None:
    run = Run.open("vlb:digits")
    hole = np.array(bits).reshape(8, 8)
    scale = trained.canvas(of(run), 0).shape[0] // 8
    painted = hole.repeat(scale, 0).repeat(scale, 1) * opacity
    assert (trained.hole_of(of(run), painted) == hole).all()


def test_what_is_cleared_is_filled_and_the_rest_stays() -> None:
    iris = trained.opened("vlb:iris")
    names, cells = trained.rows(*trained.first_rows(iris), iris.schema)
    assert names[-1] == "species" and len(cells) == trained.ROWS and all(map(all, cells))
    cells[1][0] = cells[1][4] = ""
    shown = read(trained.completed(iris, cells, 3, 0))
    assert "2 cells of 6 rows filled, in 3 draws" in shown.text
    assert len(shown.all("b")) == 2 * 3 and len(shown.all("tr")) == 1 + 3
    assert shown.text.count(f"{cells[1][1]} {cells[1][2]} {cells[1][3]}") == 3
    for cell, words in (("much", "has 'much'"), ("-1e400", "sepal length"), ("<b>", "has '<b>'")):
        wrong = [[cell, *cells[0][1:]], *cells[1:]]
        with pytest.raises(UserError, match=words) as caught:
            trained.completed(iris, wrong, 1, 0)
        assert str(caught.value).startswith("the table") and "/" not in str(caught.value)


def test_a_run_that_is_none_and_data_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        trained.opened(str(tmp_path))
    with pytest.raises(UserError, match="no run called 'digit' comes with vlb"):
        trained.opened("vlb:digit")


@given(st.lists(st.floats(0, 100), max_size=4))
def test_temperatures_are_read_as_they_are_written(values: list[float]) -> None:
    assert trained.temperatures(" ".join(map(repr, values))) == tuple(values)


@pytest.mark.parametrize("written", ["warm", "1, 2", "1;2"])
def test_temperatures_that_are_none_are_refused(written: str) -> None:
    with pytest.raises(UserError, match="numbers between spaces"):
        trained.temperatures(written)
