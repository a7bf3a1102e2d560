"""The page about a mixture for tables with gaps: its exact log p(x), and every column, pair and odd row."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset
from vlb.measure.summary import EvaluationResult
from vlb.models.factor.model import FactorMixture
from vlb.pages import page
from vlb.pages.about import about, few_of, stated
from vlb.pages.content import Measured, content_of
from vlb.pages.markup import table
from vlb.pages.plane import Plane, plane, section
from vlb.pages.portrait import the_table
from vlb.pages.tables import Portrait, portrayed
from vlb.store.runs import Run


@dataclass(frozen=True)
class FactorContent:
    """weights: (J,) of the components of all draws, falling; rank: theirs; plane: of two real columns, else None."""

    measured: Measured
    portrait: Portrait
    weights: np.ndarray
    rank: int
    plane: Plane | None = None

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return factor_page(self)


@content_of.register
def _(
    model: FactorMixture, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> FactorContent:
    result = stated(model, run, data, device, progress)
    what = replace(about(run, model, data), parameters=sum(value.numel() for value in model.buffers()))
    portrait = portrayed(model, data, few_of(data.test), result.evaluation.totals)
    weights = model.components.log_weights.exp().sort(descending=True).values.numpy()
    return FactorContent(Measured(what, result, None), portrait, weights, model.components.rank, plane(model, data))


def factor_page(content: FactorContent) -> str:
    """The whole page, in bits/dim."""
    measured = content.measured
    model = f"a mixture of {len(content.weights)} factor analysers"
    drawn = "The error is from the choice of examples: nothing is drawn. Cells that are missing are left out of log p."
    sections = (
        page.headline(measured, model, "−log₂ p(x) itself, not a bound: every marginal is exact", drawn),
        page.bound(measured, "The likelihood beside baselines", "−log₂ p(x) has one term: nothing is approximated."),
        section(content.plane),
        *the_table(content.portrait, "exactly", "−log p"),
        the_components(content),
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)


def the_components(content: FactorContent) -> str:
    """How the weight is spread."""
    weights = content.weights
    effective = float(np.exp(-(weights * np.log(np.maximum(weights, 1e-300))).sum()))
    rows = [
        ("components, of all draws of the parameters", f"{len(weights)}", ""),
        ("as many as so many of equal weight", f"{effective:.1f}", ""),
        ("rank", f"{content.rank}", ""),
        ("largest weights", ", ".join(f"{weight:.1%}" for weight in weights[:8]), ""),
    ]
    note = "The model is the even mixture of draws of its parameters from their posterior, each a mixture itself."
    return f"<section><h2>The components</h2>{table(rows, note)}</section>"
