"""`vlb sample`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vlb.base.errors import UserError
from vlb.base.files import made_new, write_new
from vlb.base.memory import keep_freed_memory
from vlb.generate.options import SampleOptions
from vlb.interfaces.commands import Flags, Out

if TYPE_CHECKING:
    from vlb.generate.sample import SampleResult

DEFAULT = SampleOptions()
WRITTEN: dict[str, Callable[["SampleResult"], bytes]] = {
    ".png": lambda result: result.as_png(),
    ".npy": lambda result: result.as_npy(),
    ".npz": lambda result: result.as_npz(),
    ".wav": lambda result: result.as_wav(),
    ".ply": lambda result: result.as_ply(),
    ".csv": lambda result: result.as_text(),
    ".tsv": lambda result: result.as_text("\t"),
    ".parquet": lambda result: result.as_parquet(),
}


def sample(
    run: Path,
    *,
    options: Annotated[SampleOptions, Flags] = DEFAULT,
    out: Annotated[Path, Out],
    device: str | None = None,
) -> None:
    """Generate examples.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    out
        A .png (a grid), .npy, .npz (array `x`), .wav (one sound), .ply (one cloud) or, of a table, .csv, .tsv or
        .parquet that does not exist yet; without a suffix a folder, for a .wav or .ply file of each sound or cloud.
    device
        cpu or cuda.
    """
    import numpy as np

    from vlb.interfaces.processes import at_work
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import console

    keep_freed_memory()
    if out.suffix and out.suffix not in WRITTEN:
        raise UserError(
            f"{out}: samples are written as .png (a grid), .npy, .npz (array x), .wav (one sound) or .ply (one cloud; "
            "a name without a suffix is a folder of either), or .csv, .tsv or .parquet (of a table)"
        )
    refuse_existing(out)
    with at_work(device) as own:
        from vlb.generate.sample import as_result
        from vlb.generate.sample import sample as verb
        from vlb.store.runs import Run

        opened = Run.open(run)
        # What cannot be written so is refused before it is drawn, which may take long.
        blank = np.zeros((min(options.n, 2), *opened.schema.shape), opened.schema.dtype)
        _contents(as_result(opened.schema, blank), out)
        result = verb(opened, options, device=own.device, progress=own.progress, ranks=own.ranks)
    if not own.ranks.writes:
        return
    suffix, contents = _contents(result, out)
    if out.suffix:
        write_new(out, contents[0])
    else:
        with made_new(out) as folder:
            for number, content in enumerate(contents, 1):
                (folder / f"{number:0{len(str(len(contents)))}}{suffix}").write_bytes(content)
    console.print(f"{result.words}: {out}", markup=False)


def _contents(result: "SampleResult", out: Path) -> tuple[str, list[bytes]]:
    """How the names of its files end, and what is in each. Raises `UserError` for what cannot be written so."""
    return (out.suffix, [WRITTEN[out.suffix](result)]) if out.suffix else result.as_files()
