"""What the settings of training that save memory or time cost and save, and what a step costs beyond its network:
ratios within one run.

Each arm is `Trainer.update` of one recipe with other settings; `network` is the recipe's network alone, forward and
backward on as many examples (the batch, and the share that decodes). Steps alternate; times are medians of processor
time, which others on the machine change little, and ratios medians of those within each round. Memory is the
most that is held for a backward pass at any one moment, in bytes of distinct storages.

    python benchmarks/bench_throughput.py [--recipe digits] [--repetitions 7] [--compile] [--out FILE.json]
"""

import argparse
import json
import math
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.condition import UNCONDITIONAL
from vlb.core.surroundings import ordinary
from vlb.data import load
from vlb.nn.dropout import masked
from vlb.training.batches import network_generator
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

ARMS = {
    "as it is": (),
    "accumulate=4": ("training.accumulate=4",),
    "activation_checkpointing": ("training.activation_checkpointing=true",),
    "both": ("training.accumulate=4", "training.activation_checkpointing=true"),
}
COMPILED = {"without dropout": ("dropout=0",), "without dropout, compile": ("dropout=0", "training.compile=true")}


class Held:
    """A tensor that is kept for a backward pass."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Memory:
    """Counts what is kept for backward passes, each storage once, and the most at any one moment."""

    def __init__(self) -> None:
        self.storages: Counter[int] = Counter()
        self.bytes = self.most = 0

    def pack(self, tensor: torch.Tensor) -> Held:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not self.storages[place]:
            self.bytes += size
            self.most = max(self.most, self.bytes)
        self.storages[place] += 1
        held = Held(tensor)
        weakref.finalize(held, self.release, place, size)
        return held

    def release(self, place: int, size: int) -> None:
        self.storages[place] -= 1
        if not self.storages[place]:
            self.bytes -= size


def kept(work: Callable[[], object]) -> int:
    """The most bytes that are kept for backward passes at once."""
    memory = Memory()
    with torch.autograd.graph.saved_tensors_hooks(memory.pack, lambda held: held.tensor):
        work()
    return memory.most


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def network(trainer: Trainer, batch: int, share: float) -> Callable[[], None]:
    """The network's own forward and backward passes, on a batch and on the share that decodes."""
    model: Any = trainer.model
    n = batch + max(1, math.ceil(batch * share))
    z, gamma = torch.randn(n, *model.latent), torch.zeros(n, 1, dtype=torch.float64)

    def work() -> None:
        trainer.module.zero_grad(set_to_none=True)
        with masked(trainer.dropouts, network_generator(0, 0, trainer.device)), trainer.autocast():
            out = model.denoiser.ask(z, gamma)
        out.float().square().mean().backward()

    return work


@ordinary()
def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--recipe", default="digits")
    arguments.add_argument("--repetitions", type=int, default=7)
    arguments.add_argument("--set", action="append", default=[], dest="overrides")
    arguments.add_argument("--compile", action="store_true", help="also compiled, without dropout: minutes")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    experiment = recipe(options.recipe)
    for assignment in options.overrides:
        experiment = override(experiment, assignment)
    data = load(experiment.data.name)
    batch = experiment.training.batch
    x = torch.from_numpy(data.train.x[:batch].copy())

    def trainer(*assignments: str) -> Trainer:
        chosen = experiment
        for assignment in assignments:
            chosen = override(chosen, assignment)
        model = chosen.build(data)
        return Trainer(model, chosen.build_loss(model), chosen.training, 0, torch.device("cpu"))

    works: dict[str, Callable[[], object]] = {}
    for name, assignments in (ARMS | (COMPILED if options.compile else {})).items():
        made = trainer(*assignments)
        works[name] = lambda made=made: made.update(x, UNCONDITIONAL)
    works["network"] = network(trainer(), batch, experiment.loss.decoder_share)
    first = {name: seconds(work) for name, work in works.items()}  # torch compiles here
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repetitions):
        for name, work in works.items():
            times[name].append(seconds(work))
    memory = {name: kept(work) for name, work in works.items() if "compile" not in name}

    base = "as it is"
    rows = []
    for name in works:
        ratio = statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))
        row = {"arm": name, "seconds": statistics.median(times[name]), "ratio": ratio, "first": first[name]}
        if name in memory:
            row |= {"bytes": memory[name], "memory": memory[name] / memory[base]}
        rows.append(row)
        held = f", keeps {memory[name] / 2**20:.1f} MiB, {row['memory']:.2f}" if name in memory else ""
        print(f"{name:28} {row['seconds']:.3f} s, ratio {ratio:.2f}{held}; first step {first[name]:.1f} s", flush=True)
    if options.out:
        found = {
            "command": f"python benchmarks/bench_throughput.py --recipe {options.recipe}"
            + "".join(f" --set {assignment}" for assignment in options.overrides)
            + (" --compile" if options.compile else "")
            + f" --repetitions {options.repetitions}",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "batch": batch,
            "rows": rows,
        }
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
