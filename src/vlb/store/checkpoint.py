"""Checkpoints: one safetensors file each, whole or not there, with a digest that shows any edit.

The file's metadata hold JSON state (step, best bound, counters) and the SHA-256 of it and of names,
shapes and bytes of all tensors. Nothing in a checkpoint is ever executed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.files import written_whole


class Checkpoint(NamedTuple):
    """Named tensors (weights.…, average.…, optimiser.…, each of `model` and `loss`) and small state as JSON values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return all(bool(tensor.isfinite().all()) for tensor in self.tensors.values())

    def section(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name`., without that prefix."""
        prefix = name + "."
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically. Raises `UserError` if the disk refuses; what stood there stays."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state)
    metadata = {"state": state, "sha256": _digest(tensors, state)}
    with written_whole(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise UserError(f"cannot write {path}: {error}; nothing was changed") from error


def read(path: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint into fresh memory. Raises `UserError` if it is missing, unreadable, truncated or edited."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: has the run been trained?")
    try:
        # By its descriptor, for the library takes no names but UTF-8 ones, and of what it cannot open says that it is
        # not there.
        with path.open("rb") as file, safe_open(f"/dev/fd/{file.fileno()}", framework="pt") as stored:
            metadata = stored.metadata() or {}
            # Copies: tensors mapped at odd offsets give slightly other results than aligned ones.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
        intact = metadata["sha256"] == _digest(tensors, metadata["state"])
        state = json.loads(metadata["state"])
        if not isinstance(state, dict):
            raise ValueError("its state is no JSON object")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a whole checkpoint ({error}): restore it from a copy or train again") from error
    if not intact:
        raise UserError(f"{path} was changed after it was written: restore it from a copy or train again")
    return Checkpoint({name: tensor.to(device) for name, tensor in tensors.items()}, state)


def _digest(tensors: dict[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
