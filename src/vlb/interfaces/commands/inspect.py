"""`vlb inspect`."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vlb.base.errors import UserError
from vlb.coding.accounting import Audit, Outline, audited, outlined
from vlb.coding.api import open_model
from vlb.coding.container import KIND_NAMES, ArchiveReader
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory

ROWS_SHOWN = 40


def run_inspection(path: Path, account: bool, model_run: Path | None, device: str | None) -> None:
    """Print what an archive says of itself; with `account`, where its bits went. Raises `UserError` if damaged."""
    archive = ArchiveReader(path)
    found = outlined(archive)
    problems = [str(chunk) for chunk in found if isinstance(chunk, UserError)]
    whole = [chunk for chunk in found if isinstance(chunk, Outline)]
    audit = None
    if account and not problems:
        keep_freed_memory()
        opened = open_model(archive, model_run, choose_device(device))
        with console.status("decoding and encoding again"):
            audit = audited(archive, opened.codec, opened.model, opened.columns)
    out = Console()
    out.print(_about(archive))
    out.print(_chunks(whole))
    if len(whole) > ROWS_SHOWN:
        out.print(f"… {len(whole)} chunks in all")
    out.print(_accounts(archive, whole, audit))
    if not account:
        out.print("--account decodes it and adds bound, net rate, initial bits and speed")
    for problem in problems:
        out.print(problem, markup=False)
    if problems:
        raise UserError(f"{path} is damaged: {len(problems)} problems, the first is: {problems[0]}")


def _about(archive: ArchiveReader) -> Table:
    header, numerics = archive.header, archive.header.numerics
    view = Table(title=f"{archive.path}: {archive.size:,} bytes", show_header=False)
    for name, value in (
        ("model", header.digest.hex() + (" (carried)" if header.embedded else "")),
        ("examples", f"{header.shape}, {header.levels} levels"),
        *header.settings.describe().items(),
        ("lanes", str(header.settings.lanes)),
        (
            "computed in",
            f"float64 on {numerics.device}, {numerics.threads} threads, torch {numerics.torch[0]}.{numerics.torch[1]}",
        ),
    ):
        view.add_row(name, value)
    return view


def _chunks(found: list[Outline]) -> Table:
    view = Table("chunk", "kind", "bytes", "examples", "coded", title="chunks")
    for outline in found[:ROWS_SHOWN]:
        if outline.direct is not None:
            how = f"by the model, {outline.direct} of them directly"
        else:
            how = "by the general codec"
        view.add_row(
            f"{outline.index}", KIND_NAMES[outline.kind], f"{outline.size:,}", f"{outline.examples or ''}", how
        )
    return view


def _accounts(archive: ArchiveReader, found: list[Outline], audit: Audit | None) -> Table:
    """Rates in bits per value of the examples; files that are stored as they are, are left out of these."""
    coded = [outline for outline in found if outline.examples]
    count = sum(outline.examples for outline in coded) * math.prod(archive.header.shape)
    model_bytes = archive.model_bytes
    others = sum(outline.size for outline in found if not outline.examples)
    view = Table("", "bits/dim", title=f"{count:,} values in examples")
    view.columns[1].justify = "right"
    if count:
        if audit is not None:
            view.add_row("bound (one draw of the latents)", f"{audit.bound / count:.4f}")
            if not math.isnan(audit.net):
                view.add_row("net rate of bits back", f"{audit.net:.4f}")
        left_out = ", other contents left out" if others else ""
        view.add_row(f"gross rate (whole file{left_out})", f"{8 * (archive.size - model_bytes - others) / count:.4f}")
        view.add_row("gross rate with the model", f"{8 * (archive.size - others) / count:.4f}")
    for name, size in (("model", model_bytes), ("other contents: files as they are, other arrays", others)):
        if size:
            view.add_row(name, f"{size:,} bytes")
    if audit is not None and audit.accounts:
        view.add_row("initial bits, from examples coded directly", f"{audit.initial:,.0f} bits")
    if audit is not None and audit.examples:
        view.add_row("encoding", f"{audit.bytes_in / 1e6 / audit.encoding:.4f} MB/s")
        view.add_row("decoding", f"{audit.bytes_in / 1e6 / audit.decoding:.4f} MB/s")
    return view
