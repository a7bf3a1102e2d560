"""Posterior collapse: does bottom-up inference stop using levels beyond two, and does top-down keep using them?

Five Markov levels on digits; the generative network, its initial weights' law, the data and the budget are the same,
only q differs: bottom-up (Eq. 2.16), top-down with the precision-weighted merge (a ladder VAE) and top-down with a
network as merge (Eq. 2.27). Beside them, with another generative network, a residual convolutional hierarchy of five
levels, inferred top-down (Child 2021). Per level: KL, bounds on I(x; z), KL of the aggregate posterior, active units,
and a label probe, on test examples. The weights are the average with the best bound on validation data.

    python benchmarks/bench_collapse.py [--seeds 0 1 2] [--steps 1500] [--warmup 750] [--out FILE.json]
    python benchmarks/bench_collapse.py --draw FILE.json FILE.json … --figure FIGURE.svg
"""

import argparse
import copy
import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlb.core.condition import UNCONDITIONAL
from vlb.core.emissions.offered import DiscretisedLogisticOutput
from vlb.core.initial import initialise
from vlb.data import Dataset, load
from vlb.measure.diagnostics import aggregate_kl, label_probe, rung_use
from vlb.measure.evaluation import measure_bound
from vlb.models.vae.config import HVAE, ResidualHVAE
from vlb.models.vae.loss import ElboLoss
from vlb.models.vae.model import VariationalHierarchy
from vlb.store.experiment import Training
from vlb.training.batches import batch_indices
from vlb.training.trainer import Trainer

LATENTS = (16, 12, 8, 6, 4)


@dataclass(frozen=True)
class Setup:
    """A model and its weight decay, with which dense networks overfit less and convolutions forget their latents."""

    config: HVAE | ResidualHVAE
    weight_decay: float = 1.0


MARKOV = HVAE(latents=LATENTS, width=128, dropout=0.2, likelihood=DiscretisedLogisticOutput())
SETUPS = {
    "bottom-up": Setup(dataclasses.replace(MARKOV, inference="bottom-up")),
    "top-down, precision": Setup(MARKOV),
    "top-down, network": Setup(dataclasses.replace(MARKOV, merge="joined")),
    "top-down, residual": Setup(
        ResidualHVAE(halvings=(0, 1, 1, 2, 2), channels=2, width=32, likelihood=DiscretisedLogisticOutput()),
        weight_decay=0.01,
    ),
}
COLOURS = dict(zip(SETUPS, ("tab:red", "tab:blue", "tab:green", "tab:purple"), strict=True))
SHOWN, EVERY = 200, 200


def trained(setup: Setup, data: Dataset, steps: int, warmup: int, seed: int) -> tuple[VariationalHierarchy, int]:
    """The averaged model with the best validation bound of `steps` steps, and its step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = setup.config.build(data.schema)
        initialise(model, data.train, torch.default_generator)
    settings = Training(
        steps=steps, batch=64, learning_rate=2e-3, warmup=50, ema=0.99, clip=5.0, weight_decay=setup.weight_decay
    )
    trainer = Trainer(model, ElboLoss(warmup=warmup).build(model), settings, seed, torch.device("cpu"))
    x = torch.from_numpy(data.train.x)
    averaged, best = copy.deepcopy(trainer.module).eval().requires_grad_(False), (math.inf, 0, {})
    for step in range(1, steps + 1):
        trainer.update(x[batch_indices(seed, step - 1, settings.batch, len(x))], UNCONDITIONAL)
        if step % EVERY == 0:
            averaged.load_state_dict(trainer.average.tensors)
            bound = measure_bound(averaged.model, data.validation, passes=2).bits_per_dim
            if bound < best[0]:
                best = bound, step, {name: tensor.clone() for name, tensor in trainer.average.tensors.items()}
    averaged.load_state_dict(best[2])
    return averaged.model, best[1]


def measured(model: VariationalHierarchy, data: Dataset) -> dict[str, Any]:
    """The bound, and per level what it is used for."""
    generator = torch.Generator().manual_seed(0)
    bound = measure_bound(model, data.test, passes=4)
    parts = {name: torch.from_numpy(getattr(data, name).x) for name in ("train", "test")}
    latents = {name: [level.z for level in model.inferred(x, generator)] for name, x in parts.items()}
    assert data.train.labels is not None and data.test.labels is not None
    probes = [
        label_probe(latents["train"][level], data.train.labels, latents["test"][level], data.test.labels)
        for level in range(model.depth)
    ]
    uses = rung_use(model, parts["test"][:SHOWN], generator)
    aggregate = aggregate_kl(model, parts["train"], generator, draws=2)
    return {
        "bits_per_dim": bound.bits_per_dim,
        "standard_error": bound.standard_error,
        "kl": [use.kl for use in uses],
        "information": [list(use.information) for use in uses],
        "aggregate": aggregate,
        "active": [use.active for use in uses],
        "units": [use.units for use in uses],
        "probe": probes,
    }


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """KL and information per level, one line per seed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    levels = range(1, len(LATENTS) + 1)
    for result in results:
        colour, label = COLOURS[result["setup"]], result["setup"] if result["seed"] == 0 else None
        axes[0].plot(levels, result["kl"], "o-", color=colour, label=label, alpha=0.8)
        low, high = zip(*result["information"], strict=True)
        axes[1].plot(levels, low, "o-", color=colour, alpha=0.8)
        axes[1].fill_between(levels, low, high, color=colour, alpha=0.08)
        axes[2].plot(levels, result["probe"], "o-", color=colour, alpha=0.8)
    axes[1].axhline(math.log(SHOWN), color="0.7", linestyle=":")
    names = ("KL, nats", f"I(x; z) of {SHOWN} examples, nats (bounds)", "label probe, accuracy")
    for axis, name in zip(axes, names, strict=True):
        axis.set(title=name, xlabel="level (1 next to the data)", xticks=list(levels))
    axes[0].set_yscale("symlog", linthresh=0.1)
    axes[0].set_ylim(bottom=-0.02)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--steps", type=int, default=1500)
    arguments.add_argument("--warmup", type=int, default=750, help="steps of KL warm-up")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--draw", type=Path, nargs="+", metavar="FILE.json")
    arguments.add_argument("--figure", type=Path, default=Path("docs/figures/collapse.svg"))
    options = arguments.parse_args()
    if options.draw:
        draw([result for file in options.draw for result in json.loads(file.read_text())], options.figure)
        return
    data, results = load("digits"), []
    for seed in options.seeds:
        for name, setup in SETUPS.items():
            started = time.monotonic()
            model, best = trained(setup, data, options.steps, options.warmup, seed)
            seconds = time.monotonic() - started
            result = {"setup": name, "seed": seed, "steps": options.steps, "best": best} | measured(model, data)
            results.append(result)
            print(f"{name}, seed {seed}, {seconds:.0f} s, best at {best}: {result['bits_per_dim']:.4f} bits/dim")
            for level in range(len(LATENTS)):
                low, high = result["information"][level]
                print(
                    f"  level {level + 1}: KL {result['kl'][level]:.3f}, I(x; z) {low:.2f} to {high:.2f} nats, "
                    f"aggregate KL {result['aggregate'][level]:.2f}, "
                    f"{result['active'][level]} of {result['units'][level]} units active, "
                    f"probe {result['probe'][level]:.3f}",
                    flush=True,
                )
            if options.out:
                options.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
