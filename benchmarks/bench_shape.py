"""What it brings to train p(x | z_t) beyond its mean (`loss.shape`): bounds in continuous time and at few steps.

The recipe `fashion-mnist`, as long with each weight; steps are placed as `vlb evaluate --placement dp` does.

    python benchmarks/bench_shape.py [--weights 0 0.1] [--steps 400] [--examples 200]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from bench_recipes import chosen, step, trainer

from vlb.base.memory import keep_freed_memory
from vlb.core.surroundings import ordinary
from vlb.data import load
from vlb.measure.discretise import discretise, kernel_named
from vlb.measure.evaluation import measure_bound

RESULTS = Path(__file__).parent / "results" / "shape.json"
KERNELS, GRIDS = ("mixture", "standard"), (4, 16)


@ordinary()
def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--weights", type=float, nargs="+", default=[0, 0.1])
    arguments.add_argument("--steps", type=int, default=400)
    arguments.add_argument("--examples", type=int, default=200)
    options = arguments.parse_args()
    keep_freed_memory()
    data = load("fashion-mnist")
    test, some = data.test.subset(options.examples), data.validation.subset(100)
    rows: list[dict[str, Any]] = []
    for weight in options.weights:
        settings = (f"steps={options.steps}", f"loss.shape={weight}")
        made = trainer(chosen("fashion-mnist", settings, 0), data)
        spent = sum(step(made, data) for _ in range(options.steps))
        made.module.load_state_dict(made.average.tensors)
        made.module.eval()
        found = measure_bound(made.model, test, passes=8)
        row: dict[str, Any] = {"weight": weight, "seconds": round(spent, 1), "bound": found.bits_per_dim}
        row["error"] = found.se_monte_carlo
        for name in KERNELS:
            for steps in GRIDS:
                grid = discretise(made.model, some, steps, kernel_named(name), "dp", False)
                row[f"{name}, T = {steps}"] = measure_bound(grid, test, passes=2).bits_per_dim
        rows.append(row)
        print(row, flush=True)
    kept = {"steps": options.steps, "examples": options.examples, "threads": torch.get_num_threads(), "rows": rows}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
