"""A diffusion model on T steps: the kernel of one step, and where the rungs lie, by the names that options have."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.base.errors import UserError, suggestion
from vlb.base.progress import SILENT, Progress
from vlb.base.words import so_many
from vlb.data import Split
from vlb.models.diffusion.discrete import WALK, GridDiffusion
from vlb.models.diffusion.grids import GRIDS, UniformLogSNR
from vlb.models.diffusion.kernels import KERNELS, ReverseKernel
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.placement import average, cheapest, measure_costs

PLACEMENTS = {"t": "even in t", "snr": "even in log SNR", "dp": "by least cost on validation data"}
CANDIDATES, PLACING_EXAMPLES, PLACING_BATCH = 40, 1000, 100


@dataclass(frozen=True)
class Discretisation:
    """How a continuous-time model was discretised: T, p(z_s | z_t), how the times were placed, and γ at each."""

    steps: int
    kernel: str
    placement: str
    times: list[float]
    gamma: list[float]


def kernel_named(name: str) -> ReverseKernel:
    """One of `KERNELS`. Raises `UserError` for another name."""
    kernel: ReverseKernel = KERNELS.kind(name, "--kernel")()
    return kernel


def check_placement(name: str, steps: int) -> None:
    """Raises `UserError` for a placement that is none, or not of so many steps."""
    if name not in PLACEMENTS:
        raise UserError(f"--placement {name!r} is not offered; {suggestion(name, PLACEMENTS)}")
    if name == "dp" and steps > WALK:
        raise UserError(f"--placement dp is for up to {WALK} steps, not {steps}: with more, any placement serves")


@torch.no_grad()
def discretise(
    model: DiffusionModel,
    validation: Split,
    steps: int,
    kernel: ReverseKernel,
    placement: str,
    conditional: bool,
    progress: Progress = SILENT,
) -> GridDiffusion:
    """The model on T steps of a kernel, its rungs placed; `dp` looks at up to 1000 validation examples."""
    if placement != "dp":
        grid = GRIDS.kind(placement, "--placement")()(model.process.schedule, steps)
    else:
        candidates = UniformLogSNR()(model.process.schedule, max(CANDIDATES, 2 * steps))
        some, generator = validation.subset(PLACING_EXAMPLES), torch.Generator().manual_seed(0)
        costs, sizes = [], []
        progress.begin(f"placing {steps + 1} rungs by {so_many(len(some), 'validation example')}", len(some))
        for start in range(0, len(some), PLACING_BATCH):
            index = np.arange(start, min(start + PLACING_BATCH, len(some)))
            x, condition = some.batch(index, conditional, model.device)
            costs.append(measure_costs(model, x, candidates, kernel, generator, condition))
            sizes.append(float(len(index)))
            progress.at(start + len(index))
        grid = candidates[cheapest(average(costs, sizes), steps)]
    return model.at(grid, kernel)
