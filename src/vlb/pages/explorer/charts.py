"""What the numbers of a study look like."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vlb.data.sources import digits
from vlb.pages import figures
from vlb.pages.explorer.study import MIXTURE, Costs, Curves, Samples, Study, costs, curves, noised, samples
from vlb.pages.film import grey
from vlb.pages.markup import chart, text, thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIGIT = 4  # of the test split
POINTS = 150  # of the mixture
FRAME = ((-3.2, 3.2), (-3.2, 3.2))
CLOSE = ((-2.1, 1.6), (-2.2, 1.7))


def page(study: Study) -> str:
    """All there is to see of a study."""
    found = costs(study), samples(study)
    return "".join((diffusion(study), shapes(study), spent(found[0], study), drawn(found[1], study)))


def diffusion(study: Study) -> str:
    """Data becoming noise: a digit, and the mixture."""
    own = digits()
    x = 2 * (own.test.x[DIGIT : DIGIT + 1].astype(np.float64) + 0.5) / own.levels - 1
    t, log_snr, z = noised(study, MIXTURE.mean().new_tensor(x))
    heads = [
        f'<tr><th scope="row">{name}</th>{"".join(f"<th>{signed(float(value))}</th>" for value in values)}</tr>'
        for name, values in (("t", t), ("log SNR", log_snr))
    ]
    cells = "".join(
        f"<td>{thumbnail(grey(frame, own.levels)[0], 256, f'a digit at t = {float(at):.2f}')}</td>"
        for at, frame in zip(t, z, strict=True)
    )
    film = f'<table class="film named"><thead>{"".join(heads)}</thead><tbody><tr><th></th>{cells}</tr></tbody></table>'
    caption = (
        "A test digit and the same noise, mixed as α x + σ ε: data on the left, noise on the right. Below, "
        f"{POINTS} draws of a mixture of three Gaussians in the plane, whose best denoiser is known."
    )
    t, _, clouds = noised(study, MIXTURE.expand(POINTS).sample(study.generator(4)))
    figure, places = figures.panels(len(t), len(t), 1.15)
    for axes, points in zip(places, clouds, strict=True):
        axes.plot(*points.T.tolist(), ".", markersize=2, markeredgewidth=0, color=figures.FIRST, alpha=0.7)
        bare(axes, FRAME)
    svg = figures.as_svg(figure, "clouds", "A mixture of three Gaussians in the plane becoming noise")
    return (
        f'<section><h2>Data become noise</h2><figure><div class="wide">{film}</div><figcaption>{caption}</figcaption>'
        f'</figure><div class="chart wide">{svg}</div></section>'
    )


def shapes(study: Study) -> str:
    """λ(t), p(λ), w(λ), p_w(t)."""
    figure = chart(lines(curves(study), study.times), text(told(study)))
    return f"<section><h2>Schedule and weighting</h2>{figure}</section>"


def lines(found: Curves, times: Tensor) -> str:
    """Four panels; the places of the steps, at `times`, are ticks on the first."""
    figure, (path, density, weight, kernel) = figures.panels(4, 4, 2.5)
    path.plot(found.t, found.log_snr, color=figures.FIRST, linewidth=1.8)
    steps = np.interp(times, found.t, found.log_snr)
    path.plot(times, steps, "|", color=figures.SECOND, markersize=7)
    path.set(xlabel="t", title="λ(t) = log SNR")
    for axes, values, title in ((density, found.density, "p(λ), of uniform t"), (weight, found.weight, "w(λ) / max w")):
        axes.plot(found.axis, values, color=figures.FIRST, linewidth=1.8)
        axes.set(xlabel="λ", title=title, ylim=(0, None))
    kernel.plot(found.t, found.kernel, color=figures.FIRST, linewidth=1.8)
    if float(found.kernel.min()) < 0:
        kernel.axhline(0, color=figures.MUTED, linewidth=0.8)
    kernel.set(xlabel="t", title="p_w(t)")
    for axes in figure.axes:
        axes.grid(color=figures.RULE, linewidth=0.8)
        axes.title.set(color=figures.INK, fontsize=9.5)
        axes.tick_params(labelsize=8)
    return figures.as_svg(
        figure, "shapes", "log SNR over t, the density of log SNR, the weighting, and the noise that it adds to data"
    )


def told(study: Study) -> str:
    """What the schedule and the weighting are, and what the latter optimises, in sentences."""
    described = study.described
    first, *shares = str(described).splitlines()
    atoms = [line.strip() for line in (shares[0], *(shares[-1:] if described.top else []))]
    return (
        f"Schedule: {_known('schedule', study.schedule)} Ticks on λ(t) are the steps. "
        f"Weighting: {_known('weighting', study.weighting)} It is {first}. {'; '.join(atoms)}; p_w(t) is the rest of "
        "the mixture. A bound does not depend on the schedule between its ends, nor on the weighting: training does."
    )


def _known(name: str, value: Any) -> str:
    """The first sentence of a setting's documentation, and what more of it can be set."""
    sentence = " ".join((type(value).__doc__ or "").partition("\n\n")[0].split())
    more = [f.name for f in fields(value) if f.name not in ("gamma_0", "gamma_1")]
    return f"{sentence}{''.join(f' [{name}.{field}={getattr(value, field):g}]' for field in more)}"


