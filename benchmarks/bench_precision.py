"""The bound of a digits run in bfloat16 autocast less its bound in float32, on the same draws, in bits/dim.

    vlb train digits --set steps=300 --out RUN
    python benchmarks/bench_precision.py [RUN]

Without RUN a digits model is trained for 300 steps first.
"""

import sys
import tempfile
from pathlib import Path

import torch

from vlb.base.configuration import override
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL
from vlb.data import load
from vlb.models.diffusion.times import LowDiscrepancyTime
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

PASSES = 6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            run = Run.open(Path(sys.argv[1]))
        else:
            experiment, digits = override(recipe("digits"), "steps=300"), load("digits")
            run = Run.create(Path(folder) / "run", experiment, digits)
            fit(experiment, digits, run)
        data = run.data()
        model = run.model()
    x, scale = torch.from_numpy(data.test.x.copy()), data.dimensions * torch.log(torch.tensor(2.0)).item()
    totals = []
    for enabled in (False, True):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            draws = [
                estimate(model, x, UNCONDITIONAL, LowDiscrepancyTime(), generator).total.double() for _ in range(PASSES)
            ]
        totals.append(torch.stack(draws).mean(1) / scale)
    difference = totals[1] - totals[0]
    print(
        f"float32 {totals[0].mean():.4f}, bfloat16 less float32 {difference.mean():+.5f} ± "
        f"{difference.std() / PASSES**0.5:.5f} bits/dim over {PASSES} passes"
    )


if __name__ == "__main__":
    main()
