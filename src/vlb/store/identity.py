"""What a trained model is: the sections `model` and `schema` as they are written, and tensors by name.

Nothing of loss, training or data enters, and nothing of today's classes: a field that a later version adds, with a
default that is what was done before, changes no identity of a file that exists.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FORMAT = 1


def identity(model: Any, schema: Any, tensors: Mapping[str, Tensor]) -> bytes:
    """32 bytes of a SHA-256; model, schema: sections as JSON values."""
    sections = {"format": FORMAT, "model": model, "schema": schema}
    digest = hashlib.sha256(json.dumps(sections, sort_keys=True, separators=(",", ":")).encode())
    take_in(digest, tensors)
    return digest.digest()


def take_in(digest: "hashlib._Hash", tensors: Mapping[str, Tensor]) -> None:
    """Names, types, shapes and bytes of tensors, in the order of their names."""
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)};".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
