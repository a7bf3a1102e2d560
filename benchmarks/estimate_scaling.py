"""What training a U-Net on 64×64 pictures would take on several GPUs: an estimate, by counting, of memory, messages and
arithmetic. Nothing here was run on GPUs.

Weights, operations and what a backward pass keeps are those of vlb's own network, counted on shapes without numbers
(torch's fake tensors); what processes hold and send by DDP and FSDP is counted as `vlb.nn.parallel` does it, which
tests/test_scaling.py compares with what two processes hold and send. How fast a GPU and its links are is assumed: the
figures of their data sheets, and a share of the arithmetic that is reached.

    python benchmarks/estimate_scaling.py --out benchmarks/results/estimate-scaling.json
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlb.core.condition import UNCONDITIONAL
from vlb.nn.stages import Stage, parts
from vlb.nn.unet import UNet

# ADM's widths for ImageNet 64×64 (Dhariwal & Nichol 2021), whose own blocks have 296 million weights.
SHAPE, BATCH, SEEN = (3, 64, 64), 2048, 100_000_000
NETWORK = UNet(widths=(192, 384, 576, 768), blocks=3, attention=(False, True, True, True))
NUMBER = 4  # bytes of a weight, and of its gradient, its average and each of its moments
MOMENTS = 2  # AdamW's
DECODED = 1 / 8  # of a batch, for which the network is asked a second time (`loss.decoder_share`)
PARTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Assumed:
    """An H200 by its data sheet: bytes of memory; operations a second in bfloat16, without sparsity; bytes a second
    that it sends to the others of its machine (NVLink), and to those of other machines (a link of 400 Gbit/s each).
    share: of the operations that is reached, and of the memory that is used."""

    memory: float = 141e9
    operations: float = 989e12
    inside: float = 450e9
    outside: float = 50e9
    machine: int = 8
    share_of_operations: float = 0.3
    share_of_memory: float = 0.9


@dataclass(frozen=True)
class Counted:
    """A network: weights, in stages and beside them; those of the largest stage; operations of a forward pass of an
    example; bytes that a backward pass keeps of an example, and beside them of a batch: weights in bfloat16."""

    staged: int
    beside: int
    largest: int
    operations: float
    kept: float
    kept_of_batch: float

    @property
    def weights(self) -> int:
        return self.staged + self.beside


def count(network: UNet, shape: tuple[int, ...]) -> Counted:
    """By shapes alone."""
    with torch.device("meta"):
        module = network.build(shape, (*shape, 1), 0, False)
    with FakeTensorMode():  # as on a CPU, so that autocast makes the types that it would make there
        for part in module.modules():
            for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                alike = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
                setattr(part, name, nn.Parameter(alike) if isinstance(tensor, nn.Parameter) else alike)
        return counted_of(module, shape)


def counted_of(module: nn.Module, shape: tuple[int, ...]) -> Counted:
    stages = parts(module, Stage)
    sizes = [sum(p.numel() for p in stage.parameters()) for stage in stages]
    few, more = (kept(module, shape, batch) for batch in (2, 4))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it knows no fused attention of CPUs
        ask(module, shape, 2)
    weights = sum(p.numel() for p in module.parameters())
    operations = counter.get_total_flops() / 2
    of_one = (more - few) / 2
    return Counted(sum(sizes), weights - sum(sizes), max(sizes), operations, of_one, few - 2 * of_one)


def ask(module: nn.Module, shape: tuple[int, ...], batch: int) -> None:
    z = torch.empty(batch, *shape)
    gamma = torch.empty(batch, 1, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        module(z, gamma, UNCONDITIONAL)


def kept(module: nn.Module, shape: tuple[int, ...], batch: int) -> int:
    """Bytes that a batch keeps for its backward pass, beside weights."""
    owned = {p.untyped_storage()._cdata for p in module.parameters()}
    found: dict[int, torch.UntypedStorage] = {}  # held, so that no other has its number

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            found[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        ask(module, shape, batch)
    return sum(storage.nbytes() for storage in found.values())


def held(counted: Counted, devices: int, parallel: str) -> float:
    """Bytes that each process holds beside activations: weights, gradients, averages and moments; of DDP all gradients
    once more in the message, of FSDP the weights and gradients of what is gathered."""
    own = NUMBER * (3 + MOMENTS) * counted.weights
    if parallel == "ddp":
        return own + (NUMBER * counted.weights if devices > 1 else 0)
    return own / devices + 2 * NUMBER * (counted.beside + 2 * counted.largest)  # one stage is computed, the next comes


def sent(counted: Counted, devices: int, parallel: str, divided: int = 1) -> float:
    """Bytes that each process sends in a step: DDP adds gradients up once; FSDP gathers weights twice, what is beside
    stages once, and scatters gradients, for each part of a batch."""
    ring = NUMBER * (devices - 1) / devices
    if parallel == "ddp":
        return 2 * ring * counted.weights
    return divided * ring * (3 * counted.staged + 2 * counted.beside)


def estimate(counted: Counted, assumed: Assumed, devices: int, parallel: str, batch: int = BATCH) -> dict[str, Any]:
    """A step, in as few parts as there is memory for."""
    own, room = batch / devices, assumed.share_of_memory * assumed.memory
    resident = held(counted, devices, parallel)
    for divided in PARTS:
        activations = counted.kept * own * (1 + DECODED) / divided + counted.kept_of_batch
        if resident + activations <= room:
            break
    arithmetic = 3 * counted.operations * own * (1 + DECODED) / (assumed.operations * assumed.share_of_operations)
    link = assumed.inside if devices <= assumed.machine else assumed.outside
    messages = sent(counted, devices, parallel, divided) / link
    return {
        "devices": devices,
        "parallel": parallel,
        "parts": divided,
        "held": resident,
        "activations": activations,
        "sent": sent(counted, devices, parallel, divided),
        "arithmetic": arithmetic,
        "messages": messages,
        "hours": (arithmetic + messages) * SEEN / batch / 3600,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    counted, assumed = count(NETWORK, SHAPE), Assumed()
    rows = [estimate(counted, assumed, devices, way) for devices in (1, 8, 64) for way in ("ddp", "fsdp")]
    made = {
        "command": "python benchmarks/estimate_scaling.py --out benchmarks/results/estimate-scaling.json",
        "torch": torch.__version__,
        "network": asdict(NETWORK),
        "shape": SHAPE,
        "batch": BATCH,
        "pictures": SEEN,
        "assumed": asdict(assumed),
        "counted": asdict(counted) | {"weights": counted.weights},
        "rows": [row for row in rows if (row["devices"], row["parallel"]) != (1, "fsdp")],
    }
    text = json.dumps(made, indent=1) + "\n"
    print(text, end="")
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
