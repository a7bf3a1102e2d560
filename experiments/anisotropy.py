"""One γ per dimension: does a process that is not isotropic tighten the bound? (Section 5, outlook ii)

First where everything is known. x is a Gaussian with the mean and covariance of the digits' pixels, the denoiser is
exact, and every law that matters is Gaussian, so that the diffusion term of T steps is Σ_d Σ_i ½(u_{d,i−1}/u_{d,i} − 1)
with u_d = 1 + c_d SNR_d, c_d the variance along direction d, and that of continuous time Σ_d ½ log(u_{d,0}/u_{d,T}).
Three processes with the same ends: one γ, even in λ; one γ, its T rungs placed as well as can be; one γ per direction,
for which steps of equal ratio of u_d are optimal by convexity. Then trained models of the digits with one γ per pixel,
ends held and ends learned.

And γ that depends on the data (MuLAN, Sahoo et al. 2024): there γ_d(t; c) is a function of a context c ~ q(c | x), a
Gaussian of 16 numbers here, that the network is told as well, so that q(z_t | x) is a mixture and the bound has a term
for c, KL(q(c | x) ‖ N(0, I)). Its curves are the paper's polynomials between held ends. What of it is the noise's, and
what the context's, is told by the same model with one fixed γ. All are trained on the bound, for as many steps on the
same batches and noise.

    python experiments/anisotropy.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from shared.adaptive import Adapted, AdaptiveDiffusion, AdaptiveTerms, Stepped, Unmoved
from shared.arms import Experiment, Found, Values, main
from shared.style import panels
from shared.training import EVEN, SMALL, TINY, configured, mean_and_error, trained
from torch import Tensor, nn

from vlb.core.draws import Draws
from vlb.core.emissions import Centres
from vlb.core.initial import initialise
from vlb.data import load
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.placement import Costs, cheapest
from vlb.models.diffusion.schedules import Schedule

GAMMA = (-6.0, 5.0)
FIXED = "one γ, fixed"
SCHEDULES = {
    FIXED: (),
    "one γ, ends learned": ("model.schedule=learned",),
    "γ per pixel, ends held": ("model.schedule=learned-per-dimension", "learn_ends=false"),
    "γ per pixel, ends learned": ("model.schedule=learned-per-dimension",),
}
SIZE, WIDTH = 16, 128  # of c, and of the networks that make it of x and γ of it
CONTEXTS: dict[str, Callable[[Schedule, int], nn.Module]] = {
    "one γ, a context told": lambda schedule, _: Unmoved(schedule),
    "γ per pixel by context": lambda schedule, dimensions: Adapted(
        SIZE, dimensions, WIDTH, schedule.gamma_0, schedule.gamma_1
    ),
}
NAMES = (*SCHEDULES, *CONTEXTS)


@dataclass(frozen=True)
class Budget:
    """candidates: rungs to choose from when placing; steps: T; recipe: what is set of `digits`."""

    candidates: int = 600
    steps: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128)
    recipe: tuple[str, ...] = (*SMALL, "steps=250")
    seeds: tuple[int, ...] = (0, 1, 2)
    passes: int = 8
    grid: int = 16


BUDGETS = {
    "toy": Budget(60, (2, 4), TINY, (0,), 2, 2),
    "short": Budget(),
    "night": Budget(1500, recipe=("steps=1000",), passes=64),
}


def gaps(log_snr: Tensor, variances: Tensor) -> Tensor:
    """What steps between neighbouring λ (n,) cost beyond continuous time, summed over directions: (n − 1,) nats."""
    ratio = torch.log1p(variances.unsqueeze(1) * log_snr.exp()).diff(dim=1).abs()
    return 0.5 * (torch.expm1(ratio) - ratio).sum(0)


def candidates(log_snr: Tensor, variances: Tensor) -> Costs:
    """The same for every step between candidates λ (M,), of which both ends are kept."""
    logs = torch.log1p(variances.unsqueeze(1) * log_snr.exp())
    costs = torch.zeros(len(log_snr), len(log_snr), dtype=torch.float64)
    for row in logs:
        ratio = (row.unsqueeze(1) - row).clamp(min=0)
        costs += 0.5 * (torch.expm1(ratio) - ratio)
    closed = torch.full_like(log_snr, torch.inf)
    first, last = closed.clone(), closed.clone()
    first[0], last[-1] = 0.0, 0.0
    return Costs(-log_snr, first, last, costs)


def gaussian(budget: Budget) -> Values:
    """What T steps cost beyond continuous time, bits/dim, by each of the three processes."""
    x = Centres(17).embed(torch.from_numpy(load("digits").train.x)).double().flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(x.T)).clamp(min=0)
    fine = torch.linspace(-GAMMA[0], -GAMMA[1], budget.candidates, dtype=torch.float64)
    widths = torch.log1p(variances.unsqueeze(1) * fine[[0, -1]].exp())
    lengths = widths[:, 0] - widths[:, 1]
    known = candidates(fine, variances)
    found: dict[str, list[float]] = {"one γ, even in λ": [], "one γ, placed": [], "γ per direction": []}
    for steps in budget.steps:
        even = torch.linspace(-GAMMA[0], -GAMMA[1], steps + 1, dtype=torch.float64)
        found["one γ, even in λ"].append(float(gaps(even, variances).sum()))
        found["one γ, placed"].append(known.total(cheapest(known, steps)))
        each = lengths / steps
        found["γ per direction"].append(float(0.5 * steps * (torch.expm1(each) - each).sum()))
    bits = 1 / (len(variances) * math.log(2))
    return {
        "gap": {name: [bits * value for value in values] for name, values in found.items()},
        "limit": 0.5 * bits * float(lengths.sum()),
        "variances": variances.flip(0).tolist(),
    }


def learned(schedule: str, budget: Budget, seed: int) -> Values:
    """A model of the digits: test bounds in continuous time and at T = `grid`, bits/dim, and its ends."""
    data = load("digits")
    model = trained(configured("digits", (*EVEN, *budget.recipe, *SCHEDULES[schedule]), seed), data).model
    bound = measure_bound(model, data.test, passes=budget.passes)
    grid = measure_bound(model.at(budget.grid), data.test, passes=max(2, budget.passes // budget.grid))
    low, high = model.process.schedule.gamma(torch.tensor([0.0, 1.0], dtype=torch.float64)).detach()
    return {
        "bound": bound.bits_per_dim,
        "monte carlo": bound.se_monte_carlo,
        "at T": grid.bits_per_dim,
        "gamma_0": [float(low.min()), float(low.mean()), float(low.max())],
        "gamma_1": [float(high.min()), float(high.mean()), float(high.max())],
    }


def adaptive(name: str, budget: Budget, seed: int) -> Values:
    """The same of a model with a context, its KL in nats per example, and how far γ(½; c) is from its mean over the
    test examples, and this mean from that over pixels, in the root mean square."""
    data = load("digits")
    experiment = configured("digits", (*EVEN, *budget.recipe), seed)
    assert isinstance(experiment.model, Diffusion) and isinstance(experiment.loss, DiffusionLoss)
    generator = torch.Generator().manual_seed(seed)
    with Draws(generator):
        decoder = experiment.model.build(data.schema, planes=1)
        initialise(decoder, data.train, generator)
        noise = CONTEXTS[name](decoder.process.schedule, data.schema.dimensions)
        model = AdaptiveDiffusion(decoder, noise, SIZE, WIDTH)
    loss = AdaptiveTerms(experiment.loss.decoder_share)
    model = trained(experiment, data, model=model, loss=loss).model
    bound = measure_bound(model, data.test, passes=budget.passes)
    grid = measure_bound(Stepped(model, budget.grid), data.test, passes=max(2, budget.passes // budget.grid))
    with torch.no_grad():
        contexts, _ = model.context(torch.from_numpy(data.test.x), torch.Generator().manual_seed(0))
        schedule = model.noise(contexts)
        gamma = schedule.gamma(torch.tensor([0.5], dtype=torch.float64)).expand(len(contexts), -1)
    low, high = schedule.gamma_0, schedule.gamma_1
    return {
        "bound": bound.bits_per_dim,
        "monte carlo": bound.se_monte_carlo,
        "at T": grid.bits_per_dim,
        "gamma_0": [low, low, low],
        "gamma_1": [high, high, high],
        "kl": data.test.dimensions * math.log(2) * bound.terms[("context",)],
        "over examples": float(gamma.std(0, correction=0).square().mean().sqrt()),
        "over pixels": float(gamma.mean(0).std(correction=0)),
    }


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """The Gaussian one, and one per schedule and seed."""
    found: dict[str, Callable[[], Values]] = {"gaussian": partial(gaussian, budget)}
    for seed in budget.seeds:
        found |= {f"{name}, seed {seed}": partial(learned, name, budget, seed) for name in SCHEDULES}
        found |= {f"{name}, seed {seed}": partial(adaptive, name, budget, seed) for name in CONTEXTS}
    return found


def draw(found: Found) -> Figure:
    """Left the gaps of the Gaussian; right the bounds of the trained models, one point per seed."""
    figure, (left, right) = panels(2)
    steps = np.array(found.budget["steps"])
    for name, gap in found.arms["gaussian"]["gap"].items():
        left.loglog(steps, gap, "o-", label=name)
    left.set(xlabel="T", ylabel="L_T − L_∞, bits/dim", title="Gaussian with the digits' covariance, exact denoiser")
    left.legend()
    seeds = found.budget["seeds"]
    for number, name in enumerate(NAMES):
        bounds = [found.arms[f"{name}, seed {seed}"]["bound"] for seed in seeds]
        noise = [found.arms[f"{name}, seed {seed}"]["monte carlo"] for seed in seeds]
        right.errorbar(bounds, [number] * len(seeds), xerr=noise, fmt="o", ms=6)
    right.set(
        xlabel="test bound in continuous time, bits/dim",
        title="digits, a point per seed, Monte Carlo error",
        ylim=(len(NAMES) - 0.5, -0.5),
    )
    right.locator_params(axis="x", nbins=5)
    right.set_yticks(range(len(NAMES)), list(NAMES))
    return figure


def tell(found: Found) -> str:
    """Tables and what they say."""
    exact, steps = found.arms["gaussian"], found.budget["steps"]
    lines = ["| Gaussian, L_T − L_∞: T = | " + " | ".join(map(str, steps)) + " |", "|---" * (len(steps) + 1) + "|"]
    for name, gap in exact["gap"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in gap) + " |")
    at = f"at T = {found.budget['grid']}"
    lines += [
        "",
        f"| digits, trained | test bound, bits/dim | less that of {FIXED} | {at} | γ₀, least, mean and largest | γ₁ |",
        "|---" * 6 + "|",
    ]
    plain = [found.arms[f"{FIXED}, seed {seed}"]["bound"] for seed in found.budget["seeds"]]
    for name in NAMES:
        runs = [found.arms[f"{name}, seed {seed}"] for seed in found.budget["seeds"]]
        ends = [
            ", ".join(f"{value:.1f}".replace("-", "−") for value in np.mean([run[end] for run in runs], 0))
            for end in ("gamma_0", "gamma_1")
        ]
        cells = [mean_and_error([run[key] for run in runs]) for key in ("bound", "at T")]
        paired = [run["bound"] - bound for run, bound in zip(runs, plain, strict=True)]
        cells.insert(1, "" if name == FIXED else mean_and_error(paired).replace("-", "−"))
        lines.append(f"| {name} | {' | '.join(cells)} | {' | '.join(ends)} |")
    lines += [
        "",
        "| digits, a context | KL(q(c \\| x) ‖ N(0, I)), nats | γ(½) over examples | over pixels |",
        "|---" * 4 + "|",
    ]
    for name in CONTEXTS:
        runs = [found.arms[f"{name}, seed {seed}"] for seed in found.budget["seeds"]]
        cells = [mean_and_error([run[key] for run in runs]) for key in ("kl", "over examples", "over pixels")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratios = [
        exact["gap"][name][-1] / exact["gap"]["γ per direction"][-1] for name in ("one γ, even in λ", "one γ, placed")
    ]
    errors = [found.arms[f"{name}, seed {seed}"]["monte carlo"] for name in NAMES for seed in found.budget["seeds"]]
    noise = float(np.sqrt(np.mean(np.square(errors))))
    return "\n".join(lines) + (
        f"\n\nIn continuous time every process with these ends costs the same {exact['limit']:.3f} bits/dim on the "
        f"Gaussian: the integral depends on the ends alone. Only steps cost more, and at T = {steps[-1]} one γ costs "
        f"{ratios[0]:.2f} times (even) and {ratios[1]:.2f} times (placed) what γ per direction does. The Monte Carlo "
        f"error of a trained model's bound is {noise:.3f}, on the same draws of noise for all. γ(½) is in the root "
        "mean square: of an example from the mean over examples, and of this mean from that over pixels."
    )


EXPERIMENT = Experiment(
    name="anisotropy",
    title="One γ per dimension",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: what T steps cost beyond continuous time falls as 1/T for three processes; γ per direction costs least. "
    "Right: test bounds of trained models with one γ, with one per pixel, and with one per pixel and context.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
