"""What samples and filled gaps depend on. It needs no torch.

A field is the flag of `vlb sample` or `vlb impute` of the same name: its name, type, default and entry below are the
flag's.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from vlb.base.domains import Count, PointCount, Seed, Steps, Within
from vlb.base.errors import UserError
from vlb.base.options import Options

Seconds = Annotated[float, Within(0, 1e5)]


@dataclass(frozen=True)
class SampleOptions(Options):
    """How to sample. Raises `UserError` for options out of range, and for those that do not go together.

    Parameters
    ----------
    n
        How many.
    steps
        Denoising steps, by default 100: as many network evaluations per example, twice as many with heun.
    sampler
        ancestral, ddim, heun, heun-sde, dpm2m, dpm2m-sde, or ode, which finds its own steps.
    grid
        Where the steps are: equal in t, in log SNR (snr), as in EDM (edm), or in equal shares of the density that
        adaptive times learned (learned).
    guidance
        Strength of --class: 1 is the model as trained, above 1 more of the class; samples then have no bound.
    clip
        Keep every denoised estimate within the range of the data.
    temperature
        Of a hierarchical VAE: factors on the standard deviation of p, one for all rungs or one per rung, the rung
        next to the data first, e.g. --temperature 1 0.8 0.6.
    seed
        The same seed gives the same samples.
    label
        Which class, by its name or number, for a model trained with --condition labels.
    start
        Seconds from a recording's beginning at which windows begin, of a model of sound that is told their position;
        by default anywhere.
    lasting
        Seconds that the recordings last in which these windows are, by default 3.
    points
        Points of each cloud, of a model of clouds of several numbers of points; by default as many as clouds of its
        training data have, drawn at random.
    """

    n: Annotated[Count, Parameter(name=["-n", "--number"])] = 64
    steps: Steps | None = None
    sampler: str = "ancestral"
    grid: str = "t"
    guidance: Annotated[float, Within(-100, 100)] | None = None
    clip: bool = False
    temperature: Annotated[tuple[Annotated[float, Within(0, 100)], ...], Parameter(consume_multiple=True)] = ()
    seed: Seed = 0
    label: Annotated[str | None, Parameter(name="--class")] = None
    start: Seconds | None = None
    lasting: Seconds | None = None
    points: PointCount | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler == "ode" and (self.steps is not None or self.grid != "t"):
            raise UserError("--sampler ode finds its own steps: leave out --steps and --grid")
        if self.guidance is not None and self.label is None:
            raise UserError("--guidance strengthens a class: name it with --class")

    @property
    def of_diffusion(self) -> bool:
        """Whether anything is asked for that only diffusion models have."""
        return (self.sampler, self.grid, self.steps, self.guidance, self.clip) != ("ancestral", "t", None, None, False)


@dataclass(frozen=True)
class ImputeOptions(Options):
    """How to fill the gaps of a table. Raises `UserError` for options out of range, and for those that do not go
    together.

    Parameters
    ----------
    draws
        How many tables to draw: all missing cells of a row together, given those that are there. Several show how
        uncertain what is made of the table is.
    point
        Instead of drawing, put one value into each cell: mean, median or mode of its law. What is made of such a table
        is surer than it should be.
    long
        One table of all draws, one below the other, with a first column `draw` that counts from 1.
    uncertainty
        Add columns that say how sure the filled cells are: NAME_sd, the standard deviation, of a real column,
        NAME_probability, that of the value given, of others; empty beside cells that were there.
    method
        Of a diffusion model: conditional (descents whose network is told the known cells, the default), or weighted
        particles of the model of all cells together: twisted (moved towards what is known), or smc (only noised
        known cells put in their places: many particles).
    particles
        Of a diffusion model: how many descents of each row, with smc of each of its paths; by default 32, with smc 16;
        for --point median and mode four times as many.
    steps
        Of a diffusion model: steps of a descent, by default 50.
    seed
        The same seed gives the same draws.
    """

    draws: Annotated[int, Within(1, 10_000)] = 1
    point: Literal["mean", "median", "mode"] | None = None
    long: bool = False
    uncertainty: bool = False
    method: str | None = None
    particles: Annotated[int, Within(1, 1 << 16)] | None = None
    steps: Steps | None = None
    seed: Seed = 0

    @property
    def of_diffusion(self) -> bool:
        """Whether anything is asked for that only diffusion models have."""
        return (self.method, self.particles, self.steps) != (None, None, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.point is not None and (self.draws != 1 or self.long):
            raise UserError("--point puts one value into each cell, without draws: leave out --draws and --long")
