"""The graphical models of Section 2 and of diffusion, side by side (Fig. 2.1–2.3, 3.1).

python docs/figures/graphical_models.py
"""

from itertools import pairwise
from pathlib import Path

from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch

GENERATIVE, INFERENCE = "black", "tab:red"
RADIUS = 0.28


def node(axis: Axes, x: float, y: float, text: str, observed: bool = False) -> None:
    """A circle with a name, grey where it is observed."""
    axis.add_patch(Circle((x, y), RADIUS, facecolor="0.85" if observed else "white", edgecolor="black", zorder=2))
    axis.text(x, y, text, ha="center", va="center", fontsize=10, zorder=3)


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0.0) -> None:
    """An edge of p (black) or of q (red, dashed)."""
    axis.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=11, shrinkA=13, shrinkB=13, color=colour, linewidth=1.1,
            linestyle="--" if colour == INFERENCE else "-", connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip


def chain(axis: Axes, names: list[str]) -> list[tuple[float, float]]:
    """x at the bottom, latents above it: places, with the generative chain drawn."""
    places = [(0.0, float(level)) for level in range(len(names))]
    for level, (place, name) in enumerate(zip(places, names, strict=True)):
        node(axis, *place, name, observed=level == 0)
        if level:
            arrow(axis, place, places[level - 1], GENERATIVE, 0.35)
    return places


def vae(axis: Axes) -> None:
    places = chain(axis, ["$x$", "$z$"])
    arrow(axis, places[0], places[1], INFERENCE, 0.35)
    axis.set_title("VAE")


def bottom_up(axis: Axes) -> None:
    places = chain(axis, ["$x$", "$z_1$", "$z_2$", "$z_3$"])
    for low, high in pairwise(places):
        arrow(axis, low, high, INFERENCE, 0.35)
    axis.set_title("bottom-up (2.15)")


def top_down(axis: Axes) -> None:
    places = chain(axis, ["$x$", "$z_1$", "$z_2$", "$z_3$"])
    for level in range(1, 4):
        node(axis, -1.3, level, f"$d_{level}$")
        arrow(axis, (-1.3, level - 1) if level > 1 else places[0], (-1.3, level), INFERENCE)
        arrow(axis, (-1.3, level), places[level], INFERENCE)
        if level < 3:
            arrow(axis, places[level + 1], places[level], INFERENCE, -0.45)
    axis.set_title("top-down (2.27)")


def ladder(axis: Axes) -> None:
    for level in range(4):
        for x, name in ((-1.3, "\\tilde z"), (0.0, "\\hat z"), (1.3, "d")):
            node(axis, x, level, f"${name}_{level}$", observed=level == 0 and x > 1)
        arrow(axis, (-1.3, level), (0.0, level), GENERATIVE)
        axis.plot([RADIUS, 1.3 - RADIUS], [level, level], ":", color="0.4", linewidth=1)
        if level:
            arrow(axis, (-1.3, level - 1), (-1.3, level), INFERENCE)
            arrow(axis, (1.3, level - 1), (1.3, level), INFERENCE)
            arrow(axis, (0.0, level), (0.0, level - 1), GENERATIVE)
    axis.set_title("ladder network (no $p(x)$)")


def diffusion(axis: Axes) -> None:
    places = chain(axis, ["$x$", "$z_0$", "$z_{1/2}$", "$z_1$"])
    for level in range(1, 4):
        arrow(axis, places[0], places[level], INFERENCE, -0.5 - 0.1 * level)
        if level < 3:
            arrow(axis, places[level + 1], places[level], INFERENCE, -0.45)
    axis.set_title("diffusion: $q$ is fixed")


def main() -> None:
    rcParams["svg.hashsalt"] = "vlb"
    drawings = (vae, bottom_up, top_down, ladder, diffusion)
    figure, axes = pyplot.subplots(1, len(drawings), figsize=(11, 3.3), layout="constrained")
    for axis, draw in zip(axes, drawings, strict=True):
        draw(axis)
        axis.set(xlim=(-1.8, 1.8), ylim=(-0.5, 3.6), aspect="equal")
        axis.title.set_fontsize(10)
        axis.axis("off")
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
