"""How far the fine end may go: the validation bound against λ_max = −γ₀, where the head decodes p(x | z_0).

The same recipe and steps for every γ₀. With a learned decoder the finest noise levels can be left to
one categorical step; without one they could not.

    python benchmarks/bench_lambda_max.py [--recipe digits] [--gamma-0 -10 -7.9 -6 -4 -2 0] [--set field=value …]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.data import load
from vlb.measure.evaluation import measure_bound
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--recipe", default="digits")
    arguments.add_argument("--gamma-0", type=float, nargs="+", default=[-10.0, -7.9, -6.0, -4.0, -2.0, 0.0])
    arguments.add_argument("--passes", type=int, default=16)
    arguments.add_argument("--examples", type=int, default=1000)
    arguments.add_argument("--set", action="append", default=[], metavar="field=value")
    options = arguments.parse_args()
    keep_freed_memory()
    print("| λ_max | steps | seconds | bits/dim (validation) | reconstruction | diffusion |\n|---|---|---|---|---|---|")
    for gamma_0 in options.gamma_0:
        experiment = override(recipe(options.recipe), f"gamma_0={gamma_0}")
        for assignment in options.set:
            experiment = override(experiment, assignment)
        data = load(experiment.data.name)
        with tempfile.TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", experiment, data)
            started = time.monotonic()
            fit(experiment, data, run)
            elapsed = time.monotonic() - started
            result = measure_bound(run.model(), data.validation.subset(options.examples), passes=options.passes)
        print(
            f"| {-gamma_0:g} | {experiment.training.steps} | {elapsed:.0f} | {result.bits_per_dim:.4f} ± "
            f"{result.se_monte_carlo:.4f} | {result.terms[('reconstruction',)]:.4f} | "
            f"{result.terms[('diffusion',)]:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
