"""The course of a training run, as far as its `metrics.jsonl` tells; whatever else stands there is passed over."""

import math
from dataclasses import dataclass
from typing import Any

from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.metrics import read_metrics

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class History:
    """Losses by step, and which weights were kept.

    train, validation: (step, value) in the order of steps; steps: the last step that was logged, 0 if none; skipped:
    how many updates were refused; refused: the steps at which; chosen: the step of the weights in use, None where
    the run does not say; best: whether they are the best on validation data (else the last).
    """

    train: Points
    validation: Points
    steps: int
    skipped: int
    refused: tuple[int, ...]
    chosen: int | None
    best: bool


def history(run: Run, train: str = "bits_per_dim", validation: str = "bits_per_dim") -> History:
    """The history of `run`, empty where its metrics are missing; `train` and `validation` are keys of the metrics."""
    lines = sorted(read_metrics(run), key=lambda line: line["step"])
    losses = tuple((line["step"], line[train]) for line in lines if _finite(line.get(train)))
    judged = [(line["step"], line["validation"]) for line in lines if isinstance(line.get("validation"), dict)]
    best = run.best.is_file()
    state = checkpoint.read(run.best if best else run.last).state
    return History(
        losses,
        tuple((step, merit[validation]) for step, merit in judged if _finite(merit.get(validation))),
        max((line["step"] for line in lines), default=0),
        max((line["skipped"] for line in lines if isinstance(line.get("skipped"), int)), default=0),
        tuple(line["step"] for line in lines if "note" in line),
        state["step"] if isinstance(state.get("step"), int) else None,
        best,
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
