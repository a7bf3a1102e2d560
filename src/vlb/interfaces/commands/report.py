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

    keep_freed_memory()
    with Terminal() as progress:
        from vlb.pages.report import report as verb

        result = verb(run, data=data, device=choose_device(device), progress=progress)
    result.show(console)
