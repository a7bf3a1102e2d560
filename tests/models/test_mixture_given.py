"""Some elements given others in a mixture of products of categoricals, against sums over all outcomes; EM in pieces."""

from itertools import product

import pytest
import torch
from torch import Tensor

from tests.models.test_fitted_mixture import EVERY, mixture
from tests.oracles import LIMIT, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.schema import levels_schema
from vlb.models.mixture import categorical
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.mixture.config import Mixture
from vlb.models.protocols import Imputing, require

M, K, A = Role.MODELLED, Role.KNOWN, Role.ABSENT
ROLES = [[M, M, K, K], [K, M, A, M], [A, A, M, K], [M, M, M, M], [K, K, K, M], [A, M, A, A]]


def roles(row: list[Role]) -> Tensor:
    return torch.tensor(row, dtype=torch.uint8).view(1, 2, 2).expand(len(EVERY), 2, 2)


def masses(model: CategoricalMixture, keep: Tensor) -> Tensor:
    """log p of the elements of each outcome that are kept (81, 2, 2), by a sum over all outcomes that share them."""
    same = ((EVERY.unsqueeze(0) == EVERY.unsqueeze(1)) | ~keep.unsqueeze(1)).flatten(2).all(2)
    return torch.where(same, model.log_prob(EVERY), -torch.inf).logsumexp(1)


@pytest.mark.parametrize("row", ROLES)
def test_log_p_of_some_elements_given_others_is_a_ratio_of_sums(row: list[Role]) -> None:
    model, role = mixture(), roles(row)
    (term,) = model.terms(EVERY, Condition(role=role), seeded()).values()
    torch.testing.assert_close(-term, masses(model, role != A) - masses(model, role == K))
    other = torch.where(role == A, (EVERY + 1) % 3, EVERY)  # what is absent is not looked at
    (again,) = model.terms(other, Condition(role=role), seeded()).values()
    assert torch.equal(term, again)


def test_nothing_known_and_nothing_absent_is_no_condition() -> None:
    model = mixture()
    (term,) = model.terms(EVERY, Condition(role=roles([M] * 4)), seeded()).values()
    (plain,) = model.terms(EVERY, UNCONDITIONAL, seeded()).values()
    torch.testing.assert_close(term, plain)


@pytest.mark.parametrize("row", ROLES[:5])
def test_the_law_of_single_elements_is_the_sum_over_the_others(row: list[Role]) -> None:
    model = mixture()
    known = roles(row) == K
    law = require(model, Imputing, "this").conditional(EVERY.double(), known, seeded())
    for place, p in enumerate(law.probabilities()):
        own = torch.zeros(4, dtype=torch.bool)
        own[place] = True
        if known.flatten(1)[0, place]:
            continue
        joint = [masses(model, known | own.view(2, 2)) - masses(model, known)]
        chosen = p.gather(1, EVERY.flatten(1)[:, place : place + 1]).squeeze(1).log()
        torch.testing.assert_close(chosen, joint[0])
        torch.testing.assert_close(law.log_prob_of(place, torch.arange(3).expand(81, 3)), p.log())
        mean, half = p @ torch.arange(3.0, dtype=p.dtype), (p.cumsum(1) < 0.5).sum(1)
        for found, expected in ((law.mean(), mean), (law.quantile(0.5), half.double()), (law.mode(), p.argmax(1))):
            torch.testing.assert_close(found.flatten(1)[:, place], expected.double())
    for found in (law.mean(), law.quantile(0.1), law.mode(), law.sample(seeded())):
        assert torch.equal(found[known], EVERY.double()[known])
    unlooked = torch.where(known, EVERY, (EVERY + 1) % 3)
    assert torch.equal(law.mean(), model.conditional(unlooked, known, seeded()).mean())


def test_draws_follow_the_conditional_law_together() -> None:
    """Two unknown elements of four: the share of each of the nine pairs. 18 z-scores within 5.5: false alarms 7e-7."""
    model, n = mixture(), 30_000
    role = torch.tensor([[M, K], [K, M]], dtype=torch.uint8)
    for values in (EVERY[5], EVERY[70]):
        condition = Condition(role=role.expand(n, 2, 2), values=values.expand(n, 2, 2))
        x = model.sample(n, generator=seeded(6), condition=condition)
        assert torch.equal(x[:, role == K], values[role == K].expand(n, 2))
        outcomes = torch.stack([values] * 9)
        outcomes[:, role == M] = torch.tensor(list(product(range(3), repeat=2)))
        p = model.log_prob(outcomes).softmax(0)
        for outcome, expected in zip(outcomes, p.tolist(), strict=True):
            assert abs(z_score((x == outcome).flatten(1).all(1).double(), expected)) < LIMIT + 0.5


def test_known_elements_need_values() -> None:
    with pytest.raises(UserError, match="give the condition's values"):
        mixture().sample(1, condition=Condition(role=torch.ones(1, 2, 2, dtype=torch.uint8)))


def test_columns_of_different_numbers_of_levels_keep_to_their_own() -> None:
    torch.manual_seed(0)
    schema = levels_schema((3,), 4)
    model = Mixture(components=2).build(schema)
    law = model.conditional(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), seeded())
    assert [p.shape for p in law.probabilities()] == [(2, 4)] * 3
    assert all(torch.allclose(p.sum(1), torch.ones(2, dtype=p.dtype)) for p in law.probabilities())


@pytest.mark.parametrize("piece", [1 << 23, 1 << 13, 1 << 11])
def test_em_in_pieces_gives_what_it_gives_at_once(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of a naive sum over one-hot examples, with the pieces of any size."""
    x = torch.randint(0, 5, (700, 6), generator=seeded(1))
    torch.manual_seed(1)
    model = CategoricalMixture(torch.full((6, 5), 0.2).log(), 4, (6,), smoothing=2.0).double()
    shares = model.responsibilities(x)
    onehot = torch.nn.functional.one_hot(x, 5).double()
    counts = torch.einsum("nj,ndk->jdk", shares, onehot) + 2.0 * 0.2
    monkeypatch.setattr(categorical, "PIECE", piece)
    model.em(x, 1)
    torch.testing.assert_close(model.logits, (counts / counts.sum(-1, keepdim=True)).log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.log_weights.softmax(0), shares.mean(0), rtol=1e-9, atol=1e-9)
