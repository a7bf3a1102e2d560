"""Whether a training came to something, and which checkpoint is good where it did not."""

import math
from collections.abc import Mapping

from vlb.base.errors import UserError
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.metrics import figures

FAR = 10  # times the bits of the uniform law: beyond it a bound says that the weights are no model of these data
MEND = (
    "Train into another --out with a lower training.learning_rate, a longer training.warmup, a lower training.clip or "
    "training.precision=float32; or with more training.steps, if the bound was still falling"
)


def fault(found: Mapping[str, float], uniform: float) -> str | None:
    """What is wrong with figures of merit on validation data, the first of which decides; None where nothing is.

    uniform: log₂ K, bits/dim, with which a bound is compared.
    """
    name, merit = next(iter(found.items()))
    said = name.replace("_", " ").replace("bits per dim", "bound, bits/dim,")
    if not math.isfinite(merit):
        return f"the {said} on validation data is {merit}, no finite number"
    if name == "bits_per_dim" and merit > FAR * uniform:
        return f"the {said} on validation data is {merit:.4g}, far above {uniform:.4g}, which any value as likely gives"
    return None


def refuse(run: Run, why: str, uniform: float) -> UserError:
    """That a training came to nothing: why, which checkpoint is good, and what to change."""
    return UserError(f"training of {run.path} failed: {why}. {_good(run, uniform)}. {MEND}")


def _good(run: Run, uniform: float) -> str:
    best = checkpoint.read(run.best).state if run.best.is_file() else {}
    found = best.get("validation")
    if "step" in best and figures(found) and fault(found, uniform) is None:
        name, merit = next(iter(found.items()))
        return f"{run.best} is good: step {best['step']}, {name} {merit:.4f} on validation data; every command reads it"
    if not run.last.is_file():
        return "No good checkpoint was written"
    step = checkpoint.read(run.last).state.get("step")
    return f"No checkpoint is known to be good; {run.last}, of step {step}, has finite weights"
