"""Serving a page to this machine, and to nobody else; a browser that shows it asks no other."""

import os
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

from vlb.base.errors import UserError

HOST = "127.0.0.1"
FIRST, LAST = 7860, 7959  # where a free port is looked for
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'none'"
)
Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def require_gradio() -> Any:
    """The package gradio, which tells nobody that it is used. Raises `UserError` where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UserError('the explorer needs the package gradio: pip install "vlb[explore]"') from error
    return gradio


@contextmanager
def own_files() -> Iterator[None]:
    """A folder for the files of a page, which gradio would leave behind: it has to be there before the page is made."""
    with TemporaryDirectory(prefix="vlb-explore-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield


def listening(port: int | None) -> socket.socket:
    """A socket at a port of this machine, by default the first free one. Raises `UserError` where it is taken."""
    for candidate in range(FIRST, LAST + 1) if port is None else (port,):
        try:
            return socket.create_server((HOST, candidate))
        except OSError as error:
            refused = error
    what = f"from {FIRST} to {LAST}" if port is None else f"{port}"
    raise UserError(f"cannot listen at the port {what} ({refused.strerror}): choose another --port") from refused


def url(listener: socket.socket) -> str:
    """Where a browser finds it."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


class Guarded:
    """An app that answers for this machine's own names alone, with pages whose browser asks nobody else.

    A page from elsewhere whose name was made to mean this machine is refused by the name that it asks for.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").rpartition(b":")[0]
        if host not in (HOST.encode(), b"localhost"):
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"this page is for the machine that it is on"})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, guarded)


def app_of(page: Any) -> Guarded:
    """A page of gradio as an app."""
    from fastapi import FastAPI

    from vlb.interfaces.explorer.page import head, theme

    mounted = require_gradio().mount_gradio_app(
        FastAPI(openapi_url=None, docs_url=None, redoc_url=None), page, path="/", server_name=HOST, footer_links=[],
        run_history=False, show_error=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        max_file_size="20mb", theme=theme(), head=head(),
    )  # fmt: skip
    return Guarded(mounted)


def serve(page: Any, listener: socket.socket, browser: bool) -> None:
    """Until Ctrl-C."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app_of(page), log_level="error", timeout_graceful_shutdown=1))
    if browser:
        threading.Timer(0.5, webbrowser.open, (url(listener),)).start()
    with suppress(KeyboardInterrupt):  # the way to end it
        server.run(sockets=[listener])
