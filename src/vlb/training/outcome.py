"""Whether a training came to something, and which checkpoint is good where it did not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Bar:
    """What a bound is far above where it says nothing: so many bits/dim at most, and those of whom, in words."""

    most: float
    bits: float
    whose: str


def bar(data: Dataset) -> Bar:
    """That of some data: the uniform law where it has one, else, for real numbers, each by itself."""
    schema, nat = data.schema, 1 / math.log(2) / data.dimensions
    if schema.discrete:
        even = uniform(data) * nat
        # Of constants alone any bound is nothing, too.
        return Bar(FAR * even or math.inf, even, "any value as likely")
    rows = data.validation
    alone = -float(independent(schema, data.train).log_prob(rows).mean()) * nat if len(rows) else math.inf
    return Bar(alone + FAR_OF_COLUMNS, alone, f"each of the {schema.layout.elements} by itself")


def fault(found: Mapping[str, float], bar: Bar) -> str | None:
    """What is wrong with figures of merit on validation data, the first of which decides; None where nothing is."""
    name, merit = next(iter(found.items()))
    said = name.replace("_", " ").replace("bits per dim", "bound, bits/dim,")
    if not math.isfinite(merit):
        return f"the {said} on validation data is {merit}, no finite number"
    if name == "bits_per_dim" and merit > bar.most:
        return f"the {said} on validation data is {merit:.4g}, far above {bar.bits:.4g}, which {bar.whose} gives"
    return None


def refuse(run: Run, why: str, bar: Bar) -> UserError:
    """That a training came to nothing: why, which checkpoint is good, and what to change."""
    return UserError(f"training of {run.path} failed: {why}. {_good(run, bar)}. {MEND}")


def _good(run: Run, bar: Bar) -> str:
    best = checkpoint.read(run.best).state if run.best.is_file() else {}
    found = best.get("validation")
    if "step" in best and figures(found) and fault(found, bar) is None:
        name, merit = next(iter(found.items()))
        return f"{run.best} is good: step {best['step']}, {name} {merit:.4f} on validation data; every command reads it"
    if not run.last.is_file():
        return "No good checkpoint was written"
    step = checkpoint.read(run.last).state.get("step")
    return f"No checkpoint is known to be good; {run.last}, of step {step}, has finite weights"
