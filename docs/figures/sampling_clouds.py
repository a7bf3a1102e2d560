"""What twelve network evaluations give: samplers on the 2-D mixture with its exact denoiser.

python docs/figures/sampling_clouds.py docs/figures/sampling_clouds.svg
"""

import sys
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from vlb.core.emissions import Continuous
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.samplers.heun import Heun
from vlb.models.diffusion.samplers.stepping import Sampler
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, exact_prior, gaussian_mixture

matplotlib.use("svg")
from matplotlib import pyplot as plt

EVALUATIONS, EXAMPLES = 12, 800
SAMPLERS: dict[str, tuple[Sampler, int]] = {
    "ancestral": (Ancestral(), 1),
    "dpm2m-sde": (DPMSolver(1.0), 1),
    "ddim": (DDIM(), 1),
    "heun": (Heun(), 2),
    "dpm2m": (DPMSolver(), 1),
}


def law() -> GaussianMixture:
    """Three narrow components."""
    means = torch.tensor([[-1.0, 0.2], [0.8, 0.9], [0.4, -1.1]])
    covariances = torch.tensor([[[0.1, 0.09], [0.09, 0.1]], [[0.004, 0.0], [0.0, 0.02]], [[0.1, -0.08], [-0.08, 0.08]]])
    return gaussian_mixture(torch.tensor([0.5, 0.3, 0.2]), means, covariances)


def show(axes: plt.Axes, x: Tensor, title: str) -> None:
    axes.scatter(*x.T.tolist(), s=2, color="C0", linewidths=0, rasterized=True)
    axes.set_title(title, fontsize=9)
    axes.set(xlim=(-2.1, 1.6), ylim=(-2.2, 1.7), xticks=[], yticks=[], aspect="equal")


def main() -> None:
    torch.set_num_threads(1)
    plt.rcParams["svg.hashsalt"] = "vlb"
    mixture = law()
    process = GaussianDiffusion(LogSNRLinear(-7.0, 5.0))
    denoiser = MixtureDenoiser(mixture, VP())
    model = DiffusionModel(process, denoiser, Continuous(), (2,), exact_prior(mixture, process))
    figure, panels = plt.subplots(1, len(SAMPLERS) + 1, figsize=(9.6, 1.9), layout="constrained")
    generator = torch.Generator().manual_seed(0)
    show(panels[0], mixture.expand(EXAMPLES).sample(generator), "data")
    for axes, (name, (sampler, cost)) in zip(panels[1:], SAMPLERS.items(), strict=True):
        grid = UniformLogSNR()(process.schedule, EVALUATIONS // cost)
        show(axes, generate(model, sampler, EXAMPLES, grid, generator), name)
    figure.savefig(Path(sys.argv[1]), dpi=160, metadata={"Date": None})


if __name__ == "__main__":
    main()
