"""Where a model puts examples: its latents, or the parts of itself that it thinks them from. A kind of model registers
with `encoded`."""

from collections.abc import Sequence
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.condition import Role
from vlb.core.emissions import Centres
from vlb.core.surroundings import ordinary
from vlb.data.pieces import tile_of
from vlb.generate.pictures import drawable
from vlb.measure.diagnostics import gaussian
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.generate import decode, encode
from vlb.models.factor.model import FactorMixture
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.vae.model import VariationalHierarchy
from vlb.pages import figures
from vlb.pages.explorer.trained import Trained, presented, rows
from vlb.pages.film import grey
from vlb.pages.kinds.hierarchy import decided, reconstructions
from vlb.pages.markup import chart, sheet_of_words, text, thumbnail

SHOWN = 8  # examples, one by one
TOLD = 12  # of a mixture
MAPPED = 300  # examples on a map
STEPS = 50  # of the flow, in each direction


@ordinary()
@torch.no_grad()
def encodings(of: Trained) -> str:
    """Those of test examples. Raises `UserError` where a kind of model has none, or none that can be shown."""
    model = of.model
    assert isinstance(model, nn.Module)
    return encoded(model, of)


@singledispatch
def encoded(model: nn.Module, of: Trained) -> str:
    """A piece of HTML; a kind of model registers here."""
    raise UserError(
        f"encodings are of diffusion models of pictures, VAEs of any depth and mixtures, and this run holds a "
        f"{type(model).__name__}"
    )


@encoded.register
def _(model: DiffusionModel, of: Trained) -> str:
    """By the probability-flow ODE, and back."""
    if not drawable(model.shape) or model.latent != model.shape or not isinstance(model.embedding, Centres):
        raise UserError(f"latents of shape {model.latent} are no pictures, of which alone encodings are drawn")
    index = np.arange(min(SHOWN, len(of.data.test)))
    x, condition = of.data.test.batch(index, of.run.conditional, of.device)
    grid = UniformLogSNR()(model.process.schedule, STEPS).to(model.device)
    z = encode(model, DDIM(), x, grid, condition)
    law = decode(model, DDIM(), z, grid, condition)
    draws = law.sample(torch.Generator().manual_seed(0)).view(x.shape)
    levels = of.schema.levels
    shown = "".join(
        _row(
            name, [thumbnail(one, count, f"{name} of example {i}") for i, one in enumerate(tile_of(of.schema, values))]
        )
        for name, values, count in (
            ("x", x.cpu().numpy().astype(np.int64), levels),
            ("z₁", grey(z / 2, levels), 256),
            ("decoded", draws.cpu().numpy().astype(np.int64), levels),
        )
    )
    same = float((draws == x).double().mean())
    size = float(z.square().mean())
    caption = (
        "Test examples, where the probability-flow ODE takes them (at half the contrast: ±2 are white and black), and "
        f"where it takes them back, in {STEPS} steps of DDIM each. Samples have a mean of z₁² of 1; encodings, which "
        f"start without the noise of z₀, have less: {size:.3f}. {same:.1%} of the elements come back as they were."
    )
    return _film(shown, caption)


@encoded.register
def _(model: VariationalHierarchy, of: Trained) -> str:
    """The means of the top rung as a map; of pictures, what the rungs decide."""
    few = of.data.test.subset(MAPPED)
    x, condition = few.batch(np.arange(len(few)), False, of.device)
    generator = torch.Generator().manual_seed(0)
    means = gaussian(model.inferred(x, generator, condition)[-1].q).mean.flatten(1)
    labels = None if few.labels is None else [(of.schema.labels or ())[label] for label in few.labels]
    svg, share = mapped(means, labels)
    caption = (
        f"The means of q(z | x) of the top rung for {len(few)} test examples, along the two directions in which they "
        f"vary most: {share:.0%} of their variance, of {means.shape[1]} dimensions."
        + (" A digit or word is the class." if labels else "")
    )
    found = chart(svg, text(caption))
    if drawable(model.shape):
        pictures = decided(model, of.data.test.x[:SHOWN], of.schema.levels)
        found += (
            f"<figure>{reconstructions(pictures)}<figcaption>Test examples; below them the mean of x for one draw of "
            "the latents from q(z | x), and then of only the upper rungs.</figcaption></figure>"
        )
    return found


@encoded.register
def _(model: CategoricalMixture, of: Trained) -> str:
    """Which components an example is thought to be from."""
    few = of.data.test.take(np.arange(min(TOLD, len(of.data.test))))
    shares = model.responsibilities(torch.from_numpy(few.x).to(of.device))
    return _components(shares, few.x, None, of)


@encoded.register
def _(model: FactorMixture, of: Trained) -> str:
    """The same, by the cells that are there."""
    few = of.data.test.take(np.arange(min(TOLD, len(of.data.test))))
    x, condition = few.batch(np.arange(len(few)), False, of.device)
    known = None if condition.role is None else condition.role == Role.MODELLED
    return _components(model.responsibilities(x, known), few.x, few.observed, of)


def _components(shares: Tensor, x: np.ndarray, observed: np.ndarray | None, of: Trained) -> str:
    words = [_likely(row) for row in shares]
    note = (
        f"p(component | x) of test examples, the likeliest of {shares.shape[1]} components first, those below 1 % left "
        "out. Components are numbered from 1."
    )
    if drawable(of.schema.shape):
        return f'{presented(x, of.schema, words)}<p class="note">{note}</p>'
    names, cells = rows(x, observed, of.schema)
    return sheet_of_words((*names, "components"), ((*row, word) for row, word in zip(cells, words, strict=True)), note)


def _likely(shares: Tensor) -> str:
    """The components of at least 1 %, at most three, in words."""
    top = shares.topk(min(3, len(shares)))
    named = [
        f"{number + 1}: {share:.0%}" for share, number in zip(*map(Tensor.tolist, top), strict=True) if share >= 0.01
    ]
    return ", ".join(named)


def mapped(points: Tensor, labels: Sequence[str] | None) -> tuple[str, float]:
    """Points (n, d) along the two directions in which they vary most, as SVG, with labels in place of dots where there
    are any; and the share of their variance that these two have."""
    centred = (points - points.mean(0)).double().cpu()
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:2].T
    if flat.shape[1] == 1:
        flat = torch.cat((flat, torch.zeros_like(flat)), 1)
    figure, axes = figures.canvas(4.6)
    if labels is None:
        axes.plot(*flat.T.tolist(), ".", markersize=4, markeredgewidth=0, color=figures.FIRST)
    else:
        colours = (figures.FIRST, figures.SECOND, figures.THIRD)
        order = {label: place for place, label in enumerate(dict.fromkeys(sorted(labels)))}
        axes.plot(*flat.T.tolist(), alpha=0)  # which sets the limits
        for (across, up), label in zip(flat.tolist(), labels, strict=True):
            colour = colours[order[label] % len(colours)]
            axes.text(across, up, label[:8], color=colour, fontsize=9, ha="center", va="center", parse_math=False)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.grid(color=figures.RULE, linewidth=0.8)
    total = float(sizes.square().sum())
    share = float(sizes[:2].square().sum()) / total if total else 1.0
    return figures.as_svg(
        figure, "map", "Latents of test examples, along the two directions in which they vary most"
    ), share


def _row(name: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _film(body: str, caption: str) -> str:
    return (
        f'<figure><div class="wide"><table class="film named"><tbody>{body}</tbody></table></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )
