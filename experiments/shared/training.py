"""Training for a minute: a model, its curve, and the average with the best validation bound."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from vlb.base.configuration import override
from vlb.data import Dataset
from vlb.measure.evaluation import measure_bound
from vlb.models.loss import AnyTerms
from vlb.store.experiment import Experiment
from vlb.training.batches import batch_indices
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

SMALL = ("backbone=mlp", "backbone.width=128", "backbone.blocks=2")  # in seconds
# How all arms draw noise levels, follow gradients and tell x unless that is what they compare.
EVEN = ("optimiser=adamw", "loss.times=low-discrepancy", "model.head=posterior")
TINY = ("backbone=mlp", "backbone.width=32", "backbone.blocks=1", "steps=20")  # a network that trains in a moment


class Trained(NamedTuple):
    """A model, the average with the best validation bound; curve: (step, bits/dim) at every evaluation."""

    model: Any
    curve: list[tuple[int, float]]


def configured(name: str, overrides: Sequence[str], seed: int) -> Experiment:
    """A recipe with fields set, as `vlb train NAME --set …` has it."""
    experiment = replace(recipe(name), seed=seed)
    for assignment in overrides:
        experiment = override(experiment, assignment)
    return experiment


def trained(
    experiment: Experiment,
    data: Dataset,
    *,
    evaluations: int = 5,
    examples: int = 500,
    passes: int = 2,
    loss: AnyTerms | None = None,
    model: nn.Module | None = None,
) -> Trained:
    """Train as `vlb train` does, without a run directory, evaluated so often, in `passes` over up to `examples` of the
    validation split; loss, model: others than the experiment's."""
    model = experiment.build(data) if model is None else model
    trainer = Trainer(
        model, loss or experiment.build_loss(model), experiment.training, experiment.seed, torch.device("cpu")
    )
    averaged = copy.deepcopy(trainer.module).eval().requires_grad_(False)
    validation = data.validation.subset(examples)
    steps, best, kept, curve = experiment.training.steps, math.inf, {}, []
    due = {round(steps * (i + 1) / evaluations) for i in range(evaluations)}
    while trainer.step < steps:
        index = batch_indices(experiment.seed, trainer.step, experiment.training.batch, len(data.train))
        trainer.update(*data.train.batch(index, False, trainer.device))
        if trainer.step in due:
            averaged.load_state_dict(trainer.average.tensors)
            with trainer.autocast():
                bound = measure_bound(averaged.model, validation, passes=passes).bits_per_dim
            curve.append((trainer.step, bound))
            if bound < best:
                best, kept = bound, {name: tensor.clone() for name, tensor in trainer.average.tensors.items()}
    averaged.load_state_dict(kept)
    return Trained(averaged.model, curve)


def mean_and_error(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds ± its standard error, where there is more than one."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
