"""Models for coding: from a run, or from the archive that carries one."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from vlb.base import configuration
from vlb.base.errors import UserError
from vlb.coding.budget import Budget
from vlb.coding.container import Numerics
from vlb.coding.models import CodedModel, checked, digest, prepared
from vlb.data import Column, Dataset, Split
from vlb.models.ladder.config import LadderConfig
from vlb.models.ladder.model import LadderNetwork
from vlb.models.mixture.config import MixtureConfig
from vlb.store import checkpoint
from vlb.store.experiment import Experiment
from vlb.store.runs import Run, load_weights

DIGEST = 8
ROOM = 8  # what building may allocate, in units of what is stored


class Bare(NamedTuple):
    """A trained model without its data, its digest, and the columns of the tables it is of."""

    model: CodedModel
    digest: bytes
    columns: tuple[Column, ...] | None


def bare_model(run: Run, device: torch.device | str = "cpu") -> Bare:
    """A run's trained model."""
    weights = checkpoint.read(run.chosen).section("average.model")
    return _built(run.experiment, run.data_description, weights, run.chosen, device)


def carried(run: Run) -> bytes:
    """A run's model as bytes: a JSON line that says what it is, then its weights as safetensors."""
    said = {"data": run.data_description, "experiment": configuration.encode(run.experiment)}
    said["experiment"]["data"]["path"] = None  # where one's data are concerns nobody
    return json.dumps(said).encode() + b"\n" + save_tensors(checkpoint.read(run.chosen).section("average.model"))


def from_carried(content: bytes, source: Path, device: torch.device | str = "cpu") -> Bare:
    """The inverse of `carried`. Raises `UserError` for bytes that are no model."""
    line, _, weights = content.partition(b"\n")
    try:
        said = json.loads(line)
        description, written = dict(said["data"]), said["experiment"]
        tensors = {name: tensor.clone() for name, tensor in load_tensors(weights).items()}
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise UserError(f"the model that {source} carries is damaged ({error!r}); use --model RUN") from error
    experiment = configuration.decode(Experiment, written, f"{source}: experiment")
    return _built(experiment, description, tensors, source, device)


def numerics(device: torch.device | str) -> Numerics:
    """Of this process."""
    major, minor = torch.__version__.split(".")[:2]
    return Numerics(torch.device(device).type, torch.get_num_threads(), (int(major), int(minor)))


def _built(
    experiment: Experiment,
    description: dict[str, Any],
    weights: dict[str, torch.Tensor],
    source: Path,
    device: torch.device | str,
) -> Bare:
    try:
        shape, levels = tuple(int(n) for n in description["shape"]), int(description["levels"])
        classes = description["classes"]
        columns = _columns(description.get("columns"), shape)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source} does not say what its model is of ({error!r})") from error
    if isinstance(experiment.model, LadderConfig):
        raise UserError(LadderNetwork.without_likelihood)
    # Data decide only the initial weights, which are replaced: empty examples have the shapes. Where some of them
    # become the inputs of a prior, there must be as many.
    count = max([1, *(len(tensor) for name, tensor in weights.items() if name.endswith("top.inputs"))])
    split = Split(np.zeros((count, *shape), np.uint8 if levels <= 256 else np.uint16))
    data = Dataset(str(description.get("name")), levels, classes, split, split, split)
    if isinstance(experiment.model, MixtureConfig):
        experiment = replace(experiment, model=replace(experiment.model, em_steps=0))
    # A configuration that asks for far more than the weights that come with it is refused before it takes memory.
    stored = sum(tensor.numel() for tensor in weights.values())
    with Budget(ROOM * stored + math.prod(shape) * levels * ROOM, f"{source}: its weights are not of its model"):
        model = experiment.build(data)
    load_weights(model, weights, source)
    said = {
        "model": configuration.encode(experiment.model),
        "condition": experiment.condition,
        "shape": list(shape),
        "levels": levels,
        "classes": classes,
    }
    if columns is not None:
        said["columns"] = description["columns"]
    return Bare(prepared(checked(model.to(device))), digest(model, said)[:DIGEST], columns)


def _columns(described: Any, shape: tuple[int, ...]) -> tuple[Column, ...] | None:
    """As a run describes them. Raises `ValueError` for what is no description."""
    if described is None:
        return None
    columns = tuple(Column(str(name), tuple(map(str, values))) for name, *values in described)
    if shape != (len(columns),) or not all(column.values for column in columns):
        raise ValueError("columns")
    return columns
