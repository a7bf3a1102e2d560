"""Digits: the test bound of the recipe over three seeds, and of the untrained model.

The target is a mean of at most 2.05 bits/dim within 3 minutes of training on 2 cores; the averaged
weights with the best bound on the validation split are the ones tested.

    python benchmarks/bench_digits.py [--seeds 3] [--passes 32] [--set field=value …]
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.data import load
from vlb.data.baselines import baselines
from vlb.measure.evaluation import measure_bound
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--passes", type=int, default=32)
    arguments.add_argument("--set", action="append", default=[], metavar="field=value")
    options = arguments.parse_args()
    keep_freed_memory()
    data = load("digits")
    experiment = recipe("digits")
    for assignment in options.set:
        experiment = override(experiment, assignment)
    print({name: round(value, 4) for name, value in baselines(data, "test").items()})
    results = []
    for seed in range(options.seeds):
        chosen = dataclasses.replace(experiment, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", chosen, data)
            if seed == 0:
                untrained = measure_bound(chosen.build(data).eval(), data.test, passes=options.passes)
                print(
                    f"untrained: {untrained.bits_per_dim:.4f} ± {untrained.se_monte_carlo:.4f} (Monte Carlo) bits/dim"
                )
            started = time.monotonic()
            fit(chosen, data, run)
            elapsed = time.monotonic() - started
            result = measure_bound(run.model(), data.test, passes=options.passes)
            best = checkpoint.read(run.best).state
            validation = best["validation"]["bits_per_dim"]
        results.append(result.bits_per_dim)
        print(
            f"seed {seed}: test {result.bits_per_dim:.4f} ± {result.standard_error:.4f} bits/dim "
            f"(Monte Carlo {result.se_monte_carlo:.4f}), validation {validation:.4f} at step {best['step']}, "
            f"{elapsed:.0f} s of training",
            flush=True,
        )
    print(f"mean of {len(results)} seeds: {statistics.mean(results):.4f} bits/dim")


if __name__ == "__main__":
    main()
