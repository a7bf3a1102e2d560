"""Batches and randomness as functions of (seed, step), so that resuming needs no saved generator."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.data import Dataset

# Independent streams of one seed.
ORDER, NOISE, NETWORK = 1, 2, 3


def stream_seed(seed: int, stream: int, *index: int) -> int:
    """A 32-bit seed, well mixed: torch's CPU generator ignores all higher bits."""
    return int(np.random.SeedSequence([seed, stream, *index]).generate_state(1)[0])


def step_generator(seed: int, step: int, device: torch.device, rank: int = 0) -> torch.Generator:
    """The generator of everything a model draws in training step `step`; rank: of the process, if there are more."""
    return torch.Generator(device).manual_seed(stream_seed(seed, NOISE, step, *_more(rank)))


def network_generator(seed: int, step: int, device: torch.device, rank: int = 0) -> torch.Generator:
    """The generator of everything a network draws by itself in training step `step`: masks of dropout."""
    return torch.Generator(device).manual_seed(stream_seed(seed, NETWORK, step, *_more(rank)))


def _more(rank: int) -> tuple[int, ...]:
    """What tells a process from the first, which draws what one alone would."""
    return (rank,) if rank else ()


def batch_of(
    data: Dataset, seed: int, step: int, batch: int, conditional: bool, device: torch.device
) -> tuple[Tensor, Condition]:
    """The examples that step `step` trains on, with what is told of them: fresh ones where there are any."""
    if data.fresh is not None:
        return data.fresh.draw(seed, step, batch).batch(np.arange(batch), conditional, device)
    return data.train.batch(batch_indices(seed, step, batch, len(data.train)), conditional, device)


def batch_indices(seed: int, step: int, batch: int, examples: int) -> np.ndarray:
    """Indices of the examples of step `step`: successive pieces of a fresh permutation per epoch, (batch,)."""
    positions = np.arange(step * batch, (step + 1) * batch)
    return np.array([_order(seed, int(p // examples), examples)[p % examples] for p in positions])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, examples: int) -> np.ndarray:
    return np.random.default_rng([seed, ORDER, epoch]).permutation(examples)
