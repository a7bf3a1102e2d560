"""Rows taken pattern by pattern of known cells, and one by one."""

import pytest
import torch

from vlb.core.layouts import Vector
from vlb.core.schema import Real, Schema
from vlb.models.factor import components
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.model import FactorMixture


def fitted(x: torch.Tensor, observed: torch.Tensor, draws: int) -> FactorMixture:
    model = FactorAnalysers(components=3, rank=2, draws=draws, steps=8).build(Schema(layout=Vector((4,)), kinds=Real()))
    model.fit(x, observed, None, torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("draws", [0, 2])
def test_few_patterns_give_the_numbers_of_many(monkeypatch: pytest.MonkeyPatch, draws: int) -> None:
    """EM and its draws by sums over patterns are those by sums over rows; one column has gaps, so two patterns."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    x = torch.cat((x, x + torch.randn(300, 2, generator=generator, dtype=torch.float64)), 1)
    observed = torch.ones(300, 4, dtype=torch.bool)
    observed[::3, 1] = False
    found = []
    for few in (1, 10**9):
        monkeypatch.setattr(components, "FEW", few)
        model = fitted(x, observed, draws)
        assert (model.rows(x, observed).members is None) == (few > 1)
        found.append(model.components.parts() | {"log_p": model.log_prob(x)})
    for name, one in found[0].items():
        assert torch.allclose(one, found[1][name], atol=1e-8, rtol=1e-8), name
