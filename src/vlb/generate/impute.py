"""`vlb.impute`: the gaps of a table filled from p(missing | observed)."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.files import written_new
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.layouts import Image
from vlb.core.schema import Column, Real
from vlb.core.surroundings import ordinary
from vlb.data.columns import placed
from vlb.data.filled import Filled, filled
from vlb.data.mixed import Numbered, Sheet, array, frame, numbered, sheet
from vlb.data.notes import FIRST
from vlb.data.rows import of_file, require_pyarrow
from vlb.generate.gaps import Gaps
from vlb.generate.inpaint import PURPOSE, WHOLE, InpaintResult, inpaint
from vlb.generate.options import ImputeOptions
from vlb.generate.outputs import outputs
from vlb.generate.points import POINTS
from vlb.models.diffusion.methods import method_of
from vlb.models.diffusion.rows import TableDiffusion
from vlb.models.protocols import Imputing, offers, require
from vlb.store.runs import Run

DEFAULT = ImputeOptions()


@dataclass(frozen=True)
class ImputeResult(Result):
    """What `vlb.impute` returns. tables: the table with its gaps filled, once per draw, or one with `long` or of a
    point: the bytes of a file for a file, DataFrames or arrays of the same kind for these; cells: how many were filled,
    by column; rows: of the table; how: what was put there, in words."""

    tables: tuple[Any, ...]
    cells: Mapping[str, int]
    rows: int
    how: str

    @property
    def words(self) -> str:
        """How many cells, and how."""
        count = sum(self.cells.values())
        return (
            f"{so_many(count, 'cell')} of {so_many(self.rows, 'row')} filled, {self.how}"
            if count
            else "no cell is missing: copied as it is"
        )

    def values(self) -> dict[str, Any]:
        """What was filled as JSON values; the tables are in `tables`."""
        return {"cells": dict(self.cells), "rows": self.rows, "how": self.how, "tables": len(self.tables)}

    def table(self) -> Table:
        """The columns with gaps."""
        cells = tuple((name, str(count)) for name, count in self.cells.items())
        return Table(self.words, ("column", "cells filled"), (cells,))

    def write(self, out: str | Path) -> tuple[Path, ...]:
        """Write a file's tables to new files, all or none: `out`, or of several draws NAME-1.csv, NAME-2.csv, … beside
        it. Raises `UserError` for one that exists, and for DataFrames and arrays, which write themselves."""
        if not all(isinstance(table, bytes) for table in self.tables):
            raise UserError("DataFrames and arrays are in `tables`, and write themselves")
        paths = outputs(Path(out), len(self.tables))
        with ExitStack() as stack:
            for path, content in zip(paths, self.tables, strict=True):
                stack.enter_context(written_new(path)).write_bytes(content)
        return paths


@overload
def impute(
    run: Run | str | Path,
    examples: Any,
    options: ImputeOptions = DEFAULT,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ImputeResult: ...


@overload
def impute(
    run: Run | str | Path,
    examples: Any,
    options: ImputeOptions = DEFAULT,
    *,
    mask: Any,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> InpaintResult: ...


@ordinary()
def impute(
    run: Run | str | Path,
    examples: Any,
    options: ImputeOptions = DEFAULT,
    *,
    mask: Any = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ImputeResult | InpaintResult:
    """The table with its gaps filled from p(missing | observed), or pictures with the pixels under a mask, as `vlb
    impute` writes them.

    examples: the path of a file (.csv, .tsv, .parquet, .npy, …), a DataFrame of pandas, polars or pyarrow, or an array
    (n, D) with NaN where a cell is missing; with a mask, the path of a picture, of a folder of pictures or of an .npy
    file, or an array (H, W), (C, H, W), (n, H, W), (n, C, H, W) or (n, H, W, C). mask: a picture, a folder with one of
    the same name for each picture, an .npy file or an array; what is not 0 is to be filled. device: where pictures are
    filled; tables are on the CPU. Cells and pixels that are there are not touched, and columns that the model does not
    know pass through as they are.

    Raises `UserError` for a model that knows no conditional laws, for a table without the model's columns, for cells
    that are no values of their column, and for pictures and masks of other sizes than the model's.
    """
    progress.begin("opening the run")
    opened = run if isinstance(run, Run) else Run.open(run)
    if mask is not None:
        return inpaint(opened, examples, mask, options, device, progress)
    if isinstance(opened.schema.layout, Image):
        opened.schema.refuse_pieces(PURPOSE, WHOLE)
        raise UserError(f"{opened.path} is of pictures: say which pixels are to be filled, with --mask")
    if torch.device(device).type != "cpu":
        raise UserError("the gaps of tables are filled on the CPU: leave out --device")
    return _filled(opened, examples, options, progress)


def _filled(opened: Run, table: Any, options: ImputeOptions, progress: Progress) -> ImputeResult:
    """The gaps of a table."""
    purpose = (
        "gaps are filled by models of tables (the recipes table, table-vae, table-diffusion, and discrete-table as a "
        "mixture), by no other kind of model"
    )
    more = POINTS[options.point].more if options.point else 1
    method = method_of(options.method or "conditional", options.particles, options.steps, "--method", more)
    model = require(opened.model(), Imputing, purpose)
    if options.of_diffusion:
        what = "--method, --particles and --steps are of diffusion models of tables (the recipe table-diffusion)"
        model = require(model, TableDiffusion, what)
    if offers(model, TableDiffusion):
        model = model.by(method)
    columns = opened.schema.columns or ()
    path = Path(table).expanduser() if isinstance(table, str | Path) else None
    brought = sheet(path, columns[0].name is not None) if path is not None else _given(table)
    rows = numbered(brought, columns)
    for note in (*brought.guessed, *rows.notes, *rows.empty):
        progress.say(note)
    _refuse_unseen(brought, rows)
    if rows.others:
        progress.say(f"kept as they are, for the model has no such column: {', '.join(map(repr, rows.others[:20]))}")
    found = Brought(brought, rows, columns)
    draws, effort = found.fills(model, options, progress)
    tables = filled(brought, draws, options.long)
    if path is not None:
        tables = [one if isinstance(one, bytes) else _packed(one, path.suffix.lower()) for one in tables]
    cells = {found.name(fill): int(fill.missing.sum()) for fill in draws[0]}
    how = f"each by its {options.point}" if options.point else f"in {so_many(options.draws, 'draw')}"
    return ImputeResult(tuple(tables), cells, len(brought), f"{how}, {effort}" if effort else how)


@dataclass(frozen=True, eq=False)
class Brought:
    """A table under the columns of a schema."""

    sheet: Sheet
    rows: Numbered
    columns: tuple[Column, ...]

    def fills(self, model: Imputing, options: ImputeOptions, progress: Progress) -> tuple[list[list[Filled]], str]:
        """The columns with gaps, once for each draw, or once for a point; and how far they can be trusted, in words."""
        places = placed(self.columns)
        missing = ~self.rows.observed[:, [place for place, _ in places]]
        where = np.flatnonzero(missing.any(1))
        x, known = (torch.from_numpy(part[where]) for part in (self.rows.x, self.rows.observed))
        generator = torch.Generator().manual_seed(options.seed)
        gaps = Gaps(model, self.columns, x, known, generator)
        count = 1 if options.point else options.draws
        if not len(where):
            return [[]] * count, ""
        progress.begin(f"filling the gaps of {so_many(len(where), 'row')}", count)
        deviations = gaps.deviations() if options.uncertainty else []
        found = []
        for number in range(count):
            said = gaps.point(POINTS[options.point]) if options.point else gaps.draw(generator)
            sure = _sure(gaps, said, deviations) if options.uncertainty else [None] * len(said)
            found.append(self._put(where, missing, said, sure))
            progress.at(number + 1)
        return found, gaps.effort

    def name(self, fill: Filled) -> str:
        """What a column is called, by its number where it has no name."""
        return str(fill.place + 1) if fill.column.name is None else fill.column.name

    def _put(
        self, where: np.ndarray, missing: np.ndarray, said: list[np.ndarray], sure: Sequence[np.ndarray | None]
    ) -> list[Filled]:
        """What is said of the rows `where`, (m,) by column, beside what is in all rows."""
        names = [cells.name for cells in self.sheet.cells]
        found = []
        for number, (column, own) in enumerate(of_file(self.rows.x, self.columns)):
            if not missing[:, number].any():
                continue
            values, gone = own.astype(np.float64), missing[:, number]
            values[gone] = said[number][gone[where]]
            how, known = sure[number], None
            if how is not None:
                known = np.full(len(values), np.nan)
                known[where] = how
            place = number if column.name is None else names.index(column.name)
            measure = "sd" if isinstance(column.kind, Real) else "probability"
            found.append(Filled(place, column, values, gone, known, measure))
        return found


def _sure(gaps: Gaps, said: list[np.ndarray], deviations: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """The standard deviation of real cells, and the probability of what is said of the others."""
    likely = gaps.likelihoods(said)
    return [p if deviation is None else deviation for deviation, p in zip(deviations, likely, strict=True)]


def _refuse_unseen(brought: Sheet, rows: Numbered) -> None:
    if rows.changed:
        raise UserError(f"{rows.changed[0]}: mend the column, or leave it empty")
    if rows.unseen:
        first = "; ".join(list(rows.unseen.values())[:FIRST]) + ("; …" if len(rows.unseen) > FIRST else "")
        verb = "has" if len(rows.unseen) == 1 else "have"
        raise UserError(
            f"{brought.what}: {so_many(len(rows.unseen), 'row')} {verb} cells that are no values of their columns "
            f"({first}): mend or empty these cells; for a column of categories, `other = true` in schema.toml takes "
            "them, after training again"
        )


def _given(table: Any) -> Sheet:
    """An array or a DataFrame."""
    return array(table) if isinstance(table, np.ndarray) else frame(table)


def _packed(table: Any, suffix: str) -> bytes:
    """A pyarrow table, or an array, as a file."""
    stream = BytesIO()
    if suffix == ".npy":
        np.save(stream, table, allow_pickle=False)
        return stream.getvalue()
    arrow, parquet = require_pyarrow()
    if suffix == ".parquet":
        parquet.write_table(table, stream)
    else:
        with arrow.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()
