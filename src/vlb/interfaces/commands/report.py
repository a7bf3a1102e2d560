"""`vlb report`."""

from pathlib import Path

from vlb.base.memory import keep_freed_memory


def report(run: Path, *, data: Path | None = None, device: str | None = None) -> None:
    """Write RUN/report.html: one self-contained page with the bound, losses, samples and configuration.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    data
        Where your own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.terminal import Terminal, choose_device, console
    from vlb.pages.report import report as verb

    keep_freed_memory()
    chosen = choose_device(device)
    with Terminal() as progress:
        result = verb(run, data=data, device=chosen, progress=progress)
    result.show(console)
