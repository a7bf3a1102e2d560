"""`vlb.sample`: examples from a trained model."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.condition import Condition, Role
from vlb.core.layouts import Points, VaryingPoints, Wave
from vlb.core.position import ANYWHERE, LASTING, Place
from vlb.core.ranks import ALONE, Ranks
from vlb.core.schema import Column, Schema
from vlb.core.surroundings import ordinary
from vlb.data.pieces import alone, tile_of
from vlb.data.rows import as_parquet, as_text
from vlb.data.sets import apart
from vlb.generate.batches import Bar, drawn
from vlb.generate.clouds import of_points, ply, scatter
from vlb.generate.options import SampleOptions
from vlb.generate.pictures import drawable, grid, png
from vlb.generate.sounds import audible, played, player, wav
from vlb.models.diffusion.grids import GRIDS, Density
from vlb.models.diffusion.loss import DiffusionTerms
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.samplers.stepping import Sampler
from vlb.models.diffusion.samplers.transforms import Guided, Told, clip_to_levels, transformed
from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.times import LearnedTime
from vlb.models.loss import AnyTerms
from vlb.models.protocols import Cooled, LikelihoodModel, offers, require
from vlb.store.runs import Run, diffusion_model

DEFAULT = SampleOptions()
PLAYED = 8  # samples, in a notebook


@dataclass(frozen=True)
class SampleResult(Result):
    """What `vlb.sample` returns. x: (n, *shape) whole numbers below `levels`, uint8 up to 256 levels and uint16 above;
    of points and of a table with real columns, which have no levels, float64, NaN beyond the points of a cloud that has
    fewer than others. how: the sampler and its steps in words, empty where there is nothing to say; columns: of a
    table, wave: of sound, points: of clouds, else None."""

    x: np.ndarray
    levels: int | None
    how: str
    columns: tuple[Column, ...] | None = None
    wave: Wave | None = None
    points: Points | None = None

    @property
    def words(self) -> str:
        """How many, and how."""
        return f"{len(self.x)} samples{self.how}"

    @property
    def clouds(self) -> list[np.ndarray]:
        """The points (n_i, d) of each cloud. Raises `UserError` for what are none."""
        if self.points is None:
            raise UserError(f"examples of shape {self.x.shape[1:]} are no clouds of points")
        return apart(self.x, ~np.isnan(self.x))

    @property
    def varying(self) -> bool:
        """Whether they are clouds of several numbers of points."""
        return self.points is not None and self.points.padded

    def values(self) -> dict[str, Any]:
        """Everything as JSON values; of clouds the points that each has."""
        x = self.x.tolist() if self.points is None else [cloud.tolist() for cloud in self.clouds]
        return {"x": x, "levels": self.levels, "how": self.words}

    def table(self) -> Table:
        """What they are."""
        rows = [("shape", " × ".join(map(str, self.x.shape[1:])))]
        if self.varying:
            sizes = [len(cloud) for cloud in self.clouds]
            rows = [("points", f"{min(sizes)} to {max(sizes)}"), ("coordinates", str(self.x.shape[2]))]
        if self.levels is not None:
            rows.append(("levels", str(self.levels)))
        return Table(self.words, ("", ""), (tuple(rows),))

    def as_png(self) -> bytes:
        """A grid of pictures. Raises `UserError` for examples that are no images, volumes or clouds."""
        if self.points is not None:
            return png(grid(scatter(self.clouds), 256))
        if self.wave is not None:
            raise UserError("sound is no picture: use .wav, or a folder for a file of each")
        if self.levels is None:
            raise UserError(f"examples of shape {self.x.shape[1:]} are no pictures: use .csv or .npz")
        return png(grid(self.x, self.levels))

    def as_wavs(self) -> list[bytes]:
        """A .wav file of each. Raises `UserError` for examples that are no sound."""
        return [wav(x, self.wave) for x in self.x]

    def as_wav(self) -> bytes:
        """The .wav file of the only one. Raises `UserError` where there are more, or they are no sound."""
        if len(self.x) != 1:
            raise UserError("a .wav file holds one sample: -n 1, or -o FOLDER for a file of each")
        return wav(self.x[0], self.wave)

    def as_ply(self) -> bytes:
        """The .ply file of the only cloud. Raises `UserError` where there are more, or they are none."""
        if len(self.x) != 1:
            raise UserError("a .ply file holds one cloud: -n 1, or -o FOLDER for a file of each")
        return ply(self.clouds[0] if self.points is not None else self.x[0])

    def as_files(self) -> tuple[str, list[bytes]]:
        """A file of each, and how their names end: .ply of clouds, else .wav. Raises `UserError` for what is
        neither."""
        return (".ply", [ply(x) for x in self.clouds]) if self.points is not None else (".wav", self.as_wavs())

    def as_npy(self) -> bytes:
        """The array by itself. Raises `UserError` for clouds of several numbers of points, which are none."""
        if self.varying:
            raise UserError("clouds of several numbers of points are no array: use .npz, or a folder of .ply files")
        buffer = BytesIO()
        np.save(buffer, self.x)
        return buffer.getvalue()

    def as_npz(self) -> bytes:
        """An archive with the array `x`; of clouds of several numbers of points that of all their points (points,
        coordinates), and `numbers`, how many each has."""
        buffer = BytesIO()
        if self.varying:
            clouds = self.clouds
            np.savez_compressed(buffer, x=np.concatenate(clouds), numbers=[len(cloud) for cloud in clouds])
        else:
            np.savez_compressed(buffer, x=self.x)
        return buffer.getvalue()

    def as_text(self, delimiter: str = ",") -> bytes:
        """A table of the columns' own cells under their names. Raises `UserError` for examples that are no rows."""
        return as_text(self.x, self._rows, delimiter)

    def as_parquet(self) -> bytes:
        """A Parquet file of the columns' own values. Raises `UserError` for examples that are no rows."""
        return as_parquet(self.x, self._rows)

    @property
    def _rows(self) -> tuple[Column, ...]:
        if self.columns is None:
            raise UserError(f"examples of shape {self.x.shape[1:]} are no rows of a table: use .npz")
        return self.columns

    def _repr_html_(self) -> str:
        if self.wave is not None:
            return "".join(player(played(x, self.wave)) for x in self.x[:PLAYED])
        if self.points is None and not drawable(self.x.shape[1:]):
            return super()._repr_html_()
        picture = b64encode(self.as_png()).decode()
        return f'<figure><img alt="{escape(self.words)}" src="data:image/png;base64,{picture}"></figure>'


