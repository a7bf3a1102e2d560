"""Why q may be fixed, measured where everything is known: a figure per claim, and its numbers.

    python docs/figures/tightness.py errors docs/figures/tightness_errors.svg    (a minute)
    python docs/figures/tightness.py steps docs/figures/tightness_steps.svg      (half a minute)
    python docs/figures/tightness.py ends docs/figures/tightness_ends.svg        (a few seconds)
    python docs/figures/tightness.py learned docs/figures/tightness_learned.svg  (a few minutes)

The first three are of a Gaussian in the plane, in closed form; the last is of two bumps on the line, by quadrature.
"""

import sys
from collections.abc import Callable

import matplotlib
import matplotlib.figure
import numpy as np
import torch
from torch import Tensor, nn

from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL
from vlb.core.distributions import Normal
from vlb.core.emissions import Continuous
from vlb.measure.tightness.gaussian import split_gaussian
from vlb.measure.tightness.line import split_line
from vlb.measure.tightness.perturbed import Perturbed
from vlb.measure.tightness.split import Parts
from vlb.models.diffusion.denoiser import RegressionDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Velocity
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import LowDiscrepancyTime
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, exact_prior, gaussian_mixture
from vlb.nn.mlp import MLPBackbone

PLANE = gaussian_mixture(torch.ones(1), torch.tensor([[0.3, -0.5]]), torch.tensor([[[0.5, 0.2], [0.2, 0.3]]]))
BUMPS = gaussian_mixture(torch.tensor([0.6, 0.4]), torch.tensor([[-0.7], [0.9]]), torch.tensor([[[0.04]], [[0.15]]]))
STEEPER = torch.eye(2, dtype=torch.float64)
TURNED = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
MISFIT, LOOSENESS, EXCESS = "#c1440e", "#1f6f8b", "#444444"


def diffusion(
    law: GaussianMixture, error: Tensor, low: float, high: float, exact_prior_: bool = True, exact_decoder: bool = True
) -> DiffusionModel:
    """The model whose noise estimate is (1 + error) times the exact one of `law`, log SNR from low to high."""
    process = GaussianDiffusion(LogSNRLinear(-high, -low))
    denoiser = Perturbed(MixtureDenoiser(law, VP(), decodes=exact_decoder), error, VP())
    prior = exact_prior(law, process) if exact_prior_ else None
    return DiffusionModel(process, denoiser, Continuous(), (law.means.shape[-1],), prior=prior)


def continuous(model: DiffusionModel, data: GaussianMixture, steps: int = 200) -> np.ndarray:
    """Excess, misfit and looseness as T → ∞, by extrapolation from T and 2T."""
    one, two = (split_gaussian(model.at(t), data) for t in (steps, 2 * steps))
    return 2 * parts(two) - parts(one)


def parts(split: Parts) -> np.ndarray:
    """Excess, misfit and looseness, nats."""
    return np.array([split.excess, split.misfit, split.looseness])


def errors(figure: matplotlib.figure.Figure) -> None:
    """The excess caps both, and which of the two it becomes depends on the kind of error."""
    sizes = np.geomspace(0.02, 0.5, 6)
    moved = [
        gaussian_mixture(torch.ones(1), PLANE.means[0] + 0.5 * size, PLANE.covariance() * (1 + size)) for size in sizes
    ]
    kinds = {
        "exact for another Gaussian": [diffusion(law, 0 * STEEPER, -5, 6) for law in moved],
        "too steep by δ": [diffusion(PLANE, size * STEEPER, -5, 6) for size in sizes],
        "turned by δ": [diffusion(PLANE, size * TURNED, -5, 6) for size in sizes],
    }
    panels = figure.subplots(1, 3, sharey=True)
    exact = continuous(diffusion(PLANE, 0 * STEEPER, -5, 6), PLANE)
    for axes, (name, models) in zip(panels, kinds.items(), strict=True):
        # What finite T costs is the same for the exact denoiser to leading order: it is taken off.
        found = np.array([continuous(model, PLANE) for model in models]) - exact
        # What is zero up to the extrapolation's error is left out of a logarithmic picture.
        shown = np.where(found > 1e-2 * found[:, :1], found, np.nan)
        axes.loglog(sizes, shown[:, 0], color=EXCESS, lw=4, alpha=0.35, label="excess")
        axes.loglog(sizes, shown[:, 1], "o-", color=MISFIT, label="misfit")
        axes.loglog(sizes, shown[:, 2], "s--", color=LOOSENESS, label="looseness")
        axes.set(title=name, xlabel="size of the error, δ")
        axes.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
        axes.minorticks_off()
        order = np.polyfit(np.log(sizes[:4]), np.log(found[:4, 0]), 1)[0]
        print(f"{name}: excess of order {order:.2f} in δ; at δ = {sizes[-1]:.2g}", describe(found[-1]))
    panels[0].set_ylabel("nats per example")
    panels[0].legend(fontsize=8)


