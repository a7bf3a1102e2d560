"""Weightings of the loss for sound and for volumes: the bound, and how far samples are from data.

Five weightings w(λ) from the same initial weights, batches, noise and levels of noise, per seed, for windows of spoken
prompts (16 bits, 8 kHz) and for 16×16×16 voxels of shapes. The bound (w = 1) is on test examples. Samples, by
DPM-Solver++(2M), are judged by the Fréchet distance of features from those of training examples. Of a window they are
the logarithms of its spectrum's energies in 16 bands, evenly spaced on the mel scale: their means and deviations over
eight frames. Of a shape they are the share of solid voxels in each of 4×4×4 blocks, and the logarithms of its volume,
of its surface and of how many pieces it is in. All numbers are of the average of weights at the end of training. Where
the prompts are not to be had, chirps stand in, and the table says so.

    python experiments/weightings_beyond.py [--budget short]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from shared.arms import Experiment, Found, Values, main
from shared.quality import frechet
from shared.style import panels
from shared.training import configured, mean_and_error, trained

from vlb.data import Dataset, load
from vlb.data.sources import Cutting
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion import weightings
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.weightings.base import FixedWeighting

NAMES = {
    "likelihood": "bound, w = 1",
    "sigmoid": "sigmoid(2)",
    "edm": "EDM",
    "edm-monotonic": "EDM-monotonic",
    "noise-cosine": "ε, cosine",
}
KINDS = {"prompts": "sound", "shapes": "volumes"}  # recipes
BANDS, FRAMES, BLOCKS = 16, 8, 4
SMALL = {
    "prompts": ("backbone.widths=[32,48]", "backbone.attention=[false,true]", "warmup=25", "ema=0.98", "steps=150"),
    "shapes": ("backbone.widths=[16,32]", "backbone.attention=[false,true]", "warmup=25", "ema=0.98", "steps=200"),
}
TINY = {
    "prompts": ("backbone.widths=[8]", "backbone.attention=[false]", "steps=10"),
    "shapes": ("backbone.widths=[8]", "backbone.attention=[false]", "steps=10"),
}


@dataclass(frozen=True)
class Budget:
    """set: what is set of each recipe; passes: over `examples` test examples; samples: how many, in how many steps."""

    set: dict[str, tuple[str, ...]] = field(default_factory=lambda: SMALL)
    seeds: tuple[int, ...] = (0, 1, 2)
    passes: int = 3
    examples: int = 100
    samples: int = 150
    steps: int = 20
    window: int = 256


BUDGETS = {
    "toy": Budget(set=TINY, seeds=(0,), passes=2, examples=10, samples=80, steps=2),
    "short": Budget(),
    "night": Budget(
        set={"prompts": ("steps=1500",), "shapes": ("steps=600",)}, examples=400, samples=1000, steps=30, window=512
    ),
}


@cache
def data_of(kind: str, window: int) -> Dataset:
    """Once for all arms."""
    return load(kind, cut=Cutting(window=window))


def heard(x: np.ndarray) -> np.ndarray:
    """Of windows (n, 1, time) of 16-bit samples: means and deviations over frames of log energies in bands."""
    samples = x[:, 0].astype(np.float64) - (1 << 15)
    frames = samples.reshape(len(x), FRAMES, -1)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[-1]), axis=-1)) ** 2
    mel = np.log1p(np.linspace(0, 4000, spectrum.shape[-1]) / 700)
    centres = np.linspace(0, mel[-1], BANDS)
    weight = np.clip(1 - np.abs(mel - centres[:, None]) / (centres[1] - centres[0]), 0, None)
    energy = np.log1p(spectrum @ weight.T)
    return np.concatenate((energy.mean(1), energy.std(1)), -1)


def seen(x: np.ndarray) -> np.ndarray:
    """Of voxels (n, 1, side, side, side): shares of blocks, log volume, log surface, log pieces."""
    solid = x[:, 0].astype(bool)
    side = solid.shape[1] // BLOCKS
    shares = solid.reshape(len(x), BLOCKS, side, BLOCKS, side, BLOCKS, side).mean((2, 4, 6)).reshape(len(x), -1)
    padded = np.pad(solid, ((0, 0), (1, 1), (1, 1), (1, 1)))
    surface = sum(np.diff(padded.astype(np.int8), axis=axis).astype(bool).sum((1, 2, 3)) for axis in (1, 2, 3))
    pieces = np.array([ndimage.label(one)[1] for one in solid])
    return np.column_stack((shares, np.log1p(solid.sum((1, 2, 3))), np.log1p(surface), np.log1p(pieces)))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"prompts": heard, "shapes": seen}


@cache
def known(kind: str, window: int) -> np.ndarray:
    """The features of training examples, (n, d)."""
    return FEATURES[kind](np.asarray(data_of(kind, window).train.subset(4000).x))


def distance(kind: str, window: int, x: np.ndarray) -> float:
    """Of examples (n, *shape) from those for training."""
    return frechet(FEATURES[kind](x), known(kind, window))


def learned(kind: str, tag: str, budget: Budget, seed: int) -> Values:
    """One weighting, one seed."""
    data = data_of(kind, budget.window)
    experiment = configured(kind, (*budget.set[kind], f"loss.weighting={tag}"), seed)
    model = trained(experiment, data, evaluations=1, examples=50).model
    bound = measure_bound(model, data.test.subset(budget.examples), passes=budget.passes)
    grid = UniformLogSNR()(model.process.schedule, budget.steps)
    x = generate(model, DPMSolver(), budget.samples, grid, torch.Generator().manual_seed(seed))
    return {
        "bound": bound.bits_per_dim,
        "error": bound.standard_error,
        "frechet": distance(kind, budget.window, x.numpy()),
    }


def held_out(kind: str, budget: Budget) -> Values:
    """As many examples that are none of training, and which data these are."""
    data = data_of(kind, budget.window)
    x = np.concatenate((data.validation.x, data.test.x))
    chosen = np.random.default_rng(0).choice(len(x), budget.samples, replace=False)
    return {"data": data.name, "frechet": distance(kind, budget.window, x[chosen])}


def independent(kind: str, budget: Budget) -> Values:
    """Values shuffled over training examples, each place by itself: exact samples of their marginals."""
    x = np.asarray(data_of(kind, budget.window).train.x)
    shuffled = np.random.default_rng(0).permuted(x, axis=0)[: budget.samples]
    return {"frechet": distance(kind, budget.window, shuffled)}


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """Of each kind two that frame the rest, and one per weighting and seed."""
    found: dict[str, Callable[[], Values]] = {}
    for kind in KINDS:
        found[f"{kind}, held-out data"] = partial(held_out, kind, budget)
        found[f"{kind}, independent values"] = partial(independent, kind, budget)
    for seed in budget.seeds:
        for kind in KINDS:
            found |= {f"{kind}, {tag}, seed {seed}": partial(learned, kind, tag, budget, seed) for tag in NAMES}
    return found


def over_seeds(found: Found, kind: str, tag: str, name: str) -> list[float]:
    """What the arms of a weighting have under `name`."""
    return [found.arms[f"{kind}, {tag}, seed {seed}"][name] for seed in found.budget["seeds"]]


def monotone(kind: str, tag: str) -> bool:
    """Whether it is, between the ends of the recipe's schedule."""
    weighting: FixedWeighting = weightings.WEIGHTINGS.offered[tag]()
    schedule = configured(kind, (), 0).model.schedule  # type: ignore[union-attr]
    return weightings.describe(weighting, schedule.gamma_0, schedule.gamma_1).monotone


