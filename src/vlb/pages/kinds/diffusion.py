"""The page about a diffusion model: which noise levels cost the bits, and how noise becomes data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.base.progress import SILENT, Progress
from vlb.core.condition import Condition, Role
from vlb.data import Dataset, Split
from vlb.generate.pictures import drawable
from vlb.measure.classification import classify
from vlb.measure.profile import NoiseProfile, noise_profile
from vlb.measure.summary import EvaluationResult
from vlb.models.diffusion.by_row import bound_by_row
from vlb.models.diffusion.methods import Told
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.rows import TableDiffusion
from vlb.pages import figures, page
from vlb.pages.about import about, few_of, stated
from vlb.pages.clouds import drawn
from vlb.pages.content import Measured, content_of
from vlb.pages.film import Film, filmed, strips
from vlb.pages.markup import chart, text
from vlb.pages.portrait import the_table
from vlb.pages.sounds import heard
from vlb.pages.tables import SAMPLES, Portrait, portrayed
from vlb.store.runs import Run

STEPS = 100
SMOOTH = 0.4  # t at which the law of a column by itself is read: nearer to the data it is of a few narrow peaks
LEVELS = 16  # noise levels per cell, of its bound given the others of its row


@dataclass(frozen=True)
class Accuracy:
    """How often the most probable class under p(y | x) by Bayes' rule was right."""

    right: int
    examples: int
    classes: int
    draws: int

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / self.examples

    @property
    def standard_error(self) -> float:
        """The standard error of the share over other examples (binomial)."""
        return math.sqrt(self.share * (1 - self.share) / self.examples)


@dataclass(frozen=True)
class DiffusionContent:
    """film: None for examples that are not images; accuracy: None for unconditional models."""

    measured: Measured
    profile: NoiseProfile
    film: Film | None
    accuracy: Accuracy | None

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return diffusion_page(self, bounded(self.found), (page.pictures(self.measured), film(self.film)))


@content_of.register
def diffusion_content(
    model: DiffusionModel, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> DiffusionContent:
    result = stated(model, run, data, device, progress)
    classes = (run.schema.classes or 0) if run.conditional else 0
    progress.begin("measuring noise levels" + (" and classification" if classes else ""))
    examples = few_of(data.test)
    profile = noise_profile(model, examples, conditional=bool(classes), bins=32, limit=len(examples), device=device)
    gallery, film = None, None
    if drawable(model.shape):
        gallery, film = filmed(model, data, classes, steps=STEPS, progress=progress)
    right = accuracy(model, data.test, classes, device=device) if classes else None
    progress.begin("drawing samples")
    clouds = drawn(model, data, examples, result.evaluation.totals, run.conditional)
    measured = Measured(about(run, model, data), result, gallery, heard(model, data, device=device), clouds)
    return DiffusionContent(measured, profile, film, right)


@dataclass(frozen=True)
class RowsContent:
    """A diffusion model of the rows of a table; for its fields see `DiffusionContent` and `Portrait`."""

    diffusion: DiffusionContent
    portrait: Portrait

    @property
    def found(self) -> EvaluationResult:
        return self.diffusion.found

    def page(self) -> str:
        what = "An upper bound on −log₂ p of the cells that are there: the variational bound in continuous time"
        shown = the_table(self.portrait, f"by {SAMPLES:,} descents", "the bound on −log p")
        return diffusion_page(self.diffusion, what, shown)


@content_of.register
def _(
    model: TableDiffusion, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> RowsContent:
    diffusion = diffusion_content(model, run, data, device, progress)
    progress.begin("measuring columns and rows")
    nats, alone = diffusion.found.evaluation.totals, model.by(Told(particles=SAMPLES, end=SMOOTH))

    def cost(x: Tensor, known: Tensor, place: int) -> Tensor:
        role = torch.where(known, Role.KNOWN, Role.ABSENT).to(torch.uint8)
        role[:, place] = Role.MODELLED
        return -bound_by_row(model, x, Condition(role=role), 0, LEVELS)

    return RowsContent(diffusion, portrayed(model, data, few_of(data.test), nats, alone, cost))


def accuracy(
    model: DiffusionModel, split: Split, classes: int, *, draws: int = 8, device: torch.device | str = "cpu"
) -> Accuracy:
    """The accuracy on up to 300 labelled examples, fewer where there are more than ten classes."""
    assert split.labels is not None
    examples = split.subset(max(30, min(300, 3000 // classes)), seed=1)
    assert examples.labels is not None
    guesses = classify(model, examples, classes, draws=draws, device=device).argmax(1)
    return Accuracy(int(np.sum(guesses == examples.labels)), len(examples), classes, draws)


def bounded(result: EvaluationResult) -> str:
    """What the number is."""
    what = "−log₂ p(x | y) of examples x given their class y" if result.conditional else "−log₂ p(x)"
    return f"An upper bound on {what}: the continuous-time variational bound with all three terms"


def diffusion_page(content: DiffusionContent, what: str, shown: Sequence[str]) -> str:
    """The whole page; what: the number is; shown: sections about samples. Likelihoods are in bits/dim, noise levels in
    nats of log SNR."""
    measured, s = content.measured, content.measured.result
    meaning = (
        "Diffusion: the cost of denoising at all noise levels. Reconstruction: of the data given the least noisy "
        "latent. Prior: of the noisiest latent."
    )
    sections = (
        page.headline(measured, "a variational diffusion model", what, page.two_errors(s, "noise")),
        page.bound(measured, "The bound and its terms", meaning),
        page.training(measured, "with dropout and one draw of noise per example"),
        noise(content),
        *shown,
        classification(content.accuracy),
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)


def noise(content: DiffusionContent) -> str:
    """Where on the noise axis the diffusion term is paid."""
    profile, term = content.profile, content.measured.result.terms[("diffusion",)]
    area = float(profile.bits.sum()) * figures.bin_width(profile)
    caption = (
        f"The area is the diffusion term: {area:.3f} bits/dim by this curve, {term:.3f} by the evaluation, which "
        "draws its own noise."
    )
    figure = chart(figures.noise_levels(profile), text(caption))
    return f"<section><h2>Which noise levels cost the bits</h2>{figure}</section>"


def film(found: Film | None) -> str:
    """How some of the samples came about."""
    if found is None:
        return ""
    return f"""<section><h2>From noise to data</h2>
<figure>{strips(found)}
<figcaption>The first samples of some rows above on their way down: the latent z at each log SNR in nats (scaled to
unit variance of the process), below it x̂(z), the mean of x that the model expects there, and the sample x at the
end.</figcaption></figure></section>"""


def classification(found: Accuracy | None) -> str:
    """The accuracy of p(y | x), for conditional models."""
    if found is None:
        return ""
    return (
        "<section><h2>Classification by Bayes’ rule</h2>"
        f"<p><b>{found.share:.1%} ± {found.standard_error:.1%}</b> of {found.examples:,} test examples get their right "
        f"class ({found.right:,} of {found.examples:,}; chance is {1 / found.classes:.1%}).</p>"
        "<p class='note'>The class with the largest bound on log p(x | y) is taken, as if all classes were equally "
        f"frequent; each bound is the mean of {found.draws} draws, which all classes of an example share.</p></section>"
    )
