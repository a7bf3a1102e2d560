"""`vlb sample`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.files import write_bytes
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory, refuse_existing
from vlb.models.diffusion.grids import GRIDS, Density
from vlb.models.diffusion.loss import DiffusionTerms
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.samplers.transforms import Guided, clip_to_levels, transformed
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.times import LearnedTime
from vlb.models.loss import AnyTerms
from vlb.models.vae.model import VariationalHierarchy
from vlb.pages.pictures import grid, png
from vlb.store.runs import Run, diffusion_model


@dataclass(frozen=True)
class Plan:
    """How to sample, in the words of the command line; `steps` None is 100, and all there is for `ode`."""

    sampler: str = "ancestral"
    grid: str = "t"
    steps: int | None = None
    guidance: float | None = None
    clip: bool = False

    def check(self, label: int | None) -> None:
        """Raises `UserError` for words that name nothing or do not go together."""
        SAMPLERS.kind(self.sampler, "--sampler")
        GRIDS.kind(self.grid, "--grid")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps must be at least 1, not {self.steps}")
        if self.sampler == "ode" and (self.steps is not None or self.grid != "t"):
            raise UserError("--sampler ode finds its own steps: leave out --steps and --grid")
        if self.guidance is not None and label is None:
            raise UserError("--guidance strengthens a class: name it with --class")

    def times(self, schedule: Schedule, loss: Callable[[], AnyTerms]) -> Tensor:
        """The step grid; loss: what the model was trained by, asked only where the grid is what it learned."""
        steps = 1 if self.sampler == "ode" else self.steps or 100
        grid = GRIDS.kind(self.grid, "--grid")().build(lambda: learned_density(loss(), schedule))
        times: Tensor = grid(schedule, steps)
        return times

    def prepare(self, model: DiffusionModel) -> DiffusionModel:
        """The model with its denoiser guided and clipped as planned."""
        if self.guidance is not None:
            model = transformed(model, Guided(model.denoiser, self.guidance))
        return transformed(model, clip_to_levels(model)) if self.clip else model


def learned_density(loss: AnyTerms, schedule: Schedule) -> Density:
    """The p(λ) that the times of a loss learned. Raises `UserError` where they did not."""
    if not isinstance(loss, DiffusionTerms) or not isinstance(loss.times, LearnedTime):
        raise UserError(
            "--grid learned places steps by the p(λ) that adaptive times learn, and this run was trained without: "
            "train with --set loss.times=adaptive (a learned schedule has its density in t: --grid t)"
        )
    return partial(loss.times.density, schedule=schedule)


def run_sampling(
    path: Path,
    n: int,
    plan: Plan,
    temperatures: list[float] | None,
    seed: int,
    label: int | None,
    out: Path,
    data: Path | None,
    device: str | None,
) -> None:
    """Draw samples and write them as a picture or an array."""
    keep_freed_memory()
    if out.suffix not in (".png", ".npz"):
        raise UserError(f"{out}: samples are written as .png (a grid) or .npz (array x)")
    if n < 1:
        raise UserError(f"-n must be at least 1, not {n}")
    plan.check(label)
    refuse_existing(out)
    run = Run.open(path)
    levels = run.data_description["levels"]
    classes = run.data_description["classes"] if run.experiment.condition == "labels" else 0
    if label is not None and not classes:
        raise UserError(f"{path} was trained without labels: leave out --class, or train with --condition labels")
    if label is not None and not 0 <= label < classes:
        raise UserError(f"there is no class {label}: {path} knows 0 to {classes - 1}")
    chosen = choose_device(device)
    model = run.model(run.data(data), chosen)
    condition = UNCONDITIONAL if label is None else Condition(label=torch.tensor([label], device=chosen)).repeat(n)
    generator, how = torch.Generator().manual_seed(seed), ""
    if temperatures and not isinstance(model, VariationalHierarchy):
        raise UserError(
            f"--temperature cools the levels of a hierarchical VAE, and this run holds a {type(model).__name__}: "
            "leave it out"
        )
    if isinstance(model, DiffusionModel) or plan != Plan():
        prepared = plan.prepare(diffusion_model(model, "a choice of sampler, --grid, --steps, --guidance or --clip"))
        times = plan.times(prepared.process.schedule, lambda: run.loss(model))
        x = generate(prepared, SAMPLERS.kind(plan.sampler, "--sampler")(), n, times, generator, condition)
        how = f" by {plan.sampler}" + ("" if plan.sampler == "ode" else f" in {len(times) - 1} steps")
    elif isinstance(model, VariationalHierarchy):
        x = model.sample(n, generator=generator, condition=condition, temperatures=temperatures)
    else:
        x = model.sample(n, generator=generator, condition=condition)
    samples = x.cpu().numpy().astype(np.uint8 if levels <= 256 else np.uint16)
    if out.suffix == ".npz":
        from io import BytesIO

        buffer = BytesIO()
        np.savez_compressed(buffer, x=samples)
        write_bytes(out, buffer.getvalue())
    else:
        write_bytes(out, png(grid(samples, levels)))
    console.print(f"{n} samples{how}: {out}")