def draw(found: Found) -> Figure:
    """Fréchet distance against the bound, a point per seed; filled: monotone."""
    figure, axes = panels(len(KINDS), height=3.8)
    for axis, (kind, name) in zip(axes, KINDS.items(), strict=True):
        for number, (tag, title) in enumerate(NAMES.items()):
            face = {} if monotone(kind, tag) else {"mfc": "none"}
            bound, away = (over_seeds(found, kind, tag, key) for key in ("bound", "frechet"))
            label = title if axis is axes[0] else None
            axis.plot(bound, away, "o", ms=6, label=label, color=f"C{number}", **face)
        axis.locator_params(axis="x", nbins=5)
        axis.axhline(found.arms[f"{kind}, held-out data"]["frechet"], color="C0", ls=":")
        axis.set(xlabel="test bound, bits/dim", ylabel="Fréchet distance", title=f"{name}; dotted: held-out data")
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def tell(found: Found) -> str:
    """A table each."""
    return "\n\n".join(table(found, kind) for kind in KINDS)


def table(found: Found, kind: str) -> str:
    """Of one kind of data: paired differences are from w = 1, seed for seed."""
    frame, plain = found.arms[f"{kind}, held-out data"], {}
    what = f"{KINDS[kind]} ({frame['data']})"
    heads = (what, "monotone", "test bound, bits/dim", "less that of w = 1", "Fréchet distance", "less that of w = 1")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for tag, title in NAMES.items():
        cells = ["yes" if monotone(kind, tag) else "no"]
        for key, digits in (("bound", 3), ("frechet", 2)):
            values = over_seeds(found, kind, tag, key)
            plain.setdefault(key, values)
            paired = [one - other for one, other in zip(values, plain[key], strict=True)]
            cells.append(mean_and_error(values, digits))
            cells.append("" if tag == "likelihood" else mean_and_error(paired, digits).replace("-", "−"))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for name in ("held-out data", "independent values"):
        lines.append(f"| {name} | | | | {found.arms[f'{kind}, {name}']['frechet']:.2f} | |")
    return "\n".join(lines)


EXPERIMENT = Experiment(
    name="weightings_beyond",
    title="Weightings for sound and volumes",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Fréchet distance against the test bound for five weightings, a point per seed: left of sound, right of "
    "volumes.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