def steps(figure: matplotlib.figure.Figure) -> None:
    """A perfect denoiser on T steps: all but a share of order 1/T² is looseness, and all of it vanishes."""
    counts = np.array([4, 8, 16, 32, 64, 128, 256, 512])
    model = diffusion(PLANE, 0 * STEEPER, -5, 6)
    found = np.array([parts(split_gaussian(model.at(int(t)), PLANE)) for t in counts])
    variances = torch.linalg.eigvalsh(PLANE.covariance()[0])
    gain = torch.tensor([-5.0, 6.0], dtype=torch.float64).exp().unsqueeze(1) * variances
    information, error = 0.5 * gain.log1p().sum(1), (gain / (1 + gain)).sum(1)
    law = 11 / 4 * float(2 * information.diff() - error.diff())
    axes = figure.subplots()
    axes.loglog(counts, law / counts, ":", color="black", label=f"{law:.1f}/T, the law")
    axes.loglog(counts, found[:, 0], color=EXCESS, lw=4, alpha=0.35, label="excess")
    axes.loglog(counts, found[:, 2], "s--", color=LOOSENESS, label="looseness")
    axes.loglog(counts, found[:, 1], "o-", color=MISFIT, label="misfit")
    axes.set(xlabel="steps T, even in log SNR", ylabel="nats per example")
    axes.legend(fontsize=8)
    for name, column in zip(("excess", "misfit", "looseness"), found.T, strict=True):
        order = np.polyfit(np.log(counts[-3:]), np.log(column[-3:]), 1)[0]
        print(f"{name}: {', '.join(f'{v:.4g}' for v in column)}; order {order:.2f} in T")
    print(f"law: excess · T → {law:.3f}; here {found[-1, 0] * counts[-1]:.3f} at T = {counts[-1]}")


def ends(figure: matplotlib.figure.Figure) -> None:
    """The two mismatches outside the steps: of the prior where λ_min is too large, of the decoder where λ_max is too
    small."""
    panels = figure.subplots(1, 2, sharey=True)
    places = {"λ_min": np.linspace(-8, 0, 9), "λ_max": np.linspace(0, 12, 13)}
    for axes, (name, at) in zip(panels, places.items(), strict=True):
        rows = []
        for value in at:
            low, high = (value, 8.0) if name == "λ_min" else (-6.0, value)
            usual = diffusion(PLANE, 0 * STEEPER, low, high, name != "λ_min", name != "λ_max")
            exact = diffusion(PLANE, 0 * STEEPER, low, high)
            count = int(20 * (high - low))
            change = continuous(usual, PLANE, count) - continuous(exact, PLANE, count)
            one_step = split_gaussian(usual.at(1), PLANE)  # the mismatches of the ends do not depend on T
            rows.append([one_step.prior if name == "λ_min" else one_step.decoder, *change[1:]])
        found = np.array(rows)
        axes.semilogy(at, found[:, 0], color=EXCESS, lw=4, alpha=0.35, label="mismatch of this end")
        shown = np.where(found > 2e-3 * found[:, :1], found, np.nan)
        axes.semilogy(at, shown[:, 1], "o-", color=MISFIT, label="misfit it adds")
        axes.semilogy(at, shown[:, 2], "s--", color=LOOSENESS, label="looseness it adds")
        axes.set(xlabel=name, title=("prior N(0, 1)" if name == "λ_min" else "decoder N(z₀/α₀, σ₀²/α₀²)"))
        rows_in_words = (f"{v:g} → {m:.2e} ({p:.2e} misfit)" for v, (m, p, _) in zip(at, found, strict=True))
        print(f"{name}: " + ", ".join(rows_in_words))
    panels[0].set_ylabel("nats per example")
    panels[0].legend(fontsize=8)


