"""`vlb explore`: what it refuses, and whom it answers."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import vlb as command
from tests.test_docs import ROOT
from vlb.base.errors import UserError
from vlb.interfaces.explorer import server
from vlb.interfaces.explorer.server import POLICY, Guarded, listening


def test_without_gradio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert command("explore", "--no-browser") == 2
    assert 'pip install "vlb[explore]"' in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "70000", "-1"])
def test_a_port_is_a_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("explore", "--no-browser", "--port", port) == 2
    assert "--port: expected a whole number from 1 to 65,535" in " ".join(capsys.readouterr().err.split())


def test_it_listens_to_this_machine_and_at_no_port_that_is_taken() -> None:
    with listening(None) as first, listening(None) as second:
        ports = [one.getsockname()[1] for one in (first, second)]
        assert {one.getsockname()[0] for one in (first, second)} == {"127.0.0.1"} and ports[0] != ports[1]
        assert server.url(first) == f"http://127.0.0.1:{ports[0]}"
        with pytest.raises(UserError, match=f"port {ports[0]}.*another --port"):
            listening(ports[0])


def answer(*headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes]]:
    """The status and the headers that a page is sent with, asked for with these headers."""
    sent: list[Any] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guarded(page)({"type": "http", "headers": list(headers)}, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_it_answers_to_its_own_names_alone_and_lets_a_page_load_nothing_else() -> None:
    for host in (b"127.0.0.1:7860", b"localhost:7860"):
        status, headers = answer((b"host", host))
        assert status == 200 and headers[b"content-security-policy"] == POLICY.encode()
    for host in (b"example.org:7860", b"127.0.0.1.example.org:7860", b"0.0.0.0:7860", b""):
        assert answer((b"host", host))[0] == 421
    assert answer()[0] == 421 and "http" not in POLICY and "*" not in POLICY


@pytest.mark.slow  # gradio takes seconds to import
def test_pages_are_laid_out_and_answer_in_sentences(tmp_path: Path) -> None:
    """In a process of its own, for gradio leaves event loops to be collected."""
    pytest.importorskip("gradio")
    code = "from tests.commands.test_explore import check_pages; check_pages()"
    surroundings = {**os.environ, "VLB_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr


def check_pages() -> None:
    """What `test_pages_are_laid_out_and_answer_in_sentences` asks."""
    from vlb.interfaces.explorer import page
    from vlb.pages.explorer.trained import opened

    server.require_gradio()
    for made in (page.studies(), page.of_trained(opened("vlb:digits")), page.of_trained(opened("vlb:iris"))):
        assert not made.analytics_enabled
    assert not page.theme()._stylesheets and "http" not in page.head()  # type: ignore[attr-defined]
    given = ("cosine", -6.0, 4.0, "likelihood", 3.0, "ddim", "t", "", 0.0)
    assert page.answering(page.studied)(*given).count("<svg") == 4
    refused = page.answering(page.studied)(*given[:4], None, *given[5:])
    assert "steps: expected a whole number from 1 to 128" in refused and 'class="refused"' in refused

    def memory() -> str:
        raise MemoryError

    def bug() -> str:
        raise RuntimeError("a fault of ours")

    assert "more memory than there is" in page.answering(memory)()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        page.answering(bug)()
    assert page.framed("<p>{{x}} ${y}</p>") == (
        '<div class="vlb"><p>&#123;&#123;x&#125;&#125; &#36;&#123;y&#125;</p></div>'
    )
