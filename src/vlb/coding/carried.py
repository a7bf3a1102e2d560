"""Models for coding, of runs and of what was carried."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

from vlb.coding.header import DIGEST, Numerics
from vlb.coding.models import Coded, checked, coded_by, widened
from vlb.core.schema import Column
from vlb.data.pieces import alone
from vlb.store.runs import Run
from vlb.store.trained import Trained

UNLIMITED = nullcontext()


class Bare(NamedTuple):
    """A trained model without its data, its digest, and the columns of the tables it is of."""

    model: Coded
    digest: bytes
    columns: tuple[Column, ...] | None


def bare_model(run: Run, device: torch.device | str = "cpu") -> Bare:
    """A run's trained model."""
    return bare(run.trained, device)


def numerics(device: torch.device | str) -> Numerics:
    """Of this process."""
    major, minor = torch.__version__.split(".")[:2]
    return Numerics(torch.device(device).type, torch.get_num_threads(), (int(major), int(minor)))


def bare(
    trained: Trained,
    device: torch.device | str = "cpu",
    admit: Callable[[Coded], None] = lambda model: None,
    building: AbstractContextManager[object] = UNLIMITED,
) -> Bare:
    """A model for coding. admit: looks at it before it is asked for anything, and may raise what it likes; building:
    within which it is built.

    Raises `UserError` for one that cannot be built, or cannot code.
    """
    with building:
        model = trained.build()
    model = widened(model.to(device))
    coded_by(model)
    admit(model)
    checked(model, trained.example.gaps, alone(trained.example).to(device))
    return Bare(model, trained.identity[:DIGEST], trained.example.columns)
