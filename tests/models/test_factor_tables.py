"""The factor mixture on tables of every form: what a fit must not depend on, and that none is too small or too odd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_factor import MIXED, fitted, role, table
from vlb.core.condition import Condition
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema
from vlb.models.factor.em import Prior, Statistics, drawn
from vlb.models.factor.model import FactorMixture

PLAIN = {"components": 2, "rank": 2, "draws": 0, "steps": 15}


def schema_of(*kinds: Real | Levels | Categories) -> Schema:
    columns = tuple(Column(f"c{number}", kind) for number, kind in enumerate(kinds))
    return Schema(layout=Vector((len(kinds),)), kinds=columns, gaps=True)


def absent(observed: torch.Tensor) -> Condition:
    return Condition(role=torch.where(observed, 0, 2).to(torch.uint8))


def test_the_order_of_rows_does_not_matter() -> None:
    x, observed = table(120)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(2))
    first = fitted(MIXED, x, observed, **PLAIN)
    second = fitted(MIXED, x[order], observed[order], **PLAIN)
    mine, its = first.log_prob(x, absent(observed)), second.log_prob(x[order], absent(observed[order]))
    assert torch.allclose(mine[order], its, atol=1e-5)
    again = first.log_prob(x[order], absent(observed[order]))
    assert torch.allclose(mine[order], again, atol=1e-11)


def test_the_order_of_columns_does_not_matter_but_to_several_rounded_ones() -> None:
    x, observed = table(120)
    order = [2, 3, 0, 1]
    moved = schema_of(*(MIXED.each[place] for place in order))
    one = PLAIN | {"components": 1}
    first = fitted(MIXED, x, observed, **one)
    second = fitted(moved, x[:, order], observed[:, order], **one)
    mine = first.log_prob(x, absent(observed))
    assert torch.allclose(mine, second.log_prob(x[:, order], absent(observed[:, order])), atol=1e-5)


def test_a_weight_is_so_many_equal_rows() -> None:
    x, observed = table(80)
    weight = torch.randint(0, 4, (80,), generator=torch.Generator().manual_seed(3))
    weighted = fitted(MIXED, x, observed, **PLAIN, weight=weight)
    repeated = fitted(MIXED, x.repeat_interleave(weight, 0), observed.repeat_interleave(weight, 0), **PLAIN)
    mine, its = (model.log_prob(x, absent(observed)) for model in (weighted, repeated))
    assert torch.allclose(mine, its, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-20, 1e-9, 3.0, 1e9, 1e20])
def test_units_change_the_density_by_their_size_alone(unit: float) -> None:
    x, observed = table(80)
    x, observed = x[:, [0, 2]], observed[:, [0, 2]]
    first = fitted(schema_of(Real(resolution=0.5), Real()), x, observed, **PLAIN)
    second = fitted(schema_of(Real(resolution=0.5 * unit), Real()), x * unit, observed, **PLAIN)
    mine, its = (model.log_prob(values, absent(observed)) for model, values in ((first, x), (second, x * unit)))
    assert torch.allclose(mine - observed[:, 1] * math.log(unit), its, atol=1e-5)


@pytest.fixture(scope="module")
def mixed() -> FactorMixture:
    return fitted(MIXED, *table(), components=2, rank=2, draws=2, steps=10)


def test_mean_median_and_mode_are_those_of_the_density(mixed: FactorMixture) -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 1.0]], dtype=torch.float64)
    known = torch.tensor([[True, True, False, False]])
    law = mixed.conditional(x, known)
    line = torch.linspace(-40, 60, 200_001, dtype=torch.float64)
    rows = x.expand(len(line), -1).clone()
    rows[:, 2] = line
    log_p = mixed.log_prob(rows, role([1, 1, 0, 2], len(line)))
    step = float(line[1] - line[0])
    mass = log_p.exp() * step
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    deviation = float(((mass * line.square()).sum() - (mass * line).sum().square()).sqrt())
    assert float(law.mean()[0, 2]) == pytest.approx(float((mass * line).sum()), abs=0.01 * deviation)
    for level in (0.1, 0.5, 0.9):
        expected = float(line[int(torch.searchsorted(mass.cumsum(0), level))])
        assert float(law.quantile(level)[0, 2]) == pytest.approx(expected, abs=1e-3 * deviation)
    assert torch.equal(law.median(), law.quantile(0.5))
    best = rows[:1].clone()
    best[0, 2] = law.mode()[0, 2]
    assert float(mixed.log_prob(best, role([1, 1, 0, 2], 1))) > float(log_p.max()) - 1e-3
    probabilities = law.probabilities()[1][0]
    for value in (0, 1):
        rows[0, 3] = value
        log_p = mixed.log_prob(rows[:1], role([1, 1, 2, 0], 1))
        assert float(log_p.exp()) == pytest.approx(float(probabilities[value]), abs=1e-12)


def test_masses_of_several_rounded_columns_sum_to_one_and_samples_follow_them() -> None:
    coarse = schema_of(Real(resolution=1.0), Real(resolution=2.0), Levels(2), Real(resolution=1.5))
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(200, 1, generator=generator, dtype=torch.float64)
    x = 1.3 * z + 0.4 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    step = torch.tensor([1.0, 2.0, 1.0, 1.5], dtype=torch.float64)
    x = (x / step).round() * step
    x[:, 2] = (z[:, 0] > 0).double()
    model = fitted(coarse, x, None, components=2, rank=1, draws=1, steps=10)
    cells = torch.cartesian_prod(
        torch.arange(-12.0, 13), torch.arange(-7.0, 8) * 2, torch.arange(2.0), torch.arange(-9.0, 10) * 1.5
    ).double()
    mass = model.log_prob(cells).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
    n = 20_000
    drawn = model.sample(n, generator=torch.Generator().manual_seed(5))
    counts = torch.zeros(len(cells), dtype=torch.float64)
    at = (
        (drawn / step - torch.tensor([-12.0, -7.0, 0.0, -9.0])) @ torch.tensor([15.0 * 38, 38, 19, 1]).double()
    ).long()
    counts.index_add_(0, at, torch.ones(n, dtype=torch.float64))
    often = mass * n > 20
    chi = ((counts - mass * n).square() / (mass * n))[often].sum() + (
        counts[~often].sum() - mass[~often].sum() * n
    ) ** 2 / (mass[~often].sum() * n)
    freedom = int(often.sum())
    # Laurent & Massart (2000): above k + 2√(kt) + 2t with probability at most exp(−t); t = 14 is below 1e-6.
    assert freedom > 20 and float(chi) < freedom + 2 * math.sqrt(14 * freedom) + 28


KINDS = st.sampled_from([Real(), Real(resolution=0.5), Levels(3), Categories(("a",)), Categories(("a", "b"))])


@settings(max_examples=25, deadline=None)
@given(st.lists(KINDS, min_size=1, max_size=6), st.integers(1, 7), st.integers(0, 2**31))
def test_small_tables_of_any_columns_have_a_law(kinds: list, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    schema = schema_of(*kinds)
    x = torch.stack([values(kind, n, generator) for kind in kinds], 1)
    observed = torch.rand(x.shape, generator=generator) > 0.3
    model = fitted(schema, x, observed, draws=1, steps=5)
    log_p = model.log_prob(x, absent(observed))
    assert log_p.isfinite().all()
    assert (log_p[~observed.any(1)].abs() < 1e-12).all()
    # Whatever a cell holds that is not observed, the answers are the same.
    junk = torch.tensor([math.nan, math.inf, -math.inf, 1e300, -1.0, 77.0], dtype=torch.float64)
    other = torch.where(observed, x, junk[torch.randint(0, 6, x.shape, generator=generator)])
    assert torch.equal(model.log_prob(other, absent(observed)), log_p)
    laws = model.conditional(x, observed), model.conditional(other, observed)
    for answer in (
        lambda law: law.mean(),
        lambda law: law.mode(),
        lambda law: law.quantile(0.3),
        lambda law: law.responsibilities(),
        lambda law: law.sample(torch.Generator().manual_seed(1)),
    ):
        mine, its = map(answer, laws)
        assert mine.isfinite().all() and torch.equal(mine, its)
    drawn = laws[0].sample(generator)
    assert torch.equal(drawn[observed], x[observed])
    assert model.log_prob(drawn).isfinite().all()


def values(kind: Real | Levels | Categories, n: int, generator: torch.Generator) -> torch.Tensor:
    if kind.count is None:
        x = 3 * torch.randn(n, generator=generator, dtype=torch.float64)
        return (2 * x).round() / 2 if kind.resolution else x
    return torch.randint(0, kind.count, (n,), generator=generator).double()


def test_more_columns_than_rows() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(12, 40, generator=generator, dtype=torch.float64)
    model = fitted(schema_of(*[Real()] * 40), x, None, draws=2)
    assert model.log_prob(x).isfinite().all()
    assert model.sample(3, generator=generator).isfinite().all()


def test_thousands_of_categories_in_a_column() -> None:
    count = 5000
    generator = torch.Generator().manual_seed(7)
    x = torch.stack((torch.randint(0, count, (300,), generator=generator), torch.arange(300) % 2), 1).double()
    model = fitted(schema_of(Categories(tuple(map(str, range(count)))), Levels(2)), x, None, draws=2)
    every = torch.stack((torch.arange(count).double(), torch.zeros(count).double()), 1)
    total = model.log_prob(every, role([0, 1], count)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-9)


def test_columns_and_tables_without_a_cell_and_columns_that_never_change() -> None:
    x, observed = table(40)
    observed[:, 0] = False
    x[:, 2] = 7.0
    model = fitted(MIXED, x, observed, draws=1, steps=5)
    assert model.log_prob(x).isfinite().all()
    nothing = fitted(MIXED, x, torch.zeros_like(observed), draws=1, steps=5)
    assert nothing.log_prob(x).isfinite().all()
    assert nothing.sample(3, generator=torch.Generator().manual_seed(0)).isfinite().all()


def test_parameters_are_drawn_from_their_posterior() -> None:
    n, count, rank = 20_000, 9, 1
    v = torch.stack((torch.linspace(-1, 2, count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)), 1)
    y = 0.7 * v[:, 0] + 0.3 * torch.randn(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outer, cross = (v.T @ v).expand(n, 1, 2, 2), (y @ v).expand(n, 1, 2)
    told = torch.tensor([3.0, 0.0, 6.0], dtype=torch.float64)
    size = torch.full((n, 1), float(count), dtype=torch.float64)
    sums = Statistics(outer, cross, y.square().sum().expand(n, 1), size, size[:, 0], told.expand(n, -1))
    strength, groups = torch.tensor([0.5, 0.25], dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    even = torch.full((3,), 1 / 3, dtype=torch.float64)
    prior = Prior(
        torch.zeros(1, 1, rank + 1).double(), strength, torch.ones(1, 1).double(), 4.0, 2 * even, groups, 1.0, 1e-12
    )
    found = drawn(sums, prior, torch.Generator().manual_seed(2))
    precision = v.T @ v + strength.diag()
    best = torch.linalg.solve(precision, y @ v)
    a, b = (count + 4) / 2, float(y.square().sum() - best @ (y @ v) + 4) / 2
    # Means of n draws, within six of their deviations: a false alarm in 2e-9 each.
    expected = {"variances": (b / (a - 1), b / (a - 1) / math.sqrt(a - 2))}
    spread = b / (a - 1) * torch.linalg.inv(precision).diagonal()
    expected |= {"loadings": (float(best[0]), float(spread[0].sqrt()))}
    expected |= {"means": (float(best[1]), float(spread[1].sqrt()))}
    for name, (mean, deviation) in expected.items():
        values = getattr(found, name).flatten()
        assert abs(float(values.mean()) - mean) < 6 * deviation / math.sqrt(n), name
    tables = found.log_tables.exp()
    share = (told + 2 * even) / (count + 2)
    assert torch.allclose(tables.sum(1), torch.ones(n, dtype=torch.float64))
    deviations = (share * (1 - share) / (count + 3) / n).sqrt()
    assert ((tables.mean(0) - share).abs() < 6 * deviations).all()


@pytest.mark.slow
def test_intervals_of_new_rows_cover_as_often_as_they_say() -> None:
    hits = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(230, 1, generator=generator, dtype=torch.float64)
        x = z + 0.5 * torch.randn(230, 4, generator=generator, dtype=torch.float64)
        model = fitted(schema_of(*[Real()] * 4), x[:30], None, draws=16)
        known = torch.tensor([True, True, False, True]).expand(200, -1)
        law = model.conditional(x[30:], known)
        inside = (law.quantile(0.05) < x[30:]) & (x[30:] < law.quantile(0.95))
        hits.append(float(inside[:, 2].double().mean()))
    shares = torch.tensor(hits)
    error = float(shares.std()) / math.sqrt(len(hits))
    # Six deviations of the mean over tables, and two points for the maps, which are not drawn.
    assert abs(float(shares.mean()) - 0.9) < 6 * error + 0.02, (float(shares.mean()), error)
