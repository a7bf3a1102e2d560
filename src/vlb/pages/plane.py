"""The density of two real columns over the plane, beside the law that the data were drawn from."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.core.schema import Real
from vlb.data import Dataset
from vlb.models.factor.model import FactorMixture
from vlb.pages import figures
from vlb.pages.markup import chart, text

SIDE = 120  # points along an axis
MARGIN = 0.15  # of the data's range, beyond it
DRAWN = 400  # examples


@dataclass(frozen=True)
class Plane:
    """axes: the places along both, (2, SIDE); learned, true: densities (SIDE, SIDE), rows along the second axis, true
    None where nobody knows; points: (n, 2) examples; excess: mean of log true − log learned over the test split, nats,
    and its standard error, which is KL(true ‖ learned) but for which examples there are."""

    axes: np.ndarray
    learned: np.ndarray
    true: np.ndarray | None
    points: np.ndarray
    excess: tuple[float, float] | None


def plane(model: FactorMixture, data: Dataset) -> Plane | None:
    """None unless the columns are two reals with a density, without gaps."""
    kinds, x = data.schema.each, data.test.x.astype(np.float64)
    reals = len(kinds) == 2 and all(isinstance(kind, Real) and kind.resolution is None for kind in kinds)
    if not reals or (data.test.observed is not None and not data.test.observed.all()):
        return None
    low, high = x.min(0), x.max(0)
    reach = MARGIN * (high - low)
    axes = np.stack([np.linspace(low[i] - reach[i], high[i] + reach[i], SIDE) for i in range(2)])
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)

    def learned(points: np.ndarray) -> np.ndarray:
        return model.log_prob(torch.from_numpy(points)).numpy()

    true, excess = None, None
    if data.density is not None:
        true = np.exp(data.density(grid)).reshape(SIDE, SIDE)
        difference = data.density(x) - learned(x)
        excess = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(x)))
    return Plane(axes, np.exp(learned(grid)).reshape(SIDE, SIDE), true, x[:DRAWN], excess)


def section(found: Plane | None) -> str:
    """The densities, side by side, on one scale."""
    if found is None:
        return ""
    shown = [("learned", found.learned), *([("true", found.true)] if found.true is not None else [])]
    figure, axes = figures.panels(len(shown), len(shown), 3.4)
    most = max(float(density.max()) for _, density in shown)
    extent = (found.axes[0, 0], found.axes[0, -1], found.axes[1, 0], found.axes[1, -1])
    for (name, density), place in zip(shown, axes, strict=True):
        place.contourf(*found.axes, density, np.linspace(0.02, 1, 12) * most, cmap="Blues", extent=extent)
        place.plot(*found.points.T, ".", markersize=2, color=figures.SECOND, alpha=0.5)
        place.set_title(name, color=figures.INK, fontsize=10)
        place.set_aspect("equal")
    svg = figures.as_svg(figure, "plane", "Densities over the plane: " + " and ".join(name for name, _ in shown))
    caption = f"Densities over the plane on one scale, with {len(found.points)} test examples."
    if found.excess is not None:
        mean, error = found.excess
        caption += (
            f" The data were drawn from a law that is known: on the test examples, its log p is larger by {mean:.3f} ± "
            f"{error:.3f} nats in the mean, the divergence of the model from it."
        )
    return f"<section><h2>The density over the plane</h2>{chart(svg, text(caption))}</section>"
