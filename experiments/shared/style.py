"""Figures that can be read on a light and on a dark page: no background, and colours in the middle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "#808080"
COLOURS = ("#3b8bd0", "#e07b39", "#3fa66b", "#c95a9e", "#8f7ae0", "#b59a2b", "#d9534f", "#2ba6ad")

STYLE = {
    "svg.hashsalt": "vlb",
    "svg.fonttype": "path",
    "axes.facecolor": "none",
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.markersize": 4,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), GREY
    ),
}


@contextmanager
def styled() -> Iterator[None]:
    """In which figures are drawn and saved."""
    with matplotlib.rc_context(STYLE):
        yield


def panels(columns: int, rows: int = 1, height: float = 3.2, **shared: bool) -> tuple[Figure, list[Axes]]:
    """A figure of up to 3 `columns` × `rows` axes, row by row."""
    figure = Figure(figsize=((4.2, 4.2, 3.5)[columns - 1] * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def save(figure: Figure, path: Path) -> None:
    """As SVG without a background and a date."""
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
