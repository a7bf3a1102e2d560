"""Models for coding: from a run, or from the archive that carries one."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from vlb.base.errors import UserError
from vlb.coding.header import DIGEST, Numerics
from vlb.coding.models import Coded, checked, prepared
from vlb.core.schema import Column
from vlb.store import before
from vlb.store.runs import FORMAT, Run
from vlb.store.trained import Trained

MAX_SAID = 1 << 24  # bytes of the line that says what a model is


class Bare(NamedTuple):
    """A trained model without its data, its digest, and the columns of the tables it is of."""

    model: Coded
    digest: bytes
    columns: tuple[Column, ...] | None


def bare_model(run: Run, device: torch.device | str = "cpu") -> Bare:
    """A run's trained model."""
    return bare(run.trained, device)


def carried(run: Run) -> bytes:
    """A run's model as bytes: a JSON line that says what it is, then its weights as safetensors."""
    trained = run.trained
    said = {"format": FORMAT, "model": trained.model, "schema": trained.schema}
    if trained.earlier is not None:
        said["before"] = trained.earlier
    return json.dumps(said).encode() + b"\n" + save_tensors(trained.tensors)


def from_carried(content: bytes, source: Path) -> Trained:
    """The inverse of `carried`. Raises `UserError` for bytes that are no model."""
    line, _, weights = content.partition(b"\n")
    try:
        if len(line) > MAX_SAID:
            raise ValueError(f"{len(line):,} bytes are said of it")
        said = json.loads(line)
        # Archives of before the third format of runs did not say which they were of.
        said = before.updated({"format": before.FIRST if "experiment" in said else before.SECOND, **said}, str(source))
        model, schema, earlier = dict(said["model"]), dict(said["schema"]), said.get("before")
        tensors = {name: tensor.clone() for name, tensor in load_tensors(weights).items()}
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise UserError(f"the model that {source} carries is damaged ({error!r}); use --model RUN") from error
    return Trained(model, schema, tensors, source, earlier)


def numerics(device: torch.device | str) -> Numerics:
    """Of this process."""
    major, minor = torch.__version__.split(".")[:2]
    return Numerics(torch.device(device).type, torch.get_num_threads(), (int(major), int(minor)))


def bare(trained: Trained, device: torch.device | str = "cpu") -> Bare:
    """A model for coding. Raises `UserError` for one that cannot be built, or cannot code."""
    model = prepared(checked(trained.build().to(device)))
    return Bare(model, trained.identity[:DIGEST], trained.example.columns)
