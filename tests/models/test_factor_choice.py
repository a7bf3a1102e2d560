"""Which rank and how many components: the choice by rows held out."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from vlb.models.factor.fitting import PATIENCE, best

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
