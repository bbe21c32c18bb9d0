"""The README's first command, from a clean copy of the tree, as a newcomer runs it."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers import binary

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
"""For the download of every package on a busy machine; `make bench NAME=make_up` measures it."""


@pytest.fixture
def clean_copy(tmp_path):
    """The files that git knows, in an empty folder."""
    copy = tmp_path / "thermogate"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def test_make_up_shows_a_live_page(clean_copy, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    chromium = binary("chromium")
    log = tmp_path / "make.log"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"XDG_DATA_HOME": str(tmp_path / "data")}
    began = time.monotonic()
    with log.open("w") as out:
        command = ["make", "up", "ARGS=--listen 127.0.0.1:0 --mqtt-listen 127.0.0.1:0"]
        process = subprocess.Popen(
            command, cwd=clean_copy, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        url = _wait_for_url(process, log, began)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            page = browser.new_page()
            page.goto(url)
            cells = page.locator("button[data-device]")
            expect(cells.first).to_be_visible(timeout=15_000)
            expect(page.locator("body")).to_contain_text(re.compile("replay", re.IGNORECASE))
            browser.close()
        stopping = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(10)  # make ends by the interrupt itself, whatever its command does
        assert time.monotonic() - stopping < 2.5  # 2 s for thermogate, and make's own end
        assert re.search(r"stopped: [0-9,]+ samples stored", log.read_text())
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait_for_url(process, log, began):
    while time.monotonic() - began < LIMIT_S:
        if found := re.search(r"page +(http://\S+)", log.read_text()):
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(f"no page after {LIMIT_S:.0f} s:\n{log.read_text()}")
