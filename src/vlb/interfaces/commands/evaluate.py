"""`vlb evaluate`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Flags
from vlb.measure.options import EvaluateOptions

DEFAULT = EvaluateOptions()


def evaluate(
    run: Path,
    *,
    split: str = "test",
    options: Annotated[EvaluateOptions, Flags] = DEFAULT,
    data: Path | None = None,
    json: Path | None = None,
    values: Path | None = None,
    device: str | None = None,
) -> None:
    """State the bound on −log p(x) of held-out data in bits/dim, with its terms, errors and baselines.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    split
        test, validation or train, or the path of examples of your own: a folder of images, an .npy, .npz or IDX file,
        or a table of the same columns.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    values
        Keep the values per example in this .npz file, by default in RUN/evaluations; the same command goes on with
        what an interrupted one has left there.
    device
        cpu or cuda.
    """
    from vlb.interfaces.processes import at_work
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import show, write_json

    keep_freed_memory()
    refuse_existing(json)
    with at_work(device) as own:
        from vlb.measure.evaluate import evaluate as verb
        from vlb.measure.summary import EvaluationResult

        result = verb(
            run,
            split,
            options,
            data=data,
            values=values,
            keep=True,
            device=own.device,
            progress=own.progress,
            ranks=own.ranks,
        )
    if not own.ranks.writes:
        return
    show(result)
    if isinstance(result, EvaluationResult) and result.shortfall:
        raise UserError(result.shortfall)
    write_json(result, json)
    if isinstance(result, EvaluationResult) and values is not None and result.kept is None:
        raise UserError(f"the values are not in {values}, which could not be written")
