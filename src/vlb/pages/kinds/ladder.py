"""The page about a ladder network, which has no likelihood: its errors, its costs, and the labels it was told."""

from dataclasses import dataclass

import numpy as np
import torch

from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset, Split
from vlb.generate.pictures import drawable
from vlb.measure.recognition import Recognition, recognise
from vlb.models.ladder.model import LadderNetwork
from vlb.pages import figures, page
from vlb.pages.about import about
from vlb.pages.content import About, content_of
from vlb.pages.gallery import examples
from vlb.pages.history import history
from vlb.pages.markup import chart, sheet, text
from vlb.store.runs import Run


@dataclass(frozen=True)
class LadderContent:
    """recognition: on the test split; labelled: the examples whose labels were used; weights: of the costs."""

    about: About
    recognition: Recognition
    labelled: Split
    levels: int
    weights: tuple[float, ...]

    @property
    def found(self) -> Recognition:
        return self.recognition

    def page(self) -> str:
        return ladder_page(self)


@content_of.register
def _(
    model: LadderNetwork, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> LadderContent:
    labelled = Split(model.get_buffer("labelled_x").cpu().numpy(), model.get_buffer("labels").cpu().numpy())
    known = about(run, model, data, history(run, "loss", "error_rate"), whole=True)
    return LadderContent(known, recognise(model, data.test, device=device), labelled, data.levels, model.cost_weights)


def ladder_page(content: LadderContent) -> str:
    """The whole page: error rates are shares of examples, costs are mean squares per unit."""
    about, found = content.about, content.recognition
    sections = (
        headline(content),
        costs(content),
        training(about),
        told(content),
        page.configuration(about),
        page.reproduction(about),
    )
    return page.page(f"{about.name}: {found.error_rate:.2%} errors", sections)


def headline(content: LadderContent) -> str:
    """The error rate, and why there is no likelihood."""
    about, found = content.about, content.recognition
    assert content.labelled.labels is not None
    chance = 1 - 1 / len(np.unique(content.labelled.labels))
    better = found.error_rate + 2 * found.standard_error < chance
    kind, sentence = ("better", "It has learned to classify") if better else ("worse", "It does not beat guessing")
    return f"""<header>
<h1><b>{text(about.name)}</b> · a ladder network of {text(about.data["name"])}</h1>
<p class="headline"><span>{found.error_rate:.2%}</span> <span class="error">± {found.standard_error:.2%}</span>
<span class="unit">errors</span></p>
<p class="verdict {kind}">{sentence}: guessing errs in {chance:.0%}. It was told {len(content.labelled)} labels.</p>
<p>The share of {found.examples:,} test examples of {text(about.data["name"])} ({text(page.dimensions(about.shape))})
whose class is not the most probable one by a clean pass, ± one binomial standard error. A ladder network has no
likelihood: it denoises its own representations, and nothing here bounds p(x). The model has {about.parameters:,}
parameters.</p>
</header>"""


def costs(content: LadderContent) -> str:
    """What is left of the noise at each layer."""
    svg = figures.costs(content.recognition.cost_per_layer, content.weights)
    caption = (
        "Mean squared distance per unit between the denoised and the clean representation of a layer; above the input "
        "layers are normalised, so that 1 is what predicting the mean would cost. The weights are those of the "
        "training loss."
    )
    return f"<section><h2>Denoising cost per layer</h2>{chart(svg, text(caption))}</section>"


def training(about: About) -> str:
    """The course of loss and error."""
    history = about.history
    caption = (
        f"{page.kept(history)} {page.refused(history)} Left: cross-entropy on labelled examples plus weighted "
        "denoising costs, the mean since the last point. Right: the error rate of the averaged weights on validation "
        "examples."
    )
    svg = figures.recognition_course(history) if page.recorded(history) else None
    return page.course(history, svg, caption)


def told(content: LadderContent) -> str:
    """The labelled examples, a row per class."""
    labels = content.labelled.labels
    assert labels is not None
    if not drawable(content.about.shape):
        return page.no_pictures("What it was told", content.about.shape)
    classes = tuple(np.unique(labels).tolist())[:10]
    columns = min(12, int(np.bincount(labels).max()))
    x, present = examples(content.labelled, classes, len(classes), columns)
    picture = page.rows_of_classes(sheet(x, content.levels, columns, "labelled examples", present), classes)
    more = "" if len(labels) == int(present.sum()) else f", {int(present.sum())} of {len(labels)}"
    return (
        f'<section><h2>What it was told</h2>{picture}<p class="note">The examples whose labels were used{more}, a row '
        "per class. All others were seen without.</p></section>"
    )
