"""The hole problem (Fig. 2.4): five clusters in the plane, a VAE with two latents, and its remedies.

Row 1: a VAE that uses both latents; row 2: one that leaves a latent unused, because its decoder's noise is larger
than what that latent would explain; row 3: the VampPrior in place of N(0, I). Every row says how far aggregate
posterior and prior are apart.

    python docs/figures/holes.py [docs/figures/holes.png]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from torch import Tensor, nn

from vlb.core.condition import UNCONDITIONAL
from vlb.core.emissions import GaussianEmission
from vlb.measure.diagnostics import active_units, aggregate
from vlb.measure.holes import Holes, holes, split_by_coverage, standard_prior, top_posterior
from vlb.models.mixture.gaussian import gaussian_mixture
from vlb.models.vae.generative import MarkovGenerator
from vlb.models.vae.merge import Direct
from vlb.models.vae.model import TopDownVAE
from vlb.models.vae.prior import VampPrior
from vlb.nn.coder import Dense, Single

STEPS, EXAMPLES = 1500, 1000
ANGLES = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
CLUSTERS = gaussian_mixture(
    torch.ones(5), torch.stack((2.4 * ANGLES.cos(), 1.2 * ANGLES.sin()), 1), torch.full((5, 2), 0.15**2)
)


@dataclass(frozen=True)
class Row:
    """One trained VAE and what was measured of it."""

    name: str
    model: TopDownVAE
    measured: Holes
    covered: float
    uncovered: float


def train(x: Tensor, variance: float | None, vamp: bool, seed: int) -> TopDownVAE:
    """A VAE whose decoder has this variance, or learns its own."""
    torch.manual_seed(seed)
    likelihood = GaussianEmission(2, -2.0)
    if variance is not None:
        nn.init.constant_(likelihood.log_variance, float(torch.tensor(variance).log()))
        likelihood.log_variance.requires_grad_(False)
    encoder = Dense(2, (4,), 64, 1)
    prior = VampPrior(encoder, x[:25]) if vamp else standard_prior
    generator = MarkovGenerator([(2,)], [], Dense(2, (2, 1), 64, 1), likelihood, prior)
    model = TopDownVAE(generator, Single(encoder), [Direct(nn.Identity())], (2,))
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    draws = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / STEPS)
        batch = x[torch.randint(len(x), (128,), generator=draws)]
        loss = torch.stack(list(model.terms(batch, UNCONDITIONAL, draws).values())).sum(0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.requires_grad_(False)


def far_from_data(model: TopDownVAE, z: Tensor) -> float:
    """The share of decoded z that no cluster owns: the true density there is below its own 0.1 % quantile."""
    reference = CLUSTERS.expand(20_000)
    threshold = torch.quantile(CLUSTERS.log_prob(reference.sample(torch.Generator().manual_seed(9))), 0.001)
    decoded = model.generator.decode(z).mean
    return float((CLUSTERS.log_prob(decoded) < threshold).double().mean())


def measure(name: str, model: TopDownVAE, x: Tensor) -> Row:
    """The hole measures, and the quality of samples from covered and from uncovered regions."""
    q, prior = top_posterior(model, x), model.generator.top
    measured = holes(q, prior, torch.Generator().manual_seed(1), draws=10_000)
    z, inside = split_by_coverage(q, prior, 4000, torch.Generator().manual_seed(2))
    row = Row(name, model, measured, far_from_data(model, z[inside]), far_from_data(model, z[~inside]))
    print(
        f"{name}: active units {int(active_units(q.mean).sum())} of 2, KL(q(z)‖p(z)) {measured.kl:.3f} ± "
        f"{measured.kl_error:.3f} nats, uncovered {measured.uncovered:.3f}, MMD² {measured.mmd:.4f}; decoded means off "
        f"the data: {row.covered:.1%} from covered, {row.uncovered:.1%} from uncovered latents"
    )
    return row


def draw(rows: list[Row], x: Tensor, path: Path) -> None:
    """Data and samples; the aggregate posterior; the prior with what it does not cover."""
    figure, axes = pyplot.subplots(len(rows), 3, figsize=(8.4, 2.8 * len(rows)), layout="constrained")
    for row, (left, middle, right) in zip(rows, axes, strict=True):
        samples = row.model.sample(600, generator=torch.Generator().manual_seed(3))
        left.plot(*x[:400].T, ".", color="0.75", markersize=3, rasterized=True)
        left.plot(*samples.T, ".", color="tab:blue", markersize=2, rasterized=True)
        left.set(title=f"{row.name}: data and samples", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
        q = top_posterior(row.model, x)
        reach = max(3.5, 1.0 + float(q.mean.abs().max()))
        line = torch.linspace(-reach, reach, 161)
        grid = torch.cartesian_prod(line, line)
        density = aggregate(q).log_prob(grid).exp()
        prior = row.model.generator.top(grid)
        contours(middle, line, density, "Reds")
        contours(middle, line, prior.log_prob(grid).exp(), None)
        middle.set(title=f"q(z), and p(z): KL {row.measured.kl:.2f} nats")
        z, inside = split_by_coverage(q, row.model.generator.top, 600, torch.Generator().manual_seed(4))
        right.plot(*z[inside].T, ".", color="tab:blue", markersize=2, rasterized=True)
        right.plot(*z[~inside].T, ".", color="tab:orange", markersize=2, rasterized=True)
        right.set(title=f"z ~ p(z): {row.measured.uncovered:.0%} uncovered", xlim=(-reach, reach), ylim=(-reach, reach))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], aspect="equal")
        axis.title.set_fontsize(9)
    figure.savefig(path, dpi=80)


def contours(axis: Axes, line: Tensor, density: Tensor, colours: str | None) -> None:
    """Filled contours, or thin blue lines where there are no colours."""
    values = density.view(len(line), len(line)).T
    if colours:
        reach = float(line[-1])
        axis.imshow(values, extent=(-reach, reach, -reach, reach), origin="lower", cmap=colours)
    else:
        axis.contour(
            line,
            line,
            values,
            levels=[share * float(values.max()) for share in (0.1, 0.3, 0.5, 0.7, 0.9)],
            colors="tab:blue",
            linewidths=0.7,
        )


def main() -> None:
    torch.set_num_threads(1)
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/holes.png")
    x = CLUSTERS.expand(EXAMPLES).sample(torch.Generator().manual_seed(0)).float()
    rows = [
        measure("both latents", train(x, 0.15**2, False, 0), x),
        measure("one unused", train(x, 1.2, False, 0), x),
        measure("VampPrior", train(x, 0.15**2, True, 0), x),
    ]
    draw(rows, x, path)


if __name__ == "__main__":
    main()
