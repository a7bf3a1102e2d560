"""What a run's model knows: its samples, how one comes about, which examples are hard, and what may be where it is not
told."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.results import Strong, as_html
from vlb.base.results import Table as Words
from vlb.core.layouts import Image
from vlb.core.schema import Schema
from vlb.core.surroundings import ordinary
from vlb.data import Dataset
from vlb.data.pieces import alone, tile_of
from vlb.data.rows import of_file, texts
from vlb.data.sets import apart
from vlb.generate.clouds import of_points, scatter
from vlb.generate.impute import impute
from vlb.generate.inpaint import InpaintResult
from vlb.generate.options import ImputeOptions, SampleOptions
from vlb.generate.pictures import drawable, grid
from vlb.generate.sample import sample
from vlb.generate.sounds import audible, played, player
from vlb.models.protocols import LikelihoodModel
from vlb.pages.about import few_of, stated
from vlb.pages.film import descended, strips
from vlb.pages.markup import sheet_of_words, text, thumbnail
from vlb.store.runs import Run, diffusion_model

EXTREMES = 8
ROWS = 6  # of a table, to clear cells of
CANVAS = 320  # pixels, the least side of a picture to paint on


@dataclass(frozen=True, eq=False)
class Trained:
    """A run that is explored. name: as it was asked for; moved: where its own data are now."""

    name: str
    run: Run
    device: torch.device | str = "cpu"
    moved: Path | None = None

    @cached_property
    def model(self) -> LikelihoodModel:
        return self.run.model(self.device)

    @cached_property
    def data(self) -> Dataset:
        """The run's, or what stands in for them where they are gone."""
        return self.run.reference(self.model, self.moved)

    @property
    def schema(self) -> Schema:
        return self.run.schema

    @property
    def words(self) -> str:
        """What it is."""
        shape = " × ".join(map(str, self.schema.shape))
        return f"a {type(self.model).__name__} of {self.run.content['data']['name']}, {shape}, {self.schema.kind}"


def opened(name: str, device: torch.device | str = "cpu", moved: Path | None = None) -> Trained:
    """A run by its path or its name. Raises `UserError` where there is none."""
    trained = Trained(name, Run.open(name), device, moved)
    assert trained.model is not None  # a run without weights is refused at once
    return trained


def presented(x: np.ndarray, schema: Schema, captions: Sequence[str], observed: np.ndarray | None = None) -> str:
    """Examples (n, *shape) with a caption each: pictures, clouds of points, players, or rows of a table; observed:
    which of their elements are there, by default all.

    Raises `UserError` for what is none of these."""
    if drawable(x.shape[1:]):
        shown = tile_of(schema, x.astype(np.int64))
        elements = [thumbnail(one, schema.levels, caption) for one, caption in zip(shown, captions, strict=True)]
        return tiles(elements, captions)
    if of_points(schema.layout) is not None:
        seen = scatter(apart(x, observed))
        return tiles([thumbnail(one, 256, caption) for one, caption in zip(seen, captions, strict=True)], captions)
    if (wave := audible(schema.layout, schema.count)) is not None:
        return "".join(
            f"<figure>{player(played(one, wave))}<figcaption>{text(caption)}</figcaption></figure>"
            for one, caption in zip(x, captions, strict=True)
        )
    if schema.columns is None:
        raise UserError(
            f"examples of shape {x.shape[1:]} are no pictures, clouds, sounds or rows: see them by vlb sample -o x.npz"
        )
    names, cells = rows(x, observed, schema)
    return sheet_of_words(("", *names), ((caption, *row) for caption, row in zip(captions, cells, strict=True)), "")


def tiles(elements: Sequence[str], captions: Sequence[str]) -> str:
    """Pictures that are elements of HTML, with a caption each."""
    figures = (
        f"<figure>{element}<figcaption>{text(caption)}</figcaption></figure>"
        for element, caption in zip(elements, captions, strict=True)
    )
    return f'<div class="tiles">{"".join(figures)}</div>'


