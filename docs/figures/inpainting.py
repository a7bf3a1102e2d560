"""Half of each digit hidden, and draws of what may have been there: a diffusion model that is told what is known, and a
mixture, whose conditional law is exact; a third run, of a VAE, which weighs draws, is scored and not shown.

    vlb train digits --set optimiser=adamw --set loss.times=low-discrepancy \
        --set model.roles=true --set loss.known_share=0.5 --out runs/filling
    vlb train digits-mixture --out runs/mixture
    vlb train digits-vae --set steps=700 --out runs/vae
    python docs/figures/inpainting.py runs/filling runs/mixture runs/vae [docs/figures/inpainting.png]

It prints the energy score of draws of the hidden pixels of 100 test digits, in levels; less is better.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot

import vlb
from vlb.data import load

SHOWN, DRAWS, SCORED, OF = 6, 4, 100, 10


def energy(draws: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """E‖X − x‖ − ½ E‖X − X′‖ of draws (m, n, d) of truths (n, d), fair in m: its mean over n, and standard error."""
    m = len(draws)
    near = np.linalg.norm(draws - truth, axis=2).mean(0)
    apart = np.linalg.norm(draws[:, None] - draws[None], axis=3).sum((0, 1)) / (m * (m - 1))
    scores = near - 0.5 * apart
    return float(scores.mean()), float(scores.std(ddof=1) / len(scores) ** 0.5)


def main() -> None:
    runs = {"diffusion": sys.argv[1], "mixture": sys.argv[2], "vae": sys.argv[3]}
    out = Path(sys.argv[4] if len(sys.argv) > 4 else "docs/figures/inpainting.png")
    x = load("digits").test.x
    hole = np.zeros((8, 8), bool)
    hole[:, 4:] = True
    found = {
        name: vlb.impute(run, x[:SCORED], vlb.ImputeOptions(draws=OF), mask=hole).x[:, :, 0].astype(float)
        for name, run in runs.items()
    }
    truth = x[:SCORED, 0].astype(float)
    for name, draws in found.items():
        score, error = energy(draws[:, :, hole], truth[:, hole])
        print(f"{name}: energy score {score:.2f} ± {error:.2f}")
    del found["vae"]
    columns = ["digit", "known", *(f"{name} {k}" for name in found for k in range(1, DRAWS + 1))]
    figure, axes = pyplot.subplots(SHOWN, len(columns), figsize=(8.4, 5.4), layout="constrained")
    for row, line in enumerate(axes):
        pictures = [truth[row], np.where(hole, np.nan, truth[row])]
        pictures += [draws[k, row] for draws in found.values() for k in range(DRAWS)]
        for column, (axis, picture) in enumerate(zip(line, pictures, strict=True)):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=16)
            axis.set(xticks=[], yticks=[], facecolor="tab:orange")
            if row == 0:
                axis.set_title(columns[column], fontsize=7)
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main()
