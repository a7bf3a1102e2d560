"""The bound of one digits model against where its hierarchy stops, with three ideas of p(x | z_0), as a figure.

    vlb train digits --set optimiser=adamw --set loss.times=low-discrepancy --set steps=300 --out RUN
    python docs/figures/edge_effects.py RUN docs/figures/edge_effects.svg

The diffusion term of every λ_max comes from one measurement of its rate in λ; the decoder terms are
evaluated at each λ_max.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

from vlb.core.condition import UNCONDITIONAL
from vlb.measure.profile import noise_profile
from vlb.store.runs import Run

PASSES = 2


def main() -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "vlb"
    from matplotlib import pyplot as plt

    run = Run.open(Path(sys.argv[1]))
    data = run.data()
    model, test = run.model(), data.test
    profile = noise_profile(model, test, conditional=False, bins=16, limit=len(test))
    width = profile.log_snr[1] - profile.log_snr[0]
    # Bins run from noise to data; a hierarchy that stops at an edge pays for all bins before it.
    edges = np.append(profile.log_snr - width / 2, profile.log_snr[-1] + width / 2)
    diffusion = np.append(0.0, np.cumsum(profile.bits * width))
    x, generator = torch.from_numpy(test.x.copy()), torch.Generator().manual_seed(0)
    scale = model.embedding.embed(x[:1]).numel() * np.log(2) * PASSES * len(x)
    with torch.no_grad():
        prior = float(model.prior_kl(x, generator).sum()) * PASSES / scale
        learned, alone = np.zeros(len(edges)), np.zeros(len(edges))
        for i, log_snr in enumerate(edges):
            t = model.process.schedule.inverse(torch.tensor([-log_snr], dtype=torch.float64)).clamp(0, 1)
            for part in x.repeat(PASSES, *(1 for _ in model.shape)).split(360):
                learned[i] += float(model.reconstruction(part, UNCONDITIONAL, generator, t).sum()) / scale
                z = model.process.marginal(model.embedding.embed(part), t).sample(generator)
                decoder = model.embedding.given(z, *model.process.alpha_sigma(t, z))
                alone[i] -= float(decoder.log_prob(part).sum()) / scale
    bounds = {
        "decoder term of the network": prior + diffusion + learned,
        "decoder that knows z₀ alone": prior + diffusion + alone,
        "no decoder term (no bound)": prior + diffusion,
    }
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (name, values), style in zip(bounds.items(), ("-", "--", ":"), strict=True):
        axes.plot(edges, values, style, label=name)
    axes.set(xlabel="λ_max, where the hierarchy stops", ylabel="bits/dim", ylim=(0, 4.2))
    axes.legend(fontsize=8)
    figure.savefig(sys.argv[2], metadata={"Date": None})
    print("λ_max  " + "  ".join(f"{e:6.2f}" for e in edges[1::2]))
    for name, values in bounds.items():
        print(f"{name}: " + "  ".join(f"{v:.3f}" for v in values[1::2]))


if __name__ == "__main__":
    main()
