"""How the draws of a bound are spent: by a plan fitted on examples that are not evaluated, where a kind has plans.

A plan depends on the model and on these examples alone: a run keeps it, and every later evaluation follows it.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial, singledispatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.base.progress import Progress
from vlb.core.condition import Condition
from vlb.core.ranks import ALONE, Ranks
from vlb.data import Dataset, Split
from vlb.measure.keeper import Keeper
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import STRATA, Plan, StratifiedBound, fit
from vlb.store.runs import Run

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
    ways: Planning,
    apart: Dataset,
    split: str,
    conditional: bool,
    run: Run | None,
    progress: Progress,
    strata: int = STRATA,
    ranks: Ranks = ALONE,
) -> StratifiedBound:
    """The bound by draws spent well on the split of that name, or on given examples, planned on others of `apart`.

    run: where the model is from, which keeps the plan; ranks: of which the first plans, and the others follow.
    """
    some = (apart.train if split == "validation" else apart.validation).subset(PLANNING_EXAMPLES)

    def plan() -> Plan:
        file = None if run is None else place(run, some, conditional, strata)
        kept = None if file is None else _kept(file)
        if kept is not None:
            return kept
        x, condition = some.batch(np.arange(len(some)), conditional, ways.device)
        progress.begin(f"planning by {len(some)} examples that are not evaluated")
        found = ways.fit(x, condition, torch.Generator().manual_seed(0), strata)
        if file is not None:
            with suppress(UserError, OSError):  # a run that cannot be written to is planned anew the next time
                file.parent.mkdir(exist_ok=True)
                write_text(file, json.dumps(found.encode()) + "\n")
        return found

    return ways.by(ranks.once(plan))


def place(run: Run, examples: Split, conditional: bool, strata: int) -> Path:
    """Where a run keeps the plan of its model by these examples."""
    digest = hashlib.sha256(f"plan-1 {run.fingerprint} {examples.x.shape} {conditional} {strata} ".encode())
    digest.update(np.ascontiguousarray(examples.x).tobytes())
    if conditional and examples.labels is not None:
        digest.update(np.asarray(examples.labels, "<i8").tobytes())
    return run.path / "evaluations" / f"plan-{digest.hexdigest()[:16]}.json"


def _kept(file: Path) -> Plan | None:
    """An earlier plan; None where there is none, or what is there is none."""
    try:
        return Plan.decode(json.loads(file.read_text()))
    except (OSError, ValueError, RecursionError, UserError):
        return None


def stratified(
    ways: Planning,
    apart: Dataset,
    split: str,
    conditional: bool,
    run: Run | None,
    keeper: Keeper,
    progress: Progress,
    ranks: Ranks,
) -> StratifiedBound:
    """The estimate that costs least, planned on examples that are not evaluated, or as the one kept was."""
    if "plan" not in keeper.notes:
        keeper.notes["plan"] = planned(ways, apart, split, conditional, run, progress, ranks=ranks).plan.encode()
    return ways.by(Plan.decode(keeper.notes["plan"]))
