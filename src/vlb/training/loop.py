"""The training loop: one step after another, resumable at any moment to the same bits.

All randomness is a function of (seed, step), and a checkpoint holds weights, average, optimiser and
counters, so a run that is killed and resumed repeats exactly what it would have done.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vlb.base.domains import Finite, Positive, Whole, admit
from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.condition import Condition, Role
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.core.shards import local, put, whole
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, Split
from vlb.models.loss import AnyTerms
from vlb.nn.dropout import Dropout, dropouts, masked
from vlb.nn.optimisers import AdamWOptimiser, MuonOptimiser
from vlb.nn.parallel import Layout
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.experiment import Experiment, Training
from vlb.store.runs import Run
from vlb.store.trained import load_weights, refuse_unfit
from vlb.training.average import Average
from vlb.training.batches import NOISE, batch_of, network_generator, step_generator, stream_seed
from vlb.training.economy import Economy
from vlb.training.guard import Diverged, Guard
from vlb.training.interrupts import interruptible
from vlb.training.metrics import forget_metrics_after, read_metrics
from vlb.training.outcome import bars, doubt, fault, refuse
from vlb.training.step import Step
from vlb.training.trackers import Tracker, followed
from vlb.training.validation import merit

# Where networks compute; noise levels, times, heads and losses stay in float32 and float64 whatever it is.
AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Update:
    """What a step did: its number (1 …), the loss and its unit, the gradient norm, what was skipped."""

    step: int
    steps: int
    loss: float
    unit: str
    gradient_norm: float
    skipped: int
    note: str = ""


@dataclass
class Trainer:
    """A model and its loss in training: everything that a checkpoint must restore."""

    model: nn.Module
    loss: AnyTerms
    settings: Training
    seed: int
    device: torch.device
    step: int = 0
    best: float = math.inf
    ranks: Ranks = ALONE
    module: Step = field(init=False)
    layout: Layout = field(init=False)
    optimisers: tuple[AdamWOptimiser | MuonOptimiser, ...] = field(init=False)
    average: Average = field(init=False)
    guard: Guard = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    dropouts: tuple[Dropout, ...] = field(init=False)
    economy: Economy = field(init=False)

    def __post_init__(self) -> None:
        self.module = Step(self.model, self.loss).to(self.device).train()
        self.ranks.agree(self.module.state_dict().values())
        s = self.settings
        self.layout = s.parallel.lay_out(self.module, self.ranks)
        betas = (s.betas[0], s.betas[1])
        self.optimisers = s.optimiser.build(self.module, s.learning_rate, betas, s.weight_decay)
        self.average = Average(self.module, s.ema)
        self.guard = Guard(s.clip, s.spike)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=s.precision == "float16")
        self.dropouts = dropouts(self.module)
        self.economy = Economy(self.model, self.loss, s)

    def learning_rate(self, peak: float) -> float:
        """Linear warm-up, then a cosine from a largest rate, falling by as much as from `learning_rate` to
        `final_learning_rate`."""
        s = self.settings
        warm = min(1.0, (self.step + 1) / max(1, s.warmup))
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.step / s.steps)
        last = s.final_learning_rate if peak == s.learning_rate else peak * s.final_learning_rate / s.learning_rate
        return warm * (last + (peak - last) * cosine)

    def update(self, x: Tensor, condition: Condition) -> Update:
        """One step on a batch x (batch, *shape), or on this process's share of one. Raises `Lost`, with everything as
        it was before, where another process is gone."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate(group["peak"])
        terms = self.gradient(x, condition)
        loss = torch.stack(list(terms.values())).sum()
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        norm = self.guard.admit(self.module, loss, terms, self.step + 1, self.ranks)
        note = ""
        if norm is None:
            note = self.guard.reason
        else:
            for optimiser in self.optimisers:
                optimiser.step()
            self.average.update()
        self.scaler.update()
        self.step += 1
        read = self.loss.read(float(loss), self.modelled(condition))
        return Update(
            self.step, self.settings.steps, read, self.loss.unit.name, norm or math.nan, self.guard.skipped, note
        )

    def modelled(self, condition: Condition) -> float:
        """The share of the elements of a batch that are modelled."""
        if condition.role is None:
            return 1.0
        own = (condition.role == Role.MODELLED).double().mean()
        return float(self.ranks.mean({"modelled": own})["modelled"])

    def gradient(self, x: Tensor, condition: Condition) -> dict[str, Tensor]:
        """Leave the gradient of the batch's loss, scaled, with the parameters; the loss learns. Returns its terms.

        Parts of a batch draw one after another from the generators of the step.
        """
        generator = step_generator(self.seed, self.step, self.device, self.ranks.rank)
        masks = network_generator(self.seed, self.step, self.device, self.ranks.rank)
        self.module.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        with masked(self.dropouts, masks), self.economy.applied(), self.layout.working():
            for part in self.economy.divided(len(x)):
                with self.autocast():
                    made, seen = self.module(x[part], condition.take(part), generator, self.step)
                shares = {name: term * (part.stop - part.start) / len(x) for name, term in made.items()}
                self.scaler.scale(torch.stack(list(shares.values())).sum()).backward()
                add(terms, {name: term.detach() for name, term in shares.items()})
                add(sums, seen)
        self.layout.average_gradients()
        terms, sums = self.ranks.mean(terms), self.ranks.sum(sums)
        self.loss.learn(sums)
        return terms

    def autocast(self) -> Any:
        """The autocast context of the configured precision."""
        dtype = AUTOCAST[self.settings.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def checkpoint(self) -> Checkpoint:
        """Everything needed to go on exactly, in the first process; of shards, all must ask for it."""
        return Checkpoint(self._gathered(self._held()), self.state)

    def averaged(self) -> dict[str, Tensor]:
        """The average of model and loss, as checkpoints name it, in the first process; of shards, all must ask."""
        return self._gathered(self._held_average())

    def _gathered(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """Wholes, one after another in the memory of the first process's CPU, for no device need hold them all."""
        if not self.layout.sharded:
            return held
        gathered = ((name, whole(tensor)) for name, tensor in held.items())
        return {name: tensor.cpu() for name, tensor in gathered if self.ranks.writes}

    def _held_average(self) -> dict[str, Tensor]:
        return {f"average.{k}": v for k, v in self.average.tensors.items()}

    def _held(self) -> dict[str, Tensor]:
        """What this process holds, by the names of checkpoints."""
        tensors = {f"weights.{k}": v for k, v in self.module.state_dict().items()} | self._held_average()
        names = {p: n for n, p in self.module.named_parameters()}
        for optimiser in self.optimisers:
            for parameter, entry in optimiser.state.items():
                assert isinstance(parameter, nn.Parameter)
                tensors |= {f"optimiser.{names[parameter]}.{k}": v for k, v in entry.items()}
        return tensors

    @property
    def state(self) -> dict[str, Any]:
        """The small state of a checkpoint."""
        return {
            "step": self.step,
            "best": None if math.isinf(self.best) else self.best,
            "ema_updates": self.average.updates,
            "guard": self.guard.state,
            "scaler": self.scaler.state_dict(),
        }

    @property
    def trouble(self) -> str | None:
        """Why a checkpoint must not replace an earlier one: updates are refused, or numbers not finite; else None. Of
        shards, all must ask."""
        bad = not all(bool(local(tensor).isfinite().all()) for tensor in self._held().values())
        bad = self.ranks.any(bad) if self.layout.sharded else bad
        return self.guard.refusing or ("its weights are not finite" if bad else None)

    def restore(self, run: Run) -> None:
        """Load the last checkpoint of `run`. Raises `UserError` if it is damaged or does not fit."""
        stored = checkpoint.read(run.last)
        load_weights(self.module, stored.section("weights"), run.last)
        state, where = stored.state, f"{run.last}: state"
        missing = [name for name in ("step", "best", "ema_updates", "guard", "scaler") if name not in state]
        if missing:
            raise UserError(f"{run.last} has no {', '.join(missing)}: another version of vlb wrote it, train again")
        averaged = stored.section("average")
        refuse_unfit(averaged, self.average.tensors, run.last)
        self.average.load(averaged, admit(Whole, state["ema_updates"], f"{where}.ema_updates"))
        moments = stored.section("optimiser")
        names = {p: n for n, p in self.module.named_parameters()}
        for optimiser in self.optimisers:
            for parameter in (p for group in optimiser.param_groups for p in group["params"]):
                like = optimiser.moments(parameter)
                own = {f"{names[parameter]}.{key}": value for key, value in like.items()}
                if any(name in moments for name in own):
                    refuse_unfit(moments, own, run.last)
                    optimiser.state[parameter] = {
                        key: laid_out_like(value, moments[f"{names[parameter]}.{key}"]) for key, value in like.items()
                    }
        self.step = admit(Whole, state["step"], f"{where}.step")
        self.best = math.inf if state["best"] is None else admit(Finite, state["best"], f"{where}.best")
        self.guard.restore(state["guard"], f"{where}.guard")
        self._restore_scaler(state["scaler"], f"{where}.scaler")

    def _restore_scaler(self, state: Any, where: str) -> None:
        """Where losses are scaled."""
        known = self.scaler.state_dict()
        if not known:
            return
        if not isinstance(state, dict):
            raise UserError(f"{where}: expected an object with how the loss is scaled, not {state!r}")
        kinds = {name: Positive if isinstance(value, float) else Whole for name, value in known.items()}
        read = {name: admit(kind, state.get(name), f"{where}.{name}") for name, kind in kinds.items()}
        self.scaler.load_state_dict(read)


def add(totals: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Add values to totals by name."""
    for name, value in values.items():
        totals[name] = totals[name] + value if name in totals else value


def laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A moment in the memory order of its parameter, in which a fused optimiser reads both; files know none. Of a
    parameter that is shared out, this process's part of it."""
    made = torch.empty_like(parameter)
    put(value, made)
    return made


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
            try:
                update = trainer.update(*ranks.share(x, condition))
                stopping = ranks.any(interrupted())
            except Diverged as error:
                raise refuse(run, f"{error}, and it was stopped", nothing) from error
            except Lost as error:
                alone = ranks.writes and not trainer.layout.sharded
                saved = _saved(trainer, run) if alone else "what is saved was saved before"
                raise UserError(
                    f"{error}, and training ends at step {trainer.step} of {settings.steps}; {saved}: --resume with as "
                    "many processes goes on to the same weights"
                ) from error
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


@torch.no_grad()
def hold(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Let a module hold other values, laid out as its own or as this process's parts of these."""
    for name, value in module.state_dict().items():
        local(value).copy_(local(tensors[name]))


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
