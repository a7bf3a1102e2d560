"""The PF-ODE's log-density on a trained digits model beside zuko's and torchdiffeq's, on the same vector field.

Each library integrates z and the exact divergence in its own way (this one in variance-preserving coordinates
that stay of order one) at the same tolerance, from the same z_0, in float64. Needs the extra `bench`.

    python benchmarks/bench_external.py [--run RUN] [--examples 4] [--tolerance 1e-4]

Without --run a digits model is trained for 300 steps first.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
import torchdiffeq
from torch import Tensor
from zuko.transforms import FreeFormJacobianTransform

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.condition import UNCONDITIONAL
from vlb.data import load
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.integrate import AdaptiveSteps
from vlb.models.diffusion.model import DiffusionModel
from vlb.store.runs import Run, diffusion_model
from vlb.training.loop import fit
from vlb.training.recipes import recipe


class Field:
    """dz/dt = −½σ²γ′ z + ½σγ′ ε̂ (Song et al. 2021, Eq. 13, variance-preserving), counting its evaluations."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model, self.evaluations = model, 0

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        self.evaluations += 1
        shaped = z.view(-1, *self.model.shape)
        schedule = self.model.process.schedule
        t = t.detach().double()
        variance, rate = torch.sigmoid(schedule.gamma(t)).item(), schedule.rate(t).item()
        eps = self.model.denoise(shaped, schedule.gamma(t).view(1, 1)).eps
        return (-0.5 * variance * rate * shaped + 0.5 * variance**0.5 * rate * eps).view_as(z)

    def with_divergence(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = state[0].detach().requires_grad_()
            slope = self(t, z)
            columns = (torch.autograd.grad(slope[:, d].sum(), z, retain_graph=True)[0][:, d] for d in range(z.shape[1]))
            return slope.detach(), torch.stack(list(columns)).sum(0)


def by_vlb(model: DiffusionModel, z: Tensor, tolerance: float) -> tuple[Tensor, int]:
    density = Flow(model, AdaptiveSteps(tolerance)).log_prob(z, UNCONDITIONAL, torch.Generator())
    return density.log_prob, density.evaluations


def by_zuko(model: DiffusionModel, z: Tensor, tolerance: float) -> tuple[Tensor, int]:
    field = Field(model)
    with torch.no_grad():
        z_1, change = FreeFormJacobianTransform(field, 0.0, 1.0, atol=tolerance, rtol=tolerance).call_and_ladj(
            z.flatten(1)
        )
        return model.prior(z_1.view_as(z)).log_prob(z_1.view_as(z)) + change, field.evaluations


def by_torchdiffeq(model: DiffusionModel, z: Tensor, tolerance: float) -> tuple[Tensor, int]:
    field = Field(model)
    start = (z.flatten(1), torch.zeros(len(z), dtype=z.dtype))
    times = torch.tensor([0.0, 1.0], dtype=z.dtype)
    with torch.no_grad():
        ends = torchdiffeq.odeint(field.with_divergence, start, times, rtol=tolerance, atol=tolerance)
        z_1, change = (part[-1] for part in ends)
        return model.prior(z_1.view_as(z)).log_prob(z_1.view_as(z)) + change, field.evaluations


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--examples", type=int, default=4)
    arguments.add_argument("--tolerance", type=float, default=1e-4)
    options = arguments.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        if options.run:
            run = Run.open(options.run)
        else:
            experiment, data = override(recipe("digits"), "steps=300"), load("digits")
            run = Run.create(Path(folder) / "run", experiment, data)
            fit(experiment, data, run)
        data = run.data()
        model = diffusion_model(run.model(), "a flow").double()
    x = torch.from_numpy(data.test.x[: options.examples])
    start = torch.zeros(1, dtype=torch.float64)
    z = model.process.marginal(model.embedding.embed(x).double(), start).sample(torch.Generator().manual_seed(0))
    reference, _ = by_vlb(model, z, options.tolerance / 100)
    print(f"log p(z_0) of {len(z)} digits, nats; reference: this library at tolerance {options.tolerance / 100:g}")
    print("\n| | mean | largest difference from the reference | evaluations | seconds |\n|---|---|---|---|---|")
    for name, solve in (("vlb", by_vlb), ("zuko", by_zuko), ("torchdiffeq", by_torchdiffeq)):
        began = time.monotonic()
        log_prob, evaluations = solve(model, z, options.tolerance)
        seconds = time.monotonic() - began
        worst = (log_prob - reference).abs().max().item()
        print(f"| {name} | {log_prob.mean().item():.4f} | {worst:.1e} | {evaluations} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