class LineVAE(nn.Module):
    """One latent number: q(z | x) and p(x | z) are Gaussians by small networks, p(z) = N(0, 1)."""

    depth = 1

    def __init__(self) -> None:
        super().__init__()
        self.inference, self.generation = (
            nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)).double()
            for _ in range(2)
        )

    def up(self, level: int, below: Tensor) -> Normal:
        return self.gaussian(self.inference, below)

    def down(self, level: int, z: Tensor) -> Normal:
        return self.gaussian(self.generation, z)

    def top(self, z: Tensor) -> Normal:
        return Normal(torch.zeros_like(z), torch.zeros_like(z))

    @staticmethod
    def gaussian(network: nn.Module, given: Tensor) -> Normal:
        mean, raw = network(given).chunk(2, 1)
        return Normal(mean, 5 * torch.tanh(raw / 5))

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        q = self.up(0, x)
        return (q.kl(self.top(x)) - self.down(0, q.sample(generator)).log_prob(x)).mean()


def train(count: int, loss: Callable[[Tensor, torch.Generator], Tensor], free: list) -> None:
    """Minimise a loss of `count` batches of the bumps over the parameters `free`."""
    optimiser = torch.optim.Adam(free, lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(count):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / count)
        value = loss(BUMPS.expand(512).sample(generator), generator)
        for parameter, gradient in zip(free, torch.autograd.grad(value, free), strict=True):
            parameter.grad = gradient
        optimiser.step()


def learned(figure: matplotlib.figure.Figure) -> None:
    """Who may change what: q alone (5.1) cannot reduce the misfit; p alone (5.2) reduces both."""
    bars: dict[str, Parts] = {}
    kinds = {"VAE, untrained": "", "VAE, q alone": "q", "VAE, p alone": "p", "VAE, both": "qp"}
    for name, which in kinds.items():
        torch.manual_seed(0)
        vae = LineVAE()
        free = [
            p for key, part in (("q", vae.inference), ("p", vae.generation)) if key in which for p in part.parameters()
        ]
        if free:
            train(2000, vae.loss, free)
        bars[name] = split_line(vae, BUMPS, low=-9, high=9, points=2001)
        print(f"{name}: {describe(parts(bars[name]))}", flush=True)
    torch.manual_seed(0)
    process = GaussianDiffusion(LogSNRLinear(-5.5, 5.0))
    network = RegressionDenoiser(MLPBackbone((1,), 1, 0, 64, 2, 0.0), Velocity(), VP())
    model = DiffusionModel(process, network, Continuous(), (1,))
    measure = LowDiscrepancyTime()
    bars["diffusion, untrained, T = 64"] = split_line(model.at(64), BUMPS)

    def loss(x: Tensor, generator: torch.Generator) -> Tensor:
        return estimate(model, x.float(), UNCONDITIONAL, measure, generator).total.mean()

    train(2000, loss, list(model.parameters()))
    for count in (1, 4, 16, 64, 128):
        bars[f"diffusion, p alone, T = {count}"] = split_line(
            model.at(count), BUMPS, low=-7, high=7, points=1401 if count > 64 else 901
        )
        print(f"T = {count}: {describe(parts(bars[f'diffusion, p alone, T = {count}']))}", flush=True)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        drawn = [
            estimate(model, BUMPS.expand(20_000).sample(generator).float(), UNCONDITIONAL, measure, generator).total
            for _ in range(10)
        ]
    means = torch.stack([part.double().mean() for part in drawn]) - bars["VAE, both"].entropy
    print(f"T → ∞: excess {means.mean():.4f} ± {means.std() / len(means) ** 0.5:.4f} nats")
    axes = figure.subplots()
    names = list(bars)
    misfits, loosenesses = ([getattr(bars[n], what) for n in names] for what in ("misfit", "looseness"))
    axes.barh(names, misfits, color=MISFIT, label="misfit")
    axes.barh(names, loosenesses, left=misfits, color=LOOSENESS, label="looseness")
    for row, name in enumerate(names):
        beyond = bars[name].excess > 2
        at = 2.0 if beyond else bars[name].excess
        axes.annotate(
            f" {bars[name].excess:.3f}", (at, row), va="center", fontsize=8, color="white" if beyond else "black"
        )
    axes.invert_yaxis()
    axes.set(xlabel="nats per example", xlim=(0, 2.3))
    axes.legend(fontsize=8)


def describe(found: np.ndarray) -> str:
    """Three numbers in words."""
    return f"excess {found[0]:.4f} = misfit {found[1]:.4f} + looseness {found[2]:.4f} nats"


FIGURES = {
    "errors": (errors, (9, 3.2)),
    "steps": (steps, (5.4, 3.6)),
    "ends": (ends, (7.5, 3.2)),
    "learned": (learned, (7, 3.8)),
}


def main() -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot as plt

    draw, size = FIGURES[sys.argv[1]]
    figure = plt.figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
