"""The process drawn, and two statements about inference, in closed form (Fig. 3.2, Fig. 4.1, Section 2.3).

Fig. 3.2: α² and σ² of the cosine and the EDM schedule, and a digit on its way. Fig. 4.1: x, ε, z and v = dz/dφ on the
circle. Generative feedback: in the chain z_1 → z_0 → x of Gaussians with correlation ρ = E z_0 z_1, what the best q(z_0
| x) that is told nothing from above loses, E KL(q(z_0 | x) ‖ p(z_0 | z_1, x)), where the one that is told is exact.

    python experiments/process.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import GREY, panels

from vlb.core.emissions import Centres
from vlb.data import load
from vlb.models.diffusion.parameterization import Velocity
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import EDM, Cosine, Schedule

SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(-13.3, 5.0), "EDM": EDM(-13.3, 5.0)}
NOISE = 0.25  # V[x | z_0] of the chain


@dataclass(frozen=True)
class Budget:
    """points: of every curve; shown: how many noisy digits."""

    points: int = 101
    shown: int = 9


BUDGETS = {"toy": Budget(11, 3), "short": Budget(), "night": Budget()}


def path(schedule: Schedule, budget: Budget) -> Values:
    """α² and σ² over t, and one digit with one ε at `shown` times."""
    process = GaussianDiffusion(schedule, VP())
    like = torch.zeros(1, 1)
    t = torch.linspace(0, 1, budget.points, dtype=torch.float64)
    alpha, sigma = (level.flatten() for level in process.alpha_sigma(t, like.expand(len(t), 1)))
    x = Centres(17).embed(torch.from_numpy(load("digits").test.x[:1])).double()
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    at = torch.linspace(0, 1, budget.shown, dtype=torch.float64)
    a, s = process.alpha_sigma(at, x.expand(len(at), *x.shape[1:]))
    return {
        "t": t.tolist(),
        "alpha2": (alpha**2).tolist(),
        "sigma2": (sigma**2).tolist(),
        "digits": (a * x + s * eps)[:, 0].flatten(1).tolist(),
    }


def geometry(budget: Budget) -> Values:
    """On the circle z = cos φ x + sin φ ε: the largest difference of `Velocity` from dz/dφ by finite differences."""
    phi = torch.linspace(0.1, math.pi / 2 - 0.1, budget.points, dtype=torch.float64)
    x, eps = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    step = 1e-5

    def z(angle: torch.Tensor) -> torch.Tensor:
        return angle.cos().unsqueeze(1) * x + angle.sin().unsqueeze(1) * eps

    a, b = Velocity()(phi.cos(), phi.sin())
    v = a.unsqueeze(1) * x + b.unsqueeze(1) * eps
    difference = (v - (z(phi + step) - z(phi - step)) / (2 * step)).abs().max()
    return {"difference": float(difference), "across": float((v * z(phi)).sum(1).abs().max())}


def feedback(budget: Budget) -> Values:
    """What q(z_0 | x) loses over ρ, nats: ½ Var[E[z_0 | z_1, x] given x] over the variance of z_0 given z_1 and x.

    The best Gaussian q(z_0 | x) has that variance, and the mean's mean over z_1 ~ p(z_1 | x).
    """
    rho = np.linspace(0, 0.99, budget.points)
    precision = 1 / (1 - rho**2) + 1 / NOISE
    weight = rho / (1 - rho**2) / precision
    spread = 1 - rho**2 / (1 + NOISE)
    return {"rho": rho.tolist(), "loss": (0.5 * precision * weight**2 * spread).tolist()}


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """A path per schedule, the circle, the chain."""
    paths = {name: partial(path, schedule, budget) for name, schedule in SCHEDULES.items()}
    return paths | {"geometry": partial(geometry, budget), "feedback": partial(feedback, budget)}


def draw(found: Found) -> Figure:
    """Schedules with a digit above, the circle, the loss."""
    figure, axes = panels(2, 2)
    for panel, name in zip(axes[:2], SCHEDULES, strict=True):
        values = found.arms[name]
        panel.plot(values["t"], values["alpha2"], label="α²")
        panel.plot(values["t"], values["sigma2"], label="σ²")
        panel.set(xlabel="t", title=f"{name} schedule", ylim=(-0.02, 1.4), yticks=(0, 0.5, 1))
        panel.legend(loc="center left")
        count = len(values["digits"])
        for number, digit in enumerate(values["digits"]):
            inset = panel.inset_axes((number / count, 0.78, 0.95 / count, 0.2))
            inset.imshow(np.reshape(digit, (8, 8)), cmap="gray", vmin=-2, vmax=2)
            inset.set_axis_off()
    circle = axes[2]
    angle = np.linspace(0, math.pi / 2, 100)
    circle.plot(np.cos(angle), np.sin(angle), color=GREY, lw=1)
    phi = math.radians(35)
    z, v = np.array([math.cos(phi), math.sin(phi)]), np.array([-math.sin(phi), math.cos(phi)])
    for start, vector, name, colour in (
        ((0, 0), (1, 0), "x", "C0"), ((0, 0), (0, 1), "ε", "C1"), ((0, 0), z, "z = αx + σε", "C2"),
        (z, 0.6 * v, "v = dz/dφ = αε − σx", "C3"),
    ):  # fmt: skip
        tip = (start[0] + vector[0], start[1] + vector[1])
        circle.annotate("", tip, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6})
        circle.text(tip[0] + 0.03, tip[1] + 0.03, name, color=colour, fontsize=9)
    arc = np.linspace(0, phi, 30)
    circle.plot(0.3 * np.cos(arc), 0.3 * np.sin(arc), color=GREY, lw=1)
    circle.text(0.32, 0.08, "φ = arctan σ/α", fontsize=8)
    for end, name in (((z[0], 0), "α"), ((0, z[1]), "σ")):
        circle.plot((z[0], end[0]), (z[1], end[1]), ":", color=GREY, lw=1)
        circle.text(end[0] - 0.06, end[1] - 0.06, name, fontsize=9)
    circle.set(xlim=(-0.12, 1.35), ylim=(-0.12, 1.25), aspect="equal", title="the geometry of v")
    circle.set_axis_off()
    values = found.arms["feedback"]
    axes[3].plot(values["rho"], values["loss"], label="q(z₀ | x), told nothing from above")
    axes[3].axhline(0, color="C1", label="q(z₀ | z₁, x) = p(z₀ | z₁, x)")
    axes[3].set(xlabel="ρ = E z₀z₁", ylabel="E KL(q ‖ p), nats", title="generative feedback")
    axes[3].legend()
    return figure


def tell(found: Found) -> str:
    """What the figure says."""
    half = {
        name: np.interp(0.5, values["sigma2"], values["t"]) for name, values in found.arms.items() if name in SCHEDULES
    }
    times = " and ".join(f"{time:.2f} ({name})" for name, time in half.items())
    feedback, geometry = found.arms["feedback"], found.arms["geometry"]
    at = {rho: np.interp(rho, feedback["rho"], feedback["loss"]) for rho in (0.5, 0.9, 0.99)}
    losses = ", ".join(f"{loss:.3f} at ρ = {rho:g}" for rho, loss in at.items())
    return (
        f"Half the variance is noise at t = {times}, for λ from 13.3 to −5 (Fig. 3.2). On the circle, the v that "
        f"networks are asked for is dz/dφ to {geometry['difference']:.0e} by finite differences, and across z "
        f"(Fig. 4.1). An inference network that is told nothing from above (Section 2.3) loses, in nats, {losses}, "
        "however large it is; one that is told z₁ loses nothing. It is not the direction that loses but being told "
        "nothing: the bottom-up q(z₀ | x) q(z₁ | z₀) is exact in this chain as well, by other factors."
    )


EXPERIMENT = Experiment(
    name="process",
    title="The process, the geometry of v, generative feedback",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Four panels: α² and σ² against t with a digit getting noisier, for the cosine and the EDM schedule; x, ε, z "
    "and v as arrows on a quarter circle; the loss of an inference network without feedback, rising with ρ.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
