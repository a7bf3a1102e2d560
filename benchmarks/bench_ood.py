"""Which of five scores tell data from elsewhere, by AUROC: −log p alone fails where the other data are simpler.

    vlb train digits --out runs/digits && vlb train digits-vae --out runs/vae
    python benchmarks/bench_ood.py runs/digits --background runs/vae --figure docs/figures/ood.svg

Known examples are of the run's test split. Strange ones are made of them, of plain values, or are another data set
brought to the same size (--other fashion-mnist). Larger scores mean stranger.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vlb.base.memory import keep_freed_memory
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Dataset, Split
from vlb.data import load as load_data
from vlb.data.baselines import per_example
from vlb.measure.evaluation import measure_bound
from vlb.measure.outliers import complexity, detection, likelihood_ratio, typicality
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import StratifiedBound, fit
from vlb.store.runs import Run


def blurred(x: np.ndarray, times: int) -> np.ndarray:
    """Means over 3 × 3 neighbours, `times` over, with edges repeated."""
    values = x.astype(np.float64)
    for _ in range(times):
        padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        height, width = x.shape[2:]
        values = sum(padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
    return np.round(values).astype(x.dtype)


def resized(x: np.ndarray, shape: tuple[int, ...], source: int, levels: int) -> np.ndarray:
    """Images cut to a multiple of the size, averaged over blocks, and quantised to other levels."""
    factor = min(x.shape[2] // shape[1], x.shape[3] // shape[2])
    top, left = (x.shape[2] - factor * shape[1]) // 2, (x.shape[3] - factor * shape[2]) // 2
    part = x[:, :, top : top + factor * shape[1], left : left + factor * shape[2]].astype(np.float64)
    blocks = part.reshape(len(x), x.shape[1], shape[1], factor, shape[2], factor).mean((3, 5))
    return np.floor(blocks / source * levels).clip(0, levels - 1).astype(np.uint8 if levels <= 256 else np.uint16)


def strangers(x: np.ndarray, data: Dataset, other: str | None) -> dict[str, np.ndarray]:
    """Strange examples by name, as many as x (n, C, H, W) where there are enough."""
    generator = np.random.default_rng(0)
    top = data.levels - 1
    grey = np.broadcast_to(generator.integers(0, data.levels, (len(x), 1, 1, 1)), x.shape)
    shuffled = generator.permuted(x.reshape(len(x), -1), axis=1).reshape(x.shape)
    found = {
        "black": np.zeros_like(x)[:50],
        "half erased": np.where(np.arange(x.shape[2])[:, None] < x.shape[2] // 2, x, 0).astype(x.dtype),
        "one grey": grey.astype(x.dtype),
        "blurred": blurred(x, 4),
        "dimmed": (x // 3).astype(x.dtype),
        "turned": np.rot90(x, axes=(2, 3)).copy(),
        "inverted": top - x,
        "shuffled": shuffled,
        "noise": generator.integers(0, data.levels, x.shape).astype(x.dtype),
    }
    if other is not None:
        another = load_data(other)
        found[other] = resized(another.test.x[: len(x)], data.shape, another.levels, data.levels)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--background", type=Path)
    parser.add_argument("--other")
    parser.add_argument("--strange", nargs="*", help="only these kinds")
    parser.add_argument("--examples", type=int, default=360)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    data = run.data()

    def scorer(of: Run) -> Callable[[np.ndarray], np.ndarray]:
        model = of.model()
        if not isinstance(model, DiffusionModel):
            return lambda x: measure_bound(model, Split(x), passes=16).totals
        apart = torch.from_numpy(data.validation.x[:100].copy())
        planned = StratifiedBound(
            model, fit(model, apart, UNCONDITIONAL, torch.Generator().manual_seed(0), arguments.draws)
        )
        return lambda x: measure_bound(planned, Split(x), passes=arguments.passes).totals

    keep_freed_memory()
    scored = scorer(run)
    behind = None if arguments.background is None else scorer(Run.open(arguments.background))
    known = data.test.x[: arguments.examples]
    training = scored(data.train.x[: arguments.examples])
    entropy = float(training.mean())
    strange = strangers(known, data, arguments.other)
    sets = {"known": known, **{name: strange[name] for name in arguments.strange or strange}}
    scores: dict[str, dict[str, np.ndarray]] = {}
    for name, x in sets.items():
        nats = scored(x)
        scores[name] = {
            "−log p": nats,
            "typicality": typicality(nats, entropy),
            "ratio, pixels": likelihood_ratio(nats, per_example("independent-pixels", data, Split(x))),
            "ratio, lzma": likelihood_ratio(nats, complexity(x, data.levels)),
        }
        if behind is not None:
            scores[name][f"ratio, {arguments.background.name}"] = likelihood_ratio(nats, behind(x))
        print(f"{name}: {nats.mean():.1f} ± {nats.std():.1f} nats", flush=True)
    columns = list(scores["known"])
    print(f"\ntraining data: {entropy:.1f} nats; {len(known)} known examples; AUROC ± DeLong's standard error")
    print("| strange examples | nats | " + " | ".join(columns) + " |")
    print("|---|---" + "|---" * len(columns) + "|")
    for name in list(sets)[1:]:
        cells = []
        for column in columns:
            found = detection(scores["known"][column], scores[name][column])
            cells.append(f"{found.auroc:.3f} ± {found.error:.3f}")
        print(f"| {name} | {scores[name]['−log p'].mean():.0f} | " + " | ".join(cells) + " |")
    if arguments.figure is not None:
        draw(scores, entropy, arguments.figure)


def draw(scores: dict[str, dict[str, np.ndarray]], entropy: float, path: Path) -> None:
    """Histograms of −log p by kind of example."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        len(scores), 1, figsize=(6, 0.55 * len(scores) + 0.6), sharex=True, layout="constrained"
    )
    low = min(float(found["−log p"].min()) for found in scores.values())
    high = float(np.quantile(np.concatenate([found["−log p"] for found in scores.values()]), 0.93))
    bins = np.linspace(low - 1, high, 80)
    for axes, (name, found) in zip(panels, scores.items(), strict=True):
        colour = "#1f6f8b" if name == "known" else "#c1440e"
        axes.hist(np.clip(found["−log p"], bins[0], bins[-1]), bins, color=colour)
        axes.axvline(entropy, color="black", lw=0.8, ls=":")
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    panels[-1].set_xlabel("−log p(x), at most, nats (the last bin holds all beyond)")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
