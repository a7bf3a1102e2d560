"""A model and its loss in training: one step, and what a checkpoint must hold of it.

All randomness is a function of (seed, step), and a checkpoint holds weights, average, optimiser and
counters, so a run that is killed and resumed repeats exactly what it would have done.
"""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vlb.base.domains import Finite, Positive, Whole, admit
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.ranks import ALONE, Ranks
from vlb.core.shards import local, put, whole
from vlb.models.loss import AnyTerms
from vlb.nn.dropout import Dropout, dropouts, masked
from vlb.nn.optimisers import AdamWOptimiser, MuonOptimiser
from vlb.nn.parallel import Layout
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.runs import Run
from vlb.store.trained import load_weights, refuse_unfit
from vlb.store.training import Training
from vlb.training.average import Average
from vlb.training.batches import network_generator, step_generator
from vlb.training.economy import Economy, refuse_precision
from vlb.training.guard import Guard
from vlb.training.step import Step

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
        refuse_precision(self.settings, self.device)
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
        """Leave the gradient of the batch's loss, scaled, with the parameters; the loss learns. Returns its terms."""
        self.module.zero_grad(set_to_none=True)
        terms, sums = self.passes(x, condition, self.economy.divided(len(x)))
        self.layout.average_gradients()
        terms, sums = self.ranks.mean(terms), self.ranks.sum(sums)
        self.loss.learn(sums)
        return terms

    def passes(
        self, x: Tensor, condition: Condition, parts: Iterable[slice]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Forward and backward passes of the parts of a batch, which draw one after another from the generators of the
        step: terms, and what the loss learns from."""
        generator = step_generator(self.seed, self.step, self.device, self.ranks.rank)
        masks = network_generator(self.seed, self.step, self.device, self.ranks.rank)
        terms: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        with masked(self.dropouts, masks), self.economy.applied(), self.layout.working():
            for part in parts:
                with self.autocast():
                    made, seen = self.module(x[part], condition.take(part), generator, self.step)
                shares = {name: term * (part.stop - part.start) / len(x) for name, term in made.items()}
                self.scaler.scale(torch.stack(list(shares.values())).sum()).backward()
                add(terms, {name: term.detach() for name, term in shares.items()})
                add(sums, seen)
        return terms, sums

    def autocast(self) -> Any:
        """The autocast context of the configured precision."""
        dtype = AUTOCAST[self.settings.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def checkpoint(self) -> Checkpoint:
        """Everything needed to go on exactly, in the first process; of shards, all must ask for it."""
        return Checkpoint(self._gathered(self.held()), self.state)

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

    def held(self) -> dict[str, Tensor]:
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
        bad = not all(bool(local(tensor).isfinite().all()) for tensor in self.held().values())
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


@torch.no_grad()
def hold(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Let a module hold other values, laid out as its own or as this process's parts of these."""
    for name, value in module.state_dict().items():
        local(value).copy_(local(tensors[name]))
