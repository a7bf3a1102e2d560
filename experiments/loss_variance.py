"""Variance of the loss estimator, and of its gradient, by schedule and by sampler of times, at equal ends.

A model of the digits is trained briefly. Then the same examples, noise levels and noise serve every p(λ): a schedule
matters for the diffusion loss through its density alone, and so does a sampler of times. The learned schedule and the
learning samplers are fitted to this model first, by the code that trains them: the samplers to the draws on which they
are then judged, the schedule to others. The gradient's variance is the trace of its covariance; E L²/least compares one
draw with the best that any p(λ) could do, p ∝ w√E‖ε − ε̂‖⁴ (Section 4.6).

    python experiments/loss_variance.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import panels
from shared.training import EVEN, SMALL, TINY, configured, trained
from torch import Tensor

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
    Times,
    UniformTime,
    WarpedTime,
)

BATCH, BINS = 64, 100
PUBLISHED = {"learned": 0.53, "log-SNR-linear": 6.35, "cosine": 31.1, "linear β": 31.6}
SAMPLERS = {"adaptive (4.130)": AdaptiveTime, "least variance": LeastVarianceTime, "time warping": WarpedTime}


@dataclass(frozen=True)
class Budget:
    """set: what is set of `digits`; draws: batches for errors and variances; gradients: batches for the gradient's;
    fitted: steps in which the schedule is learned."""

    set: tuple[str, ...] = (*SMALL, "steps=300")
    draws: int = 200
    gradients: int = 40
    fitted: int = 250


LARGER = ("backbone=mlp", "backbone.width=256", "backbone.blocks=3", "learning_rate=2e-3", "steps=300")
BUDGETS = {"toy": Budget(TINY, 20, 4, 10), "short": Budget(), "night": Budget(LARGER, draws=300)}


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
    return model.made_of(process, model.denoiser, process.prior)


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


def spread(budget: Budget) -> Values:
    """Per p(λ): variances, (bits/dim)², of one draw and of batches, and of the gradient, relative to log-SNR-linear."""
    data = load("digits")
    model = trained(configured("digits", (*EVEN, *budget.set), 0), data, evaluations=1).model
    ends = (model.process.schedule.gamma_0, model.process.schedule.gamma_1)
    base = LogSNRLinear(*ends)
    model = with_schedule(model, base)
    log_snr, error = errors(model, data, budget.draws)
    learned = learn(model, data, budget.fitted)
    fitted: dict[str, Any] = {}
    for name, kind in SAMPLERS.items():
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
    square /= torch.bincount(cell, minlength=BINS).clamp(min=1)
    optimum = (square.sqrt().mean() * width) ** 2
    model.denoiser.requires_grad_(True)
    reference = gradient_variance(model, LowDiscrepancyTime(), data, budget.gradients)
    densities = {name: schedule.density for name, schedule in schedules.items()} | {
        name: partial(times.density, schedule=base) for name, times in fitted.items()
    }
    rows: dict[str, Values] = {}
    grid = torch.linspace(-ends[1], -ends[0], 200, dtype=torch.float64)
    for name, density in densities.items():
        with torch.no_grad():
            second = (width * error**2 / density(log_snr)).mean()
            shape = density(grid)
        chosen = with_schedule(model, schedules[name]) if name in schedules else model
        times: Times = fitted.get(name, LowDiscrepancyTime())
        rows[name] = {
            "one draw": float(second - mean**2),
            # The learning samplers always spread their times.
            "independent": batch_variance(chosen, UniformTime(), data, budget.draws) if name in schedules else None,
            "even": batch_variance(chosen, times, data, budget.draws),
            "gradient": gradient_variance(chosen, times, data, budget.gradients) / reference,
            "second moment": float(second / optimum),
            "density": shape.tolist(),
        }
    return {
        "rows": rows,
        "log_snr": grid.tolist(),
        "loss": float(mean),
        "least": float(optimum - mean**2),
        "draws": len(error),
    }


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """One model."""
    return {"digits": partial(spread, budget)}


def draw(found: Found) -> Figure:
    """The densities, and what they do."""
    values = found.arms["digits"]
    figure, (left, right) = panels(2)
    for name in ("learned", "adaptive (4.130)", "log-SNR-linear", "EDM", "cosine", "OT"):
        left.plot(values["log_snr"], values["rows"][name]["density"], label=name)
    left.set(xlabel="λ = log SNR", ylabel="p(λ)", title="where noise levels are drawn", ylim=(0, None))
    left.legend()
    names = sorted(values["rows"], key=lambda name: values["rows"][name]["one draw"])
    for key in ("one draw", "even"):
        row = [values["rows"][name][key] * (1 if key == "one draw" else BATCH) for name in names]
        right.plot(
            row, range(len(names)), "o", ms=6, label=key if key == "one draw" else f"batch with even t, × {BATCH}"
        )
    right.axvline(values["least"], color="C0", ls=":")
    right.set(xscale="log", xlabel="variance of the loss, (bits/dim)²", title="dotted: least of one draw by any p(λ)")
    right.set_yticks(range(len(names)), names)
    right.legend()
    return figure


def tell(found: Found) -> str:
    """The table."""
    values = found.arms["digits"]
    lines = [
        "| p(λ) | one draw | batch, independent t | batch, even t | gradient, even t | E L²/least | published |",
        "|---" * 7 + "|",
    ]
    for name, row in values["rows"].items():
        independent = "" if row["independent"] is None else f"{row['independent']:.4f}"
        lines.append(
            f"| {name} | {row['one draw']:.3f} | {independent} | {row['even']:.4f} | {row['gradient']:.2f} | "
            f"{row['second moment']:.2f} | {PUBLISHED.get(name, '')} |"
        )
    return "\n".join(lines) + (
        f"\n\nVariances are of bits/dim at a diffusion loss of {values['loss']:.3f} bits/dim, for one example at one "
        f"time ({values['draws']} draws) and for batches of {BATCH}; the least of one draw, by any p(λ), is "
        f"{values['least']:.3f}. The last column is Kingma et al. (2021) on CIFAR-10: another model and unit."
    )


EXPERIMENT = Experiment(
    name="loss_variance",
    title="What p(λ) costs",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: densities of log SNR under six ways of drawing it. Right: the variance of the loss under each, of one "
    "draw and of a batch with evenly spread times; learned and adaptive ones reach the least.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
