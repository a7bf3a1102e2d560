"""`vlb compress`."""

from pathlib import Path

from rich.table import Table

from vlb.coding.api import Choice, Compressed, compress
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory, progress_bar, refuse_existing

NOTES_SHOWN = 10


def run_compression(path: Path, inputs: list[Path], out: Path, choice: Choice, device: str | None) -> None:
    """Compress `inputs` into the file `out` with the model of a run."""
    keep_freed_memory()
    refuse_existing(out)
    choice.budget()  # before a bar is drawn
    with progress_bar() as bar:
        task = bar.add_task("compressing", total=None, detail="")
        compressed = compress(
            path, inputs, out, choice, device=choose_device(device), report=lambda count: bar.advance(task, count)
        )
    notes = compressed.summary.notes
    for note in notes[:NOTES_SHOWN]:
        console.print(f"note: {note}", markup=False)
    if len(notes) > NOTES_SHOWN:
        console.print(f"note: and {len(notes) - NOTES_SHOWN} more files or chunks stored as they are")
    console.print(table(out, compressed))


def table(out: Path, compressed: Compressed) -> Table:
    """Rates in bits per value, and where they come from."""
    summary, settings = compressed.summary, compressed.settings
    view = Table(title=f"{out}: {summary.bytes_in:,} bytes in {summary.bytes_out:,}")
    view.add_column("")
    view.add_column("", justify="right")
    if summary.values:
        view.add_row("gross rate (whole file), bits/dim", f"{summary.gross:.4f}")
    if summary.values and summary.model_bytes:
        view.add_row("gross rate with the model", f"{summary.gross_with_model:.4f}")
    if summary.accounts:
        view.add_row("net rate of bits back, bits/dim", f"{summary.net(compressed.dimensions):.4f}")
        view.add_row("examples coded directly, for initial bits", f"{sum(a.direct for a in summary.accounts)}")
        view.add_row("initial bits", f"{sum(a.initial for a in summary.accounts):,.0f}")
    for name, value in settings.describe().items():
        view.add_row(name, value)
    view.add_row("lanes", str(settings.lanes))
    view.add_row("MB/s, verification included", f"{summary.bytes_in / 1e6 / max(summary.seconds, 1e-9):.4f}")
    return view
