"""The bound of a diffusion model of rows, with draws that are each row's own."""

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.draws import RowDraws
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.noisy import noised_by, squared_error, surprise

PIECE = 1 << 14  # noisy rows that the network sees at once


@torch.no_grad()
def bound_by_row(model: DiffusionModel, x: Tensor, condition: Condition, seed: int, draws: int) -> Tensor:
    """The bound in continuous time below log p(modelled | known) of rows x (n, D), (n,) nats, by S = `draws` noise
    levels of each row, one in each of S equal stretches of t. That of a row is a function of its cells, their roles and
    the seed, whatever other rows there are: without bias over seeds.

    The model's head decodes.
    """
    model.check_condition(condition)
    size = max(1, PIECE // draws)
    pieces = [slice(at, at + size) for at in range(0, len(x), size)]
    parts = [_bound(model, x[piece], condition.take(piece), seed, draws) for piece in pieces]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _bound(model: DiffusionModel, x: Tensor, condition: Condition, seed: int, draws: int) -> Tensor:
    own, embedded = RowDraws(x, condition, seed), model.embedding.embed(x)
    many, wide, told = x.repeat_interleave(draws, 0), embedded.repeat_interleave(draws, 0), condition.repeat(draws)
    t = ((torch.arange(draws).repeat(len(x)) + own.uniform(draws, torch.Size())) / draws).to(x.device)
    noisy = noised_by(model, many, wide, t, told, own.normal(draws, embedded.shape[1:]).to(x.device))
    errors = squared_error(model.denoise(noisy.z, noisy.gamma, told), noisy)
    end = noised_by(
        model, x, embedded, torch.zeros_like(t[: len(x)]), condition, own.normal(1, embedded.shape[1:]).to(x.device)
    )
    reconstruction = surprise(model.denoise(end.z, end.gamma, condition), end)
    prior = model.prior_kl(x, torch.Generator().manual_seed(seed), condition=condition)
    return -(errors.unflatten(0, (len(x), draws)).mean(1) + reconstruction + prior)
