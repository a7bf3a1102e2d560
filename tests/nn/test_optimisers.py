"""Muon: directions of equal length, matrices alone, and trainings that go on to the same bits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vlb.nn.optimisers import A, AdamW, AdamWOptimiser, B, C, Muon, MuonOptimiser, orthogonal


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_singular_values_come_near_one_and_directions_stay(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.randn(2, rows, columns, generator=generator)
    u, s, vt = torch.linalg.svd(matrices.double(), full_matrices=False)
    found = orthogonal(matrices).double()
    inner = u.mT @ found @ vt.mT
    values = inner.diagonal(dim1=1, dim2=2)
    # Singular values above a hundredth of the matrix's norm come within (0.65, 1.25).
    large = s > 0.01 * s.norm(dim=1, keepdim=True)
    assert bool((values[large] > 0.65).all()) and bool((values[large] < 1.25).all())
    off = inner - torch.diag_embed(values)
    assert float(off.abs().max()) < 0.02


def test_the_recursion_of_gram_matrices_is_the_iteration_itself() -> None:
    matrices = torch.randn(3, 5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    assert torch.allclose(orthogonal(matrices), x, atol=1e-9)
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_muon_takes_the_weights_of_layers_and_adamw_the_rest() -> None:
    module = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 5), nn.Conv2d(5, 6, 3), nn.LayerNorm(6))
    muon, adamw = Muon().build(module, 1e-3, (0.9, 0.99), 0.1)
    assert isinstance(muon, MuonOptimiser) and isinstance(adamw, AdamWOptimiser)
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert taken == {id(module[1].weight), id(module[2].weight)}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert taken | rest == {id(p) for p in module.parameters()} and not taken & rest
    (alone,) = AdamW().build(module, 1e-3, (0.9, 0.99), 0.1)
    assert sum(len(group["params"]) for group in alone.param_groups) == len(list(module.parameters()))


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 2, 3, 3)])
def test_a_step_has_the_length_of_its_rate(shape: tuple[int, ...]) -> None:
    """The mean square of a step is rate² / max(rows, columns) · max(1, rows/columns), within what iterations leave."""
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    MuonOptimiser([weight], lr=0.1, momentum=0.9, weight_decay=0.0).step()
    rows, columns = weight.flatten(1).shape
    rank = min(rows, columns)
    expected = 0.1 * max(1.0, rows / columns) ** 0.5 * rank**0.5
    assert float(weight.detach().norm()) == pytest.approx(expected, rel=0.3)
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_a_matrix_without_gradient_stays() -> None:
    still, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.ones(2, 2)
    MuonOptimiser([still, moved], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(still, torch.ones(2, 2)) and not torch.equal(moved, torch.ones(2, 2))
