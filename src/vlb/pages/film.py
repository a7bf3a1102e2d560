"""How the samples of a diffusion model come about: one descent serves both gallery and film."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.condition import Condition
from vlb.core.hierarchy import descend, from_prior
from vlb.core.schema import Schema
from vlb.data import Dataset
from vlb.data.pieces import alone, tile_of
from vlb.generate.pictures import drawable
from vlb.models.diffusion.model import DiffusionModel
from vlb.pages.gallery import COLUMNS, ROWS, Gallery, examples
from vlb.pages.markup import thumbnail


@dataclass(frozen=True)
class Frame:
    """One noise level of a descent: z_t and x̂(z_t), (n, C, H, W) as grey values 0 … 255; log SNR in nats."""

    log_snr: float
    z: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Film:
    """frames: from noise to data, of the first samples of some rows; ends: those samples, (n, C, H, W) of `levels`."""

    frames: tuple[Frame, ...]
    ends: np.ndarray
    levels: int


def filmed(
    model: DiffusionModel,
    data: Dataset,
    classes: int,
    *,
    columns: int = COLUMNS,
    steps: int = 100,
    films: int = 3,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[Gallery, Film]:
    """Sample images in `steps` steps; at most ten of `classes` get a row each, 0 means no condition.

    `progress` is told how many of steps + 1 latents are done. The data are of the test split.
    Raises `UserError` unless the model's shape is `drawable`.
    """
    rows = min(classes, 10) or ROWS
    chosen = tuple(range(rows)) if classes else ()
    condition = alone(data.schema, rows * columns).to(model.device)
    if classes:
        condition = replace(condition, label=torch.arange(rows, device=model.device).repeat_interleave(columns))
    index = columns * np.unique(np.linspace(0, rows - 1, min(films, rows)).round().astype(int))
    samples, film = descended(model, data.schema, condition, rows * columns, index, steps, seed, progress)
    how = f"{steps} steps of ancestral sampling"
    names = tuple((data.schema.labels or ())[label] for label in chosen)
    found, present = examples(data.test, chosen, rows, columns)
    return Gallery(samples, tile_of(data.schema, found), present, data.levels, columns, names, how), film


@torch.no_grad()
def descended(
    model: DiffusionModel,
    schema: Schema,
    condition: Condition,
    n: int,
    index: np.ndarray,
    steps: int,
    seed: int,
    progress: Progress = SILENT,
) -> tuple[np.ndarray, Film]:
    """n samples, (n, C, H, W), and the film of those at `index`. Raises `UserError` for what is no picture."""
    if not drawable(model.shape):
        raise UserError(f"examples of shape {model.shape} are no pictures, of which alone a film is drawn")
    hierarchy = model.at(steps)
    log_snr = -model.process.schedule.gamma(hierarchy.grid).mean(-1).cpu().numpy()
    shown = _spread(log_snr)
    generator = torch.Generator().manual_seed(seed)
    frames = []
    progress.begin("sampling", steps + 1)
    state = hierarchy.start(n, condition)
    for step in descend(hierarchy, state, from_prior(generator)):
        state = step.state
        if step.number in shown:
            frames.append(_frame(model, step.z, hierarchy.time(step.number), condition, index, schema))
        progress.at(hierarchy.depth - step.number)
    samples = tile_of(schema, hierarchy.likelihood(state).sample(generator).cpu().numpy().astype(np.int64))
    return samples, Film(tuple(frames), samples[index], schema.levels)


def strips(found: Film) -> str:
    """Two rows of pictures for each sample, z above x̂, and at their end the sample."""
    head = "".join(f'<th scope="col">{frame.log_snr:+.1f}</th>'.replace("-", "−") for frame in found.frames)
    rows = "".join(_strip(found, i) for i in range(len(found.ends)))
    return f"""<div class="wide"><table class="film">
<thead><tr><th scope="row">log SNR</th>{head}<th scope="col">x</th></tr></thead><tbody>{rows}</tbody></table></div>"""


def _strip(found: Film, i: int) -> str:
    def cells(name: str, images: Iterable[np.ndarray]) -> str:
        return "".join(
            f"<td>{thumbnail(image, 256, f'{name} of sample {i + 1} at log SNR {frame.log_snr:.1f}')}</td>"
            for frame, image in zip(found.frames, images, strict=True)
        )

    end = thumbnail(found.ends[i], found.levels, f"sample {i + 1}")
    return (
        f'<tr class="state"><th scope="row">z</th>{cells("z", [frame.z[i] for frame in found.frames])}'
        f'<td class="end" rowspan="2">{end}</td></tr>'
        f'<tr><th scope="row">x̂</th>{cells("x̂", [frame.x[i] for frame in found.frames])}</tr>'
    )


def _spread(log_snr: np.ndarray, count: int = 8) -> set[int]:
    """The levels nearest to `count` noise levels spread evenly in λ, both ends among them."""
    targets = np.linspace(log_snr.min(), log_snr.max(), count)
    return {int(np.abs(log_snr - target).argmin()) for target in targets}


def _frame(
    model: DiffusionModel, z: Tensor, t: Tensor, condition: Condition, index: np.ndarray, schema: Schema
) -> Frame:
    """The filmed examples at time t; z is brought to the scale of variance preservation to be seen."""
    x = model.predict(z, t, condition).x
    alpha, sigma = model.process.alpha_sigma(t, z)
    scaled = z / (alpha**2 + sigma**2).sqrt().to(z.dtype)
    log_snr = -float(model.process.schedule.gamma(t).mean())
    seen = (tile_of(schema, grey(values[index], schema.levels)) for values in (scaled, x))
    return Frame(log_snr, *seen)


def grey(values: Tensor, levels: int) -> np.ndarray:
    """Embedded values, bin centres (2k + 1)/K − 1, as k/(K − 1) in 0 … 255; what is beyond is cut off."""
    k = ((values.double() + 1) * levels - 1) / 2
    return (255 * (k / max(1, levels - 1)).clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
