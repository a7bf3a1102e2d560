"""Digits: what the recipes of the predecessors of diffusion reach.

Test bounds of the mixture, the VAE – with N(0, I), the VampPrior and an aggregate posterior as prior – and the
hierarchies; for the VAEs the holes (Section 2.5), for the first also importance-weighted bounds beside the naive Monte
Carlo estimate (Eq. 2.1) and the amortisation gap; the ladder network with 100 and 20 labels beside the same network
without denoising costs.

    python benchmarks/bench_predecessors.py [--seeds 0 1 2]
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from vlb.base.configuration import override
from vlb.core.terms import key
from vlb.data import Dataset, load
from vlb.measure.evaluation import measure_bound
from vlb.measure.holes import holes, top_posterior
from vlb.measure.importance import FromPrior, ImportanceWeighted
from vlb.measure.recognition import recognise
from vlb.measure.refinement import amortisation_gap, refine
from vlb.models.ladder.model import LadderNetwork
from vlb.models.vae.generative import MarkovGenerator
from vlb.models.vae.model import TopDownVAE
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

LIKELIHOODS: tuple[tuple[str, ...], ...] = (
    ("digits-mixture",),
    ("digits-vae",),
    ("digits-vae", "prior=vamp"),
    ("digits-vae", "prior=aggregate"),
    ("digits-hvae-bottom-up",),
    ("digits-hvae-top-down",),
    ("digits-hvae-top-down", "merge=joined"),
)


def trained(experiment: Experiment, data: Dataset) -> tuple[torch.nn.Module, float]:
    """The best model on validation data, and the seconds of its training."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", experiment, data)
        started = time.monotonic()
        fit(experiment, data, run)
        return run.model(), time.monotonic() - started


def describe_vae(model: TopDownVAE, data: Dataset) -> None:
    """Importance weighting, the naive estimate and the amortisation gap of a VAE."""
    for draws in (1, 10, 50, 500):
        weighted = measure_bound(ImportanceWeighted(model, draws), data.test, passes=2)
        naive = measure_bound(ImportanceWeighted(FromPrior(model), draws), data.test, passes=2)
        print(
            f"  K = {draws}: from q {weighted.bits_per_dim:.4f} bits/dim (effective draws "
            f"{weighted.observed('effective', 'examples'):.1f} in the mean), from the prior {naive.bits_per_dim:.4f}",
            flush=True,
        )
    x = torch.from_numpy(data.test.x[:100])
    generator = torch.Generator().manual_seed(0)
    refined = refine(model, x, generator, sweeps=1, steps=60)
    gap = amortisation_gap(model, refined, x, generator, 50).mean(0)
    print(f"  amortisation gap {gap.mean():.2f} ± {gap.std() / len(gap) ** 0.5:.2f} nats on {len(x)} test examples")


def describe_holes(model: TopDownVAE, data: Dataset) -> None:
    """How far the aggregate posterior of the training data is from the model's prior."""
    assert isinstance(model.generator, MarkovGenerator)
    posterior = top_posterior(model, torch.from_numpy(data.train.x))
    found = holes(posterior, model.generator.top, torch.Generator().manual_seed(0))
    print(f"  holes: KL(q(z)‖p(z)) {found.kl:.2f} ± {found.kl_error:.2f} nats, uncovered {found.uncovered:.3f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    data = load("digits")

    def experiment(name: str, seed: int, *settings: str) -> Experiment:
        found = dataclasses.replace(recipe(name), seed=seed)
        for setting in settings:
            found = override(found, setting)
        return found

    for seed in options.seeds:
        for name, *settings in LIKELIHOODS:
            model, seconds = trained(experiment(name, seed, *settings), data)
            result = measure_bound(model, data.test, passes=8)
            terms = ", ".join(f"{key(path)} {value:.4f}" for path, value in result.terms.items())
            print(
                f"{' '.join((name, *settings))}, seed {seed}: {result.bits_per_dim:.4f} ± "
                f"{result.standard_error:.4f} bits/dim ({terms}), {seconds:.0f} s",
                flush=True,
            )
            if name == "digits-vae":
                assert isinstance(model, TopDownVAE)
                describe_holes(model, data)
                if not settings and seed == 0:
                    describe_vae(model, data)
        for count, label, *settings in (
            (100, "ladder"),
            (100, "supervised", "model.costs=[0, 0, 0, 0, 0]"),
            (20, "ladder"),
            (20, "supervised", "model.costs=[0, 0, 0, 0, 0]"),
        ):
            told = (f"labelled={count}", f"labelled_seed={seed}")
            model, seconds = trained(experiment("digits-ladder", seed, *told, *settings), data)
            assert isinstance(model, LadderNetwork)
            found = recognise(model, data.test)
            print(
                f"{label}, {count} labels, seed {seed}: test error {found.error_rate:.3f} ± "
                f"{found.standard_error:.3f}, {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
