"""Where on the noise axis the bound of a diffusion model is paid."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from vlb.data import Split
from vlb.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class NoiseProfile:
    """Where on the noise axis the bound is paid: mean ½‖ε − ε̂‖² per dimension and nat of λ, by bin of λ.

    log_snr: (bins,) centres; bits: (bins,) bits/dim per unit of λ, whose integral is the diffusion term.
    """

    log_snr: np.ndarray
    bits: np.ndarray


@torch.no_grad()
def noise_profile(
    model: DiffusionModel,
    split: Split,
    *,
    conditional: bool,
    bins: int = 40,
    limit: int = 1000,
    batch: int = 250,
    device: torch.device | str = "cpu",
) -> NoiseProfile:
    """The bound's rate at `bins` noise levels, equal in λ, on up to `limit` examples."""
    schedule = model.process.schedule
    edges = np.linspace(-schedule.gamma_1, -schedule.gamma_0, bins + 1)
    sums, counts = np.zeros(bins), np.zeros(bins)
    generator = torch.Generator().manual_seed(0)
    count = min(limit, len(split))
    for repetition in range(math.ceil(32 * bins / count)):
        for start in range(0, count, batch):
            index = np.arange(start, min(start + batch, count))
            x, condition = split.batch(index, conditional, device)
            cell = (np.arange(len(index)) + repetition) % bins
            offset = torch.rand(len(index), generator=generator, dtype=torch.float64).numpy()
            log_snr = edges[cell] + offset * (edges[1] - edges[0])
            t = schedule.inverse(torch.from_numpy(-log_snr).to(device))
            rate = schedule.rate(t).mean(-1)
            value = (model.term(x, t, condition, generator) / rate).double().cpu().numpy()
            np.add.at(sums, cell, value)
            np.add.at(counts, cell, 1)
    scale = split.dimensions * math.log(2)
    return NoiseProfile(0.5 * (edges[:-1] + edges[1:]), sums / np.maximum(counts, 1) / scale)
