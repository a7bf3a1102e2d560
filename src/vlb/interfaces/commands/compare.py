"""`vlb compare`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.files import text, write_new
from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Flags, Out
from vlb.measure.options import CompareOptions

DEFAULT = CompareOptions()


def compare(
    models: list[str],
    *,
    split: str | None = None,
    options: Annotated[CompareOptions, Flags] = DEFAULT,
    data: Path | None = None,
    json: Path | None = None,
    out: Annotated[Path | None, Out] = None,
    device: str | None = None,
) -> None:
    """Say which of several models finds the same examples likelier: paired differences from the first of them.

    Parameters
    ----------
    models
        Run directories, .npz files of `vlb evaluate --values`, or the baselines independent-pixels and uniform.
    split
        test, validation or train; by default test, or what the saved values are of.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    out
        Write a self-contained page, .html, with the examples on which they disagree most.
    device
        cpu or cuda.
    """
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, choose_device, show, write_json

    keep_freed_memory()
    refuse_existing(json)
    refuse_existing(out)
    if out is not None and out.suffix != ".html":
        raise UserError(f"{out}: the page is written as .html")
    with Terminal() as progress:
        from vlb.measure.compare import compare as verb
        from vlb.pages.comparison import comparison_page

        chosen = choose_device(device)
        result = verb(models, options, split=split, data=data, device=chosen, progress=progress)
    show(result)
    write_json(result, json)
    if out is not None:
        write_new(out, text(comparison_page(result)))
