"""The training loop: one step after another, resumable at any moment to the same bits."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.base.limits import too_large
from vlb.base.progress import SILENT, Progress
from vlb.core.condition import Condition
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.core.shards import local
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, Split
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.batches import NOISE, batch_of, stream_seed
from vlb.training.guard import Diverged
from vlb.training.interrupts import interruptible
from vlb.training.memory import too_much
from vlb.training.metrics import forget_metrics_after, read_metrics
from vlb.training.outcome import bars, doubt, fault, refuse
from vlb.training.trackers import Tracker, followed
from vlb.training.trainer import Trainer, hold
from vlb.training.validation import merit


@ordinary()
def fit(
    experiment: Experiment,
    data: Dataset,
    run: Run,
    *,
    model: nn.Module | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    trackers: Sequence[Tracker] = (),
    ranks: Ranks = ALONE,
) -> bool:
    """Train the experiment's model on `data` in `run`; True when finished, False when interrupted (Ctrl-C).

    model: with which training begins, where `experiment.build(data)` has made it already; trackers: who is told of what
    `metrics.jsonl` holds.

    An interrupt ends the current step, saves and returns, and so do SIGTERM and SIGHUP, which then end the process;
    `resume` goes on from the last checkpoint. Raises `UserError` where the training came to nothing: no checkpoint is
    written while updates are refused or weights are not finite, and the message says which one is good; and where the
    disk refuses: where that is `metrics.jsonl` alone, everything until then is saved.
    """
    device = torch.device(device)
    model = experiment.build(data) if model is None else model
    ranks.refuse_uneven(experiment.training.batch)
    trainer = Trainer(model, experiment.build_loss(model), experiment.training, experiment.seed, device, ranks=ranks)
    if resume:
        if ranks.writes:
            run.tidy()
        if run.last.is_file():
            trainer.restore(run)
    ranks.refuse_different(lambda: trainer.state)
    if ranks.writes:
        forget_metrics_after(run, trainer.step)
    settings, seed = experiment.training, experiment.seed
    nothing = bars(data)
    begun, first = time.monotonic(), trainer.step
    if settings.steps:
        progress.begin("training", settings.steps)
        progress.at(first)  # where there is nothing left to do, the bar is full

    def note(line: dict[str, Any]) -> None:
        if not ranks.writes:
            return
        try:
            with run.metrics.open("a") as metrics:
                metrics.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write {run.metrics}: {error.strerror or error}; {_saved(trainer, run)} at step {trainer.step} "
                f"of {settings.steps}: make room, and --resume goes on from what is saved"
            ) from error
        tell(line)

    held_out = data.validation
    if held_out.whole is not None:  # pieces of one thing lie beside each other: some of all things are looked at
        held_out = held_out.subset(settings.validation_examples)
    with followed(trackers if ranks.writes else (), run) as tell, interruptible() as interrupted:
        if not settings.steps:
            _validate(trainer, held_out, experiment, run, note)
            _save(trainer, run)
        window, started, due = [], time.monotonic(), False
        while trainer.step < settings.steps:
            x, condition = batch_of(data, seed, trainer.step, settings.batch, experiment.conditional, device)
            condition = drop_labels(condition, experiment.unconditional_share, trainer.seed, trainer.step)
            lacking = ""
            try:
                update = trainer.update(*ranks.share(x, condition))
                stopping = ranks.any(interrupted())
            except (RuntimeError, MemoryError) as error:
                if not too_large(error):
                    raise
                lacking = str(error).partition("\n")[0][:200] or "out of memory"
            except Diverged as error:
                raise refuse(run, f"{error}, and it was stopped", nothing) from error
            except Lost as error:
                alone = ranks.writes and not trainer.layout.sharded
                saved = _saved(trainer, run) if alone else "what is saved was saved before"
                raise UserError(
                    f"{error}, and training ends at step {trainer.step} of {settings.steps}; {saved}: --resume with as "
                    "many processes goes on to the same weights"
                ) from error
            if lacking:  # the error, which holds on to what the step made, is gone
                raise too_much(trainer, *ranks.share(x, condition), lacking)
            window.append(update.loss)
            if trainer.step % settings.log_every == 0 or trainer.step == settings.steps or update.note:
                elapsed = time.monotonic() - started
                line = {
                    "step": trainer.step,
                    trainer.loss.unit.key: sum(window) / len(window),
                    "gradient_norm": update.gradient_norm,
                    "learning_rate": trainer.optimisers[-1].param_groups[0]["lr"],
                    "skipped": update.skipped,
                    "seconds": elapsed,
                }
                note(line | ({"note": update.note} if update.note else {}))
                window, started = [], time.monotonic()
            done = trainer.step == settings.steps
            if settings.validate_every and (trainer.step % settings.validate_every == 0 or done):
                _validate(trainer, held_out, experiment, run, note)
            due = due or trainer.step % settings.checkpoint_every == 0 or done or stopping
            if due and trainer.trouble is None:
                _save(trainer, run)
                due = False
            speed = (trainer.step - first) / max(1e-9, time.monotonic() - begun)
            progress.at(trainer.step, detail=f"{update.loss:.3f} {update.unit}, {speed:.2f} steps/s")
            if update.note:
                progress.say(update.note)
            if stopping and not done:
                saved = f"not saved ({trainer.trouble})" if due else "saved"
                progress.say(f"{saved} at step {trainer.step} of {settings.steps}: --resume goes on from what is saved")
                return False
    ranks.wait()  # for what the first has written
    found = next((line["validation"] for line in reversed(read_metrics(run)) if "validation" in line), None)
    why = trainer.trouble or (fault(found, nothing) if found else None)
    if why:
        raise refuse(run, why, nothing)
    poor = doubt(found, nothing) if found else None
    if poor:
        progress.say(poor)
    return True


def _validate(
    trainer: Trainer, held_out: Split, experiment: Experiment, run: Run, note: Callable[[dict[str, Any]], None]
) -> None:
    """Bound of the averaged weights on validation data; the best ones are kept. The first process does it alone, or of
    shards all do the same."""
    ranks, layout = trainer.ranks, trainer.layout
    if not (ranks.writes or layout.sharded):
        return
    current = {name: local(value).clone() for name, value in trainer.module.state_dict().items()}
    hold(trainer.module, trainer.average.tensors)
    trainer.module.eval()
    count = experiment.training.validation_examples
    with layout.asked(), trainer.autocast():
        found = merit(trainer.model, held_out, count, experiment.conditional, trainer.device)
    hold(trainer.module, current)
    trainer.module.train()
    if layout.sharded:
        found = ranks.once(lambda: found)
    first = next(iter(found.values()))
    if math.isfinite(first) and first < trainer.best and trainer.trouble is None:
        trainer.best = first
        averaged = trainer.averaged()
        if ranks.writes:
            checkpoint.save(run.best, Checkpoint(averaged, {"step": trainer.step, "validation": found}))
    note({"step": trainer.step, "validation": found})


def _save(trainer: Trainer, run: Run) -> None:
    """Write the last checkpoint, by the first process."""
    if trainer.ranks.writes or trainer.layout.sharded:
        made = trainer.checkpoint()
        if trainer.ranks.writes:
            checkpoint.save(run.last, made)


def _saved(trainer: Trainer, run: Run) -> str:
    """Save by this process alone, where that can be and nothing is wrong, and say whether it is."""
    if trainer.layout.sharded or trainer.trouble is not None:
        return "not saved"
    checkpoint.save(run.last, trainer.checkpoint())
    return "saved"


def drop_labels(condition: Condition, share: float, seed: int, step: int) -> Condition:
    """Replace a share of the labels by "none", so that one model serves p(x | y) and p(x)."""
    if condition.label is None or share == 0:
        return condition
    generator = torch.Generator().manual_seed(stream_seed(seed, NOISE + 10, step))
    drop = torch.rand(len(condition.label), generator=generator).to(condition.label.device) < share
    return replace(condition, label=torch.where(drop, -1, condition.label))
