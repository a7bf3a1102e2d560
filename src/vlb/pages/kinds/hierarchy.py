"""The page about a VAE of any depth: what each rung, a latent, costs, tells and decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.base.progress import SILENT, Progress
from vlb.core.hierarchy import Climbable, Rung, descend, last_state
from vlb.data import Dataset
from vlb.generate.pictures import drawable
from vlb.measure.diagnostics import RungUse, rung_use
from vlb.measure.summary import EvaluationResult
from vlb.models.vae.model import VariationalHierarchy
from vlb.models.vae.rows import TableVAE
from vlb.pages import figures, page
from vlb.pages.about import about, few_of, stated
from vlb.pages.content import Measured, content_of
from vlb.pages.gallery import ancestral
from vlb.pages.markup import chart, text, thumbnail
from vlb.pages.portrait import the_table
from vlb.pages.sounds import heard
from vlb.pages.tables import SAMPLES, Portrait, portrayed
from vlb.store.runs import Run

SHOWN, DESCENTS = 8, 32
USED = 200  # examples by which the use of rungs is measured: every pair of them is compared


@dataclass(frozen=True)
class Decided:
    """What latents decide. data: (n, C, H, W) of `levels`; means: of x when rungs ≥ i are q's and the others p's.

    means: (depth, n, C, H, W) as grey values 0 … 255, i = 0 (all of q: the reconstruction) first.
    """

    data: np.ndarray
    means: np.ndarray
    levels: int


@dataclass(frozen=True)
class HierarchyContent:
    """uses: of every rung, next to the data first, on `examples` examples; decided: None for what is no image."""

    measured: Measured
    model: str
    uses: tuple[RungUse, ...]
    examples: int
    decided: Decided | None

    @property
    def found(self) -> EvaluationResult:
        return self.measured.result

    def page(self) -> str:
        return hierarchy_page(self)


@content_of.register
def hierarchy_content(
    model: VariationalHierarchy, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> HierarchyContent:
    result = stated(model, run, data, device, progress)
    measured = Measured(about(run, model, data), result, ancestral(model, data), heard(model, data))
    progress.begin("measuring what rungs are used for")
    few = few_of(data.test).subset(USED)
    x, condition = few.batch(np.arange(len(few)), False, device)
    uses = tuple(rung_use(model, x, torch.Generator().manual_seed(0), condition=condition))
    pictures = decided(model, data.test.x[:SHOWN], data.levels) if drawable(model.shape) else None
    return HierarchyContent(measured, named(model), uses, len(few), pictures)


@dataclass(frozen=True)
class RowsContent:
    """A hierarchy of the rows of a table; for its fields see `HierarchyContent` and `Portrait`."""

    hierarchy: HierarchyContent
    portrait: Portrait

    @property
    def found(self) -> EvaluationResult:
        return self.hierarchy.found

    def page(self) -> str:
        return rows_page(self)


@content_of.register
def _(model: TableVAE, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT) -> RowsContent:
    hierarchy = hierarchy_content(model, run, data, device, progress)
    progress.begin("measuring columns and rows")
    portrait = portrayed(model, data, few_of(data.test), hierarchy.found.evaluation.totals)
    return RowsContent(hierarchy, portrait)


def named(model: VariationalHierarchy) -> str:
    """What sort of model this is, in words."""
    if model.depth == 1:
        return "a variational autoencoder"
    way = "bottom-up" if isinstance(model, Climbable) else "top-down"
    return f"a hierarchical VAE, {model.depth} rungs inferred {way},"


@torch.no_grad()
def decided(model: VariationalHierarchy, x: np.ndarray, levels: int, seed: int = 0) -> Decided:
    """E[x | z_i, z_{i+1}, …] for one draw of them from q(z | x), by `DESCENTS` descents: x (n, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    z = [step.z.repeat_interleave(DESCENTS, 0) for step in model.inferred(torch.from_numpy(x).to(device), generator)]
    means = []
    for kept in range(model.depth):

        def choose(number: int, rung: Rung, kept: int = kept) -> Tensor:
            return z[number] if number >= kept else rung.p.sample(generator)

        state = last_state(descend(model, model.start(len(z[0])), choose))
        draws = model.likelihood(state).sample(generator).view(len(x), DESCENTS, *x.shape[1:])
        grey = draws.double().mean(1) * (255 / max(1, levels - 1))
        means.append(grey.round().to(torch.uint8).cpu().numpy())
    return Decided(x.astype(np.int64), np.stack(means), levels)


def hierarchy_page(content: HierarchyContent) -> str:
    """The whole page. The bound is in bits/dim, rungs are measured in nats per example."""
    measured = content.measured
    meaning = (
        "Reconstruction: of the data given all latents. KL of a rung: what its latents cost beyond what the rungs "
        "above tell, rung 1 next to the data."
    )
    what = "An upper bound on −log₂ p(x): the variational bound with all its terms"
    return _page(content, what, meaning, (page.pictures(measured), upper_rungs(content)))


def rows_page(content: RowsContent) -> str:
    """The whole page about a hierarchy of rows."""
    meaning = (
        "Reconstruction: of the cells that are there, given all latents. KL of a rung: what its latents cost beyond "
        "what the rungs above tell, rung 1 next to the data. Cells that are missing are left out, of both."
    )
    what = "An upper bound on −log₂ p of the cells that are there: the variational bound with all its terms"
    shown = the_table(content.portrait, f"by {SAMPLES:,} draws of the latents", "the bound on −log p")
    return _page(content.hierarchy, what, meaning, shown)


def _page(content: HierarchyContent, what: str, meaning: str, shown: Sequence[str]) -> str:
    measured = content.measured
    sections = (
        page.headline(measured, content.model, what, page.two_errors(measured.result, "latents")),
        page.bound(measured, "The bound and its terms", meaning),
        page.training(measured, "with dropout, KL warm-up and free bits where there are any, one draw of latents"),
        rungs(content),
        *shown,
        page.configuration(measured.about),
        page.reproduction(measured.about),
    )
    return page.page(page.title(measured), sections)


def rungs(content: HierarchyContent) -> str:
    """What each rung costs and tells."""
    n = content.examples
    caption = (
        "KL: nats per example, summing to the KL of the bound. Information: bounds on I(x; z) under q, which "
        f"{n} test examples can show up to log {n} = {math.log(n):.1f} nats. "
        "Active units: whose posterior mean varies over the examples. A rung with no KL, no information and no "
        "active units is unused: its posterior has collapsed to the prior."
    )
    active = ", ".join(f"rung {i}: {use.active} of {use.units}" for i, use in enumerate(content.uses, 1))
    svg = figures.rungs([use.kl for use in content.uses], [use.information for use in content.uses])
    return (
        f"<section><h2>What each rung of latents is used for</h2>{chart(svg, text(caption))}"
        f"<p>Active units – {text(active)}.</p></section>"
    )


def upper_rungs(content: HierarchyContent) -> str:
    """Reconstructions from ever fewer rungs."""
    found = content.decided
    if found is None:
        return ""
    fewer = ""
    if len(found.means) > 1:
        fewer = " Further down, only the upper rungs are inferred, and the others are drawn from p given them."
    return (
        f"<section><h2>What the latents decide</h2><figure>{reconstructions(found)}<figcaption>Test examples; below "
        f"them the mean of x (over {DESCENTS} descents) for one draw of the latents from q(z | x).{fewer}</figcaption>"
        "</figure></section>"
    )


def reconstructions(found: Decided) -> str:
    """A row of examples, and below it one of means for each number of rungs that q chose."""
    rows = _row("x", found.data, found.levels)
    for kept, images in enumerate(found.means):
        rows += _row("q(z | x)" if kept == 0 else f"rungs ≥ {kept + 1}", images, 256)
    return f'<div class="wide"><table class="film named"><tbody>{rows}</tbody></table></div>'


def _row(name: str, images: np.ndarray, levels: int) -> str:
    cells = "".join(f"<td>{thumbnail(image, levels, f'{name}, example {i}')}</td>" for i, image in enumerate(images, 1))
    return f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'
