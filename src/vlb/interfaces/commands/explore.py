"""`vlb explore`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vlb.base.domains import Within, admit
from vlb.base.memory import keep_freed_memory

PORT = Annotated[int, Within(1, 65535)]


def explore(
    run: str | None = None,
    *,
    port: int | None = None,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Open a page that shows what a diffusion does as its settings change or, of a run, what its model knows.

    It is served to this machine alone, and nothing on it is from elsewhere. Ctrl-C ends it.

    Parameters
    ----------
    run
        A run directory made by `vlb train`; vlb:digits and vlb:iris come with vlb. Without one, diffusions of data
        whose best denoiser is known.
    port
        Where it listens, from 1 to 65535; by default the first free one from 7860 on.
    browser
        Open it in the browser.
    data
        Where your own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.terminal import Terminal, choose_device, console

    keep_freed_memory()
    if port is not None:
        admit(PORT, port, "--port")
    from vlb.interfaces.explorer.server import listening, own_files, require_gradio, serve, url

    with own_files(), listening(port) as listener:
        with Terminal() as progress:
            require_gradio()
            from vlb.interfaces.explorer.page import of_trained, studies
            from vlb.pages.explorer.trained import opened

            chosen = choose_device(device)
            progress.begin("opening the page")
            page = studies() if run is None else of_trained(opened(run, chosen, data))
        console.print(f"{url(listener)} – Ctrl-C ends it", markup=False)
        serve(page, listener, browser)
