"""Whether a training came to something, and which checkpoint is good where it did not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vlb.base.errors import UserError
from vlb.data.baselines import uniform
from vlb.data.dataset import Dataset
from vlb.data.independent import independent
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.metrics import figures

FAR = 10  # times the bits of the uniform law: beyond it a bound says that the weights are no model of these data
FAR_OF_COLUMNS = 64  # bits/dim above columns by themselves, likewise: as many as a number takes that is written down
MEND = (
    "Train into another --out with a lower training.learning_rate, a longer training.warmup, a lower training.clip or "
    "training.precision=float32; or with more training.steps, if the bound was still falling"
)
MEND_FIT = (
    "It was fitted without a step of training: look for wrong values, and for rows held out that are unlike the "
    "others; or fit less into another --out, with fewer model.components"
)


@dataclass(frozen=True)
class Bar:
    """What a figure of merit is held against: what somebody gives who learned nothing, whose that is, in words, and
    the most that it may be, beyond which training failed."""

    most: float
    given: float
    whose: str


def bars(data: Dataset) -> dict[str, Bar]:
    """Those of some data by the name of the figure. One who learned nothing has the uniform law where there is one,
    else, of real numbers, each by itself; and always names one class, the commonest."""
    found, labels = {"bits_per_dim": _of_bounds(data)}, data.validation.labels
    if labels is not None and (labels >= 0).any():
        share = float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())
        found["error_rate"] = Bar(math.inf, 1 - share, "always naming the commonest class")
    return found


def _of_bounds(data: Dataset) -> Bar:
    schema, nat = data.schema, 1 / math.log(2) / data.dimensions
    if schema.discrete:
        even = uniform(data) * nat
        # Of constants alone any bound is nothing, too.
        return Bar(FAR * even or math.inf, even, "any value as likely")
    rows = data.validation
    alone = -float(independent(schema, data.train).log_prob(rows).mean()) * nat if len(rows) else math.inf
    return Bar(alone + FAR_OF_COLUMNS, alone, f"each of the {schema.layout.elements} by itself")


def fault(found: Mapping[str, float], held: Mapping[str, Bar]) -> str | None:
    """What is wrong with figures of merit on validation data, the first of which decides; None where nothing is."""
    name, merit = next(iter(found.items()))
    if not math.isfinite(merit):
        return f"{_said(name)} is {merit}, no finite number"
    if name in held and merit > held[name].most:
        return f"{_said(name)} is {merit:.4g}, far above {held[name].given:.4g}, which {held[name].whose} gives"
    return None


def doubt(found: Mapping[str, float], held: Mapping[str, Bar]) -> str | None:
    """That figures of merit without a fault are those of one who learned nothing; None where they are better."""
    name, merit = next(iter(found.items()))
    if name not in held or merit < held[name].given:
        return None
    return (
        f"{_said(name)} is {merit:.4g}, no better than {held[name].given:.4g}, which {held[name].whose} gives: so far "
        "it has learned nothing"
    )


def _said(name: str) -> str:
    return f"the {name.replace('_', ' ').replace('bits per dim', 'bound, bits/dim,')} on validation data"


def refuse(run: Run, why: str, held: Mapping[str, Bar]) -> UserError:
    """That a training came to nothing: why, which checkpoint is good, and what to change."""
    mend = MEND if run.experiment.training.steps else MEND_FIT
    return UserError(f"training of {run.path} failed: {why}. {_good(run, held)}. {mend}")


def _good(run: Run, held: Mapping[str, Bar]) -> str:
    best = checkpoint.read(run.best).state if run.best.is_file() else {}
    found = best.get("validation")
    if "step" in best and figures(found) and fault(found, held) is None:
        name, merit = next(iter(found.items()))
        return f"{run.best} is good: step {best['step']}, {name} {merit:.4f} on validation data; every command reads it"
    if not run.last.is_file():
        return "No good checkpoint was written"
    step = checkpoint.read(run.last).state.get("step")
    return f"No checkpoint is known to be good; {run.last}, of step {step}, has finite weights"
