"""The page of a table with gaps: what is measured for it, and that any table has one."""

import math

import numpy as np
import pytest
import torch

from tests.models.test_factor import MIXED, fitted, table
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema
from vlb.data import Split
from vlb.models.factor.model import FactorMixture
from vlb.pages import columns
from vlb.pages.tables import Bars, Curve, by_law, correlations, marginals, odd_rows, sampled, table_of


@pytest.fixture(scope="module")
def mixed() -> FactorMixture:
    return fitted(MIXED, *table(), components=1, rank=2, draws=2, steps=10)


def test_marginals_are_laws(mixed: FactorMixture) -> None:
    x, observed = (part.numpy() for part in table())
    found = marginals(mixed, table_of(MIXED, Split(x, observed=observed)))
    assert [column.name for column in found] == ["height", "colour", "weight", "rooms"]
    for column in found:
        if isinstance(column, Bars):
            assert column.shares.sum() == pytest.approx(1) and column.model.sum() == pytest.approx(1)
        else:
            inside = (column.heights * np.diff(column.edges)).sum()
            assert 0.97 < inside <= 1 + 1e-9
            # Of a rounded column the points are all cells between the ends; of a real, they are dense.
            step = np.diff(column.points).mean()
            assert 0.9 < float(column.density.sum() * step) < 1 + 1e-9


def test_correlations_are_those_of_ranks_where_both_cells_are_there(mixed: FactorMixture) -> None:
    x, observed = (part.numpy() for part in table())
    rows, samples = table_of(MIXED, Split(x, observed=observed)), sampled(mixed, MIXED)
    found = correlations(rows, samples)
    assert found.names == ("height", "weight", "rooms")
    both = observed[:, 0] & observed[:, 2]
    ranks = [np.argsort(np.argsort(x[both, 2])), x[both, 0]]
    assert found.data[0, 1] == pytest.approx(spearman(*ranks))
    assert found.strongest()[0] == (0, 2)
    # Of the model they are near those of the data: 2000 samples, ten standard errors.
    assert abs(found.samples[0, 1] - found.data[0, 1]) < 0.3


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    def ranks(values: np.ndarray) -> np.ndarray:
        return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) + 1) / 2

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def test_a_row_that_breaks_the_rule_is_the_oddest_and_its_cell_is_named(mixed: FactorMixture) -> None:
    x, _ = table(50)
    x[17, 2] = 1e4
    nats = -mixed.log_prob(x).numpy()
    found = odd_rows(by_law(mixed), table_of(MIXED, Split(x.numpy())), nats)
    assert found[0].place == 17 and found[0].cells[0][0] == "weight"
    assert found[0].nats == pytest.approx(nats.max())


@pytest.mark.parametrize("name", ["$x_1$", "<script>", "a\nb\x00", "ünï" * 30, "#000001"])
def test_any_names_and_columns_are_drawn(name: str) -> None:
    kinds = (Real(), Categories((name, "other\x01")), Real(resolution=1.0), Levels(2), Categories(("one",)))
    schema = Schema(
        layout=Vector((5,)), kinds=tuple(Column(f"{name}{i}", kind) for i, kind in enumerate(kinds)), gaps=True
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (12, 5), generator=generator).double()
    x[:, 4], x[:, 0] = 0, 3.5
    observed = torch.ones(x.shape, dtype=torch.bool)
    observed[:, 2] = False
    model = fitted(schema, x, observed, components=1, rank=1, draws=0, steps=2)
    rows, samples = table_of(schema, Split(x.numpy(), observed=observed.numpy())), sampled(model, schema)
    found = correlations(rows, samples)
    assert math.isnan(found.data[0, 1])
    drawn = [columns.marginals(marginals(model, rows)), columns.correlations(found)]
    closest = found.strongest()
    drawn += [columns.pairs(closest, rows, samples)] if closest else []
    for svg in drawn:
        assert svg.startswith("<svg") and svg.endswith("</svg>")
        assert "<script" not in svg and "\x00" not in svg and "\x01" not in svg
    assert all(isinstance(column, Curve | Bars) for column in marginals(model, rows))
