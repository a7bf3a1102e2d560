"""`vlb score`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.files import made_new, write_new
from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Flags, Out
from vlb.measure.options import ScoreOptions

DEFAULT = ScoreOptions()


def score(
    run: Path,
    examples: str,
    *,
    out: Annotated[Path, Out],
    options: Annotated[ScoreOptions, Flags] = DEFAULT,
    maps: Path | None = None,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Write −log p of every example, in nats and bits/dim, with its Monte Carlo error.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    examples
        A folder of images, an .npy, .npz or IDX file, a table of the same columns, or train, validation or test of the
        run's own data.
    out
        The .npz or .csv file to make; it must not exist yet.
    maps
        The new folder to make of maps of unlikely parts, a PNG per picture, by a run with --crop.
    data
        Where the run's own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.processes import at_work
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import output

    keep_freed_memory()
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"{out}: scores are written as .npz or .csv")
    refuse_existing(out)
    refuse_existing(maps)
    with at_work(device) as own:
        from vlb.measure.score import score as verb

        result = verb(run, examples, options, data=data, device=own.device, progress=own.progress, ranks=own.ranks)
    if not own.ranks.writes:
        return
    write_new(out, result.as_csv() if out.suffix == ".csv" else result.as_npz())
    output().print(f"{result.words}: {out}", markup=False, highlight=False)
    if maps is not None:
        with made_new(maps) as folder:
            for name, picture in result.maps():
                path = folder / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture)
        output().print(f"{result.tiled.words if result.tiled else 'maps'}: {maps}", markup=False, highlight=False)
