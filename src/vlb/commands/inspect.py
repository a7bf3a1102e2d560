"""`vlb inspect`."""

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vlb.coding.container import KIND_NAMES, MODEL, ArchiveReader
from vlb.errors import UserError

ROWS_SHOWN = 40


def run_inspection(path: Path) -> None:
    """Print what an archive says of itself, chunk by chunk, without its model. Raises `UserError` if it is damaged."""
    archive = ArchiveReader(path)
    header, settings, numerics = archive.header, archive.header.settings, archive.header.numerics
    view = Table(title=f"{path}: {archive.size:,} bytes", show_header=False)
    for name, value in (
        ("model", header.digest.hex() + (" (carried)" if header.embedded else "")),
        ("examples", f"{header.shape}, {header.levels} levels"),
        *settings.describe().items(),
        ("lanes", f"{settings.lanes}"),
        (
            "computed in",
            f"{numerics.dtype} on {numerics.device}, {numerics.threads} threads, "
            f"torch {numerics.torch[0]}.{numerics.torch[1]}",
        ),
    ):
        view.add_row(name, value)
    chunks = Table("chunk", "kind", "bytes", title="chunks")
    problems, model_bytes, total = [], 0, 0
    for index, chunk in enumerate(archive.chunks()):
        if isinstance(chunk, UserError):
            problems.append(str(chunk))
            continue
        total += 1
        model_bytes += chunk.size if chunk.kind == MODEL else 0
        if index < ROWS_SHOWN:
            kind = KIND_NAMES[chunk.kind] if chunk.kind < len(KIND_NAMES) else "unknown"
            chunks.add_row(f"{chunk.index}", kind, f"{chunk.size:,}")
    console = Console()
    console.print(view)
    console.print(chunks)
    if total > ROWS_SHOWN:
        console.print(f"… {total} chunks in all")
    console.print(f"model {model_bytes:,} bytes, the rest {archive.size - model_bytes:,}")
    console.print(f"dimensions per example: {math.prod(header.shape)}")
    for problem in problems:
        console.print(problem, markup=False)
    if problems:
        raise UserError(f"{path} is damaged: {len(problems)} problems, the first is: {problems[0]}")
