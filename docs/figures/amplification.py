"""By how much each parameterization multiplies its network's error in x̂ (Eq. 4.50), under VP, as a figure.

python docs/figures/amplification.py docs/figures/amplification.svg
"""

import sys

import matplotlib
import torch

from vlb.models.diffusion.parameterization import EDM, Data, Flow, Noise, Score, Velocity, amplification
from vlb.models.diffusion.process import VP

OUTPUTS = {"x": Data(), "ε": Noise(), "score": Score(), "v": Velocity(), "u": Flow(), "EDM F, σ_d = 0.5": EDM(0.5)}
STYLES = ("-", "-", "--", "-", "--", ":")


def main() -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot as plt

    log_snr = torch.linspace(-10, 13.3, 300, dtype=torch.float64)
    alpha, sigma = VP()(-log_snr)
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (name, parameterization), style in zip(OUTPUTS.items(), STYLES, strict=True):
        axes.plot(log_snr, amplification(parameterization, alpha, sigma), style, label=name)
    axes.set(
        yscale="log", xlabel="log SNR (noise on the left, data on the right)", ylabel="error in x̂ per error of output"
    )
    axes.legend(fontsize=8)
    figure.savefig(sys.argv[1], metadata={"Date": None})
    for name, parameterization in OUTPUTS.items():
        ends = amplification(parameterization, *VP()(torch.tensor([10.0, -13.3], dtype=torch.float64)))
        print(f"{name}: {ends[0]:.3g} at λ = −10, {ends[1]:.3g} at λ = 13.3")


if __name__ == "__main__":
    main()
