"""Updates that must not happen: non-finite losses and gradients, and gradients far larger than usual."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from vlb.base.domains import Whole, Within, admit, hints
from vlb.base.errors import UserError
from vlb.core.ranks import ALONE, Ranks
from vlb.core.shards import clip, total_norm

PATIENCE = 25
SPIKES = 10  # in a row; by then the large gradient is the usual one, and is let through
LEARNING, MEMORY = 20, 0.95  # updates before spikes are looked for; decay of what is usual


class Diverged(Exception):
    """Nothing but updates that are not finite has been seen for a while."""


@dataclass
class Guard:
    """Clips gradients and skips updates, counting and explaining each; every field but the first two is state.

    An update is skipped where loss or gradient is not finite – `PATIENCE` of these in a row end training – and
    where the gradient's norm is more than `spike` times the usual one (its geometric moving average), but not
    more than `SPIKES` times in a row: what stays large is usual (Child 2021 skips above a fixed norm instead).
    """

    clip: float
    spike: float = math.inf
    skipped: Whole = 0
    in_a_row: Whole = 0
    spikes_in_a_row: Whole = 0
    log_norm: Annotated[float, Within(-100, 700)] = 0.0
    admitted: Whole = 0
    reason: str = ""

    def admit(
        self, model: nn.Module, loss: Tensor, terms: dict[str, Tensor], step: int, ranks: Ranks = ALONE
    ) -> float | None:
        """Clip the gradients of `model` and return their norm before, or None if this update must be skipped.

        ranks: of the processes that hold parts of them. Raises `Diverged` when nothing but non-finite updates have been
        seen for a while, and `Lost`.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        total = total_norm(gradients, ranks)
        norm = float(total)
        if not (bool(torch.isfinite(loss)) and math.isfinite(norm)):
            self._refuse(terms, step)
            return None
        if norm + 1e-6 > self.clip:  # else torch would multiply by 1
            clip(gradients, self.clip, total)
        self.in_a_row = 0
        usual = math.exp(self.log_norm)
        if self.admitted >= LEARNING and norm > self.spike * usual and self.spikes_in_a_row < SPIKES:
            self.skipped += 1
            self.spikes_in_a_row += 1
            self.reason = (
                f"step {step}: the gradient is a spike, of norm {norm:.3g} (usual: {usual:.3g}); update skipped"
            )
            return None
        self._learn(norm)
        return norm

    @property
    def refusing(self) -> str | None:
        """How many updates before now were refused, and why the last one was; None where it was not."""
        return f"the last {self.in_a_row} updates were refused ({self.reason})" if self.in_a_row else None

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {field.name: getattr(self, field.name) for field in fields(self)[2:]}

    def restore(self, state: Any, where: str) -> None:
        """Go on from a checkpoint's `state`. Raises `UserError`, naming `where`, for what none is."""
        if not isinstance(state, dict):
            raise UserError(f"{where}: expected an object with what was skipped, not {state!r}")
        for name in self.state:
            setattr(self, name, admit(hints(Guard)[name], state.get(name), f"{where}.{name}"))

    def _learn(self, norm: float) -> None:
        """Take an admitted norm into what is usual; after as many spikes as are skipped, it alone is."""
        log_norm = math.log(max(norm, 1e-30))
        fresh = self.admitted == 0 or self.spikes_in_a_row >= SPIKES
        self.log_norm = log_norm if fresh else MEMORY * self.log_norm + (1 - MEMORY) * log_norm
        self.admitted += 1
        self.spikes_in_a_row = 0

    def _refuse(self, terms: dict[str, Tensor], step: int) -> None:
        self.skipped += 1
        self.in_a_row += 1
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
        what = f"the loss is not finite (in: {', '.join(bad)})" if bad else "the gradient is not finite"
        self.reason = f"step {step}: {what}; update skipped"
        if self.in_a_row >= PATIENCE:
            raise Diverged(self.refusing)
