"""What weights of K draws say of the looseness, where the looseness is known."""

import math

import numpy as np
import pytest
import torch

from tests.gaussian_hierarchies import PPCA
from tests.oracles import LIMIT, seeded
from tests.told import Told
from vlb.base.errors import UserError
from vlb.core.bound import descent_log_weight
from vlb.core.condition import Condition
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.measure.tightness.trained import weigh


class Stretched:
    """Probabilistic PCA whose q is too wide: its looseness is two halves of stretch − 1 − log stretch."""

    shape = (4,)
    bound = BoundKind("variational bound on")

    def __init__(self, stretch: float) -> None:
        self.hierarchy = PPCA(stretch)
        self.looseness = stretch - 1 - math.log(stretch)

    def terms(self, x: torch.Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, torch.Tensor]:
        return {("all",): -self.log_weight(x, condition, generator)}

    def log_weight(self, x: torch.Tensor, condition: Condition, generator: torch.Generator) -> torch.Tensor:
        return descent_log_weight(self.hierarchy, self.hierarchy.infer(x), x, generator)


def data(n: int) -> Split:
    """Examples of the model itself."""
    model, generator = PPCA(), seeded()
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    noise = math.sqrt(model.noise) * torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return Split((z @ model.weights.T + model.mean + noise).numpy())


def test_looseness_found_is_at_most_all_of_it_and_nearly_all_with_many_draws() -> None:
    model, split = Stretched(1.5), data(2000)
    few, many = (weigh(model, split, draws=k) for k in (2, 256))
    truth = -PPCA().log_prob(torch.from_numpy(split.x)).numpy()
    for found in (few, many):
        assert float(found.looseness.min()) >= 0
        assert float(found.effective.min()) >= 1 and float(found.effective.max()) <= found.draws
        mean, error = found.mean(found.looseness)
        assert mean < model.looseness + LIMIT * error
    assert many.mean(many.looseness)[0] > few.mean(few.looseness)[0]
    # The importance-weighted bound is above −log p(x), by about Var[w]/2K: here Var[w] < 1.
    mean, error = many.mean(many.importance - truth)
    assert -LIMIT * error < mean < LIMIT * error + 1 / 256
    mean, error = many.mean(many.bound - truth)
    assert abs(mean - model.looseness) < LIMIT * error


def test_exact_posterior_has_no_looseness_to_find() -> None:
    found = weigh(Stretched(1.0), data(50), draws=4)
    assert np.abs(found.looseness).max() < 1e-12
    assert found.effective == pytest.approx(4 * np.ones(50))


def test_batches_make_no_difference_to_what_is_measured() -> None:
    split = data(30)
    done: list[int] = []
    found = weigh(Stretched(1.0), split, draws=3, batch=7, progress=Told(done.append))
    truth = -PPCA().log_prob(torch.from_numpy(split.x)).numpy()
    assert found.bound == pytest.approx(truth)
    assert done[-1] == 90 and done == sorted(done)


def test_one_draw_shows_no_looseness() -> None:
    with pytest.raises(UserError, match="2 draws"):
        weigh(Stretched(1.0), data(5), draws=1)
