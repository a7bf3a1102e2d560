"""Measuring a bound from the command line: for how long, with a progress bar, kept as it goes on."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.data import Dataset, Split
from vlb.interfaces.commands.process import console, progress_bar
from vlb.measure.evaluation import FREEDOM, Bounded, Evaluation, Tally, evaluate
from vlb.measure.evaluation_file import Progress, Subject, resume, save
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import STRATA, Plan, StratifiedBound, fit

PASSES, DEAR_PASSES, CONTINUOUS_PASSES = 8, 4, 3
BUDGET = 16  # by default, a precision may cost so many times the passes made anyway
BATCH = 250
SAVE_SECONDS = 10.0
PLANNING_EXAMPLES = 100


@dataclass(frozen=True)
class Effort:
    """How long to evaluate: `passes`, then until `precision` bits/dim or `budget` passes are spent; None by default."""

    passes: int | None = None
    precision: float | None = None
    budget: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` for options that do not fit together."""
        if self.passes is not None and self.passes < 2:
            raise UserError(f"--passes: an error needs at least 2 passes, not {self.passes}")
        if self.precision is not None and not 0 < self.precision < math.inf:
            raise UserError(f"--precision is a positive number of bits per dimension, not {self.precision:g}")
        if self.budget is not None and self.precision is None:
            raise UserError("--budget belongs to --precision: it says after how many passes to give up")
        if self.budget is not None and self.budget < (self.passes or 2):
            raise UserError(f"--budget must be at least the {self.passes or 2} passes made anyway, not {self.budget}")

    def range(self, usual: int) -> tuple[int, int]:
        """The least passes, `usual` unless said otherwise, and the most where there is a precision to reach."""
        least = self.passes or min(usual, self.budget or usual)
        return least, self.budget or BUDGET * least


def default_place(run: Path, subject: Subject, examples: int) -> Path | None:
    """Where values of so many examples go unless said otherwise: RUN/evaluations; None where that cannot be written."""
    folder = run / "evaluations"
    try:
        folder.mkdir(exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        console.print(f"{run} cannot be written to: no values are kept; --values FILE keeps them elsewhere")
        return None
    return folder / f"{subject.split}-{examples}-{subject.digest}.npz"


class Keeper:
    """Saves an evaluation as it goes on, and finds what an interrupted one has left.

    tally: where to go on, or None; notes: JSON values that an evaluation needs again, saved with it.
    """

    def __init__(self, path: Path | None, subject: Subject, index: np.ndarray) -> None:
        """Raises `UserError` where `path` holds another evaluation, or cannot be."""
        self.path, self.subject, self.index = path, subject, index
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"there is no folder {path.absolute().parent}: make it first")
        found = None if path is None else resume(path, subject, index)
        self.tally = found.tally if found else None
        self.notes = found.notes if found else {}
        self._saved = time.monotonic()

    def watch(self, tally: Tally) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save(tally)

    def save(self, tally: Tally) -> None:
        """Save now."""
        if self.path is not None:
            save(self.path, Progress(tally, self.subject, self.index, self.notes))
        self._saved = time.monotonic()


@torch.no_grad()
def planned(
    model: DiffusionModel,
    data: Dataset,
    split: str,
    conditional: bool,
    device: torch.device,
    strata: int = STRATA,
) -> Plan:
    """How to spend draws on a split of the data, or on given examples, fitted on others."""
    apart = (data.train if split == "validation" else data.validation).subset(PLANNING_EXAMPLES)
    x, condition = apart.batch(np.arange(len(apart)), conditional, device)
    with console.status(f"planning by {len(apart)} examples that are not evaluated"):
        return fit(model, x, condition, torch.Generator().manual_seed(0), strata)


def stratified(
    model: DiffusionModel, data: Dataset, split: str, conditional: bool, keeper: Keeper, device: torch.device
) -> StratifiedBound:
    """The estimate that costs least, planned on examples that are not evaluated, or as the one kept was."""
    if "plan" not in keeper.notes:
        keeper.notes["plan"] = planned(model, data, split, conditional, device).encode()
    return StratifiedBound(model, Plan.decode(keeper.notes["plan"]))


def refuse_missed(effort: Effort, evaluation: Evaluation, keeper: Keeper) -> None:
    """Raises `UserError` where the precision asked for was not reached, saying what was."""
    reached = evaluation.se_monte_carlo
    if effort.precision is None or (reached <= effort.precision and evaluation.freedom >= FREEDOM):
        return
    passes = evaluation.passes
    needed = passes_needed(evaluation, effort.precision)
    raise UserError(
        f"a precision of {effort.precision:g} bits/dim was not reached: after {passes} passes, the budget, the Monte "
        f"Carlo error is {reached:.2g} bits/dim, known from {evaluation.freedom} degrees of freedom. It needs "
        f"about {needed} passes: try --budget {math.ceil(1.2 * needed)}"
        + (f"; what was computed is kept in {keeper.path} and is gone on with" if keeper.path else "")
    )


def passes_needed(evaluation: Evaluation, precision: float) -> int:
    """About how many passes a precision takes, at least those that its error is known from."""
    by_error = math.ceil(evaluation.passes * (evaluation.se_monte_carlo / precision) ** 2)
    return max(by_error, 1 + math.ceil(FREEDOM / evaluation.batch_means.shape[1]))


def measure(
    model: Bounded,
    split: Split,
    conditional: bool,
    effort: Effort,
    device: torch.device,
    keeper: Keeper | None = None,
    usual: int = PASSES,
) -> Evaluation:
    """`vlb.measure.evaluation.evaluate` with a progress bar, kept as it goes on; usual: passes unless `effort` says."""
    least, most = effort.range(usual)
    started = keeper.tally if keeper else None
    last = started
    with progress_bar() as bar:
        task = bar.add_task(f"evaluating {len(split)} examples", total=least * len(split), detail="")

        def watch(tally: Tally) -> None:
            nonlocal last
            last = tally
            if keeper:
                keeper.watch(tally)
            if not tally.start and effort.precision is not None and tally.passes >= 2:
                so_far = tally.evaluation(math.prod(model.shape), model.bound, conditional)
                total = min(max(least, passes_needed(so_far, effort.precision)), most) * len(split)
                bar.update(task, total=total, detail=f"Monte Carlo error {so_far.se_monte_carlo:.2g}")
            bar.update(task, completed=tally.seen)

        try:
            return evaluate(
                model,
                split,
                conditional=conditional,
                passes=least,
                precision=effort.precision,
                budget=most,
                seed=effort.seed,
                batch=BATCH,
                device=device,
                tally=started,
                watch=watch,
            )
        except KeyboardInterrupt:
            if keeper and keeper.path and last is not None:
                bar.console.print(f"interrupted; kept in {keeper.path}, and the same command goes on", markup=False)
            raise
        finally:
            if keeper and last is not None:
                keeper.save(last)
