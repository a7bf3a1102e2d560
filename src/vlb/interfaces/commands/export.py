"""`vlb export`."""

from pathlib import Path
from typing import Annotated

from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Out


def export(run: Path, *, out: Annotated[Path, Out], steps: int = 1000) -> None:
    """Write a run of a U-Net as a pipeline that diffusers loads and that draws the same images.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    out
        A folder that does not exist yet.
    steps
        Of its scheduler.
    """
    from vlb.interfaces.terminal import console
    from vlb.pages.export import export_diffusers

    keep_freed_memory()
    result = export_diffusers(run, out, steps=steps)
    console.print(
        f"exported: {result.folder}; DDIMPipeline.from_pretrained loads it with trust_remote_code=True, which runs the "
        "code in it",
        markup=False,
    )
