"""`vlb.compare`: which of several models finds the same examples likelier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Strong, Table
from vlb.base.words import so_many
from vlb.core.surroundings import ordinary
from vlb.core.terms import key
from vlb.data import Dataset, Split
from vlb.measure.comparison import (
    Comparison,
    Contender,
    Difference,
    LevelDifferences,
    TermDifference,
    holm,
    level_differences,
    paired,
)
from vlb.measure.contenders import Field, gather, known
from vlb.measure.evaluation_file import Subject
from vlb.measure.options import CompareOptions

LEVEL_EXAMPLES = 500
DEFAULT = CompareOptions()


@dataclass(frozen=True)
class Levels:
    """Differences by noise level of the model `name` from the first, measured on so many examples."""

    name: str
    examples: int
    found: LevelDifferences


@dataclass(frozen=True)
class ComparisonResult(Result):
    """What `vlb.compare` returns: every model against the first.

    adjusted: p-values, one per comparison, by Holm's method; levels: differences by noise level; data, part: what was
    compared on, None where it is not here.
    """

    comparisons: tuple[Comparison, ...]
    adjusted: tuple[float, ...]
    levels: tuple[Levels, ...]
    data: Dataset | None
    part: Split | None

    @property
    def first(self) -> Contender:
        """What the others are compared with."""
        return self.comparisons[0].first

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All of them, the first first."""
        return (self.first, *(comparison.second for comparison in self.comparisons))

    @property
    def each(self) -> str:
        """What is compared one by one, in words."""
        return "picture" if self.first.evaluation.cut else "example"

    def values(self) -> dict[str, Any]:
        """Everything found as JSON values, nats per example (of tiles: per picture) unless it says bits."""
        first = self.first
        return {
            "data": {"name": first.subject.data, "fingerprint": first.subject.fingerprint},
            "split": first.subject.split,
            "examples": len(first.index),
            "things": len(first.things),
            "dimensions": first.evaluation.dimensions,
            "kind": kind(first.subject),
            "models": [_model(contender) for contender in self.contenders],
            "against": first.name,
            "comparisons": [
                _compared(comparison, p) for comparison, p in zip(self.comparisons, self.adjusted, strict=True)
            ],
            "noise_levels": [
                {"name": level.name, "examples": level.examples, **_bins(level.found)} for level in self.levels
            ],
        }

    def table(self) -> Table:
        """Every model's bound, and its difference from the first."""
        own, subject = self.first.evaluation, self.first.subject
        of = f"{so_many(len(self.first.index), 'example')} × {so_many(own.dimensions, 'dimension')}"
        if own.pieces is not None:
            what = f"{own.things} in {so_many(len(self.first.index), 'tile')}" if own.cut else of.partition(" ×")[0]
            of = f"{what}, {int(own.pieces.sizes.sum()):,} dimensions"
        sections: list[tuple[tuple[str, ...], ...]] = [
            ((self.first.name, f"{own.bits_per_dim:.4f} ± {own.standard_error:.4f}", "", "", ""),)
        ]
        for comparison, p in zip(self.comparisons, self.adjusted, strict=True):
            its, total = comparison.second.evaluation, comparison.total
            low, high = total.interval()
            head = (
                comparison.second.name,
                f"{its.bits_per_dim:.4f} ± {its.standard_error:.4f}",
                Strong(f"{own.bits_of_thing(total.mean):+.4f}"),
                _nats(total),
                f"{p:.2g}",
            )
            interval = (
                ("  95 % interval", "", f"{own.bits_of_thing(low):+.4f}", f"{low:+.2f}", ""),
                ("", "", f"{own.bits_of_thing(high):+.4f}", f"{high:+.2f}", ""),
            )
            terms = (
                (f"  {key(path)}", "", f"{own.bits_of_thing(term.mean):+.4f}", _nats(term), "")
                for path, term in comparison.terms.items()
            )
            sections.append((head, *interval, *terms))
        return Table(
            title=f"{subject.data}, {subject.split}: {of}, {kind(subject)}"
            + (", given labels" if subject.conditional else ""),
            columns=("", "bits/dim", "difference", f"nats/{self.each}", "p"),
            sections=tuple(sections),
            caption=f"difference: from {self.first.name}, with 95 % interval; positive is worse. p: paired t-test"
            + (", Holm-adjusted" if len(self.comparisons) > 1 else ""),
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        bounds = {contender.subject.bound for contender in self.contenders}
        if all(bound.exact for bound in bounds):
            return ()
        general = "bounds are compared, not log p(x): of two models the better one may have the looser bound"
        if len(bounds) == 1:
            return (general,)
        each = "; ".join(f"{contender.name}: {contender.subject.bound}" for contender in self.contenders)
        return (general, f"they are not bounds of one kind: {each}")


@ordinary()
def compare(
    models: Sequence[str | Path],
    options: CompareOptions = DEFAULT,
    *,
    split: str | None = None,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ComparisonResult:
    """Paired differences of every model from the first on the same examples, with the numbers of `vlb compare`.

    models: run directories, .npz files of `vlb evaluate --values`, or the baselines independent-pixels and uniform.
    split: test, validation or train; by default test, or what the saved values are of. data: where one's own data are
    now, if they have moved. Raises `UserError` for what is not there or cannot be compared.
    """
    names = [str(model) for model in models]
    for name in names:
        known(name)
    progress.begin("opening what is compared, and its data")
    field = gather(names, split, options, data, device, progress)
    first, *others = field.contenders
    progress.begin("comparing")
    comparisons = tuple(paired(first, other) for other in others)
    adjusted = holm([comparison.total.p_value for comparison in comparisons])
    levels = noise_levels(field, first.subject.conditional)
    return ComparisonResult(comparisons, tuple(adjusted), levels, field.data, field.part)


def noise_levels(field: Field, conditional: bool) -> tuple[Levels, ...]:
    """Differences by noise level of every other diffusion model from the first, where the first is one; none of tiles,
    of which each would count as an example."""
    if field.part is None or field.contenders[0].evaluation.cut:
        return ()
    if not field.diffusions or field.diffusions[0][0] != field.contenders[0].name:
        return ()
    (_, first), *others = field.diffusions
    part = field.part.subset(LEVEL_EXAMPLES)
    return tuple(
        Levels(name, len(part), level_differences(first, model, part, conditional=conditional, device=model.device))
        for name, model in others
    )


def kind(subject: Subject) -> str:
    """The kind of data, in words."""
    if subject.levels is not None:
        return f"discrete, {subject.levels} levels"
    return f"against {subject.measure}" if subject.measure else "continuous"


def _nats(difference: Difference | TermDifference) -> str:
    return f"{difference.mean:+.2f} ± {difference.standard_error:.2f}"


def _model(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "bits_per_dim": contender.evaluation.bits_per_dim,
        "standard_error": contender.evaluation.standard_error,
        "se_monte_carlo": contender.evaluation.se_monte_carlo,
        "bound": str(contender.subject.bound),
    }


def _compared(comparison: Comparison, p: float) -> dict[str, Any]:
    first, total = comparison.first, comparison.total
    better, worse = comparison.extremes(16)
    return {
        "name": comparison.second.name,
        **_stated(total),
        "bits_per_dim": first.evaluation.bits_of_thing(total.mean),
        "p_value": total.p_value,
        "p_value_holm": p,
        "terms": {key(path): term.mean for path, term in comparison.terms.items()},
        "terms_standard_error_nats": {key(path): term.standard_error for path, term in comparison.terms.items()},
        "first_better_most": [int(first.things[i]) for i in better],
        "second_better_most": [int(first.things[i]) for i in worse],
    }


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
