"""Cascades beside the plain model: bits/dim on the test set after the same processor time, step by step in turn.

Each arm takes as many steps as its measured time for one lets it, by the recipe's own schedules of rates; then the
averaged weights are tested, with as many draws for each arm.

    python benchmarks/bench_cascade.py [--seconds 120] [--passes 32] [--out benchmarks/results/cascade.json]
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, load
from vlb.measure.evaluation import measure_bound
from vlb.store.experiment import Experiment
from vlb.training.batches import batch_indices
from vlb.training.loop import Trainer
from vlb.training.recipes import recipe

ARMS = {
    "digits": ("digits", ()),
    "digits-cascade, bands=phases": ("digits-cascade", ("model.bands=phases",)),
    "digits-cascade, bands=haar": ("digits-cascade", ("model.bands=haar",)),
}
TIMED = 5
CPU = torch.device("cpu")


def trainer(experiment: Experiment, data: Dataset) -> Trainer:
    model = experiment.build(data)
    return Trainer(model, experiment.build_loss(model), experiment.training, experiment.seed, CPU)


def step(made: Trainer, data: Dataset) -> float:
    """One step, and the processor time that it took."""
    index = batch_indices(made.seed, made.step, made.settings.batch, len(data.train))
    x, condition = data.train.batch(index, False, CPU)
    started = time.process_time()
    made.update(x, condition)
    return time.process_time() - started


@ordinary()
def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=120, help="of processor time for each arm")
    arguments.add_argument("--passes", type=int, default=32)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    data = load("digits")
    chosen = {}
    for name, (base, assignments) in ARMS.items():
        chosen[name] = override(recipe(base), f"seed={options.seed}")
        for assignment in assignments:
            chosen[name] = override(chosen[name], assignment)

    trial = {name: trainer(experiment, data) for name, experiment in chosen.items()}
    times: dict[str, list[float]] = {name: [] for name in trial}
    for _ in range(TIMED + 1):
        for name, made in trial.items():
            times[name].append(step(made, data))
    one = {name: statistics.median(found[1:]) for name, found in times.items()}
    arms = {}
    for name, experiment in chosen.items():
        steps = max(10, int(options.seconds / one[name]))
        arms[name] = trainer(override(experiment, f"steps={steps}"), data)
    spent = dict.fromkeys(arms, 0.0)
    # Arms with fewer steps take them spread over the whole time.
    order = sorted((n / made.settings.steps, name) for name, made in arms.items() for n in range(made.settings.steps))
    for done, (_, name) in enumerate(order, 1):
        spent[name] += step(arms[name], data)
        if done % 100 == 0:
            print(f"{done} of {len(order)} steps", flush=True)

    rows, plain = [], np.empty(0)
    for name, made in arms.items():
        made.module.load_state_dict(made.average.tensors)
        made.module.eval()
        found = measure_bound(made.model, data.test, passes=options.passes)
        plain = plain if len(plain) else found.totals
        apart = (found.totals - plain) / (data.dimensions * math.log(2))
        rows.append(
            {
                "arm": name,
                "steps": made.settings.steps,
                "seconds": round(spent[name], 1),
                "parameters": sum(p.numel() for p in made.model.parameters()),
                "bits_per_dim": found.bits_per_dim,
                "standard_error": found.standard_error,
                "se_monte_carlo": found.se_monte_carlo,
                "more_than_plain": apart.mean(),
                "its_standard_error": apart.std(ddof=1) / math.sqrt(len(apart)),
            }
        )
        print(rows[-1], flush=True)
    if options.out:
        command = f"python benchmarks/bench_cascade.py --seconds {options.seconds:g} --passes {options.passes}"
        options.out.write_text(json.dumps({"command": command, "seed": options.seed, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
