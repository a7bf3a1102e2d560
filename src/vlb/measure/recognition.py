"""How well a model classifies: what there is to say of a ladder network, which has no likelihood."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Strong, Table
from vlb.base.words import so_many
from vlb.core.distributions import refuse_nan
from vlb.data import Split
from vlb.models.protocols import Denoising


@dataclass(frozen=True)
class Recognition(Result):
    """error_rate of `examples` and its binomial standard error; cost_per_layer: mean squared denoising error, input
    first; labels_used: in training."""

    error_rate: float
    cost_per_layer: tuple[float, ...]
    examples: int
    labels_used: int

    @property
    def standard_error(self) -> float:
        """Of the error rate over another sample of examples."""
        return math.sqrt(self.error_rate * (1 - self.error_rate) / self.examples)

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "error_rate": self.error_rate,
            "standard_error": self.standard_error,
            "cost_per_layer": list(self.cost_per_layer),
            "examples": self.examples,
            "labels_used": self.labels_used,
            "likelihood": None,
        }

    def table(self) -> Table:
        """The error rate, and the cost of each layer."""
        found = (
            ("error rate", Strong(f"{self.error_rate:.4f} ± {self.standard_error:.4f}")),
            ("examples", str(self.examples)),
            ("labels in training", str(self.labels_used)),
        )
        costs = tuple((f"layer {layer}", f"{cost:.3f}") for layer, cost in enumerate(self.cost_per_layer))
        return Table("a ladder network, which has no likelihood", ("", ""), (found, costs), "denoising cost per layer")

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(
            f"error rate {self.error_rate:.4f} ± {self.standard_error:.4f} on "
            f"{so_many(self.examples, 'example')}, after training with "
            f"{so_many(self.labels_used, 'label')}; denoising cost per layer, input first: "
            + ", ".join(f"{cost:.3f}" for cost in self.cost_per_layer)
        )


@torch.no_grad()
def recognise(
    model: Denoising,
    split: Split,
    *,
    seed: int = 0,
    batch: int = 250,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Recognition:
    """Classify every example of `split` by clean passes, and measure the costs with noise. Raises `UserError` where
    there are no labels."""
    if split.labels is None or len(split) == 0:
        raise UserError("an error rate needs labelled examples, and these data have none")
    generator = torch.Generator().manual_seed(seed)
    progress.begin(f"classifying {so_many(len(split), 'example')}", len(split))
    wrong, costs = 0, np.zeros(model.depth)
    for start in range(0, len(split), batch):
        stop = min(start + batch, len(split))
        x = torch.from_numpy(np.ascontiguousarray(split.x[start:stop])).to(device)
        labels = torch.from_numpy(split.labels[start:stop]).to(device)
        wrong += int((refuse_nan(model.classify(x)).argmax(1) != labels).sum())
        costs += (stop - start) * model.costs(x, generator)[0].double().cpu().numpy()
        progress.at(stop)
    return Recognition(wrong / len(split), tuple((costs / len(split)).tolist()), len(split), model.labels_used)
