"""Which rank and how many components: the choice by rows held out."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from vlb.core.layouts import Vector
from vlb.core.schema import Real, Schema
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.em import em
from vlb.models.factor.fitting import CELLS, PATIENCE, Chooser, Mapped, best, surely

WEIGHT = torch.ones(100, dtype=torch.float64)


def judged(means: list[float], spread: float = 0.0) -> tuple[list[torch.Tensor], list[int], int]:
    """log p of 100 rows under each of several choices, which of them were asked for, and what was chosen."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(means), 100, generator=generator, dtype=torch.float64)
    noise = noise - noise.mean(1, keepdim=True)
    values = [mean + spread * own for mean, own in zip(means, noise, strict=True)]
    asked: list[int] = []

    def ask(place: int) -> torch.Tensor:
        asked.append(place)
        return values[place]

    chosen = best(range(len(means)), ask, WEIGHT)
    return values, asked, chosen


def test_a_dip_does_not_end_the_search() -> None:
    """Two components may be no better than one where four are."""
    assert judged([0.0, -0.1, 0.3, 0.5])[2] == 3


def test_a_choice_within_one_standard_error_of_the_best_is_as_good() -> None:
    """Of differences with standard error about 0.14, 0.1 is within and 1 is not."""
    assert judged([0.0, 1.0, 1.1], spread=1.0)[2] == 1
    assert judged([0.0, 0.1], spread=1.0)[2] == 0
    assert judged([0.0, 0.1], spread=0.1)[2] == 1


def test_the_search_ends_where_nothing_is_gained() -> None:
    assert judged([0.0] + [-1.0] * 5)[1] == list(range(PATIENCE + 1))


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7), st.floats(0, 2))
def test_nothing_that_was_asked_for_is_clearly_better_than_what_is_chosen(means: list[float], spread: float) -> None:
    """And of what is as good as the best, the first."""
    values, asked, chosen = judged(means, spread)
    top = max(asked, key=lambda place: float(values[place].mean()))
    for place in asked[: chosen + 1]:
        gain = values[top] - values[place]
        error = float((gain - gain.mean()).square().sum().sqrt()) / len(gain)
        if place < chosen:
            assert float(gain.mean()) > error or math.isclose(float(gain.mean()), error, abs_tol=1e-9)
        else:
            assert float(gain.mean()) <= error + 1e-9


def test_small_gains_add_up_to_one_that_is_sure() -> None:
    """Each choice is 0.02 better than the one before, which is not sure, so that the search goes on to the end; the
    last is, over the first."""
    _, asked, chosen = judged([0.02 * place for place in range(12)], spread=1.0)
    assert asked == list(range(12)) and chosen > 0


@given(st.floats(-1, 1), st.floats(0.1, 2), st.integers(1, 5))
def test_a_gain_is_sure_whatever_the_units_of_the_weights(mean: float, spread: float, factor: int) -> None:
    gain = mean + spread * torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert surely(gain, weight) == surely(gain, factor * weight)
    assert not (surely(gain, weight) and surely(-gain, weight))


def of_two_lumps(rows: int, columns: int) -> Chooser:
    """A chooser for rows of two lumps of Gaussians, 2 apart in every column."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    y = y + 2.0 * torch.randint(2, (rows, 1), generator=generator)
    model = FactorAnalysers(draws=0).build(Schema(layout=Vector((columns,)), kinds=Real()))
    mapped = Mapped(model.rows(y, torch.ones_like(y, dtype=torch.bool)), torch.zeros(rows, dtype=torch.float64))
    order = torch.randperm(rows, generator=generator)
    return Chooser(mapped, y.new_zeros(0), y.new_zeros(0), model.columns.groups, model.fit_by, order, disturbance=0)


def test_em_that_ends_early_is_as_good_on_the_rows_held_out() -> None:
    """As EM with all of its steps, by one standard error of the difference."""
    chooser = of_two_lumps(300, 3)
    one = chooser.single(1)
    for count in (2, 8):
        whole, _ = em(chooser.disturbed(one, count), chooser.kept, chooser.pulling(one), chooser.fit.steps)
        gain = chooser.held_out(whole) - chooser.held_out(chooser.several(1, count))
        assert not surely(gain, chooser.held.weight) or float(gain.mean()) < 0.02


@given(st.integers(20, 400), st.integers(1, 6), st.integers(1, 6))
def test_no_more_components_are_tried_than_cells_can_tell(rows: int, columns: int, rank: int) -> None:
    chooser = of_two_lumps(rows, columns)
    most = chooser.most(rank)
    parameters = most * columns * (rank + 1)
    assert most == 1 or CELLS * parameters <= float(chooser.kept.known.sum())
    assert 1 <= most <= chooser.fit.most_components


def test_maps_are_chosen_with_the_number_of_components() -> None:
    """Of Gaussians that overlap in each column: bent maps are the better with one component, and straight ones with
    as many as there are."""
    generator = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    loadings = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64)
    which = torch.randint(3, (1500,), generator=generator)
    z, noise = (torch.randn(1500, size, 1, generator=generator, dtype=torch.float64) for size in (2, 5))
    x = means[which] + (loadings[which] @ z + 0.4 * noise).squeeze(-1)
    schema = Schema(layout=Vector((5,)), kinds=Real())
    bends = {}
    for components in (1, None):
        model = FactorAnalysers(components=components, draws=0).build(schema)
        model.fit(x, None, None, torch.Generator().manual_seed(1))
        bends[components] = float(model.maps(x)[1].std(0).max())
    assert bends[1] > 0.1 and bends[None] < 1e-9
