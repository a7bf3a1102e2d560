"""Updates that must not happen: non-finite losses and gradients, counted and explained."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.errors import UserError

PATIENCE = 25


@dataclass
class Guard:
    """Clips gradients and refuses non-finite updates; gives up after `PATIENCE` refusals in a row."""

    clip: float
    skipped: int = 0
    in_a_row: int = 0
    reason: str = ""

    def admit(self, model: nn.Module, loss: Tensor, terms: dict[str, Tensor], step: int) -> float | None:
        """Clip the gradients of `model` and return their norm before, or None if this update must be skipped.

        Raises `UserError` when nothing but refused updates have been seen for a while.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip))
        if bool(torch.isfinite(loss)) and norm < float("inf"):
            self.in_a_row = 0
            return norm
        self.skipped += 1
        self.in_a_row += 1
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
        what = f"the loss is not finite (in: {', '.join(bad)})" if bad else "the gradient is not finite"
        self.reason = f"step {step}: {what}; update skipped"
        if self.in_a_row >= PATIENCE:
            raise UserError(
                f"{PATIENCE} updates in a row were not finite (last: {self.reason}). Training has stopped; the last "
                "checkpoint is intact. Lower training.learning_rate or training.clip, or use precision=float32"
            )
        return None
