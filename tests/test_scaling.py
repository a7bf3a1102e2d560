"""The estimate of training on many GPUs counts what processes hold and send, and what a backward pass keeps."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from tests.together import together
from vlb.base.configuration import override
from vlb.core.condition import UNCONDITIONAL
from vlb.core.layouts import Image
from vlb.core.ranks import Ranks
from vlb.core.schema import Levels, Schema
from vlb.core.shards import local
from vlb.nn.stages import Stage, parts
from vlb.nn.unet import UNet
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import estimate_scaling as scaling  # noqa: E402

SHAPE = (1, 16, 16)
# Widths of which two processes hold halves.
WIDTHS = ("backbone.widths=[16,32]", "backbone.attention=[false,true]", "backbone.blocks=1")


def trainer(parallel: str, ranks: Ranks) -> Trainer:
    experiment = recipe("images")
    more = (
        "model.head=posterior",
        "backbone=unet",
        *WIDTHS,
        "optimiser=adamw",
        "loss.times=low-discrepancy",
        "batch=4",
    )
    for assignment in (*more, f"parallel={parallel}"):
        experiment = override(experiment, assignment)
    model = experiment.model.build(Schema(layout=Image(SHAPE), kinds=Levels(2)))
    settings = experiment.training
    return Trainer(model, experiment.build_loss(model), settings, 0, torch.device("cpu"), ranks=ranks)


def find_volumes(ranks: Ranks) -> dict[str, dict[str, float]]:
    """Bytes that a process holds and sends in a step, beside those of a few numbers."""
    found = {}
    volume, ring = {"sent": 0.0}, (ranks.size - 1) / ranks.size

    def counting(name: str, times: int) -> None:
        """The whole of what a collective passes round is the largest of the tensors that it is given."""
        own = getattr(distributed, name)

        def call(*given: Any, **more: Any) -> Any:
            sizes = [tensor.nbytes for tensor in (*given, *more.values()) if isinstance(tensor, torch.Tensor)]
            volume["sent"] += times * ring * max(sizes)
            return own(*given, **more)

        setattr(distributed, name, call)

    counting("all_reduce", 2)
    for name in ("all_gather_single", "reduce_scatter_single", "all_gather_into_tensor", "reduce_scatter_tensor"):
        if hasattr(distributed, name):  # as versions of torch name them
            counting(name, 1)
    for parallel in ("ddp", "fsdp"):
        made = trainer(parallel, ranks)
        x = torch.zeros(2, *SHAPE, dtype=torch.uint8)
        made.update(x, UNCONDITIONAL)
        volume["sent"] = 0.0
        made.update(x, UNCONDITIONAL)
        tensors = [*made.held().values(), *(p.grad for p in made.module.parameters() if p.grad is not None)]
        stages = parts(made.module, Stage)
        sizes = [sum(p.numel() for p in stage.parameters()) for stage in stages]
        every = sum(p.numel() for p in made.module.parameters())
        found[parallel] = {
            "sent": volume["sent"],
            "held": float(sum(local(tensor).nbytes for tensor in tensors)),
            "staged": sum(sizes),
            "beside": every - sum(sizes),
            "largest": max(sizes),
        }
    return found


@pytest.mark.slow
def test_processes_hold_and_send_what_is_counted(tmp_path: Path) -> None:
    for found in together(tmp_path, "tests.test_scaling", "find_volumes"):
        sizes = {name: int(found["ddp"][name]) for name in ("staged", "beside", "largest")}
        counted = scaling.Counted(**sizes, operations=0, kept=0, kept_of_batch=0)
        for parallel, of in found.items():
            assert of["sent"] == pytest.approx(scaling.sent(counted, 2, parallel), rel=0.01)
        transient = scaling.NUMBER * counted.weights
        gathered = 2 * scaling.NUMBER * (counted.beside + 2 * counted.largest)
        assert found["ddp"]["held"] == pytest.approx(scaling.held(counted, 2, "ddp") - transient, rel=0.01)
        assert found["fsdp"]["held"] == pytest.approx(scaling.held(counted, 2, "fsdp") - gathered, rel=0.01)


def test_shapes_alone_tell_what_a_network_keeps() -> None:
    """Weights, and the bytes of tensors that autograd keeps, as a real network on real numbers has them."""
    network = UNet(widths=(16, 32), blocks=1, attention=(False, True))
    counted = scaling.count(network, SHAPE)
    module = network.build(SHAPE, (*SHAPE, 1), 0, False)
    assert counted.weights == sum(p.numel() for p in module.parameters())
    real = scaling.counted_of(module, SHAPE)
    assert (real.staged, real.beside, real.largest, real.operations) == (
        counted.staged, counted.beside, counted.largest, counted.operations,
    )  # fmt: skip
    assert real.kept == pytest.approx(counted.kept, rel=0.05)  # but for what a kernel pads
    assert 0 < counted.kept_of_batch <= 2 * counted.weights
    convolutions = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    assert counted.operations > 2 * sum(c.weight.numel() for c in convolutions) * 8 * 8


def test_more_devices_take_less_of_each() -> None:
    counted, assumed = scaling.count(UNet(widths=(16, 32), blocks=1, attention=(False, True)), SHAPE), scaling.Assumed()
    for parallel in ("ddp", "fsdp"):
        rows = [scaling.estimate(counted, assumed, devices, parallel) for devices in (8, 16, 64)]
        for fewer, more in itertools.pairwise(rows):
            assert more["arithmetic"] == pytest.approx(fewer["arithmetic"] * fewer["devices"] / more["devices"])
            assert more["held"] <= fewer["held"] and more["sent"] >= fewer["sent"]
    assert scaling.sent(counted, 1, "ddp") == 0


def test_what_is_stated_was_counted() -> None:
    """The result file is of the script as it is, but for the counts, which take a while."""
    made = json.loads((ROOT / "benchmarks/results/estimate-scaling.json").read_text("utf-8"))
    fields = {name: value for name, value in made["counted"].items() if name != "weights"}
    counted, assumed = scaling.Counted(**fields), scaling.Assumed(**made["assumed"])
    assert assumed == scaling.Assumed() and counted.weights == made["counted"]["weights"]
    for row in made["rows"]:
        assert scaling.estimate(counted, assumed, row["devices"], row["parallel"]) == row
