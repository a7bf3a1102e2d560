"""`vlb train`."""

import sys
from pathlib import Path
from typing import Annotated

from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Flags
from vlb.training.options import TrainOptions

DEFAULT = TrainOptions()


def train(
    recipe: str,
    *,
    out: Path | None = None,
    resume: bool = False,
    data: Path | None = None,
    options: Annotated[TrainOptions, Flags] = DEFAULT,
    track: tuple[str, ...] = (),
    device: str | None = None,
) -> None:
    """Train a recipe into a run directory.

    Parameters
    ----------
    recipe
        A name from `vlb recipes`.
    out
        The run directory, new unless --resume; by default the first free of runs/RECIPE, runs/RECIPE-2, …
    resume
        Go on from the last checkpoint of --out, exactly as if never interrupted.
    data
        Your own data, for the recipes `images`, `sound`, `volumes`, `points` and of tables; of pictures and tables
        also hf:owner/name, a data set of the Hub.
    track
        Draw what metrics.jsonl holds by `tensorboard` (in the run's folder) or `trackio`, too; may be repeated.
    device
        cpu or cuda; by default cuda where there is one.
    """
    from vlb.interfaces.processes import at_work
    from vlb.interfaces.terminal import console

    keep_freed_memory()
    with at_work(device) as own:
        from vlb.training.trackers import tracker
        from vlb.training.verb import train as verb

        result = verb(
            recipe,
            options,
            out=out,
            resume=resume,
            data=data,
            device=own.device,
            progress=own.progress,
            trackers=[tracker(tag) for tag in track],
            ranks=own.ranks,
        )
    if not own.ranks.writes:
        sys.exit(0 if result.finished else 130)
    path = result.run.path
    if not result.finished:
        console.print(f"interrupted; go on with: vlb train {recipe} --out {path} --resume")
        sys.exit(130)
    console.print(f"trained; next: vlb evaluate {path}")
