"""The split by quadrature, against the closed form and against itself."""

import pytest
import torch

from tests.oracles import LIMIT, entropy, exact_model, line_mixture, seeded, z_score
from tests.tightness.test_gaussian import wrong
from vlb.core.bound import elbo
from vlb.measure.tightness.gaussian import split_gaussian
from vlb.measure.tightness.line import split_line
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import gaussian_mixture

SCHEDULE = LogSNRLinear(-4.0, 4.0)
STEEPER = torch.full((1, 1), 0.2)


def test_gaussian_on_the_line_agrees_with_the_closed_form() -> None:
    data = gaussian_mixture(torch.ones(1), torch.full((1, 1), 0.3), torch.full((1, 1, 1), 0.4))
    hierarchy = wrong(data, STEEPER, SCHEDULE, exact_ends=False).at(6)
    line, closed = split_line(hierarchy, data, points=501), split_gaussian(hierarchy, data)
    for name in ("steps", "loosenesses", "marginals"):
        assert torch.allclose(getattr(line, name), getattr(closed, name), atol=1e-7)
    assert line.entropy == pytest.approx(closed.entropy, abs=1e-9)


def test_mixture_is_divided_and_its_bound_is_the_one_that_elbo_estimates() -> None:
    data = line_mixture()
    hierarchy = wrong(data, STEEPER, SCHEDULE, exact_ends=False).at(6)
    split = split_line(hierarchy, data, points=501)
    assert split.entropy == pytest.approx(entropy(data), abs=1e-8)
    assert split.excess == pytest.approx(split.misfit + split.looseness, abs=1e-6)
    generator = seeded()
    x = data.expand(20_000).sample(generator)
    totals = elbo(hierarchy, hierarchy.infer(x), x, generator).total
    assert abs(z_score(totals, split.bound)) < LIMIT


def test_exact_ends_have_no_mismatch() -> None:
    data = line_mixture()
    split = split_line(exact_model(data, SCHEDULE).at(3), data, points=501)
    assert split.prior == pytest.approx(0, abs=1e-6)
    assert split.decoder == pytest.approx(0, abs=1e-6)
    assert 0 < split.misfit < split.excess


def test_too_few_or_too_near_nodes_are_refused() -> None:
    data = line_mixture()
    hierarchy = exact_model(data, SCHEDULE).at(3)
    with pytest.raises(ValueError, match="nodes"):
        split_line(hierarchy, data, points=21)
    with pytest.raises(ValueError, match="nodes"):
        split_line(hierarchy, data, low=-1.0, high=1.0, points=501)


def test_division_holds_level_by_level_on_the_line() -> None:
    data = line_mixture()
    split = split_line(wrong(data, STEEPER, SCHEDULE).at(4), data, points=501)
    difference = split.loosenesses + split.marginals[:-1] - split.marginals[1:]
    assert torch.allclose(split.steps[:-1], difference, atol=1e-6)