def rows(x: np.ndarray, observed: np.ndarray | None, schema: Schema) -> tuple[list[str], list[list[str]]]:
    """Names of the columns of a table, and its cells as texts, empty where they are not observed."""
    columns = schema.columns or ()
    names, found, place = [], [], 0
    for number, (column, values) in enumerate(of_file(x.astype(np.float64), columns), 1):
        cells = texts(values, column.kind)
        if observed is not None:
            cells = np.where(observed[:, place], cells, "")
        names.append(str(number) if column.name is None else column.name)
        found.append(cells)
        place += len(column.columns)
    return names, np.stack(found, 1).tolist()


@ordinary()
def samples(of: Trained, options: SampleOptions) -> str:
    """As `vlb sample` draws them."""
    found = sample(of.run, options, device=of.device)
    shown = presented(
        found.x,
        of.schema,
        ["" if drawable(found.x.shape[1:]) else str(i) for i in range(1, options.n + 1)],
        ~np.isnan(found.x) if found.varying else None,
    )
    return f"<p>{text(found.words)}</p>{shown}"


def temperatures(written: str) -> tuple[float, ...]:
    """Numbers between spaces. Raises `UserError` for what is none."""
    try:
        return tuple(map(float, written.split()))
    except ValueError as error:
        raise UserError(f"temperature: numbers between spaces are expected, and {written!r} has others") from error


@ordinary()
def path(of: Trained, steps: int, label: str | None, seed: int) -> str:
    """How one sample comes about. Raises `UserError` for other models than diffusion models of pictures."""
    model = diffusion_model(of.model, "a denoising path")
    condition = alone(of.schema)
    if label is not None:
        condition = replace(condition, label=torch.tensor([of.schema.label(label)]))
    else:
        of.run.refuse_unlabelled("a path without a class")
    _, film = descended(model, of.schema, condition.to(of.device), 1, np.array([0]), steps, seed)
    return (
        f"<figure>{strips(film)}<figcaption>One sample on its way down, in {steps} steps: the latent z at each log SNR "
        "in nats, scaled to unit variance of the process, and below it x̂(z), the mean of x that the model expects."
        "</figcaption></figure>"
    )


@ordinary()
def extremes(of: Trained) -> str:
    """The held-out examples that the model finds least and most likely. Raises `UserError` for one without p(x)."""
    of.run.refuse_without_likelihood(of.name)
    found = stated(of.model, of.run, of.data, of.device)
    few, nats = few_of(of.data.test), found.evaluation.totals
    order = np.argsort(-nats / few.sizes, kind="stable")
    count = min(EXTREMES, len(order))
    parts = []
    for title, index in (("Hardest", order[:count]), ("Easiest", order[::-1][:count])):
        captions = [f"{value:.1f}" for value in nats[index]]
        there = None if few.observed is None else few.observed[index]
        parts.append(f"<h3>{title}</h3>{presented(few.x[index], of.schema, captions, there)}")
    given = " given the class" if of.run.conditional else ""
    stands = f" {of.data.why}." if of.data.why else ""
    note = (
        f"−log p of {len(nats):,} {'tiles of test' if few.whole is not None else 'test'} examples in nats "
        f"({found.bound}{given}); in the mean {nats.mean():.1f} nats, {found.bits_per_dim:.3f} ± "
        f"{found.standard_error:.3f} bits/dim.{stands}"
    )
    return f'{"".join(parts)}<p class="note">{text(note)}</p>'


def probe(of: Trained) -> None:
    """Raises `UserError` where the model fills nothing, as `vlb impute` says it."""
    if isinstance(of.schema.layout, Image):
        empty = np.zeros(of.schema.shape[1:], bool)
        impute(of.run, np.zeros((1, *of.schema.shape), of.schema.dtype), mask=empty)
    else:
        completed(of, rows(*first_rows(of), of.schema)[1][:1], 1, 0)


