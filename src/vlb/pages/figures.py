"""The report's charts: inline SVG whose colours are CSS variables, so that they follow light and dark.

Matplotlib draws with stand-in colours, which become `var(--…)` in the text of the SVG.
"""

import html
import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from vlb.core.terms import TermPath, spoken
from vlb.measure.comparison import LevelDifferences
from vlb.measure.profile import NoiseProfile
from vlb.measure.summary import EvaluationResult, named
from vlb.pages.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#000001", "#000002", "#000003"
FIRST, SECOND, THIRD, PLAIN = "#000011", "#000012", "#000013", "#000014"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
    PLAIN: "var(--plain)",
}
WIDTH = 8.6
COLOURS: dict[TermPath, str] = {("reconstruction",): SECOND, ("prior",): THIRD}


def terms_and_baselines(result: EvaluationResult) -> str:
    """The bound as a stack of its terms over a bar per baseline, bits/dim."""
    terms = result.terms
    figure, axes = canvas(2.3 + 0.2 * ((len(terms) - 1) // 3))
    left, shade = 0.0, 1.0
    # The data's own term first, then what the latents cost, next to the data first: fainter the higher.
    for path, value in sorted(terms.items(), key=lambda item: item[0] not in COLOURS):
        style = {"color": COLOURS[path]} if path in COLOURS else {"color": FIRST, "alpha": shade}
        shade = shade if path in COLOURS else max(0.25, 0.72 * shade)
        axes.barh(0, value, left=left, height=0.62, label=f"{spoken(path)} {value:.3f}", **style)
        left += value
    labels = [f"{result.bits_per_dim:.3f} ± {result.standard_error:.3f}"]
    names, ends = ["this model"], [left]
    for row, (name, value) in enumerate(sorted(result.baselines.items(), key=lambda item: item[1]), 1):
        axes.barh(row, value, color=PLAIN, height=0.62)
        names.append(named(name, result.elements))
        labels.append(f"{value:.3f}")
        ends.append(value)
    for row, (label, end) in enumerate(zip(labels, ends, strict=True)):
        weight = "bold" if row == 0 else "normal"
        axes.annotate(
            label, (max(end, 0), row), xytext=(5, 0), textcoords="offset points", va="center", color=INK, weight=weight
        )
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.invert_yaxis()
    low, high = min(0.0, *ends), max(0.0, *ends)  # of a density, bits may be below zero
    axes.set_xlim(low, high + 0.17 * (high - low))
    axes.set_xlabel("bits/dim – fewer is better")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    _legend_above(axes, handlelength=1, handleheight=1)
    return as_svg(figure, "terms", "The bound, stacked from its terms, beside the baselines, in bits per dimension")


def losses(history: History, reference: float, baseline: str) -> str:
    """Training and validation bounds over the steps, the chosen step, and a baseline as a dashed line."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(3.1)
    train, validation = _columns(history.train), _columns(history.validation)
    if len(train):
        axes.plot(train[:, 0], train[:, 1], color=PLAIN, linewidth=1.3, marker=_dot(train), label="training")
    if len(validation):
        axes.plot(
            validation[:, 0], validation[:, 1], color=FIRST, linewidth=1.8, marker="o", markersize=3.5,
            label="validation",
        )  # fmt: skip
    axes.axhline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"{baseline}, test split")
    low, high = _range(history, reference)
    axes.set_ylim(low, high)
    values = dict(history.validation)
    if history.best and history.chosen in values:
        step, value = history.chosen, values[history.chosen]
        axes.plot([step], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=SECOND, markeredgewidth=2)
        right = step > 0.6 * max(history.steps, 1)
        axes.annotate(
            f"chosen: step {step}, {value:.3f}", (step, value), xytext=(-6 if right else 6, 12),
            textcoords="offset points", ha="right" if right else "left", color=INK, weight="bold",
        )  # fmt: skip
    for step in history.refused:
        axes.axvline(step, ymax=0.04, color=SECOND, linewidth=1)
    axes.set_xlim(0, max(history.steps, 1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("bits/dim")
    axes.grid(color=RULE, linewidth=0.8)
    _legend_above(axes, handlelength=2, handleheight=0.7)
    return as_svg(figure, "losses", "Training and validation bounds in bits per dimension over the steps of training")


def noise_levels(profile: NoiseProfile) -> str:
    """The bound's rate over the log SNR: its area is the diffusion term."""
    figure, axes = canvas(2.8)
    width = bin_width(profile)
    edges = np.append(profile.log_snr - width / 2, profile.log_snr[-1] + width / 2)
    axes.stairs(profile.bits, edges, fill=True, color=FIRST, alpha=0.35, linewidth=0)
    axes.stairs(profile.bits, edges, color=FIRST, linewidth=1.6, baseline=None)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("log SNR λ in nats:  noise on the left, data on the right")
    axes.set_ylabel("bits/dim per nat of λ")
    axes.grid(color=RULE, linewidth=0.8)
    return as_svg(figure, "levels", "Loss per noise level, in bits per dimension and nat of log SNR")


def rungs(kl: Sequence[float], information: Sequence[tuple[float, float]]) -> str:
    """The KL of each rung as a bar, bounds on its information about x as a line beside it, in nats per example."""
    figure, axes = canvas(2.6)
    numbers = np.arange(1, len(kl) + 1)
    axes.bar(numbers - 0.16, kl, width=0.3, color=FIRST, label="KL")
    middle = [(low + high) / 2 for low, high in information]
    half = [(high - low) / 2 for low, high in information]
    axes.errorbar(
        numbers + 0.16, middle, yerr=half, fmt="o", markersize=5, color=SECOND, linewidth=2, capsize=4, label="I(x; z)"
    )
    for number, value in zip(numbers, kl, strict=True):
        axes.annotate(
            f"{value:.2f}", (number - 0.16, max(value, 0)), xytext=(0, 3), textcoords="offset points", ha="center",
            color=INK,
        )  # fmt: skip
    axes.set_xticks(numbers, [f"rung {number}" for number in numbers], color=INK)
    axes.set_xlim(0.4, max(3, len(kl)) + 0.6)
    axes.margins(y=0.15)
    axes.set_ylabel("nats per example")
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    _legend_above(axes, handlelength=1.4, handleheight=1)
    return as_svg(figure, "uses", "KL and information about x of every rung of latents, in nats per example")


def costs(values: Sequence[float], weights: Sequence[float]) -> str:
    """A ladder's denoising cost per unit and layer, the input first, with the weight that training gave it."""
    figure, axes = canvas(0.9 + 0.36 * len(values))
    names = ["input", *(f"layer {i}" for i in range(1, len(values) - 1)), "classes"]
    axes.barh(range(len(values)), values, color=FIRST, height=0.62)
    for row, (value, weight) in enumerate(zip(values, weights, strict=True)):
        axes.annotate(
            f"{value:.3f}  (weight {weight:g})", (value, row), xytext=(5, 0), textcoords="offset points", va="center",
            color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(values)), names, color=INK)
    axes.set_xlim(0, 1.3 * max(values))
    axes.set_xlabel("mean squared error per unit")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    return as_svg(figure, "costs", "Denoising cost of every layer")


def recognition_course(history: History) -> str:
    """A ladder's training loss and its validation error rate over the steps, side by side."""
    figure, left = canvas(2.8, panels=2)
    right = figure.axes[1]
    train, validation = _columns(history.train), _columns(history.validation)
    left.plot(train[:, 0], train[:, 1], color=PLAIN, linewidth=1.3, marker=_dot(train))
    left.set(ylabel="cross-entropy + costs", yscale="log")
    right.plot(validation[:, 0], 100 * validation[:, 1], color=FIRST, linewidth=1.8, marker="o", markersize=3.5)
    right.set(ylabel="errors, %")
    right.set_ylim(0, 1.15 * max([100 * value for _, value in history.validation], default=0) or 1)
    values = dict(history.validation)
    if history.best and history.chosen in values:
        right.plot(
            [history.chosen], [100 * values[history.chosen]], "o", markersize=9, markerfacecolor="none",
            markeredgecolor=SECOND, markeredgewidth=2,
        )  # fmt: skip
    for axes in (left, right):
        axes.set_xlim(0, max(history.steps, 1) * 1.02)
        axes.set_xlabel("step")
        axes.grid(color=RULE, linewidth=0.8)
    for step in history.refused:
        left.axvline(step, ymax=0.04, color=SECOND, linewidth=1)
    return as_svg(figure, "course", "Training loss and validation error rate over the steps of training")


def differences(values: np.ndarray, name: str, first: str, second: str) -> str:
    """Histogram of differences per example, nats: zero and the mean are marked."""
    figure, axes = canvas(2.4)
    reach = float(np.abs(np.quantile(values, [0.005, 0.995])).max()) or 1.0
    bins = np.linspace(-reach, reach, 42).tolist()
    axes.hist(np.clip(values, -reach, reach), bins, color=PLAIN)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.axvline(float(values.mean()), color=SECOND, linewidth=1.8, label="mean")
    axes.set_xlabel("nats per example that the second pays more")
    axes.set_ylabel("examples")
    _legend_above(axes, handlelength=2, handleheight=0.7)
    return as_svg(figure, name, f"Differences of {second} from {first}, a histogram over examples")


def level_differences(found: LevelDifferences, name: str) -> str:
    """Differences by bin of log SNR with their errors, noise on the left."""
    figure, axes = canvas(2.6)
    centres, width = 0.5 * (found.edges[:-1] + found.edges[1:]), float(found.edges[1] - found.edges[0])
    axes.bar(centres, found.means, 0.9 * width, color=FIRST, yerr=found.errors, ecolor=INK, capsize=2)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xlabel("log SNR – noise on the left, data on the right")
    axes.set_ylabel("nats per example")
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    return as_svg(figure, name, "The difference of two bounds by noise level")


def bin_width(profile: NoiseProfile) -> float:
    """The width of a profile's bins in nats of λ."""
    return float(profile.log_snr[1] - profile.log_snr[0]) if len(profile.log_snr) > 1 else 1.0


def _columns(points: tuple[tuple[int, float], ...]) -> np.ndarray:
    return np.array(points, np.float64).reshape(-1, 2)


def _dot(points: np.ndarray) -> str:
    """The marker that shows a single point, which a line does not."""
    return "o" if len(points) == 1 else ""


def _range(history: History, reference: float) -> tuple[float, float]:
    """Limits in bits/dim that show the course of training, not the first, possibly enormous losses."""
    settled = [value for step, value in history.train if step > 0.05 * history.steps]
    values = np.array([*settled, *(value for _, value in history.validation), reference])
    high = min(values.max(), 2.5 * np.median(values))
    low = min(values.min(), high)
    margin = 0.08 * (high - low) or 0.1
    return float(low - margin), float(high + margin)


def canvas(height: float, panels: int = 1) -> "tuple[Figure, Axes]":
    """A transparent figure of `height` inches with bare axes, `panels` side by side; the first of them."""
    figure, axes = _bare(panels, panels, height)
    return figure, axes[0]


def panels(count: int, across: int, height: float) -> "tuple[Figure, list[Axes]]":
    """A transparent figure of `count` bare axes, `across` in a row of `height` inches each."""
    return _bare(count, across, height * -(-count // across))


def _bare(count: int, across: int, height: float) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.patch.set_visible(False)
    for number in range(count):
        axes = figure.add_subplot(-(-count // across), across, number + 1)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(MUTED)
        axes.tick_params(which="both", color=MUTED, labelcolor=MUTED)
        axes.xaxis.label.set_color(MUTED)
        axes.yaxis.label.set_color(MUTED)
    return figure, figure.axes


def _legend_above(axes: "Axes", handlelength: float, handleheight: float) -> None:
    """One line of keys over the axes, where no data can be under them."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        labelcolor=INK,
        borderpad=0,
        borderaxespad=0.5,
        handlelength=handlelength,
        handleheight=handleheight,
    )


def as_svg(figure: "Figure", name: str, description: str) -> str:
    """The figure as an <svg> element for the inside of a page: no header, no sizes, ids that start with `name`."""
    from matplotlib import rc_context

    buffer = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    opening = f'<svg {view.group()} role="img" aria-label="{html.escape(description)}">'
    text = opening + text[text.index(">") + 1 :]
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1sans-serif", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.strip()
