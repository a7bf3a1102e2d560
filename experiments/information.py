"""What the bits are spent on: per noise level and frequency band, and how many are imperceptible (Section 3, 4.6).

The bound is paid along λ: prior, ½E‖ε − ε̂‖² per unit of λ, reconstruction. The error's discrete cosine transform
splits every λ's part over frequencies, and x̂ says what is known of x when the bits down to a λ are spent: its distance
from x, and whether a classifier, trained here on the training images, knows its digit.

    python experiments/information.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.fft import dctn
from shared.arms import Experiment, Found, Values, main
from shared.quality import classifier
from shared.style import GREY, panels
from shared.training import configured, trained

import vlb
from vlb.core.condition import UNCONDITIONAL
from vlb.data import load
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.noisy import noised_at

BANDS = {"mean and slowest": (0, 2), "slow": (2, 4), "fast": (4, 6), "fastest": (6, 10)}


@dataclass(frozen=True)
class Budget:
    """points: of λ; draws: of ε per test image and λ; recipe: what is set of `digits`, or None for the model that comes
    with vlb; epochs: of the classifier."""

    points: int = 22
    draws: int = 1
    recipe: tuple[str, ...] | None = None
    epochs: int = 15


BUDGETS = {"toy": Budget(5, 1, None, 1), "short": Budget(), "night": Budget(45, 16, ("steps=1000",))}


@torch.no_grad()
def spent(budget: Budget) -> Values:
    """Over λ: bits per unit of λ and band, the error of x̂ in levels, the classifier's accuracy on x̂."""
    data = load("digits")
    model = vlb.load("vlb:digits")
    if budget.recipe is not None:
        with torch.enable_grad():
            model = trained(configured("digits", budget.recipe, 0), data).model
    with torch.enable_grad():
        judge = classifier(data, budget.epochs)
    x, labels = torch.from_numpy(data.test.x), data.test.labels
    assert labels is not None
    embedded = model.embedding.embed(x)
    generator = torch.Generator().manual_seed(0)
    schedule = model.process.schedule
    edges = np.linspace(-schedule.gamma_1, -schedule.gamma_0, budget.points + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    u, v = np.meshgrid(*(np.arange(side) for side in x.shape[2:]), indexing="ij")
    radius = np.hypot(u, v)
    nats = 1 / (math.prod(x.shape[1:]) * math.log(2))
    bands: dict[str, list[float]] = {name: [] for name in BANDS}
    error, known, found = [], [], torch.zeros(())
    for log_snr in middle:
        gamma = torch.full((len(x), 1), -log_snr, dtype=torch.float64)
        energy, square, right = np.zeros(x.shape[2:]), 0.0, 0.0
        for _ in range(budget.draws):
            eps = torch.randn(embedded.shape, generator=generator, dtype=embedded.dtype)
            noisy = noised_at(model, x, embedded, gamma, gamma, UNCONDITIONAL, eps)
            found = model.denoise(noisy.z, gamma, UNCONDITIONAL)
            energy += (dctn((eps - found.eps).double().numpy()[:, 0], axes=(1, 2), norm="ortho") ** 2).mean(0)
            levels = (found.x + 1) * 17 / 2 - 0.5
            square += float(((levels - x) ** 2).double().mean())
            right += judge.accuracy(levels, labels)
        for name, (low, high) in BANDS.items():
            bands[name].append(float(0.5 * nats * energy[(low <= radius) & (radius < high)].sum() / budget.draws))
        error.append(math.sqrt(square / budget.draws))
        known.append(right / budget.draws)
    bound = measure_bound(model, data.test, passes=8 * budget.draws)
    return {
        "log_snr": middle.tolist(),
        "bands": bands,
        "coefficients": {name: int(((low <= radius) & (radius < high)).sum()) for name, (low, high) in BANDS.items()},
        "error": error,
        "accuracy": known,
        "accuracy of x": judge.accuracy(x, labels),
        "terms": {str(path[0]): value for path, value in bound.terms.items()},
        "bound": bound.bits_per_dim,
    }


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """One model."""
    return {"digits": partial(spent, budget)}


def cumulative(values: Values) -> tuple[np.ndarray, float]:
    """Bits/dim spent from the prior down to each λ, and all of them."""
    rate = np.sum(list(values["bands"].values()), 0)
    step = values["log_snr"][1] - values["log_snr"][0]
    spent_to = values["terms"]["prior"] + step * (np.cumsum(rate) - 0.5 * rate)
    return spent_to, float(values["terms"]["prior"] + step * rate.sum() + values["terms"]["reconstruction"])


def draw(found: Found) -> Figure:
    """Rate per band over λ; what is known against what is spent."""
    values = found.arms["digits"]
    figure, (left, right) = panels(2)
    left.stackplot(values["log_snr"], *values["bands"].values(), labels=values["bands"], alpha=0.85)
    left.set(
        xlabel="λ = log SNR (noise left, data right)", ylabel="bits/dim per unit of λ", title="where bits are paid"
    )
    left.legend()
    to, total = cumulative(values)
    right.plot(to / total, values["accuracy"], label="digits recognised in x̂")
    right.axhline(values["accuracy of x"], color="C0", ls=":")
    right.plot(to / total, np.array(values["error"]) / values["error"][0], label="error of x̂, of that without bits")
    right.axvline(1 - values["terms"]["reconstruction"] / total, color=GREY, ls=":")
    right.set(
        xlabel="share of all bits spent",
        title="what they buy; dotted: of x, and where z₀ is known",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    right.legend(loc="center right")
    return figure


def tell(found: Found) -> str:
    """A table and what it says."""
    values = found.arms["digits"]
    to, total = cumulative(values)
    step = values["log_snr"][1] - values["log_snr"][0]
    diffusion = step * sum(map(sum, values["bands"].values()))
    lines = ["| frequencies | share of coefficients | share of the diffusion term |", "|---|---|---|"]
    for name, rate in values["bands"].items():
        low, high = BANDS[name]
        share = values["coefficients"][name] / sum(values["coefficients"].values())
        lines.append(f"| {name}, {low} ≤ r < {high} | {share:.0%} | {step * sum(rate) / diffusion:.0%} |")
    accuracy, error = np.array(values["accuracy"]), np.array(values["error"])
    near = int(np.argmax(accuracy >= values["accuracy of x"] - 0.02))
    where = f"{values['log_snr'][near]:.1f}".replace("-", "−")
    half = int(np.argmax(to >= 0.5 * total))
    return "\n".join(lines) + (
        f"\n\nThe bound is {total:.3f} bits/dim here: prior {values['terms']['prior']:.3f}, diffusion {diffusion:.3f}, "
        f"reconstruction {values['terms']['reconstruction']:.3f}. The classifier knows {values['accuracy of x']:.1%} "
        f"of the test images, and is within 2 % of that on x̂ from λ = {where} on, when {to[near] / total:.0%} of the "
        f"bits are spent: the other {1 - to[near] / total:.0%} change nothing that it looks at. When half are spent, x̂ "
        f"is {error[half]:.1f} levels (of 16) from x in the root mean square, {error[half] / error[0]:.0%} of the "
        "error without any."
    )


EXPERIMENT = Experiment(
    name="information",
    title="What the bits are spent on",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: bits per unit of log SNR, stacked by frequency band; the slow ones are paid at lower SNR than the "
    "fast ones. Right: recognition of x̂ rises, and its error falls, with the share of bits spent.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
