"""What answers in place of a run's data when they are gone: what the run kept of them, and samples of its model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.core.condition import Role
from vlb.core.layouts import Points
from vlb.core.schema import Schema
from vlb.data.dataset import SPLITS, Dataset, Split
from vlb.data.pieces import alone
from vlb.data.sets import apart, split_of
from vlb.models.protocols import LikelihoodModel, offers
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint

MOST = 1 << 22  # numbers that are kept
SAMPLES, STEPS = 128, 50


def keep(path: Path, data: Dataset) -> None:
    """Write what a run keeps of its data: log-marginals (D, K) of discrete training examples, if they are not too many.

    Raises `UserError` if the disk refuses.
    """
    tensors = {}
    if data.schema.discrete and data.dimensions * data.levels <= MOST:
        tensors["log_marginals"] = torch.from_numpy(np.array(data.log_marginals))
    checkpoint.save(path, Checkpoint(tensors, {}))


def stand_in(name: str, schema: Schema, model: nn.Module, conditional: bool, kept: Path, error: UserError) -> Dataset:
    """Samples of the model in place of each split, all of which are absent, and the marginals that were kept.

    error: why the data cannot be had, for `why`.
    """
    device = next(iter(model.state_dict().values())).device
    condition, labels = alone(schema, SAMPLES), None
    if conditional and schema.classes:
        labels = np.arange(SAMPLES) % schema.classes
        condition = replace(condition, label=torch.from_numpy(labels))
    split = Split(np.zeros((0, *schema.shape), schema.dtype))
    if offers(model, LikelihoodModel):  # others have no samples to lend, and need none
        generator = torch.Generator().manual_seed(0)
        drawn = model.sample(SAMPLES, steps=STEPS, generator=generator, condition=condition.to(device))
        there = None if condition.role is None else (condition.role == Role.MODELLED).numpy()
        x = drawn.cpu().numpy().astype(schema.dtype)
        split = Split(x, labels, there)
        if isinstance(schema.layout, Points):
            split = split_of(apart(x, there), schema.layout, labels)
    marginals, known = None, "samples of the model"
    if kept.is_file():
        found = checkpoint.read(kept).tensors.get("log_marginals")
        if found is not None and found.shape == (schema.dimensions, schema.levels):
            marginals, known = found.numpy(), "samples of the model and the marginals that the run kept"
    why = f"{error}; what is fitted beside given examples is fitted to {known}"
    return Dataset(name, schema, split, split, split, SPLITS, why, marginals)
