"""The page about a cascade: what each band costs."""

from dataclasses import dataclass

import torch

from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset
from vlb.measure.summary import EvaluationResult
from vlb.models.cascade.model import CascadeModel
from vlb.pages import page
from vlb.pages.about import about, stated
from vlb.pages.content import Measured, content_of
from vlb.pages.gallery import ancestral
from vlb.store.runs import Run


@dataclass(frozen=True)
class CascadeContent:
    """bands: how many there are."""

    measured: Measured
    bands: int

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return cascade_page(self)


@content_of.register
def _(
    model: CascadeModel, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> CascadeContent:
    result = stated(model, run, data, device, progress)
    return CascadeContent(Measured(about(run, model, data), result, ancestral(model, data)), len(model.details) + 1)


def cascade_page(content: CascadeContent) -> str:
    """The whole page, in bits/dim."""
    measured, s = content.measured, content.measured.result
    what = "−log₂ p(x | y) of examples x given their class y" if s.conditional else "−log₂ p(x)"
    what = f"An upper bound on {what}: the sum of the bounds of all bands"
    meaning = (
        "Coarse: of an image of fewer pixels. Details: of the others, given it; 1 are the finest. Each band is a "
        "diffusion model with its own three terms, counted per element of the whole image."
    )
    sections = (
        page.headline(measured, f"a cascade of {content.bands} diffusion models", what, page.two_errors(s, "noise")),
        page.bound(measured, "The bound and its terms", meaning),
        page.training(measured, "with dropout and one draw of noise per example"),
        page.pictures(measured),
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)
