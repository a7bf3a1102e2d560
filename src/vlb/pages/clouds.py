"""Samples of point clouds beside data: how they look, how alike they are, and which clouds cost most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vlb.data import Dataset, Split
from vlb.data.sets import apart, clouds_of
from vlb.generate.clouds import View, of_points, scatter
from vlb.measure.clouds import Likeness, likeness
from vlb.models.protocols import LikelihoodModel
from vlb.pages.markup import sheet, sheet_of_words, text

DRAWN, COLUMNS = 64, 8  # samples, as many clouds beside them, and how many are side by side
SHOWN = 24
EXTREME = 8


@dataclass(frozen=True)
class Clouds:
    """samples, data: clouds (n_i, d); alike: samples, and in their place training clouds, beside the test split's;
    hardest, easiest: test clouds that cost most and least per coordinate; their_nats: −log p of these per coordinate,
    nats."""

    samples: list[np.ndarray]
    data: list[np.ndarray]
    alike: tuple[tuple[str, Likeness], ...]
    hardest: list[np.ndarray]
    easiest: list[np.ndarray]
    their_nats: tuple[np.ndarray, np.ndarray]


def drawn(
    model: LikelihoodModel, data: Dataset, examples: Split, nats: np.ndarray, conditional: bool, *, seed: int = 0
) -> Clouds | None:
    """Samples by the model's own way beside clouds of the test split, of as many points each and given their labels if
    `conditional`; None for what are no clouds. examples: test clouds, whose −log p are `nats` (n,)."""
    if of_points(data.schema.layout) is None:
        return None
    few = data.test.subset(DRAWN)
    _, condition = few.batch(np.arange(len(few)), conditional, "cpu")
    x = model.sample(len(few), generator=torch.Generator().manual_seed(seed), condition=condition).cpu().numpy()
    samples, test = apart(x, few.observed), clouds_of(few)
    alike: tuple[tuple[str, Likeness], ...] = ()
    if len(test) > 1:
        alike = (("samples", likeness(samples, test)),)
        if len(data.train) >= len(test):
            train = clouds_of(data.train.subset(len(test), 1))
            alike += (("training clouds, in place of samples", likeness(train, test)),)
    rates = nats / examples.sizes
    order, clouds = np.argsort(rates), clouds_of(examples)
    easy, hard = order[:EXTREME], order[::-1][:EXTREME]
    return Clouds(
        samples, test, alike, [clouds[i] for i in hard], [clouds[i] for i in easy], (rates[hard], rates[easy])
    )


def section(found: Clouds) -> str:
    """Samples beside data, how alike they are, and the clouds that cost most and least."""
    view = View.of(found.data)

    def pictures(title: str, x: Sequence[np.ndarray]) -> str:
        drawing = sheet(scatter(x[:SHOWN], view), 256, COLUMNS, f"{title}: {min(len(x), SHOWN)} clouds")
        return f"<figure><figcaption>{text(title)}</figcaption>{drawing}</figure>"

    note = (
        "Samples by ancestral sampling, not selected, of as many points as the data; these are drawn from the test "
        "split. Seen from before, above and the "
        "left, the last axis pointing up, the nearer the brighter; all on one scale."
    )
    hard, easy = found.their_nats
    costs = (
        f"−log p of the {len(hard)} clouds that cost most is from {hard[-1]:.2f} to {hard[0]:.2f} nats per coordinate, "
        f"as tuples, of the {len(easy)} that cost least from {easy[0]:.2f} to {easy[-1]:.2f}."
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
        (
            who,
            f"{of.matching:.4g} ± {of.matching_error:.1g}",
            f"{of.coverage:.0%} ± {of.coverage_error:.0%}",
            f"{of.one_nn:.0%} ± {of.one_nn_error:.0%}",
        )
        for who, of in found.alike
    ]
    caption = (
        f"Of {found.alike[0][1].count} clouds each and as many of the test split, by Chamfer distances between clouds: "
        "the mean square of the distance from a point to the nearest of the other cloud, both ways, added, in squared "
        "units of the data. Matching: that of a test cloud to the nearest sample, in the mean. Coverage: test clouds "
        "that are the nearest of a sample. Neighbours: clouds whose nearest other one is of their own kind; 50 % where "
        "the two cannot be told apart. ± is about one standard error, over other test clouds."
    )
    return sheet_of_words(("", "matching", "coverage", "neighbours"), rows, caption)
