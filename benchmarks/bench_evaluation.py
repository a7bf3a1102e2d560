"""What an evaluation costs: network evaluations for the same Monte Carlo error, and throughput.

    python benchmarks/bench_evaluation.py RUN [--examples 360] [--repeats 12] [--strata 6 12] [--device cpu]

Estimators of the same bound on the same test examples, each repeated with independent draws:

* uniform: t uniform and independent, the textbook estimate;
* batch: t evenly spread over the batch, as VDM's code bases do (`DiffusionModel.terms`);
* stratified, without and with a fitted plan (`vlb.models.diffusion.stratified`).

Printed for one pass over one example: the bound in bits/dim, network evaluations (counted by a hook), milliseconds
of the whole evaluation, what the heads cost included, and the variance of the mean bound over draws, (bits/dim)².
Variance × evaluations is the figure of merit: its ratio says how many times fewer evaluations reach the same error,
variance × time how much less time than with t spread over the batch. With R repeats and P pieces a variance has
(R − 1)·P degrees of freedom, the first two (3 R − 1)·P.
Throughput is that of `vlb.evaluate` over bare forwards at the same batch size, alternating in one run: of the network,
and of the denoiser, which is the network and its head.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.memory import keep_freed_memory
from vlb.core.bound import estimate
from vlb.core.condition import Condition
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.measure.evaluation import Bounded, measure_bound
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import Plan, StratifiedBound, fit
from vlb.models.diffusion.times import UniformTime
from vlb.store.runs import Run, diffusion_model

FITTED = 100


@dataclasses.dataclass
class Independent:
    """t uniform and independent."""

    model: DiffusionModel

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.shape

    @property
    def bound(self) -> BoundKind:
        return self.model.bound

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        drawn = estimate(self.model, x, condition, UniformTime(), generator)
        return {("reconstruction",): drawn.reconstruction, ("prior",): drawn.prior, ("diffusion",): drawn.diffusion}


class Counter:
    """Examples that a network was asked about."""

    def __init__(self, network: nn.Module) -> None:
        self.count = 0
        network.register_forward_hook(self._add)

    def _add(self, _module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        self.count += len(inputs[0])


class Cost(NamedTuple):
    """Of one pass over one example: bits/dim, their variance (bits/dim)², network evaluations and seconds."""

    bits: float
    variance: float
    evaluations: float
    seconds: float


def measure(
    bounded: Bounded, split: Split, conditional: bool, counter: Counter, repeats: int, piece: int, device: torch.device
) -> Cost:
    """Each piece is evaluated by itself, so that the variance has (repeats − 1) degrees of freedom from each."""
    counter.count, started = 0, time.perf_counter()
    bits, variance = 0.0, 0.0
    for start in range(0, len(split), piece):
        part = split.take(np.arange(start, min(start + piece, len(split))))
        found = measure_bound(
            bounded, part, conditional=conditional, passes=repeats, batch=piece, seed=start, device=device
        )
        bits += found.bits_per_dim * len(part) / len(split)
        variance += found.se_monte_carlo**2 * repeats * len(part) ** 2 / len(split)
    each = len(split) * repeats
    return Cost(bits, variance, counter.count / each, (time.perf_counter() - started) / each)


def throughput(
    model: DiffusionModel,
    bounded: Bounded,
    evaluations: int,
    split: Split,
    conditional: bool,
    batch: int,
    device: torch.device,
) -> tuple[float, float]:
    """Time of as many forwards, of the bare network and of the denoiser, over that of an evaluation; medians."""
    x, condition = split.batch(np.arange(min(batch, len(split))), conditional, device)
    part = split.take(np.arange(len(x)))
    z = model.embedding.embed(x)
    gamma = torch.zeros(len(x), 1, dtype=torch.float64, device=device)
    forwards = [model.denoiser.backbone, model.denoiser]
    ratios = []
    with torch.no_grad():
        for repeat in range(6):
            times = []
            for forward in forwards:
                times.append(
                    timed(lambda forward=forward: [forward(z, gamma, condition) for _ in range(evaluations)], device)
                )
            whole = timed(
                lambda repeat=repeat: measure_bound(
                    bounded, part, conditional=conditional, passes=2, batch=batch, seed=repeat, device=device
                ),
                device,
            )
            ratios.append([2 * one / whole for one in times])
    network, denoiser = np.median(ratios[1:], 0)
    return float(network), float(denoiser)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--examples", type=int, default=360)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--piece", type=int, default=60, help="examples that share their draws of t")
    parser.add_argument("--brief", action="store_true", help="only t over the batch, and everything together")
    parser.add_argument("--batch", type=int, default=250, help="of the throughput")
    parser.add_argument("--strata", type=int, nargs="*", default=[], help="other numbers of strata to try")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()  # as `vlb evaluate` does
    device = torch.device(options.device)
    run = Run.open(options.run)
    data = run.data()
    model = diffusion_model(run.model(device), "this benchmark")
    conditional = run.conditional
    split = data.test.subset(options.examples)
    counter = Counter(model.denoiser.backbone)
    few = data.validation.subset(FITTED)
    x, condition = few.batch(np.arange(len(few)), conditional, device)
    started = time.perf_counter()
    plan = fit(model, x, condition, torch.Generator().manual_seed(0))
    print(f"fitted in {time.perf_counter() - started:.1f} s and {counter.count} network evaluations")
    print("masses", " ".join(f"{mass:.3f}" for mass in plan.masses))
    print("slopes", " ".join(f"({a:.2f}, {b:.2f})" for a, b in (*plan.slopes, plan.decoding)))
    none = tuple((0.0, 0.0) for _ in plan.slopes)
    kinds: dict[str, Bounded] = {
        "uniform, independent": Independent(model),
        "batch low-discrepancy": model,
        "stratified per example": StratifiedBound(model, Plan.plain()),
        "… and fitted p(λ)": StratifiedBound(model, dataclasses.replace(plan, slopes=none, decoding=(0.0, 0.0))),
        "… and control variates": StratifiedBound(model, plan),
    }
    if options.brief:
        kinds = {
            name: kinds[name] for name in ("uniform, independent", "batch low-discrepancy", "… and control variates")
        }
    for strata in options.strata:
        kinds[f"the same, {strata} strata"] = StratifiedBound(model, dataclasses.replace(plan, strata=strata))
    results: list[Cost] = []
    print("\n| estimator | bound | evaluations | ms | variance | × fewer than uniform | than batch | × less time |")
    print("|---|---|---|---|---|---|---|---|")
    for name, bounded in kinds.items():
        # The cheap ones more often: a ratio is no surer than the less sure of the two.
        repeats = options.repeats * (1 if isinstance(bounded, StratifiedBound) else 3)
        cost = measure(bounded, split, conditional, counter, repeats, options.piece, device)
        results.append(cost)
        uniform, batch = results[0], results[min(1, len(results) - 1)]
        merit = cost.variance * cost.evaluations
        fewer = [one.variance * one.evaluations / merit for one in (uniform, batch)]
        print(
            f"| {name} | {cost.bits:.4f} | {cost.evaluations:.0f} | {1000 * cost.seconds:.2f} | {cost.variance:.5f} "
            f"| {fewer[0]:.1f} | {fewer[1]:.1f} "
            f"| {batch.variance * batch.seconds / (cost.variance * cost.seconds):.1f} |",
            flush=True,
        )
    for name, bounded in kinds.items():
        count = bounded.evaluations if isinstance(bounded, StratifiedBound) else 1 + model.learns_decoder
        network, denoiser = throughput(model, bounded, count, split, conditional, options.batch, device)
        print(f"throughput of {name}: {100 * network:.1f} % of the network's, {100 * denoiser:.1f} % of the denoiser's")


if __name__ == "__main__":
    main()
