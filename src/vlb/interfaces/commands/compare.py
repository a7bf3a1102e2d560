"""`vlb compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.interfaces.commands.contenders import Field, gather, known
from vlb.interfaces.commands.evaluate import without_nan
from vlb.interfaces.commands.measure import Effort
from vlb.interfaces.commands.process import choose_device, keep_freed_memory, refuse_existing
from vlb.measure.comparison import Comparison, Difference, LevelDifferences, compare, holm, level_differences
from vlb.pages.comparison import Levels, comparison_page

LEVEL_EXAMPLES = 500


def run_comparison(
    models: Sequence[str],
    split: str | None,
    examples: int | None,
    effort: Effort,
    data_path: Path | None,
    out: Path | None,
    page: Path | None,
    device: str | None,
) -> None:
    """Compare all models with the first; print a table, write JSON and a page where asked."""
    keep_freed_memory()
    for path in (out, page):
        if path is not None:
            refuse_existing(path)
    if page is not None and page.suffix != ".html":
        raise UserError(f"{page}: the page is written as .html")
    if examples is not None and examples < 2:
        raise UserError(f"--examples must be at least 2, not {examples}")
    for name in models:
        known(name)
    chosen = choose_device(device)
    field = gather(models, split, examples, effort, data_path, chosen)
    first, *others = field.contenders
    comparisons = [compare(first, other) for other in others]
    adjusted = holm([comparison.total.p_value for comparison in comparisons])
    levels = noise_levels(field, first.subject.conditional)
    summary = summarise(comparisons, adjusted, levels)
    view = Console()
    view.print(table(comparisons, adjusted))
    for line in notes(comparisons):
        view.print(f"– {line}.", markup=False, highlight=False)
    if out is not None:
        write_text(out, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if page is not None:
        write_text(page, comparison_page(comparisons, adjusted, levels, field.data, field.part))


def noise_levels(field: Field, conditional: bool) -> list[Levels]:
    """Differences by noise level of every other diffusion model from the first, where the first is one."""
    if field.part is None or not field.diffusions or field.diffusions[0][0] != field.contenders[0].name:
        return []
    (_, first), *others = field.diffusions
    part = field.part.subset(LEVEL_EXAMPLES)
    return [
        Levels(name, len(part), level_differences(first, model, part, conditional=conditional, device=model.device))
        for name, model in others
    ]


def summarise(comparisons: Sequence[Comparison], adjusted: Sequence[float], levels: Sequence[Levels]) -> dict[str, Any]:
    """Everything found as JSON values, nats per example unless it says bits."""
    first = comparisons[0].first
    evaluations = [first.evaluation, *(c.second.evaluation for c in comparisons)]
    contenders = [first, *(c.second for c in comparisons)]
    return {
        "data": {"name": first.subject.data, "fingerprint": first.subject.fingerprint},
        "split": first.subject.split,
        "examples": len(first.index),
        "dimensions": first.evaluation.dimensions,
        "kind": kind(first.subject.levels),
        "models": [
            without_nan(
                {
                    "name": contender.name,
                    "bits_per_dim": evaluation.bits_per_dim,
                    "standard_error": evaluation.standard_error,
                    "se_monte_carlo": evaluation.se_monte_carlo,
                    "bound": contender.subject.bound,
                }
            )
            for contender, evaluation in zip(contenders, evaluations, strict=True)
        ],
        "against": first.name,
        "comparisons": [
            {
                "name": comparison.second.name,
                **_stated(comparison.total),
                "bits_per_dim": first.evaluation.bits(comparison.total.mean),
                "p_value": comparison.total.p_value,
                "p_value_holm": p,
                "terms": {name: term.mean for name, term in comparison.terms.items()},
                "terms_standard_error_nats": {name: term.standard_error for name, term in comparison.terms.items()},
                "first_better_most": [int(first.index[i]) for i in comparison.extremes(16)[0]],
                "second_better_most": [int(first.index[i]) for i in comparison.extremes(16)[1]],
            }
            for comparison, p in zip(comparisons, adjusted, strict=True)
        ],
        "noise_levels": [{"name": level.name, "examples": level.examples, **_bins(level.found)} for level in levels],
    }


def table(comparisons: Sequence[Comparison], adjusted: Sequence[float]) -> Table:
    """Every model's bound, and its difference from the first."""
    first = comparisons[0].first
    own, subject, bits = first.evaluation, first.subject, first.evaluation.bits
    view = Table(
        title=f"{subject.data}, {subject.split}: {len(first.index)} examples × {own.dimensions} dimensions, "
        f"{kind(subject.levels)}{', given labels' if subject.conditional else ''}",
        caption=f"difference: from {first.name}, with 95 % interval; positive is worse. p: paired t-test"
        + (", Holm-adjusted" if len(comparisons) > 1 else ""),
    )
    view.add_column("")
    for heading in ("bits/dim", "difference", "nats/example", "p"):
        view.add_column(heading, justify="right", no_wrap=True)
    view.add_row(first.name, f"{own.bits_per_dim:.4f} ± {own.standard_error:.4f}", "", "", "")
    for comparison, p in zip(comparisons, adjusted, strict=True):
        view.add_section()
        its, total = comparison.second.evaluation, comparison.total
        low, high = total.interval()
        view.add_row(
            comparison.second.name,
            f"{its.bits_per_dim:.4f} ± {its.standard_error:.4f}",
            f"[bold]{bits(total.mean):+.4f}[/bold]",
            f"{total.mean:+.2f} ± {total.standard_error:.2f}",
            f"{p:.2g}",
        )
        view.add_row("  95 % interval", "", f"{bits(low):+.4f}", f"{low:+.2f}", "")
        view.add_row("", "", f"{bits(high):+.4f}", f"{high:+.2f}", "")
        for name, term in comparison.terms.items():
            nats = f"{term.mean:+.2f} ± {term.standard_error:.2f}"
            view.add_row(f"  {name}", "", f"{bits(term.mean):+.4f}", nats, "")
    return view


def notes(comparisons: Sequence[Comparison]) -> list[str]:
    """What has to be known to read the table."""
    contenders = [comparisons[0].first, *(c.second for c in comparisons)]
    bounds = {contender.subject.bound for contender in contenders}
    if len(bounds) == 1 and next(iter(bounds)).startswith("exact"):
        return []
    lines = ["bounds are compared, not log p(x): of two models the better one may have the looser bound"]
    if len(bounds) > 1:
        lines.append(
            "they are not bounds of one kind: " + "; ".join(f"{c.name}: {c.subject.bound}" for c in contenders)
        )
    return lines


def kind(levels: int | None) -> str:
    """The kind of data, in words."""
    return "continuous" if levels is None else f"discrete, {levels} levels"


def _stated(difference: Difference) -> dict[str, float | list[float]]:
    return {
        "nats": difference.mean,
        "standard_error_nats": difference.standard_error,
        "se_data_nats": difference.se_data,
        "se_monte_carlo_nats": difference.se_monte_carlo,
        "interval_nats": list(difference.interval()),
    }


def _bins(found: LevelDifferences) -> dict[str, list[float]]:
    return {"log_snr_edges": found.edges.tolist(), "nats": found.means.tolist(), "errors": found.errors.tolist()}
