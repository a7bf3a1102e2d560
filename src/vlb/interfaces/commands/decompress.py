"""`vlb decompress`."""

import time
from pathlib import Path

from vlb.base.errors import UserError
from vlb.coding.api import decompress
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory


def run_decompression(
    path: Path, out: Path, model_run: Path | None, stop_after: int | None, salvage: bool, device: str | None
) -> None:
    """Restore the files of an archive into the new folder `out`."""
    keep_freed_memory()
    started = time.perf_counter()
    with console.status("decompressing"):
        problems = decompress(
            path, out, run=model_run, stop_after=stop_after, salvage=salvage, device=choose_device(device)
        )
    for problem in problems:
        console.print(problem, markup=False)
    console.print(f"{out} in {time.perf_counter() - started:.1f} s", markup=False)
    if problems:
        raise UserError(f"{path} is damaged: {len(problems)} problems; everything else is in {out}")
