"""`vlb sample`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.files import write_new
from vlb.base.memory import keep_freed_memory
from vlb.generate.options import SampleOptions
from vlb.interfaces.commands import Flags, Out

DEFAULT = SampleOptions()


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
        A .png (a grid) or .npz (array `x`) that does not exist yet.
    device
        cpu or cuda.
    """
    from vlb.generate.sample import sample as verb
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, choose_device, console

    keep_freed_memory()
    if out.suffix not in (".png", ".npz"):
        raise UserError(f"{out}: samples are written as .png (a grid) or .npz (array x)")
    refuse_existing(out)
    with Terminal() as progress:
        result = verb(run, options, device=choose_device(device), progress=progress)
    write_new(out, result.as_npz() if out.suffix == ".npz" else result.as_png())
    console.print(f"{result.words}: {out}", markup=False)
