"""Compression with models that are no diffusion: VAEs, hierarchies, a mixture, and a table.

    python benchmarks/bench_predecessor_codes.py [--steps 500] [--recipes digits-vae …] [--table]

Each recipe is trained for `--steps` steps on digits; printed are its bound on the 360 test images (16 draws), the net
rate of bits back on a stack of random bits (3 stacks), the bits that one image needs to begin with, and the whole
sequence, decoded again, for grids of δ up to 1, ½ and ¼ of a narrow posterior's deviation. `--table` trains the recipe
`table` on 1437 digits with their labels as a CSV file and compresses the other 360 rows.
"""

import argparse
import csv
import io
import lzma
import tempfile
from pathlib import Path

import numpy as np
import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.coding import models
from vlb.coding.api import compress
from vlb.coding.hierarchies import measured
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.sequence import Lanes
from vlb.coding.settings import Settings
from vlb.coding.stack import BitStack
from vlb.data import Dataset, load
from vlb.data.tables import load_table
from vlb.measure.evaluation import measure_bound
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

RECIPES = ["digits-mixture", "digits-vae", "digits-hvae-bottom-up", "digits-hvae-top-down"]


def trained(experiment: Experiment, data: Dataset, folder: Path) -> Run:
    run = Run.create(folder / experiment.recipe, experiment, data)
    fit(experiment, data, run)
    return run


def images(name: str, steps: int, folder: Path) -> None:
    """One recipe, one line per grid."""
    data = load("digits")
    run = trained(override(recipe(name), f"steps={steps}"), data, folder)
    model, x = run.model(), data.test.x
    bound = measure_bound(model, data.test, passes=16)
    ready = models.prepared(models.checked(model))
    grids: list[Settings] = [MixtureSettings()]
    if isinstance(ready, models.VariationalHierarchy):
        grids = [measured(ready, torch.tensor(data.validation.x), Lanes(), unit) for unit in (1.0, 0.5, 0.25)]
    for chosen in grids:
        codec, rates = chosen.codec(ready), []
        for seed in range(3):
            words = np.random.default_rng(seed).integers(1, 2**32, 100_000, dtype=np.uint32)
            stack = BitStack(words.tobytes())
            before = stack.bits
            for start in range(0, len(x), 60):
                codec.batch.encode(stack, x[start : start + 60])
            rates.append((stack.bits - before) / x.size)
        content, account = codec.encode(x)
        assert np.array_equal(codec.decode(content, len(x)), x)
        need = max(codec.probe(x[:1])[0], 0.0)
        print(f"{name}, {', '.join(chosen.describe().values())}: bound {bound.bits_per_dim:.4f} ± "
              f"{bound.se_monte_carlo:.4f}, net {np.mean(rates):.4f} ({np.mean(rates) / bound.bits_per_dim - 1:+.2%}), "
              f"to begin with {need:.0f} bits, {account.direct} direct, sequence {8 * len(content) / x.size:.4f}",
              flush=True)  # fmt: skip


def table(folder: Path) -> None:
    """Digits with their labels as a table of 65 columns."""
    data = load("digits")
    names = [*(f"pixel{i}" for i in range(64)), "digit"]
    for part, splits in (("train", (data.train, data.validation)), ("test", (data.test,))):
        with (folder / f"{part}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            for split in splits:
                assert split.labels is not None
                writer.writerows([*x.reshape(-1), label] for x, label in zip(split.x, split.labels, strict=True))
    experiment = override(recipe("discrete-table"), "steps=100")
    trained(experiment, load_table(folder / "train.csv"), folder)
    content = (folder / "test.csv").read_bytes()
    compress(folder / "table", [folder / "test.csv"], folder / "t.vlb", data=folder / "train.csv")
    rows = len(list(csv.reader(io.StringIO(content.decode())))) - 1
    packed = len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    size = (folder / "t.vlb").stat().st_size
    print(f"table of {rows} rows and 65 columns: {len(content):,} bytes, xz -9e {packed:,}, vlb {size:,}; "
          f"{8 * size / rows / 65:.4f} bits a cell")  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=500)
    arguments.add_argument("--recipes", nargs="*", default=RECIPES)
    arguments.add_argument("--table", action="store_true")
    options = arguments.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.recipes:
            images(name, options.steps, Path(folder))
        if options.table:
            table(Path(folder))


if __name__ == "__main__":
    main()
