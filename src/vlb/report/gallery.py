"""Samples beside data, and how the samples came about: one descent serves both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlb.condition import Labels
from vlb.data import Dataset, Split
from vlb.hierarchy import descend, from_prior
from vlb.models.diffusion import DiffusionModel


@dataclass(frozen=True)
class Frame:
    """One noise level of a descent: z_t and x̂(z_t), (n, C, H, W) as grey values 0 … 255; log SNR in nats."""

    log_snr: float
    z: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Gallery:
    """Pictures of a model.

    samples, data: (rows · columns, C, H, W) whole numbers below `levels`, row by row; present: (rows ·
    columns,) False where there were too few data; classes: the class of each row, empty if not
    conditioned; frames: from noise to data, of the first samples of some rows; ends: those samples,
    (n, C, H, W); steps: of the descent.
    """

    samples: np.ndarray
    data: np.ndarray
    present: np.ndarray
    levels: int
    columns: int
    classes: tuple[int, ...]
    frames: tuple[Frame, ...]
    ends: np.ndarray
    steps: int


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether examples of this shape are images of one or three channels."""
    return len(shape) == 3 and shape[0] in (1, 3)


@torch.no_grad()
def gallery(
    model: DiffusionModel,
    data: Dataset,
    classes: int,
    *,
    columns: int = 8,
    steps: int = 100,
    films: int = 3,
    seed: int = 0,
    report: Callable[[int], None] = lambda _done: None,
) -> Gallery:
    """Sample images in `steps` steps; at most ten of `classes` get a row each, 0 means no condition.

    `report` is told how many of steps + 1 latents are done. The data are of the test split.
    Raises `ValueError` unless the model's shape is `drawable`.
    """
    if not drawable(model.shape):
        raise ValueError(f"examples of shape {model.shape} are no pictures")
    rows = min(classes, 10) or 6
    chosen = tuple(range(rows)) if classes else ()
    condition = None
    if classes:
        condition = Labels(torch.arange(rows, device=model.device).repeat_interleave(columns))
    filmed = columns * np.unique(np.linspace(0, rows - 1, min(films, rows)).round().astype(int))
    hierarchy = model.at(steps)
    log_snr = -model.process.schedule.gamma(hierarchy.grid).mean(-1).cpu().numpy()
    shown = _spread(log_snr)
    generator = torch.Generator().manual_seed(seed)
    frames = []
    state = hierarchy.start(rows * columns, condition)
    for step in descend(hierarchy, state, from_prior(generator)):
        state = step.state
        if step.level in shown:
            frames.append(_frame(model, step.z, hierarchy.time(step.level), condition, filmed, data.levels))
        report(hierarchy.depth - step.level)
    samples = hierarchy.likelihood(state).sample(generator).cpu().numpy().astype(np.int64)
    return Gallery(
        samples,
        *_examples(data.test, chosen, rows, columns),
        data.levels,
        columns,
        chosen,
        tuple(frames),
        samples[filmed],
        steps,
    )


def _spread(log_snr: np.ndarray, count: int = 8) -> set[int]:
    """The levels nearest to `count` noise levels spread evenly in λ, both ends among them."""
    targets = np.linspace(log_snr.min(), log_snr.max(), count)
    return {int(np.abs(log_snr - target).argmin()) for target in targets}


def _frame(
    model: DiffusionModel, z: Tensor, t: Tensor, condition: Labels | None, index: np.ndarray, levels: int
) -> Frame:
    """The filmed examples at time t; z is brought to the scale of variance preservation to be seen."""
    x = model.predict(z, t, condition).x
    alpha, sigma = model.process.alpha_sigma(t, z)
    scaled = z / (alpha**2 + sigma**2).sqrt().to(z.dtype)
    log_snr = -float(model.process.schedule.gamma(t).mean())
    return Frame(log_snr, _grey(scaled[index], levels), _grey(x[index], levels))


def _grey(values: Tensor, levels: int) -> np.ndarray:
    """Embedded values, bin centres (2k + 1)/K − 1, as k/(K − 1) in 0 … 255; what is beyond is cut off."""
    k = ((values.double() + 1) * levels - 1) / 2
    return (255 * (k / max(1, levels - 1)).clamp(0, 1)).round().to(torch.uint8).cpu().numpy()


def _examples(split: Split, classes: tuple[int, ...], rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """rows · columns examples, row by row by class where there are classes, and which of them there are."""
    present = np.zeros(rows * columns, bool)
    found = np.zeros((rows * columns, *split.x.shape[1:]), np.int64)
    for row in range(rows):
        if classes and split.labels is not None:
            index = np.flatnonzero(split.labels == classes[row])[:columns]
        else:
            index = np.arange(row * columns, min((row + 1) * columns, len(split)))
        cells = slice(row * columns, row * columns + len(index))
        found[cells], present[cells] = split.x[index], True
    return found, present
