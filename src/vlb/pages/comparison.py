"""The page of a comparison: differences with their errors, at which noise levels they arise, for which examples."""

import numpy as np

from vlb.core.terms import key
from vlb.data import Dataset, Split
from vlb.generate.pictures import drawable
from vlb.measure.compare import ComparisonResult, Levels, kind
from vlb.measure.comparison import Comparison
from vlb.pages import figures, page
from vlb.pages.markup import chart, table, text, thumbnail

SHOWN = 12
WIDEST = 128  # pixels of a whole photograph's side


def comparison_page(result: ComparisonResult) -> str:
    """The whole page; pictures where the examples are here and are images."""
    comparisons, data, part = result.comparisons, result.data, result.part
    by_name = {level.name: level for level in result.levels}
    sections = [_headline(result)]
    for number, (comparison, p) in enumerate(zip(comparisons, result.adjusted, strict=True)):
        level = by_name.get(comparison.second.name)
        sections.append(_pair(comparison, p, len(comparisons), level, number, result.each))
        if data is not None and part is not None and drawable(data.shape):
            sections.append(_disagreements(comparison, data, part))
    names = ", ".join(comparison.second.name for comparison in comparisons)
    return page.page(f"{comparisons[0].first.name} against {names}", sections)


def _headline(result: ComparisonResult) -> str:
    first, subject = result.first, result.first.subject
    rows = [
        (f"{c.name}: {c.subject.bound}", f"{c.evaluation.bits_per_dim:.4f} ± {c.evaluation.standard_error:.4f}", "")
        for c in result.contenders
    ]
    given = " All are told the labels." if subject.conditional else ""
    return (
        f"<header><h1><b>{text(first.name)}</b> against {len(result.comparisons)} on {text(subject.data)}</h1>"
        f"<p>{len(first.things):,} {text(subject.split)} {result.each}s ({text(_size(result))}; "
        f"{text(kind(subject))}), the same for all.{given} Lower is better. Where a bound is stated, bounds are "
        "compared and not likelihoods: the better model may have the looser bound.</p>"
        f"{table(rows, 'Bits per dimension, ± one standard error', ('model', 'bits/dim'))}</header>"
    )


def _size(result: ComparisonResult) -> str:
    """Of what is compared one by one."""
    pieces = result.first.evaluation.pieces
    if pieces is None:
        return page.dimensions(result.first.subject.shape)
    if not pieces.cut:
        return f"of {int(pieces.sizes.min()):,} to {int(pieces.sizes.max()):,} dimensions"
    return f"of any size, in {len(result.first.index):,} tiles: {int(pieces.sizes.sum()):,} dimensions in all"


def _pair(comparison: Comparison, p: float, count: int, levels: Levels | None, number: int, each: str) -> str:
    first, second, total = comparison.first, comparison.second, comparison.total
    low, high = total.interval()
    rows = [("all", f"{total.mean:+.3f} ± {total.standard_error:.3f}", "strong")]
    rows += [
        (key(path), f"{term.mean:+.3f} ± {term.standard_error:.3f}", "inner") for path, term in comparison.terms.items()
    ]
    adjusted = f", adjusted for {count} comparisons (Holm)" if count > 1 else ""
    shares = float((total.values > 0).mean())
    charts = chart(
        figures.differences(total.values, f"pair-{number}", first.name, second.name),
        f"Every {each}’s difference. Right of zero the first model finds it likelier.",
    )
    if levels is not None:
        outside = total.mean - float(levels.found.means.sum())
        charts += chart(
            figures.level_differences(levels.found, f"levels-{number}"),
            text(
                f"What the second pays more in each bin of log SNR, nats per example, ± one standard error, on "
                f"{levels.examples} examples with the same noise for both. The rest of the difference, {outside:+.3f} "
                "nats, is of the ends, of noise levels that only one of them has, and of the draws."
            ),
        )
    return (
        f"<section><h2>{text(second.name)} less {text(first.name)}</h2>"
        f'<p class="verdict {"better" if low > 0 else "worse" if high < 0 else "even"}">'
        f"{text(verdict(comparison))}</p><p>{total.mean:+.3f} nats per {each}, 95 % interval {low:+.3f} to "
        f"{high:+.3f}; p = {p:.2g} by a paired t-test{adjusted}. The first is better on {shares:.0%} of the "
        f"{each}s.</p>"
        f"{table(rows, 'Differences of the terms', ('term', f'nats per {each}'))}{charts}</section>"
    )


def verdict(comparison: Comparison) -> str:
    """Which model is better, if that can be told.

    What is below an exact −log p has the better log p itself, be it a bound or not; what is below a bound may not.
    """
    low, high = comparison.total.interval()
    if low <= 0 <= high:
        return f"{comparison.first.name} and {comparison.second.name} cannot be told apart on these examples."
    pair = (comparison.first, comparison.second)
    better, worse = pair if low > 0 else pair[::-1]
    if worse.subject.bound.exact:
        return f"{better.name} is better than {worse.name}."
    if better.subject.bound.exact:
        return f"{better.name} is better than the bound of {worse.name}."
    return f"{better.name} has a better bound than {worse.name}."


def _disagreements(comparison: Comparison, data: Dataset, part: Split) -> str:
    better, worse = comparison.extremes(SHOWN)
    halves = ((comparison.first.name, better), (comparison.second.name, worse))
    shown = "".join(
        f"<h3>{text(name)} is better by most</h3>{_tiles(comparison, index, data, part)}" for name, index in halves
    )
    return f"<section><h2>Where they disagree most</h2>{shown}</section>"


def _tiles(comparison: Comparison, index: np.ndarray, data: Dataset, part: Split) -> str:
    if not len(index):
        return "<p>On none.</p>"
    numbers = comparison.first.things[index].tolist()
    if not comparison.first.evaluation.cut:
        shown = [(part.x[i], f"example {number}") for i, number in zip(index, numbers, strict=True)]
    else:
        assert part.thing is not None
        shown = [(_small(part.thing(number)), f"picture {number}") for number in numbers]
    cells = "".join(
        f"<figure>{thumbnail(x, data.levels, words)}"
        f"<figcaption>{abs(comparison.total.values[i]):.1f} nats</figcaption></figure>"
        for i, (x, words) in zip(index, shown, strict=True)
    )
    return f'<div class="tiles">{cells}</div>'


def _small(picture: np.ndarray) -> np.ndarray:
    """A picture (C, H, W) by some of its pixels, no more than are seen."""
    step = -(-max(picture.shape[1:]) // WIDEST)
    found: np.ndarray = picture[:, ::step, ::step]
    return found
