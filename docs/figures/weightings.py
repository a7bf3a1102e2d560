"""The weightings w(λ) of published losses: the monotone ones, which are ELBOs of noisy data, and the others.

python docs/figures/weightings.py
"""

from pathlib import Path

import matplotlib
import torch

from vlb.models.diffusion import weightings as weighting

matplotlib.use("svg")
from matplotlib import pyplot as plt

LOW, HIGH = -6.0, 8.0
MONOTONE = {
    "likelihood": weighting.Likelihood(),
    "sigmoid(2)": weighting.Sigmoid(2.0),
    "v under cosine, u under OT": weighting.FlowMatching(),
    "InDI": weighting.Inversion(),
    "EDM-monotonic": weighting.EDMMonotonic(),
}
OTHERS = {
    "ε under linear β (DDPM)": weighting.NoiseLinearBeta(),
    "ε under cosine": weighting.NoiseCosine(),
    "EDM": weighting.EDM(),
    "P2, γ = 1": weighting.P2(),
    "Min-SNR-5": weighting.MinSNR(),
    "rectified flow, logit-normal t": weighting.RectifiedFlow(),
}


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "vlb"
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained", sharey=True)
    log_snr = torch.linspace(LOW, HIGH, 400, dtype=torch.float64)
    titles = ("monotone: an ELBO of noisy data", "dotted: rising, the ELBO is minimised")
    for panel, (title, group) in zip(axes, zip(titles, (MONOTONE, OTHERS), strict=True), strict=True):
        for name, weight in group.items():
            described = weighting.describe(weight, -HIGH, -LOW)
            value = weight(log_snr) / described.scale
            rising = torch.zeros_like(log_snr, dtype=torch.bool)
            for low, high in described.minimised:
                rising |= (log_snr >= low) & (log_snr <= high)
            (line,) = panel.plot(log_snr, torch.where(rising, torch.nan, value), label=name)
            panel.plot(log_snr, torch.where(rising, value, torch.nan), ":", color=line.get_color())
        panel.set(xlabel="λ = log SNR", yscale="log", ylim=(1e-4, 2))
        panel.set_title(title, fontsize=10)
        panel.legend(frameon=False, fontsize=7, loc="lower left")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("w(λ)/max w")
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
