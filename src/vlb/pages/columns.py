"""Charts of a table's columns: marginals, correlations and pairs, of the data beside those of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlb.pages.figures import FIRST, INK, PLAIN, RULE, SECOND, as_svg, panels
from vlb.pages.tables import Bars, Correlations, Curve, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle
    from matplotlib.text import Text

ACROSS = 3
LONGEST = 16  # letters of a name
DOTS = 250


def marginals(found: Sequence[Curve | Bars]) -> str:
    """A panel per column: data in grey, the model's own law as a line, or as dots beside bars."""
    figure, all_axes = panels(len(found), ACROSS, 1.75)
    for axes, column in zip(all_axes, found, strict=True):
        if isinstance(column, Curve):
            axes.stairs(column.heights, column.edges, fill=True, color=PLAIN, alpha=0.6)
            axes.plot(
                column.points, column.density, color=FIRST, linewidth=1.6, marker="" if len(column.points) > 1 else "o"
            )
            axes.set_yticks([])
            axes.set_ylim(0, 1.25 * max(column.heights.max(), np.quantile(column.density, 0.95), 1e-300))
            axes.locator_params(axis="x", nbins=4)
        else:
            places = np.arange(len(column.labels))
            axes.barh(places, column.shares, height=0.62, color=PLAIN, alpha=0.6)
            axes.plot(column.model, places, "o", color=FIRST, markersize=5)
            axes.set_yticks(places, [short(label) for label in column.labels], color=INK)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.12 * max(column.shares.max(), column.model.max()))
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        axes.set_title(short(column.name, 2 * LONGEST), color=INK, fontsize=10, loc="left")
        plain_words(axes)
    return as_svg(figure, "marginals", "The law of every column by itself: histogram of the data, and the model's")


def correlations(found: Correlations) -> str:
    """Two matrices side by side: of the data and of samples, from −1 to 1."""
    count = len(found.names)
    figure, all_axes = panels(2, 2, 2.4 + 0.2 * count)
    edges = np.arange(count + 1) - 0.5
    for axes, values, title in zip(all_axes, (found.data, found.samples), ("data", "samples"), strict=True):
        for sign, colour in ((1, FIRST), (-1, SECOND)):
            for row in range(count):
                for column in range(count):
                    size = sign * values[row, column]
                    if row != column and size > 0.02:
                        axes.add_patch(_square(column, row, colour, float(min(1.0, size))))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(edges[-1], edges[0])
        axes.set_aspect("equal")
        names = [short(name) for name in found.names]
        axes.set_xticks(range(count), names, rotation=90, color=INK, fontsize=8)
        axes.set_yticks(range(count), names, color=INK, fontsize=8)
        axes.tick_params(length=0)
        axes.set_title(title, color=INK, fontsize=10, loc="left")
        axes.grid(color=RULE, linewidth=0.4)
        plain_words(axes)
    return as_svg(figure, "correlations", "Rank correlations of the columns, of the data and of samples")


def pairs(found: Sequence[tuple[int, int]], rows: Table, samples: Table) -> str:
    """A row of two panels per pair of columns: data, and samples, on the same axes."""
    figure, all_axes = panels(2 * len(found), 2, 2.4)
    names = [column.name or "" for column in rows.columns]
    for number, (first, second) in enumerate(found):
        left, right = all_axes[2 * number : 2 * number + 2]
        limits = [_limits(rows.cells(place)) for place in (first, second)]
        for axes, table, colour, title in ((left, rows, PLAIN, "data"), (right, samples, FIRST, "samples")):
            both = np.flatnonzero(table.observed[:, first] & table.observed[:, second])[:DOTS]
            axes.plot(*table.x[both][:, [first, second]].T, "o", color=colour, markersize=2.6, alpha=0.7)
            axes.set_xlim(*limits[0])
            axes.set_ylim(*limits[1])
            axes.set_xlabel(short(names[first], 2 * LONGEST))
            axes.set_ylabel(short(names[second]))
            axes.set_title(title, color=INK, fontsize=10, loc="left")
            axes.grid(color=RULE, linewidth=0.6)
            axes.locator_params(nbins=5)
            plain_words(axes)
    return as_svg(figure, "pairs", "Pairs of columns that go together most closely: data, and samples of the model")


def short(words: str, longest: int = LONGEST) -> str:
    """The beginning of long words, without what no page can show."""
    clean = "".join(letter if letter.isprintable() else "·" for letter in words)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def plain_words(axes: "Axes") -> None:
    """Take names for what they are: a dollar sign in one begins no formula."""
    labels: list[Text] = [
        axes.title,
        axes.xaxis.label,
        axes.yaxis.label,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
    ]
    labels += axes.texts
    for label in labels:
        label.set_parse_math(False)


def _limits(cells: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(cells, [0.005, 0.995])
    margin = 0.08 * (high - low) or max(0.5, 0.01 * abs(high))
    return float(low - margin), float(high + margin)


def _square(x: float, y: float, colour: str, size: float) -> "Rectangle":
    from matplotlib.patches import Rectangle

    side = 0.92 * np.sqrt(size)
    return Rectangle((x - side / 2, y - side / 2), side, side, color=colour, alpha=0.85, linewidth=0)
