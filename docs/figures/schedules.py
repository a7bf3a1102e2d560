"""γ(t) of the schedules at equal ends, and the density p(λ) that each gives to uniform times.

python docs/figures/schedules.py
"""

from pathlib import Path

import matplotlib
import torch

from vlb.models.diffusion.schedules import EDM, Cosine, LinearBeta, LogSNRLinear, OptimalTransport, Schedule, Sigmoid

matplotlib.use("svg")
from matplotlib import pyplot as plt

ENDS = (-6.0, 5.0)
SCHEDULES: dict[str, Schedule] = {
    "log-SNR-linear": LogSNRLinear(*ENDS),
    "EDM": EDM(*ENDS),
    "OT": OptimalTransport(*ENDS),
    "cosine": Cosine(*ENDS),
    "linear β": LinearBeta(*ENDS),
    "sigmoid": Sigmoid(*ENDS),
}


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "vlb"
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    t = torch.linspace(0, 1, 200, dtype=torch.float64)
    log_snr = torch.linspace(-ENDS[1], -ENDS[0], 300, dtype=torch.float64)
    for name, schedule in SCHEDULES.items():
        left.plot(t, schedule.gamma(t).squeeze(-1), label=name)
        right.plot(log_snr, schedule.density(log_snr), label=name)
    left.set(xlabel="t", ylabel="γ = −log SNR", title="the same ends, other ways between them")
    right.set(xlabel="λ = log SNR", ylabel="p(λ)", title="where uniform t puts its draws", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
