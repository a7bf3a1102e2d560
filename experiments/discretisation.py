"""Discrete against continuous time: the bound against T, for models trained at T and at T → ∞.

Where everything is known, two bumps on the line, the gap L_T − L_∞ is had by quadrature, and its leading term, c/T,
too. Digits, and a table of ranks, are modelled by networks: with the continuous-time loss,
evaluated at every T, and with the loss of T steps, evaluated at their own T and in continuous time.

    python experiments/discretisation.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.data import ranked_table
from shared.style import GREY, panels
from shared.training import EVEN, TINY, configured, trained
from torch import Tensor

from vlb.core.bound import estimate
from vlb.core.condition import Condition
from vlb.data import Dataset, load
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.kernels import ExactMixture, Standard
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear, Schedule
from vlb.models.diffusion.times import UniformRung
from vlb.models.loss import Sums, Terms
from vlb.models.mixture.gaussian import GaussianMixture, gaussian_mixture

BUMPS = gaussian_mixture(torch.tensor([0.6, 0.4]), torch.tensor([[-0.7], [0.9]]), torch.tensor([[[0.04]], [[0.15]]]))
ENDS = (-6.0, 5.0)
SCHEDULES: dict[str, Schedule] = {"log-SNR-linear": LogSNRLinear(*ENDS), "cosine": Cosine(*ENDS)}
DATA: dict[str, Callable[[], Dataset]] = {"digits": partial(load, "digits"), "table": ranked_table}
KERNELS = {"standard": Standard(), "mixture": ExactMixture()}


@dataclass(frozen=True)
class Part:
    """One data set, and what is set of the recipe `digits`, which serves all of them."""

    data: str
    set: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """exact: how many powers of two the exact model is discretised by; parts: what is trained on; steps: T of
    evaluations; trained_at: T of training; passes: over 360 test examples in continuous time, and more over fewer."""

    parts: tuple[Part, ...]
    exact: int = 12
    seeds: tuple[int, ...] = (0,)
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    trained_at: tuple[int, ...] = (4, 16, 64)
    passes: int = 32


DIGITS = Part("digits", ("backbone=mlp", "backbone.width=256", "backbone.blocks=2", "dropout=0.2", "steps=800"))
TABLE = Part("table", ("backbone=mlp", "backbone.width=128", "backbone.blocks=2", "dropout=0.2", "steps=600"))
BUDGETS = {
    "toy": Budget((Part("digits", TINY), Part("table", TINY)), 7, (0,), (1, 2, 4), (2,), 2),
    "short": Budget((DIGITS, TABLE)),
    "night": Budget((Part("digits", ("steps=1000",)), TABLE), seeds=(0, 1, 2), passes=64),
}


def noise_error(law: GaussianMixture, schedule: Schedule, t: Tensor, points: int = 4001) -> Tensor:
    """E Var[x | z_t] of a mixture on the line by the trapezoidal rule: t (n,) -> (n,)."""
    found = []
    for gamma in schedule.gamma(t)[:, 0].tolist():
        sigma = math.exp(0.5 * gamma)
        spread = 12 * math.sqrt(float(law.variances.max()) + sigma**2)
        z = torch.linspace(-1 - spread, 1 + spread, points, dtype=torch.float64).unsqueeze(1)
        density = law.diffused(1.0, sigma).log_prob(z).exp()
        variance = law.posterior(z, 1.0, sigma).covariance()[:, 0, 0]
        found.append(float(torch.trapezoid(density * variance, z[:, 0])))
    return torch.tensor(found, dtype=torch.float64)


def exact(schedule: Schedule, powers: int) -> Values:
    """L_T and L_∞ of the bumps, nats, the exact denoiser and equal steps in t (Eq. 3.86, 3.124); and c of c/T."""
    steps = [2**k for k in range(powers)]
    fine = steps[-1]
    t = torch.linspace(0, 1, fine + 1, dtype=torch.float64)
    snr, error = torch.exp(-schedule.gamma(t)[:, 0]), noise_error(BUMPS, schedule, t)
    sums = [
        float(0.5 * ((snr[:: fine // n][:-1] - snr[:: fine // n][1:]) * error[:: fine // n][1:]).sum()) for n in steps
    ]
    # A right-hand sum of ½∫ error d(−SNR) is too large by the mean of the steps' triangles; the rest is O(T⁻²).
    limit = float(0.5 * torch.trapezoid(error, -snr))
    slope = float(0.25 * (-torch.gradient(snr, spacing=(t,))[0] * torch.gradient(error, spacing=(t,))[0]).mean())
    return {"steps": steps, "bound": sums, "limit": limit, "constant": slope}


class GridTerms(Terms[DiffusionModel]):
    """The loss of T equal steps: one of them per example (Eq. 3.93)."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(
        self, model: DiffusionModel, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        drawn = estimate(model.at(self.steps), x, condition, UniformRung(self.steps), generator)
        dimensions = math.prod(x.shape[1:])
        parts = {"reconstruction": drawn.reconstruction, "prior": drawn.prior, "diffusion": drawn.diffusion}
        return {name: part.mean() / dimensions for name, part in parts.items()}, {}


