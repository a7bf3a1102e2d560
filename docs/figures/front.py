"""What each noise level of a diffusion model costs: their sum is the bound. Above, a digit at these levels.

python docs/figures/front.py
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes

import vlb
from vlb.data import load
from vlb.measure.profile import noise_profile
from vlb.models.diffusion.model import DiffusionModel

RUN, DIGIT, SHOWN, SAMPLES = "vlb:digits", 12, 8, 6
GREY, BLUE = "#7a7f87", "#3d7edb"  # readable on white and on black


def picture(axes: Axes, image: np.ndarray, low: float, high: float) -> None:
    """One image with a thin frame."""
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GREY)


@torch.no_grad()
def noisy_and_denoised(model: DiffusionModel, log_snr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z_t of one test digit at these levels with the same noise, and E[x | z_t], both (levels, 8, 8)."""
    x = torch.from_numpy(load("digits").test.x[DIGIT : DIGIT + 1]).expand(len(log_snr), -1, -1, -1)
    t = model.process.schedule.inverse(torch.from_numpy(-log_snr))
    latent = model.process.marginal(model.embedding.embed(x), t)
    z = latent.moved(torch.randn(latent.mean.shape[1:], generator=torch.Generator().manual_seed(2)))
    return z[:, 0].numpy(), model.predict(z, t).x[:, 0].numpy()


def main() -> None:
    rcParams.update({"svg.hashsalt": "vlb", "font.size": 9})
    rcParams.update({f"{what}.color": GREY for what in ("text", "xtick", "ytick")} | {"axes.labelcolor": GREY})
    model, result = vlb.load(RUN), vlb.evaluate(RUN)
    profile = noise_profile(model, load("digits").test, conditional=False)
    samples = vlb.sample(RUN, vlb.SampleOptions(n=SAMPLES**2, steps=100)).x[:, 0]
    step = profile.log_snr[1] - profile.log_snr[0]
    edges = np.append(profile.log_snr - step / 2, profile.log_snr[-1] + step / 2)

    figure = pyplot.figure(figsize=(9.6, 3.4), layout="constrained")
    figure.patch.set_visible(False)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.1), wspace=0.03)
    for axes, image in zip(left.subplots(SAMPLES, SAMPLES).flat, samples, strict=True):
        picture(axes, image, 0, 16)
    left.suptitle("samples", fontsize=10)

    levels = np.linspace(edges[0], edges[-1], 2 * SHOWN + 1)[1::2]
    grid = right.add_gridspec(3, SHOWN, height_ratios=(1, 1, 2.6))
    rows = noisy_and_denoised(model, levels)
    for row, (name, images) in enumerate(zip(("noisy", "denoised"), rows, strict=True)):
        for column, (image, level) in enumerate(zip(images, levels, strict=True)):
            axes = right.add_subplot(grid[row, column])
            spread = 1 if row else np.sqrt(1 + 2 / (1 + np.exp(level)))  # of z_t, a little more than its deviation
            picture(axes, image, -spread, spread)
            if column == 0:
                axes.set_ylabel(name)
    axes = right.add_subplot(grid[2, :])
    axes.patch.set_visible(False)
    axes.stairs(profile.bits, edges, fill=True, color=BLUE, alpha=0.35, linewidth=0)
    axes.stairs(profile.bits, edges, color=BLUE, linewidth=1.5, baseline=None)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None), ylabel="bits/dim per nat")
    axes.set_xlabel("log SNR: noise on the left, data on the right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    terms = {path[0]: value for path, value in result.terms.items()}
    axes.text(
        0.03, 0.93,
        f"area: {terms['diffusion']:.2f} bits/dim\n+ decoding and prior: "
        f"{terms['reconstruction'] + terms['prior']:.2f}\n= bound on $-\\log_2 p(x)$: "
        f"{result.bits_per_dim:.2f} ± {result.standard_error:.2f}\n   independent pixels: "
        f"{result.baselines['independent_pixels']:.2f}",
        transform=axes.transAxes, va="top", linespacing=1.4,
    )  # fmt: skip
    right.suptitle("what each noise level costs", fontsize=10)
    figure.savefig(Path(__file__).with_name("front.png"), dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