def canvas(of: Trained, number: int) -> np.ndarray:
    """A held-out picture, enlarged to be painted on: (H, W, 3) uint8. Raises `UserError` for a number of none."""
    picture = grid(_example(of, number)[None].astype(np.int64), of.schema.levels, 1, 0)
    scale = _scale(of)
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    return colours.repeat(scale, 0).repeat(scale, 1)


def hole_of(of: Trained, painted: np.ndarray | None) -> np.ndarray:
    """Which pixels are painted, (H, W) bool: those of which at least half is. painted: the opacity of each pixel of a
    `canvas`, from 0 to 255, None where nothing is."""
    height, width = of.schema.shape[1:]
    scale = _scale(of)
    if painted is None:
        return np.zeros((height, width), bool)
    if painted.shape != (height * scale, width * scale):
        raise UserError("what was painted is of another size than the picture: show the example again")
    return painted.reshape(height, scale, width, scale).mean((1, 3)) >= 127.5


@ordinary()
def inpainted(of: Trained, number: int, hole: np.ndarray, draws: int, seed: int) -> str:
    """A held-out picture with the pixels of a hole (H, W) filled, as `vlb impute` fills them."""
    x = _example(of, number)
    if not hole.any():
        raise UserError("nothing is painted: paint the pixels that are to be filled")
    found = impute(of.run, x[None], ImputeOptions(draws=draws, seed=seed), mask=hole)
    assert isinstance(found, InpaintResult)
    known = np.where(hole, 0, x)
    pictures = [x, known, *found.x[:, 0]]
    captions = ["the example", "what is told", *(f"draw {i}" for i in range(1, draws + 1))]
    shown = presented(np.stack(pictures), of.schema, captions)
    return f"<p>{text(found.words)}: each draw is one from p(pixels painted | the others).</p>{shown}"


def first_rows(of: Trained) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of the test split, and which of their cells are observed."""
    few = of.data.test.take(np.arange(min(ROWS, len(of.data.test))))
    return few.x, few.observed


@ordinary()
def completed(of: Trained, cells: Sequence[Sequence[str]], draws: int, seed: int) -> str:
    """Rows of a table, cells as texts and empty where they are missing, with their gaps filled, as `vlb impute` fills
    them. Raises `UserError` as it does."""
    names = rows(*first_rows(of), of.schema)[0]
    if any(len(row) != len(names) for row in cells):
        raise UserError(f"a row has a cell for each of the {len(names)} columns: {', '.join(names)}")
    named = (of.schema.columns or ())[0].name is not None
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([*([names] if named else []), *cells])
    with TemporaryDirectory(prefix="vlb-") as folder:
        table = Path(folder) / "rows.csv"
        table.write_text(written.getvalue(), "utf-8")
        try:
            found = impute(of.run, table, ImputeOptions(draws=draws, seed=seed))
        except UserError as error:
            raise UserError(str(error).replace(str(table), "the table")) from error
    filled = [list(csv.reader(io.StringIO(one.decode())))[named:] for one in found.tables]
    sections = tuple(
        tuple((f"row {number}, draw {draw}", *_marked(own, table[number - 1])) for draw, table in enumerate(filled, 1))
        for number, own in enumerate(cells, 1)
        if not all(own)
    )
    return as_html(Words(found.words, ("", *names), sections, numbers=False))


def _marked(before: Sequence[str], after: Sequence[str]) -> list[str]:
    return [cell if own else Strong(cell) for own, cell in zip(before, after, strict=True)]


def _example(of: Trained, number: int) -> np.ndarray:
    """A test example by its number from 0. Raises `UserError` where there is none."""
    most = len(of.data.test) - 1
    if number != int(number) or not 0 <= number <= most:
        raise UserError(f"test examples are numbered from 0 to {most:,}, and {number} is none of these")
    found: np.ndarray = of.data.test.x[int(number)]
    return found


def _scale(of: Trained) -> int:
    return -(-CANVAS // max(of.schema.shape[1:]))
