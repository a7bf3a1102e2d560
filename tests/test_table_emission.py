"""Rows of tables as numbers and their laws: masses sum to one, densities integrate to one, a noisy look is Bayes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.core.condition import Condition
from vlb.core.emissions import Particles, TableEmission, TableLaw, counted
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema
from vlb.data.dataset import Split

KINDS = (
    Real(),
    Real(resolution=0.5),
    Levels(4),
    Categories(("a", "b", "c")),
    Categories(("s", "m", "l"), ordered=True),
)


def schema_of(kinds: tuple[object, ...]) -> Schema:
    columns = tuple(Column(f"c{i}", kind) for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    return Schema(layout=Vector((len(kinds),)), kinds=columns, gaps=True)


def rows_of(kinds: tuple[object, ...], n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = []
    for kind in kinds:
        if isinstance(kind, Real):
            values = np.exp(0.5 * rng.normal(size=n)) * 3
            columns.append(values if kind.resolution is None else np.rint(values / kind.resolution) * kind.resolution)
        else:
            columns.append(rng.integers(0, kind.count, n).astype(np.float64))  # type: ignore[attr-defined]
    return np.stack(columns, 1)


def emission_of(kinds: tuple[object, ...] = KINDS, seed: int = 0) -> tuple[TableEmission, np.ndarray]:
    emission, x = TableEmission(schema_of(kinds), 3), rows_of(kinds, 300, seed)
    emission.initialise(Split(x), torch.Generator())
    return emission, x


@torch.no_grad()
def law_of(emission: TableEmission, n: int, seed: int, scale: float = 0.5) -> TableLaw:
    out = scale * torch.randn(n, *emission.out_shape, generator=torch.Generator().manual_seed(seed))
    return emission.law(out)


@given(st.permutations(range(len(KINDS))), st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_masses_sum_to_one_and_densities_integrate_to_one(order: list[int], seed: int) -> None:
    kinds = tuple(KINDS[i] for i in order)
    emission, x = emission_of(kinds, seed)
    law = law_of(emission, 1, seed)
    for place, kind in enumerate(kinds):
        if isinstance(kind, Real):
            step = kind.resolution or 0.01
            values = torch.arange(-200, 400, step, dtype=torch.float64)
        else:
            step, values = 1.0, torch.arange(float(kind.count or 0), dtype=torch.float64)
        grid = torch.from_numpy(x[:1]).repeat(len(values), 1)
        grid[:, place] = values
        wide = TableLaw(emission, *(part.expand(len(values), *part.shape[1:]) for part in _parts(law)))
        p = wide.log_probs(grid)[:, place].exp().sum()
        total = float(p) * (step if isinstance(kind, Real) and kind.resolution is None else 1.0)
        assert total == pytest.approx(1, abs=2e-3 if isinstance(kind, Real) and kind.resolution is None else 1e-8)


def _parts(law: TableLaw) -> tuple[torch.Tensor, ...]:
    return law.log_weights, law.means, law.variances, law.logits


def test_an_untrained_law_is_that_of_the_columns_by_themselves() -> None:
    emission, x = emission_of()
    with torch.no_grad():
        law = emission.law(torch.zeros(1, *emission.out_shape))
    for place, table in zip(emission.columns.categories, law.log_tables.split(emission.columns.counts, 1), strict=True):
        counts = np.bincount(x[:, place].astype(int), minlength=table.shape[1])
        assert np.allclose(table[0].exp().numpy(), (counts + 1 / table.shape[1]) / (len(x) + 1), atol=1e-6)
    # of a standard normal column
    assert float(law.mean[0, 0]) == pytest.approx(0, abs=1e-6)
    assert float(law.variance[0, 0]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("alpha, sigma", [(0.9, 0.4), (0.1, 0.99), (1.0, 1e-3), (1.0, 1e-6)])
def test_a_noisy_look_is_bayes_rule_and_is_never_worse(alpha: float, sigma: float) -> None:
    """log p(x | z) of categories is log p(x) + log q(z | x) up to one number per row, whatever the embedding."""
    emission, x = emission_of()
    rows = torch.from_numpy(x[:50])
    law = law_of(emission, 50, 1)
    generator = torch.Generator().manual_seed(2)
    z = alpha * emission.embed(rows) + sigma * torch.randn(50, *emission.shape, generator=generator).double()
    a, s = torch.tensor([[alpha]]).double(), torch.tensor([[sigma]]).double()
    after = law.given(z, a, s)
    for number, place in enumerate(emission.columns.categories):
        count = emission.columns.counts[number]
        joint = []
        for value in range(count):
            other = rows.clone()
            other[:, place] = value
            noise = ((z - a * emission.embed(other)) / s).square().sum(1)
            joint.append(law.log_probs(other)[:, place] - 0.5 * noise)
        expected = torch.stack(joint, 1).log_softmax(1)
        found = after.log_tables.split(emission.columns.counts, 1)[number]
        assert torch.allclose(found.exp(), expected.exp(), atol=1e-6)


def test_a_noisy_look_at_a_real_multiplies_densities() -> None:
    emission, _ = emission_of((Real(),))
    grid = torch.linspace(0.05, 40, 20001, dtype=torch.float64).unsqueeze(1)
    law = law_of(emission, 1, 3)
    z, a, s = torch.tensor([[0.7]]).double(), torch.tensor([[0.8]]).double(), torch.tensor([[0.3]]).double()
    wide = TableLaw(emission, *(part.expand(len(grid), *part.shape[1:]) for part in _parts(law)))
    joint = wide.log_prob(grid) - 0.5 * ((z - a * emission.embed(grid)) / s).square().sum(1)
    p = joint.exp() / torch.trapezoid(joint.exp(), grid[:, 0])
    after = law.given(z, a, s)
    found = TableLaw(emission, *(part.expand(len(grid), *part.shape[1:]) for part in _parts(after))).log_prob(grid)
    assert torch.allclose(found.exp(), p, atol=2e-3 * float(p.max()))


def test_mean_and_variance_are_those_of_the_embedded_draws() -> None:
    """With 40,000 draws, within 6 standard errors: a false alarm in fewer than 1e-6 of seeds, over 20 numbers."""
    emission, _ = emission_of(
        (Real(), Levels(4), Categories(("a", "b", "c")), Categories(("s", "m", "l"), ordered=True))
    )
    law, n = law_of(emission, 1, 5), 40_000
    wide = TableLaw(emission, *(part.expand(n, *part.shape[1:]) for part in _parts(law)))
    numbers = emission.embed(wide.sample(torch.Generator().manual_seed(1)))
    error = numbers.std(0) / math.sqrt(n)
    assert bool(((numbers.mean(0) - law.mean[0]).abs() <= 6 * error + 1e-9).all())
    spread = (numbers - law.mean[0]).square()
    assert bool(((spread.mean(0) - law.variance[0]).abs() <= 6 * spread.std(0) / math.sqrt(n) + 1e-9).all())


def test_what_is_not_modelled_does_not_count() -> None:
    emission, x = emission_of()
    law, rows = law_of(emission, 20, 0), torch.from_numpy(x[:20])
    role = torch.randint(0, 3, rows.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    changed = torch.where(role == 0, rows, torch.zeros_like(rows))
    found = counted(law, Condition(role=role))
    assert torch.equal(found.log_prob(rows), found.log_prob(changed))
    assert torch.equal(counted(law, Condition()).log_prob(rows), law.log_prob(rows))


def test_particles_are_the_mixture_of_their_laws() -> None:
    emission, x = emission_of()
    rows, known = torch.from_numpy(x[:4]), torch.zeros(4, len(KINDS), dtype=torch.bool)
    known[:, 2] = True
    law = law_of(emission, 12, 0)
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = Particles(emission.maps, emission.columns, rows, known, weights, law)
    share = weights.softmax(1).flatten()
    tables = (share.unsqueeze(1) * law.log_tables.exp()).unflatten(0, (4, 3)).sum(1)
    assert torch.allclose(torch.cat(found.probabilities(), 1), tables)
    # quantiles are where the mixture's mass says
    middle = found.quantile(0.5)
    y = emission.maps(middle[:, emission.columns.reals])[0].repeat_interleave(3, 0)[:, :1]
    shares = torch.special.ndtr((y - law.means[:, 0]) / law.variances[:, 0].sqrt())
    below = (law.log_weights[:, 0].softmax(-1) * shares).sum(1)
    assert torch.allclose((share * below).unflatten(0, (4, 3)).sum(1), torch.full((4,), 0.5).double(), atol=1e-6)
    assert torch.equal(middle[:, 2], rows[:, 2])
    draws = torch.stack([found.sample(torch.Generator().manual_seed(s)) for s in range(50)])
    assert bool((draws[:, :, 2] == rows[:, 2]).all())
    assert bool((found.effective >= 1).all()) and bool((found.effective <= 3).all())


def test_a_table_of_reals_alone_has_moments() -> None:
    emission, _ = emission_of((Real(), Real()))
    law = law_of(emission, 4, 0)
    assert law.mean.shape == law.variance.shape == (4, 2)