@ordinary()
def sample(
    run: Run | str | Path,
    options: SampleOptions = DEFAULT,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> SampleResult:
    """Examples from a run's model, those of `vlb sample` with the same options.

    ranks: this process among those that share the batches out, which all return what one alone would. Raises
    `UserError` for options that the model cannot serve. The run's data are not needed.
    """
    SAMPLERS.kind(options.sampler, "--sampler")
    GRIDS.kind(options.grid, "--grid")
    progress.begin("opening the run")
    opened = run if isinstance(run, Run) else Run.open(run)
    n, label = options.n, _label(opened, options.label)
    if label is None or options.guidance is not None:
        opened.refuse_unlabelled("sampling without --class" if label is None else "--guidance")
    model = require(opened.model(device), LikelihoodModel, "samples are of a model of p(x)")
    if label is not None and opened.about is not None and opened.schema.labels is not None:
        name = opened.schema.labels[label]
        if opened.about.examples_of(name) == 0:
            progress.say(f"the class {name} had no training example: the model knows nothing of it")
    if options.temperature and not offers(model, Cooled):
        raise UserError(
            f"--temperature cools the rungs of a hierarchical VAE, and this run holds a {type(model).__name__}: "
            "leave it out"
        )

    schema, bar = opened.schema, Bar(progress)
    place = _place(schema, options)
    points = _points(schema, options.points, progress)

    def told(count: int, generator: torch.Generator) -> Condition:
        return alone(schema, count, label, place, generator, points).to(device)

    if offers(model, DiffusionModel) or options.of_diffusion:
        way = _by_diffusion(opened, model, options, told, bar)
    elif options.temperature and offers(model, Cooled):
        way = Way(lambda count, generator: model.cooled(count, tuple(options.temperature), generator))
    else:

        def own(count: int, generator: torch.Generator) -> Tensor:
            condition = told(count, generator)
            return there(model.sample(count, generator=generator, condition=condition), condition)

        way = Way(own)
    x, done = np.empty((n, *schema.shape), schema.dtype), 0
    progress.begin(f"sampling {so_many(n, 'example')}" + (", evaluations" if way.told else ""), n * (way.told or 1))
    ranks.refuse_different(lambda: (opened.fingerprint, options))
    for batch in drawn(n, schema, options.seed, way.draw, ranks):
        x[done : done + len(batch)] = batch
        done += len(batch)
        bar.reach(done * (way.told or 1))
    of = "" if label is None or schema.labels is None else f" of class {schema.labels[label]}"
    of += "" if schema.pieces is None else ", tiles by themselves,"
    of += f", {place}," if schema.layout.maps else ""
    return as_result(schema, x, of + way.how)


def as_result(schema: Schema, x: np.ndarray, how: str = "") -> SampleResult:
    """Examples x (n, *shape) of a schema, of pieces the tiles alone."""
    wave = audible(schema.layout, schema.count)
    return SampleResult(tile_of(schema, x), schema.count, how, schema.columns, wave, of_points(schema.layout))


class Way(NamedTuple):
    """How samples are drawn. draw: (count, generator) -> (count, *shape); told: of how many evaluations of the denoiser
    per example the bar is told meanwhile, None where only whole batches are counted; how: in words."""

    draw: Callable[[int, torch.Generator], Tensor]
    told: int | None = None
    how: str = ""


def _by_diffusion(
    run: Run,
    model: LikelihoodModel,
    options: SampleOptions,
    told: Callable[[int, torch.Generator], Condition],
    bar: Bar,
) -> Way:
    """By the sampler and the grid that were chosen; told: the condition of so many examples."""
    sampler: Sampler = SAMPLERS.kind(options.sampler, "--sampler")()
    chosen = diffusion_model(model, "a choice of sampler, --grid, --steps, --guidance or --clip")
    prepared, evaluations = _prepared(chosen, options), None
    times = _times(options, prepared.process.schedule, lambda: run.loss(chosen))
    how = f" by {options.sampler}" + ("" if options.sampler == "ode" else f" in {so_many(len(times) - 1, 'step')}")
    if sampler.evaluations is not None:
        evaluations = sampler.evaluations * (len(times) - 1) + prepared.decodings
        prepared = transformed(prepared, Told(prepared.denoiser, bar.move))

    def draw(count: int, generator: torch.Generator) -> Tensor:
        condition = told(count, generator)
        return there(generate(prepared, sampler, count, times, generator, condition), condition)

    return Way(draw, evaluations, how)


def there(x: Tensor, condition: Condition) -> Tensor:
    """Real numbers x (n, *shape) with NaN where elements are absent."""
    if condition.role is None or not x.is_floating_point():
        return x
    return x.masked_fill(condition.role == Role.ABSENT, torch.nan)


def _points(schema: Schema, number: int | None, progress: Progress) -> int | None:
    """How many points clouds are to have, None for as many as in training. Raises `UserError` where all have one
    number, and for more than there can be."""
    layout = schema.layout
    if number is None:
        return None
    if not isinstance(layout, VaryingPoints):
        raise UserError("--points is of models of clouds of several numbers of points: leave it out")
    if number > layout.shape[0]:
        raise UserError(f"--points {number}: the clouds that the model knows have at most {layout.shape[0]} points")
    if number not in layout.numbers:
        progress.say(f"no cloud for training had {number} points: the model goes by those of other numbers")
    return number


def _place(schema: Schema, options: SampleOptions) -> Place:
    """Where windows of sound are said to lie. Raises `UserError` where the model is not told, and for windows beyond
    the end of their recordings."""
    if (options.start, options.lasting) == (None, None):
        return ANYWHERE
    layout = schema.layout
    if not isinstance(layout, Wave) or not layout.position or layout.rate is None:
        raise UserError(
            "--start and --lasting are of windows of sound whose position a model is told (--set model.position=true): "
            "leave them out"
        )
    place = Place(options.start, LASTING if options.lasting is None else options.lasting)
    last = place.lasting - layout.shape[1] / layout.rate
    if last < 0 or (place.start or 0) > last:
        raise UserError(
            f"windows of {layout.shape[1] / layout.rate:g} s do not lie in recordings of {place.lasting:g} s "
            f"{f'from {place.start:g} s on' if place.start else 'at all'}: give a smaller --start or a longer --lasting"
        )
    return place


def _label(run: Run, name: str | None) -> int | None:
    """The number of a class. Raises `UserError` for one that the model does not know."""
    if name is None:
        return None
    if not run.conditional:
        raise UserError(f"{run.path} was trained without labels: leave out --class, or train with --condition labels")
    return run.schema.label(name)


def _prepared(model: DiffusionModel, options: SampleOptions) -> DiffusionModel:
    """The model with its denoiser guided and clipped as asked for."""
    if options.guidance is not None:
        model = transformed(model, Guided(model.denoiser, options.guidance))
    return transformed(model, clip_to_levels(model)) if options.clip else model


def _times(options: SampleOptions, schedule: Schedule, loss: Callable[[], AnyTerms]) -> Tensor:
    """The step grid; loss: what the model was trained by, asked only where the grid is what it learned."""
    steps = 1 if options.sampler == "ode" else options.steps or 100
    grid = GRIDS.kind(options.grid, "--grid")().build(lambda: learned_density(loss(), schedule))
    times: Tensor = grid(schedule, steps)
    return times


def learned_density(loss: AnyTerms, schedule: Schedule) -> Density:
    """The p(λ) that the times of a loss learned. Raises `UserError` where they did not."""
    times = loss.times if isinstance(loss, DiffusionTerms) else None
    if not isinstance(times, LearnedTime):
        raise UserError(
            "--grid learned places steps by the p(λ) that adaptive times learn, and this run was trained without: "
            "train with --set loss.times=adaptive (a learned schedule has its density in t: --grid t)"
        )
    return partial(times.density, schedule=schedule)
