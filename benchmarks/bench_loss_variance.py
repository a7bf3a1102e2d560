"""Variance of the loss estimator, and of its gradient, by schedule and by sampler of times, at equal ends.

A model of the digits is trained briefly (or taken from a run, --run). Then the same examples, noise levels and noise
serve every p(λ): a schedule matters for the diffusion loss through its density alone, and so does a sampler of
times. The learned schedule and the learning samplers are fitted to this model first, by the code that trains them.

Columns: the variance of the loss of one example at one time, in (bits/dim)²; that of a batch of 64 with independent
times and with evenly spread ones; the trace of the covariance of the gradient of such a batch with evenly spread
times, relative to that under log-SNR-linear times; p(λ)'s second moment relative to the single-draw optimum's.

    OMP_NUM_THREADS=1 python benchmarks/bench_loss_variance.py [--run RUN] [--steps 300]
"""

import argparse
import dataclasses
import math
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vlb.base.configuration import override
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Dataset, load
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.schedules import (
    EDM,
    Cosine,
    Learned,
    LearnedSchedule,
    LinearBeta,
    LogSNRLinear,
    OptimalTransport,
    Schedule,
    Sigmoid,
)
from vlb.models.diffusion.times import (
    AdaptiveTime,
    LeastVarianceTime,
    LowDiscrepancyTime,
    ScheduleTime,
    Times,
    UniformTime,
    WarpedTime,
)
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

BATCH, BINS = 64, 100
PUBLISHED = {"learned": 0.53, "log-SNR-linear": 6.35, "cosine": 31.1, "linear β": 31.6}