def spent(found: Costs, study: Study) -> str:
    """Where the bound is paid."""
    excess, error = found.excess
    caption = (
        "Of the mixture in the plane, with its exact denoiser, in nats. Steps: the KL of each over its width in λ; "
        f"their sum is {signed(float(found.kl.sum()), 3)}. Line: the rate in continuous time, whose area is "
        f"{found.diffusion:.3f}. T = {study.steps} steps cost {excess:.3f} ± {error:.3f} more. With the "
        f"reconstruction, {signed(found.reconstruction, 3)}, and the prior, {found.prior:.3f}, the bound is "
        f"{signed(found.bound, 3)} in steps and {signed(found.bound - excess, 3)} in continuous time; −log p of the "
        f"same examples is {signed(found.entropy, 3)} in the mean. Dashed: what training with the weighting spends."
    )
    return f"<section><h2>What each noise level costs</h2>{chart(levels(found), text(caption))}</section>"


def levels(found: Costs) -> str:
    """Costs of steps and rates over λ."""
    figure, axes = figures.canvas(2.9)
    edges, heights = found.edges.numpy(), (found.kl / found.edges.diff()).numpy()
    axes.stairs(heights, edges, fill=True, color=figures.FIRST, alpha=0.3, linewidth=0)
    axes.stairs(heights, edges, color=figures.FIRST, linewidth=1.2, baseline=None, label="steps")
    axes.plot(found.log_snr, found.rate, color=figures.SECOND, linewidth=1.8, label="continuous time")
    axes.plot(found.log_snr, found.weighted, "--", color=figures.THIRD, linewidth=1.5, label="weighted")
    axes.set_xlim(edges[0], edges[-1])
    # A few long steps may cost so much that nothing else could be seen.
    most = max(2.5 * float(found.rate.max()), float(np.median(heights)))
    axes.set_ylim(0, 1.05 * min(most, float(max(heights.max(), found.rate.max()))))
    axes.set_xlabel("log SNR λ in nats:  noise on the left, data on the right")
    axes.set_ylabel("nats per nat of λ")
    axes.grid(color=figures.RULE, linewidth=0.8)
    axes.legend(frameon=False, labelcolor=figures.INK)
    return figures.as_svg(figure, "costs", "What each noise level costs of the bound, in steps and in continuous time")


def drawn(found: Samples, study: Study) -> str:
    """Samples beside exact draws."""
    figure, places = figures.panels(2, 2, 3.2)
    ways = "an adaptive number of evaluations" if found.evaluations is None else f"{found.evaluations} evaluations"
    for axes, title, x in zip(places, (f"samples, {ways}", "exact draws"), (found.x, found.exact), strict=True):
        grid = np.stack(np.meshgrid(np.linspace(*CLOSE[0], 90), np.linspace(*CLOSE[1], 90)), -1)
        law = MIXTURE.log_prob(found.x.new_tensor(grid.reshape(-1, 2))).exp().view(90, 90)
        axes.contour(*np.moveaxis(grid, -1, 0), law, [0.05, 0.3, 1.0], colors=figures.PLAIN, linewidths=0.8)
        axes.plot(*x.T.tolist(), ".", markersize=3, markeredgewidth=0, color=figures.FIRST, alpha=0.7)
        axes.set_title(title, color=figures.INK, fontsize=10)
        bare(axes, CLOSE)
    svg = figures.as_svg(figure, "samples", "Samples of the mixture in the plane beside exact draws of it")
    beyond = int((~within(found.x)).sum())
    caption = (
        f"Samples in T = {study.steps} steps by the exact denoiser: what is wrong with them is the sampler's. The mean "
        f" of log p is {words(found.log_p)} of the samples and {words(found.exact_log_p)} of exact draws."
        + (f" {beyond} samples lie beyond the picture." if beyond else "")
    )
    return f"<section><h2>Samples</h2>{chart(svg, text(caption))}</section>"


def within(x: Tensor) -> Tensor:
    """Which points (n, 2) lie within the picture of samples, (n,) bool."""
    low, high = (x.new_tensor([side[end] for side in CLOSE]) for end in (0, 1))
    return ((x >= low) & (x <= high)).all(1)


def bare(axes: "Axes", limits: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """A frame without ticks, of the same scale along both axes."""
    axes.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=figures.RULE)


def words(value: tuple[float, float]) -> str:
    """A mean and its standard error, in nats."""
    return f"{signed(value[0], 3)} ± {value[1]:.3f} nats"


def signed(value: float, places: int = 2) -> str:
    """A number with a minus sign."""
    return f"{value:.{places}f}".replace("-", "−")
