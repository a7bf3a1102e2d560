"""Trained models as bytes, for what carries one: an archive, a pickle. Nothing in them is executed."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from vlb.base.errors import UserError
from vlb.store import before
from vlb.store.runs import FORMAT
from vlb.store.trained import Trained

MAX_SAID = 1 << 24  # bytes of the line that says what a model is


def carried(trained: Trained) -> bytes:
    """A model as bytes: a JSON line that says what it is, then its weights as safetensors."""
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
        raise UserError(
            f"the model that {source} carries is damaged ({error!r}): restore a copy; an archive is also read "
            "with --model RUN"
        ) from error
    return Trained(model, schema, tensors, source, earlier)
