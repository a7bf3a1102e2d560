"""Samples of point clouds beside data: how they look, how alike they are, and which clouds cost most."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.data import Dataset, Split
from vlb.generate.clouds import View, of_points, scatter
from vlb.measure.clouds import Likeness, likeness
from vlb.models.protocols import LikelihoodModel
from vlb.pages.markup import sheet, sheet_of_words, text

DRAWN, COLUMNS = 64, 8  # samples, as many clouds beside them, and how many are side by side
SHOWN = 24
EXTREME = 8


@dataclass(frozen=True)
class Clouds:
    """samples, data: (n, N, d); alike: samples, and in their place training clouds, beside the test split's; hardest,
    easiest: (k, N, d) test clouds; their_nats: −log p of each of these, nats."""

    samples: np.ndarray
    data: np.ndarray
    alike: tuple[tuple[str, Likeness], ...]
    hardest: np.ndarray
    easiest: np.ndarray
    their_nats: tuple[np.ndarray, np.ndarray]


def drawn(
    model: LikelihoodModel, data: Dataset, examples: Split, nats: np.ndarray, conditional: bool, *, seed: int = 0
) -> Clouds | None:
    """Samples by the model's own way beside clouds of the test split, given their labels if `conditional`; None for
    what are no clouds. examples: test clouds, whose −log p are `nats` (n,)."""
    if of_points(data.schema.layout) is None:
        return None
    test = data.test.subset(DRAWN).x
    condition = UNCONDITIONAL
    if conditional and data.test.labels is not None:
        condition = Condition(label=torch.from_numpy(data.test.subset(DRAWN).labels))
    x = model.sample(len(test), generator=torch.Generator().manual_seed(seed), condition=condition).cpu().numpy()
    alike: tuple[tuple[str, Likeness], ...] = ()
    if len(test) > 1:
        alike = (("samples", likeness(x, test)),)
        if len(data.train) >= len(test):
            alike += (("training clouds, in place of samples", likeness(data.train.subset(len(test), 1).x, test)),)
    order = np.argsort(nats)
    easy, hard = order[:EXTREME], order[::-1][:EXTREME]
    return Clouds(x, test, alike, examples.x[hard], examples.x[easy], (nats[hard], nats[easy]))


def section(found: Clouds) -> str:
    """Samples beside data, how alike they are, and the clouds that cost most and least."""
    view = View.of(found.data)

    def pictures(title: str, x: np.ndarray) -> str:
        drawing = sheet(scatter(x[:SHOWN], view), 256, COLUMNS, f"{title}: {min(len(x), SHOWN)} clouds")
        return f"<figure><figcaption>{text(title)}</figcaption>{drawing}</figure>"

    note = (
        "Samples by ancestral sampling, not selected; data drawn from the test split. Seen from before, above and the "
        "left, the last axis pointing up, the nearer the brighter; all on one scale."
    )
    hard, easy = found.their_nats
    costs = (
        f"−log p of the {len(hard)} clouds that cost most is from {hard[-1]:.1f} to {hard[0]:.1f} nats as tuples, "
        f"of the {len(easy)} that cost least from {easy[0]:.1f} to {easy[-1]:.1f}."
    )
    return (
        f'<section><h2>Samples beside data</h2><div class="pair">{pictures("Samples", found.samples)}'
        f'{pictures("Data", found.data)}</div><p class="note">{note}</p>{_alike(found)}</section>'
        f'<section><h2>Which clouds cost most</h2><div class="pair">{pictures("Most", found.hardest)}'
        f'{pictures("Least", found.easiest)}</div><p class="note">{costs}</p></section>'
    )


def _alike(found: Clouds) -> str:
    if not found.alike:
        return ""
    rows = [
        (who, f"{of.matching:.4g}", f"{of.coverage:.0%}", f"{of.one_nn:.0%} ± {of.one_nn_error:.0%}")
        for who, of in found.alike
    ]
    caption = (
        f"Of {found.alike[0][1].count} clouds each and as many of the test split, by Chamfer distances between clouds: "
        "the mean square of the distance from a point to the nearest of the other cloud, both ways, added. Matching: "
        "that of a test cloud to the nearest sample, in the mean. Coverage: test clouds that are the nearest of a "
        "sample. Neighbours: clouds whose nearest other one is of their own kind; 50 % where the two cannot be told "
        "apart."
    )
    return sheet_of_words(("", "matching", "coverage", "neighbours"), rows, caption)
