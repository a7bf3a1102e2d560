"""How time and memory grow with examples, columns, files, sizes of pictures, levels, T and weights: slopes in log-log.

Each size is a process of its own. Its time is that of processor, without starting, and its memory what the process
holds at most beyond what it held before; each is the least of --repetitions. A slope is that between the two largest
sizes, by which work that is linear has 1: 1.05 would be 12 % more for ten times as much.

    python benchmarks/bench_growth.py [--axis NAME …] [--repetitions 3] [--out RESULT.json]
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], object]


def csv(rows: int, folder: Path) -> Work:
    from vlb.data import load

    draw = np.random.default_rng(0)
    file = folder / "table.csv"
    columns = [np.round(draw.standard_normal(rows), 2).astype(str) for _ in range(6)]
    columns += [draw.choice(["north", "south", "east"], rows), draw.integers(0, 90, rows).astype(str)]
    lines = map(",".join, zip(*columns, strict=True))
    file.write_text("a,b,c,d,e,f,where,age\n" + "\n".join(lines) + "\n")
    return lambda: load("mixed-table", file)


def em(rows: int, columns: int, levels: int = 8, components: int = 16) -> Work:
    import torch

    from vlb.models.mixture.categorical import CategoricalMixture

    torch.manual_seed(0)
    x = torch.randint(levels, (rows, columns), dtype=torch.uint8)
    flat = torch.full((columns, levels), -math.log(levels))
    mixture = CategoricalMixture(flat, components, (columns,)).requires_grad_(False)
    return lambda: mixture.em(x, 3)


def files(count: int, folder: Path) -> Work:
    from PIL import Image

    from vlb.data import load

    one = folder / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(one)
    content = one.read_bytes()
    one.unlink()
    for number in range(count):
        where = folder / f"{number // 1000:03d}"
        where.mkdir(exist_ok=True)
        (where / f"{number}.png").write_bytes(content)
    return lambda: load("images", folder)


def evaluated(examples: int) -> Work:
    from vlb.data import load
    from vlb.measure.evaluation import measure_bound
    from vlb.store.runs import Run

    test = load("digits").test
    many = test.take(np.arange(examples) % len(test))
    model = Run.open("vlb:digits").model()
    return lambda: measure_bound(model, many, passes=2)


def drawn(n: int, steps: int) -> Work:
    import vlb

    vlb.sample("vlb:digits", vlb.SampleOptions(n=1, steps=1))  # which loads all that it needs
    return lambda: vlb.sample("vlb:digits", vlb.SampleOptions(n=n, steps=steps))


def step(name: str, shape: tuple[int, ...], levels: int, batch: int, *settings: str) -> Work:
    """The first step of training."""
    import torch

    from vlb.base.configuration import override
    from vlb.core.condition import UNCONDITIONAL
    from vlb.core.layouts import Image, Wave
    from vlb.core.schema import Levels, Schema
    from vlb.training.recipes import recipe
    from vlb.training.trainer import Trainer

    schema = Schema(layout=Image(shape) if len(shape) == 3 else Wave(shape, None), kinds=Levels(levels))
    experiment = replace(recipe(name), training=replace(recipe(name).training, batch=batch))
    for setting in settings:
        experiment = override(experiment, setting)
    model = experiment.model.build(schema)
    trainer = Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
    x = torch.from_numpy(np.random.default_rng(0).integers(0, levels, (batch, *shape)).astype(schema.dtype))
    return lambda: trainer.update(x, UNCONDITIONAL)


UNET = ("model.backbone=unet", "backbone.widths=[8,16]", "backbone.attention=[false,false]", "backbone.blocks=1")
POSTERIOR = ("model.head=posterior",)
AXES: dict[str, tuple[str, tuple[int, ...], Callable[[int, Path], Work]]] = {
    "rows of a table": ("reading a .csv of 8 columns", (10_000, 100_000, 1_000_000), csv),
    "rows": ("three EM steps of a mixture of categoricals, 12 columns", (10_000, 100_000, 1_000_000),
             lambda n, _: em(n, 12)),
    "columns": ("three EM steps, 5,000 rows", (32, 128, 512), lambda n, _: em(5_000, n)),
    "files": ("a folder of pictures, looked at and read", (1_000, 10_000, 100_000), files),
    "examples": ("a bound of digits, two passes", (1_000, 4_000, 16_000), lambda n, _: evaluated(n)),
    "samples": ("digits in 8 steps", (250, 1_000, 4_000), lambda n, _: drawn(n, 8)),
    "T": ("64 digits in T steps", (8, 32, 128), lambda n, _: drawn(64, n)),
    "pixels": ("a step of training on an RGB picture of 256 levels, U-Net", (32**2, 64**2, 128**2, 256**2),
               lambda n, _: step("images", (3, math.isqrt(n), math.isqrt(n)), 256, 1, *UNET)),
    "levels": ("a step of training on 2,048 samples of sound", (256, 4_096, 65_536),
               lambda n, _: step("sound", (1, 2_048), n, 1)),
    "weights": ("a step of training by width of a U-Net, 32×32", (32, 64, 128),
                lambda n, _: step("images", (1, 32, 32), 16, 4, *UNET, f"backbone.widths=[{n},{n}]")),
}  # fmt: skip


def one(name: str, size: int) -> dict[str, float]:
    """A size of an axis, in this process."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = AXES[name][2](size, Path(folder))
        held = _most()
        started = time.process_time()
        work()
        return {"seconds": time.process_time() - started, "bytes": _most() - held}


def _most() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(name: str, size: int, repetitions: int) -> dict[str, float]:
    """The least of some processes."""
    found = []
    for _ in range(repetitions):
        line = [sys.executable, __file__, "--one", name, str(size)]
        found.append(json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout))
    return {"size": size, **{key: min(row[key] for row in found) for key in ("seconds", "bytes")}}


def slope(rows: list[dict[str, float]], key: str) -> float:
    """Between the two largest."""
    (one, other), floor = rows[-2:], 1e-9
    return math.log(max(other[key], floor) / max(one[key], floor)) / math.log(other["size"] / one["size"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", action="append", choices=tuple(AXES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("AXIS", "SIZE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(chosen.one[0], int(chosen.one[1]))))
        return
    results: dict[str, Any] = {}
    if chosen.out is not None and chosen.out.is_file():
        results = json.loads(chosen.out.read_text())
    for name in chosen.axis or AXES:
        rows = [measured(name, size, chosen.repetitions) for size in AXES[name][1]]
        slopes = {key: slope(rows, key) for key in ("seconds", "bytes")}
        results[name] = {"work": AXES[name][0], "rows": rows, "slopes": slopes}
        print(name, json.dumps(results[name]), flush=True)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
