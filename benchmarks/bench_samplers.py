"""Samplers' error against network evaluations, beside diffusers' and azula's versions of the same methods.

The model is the 2-D mixture with its exact denoiser, γ from −6 to 4, steps equal in log SNR. Everyone starts from the
same z_1 and evaluates the same denoiser at the same noise levels; the error is the root mean square distance from the
exact flow (`ProbabilityFlow` at 1e-11) at the last level. Then the time of a step with a denoiser that costs nothing,
on a batch of 16 pictures of 3 × 32 × 32: alternating repetitions, medians, as ratios to ours.

    pip install -e .[bench]
    python benchmarks/bench_samplers.py [--figure docs/figures/sampling.svg]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import azula.denoise
import azula.noise
import azula.sample
import matplotlib
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from torch import Tensor

from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.distributions import standard_normal
from vlb.core.emissions import Continuous
from vlb.models.diffusion.denoiser import Denoises, Prediction
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.samplers.adaptive import Tolerances, solve
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.dpm_solver import DPMSolver
from vlb.models.diffusion.samplers.heun import Heun
from vlb.models.diffusion.samplers.ode import ProbabilityFlow, flow_field
from vlb.models.diffusion.samplers.stepping import FixedStep
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import MixtureDenoiser, exact_prior, gaussian_mixture

GAMMA_0, GAMMA_1, EXAMPLES = -6.0, 4.0, 512
BUDGETS = (8, 16, 32, 64, 128, 256)
EXPONENTS = range(3, 9)  # tolerances 1e-3 to 1e-8
METHODS: dict[str, FixedStep] = {"DDIM": DDIM(), "Heun": Heun(), "DPM-Solver++ (2M)": DPMSolver()}
SDE = "DPM-Solver++ (2M) SDE"
Run = Callable[[DiffusionModel, Tensor], Tensor]
Prepare = Callable[[int], Run]


def mixture_model() -> DiffusionModel:
    """Three correlated components in the plane, one of them narrow."""
    mixture = gaussian_mixture(
        torch.tensor([0.5, 0.3, 0.2]),
        torch.tensor([[-1.0, 0.2], [0.8, 0.9], [0.4, -1.1]]),
        torch.tensor([[[0.30, 0.12], [0.12, 0.10]], [[0.02, 0.0], [0.0, 0.05]], [[0.2, -0.1], [-0.1, 0.3]]]),
    )
    process = GaussianDiffusion(LogSNRLinear(GAMMA_0, GAMMA_1))
    denoiser = MixtureDenoiser(mixture, VP())
    return DiffusionModel(process, denoiser, Continuous(), (2,), exact_prior(mixture, process))


class Free:
    """A denoiser that costs nothing: what is timed is the sampler."""

    decodes = False
    takes = NOTHING

    def __call__(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        return Prediction(z, z, None)


def levels(steps: int) -> Tensor:
    """γ from the noisy end down, (steps + 1,)."""
    return torch.linspace(GAMMA_1, GAMMA_0, steps + 1, dtype=torch.float64)


def ours(method: FixedStep) -> Prepare:
    def prepare(steps: int) -> Run:
        def run(model: DiffusionModel, z: Tensor) -> Tensor:
            return method(model, z, UniformLogSNR()(model.process.schedule, steps), torch.Generator().manual_seed(0))

        return run

    return prepare


def betas(steps: int) -> list[float]:
    """The discrete-time process whose levels are exactly ours."""
    kept = torch.sigmoid(-levels(steps).flip(0))
    return (1 - torch.cat((kept[:1], kept[1:] / kept[:-1]))).tolist()


def diffusers_ddim(steps: int) -> Run:
    scheduler = DDIMScheduler(
        num_train_timesteps=steps + 1, trained_betas=betas(steps), clip_sample=False, prediction_type="sample"
    )

    @torch.no_grad()
    def run(model: DiffusionModel, z: Tensor) -> Tensor:
        scheduler.set_timesteps(steps + 1)
        # The scheduler's own last step goes on to σ = 0.
        for t, gamma in zip(scheduler.timesteps[:-1], levels(steps)[:-1], strict=True):
            z = scheduler.step(model.denoiser(z, gamma.view(1, 1)).x, t, z).prev_sample
        return z

    return run


def diffusers_heun(steps: int) -> Run:
    scheduler = HeunDiscreteScheduler(num_train_timesteps=steps + 1, trained_betas=betas(steps))
    # Two evaluations a step, at both its ends, in coordinates z/α.
    places = [end for i in range(steps) for end in (i, i + 1)]

    @torch.no_grad()
    def run(model: DiffusionModel, z: Tensor) -> Tensor:
        scheduler.set_timesteps(steps + 1)
        scheduler.set_begin_index(0)
        gammas = levels(steps)
        alphas, _ = VP()(gammas)
        z = z / alphas[0]
        for place, t in zip(places, scheduler.timesteps, strict=False):
            z = scheduler.step(model.denoiser(alphas[place] * z, gammas[place].view(1, 1)).eps, t, z).prev_sample
        return z * alphas[-1]

    return run


def diffusers_dpm(algorithm: str) -> Prepare:
    def prepare(steps: int) -> Run:
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=steps + 1,
            trained_betas=betas(steps),
            prediction_type="sample",
            algorithm_type=algorithm,
            use_exponential_sigmas=True,
        )

        @torch.no_grad()
        def run(model: DiffusionModel, z: Tensor) -> Tensor:
            scheduler.set_timesteps(steps + 1)
            scheduler.set_begin_index(0)
            generator = torch.Generator().manual_seed(0)
            for t, gamma in zip(scheduler.timesteps[:-1], levels(steps)[:-1], strict=True):
                x = model.denoiser(z, gamma.view(1, 1)).x
                noise = standard_normal(z.shape, generator, z) if algorithm.startswith("sde") else None
                z = scheduler.step(x, t, z, variance_noise=noise).prev_sample
            return z

        return run

    return prepare


class AzulaSchedule(azula.noise.Schedule):
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return VP()(GAMMA_0 + (GAMMA_1 - GAMMA_0) * t)


class AzulaDenoiser(azula.denoise.Denoiser):
    def __init__(self, denoiser: Denoises) -> None:
        super().__init__()
        self.denoiser, self.schedule = denoiser, AzulaSchedule()

    def forward(self, x_t: Tensor, t: Tensor, **_: object) -> azula.denoise.Posterior:
        gamma = GAMMA_0 + (GAMMA_1 - GAMMA_0) * t
        return azula.denoise.DiracPosterior(self.denoiser(x_t, gamma.view(1, 1)).x)


def azulas(kind: type[azula.sample.Sampler]) -> Prepare:
    def prepare(steps: int) -> Run:
        def run(model: DiffusionModel, z: Tensor) -> Tensor:
            return kind(AzulaDenoiser(model.denoiser), steps=steps, silent=True, dtype=torch.float64)(z)

        return run

    return prepare


RIVALS: dict[str, dict[str, Prepare]] = {
    # azula's DDIMSampler draws noise at η = 0 too; its EulerSampler is the same method without.
    "DDIM": {"diffusers": diffusers_ddim, "azula": azulas(azula.sample.EulerSampler)},
    "Heun": {"diffusers": diffusers_heun, "azula": azulas(azula.sample.HeunSampler)},
    # azula has no 2M; its two-step exponential Adams–Bashforth method on x̂ is the nearest.
    "DPM-Solver++ (2M)": {"diffusers": diffusers_dpm("dpmsolver++"), "azula": azulas(azula.sample.xEABSampler)},
}


def errors() -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Root mean square error by method and library: (evaluations, error) pairs."""
    model = mixture_model()
    z_1 = model.prior(torch.zeros(EXAMPLES, 2)).sample(torch.Generator().manual_seed(0))
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    exact = ProbabilityFlow(1e-11, 1e-11)(model, z_1, ends, torch.Generator())

    def distance(z_0: Tensor) -> float:
        return (z_0.double() - exact).square().mean().sqrt().item()

    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, method in METHODS.items():
        runs = {"vlb": ours(method), **RIVALS[name]}
        found[name] = {
            library: [(n, distance(run(n // method.evaluations)(model, z_1))) for n in BUDGETS]
            for library, run in runs.items()
        }
    adaptive = []
    for exponent in EXPONENTS:
        tolerance = 10.0**-exponent
        *_, end = solve(flow_field(model), z_1, 1.0, 0.0, Tolerances(tolerance, tolerance))
        adaptive.append((end.evaluations, distance(end.y)))
    found["adaptive ODE"] = {"vlb": adaptive}
    return found


def sde_difference(steps: int) -> float:
    """The largest difference of the SDE solver from diffusers' with the same noise."""
    model = mixture_model()
    z_1 = model.prior(torch.zeros(EXAMPLES, 2)).sample(torch.Generator().manual_seed(0))
    theirs = diffusers_dpm("sde-dpmsolver++")(steps)(model, z_1)
    return (ours(DPMSolver(1.0))(steps)(model, z_1) - theirs).abs().max().item()


def step_times(repetitions: int, steps: int = 50) -> dict[str, dict[str, float]]:
    """Median microseconds per step by method and library, the denoiser being free."""
    model = DiffusionModel(GaussianDiffusion(LogSNRLinear(GAMMA_0, GAMMA_1)), Free(), Continuous(), (3, 32, 32))
    z = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found: dict[str, dict[str, float]] = {}
    for name, method in METHODS.items():
        runs = {library: prepare(steps) for library, prepare in {"vlb": ours(method), **RIVALS[name]}.items()}
        seconds: dict[str, list[float]] = {library: [] for library in runs}
        for repetition in range(repetitions + 1):
            for library, run in runs.items():
                started = time.perf_counter()
                run(model, z)
                if repetition:
                    seconds[library].append(time.perf_counter() - started)
        found[name] = {library: 1e6 * statistics.median(values) / steps for library, values in seconds.items()}
    return found


def draw(found: dict[str, dict[str, list[tuple[int, float]]]], path: Path) -> None:
    """Error against evaluations on logarithmic axes."""
    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "vlb"
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    colours = dict(zip(found, ("C0", "C1", "C2", "0.3"), strict=True))
    markers = {"diffusers": "x", "azula": "o"}
    for name, libraries in found.items():
        for library, points in libraries.items():
            x, y = zip(*points, strict=True)
            if library == "vlb":
                axes.loglog(x, y, color=colours[name], marker=".", label=f"vlb {name}")
            else:
                axes.loglog(
                    x, y, color=colours[name], marker=markers[library], markerfacecolor="none", linestyle="none"
                )
    for library, marker in markers.items():
        axes.plot([], [], color="0.5", marker=marker, markerfacecolor="none", linestyle="none", label=library)
    axes.set_xlabel("network evaluations")
    axes.set_ylabel("root mean square error of $z_0$")
    axes.set_xticks(BUDGETS, [str(n) for n in BUDGETS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--figure", type=Path)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    found, times = errors(), step_times(options.repetitions)
    print("| method | library | " + " | ".join(map(str, BUDGETS)) + " | time per step |")
    print("|---|---|" + "---:|" * (len(BUDGETS) + 1))
    for name in METHODS:
        for library, points in found[name].items():
            numbers = " | ".join(f"{error:.2e}" for _, error in points)
            ratio = times[name][library] / times[name]["vlb"]
            print(f"| {name} | {library} | {numbers} | {ratio:.2f} |")
    print("\n| tolerance of the adaptive ODE | evaluations | error |\n|---:|---:|---:|")
    for exponent, (evaluations, error) in zip(EXPONENTS, found["adaptive ODE"]["vlb"], strict=True):
        print(f"| 1e-{exponent} | {evaluations} | {error:.1e} |")
    ours_alone = ", ".join(f"{name} {times[name]['vlb']:.0f}" for name in METHODS)
    print(f"\nmicroseconds per step of vlb in this run: {ours_alone}")
    print(f"{SDE} against diffusers with the same noise, 64 steps: differs by {sde_difference(64):.1e} at most")
    if options.figure is not None:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
