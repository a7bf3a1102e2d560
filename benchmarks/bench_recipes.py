"""Ways of training beside plain ones, for the same time: bits/dim on validation and test data, a row per arm and seed.

What a step of each arm costs is measured first, step by step in turn with the first, in processor time; an arm then
takes as many steps as fit into the first's time, by its own schedules of rates, and its averaged weights are tested.
Rows that the file has are not made again. Choose by validation data; the test says what the choice is worth.

    python benchmarks/bench_recipes.py [--data digits] [--arms NAME …] [--seeds 1] [--steps 1000] [--out FILE]
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, Split, load
from vlb.measure.evaluation import measure_bound
from vlb.store.experiment import Experiment
from vlb.training.batches import batch_indices
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

OLD = ("optimiser=adamw", "loss.times=low-discrepancy")
WIDE = ("model.backbone.widths=[64,64,64]", "batch=64")
# Of each data set: the recipe and what is changed; the first arm's time is that of all.
ARMS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "digits": {
        "AdamW, even times": ("digits", OLD),
        "adaptive times": ("digits", OLD[:1]),
        "Muon, adaptive times": ("digits", ()),
        "lattices": ("digits-lattices", ()),
        "…, batches of 32": ("digits", ("batch=32",)),
        "…, head preconditioned": ("digits", ("model.head=preconditioned",)),
        "…, attention at 4×4 alone": ("digits", ("model.backbone.attention=[false,true]",)),
        "…, widths 48 and 96": ("digits", ("model.backbone.widths=[48,96]",)),
        "cascade, bands by phases": ("digits-cascade", ("model.bands=phases",)),
        "…, widths 24 and 48": ("digits", ("model.backbone.widths=[24,48]",)),
        "…, dropout 0.1": ("digits", ("model.backbone.dropout=0.1",)),
        "…, batches of 32, dropout 0.1": ("digits", ("batch=32", "model.backbone.dropout=0.1")),
        "cascade, Haar's bands": ("digits-cascade", ("model.bands=haar",)),
    },
    "fashion-mnist": {
        "AdamW, even times, head posterior, widths 64": ("fashion-mnist", (*OLD, *WIDE, "model.head=posterior")),
        "Muon, adaptive times, head posterior, widths 64": ("fashion-mnist", (*WIDE, "model.head=posterior")),
        "…, head preconditioned, widths 64": ("fashion-mnist", WIDE),
        "…, widths 32, 64 and 96": ("fashion-mnist", WIDE[1:]),
        "…, batches of 48": ("fashion-mnist", ()),
        "…, batches of 32": ("fashion-mnist", ("batch=32",)),
    },
    "mnist": {"head posterior": ("mnist", ()), "head preconditioned": ("mnist", ("model.head=preconditioned",))},
}
TIMED = 7
CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results"


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


def cost(experiment: Experiment, plain: Experiment, data: Dataset) -> float:
    """That of a step in steps of the recipe: the median ratio of steps in turn."""
    one, other = trainer(experiment, data), trainer(plain, data)
    ratios = [step(one, data) / step(other, data) for _ in range(TIMED + 2)]
    return statistics.median(ratios[2:])


def row(
    name: str,
    experiment: Experiment,
    plain: Experiment,
    steps: int,
    passes: int,
    data: Dataset,
    tested: dict[str, Split],
) -> dict[str, Any]:
    """An arm with one seed."""
    ratio = cost(experiment, plain, data)
    own = max(10, round(steps / ratio))
    made = trainer(override(experiment, f"steps={own}"), data)
    spent = sum(step(made, data) for _ in range(own))
    made.module.load_state_dict(made.average.tensors)
    made.module.eval()
    found = {part: measure_bound(made.model, examples, passes=passes) for part, examples in tested.items()}
    return {
        "arm": name,
        "seed": experiment.seed,
        "cost of a step": round(ratio, 3),
        "steps": own,
        "seconds": round(spent, 1),
        "parameters": sum(p.numel() for p in made.model.parameters()),
        **{part: [bound.bits_per_dim, bound.standard_error, bound.se_monte_carlo] for part, bound in found.items()},
    }


@ordinary()
def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--data", default="digits", choices=list(ARMS))
    arguments.add_argument("--arms", nargs="+", metavar="NAME")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--steps", type=int, default=1000, help="of the first arm, whose time all have")
    arguments.add_argument("--passes", type=int, default=32)
    arguments.add_argument("--examples", type=int, help="of validation and of test data, the same for all; else all")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    arms = ARMS[options.data]
    if unknown := set(options.arms or ()) - set(arms):
        arguments.error(f"no arms of {options.data}: {', '.join(sorted(unknown))}; there are {'; '.join(arms)}")
    out = options.out or RESULTS / ("recipes.json" if options.data == "digits" else f"recipes-{options.data}.json")
    keep_freed_memory()
    data = load(options.data)
    tested = {part: data.split(part) for part in ("validation", "test")}
    if options.examples is not None:
        tested = {part: split.subset(options.examples) for part, split in tested.items()}
    about = {"steps": options.steps, "passes": options.passes, "threads": torch.get_num_threads()}
    about |= {} if options.examples is None else {"examples": options.examples}
    kept: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {**about, "rows": []}
    if {name: value for name, value in kept.items() if name != "rows"} != about:
        raise SystemExit(f"{out} is of other steps, passes or examples: give another --out")
    there = {(found["arm"], found["seed"]) for found in kept["rows"]}
    plain = chosen(*arms[next(iter(arms))], seed=0)
    for seed in range(options.seeds):
        for name in options.arms or arms:
            if (name, seed) not in there:
                experiment = chosen(*arms[name], seed=seed)
                kept["rows"].append(row(name, experiment, plain, options.steps, options.passes, data, tested))
                print(kept["rows"][-1], flush=True)
                out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    best = min(kept["rows"], key=lambda found: found["validation"][0])
    print(f"best on validation data: {best['arm']}, {best['validation'][0]:.4f}")


def chosen(base: str, assignments: tuple[str, ...], seed: int) -> Experiment:
    """The experiment of an arm."""
    experiment = replace(recipe(base), seed=seed)
    for assignment in assignments:
        experiment = override(experiment, assignment)
    return experiment


if __name__ == "__main__":
    main()