def learned(part: Part, budget: Budget, seed: int, steps: int | None) -> Values:
    """A model trained at T = `steps`, or in continuous time: bounds on the test examples, bits/dim."""
    examples = DATA[part.data]()
    experiment = configured("digits", (*EVEN, *part.set), seed)
    model = trained(experiment, examples, loss=None if steps is None else GridTerms(steps)).model
    grids = budget.steps if steps is None else (steps,)
    found: Values = {"steps": grids}
    more = max(1, 360 // len(examples.test))
    for name, kernel in KERNELS.items():
        passes = [more * max(2, budget.passes // n) for n in grids]
        bounds = [
            measure_bound(model.at(n, kernel), examples.test, passes=p) for n, p in zip(grids, passes, strict=True)
        ]
        found[name] = [bound.bits_per_dim for bound in bounds]
        found[f"{name} error"] = [bound.se_monte_carlo for bound in bounds]
    continuous = measure_bound(model, examples.test, passes=more * budget.passes)
    return found | {"limit": continuous.bits_per_dim, "limit error": continuous.se_monte_carlo}


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Two exact ones; per data set and seed one trained in continuous time and one per T of training."""
    found: dict[str, Callable[[], Values]] = {
        f"bumps, {name}": partial(exact, schedule, budget.exact) for name, schedule in SCHEDULES.items()
    }
    for part in budget.parts:
        for seed in budget.seeds:
            for steps in (None, *budget.trained_at):
                found[arm(part.data, steps, seed)] = partial(learned, part, budget, seed, steps)
    return found


def arm(data: str, steps: int | None, seed: int) -> str:
    """Its name."""
    return f"{data}, T {'→ ∞' if steps is None else f'= {steps}'}, seed {seed}"


def over_seeds(found: Found, data: str, steps: int | None, name: str) -> np.ndarray:
    """The mean over seeds of what arms have under `name`."""
    return np.mean([found.arms[arm(data, steps, seed)][name] for seed in found.budget["seeds"]], 0)


def trained_on(found: Found) -> list[str]:
    """The data sets."""
    return [part["data"] for part in found.budget["parts"]]


def slope(steps: np.ndarray, gap: np.ndarray) -> float:
    """Of log gap against log T, over the upper half of the T where there is a gap."""
    there = (steps >= math.sqrt(steps[0] * steps[-1])) & (gap > 0)
    return float(np.polyfit(np.log(steps[there]), np.log(gap[there]), 1)[0]) if there.sum() > 1 else math.nan


def draw(found: Found) -> Figure:
    """Left the exact gaps with c/T; then, of trained models, the bound against T, own and other T of training."""
    figure, (left, *others) = panels(1 + len(found.budget["parts"]))
    for name in SCHEDULES:
        values = found.arms[f"bumps, {name}"]
        steps = np.array(values["steps"])
        (line,) = left.loglog(steps, np.array(values["bound"]) - values["limit"], "o", label=name)
        left.loglog(steps, values["constant"] / steps, ":", color=line.get_color())
    left.set(xlabel="T", ylabel="L_T − L_∞, nats", title="two bumps, exact denoiser; dotted: c/T")
    left.legend()
    for axes, data in zip(others, trained_on(found), strict=True):
        steps = np.array(found.budget["steps"])
        limit = float(over_seeds(found, data, None, "limit"))
        for number, name in enumerate(KERNELS):
            bound = over_seeds(found, data, None, name)
            axes.semilogx(steps, bound, "o-", color=f"C{number}", label=f"{name}, trained at ∞")
            own = [float(over_seeds(found, data, n, name)[0]) for n in found.budget["trained_at"]]
            axes.semilogx(found.budget["trained_at"], own, "s", color=f"C{number}", mfc="none", ms=8,
                          label=f"{name}, trained at T")  # fmt: skip
        axes.axhline(limit, color=GREY, ls=":")
        axes.set(xlabel="T", ylabel="test bound, bits/dim", title=f"{data}; dotted: continuous time",
                 ylim=(limit - 0.1, limit + 2))  # fmt: skip
        axes.legend(loc="upper right", title="kernel")
    return figure


def tell(found: Found) -> str:
    """Tables and what they say."""
    steps = np.array(found.budget["steps"])
    lines = []
    for data in trained_on(found):
        limit = float(over_seeds(found, data, None, "limit"))
        lines += [f"| {data}: T = | " + " | ".join(map(str, steps)) + " | ∞ |", "|---" * (len(steps) + 2) + "|"]
        for name in KERNELS:
            cells = [f"{value:.3f}" for value in over_seeds(found, data, None, name)]
            lines.append(f"| {name} kernel, trained at ∞ | " + " | ".join(cells) + f" | {limit:.3f} |")
        for name in KERNELS:
            own = {n: float(over_seeds(found, data, n, name)[0]) for n in found.budget["trained_at"]}
            cells = [f"{own[n]:.3f}" if n in own else "" for n in steps]
            ends = " / ".join(f"{float(over_seeds(found, data, n, 'limit')):.3f}" for n in own)
            lines.append(f"| {name} kernel, trained at T | " + " | ".join(cells) + f" | {ends} |")
        lines.append("")
    exact_slopes = []
    for name in SCHEDULES:
        values = found.arms[f"bumps, {name}"]
        gap, at = np.array(values["bound"]) - values["limit"], np.array(values["steps"])
        within = next(int(n) for n, g in zip(at, gap, strict=True) if abs(g * n / values["constant"] - 1) < 0.1)
        exact_slopes.append(f"{slope(at, gap):.3f} ({name}; within 10 % of c/T from T = {within} on)")
    slopes = {
        (data, name): slope(steps, over_seeds(found, data, None, name) - float(over_seeds(found, data, None, "limit")))
        for data in trained_on(found)
        for name in KERNELS
    }
    fitted = ", ".join(f"{value:.2f} ({data}, {name})" for (data, name), value in slopes.items())
    own = " / ".join(map(str, found.budget["trained_at"]))
    text = (
        f"In the last column are the bounds in continuous time; of models trained at T, at T = {own}. The slope of "
        f"log(L_T − L_∞) against log T is {' and '.join(exact_slopes)} where the denoiser is exact, and {fitted} for "
        "the models trained in continuous time, fitted over the larger half of the T."
    )
    return "\n".join(lines) + "\n" + text.replace(" -", " −")


EXPERIMENT = Experiment(
    name="discretisation",
    title="Discrete against continuous time",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: the gap between the bound of T steps and that of continuous time falls along a line of slope −1. "
    "Beside it: bounds of trained models against T, for two kernels.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
