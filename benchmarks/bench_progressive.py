"""Progressive decoding: rate against distortion rung by rung, with pictures, and what the order costs.

    python benchmarks/bench_progressive.py RUN [--steps 8] [--count 360] [--shown 10] [--figure FILE.svg]

The test images are coded twice. As one sequence, as `vlb compress --lanes 4096` does it: how many of them a preview
shows without any cost. And all of them in one batch on top of random bits, so that all are shown: the bits to begin
with are then paid in full.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from vlb.coding.bitsback import Climbing
from vlb.coding.carried import bare_model
from vlb.coding.effort import remembered
from vlb.coding.models import Measuring
from vlb.coding.progressive import Preview, previews
from vlb.coding.sequence import Lanes, Plan, SequenceCodec
from vlb.coding.stack import BitStack
from vlb.core.condition import UNCONDITIONAL
from vlb.models.diffusion.discrete import GridDiffusion
from vlb.models.diffusion.model import DiffusionModel
from vlb.store.runs import Run


class Whole(Plan):
    """All in one batch."""

    def batches(self, count: int, lanes: int) -> list[int]:
        return [count]


class Seeded(SequenceCodec):
    """Everything in one batch, on a stack that holds random bits to begin with."""

    def coded(self, x: np.ndarray) -> tuple[BitStack, int]:
        words = np.random.default_rng(0).integers(1, 2**32, x.size, dtype=np.uint32)
        stack = BitStack(words.tobytes())
        before = stack.bits
        self.batch.encode(stack, x)
        return stack, stack.bits - before

    def opened(self, content: bytes, count: int) -> tuple[Plan, BitStack]:
        return Whole(0, 0), BitStack(content)


@torch.no_grad()
def spent(grid: GridDiffusion, x: np.ndarray) -> list[float]:
    """The bound's terms added up from the top level to the data, bits/dim: prior, every step, reconstruction."""
    terms = grid.terms(torch.tensor(x), UNCONDITIONAL, torch.Generator().manual_seed(0))
    steps = [("kl", i) for i in range(grid.depth - 1, 0, -1)]
    order = [("prior",), *steps, ("reconstruction",)]
    return np.cumsum([terms[path].double().sum().item() / x.size / math.log(2) for path in order]).tolist()


def table(found: list[Preview], x: np.ndarray, deviation: float, bounds: list[float]) -> list[dict[str, float]]:
    """Bits/dim spent and read, and the root mean square error in units of the data's deviation, per level."""
    rows = []
    for preview, bound in zip(found, bounds, strict=True):
        error = math.sqrt(((preview.x - x) ** 2).mean()) / deviation
        rows.append({"rungs": preview.rungs, "time": preview.time, "spent": bound,
                     "read": preview.read / x.size, "error": error})  # fmt: skip
        print("{rungs:>2} rungs, t = {time:.3f}: {spent:.3f} bits/dim of the bound, {read:.3f} read, "
              "error {error:.3f} deviations".format(**rows[-1]), flush=True)  # fmt: skip
    return rows


def draw(path: Path, rows: list[dict[str, float]], found: list[Preview], x: np.ndarray, shown: int) -> None:
    """The curve, and the first `shown` images at each rung above it."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 8), height_ratios=(3, 2), layout="constrained")
    pictures = [*(preview.x[:shown] for preview in found)]
    grid = np.concatenate([np.concatenate(list(np.pad(row[:, 0], ((0, 0), (0, 1), (0, 1)))), 1) for row in pictures])
    above.imshow(grid, cmap="gray", interpolation="nearest")
    height = grid.shape[0] / len(found)
    above.set_yticks([height * (i + 0.5) for i in range(len(found))],
                     [f"t = {row['time']:.2f}, {row['spent']:.2f} bits/dim" for row in rows])  # fmt: skip
    above.set_xticks([])
    bound, read, error = ([row[name] for row in rows] for name in ("spent", "read", "error"))
    below.plot(bound, error, "o-", color="black", label="the bound's terms so far")
    below.plot(read, error, "s--", color="firebrick", label="bits taken from the stack so far")
    below.set(xlabel="bits/dim", ylabel="error of E[x | z], deviations of the data", ylim=(0, None))
    below.legend(frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--count", type=int, default=360)
    arguments.add_argument("--shown", type=int, default=10)
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    run = Run.open(options.run)
    model, digest, _ = bare_model(run)
    assert isinstance(model, DiffusionModel)
    data = run.data()
    x, deviation = data.test.x[: options.count], float(data.train.x.astype(float).std())
    validation = torch.from_numpy(data.validation.x[:256].copy())
    measuring = Measuring(run.path, digest, lambda: (validation, UNCONDITIONAL))
    codec = remembered(model, measuring, options.steps, Lanes(4096)).codec(model)
    assert isinstance(codec.batch, Climbing)

    content, account = codec.encode(x)
    *_, last = previews(codec, content, len(x))
    coded = (len(x) - account.direct) * x[0].size
    print(f"one sequence of {len(x)}: {8 * len(content) / x.size:.4f} bits/dim, net {account.net / coded:.4f}; "
          f"a preview shows the last {len(last.x)} ({len(last.x) / len(x):.0%}) at no cost")  # fmt: skip
    seeded = Seeded(codec.batch, codec.marginals, codec.shape, len(x))
    stack, net = seeded.coded(x)
    found = list(previews(seeded, stack.content(), len(x)))
    need = max(preview.read for preview in found) - net
    print(f"all {len(x)} in one batch: net {net / x.size:.4f} bits/dim, and {need / x.size:.2f} to begin with")
    assert isinstance(codec.batch.hierarchy, GridDiffusion)
    rows = table(found, x, deviation, spent(codec.batch.hierarchy, x))
    if options.figure is not None:
        draw(options.figure, rows, found, x, options.shown)


if __name__ == "__main__":
    main()
