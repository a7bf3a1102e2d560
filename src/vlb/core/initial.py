"""What a model takes from training data before it is trained: marginals, means, a fit by EM, example inputs.

A model is built from its configuration and a schema alone; then `initialise` lets every part of it that has something
to take have a look at the data, once. What is taken are tensors of the checkpoint.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from vlb.base.progress import SILENT, Progress


class Examples(Protocol):
    """Training examples: x (n, *shape) and, where there are any, labels (n,), which elements are observed (n, *shape)
    and weights (n,)."""

    @property
    def x(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def observed(self) -> np.ndarray | None: ...

    @property
    def weight(self) -> np.ndarray | None: ...


@runtime_checkable
class Initialised(Protocol):
    """A part of a model that takes something from training data."""

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Take it, in place. Raises `UserError` where the data cannot give it."""


@runtime_checkable
class Fitted(Protocol):
    """A part of a model that is fitted by an algorithm of its own, such as EM, which may take a while."""

    def fit_to(self, data: Examples, generator: torch.Generator, progress: Progress) -> None:
        """Fit it, in place, telling of it. Raises `UserError` where the data cannot give it."""


@torch.no_grad()
def initialise(model: nn.Module, data: Examples, generator: torch.Generator, progress: Progress = SILENT) -> None:
    """Let every part of a model take from the data what it takes, in the order of its modules.

    A part that takes something answers for what it is made of: a cascade shows each of its models other data.
    """
    if isinstance(model, Fitted):
        model.fit_to(data, generator, progress)
    elif isinstance(model, Initialised):
        model.initialise(data, generator)
    else:
        for part in model.children():
            initialise(part, data, generator, progress)
