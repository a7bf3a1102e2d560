"""`vlb publish`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.memory import keep_freed_memory
from vlb.interfaces.commands import Out


def publish(
    run: Path,
    *,
    out: Annotated[Path | None, Out] = None,
    hub: str | None = None,
    licence: str | None = None,
    private: bool = False,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Write a run as others may have it: configuration, best weights and a card with its bound.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    out
        A folder that does not exist yet.
    hub
        In place of a folder, the repository owner/name on the Hugging Face Hub, where others have it by hf:owner/name.
    licence
        Of the weights, such as apache-2.0.
    private
        Make the repository a private one.
    data
        Where your own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.terminal import Terminal, choose_device, show

    if (out is None) == (hub is None):
        raise UserError("publish into a folder, -o DIR, or on the Hub, --hub owner/name: give one of the two")
    if private and hub is None:
        raise UserError("--private is for a repository on the Hub: leave it out, or give --hub owner/name")
    keep_freed_memory()
    with Terminal() as progress:
        from vlb.pages.publish import push_to_hub, save_pretrained

        where = choose_device(device)
        if hub is not None:
            result = push_to_hub(run, hub, private=private, licence=licence, data=data, device=where, progress=progress)
        else:
            assert out is not None
            result = save_pretrained(run, out, licence=licence, data=data, device=where, progress=progress)
    show(result)