def trained(steps: int) -> tuple[DiffusionModel, Dataset]:
    """The digits recipe, briefly."""
    data = load("digits")
    experiment = recipe("digits")
    for assignment in (f"steps={steps}", "backbone=mlp", "backbone.width=256", "backbone.blocks=3"):
        experiment = override(experiment, assignment)
    experiment = dataclasses.replace(
        experiment, training=dataclasses.replace(experiment.training, validate_every=steps, learning_rate=2e-3)
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", experiment, data)
        fit(experiment, data, run)
        return run.model(), data


def batches(data: Dataset, count: int, seed: int) -> list[Tensor]:
    """Batches of training examples."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(data.train.x)
    return [x[torch.randint(len(x), (BATCH,), generator=generator)] for _ in range(count)]


def bits(model: DiffusionModel) -> float:
    return 1 / (math.prod(model.shape) * math.log(2))


@torch.no_grad()
def errors(model: DiffusionModel, data: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """λ, evenly spread, and ½‖ε − ε̂‖² in bits/dim at each, for `count` batches: (count·BATCH,) each."""
    schedule, generator = model.process.schedule, torch.Generator().manual_seed(1)
    log_snr, error = [], []
    for x in batches(data, count, 2):
        u, _ = LowDiscrepancyTime().draw(BATCH, generator)
        at = -schedule.gamma_1 + (schedule.gamma_1 - schedule.gamma_0) * u
        rate = torch.ones(BATCH, 1, dtype=torch.float64)
        error.append(model.noise_error_at(x, -at.unsqueeze(1), rate, UNCONDITIONAL, generator).double() * bits(model))
        log_snr.append(at)
    return torch.cat(log_snr), torch.cat(error)


def with_schedule(model: DiffusionModel, schedule: Schedule) -> DiffusionModel:
    """The same denoiser under another schedule."""
    process = type(model.process)(schedule, model.process.scaling)
    return DiffusionModel(process, model.denoiser, model.embedding, model.shape)


def learn(model: DiffusionModel, data: Dataset, steps: int) -> LearnedSchedule:
    """A learned schedule fitted to this model, its network held, by the objective that trains it."""
    old = model.process.schedule
    schedule = Learned(old.gamma_0, old.gamma_1, learn_ends=False).build(1)
    other = with_schedule(model, schedule)
    loss = DiffusionLoss(decoder_share=0.01).build(other)
    optimiser = torch.optim.Adam(schedule.shapes.parameters(), lr=0.03)
    for step, x in enumerate(batches(data, steps, 3)):
        optimiser.zero_grad()
        terms, _ = loss(other, x, UNCONDITIONAL, torch.Generator().manual_seed(step), step)
        terms["diffusion"].backward()
        optimiser.step()
    return schedule


def batch_variance(model: DiffusionModel, times: Times, data: Dataset, count: int) -> float:
    """Variance of the mean loss of a batch, (bits/dim)²."""
    generator, means = torch.Generator().manual_seed(4), []
    with torch.no_grad():
        for x in batches(data, count, 5):
            t, weight = times.draw(BATCH, generator, model.process.schedule)
            means.append((model.term(x, t, UNCONDITIONAL, generator) * weight).mean() * bits(model))
    return torch.stack(means).var().item()


def gradient_variance(model: DiffusionModel, times: Times, data: Dataset, count: int) -> float:
    """Trace of the covariance of the gradient of a batch's mean loss."""
    parameters = [p for p in model.denoiser.parameters() if p.requires_grad]
    generator, total, squares = torch.Generator().manual_seed(6), None, 0.0
    for x in batches(data, count, 7):
        t, weight = times.draw(BATCH, generator, model.process.schedule)
        loss = (model.term(x, t, UNCONDITIONAL, generator) * weight).mean() * bits(model)
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double()
        total = flat if total is None else total + flat
        squares += (flat @ flat).item()
    assert total is not None
    return (squares - (total @ total).item() / count) / (count - 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", type=Path, help="a trained run of discrete data, instead of a brief one of digits")
    arguments.add_argument("--steps", type=int, default=300, help="training steps of the brief run")
    options = arguments.parse_args()
    started = time.monotonic()
    if options.run:
        run = Run.open(options.run)
        data = run.data()
        model = run.model()
    else:
        model, data = trained(options.steps)
    ends = (model.process.schedule.gamma_0, model.process.schedule.gamma_1)
    base = LogSNRLinear(*ends)
    model = with_schedule(model, base)
    log_snr, error = errors(model, data, 300)
    learned = learn(model, data, 250)
    samplers = {"adaptive (4.130)": AdaptiveTime, "least variance": LeastVarianceTime, "time warping": WarpedTime}
    fitted = {}
    for name, kind in samplers.items():
        fitted[name] = kind(BINS, decay=0.999).build(base)
        fitted[name].learn(fitted[name].sums(log_snr, error, torch.ones_like(error), base))
    schedules: dict[str, Schedule] = {
        "learned": learned,
        "log-SNR-linear": base,
        "cosine": Cosine(*ends),
        "linear β": LinearBeta(*ends),
        "OT": OptimalTransport(*ends),
        "sigmoid": Sigmoid(*ends),
        "EDM": EDM(*ends),
    }
    width = ends[1] - ends[0]
    mean = (width * error).mean()
    cell = ((log_snr + ends[1]) / width * BINS).long().clamp(0, BINS - 1)
    square = torch.zeros(BINS, dtype=torch.float64).index_add_(0, cell, error**2)
    square /= torch.bincount(cell, minlength=BINS)
    optimum = (square.sqrt().mean() * width) ** 2
    print(f"γ ∈ [{ends[0]:.2f}, {ends[1]:.2f}], diffusion loss {mean.item():.3f} bits/dim, {len(error)} draws")
    print(f"least variance of one draw, by any p(λ): {(optimum - mean**2).item():.3f} (bits/dim)²\n")
    print("| p(λ) | one draw | batch, independent t | batch, even t | gradient, even t | E L² / least | published |")
    print("|---|---|---|---|---|---|---|")
    model.denoiser.requires_grad_(True)
    reference = gradient_variance(model, LowDiscrepancyTime(), data, 40)
    densities = {n: s.density for n, s in schedules.items()} | {
        n: partial(s.density, schedule=base) for n, s in fitted.items()
    }
    for name, density in densities.items():
        with torch.no_grad():
            second = (width * error**2 / density(log_snr)).mean()
        chosen = with_schedule(model, schedules[name]) if name in schedules else model
        times: Times = fitted[name] if name in fitted else LowDiscrepancyTime()
        row = [f"{(second - mean**2).item():.3f}"]
        # The learning samplers always spread their times.
        independent = batch_variance(chosen, UniformTime(), data, 300) if name in schedules else None
        row.append("" if independent is None else f"{1000 * independent:.2f}e-3")
        row.append(f"{1000 * batch_variance(chosen, times, data, 300):.2f}e-3")
        row.append(f"{gradient_variance(chosen, times, data, 40) / reference:.2f}")
        row += [f"{(second / optimum).item():.2f}", str(PUBLISHED.get(name, ""))]
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    check = ScheduleTime(schedules["cosine"])
    print(
        f"\nthe log-SNR-linear schedule with cosine's p(λ) by its times: batch variance "
        f"{1000 * batch_variance(model, check, data, 300):.2f}e-3, as under the cosine schedule"
    )
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
