"""The page about a mixture, whose log p(x) is exact: its components, and how often each is used."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset
from vlb.generate.pictures import drawable
from vlb.measure.summary import EvaluationResult
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.pages import page
from vlb.pages.about import about, stated
from vlb.pages.content import Measured, content_of
from vlb.pages.gallery import ancestral
from vlb.pages.markup import text, thumbnail
from vlb.pages.sounds import heard
from vlb.store.runs import Run


@dataclass(frozen=True)
class MixtureContent:
    """weights: (J,), falling; means: of the components, (J, C, H, W) as grey values 0 … 255, or None for no images."""

    measured: Measured
    weights: np.ndarray
    means: np.ndarray | None

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return mixture_page(self)


@content_of.register
def _(
    model: CategoricalMixture, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> MixtureContent:
    result = stated(model, run, data, device, progress)
    return MixtureContent(
        Measured(about(run, model, data), result, ancestral(model, data), heard(model, data)), *components(model)
    )


@torch.no_grad()
def components(model: CategoricalMixture) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights and mean images of the components, the most frequent first."""
    weights, order = model.log_weights.softmax(0).sort(descending=True)
    if not drawable(model.shape):
        return weights.cpu().numpy(), None
    levels = torch.arange(model.levels, device=weights.device, dtype=weights.dtype)
    means = (model.logits[order].softmax(-1) @ levels).view(-1, *model.shape)
    return weights.cpu().numpy(), (means * (255 / (model.levels - 1))).round().to(torch.uint8).cpu().numpy()


def mixture_page(content: MixtureContent) -> str:
    """The whole page, in bits/dim."""
    measured = content.measured
    model = f"a mixture of {len(content.weights)} product-categoricals"
    drawn = "The error is from the choice of examples: nothing is drawn."
    sections = (
        page.headline(measured, model, "−log₂ p(x) itself, not a bound: the sum over components is exact", drawn),
        page.bound(measured, "The likelihood beside baselines", "−log₂ p(x) has one term: nothing is approximated."),
        page.training(measured, "with the smoothing prior’s share; EM came before the first step"),
        page.pictures(measured),
        the_components(content),
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)


def the_components(content: MixtureContent) -> str:
    """A picture per component."""
    if content.means is None:
        return ""
    cells = "".join(
        f"<figure>{thumbnail(mean, 256, f'mean of component {i}')}<figcaption>{weight:.1%}</figcaption></figure>"
        for i, (weight, mean) in enumerate(zip(content.weights, content.means, strict=True), 1)
    )
    return (
        f'<section><h2>The components</h2><div class="tiles">{cells}</div><p class="note">'
        f"{text('The mean of x under each component, and its weight.')}</p></section>"
    )
