"""`vlb compress`."""

import math
from pathlib import Path

import torch
from rich.table import Table

from vlb.coding.carried import bare_model, carried, numerics
from vlb.coding.container import Header
from vlb.coding.diffusion import MAX_LANES
from vlb.coding.effort import Effort, chosen_settings, effort
from vlb.coding.models import levels
from vlb.coding.settings import Settings
from vlb.coding.sources import items
from vlb.coding.writing import Options, Summary, write_archive
from vlb.commands.process import choose_device, console, keep_freed_memory, progress_bar, refuse_existing
from vlb.errors import UserError
from vlb.models.diffusion import DiffusionModel
from vlb.runs import Run

NOTES_SHOWN = 10


def run_compression(
    path: Path,
    inputs: list[Path],
    out: Path,
    effort_name: str,
    steps: int | None,
    lanes: int | None,
    embed: bool,
    verify: bool,
    data: Path | None,
    device: str | None,
) -> None:
    """Compress `inputs` into the file `out` with the model of a run."""
    keep_freed_memory()
    refuse_existing(out)
    if not inputs:
        raise UserError("give what to compress: folders of images, image files, .npy, .npz or IDX files")
    for given in inputs:
        if not given.exists():
            raise UserError(f"there is nothing at {given}")
    run = Run.open(path)
    chosen = choose_device(device)
    model, digest, columns = bare_model(run, chosen)
    budget = _budget(effort_name, steps, lanes)
    if steps is not None and not isinstance(model, DiffusionModel):
        raise UserError(f"--steps is for diffusion models: a {type(model).__name__} has the levels that it has")
    with console.status("placing levels"):
        settings = chosen_settings(run.path, digest, model, _validation(run, data), budget)
    shape, count = model.shape, levels(model)
    codec = settings.codec(model)
    header = Header(digest, embed, shape, count, settings, numerics(chosen))
    found = items(inputs, shape, count)
    with progress_bar() as bar:
        task = bar.add_task("compressing", total=None, detail="")
        options = Options(verify, lambda count: bar.advance(task, count), columns)
        summary = write_archive(out, header, codec, found, carried(run) if embed else None, options)
    for note in summary.notes[:NOTES_SHOWN]:
        console.print(f"note: {note}", markup=False)
    if len(summary.notes) > NOTES_SHOWN:
        console.print(f"note: and {len(summary.notes) - NOTES_SHOWN} more files or chunks stored as they are")
    console.print(table(out, summary, settings, math.prod(shape)))


def table(out: Path, summary: Summary, settings: Settings, dimensions: int) -> Table:
    """Rates in bits per value, and where they come from."""
    view = Table(title=f"{out}: {summary.bytes_in:,} bytes in {summary.bytes_out:,}")
    view.add_column("")
    view.add_column("", justify="right")
    view.add_row("gross rate (whole file), bits/dim", f"{summary.gross:.4f}")
    if summary.model_bytes:
        view.add_row("gross rate with the model", f"{summary.gross_with_model:.4f}")
    if summary.accounts:
        view.add_row("net rate of bits back, bits/dim", f"{summary.net(dimensions):.4f}")
        view.add_row("examples coded directly, for initial bits", f"{sum(a.direct for a in summary.accounts)}")
        view.add_row("initial bits", f"{sum(a.initial for a in summary.accounts):,.0f}")
    for name, value in settings.describe().items():
        view.add_row(name, value)
    view.add_row("lanes", f"{settings.lanes}")
    view.add_row("MB/s, verification included", f"{summary.bytes_in / 1e6 / max(summary.seconds, 1e-9):.4f}")
    return view


def _budget(name: str, steps: int | None, lanes: int | None) -> Effort:
    base = effort(name)
    budget = Effort(base.steps if steps is None else steps, base.lanes if lanes is None else lanes)
    if not 1 <= budget.steps <= 200 or not 1 <= budget.lanes <= MAX_LANES:
        raise UserError(f"--steps is from 1 to 200 and --lanes from 1 to {MAX_LANES}, not {steps} and {lanes}")
    return budget


def _validation(run: Run, data: Path | None) -> torch.Tensor | None:
    """Examples to place levels with; None where the run's data cannot be had."""
    try:
        x = run.data(data).validation.x
    except UserError as error:
        if data is not None:
            raise
        console.print(f"note: levels are spread evenly, for want of validation data ({error})", markup=False)
        return None
    return torch.from_numpy(x[:256].copy())
