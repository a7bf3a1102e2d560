"""What `vlb explore` shows, in light and in dark, by a browser: docs/figures/explorer-light.png and -dark.png.

python docs/figures/explorer.py        (needs the extra `explore`, the package playwright, and chromium)
"""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1250, "height": 900}


def main() -> None:
    line = [sys.executable, "-m", "vlb", "explore", "--no-browser"]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    found = next(found for said in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", said)))
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for colours in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=colours)
                page.goto(found.group(), timeout=120_000)
                page.wait_for_function("document.querySelectorAll('#study svg').length === 4", timeout=120_000)
                page.screenshot(path=HERE / f"explorer-{colours}.png", animations="disabled")
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


if __name__ == "__main__":
    main()
