"""`vlb tightness`."""

from pathlib import Path
from typing import Annotated

from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Flags
from vlb.measure.options import TightnessOptions

DEFAULT = TightnessOptions()


def tightness(
    run: Path,
    *,
    split: str = "test",
    options: Annotated[TightnessOptions, Flags] = DEFAULT,
    data: Path | None = None,
    json: Path | None = None,
    device: str | None = None,
) -> None:
    """Say how far the bound of a trained model is from its log p(x), at least, and what cannot be known of that.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    split
        test, validation or train.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    device
        cpu or cuda.
    """
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, choose_device, show, write_json

    keep_freed_memory()
    refuse_existing(json)
    with Terminal() as progress:
        from vlb.measure.tightness.measured import tightness as verb

        chosen = choose_device(device)
        result = verb(run, split, options, data=data, device=chosen, progress=progress)
    show(result)
    write_json(result, json)
