"""How the draws of a continuous-time bound are spent, fitted on examples that are not evaluated."""

import numpy as np
import torch

from vlb.base.progress import Progress
from vlb.data import Dataset
from vlb.measure.keeper import Keeper
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import STRATA, Plan, StratifiedBound, fit

PLANNING_EXAMPLES = 100


@torch.no_grad()
def planned(
    model: DiffusionModel,
    apart: Dataset,
    split: str,
    conditional: bool,
    progress: Progress,
    strata: int = STRATA,
) -> Plan:
    """How to spend draws on the split of that name, or on given examples, fitted on others of `apart`."""
    some = (apart.train if split == "validation" else apart.validation).subset(PLANNING_EXAMPLES)
    x, condition = some.batch(np.arange(len(some)), conditional, model.device)
    progress.begin(f"planning by {len(some)} examples that are not evaluated")
    return fit(model, x, condition, torch.Generator().manual_seed(0), strata)


def stratified(
    model: DiffusionModel, apart: Dataset, split: str, conditional: bool, keeper: Keeper, progress: Progress
) -> StratifiedBound:
    """The estimate that costs least, planned on examples that are not evaluated, or as the one kept was."""
    if "plan" not in keeper.notes:
        keeper.notes["plan"] = planned(model, apart, split, conditional, progress).encode()
    return StratifiedBound(model, Plan.decode(keeper.notes["plan"]))
