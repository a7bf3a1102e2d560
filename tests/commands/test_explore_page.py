"""The page of `vlb explore` in a browser, where gradio, playwright and Debian's chromium are installed."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import vlb as command

pytestmark = pytest.mark.slow
pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
WAIT = 120_000  # milliseconds, on a busy machine
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

Open = Callable[..., Any]


@pytest.fixture(scope="module", params=["light", "dark"])
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A browser's context of light or dark."""
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        context = chromium.new_context(viewport={"width": 1250, "height": 1000}, color_scheme=request.param)
        context.set_default_timeout(WAIT)
        yield context
        chromium.close()


@pytest.fixture
def explore(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens `vlb explore RUN` in a tab. At the end: that all was asked of this machine, that the terminal has nothing
    but the address, and that the server ends when it is asked to."""
    started: list[tuple[Any, Path]] = []
    asked: list[str] = []
    wrong: list[str] = []

    def opened(*words: str | Path) -> Any:
        said = tmp_path / f"said{len(started)}"
        with said.open("w") as stream:
            line = [sys.executable, "-m", "vlb", "explore", *map(str, words), "--no-browser"]
            process = subprocess.Popen(line, stderr=stream, stdout=stream)
        started.append((process, said))
        while (found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            time.sleep(0.2)
        page = browser.new_page()
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(found.group())
        page.wait_for_selector(".vlb")
        return page

    yield opened
    for process, said in started:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        lines = [line for line in said.read_text().splitlines() if not line.endswith("…")]
        assert len(lines) == 1 and lines[0].startswith("http://127.0.0.1"), lines
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked)
    assert not wrong


def choose(page: Any, label: str, value: str) -> None:
    """Of a dropdown, which is a text to type into."""
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")


def changed(page: Any, selector: str, act: Callable[[], None]) -> str:
    """What an element holds after something was done that changes it."""
    before = page.locator(selector).inner_html()
    act()
    page.wait_for_function(
        "([selector, before]) => { const now = document.querySelector(selector).innerHTML;"
        " return now !== before && now.includes('</'); }",
        arg=[selector, before],
    )
    return str(page.locator(selector).inner_html())


def test_settings_change_what_is_shown(explore: Open) -> None:
    page, study = explore(), "#study .vlb"
    page.wait_for_selector("#study svg")
    assert "uniform in λ" in page.inner_text(study)
    assert page.locator("#study svg").count() == 4
    changed(page, study, lambda: choose(page, "schedule", "cosine"))
    assert "variance preservation" in page.inner_text(study)
    changed(page, study, lambda: choose(page, "weighting", "edm"))
    assert "not monotone" in page.inner_text(study)
    changed(page, study, lambda: page.get_by_label("γ₀, at the data").fill("7"))
    assert "needs γ₀ < γ₁" in page.inner_text("#study .refused")
    changed(page, study, lambda: page.get_by_label("γ₀, at the data").fill("-5"))
    changed(page, study, lambda: page.get_by_label("more").fill("schedule.shift=x"))
    assert "schedule.shift" in page.inner_text("#study .refused")


def test_what_the_digits_that_come_with_vlb_can_do(explore: Open) -> None:
    page = explore("vlb:digits")
    page.get_by_label("steps", exact=True).fill("8")
    page.get_by_role("button", name="Draw samples").click()
    page.wait_for_function("document.querySelectorAll('.tiles img').length === 32")
    page.get_by_label("clip to the range of the data").check()
    choose(page, "sampler", "ode")
    choose(page, "steps equal in", "snr")
    page.get_by_role("button", name="Draw samples").click()
    page.wait_for_selector("text=finds its own steps")
    choose(page, "sampler", "ddim")
    assert not page.get_by_label("temperature").is_visible()
    page.get_by_label("steps", exact=True).fill("0")
    page.get_by_role("button", name="Draw samples").click()
    page.wait_for_selector("text=--steps: expected a whole number")
    page.get_by_role("tab", name="Denoising path").click()
    page.get_by_role("button", name="Draw a path").click()
    page.wait_for_selector("table.film img")
    page.get_by_role("tab", name="Hardest and easiest").click()
    page.get_by_role("button", name="Find").click()
    page.wait_for_selector("text=360 test examples")
    page.get_by_role("tab", name="Encodings").click()
    page.get_by_role("button", name="Encode").click()
    page.wait_for_selector("text=come back as they were")
    page.get_by_role("tab", name="Fill in").click()
    page.wait_for_selector("text=filling pictures needs a model that can be told")


def test_a_mask_is_painted_and_filled(explore: Open, tmp_path: Path) -> None:
    run = tmp_path / "mixture"
    assert command("train", "digits-mixture", "--set", "steps=2", "--out", run) == 0
    page = explore(run)
    page.get_by_role("tab", name="Fill in").click()
    page.get_by_role("button", name="Fill what is painted").click()
    page.wait_for_selector("text=nothing is painted")
    page.wait_for_selector("#canvas canvas")
    page.wait_for_timeout(3000)
    box = page.locator("#canvas canvas").last.bounding_box()
    across, up = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 100, up)
    page.mouse.down()
    for step in range(41):
        page.mouse.move(across - 100 + 5 * step, up)
    page.mouse.up()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Fill what is painted").click()
    page.wait_for_selector("text=pixels of 1 picture filled, in 5 draws")
    found = re.search(r"(\d+) pixels", page.inner_text("body"))
    assert found is not None and 4 <= int(found[1]) <= 24
    page.get_by_label("test example").fill("999")
    page.wait_for_selector("text=numbered from 0 to 359")


def test_a_cell_is_cleared_and_filled(explore: Open) -> None:
    page = explore("vlb:iris")
    page.get_by_role("tab", name="Fill in").click()
    cell = page.get_by_role("gridcell").first
    before = cell.inner_text().strip()
    assert re.fullmatch(r"\d\.\d", before)
    cell.click()
    page.keyboard.press("Delete")
    page.wait_for_function("!/[0-9]/.test(document.querySelector('#table [role=gridcell]').innerText)")
    page.get_by_role("button", name="Fill the gaps").click()
    page.wait_for_selector("text=1 cell of 6 rows filled, in 5 draws")
    assert page.locator(".vlb b").count() == 1 + 5  # the heading has one
