"""`vlb import`."""

from pathlib import Path
from typing import Annotated

from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Out


def import_(source: str, *, data: Path, out: Annotated[Path, Out], device: str | None = None) -> None:
    """Make a run of a U-Net that was trained with diffusers: to state its bits/dim, to sample and to compress with it.

    Parameters
    ----------
    source
        A folder that diffusers has saved, with a UNet2DModel of pixels and its scheduler, or hf:owner/name.
    data
        Pictures of the model's size, as for `vlb train images`; `vlb evaluate` is about those of the test split.
    out
        The run directory, new.
    device
        cpu or cuda; by default cuda where there is one.
    """
    from vlb.interfaces.terminal import Terminal, choose_device, console

    keep_freed_memory()
    with Terminal() as progress:
        from vlb.training.imported import import_diffusers

        result = import_diffusers(source, data=data, out=out, device=choose_device(device), progress=progress)
    for note in result.notes:
        console.print(f"– {note}.", markup=False, highlight=False)
    console.print(f"imported; next: vlb evaluate {result.run.path}", markup=False)
