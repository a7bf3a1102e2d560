"""Columns by themselves: masses sum to one, densities are Gaussian, and what is not observed is left out."""

import numpy as np
import pytest
from scipy.stats import norm

from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Real, Schema
from vlb.data import Split
from vlb.data.independent import IndependentColumns

KINDS = (Column("a", Real()), Column("b", Real(0.5)), Column("c", Categories(("x", "y", "z"))))
SCHEMA = Schema(layout=Vector((3,)), kinds=KINDS)


def rows(n: int = 200) -> Split:
    generator = np.random.default_rng(0)
    x = np.stack(
        [generator.normal(3, 2, n), np.round(generator.normal(0, 1, n) * 2) / 2, generator.integers(0, 2, n)], 1
    )
    return Split(x, observed=generator.random(x.shape) < 0.8)


def test_each_column_is_its_own_law() -> None:
    split = rows()
    law = IndependentColumns(SCHEMA, split)
    seen = split.x[split.observed[:, 0], 0]
    only = np.zeros((5, 3), bool)
    only[:, 0] = True
    x = np.linspace(-3, 9, 5)[:, None].repeat(3, 1)
    found = law.log_prob(Split(x, observed=only))
    assert found == pytest.approx(norm.logpdf(x[:, 0], seen.mean(), seen.std()))


@pytest.mark.parametrize(("column", "values"), [(1, np.arange(-400, 401) / 2), (2, np.arange(3.0))])
def test_masses_sum_to_one(column: int, values: np.ndarray) -> None:
    law = IndependentColumns(SCHEMA, rows())
    observed = np.zeros((len(values), 3), bool)
    observed[:, column] = True
    x = np.zeros((len(values), 3))
    x[:, column] = values
    assert np.exp(law.log_prob(Split(x, observed=observed))).sum() == pytest.approx(1.0)


def test_far_cells_have_a_finite_log_mass_and_absent_ones_none() -> None:
    law = IndependentColumns(SCHEMA, rows())
    far = Split(np.array([[1e3, 1e3, 2.0]]))
    assert np.isfinite(law.log_prob(far)).all()
    gone = Split(np.array([[1e3, -7.0, 1.0]]), observed=np.zeros((1, 3), bool))
    assert law.log_prob(gone).tolist() == [0.0]
