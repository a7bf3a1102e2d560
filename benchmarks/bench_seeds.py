"""The test bound of a recipe of pictures, digits for one, over seeds, and of the untrained model.

The averaged weights with the best bound on the validation split are the ones tested. The runs stay in a folder,
for other benchmarks; what is there already is not trained again.

    python benchmarks/bench_seeds.py [--recipe digits] [--seeds 3] [--passes 32] [--runs DIR]
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from vlb.base.memory import keep_freed_memory
from vlb.data import load
from vlb.data.baselines import baselines
from vlb.measure.evaluation import measure_bound
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.metrics import read_metrics
from vlb.training.recipes import recipe

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--recipe", default="digits")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--passes", type=int, default=32)
    arguments.add_argument("--runs", type=Path, default=Path("runs"), help="where runs RECIPE-0, … are, or are put")
    options = arguments.parse_args()
    keep_freed_memory()
    experiment = recipe(options.recipe)
    data = load(experiment.data.name)
    untrained = measure_bound(experiment.build(data).eval(), data.test, passes=options.passes)
    rows = []
    for seed in range(options.seeds):
        path = options.runs / f"{options.recipe}-{seed}"
        if not path.exists():
            chosen = dataclasses.replace(experiment, seed=seed)
            fit(chosen, data, Run.create(path, chosen, data))
        run = Run.open(path)
        found = measure_bound(run.model(), data.test, passes=options.passes)
        best = checkpoint.read(run.best).state
        rows.append(
            {
                "seed": seed,
                "test": [found.bits_per_dim, found.standard_error, found.se_monte_carlo],
                "validation": best["validation"]["bits_per_dim"],
                "best step": best["step"],
                "seconds": sum(line.get("seconds", 0.0) for line in read_metrics(run)),
            }
        )
        print(rows[-1], flush=True)
    kept = {
        "steps": experiment.training.steps,
        "passes": options.passes,
        "baselines": baselines(data, "test"),
        "untrained": [untrained.bits_per_dim, untrained.se_monte_carlo],
        "rows": rows,
    }
    (RESULTS / f"{options.recipe}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
