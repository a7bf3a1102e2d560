"""How the draws of a bound are spent: by a plan fitted on examples that are not evaluated, where a kind has plans."""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlb.base.progress import Progress
from vlb.core.condition import Condition
from vlb.data import Dataset
from vlb.measure.keeper import Keeper
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import STRATA, Plan, StratifiedBound, fit

PLANNING_EXAMPLES = 100


class Planning(NamedTuple):
    """How a model's draws are planned. fit: a plan with so many strata, from examples x that are not evaluated;
    by: the bound that follows a plan; device: where x is asked for."""

    fit: Callable[[Tensor, Condition, torch.Generator, int], Plan]
    by: Callable[[Plan], StratifiedBound]
    device: torch.device


@singledispatch
def planning(bound: object) -> Planning | None:
    """How draws of a bound are planned; None for what is drawn as it is. A kind that has plans is registered here."""
    return None


@planning.register
def _(bound: DiffusionModel) -> Planning:
    return Planning(partial(fit, bound), partial(StratifiedBound, bound), bound.device)


@torch.no_grad()
def planned(
    ways: Planning, apart: Dataset, split: str, conditional: bool, progress: Progress, strata: int = STRATA
) -> StratifiedBound:
    """The bound by draws spent well on the split of that name, or on given examples, planned on others of `apart`."""
    some = (apart.train if split == "validation" else apart.validation).subset(PLANNING_EXAMPLES)
    x, condition = some.batch(np.arange(len(some)), conditional, ways.device)
    progress.begin(f"planning by {len(some)} examples that are not evaluated")
    return ways.by(ways.fit(x, condition, torch.Generator().manual_seed(0), strata))


def stratified(
    ways: Planning, apart: Dataset, split: str, conditional: bool, keeper: Keeper, progress: Progress
) -> StratifiedBound:
    """The estimate that costs least, planned on examples that are not evaluated, or as the one kept was."""
    if "plan" not in keeper.notes:
        keeper.notes["plan"] = planned(ways, apart, split, conditional, progress).plan.encode()
    return ways.by(Plan.decode(keeper.notes["plan"]))
