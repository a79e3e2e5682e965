"""The real server and a real Chromium for the tests in this folder.

Without Chromium they skip and say so; with BLOODCELL_REQUIRE_BROWSER set such a skip is a failure.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.server import Server, chromium

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-software-rasterizer", "--disable-dev-shm-usage", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
COMES_LATE = """(() => {
  const add = WebSocket.prototype.addEventListener;
  WebSocket.prototype.addEventListener = function (kind, heard) {
    const late = (event) => setTimeout(() => heard.call(this, event), 700);
    return add.call(this, kind, kind === "message" ? late : heard);
  };
})()"""  # as over a slow network, on which what the server says is heard 0.7 s later
PATIENCE = 90_000  # milliseconds; two slow cores train and draw at once

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        if os.environ.get("BLOODCELL_REQUIRE_BROWSER"):
            pytest.fail("Chromium isn't installed, and BLOODCELL_REQUIRE_BROWSER asks for it")
        pytest.skip("Chromium isn't installed: the browser tests are left out")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield started
        started.close()


@pytest.fixture
def app_server(tmp_path: Path) -> Iterator[Server]:
    """The server of `server`, to be killed and started anew."""
    made = Server(tmp_path / "workspace", tmp_path / "server.log")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def server(app_server: Server) -> str:
    """The address of the app, serving an empty workspace of its own."""
    return app_server.address


@pytest.fixture
def with_demo(lab_original: Path, tmp_path: Path) -> None:
    """The server's workspace holds the dataset `demo`, small and without a run; for tests of something else, as
    test_tour.py presses the button that draws one. Taken before `open_page`."""
    shutil.copytree(lab_original / "datasets", tmp_path / "workspace" / "datasets")


@pytest.fixture
def open_page(browser: Browser, server: str) -> Iterator[Callable[[str], Page]]:
    """Opens a path of the app in a browser of its own, as another person would, once it is drawn."""
    contexts = []

    def open_path(path: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, accept_downloads=True,
            reduced_motion="reduce",  # what moves while a script runs is drawn anew sixty times a second
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server}/{path}")
        settled(page)
        return page

    yield open_path
    for context in contexts:
        context.close()


@pytest.fixture
def open_slow_page(open_page: Callable[[str], Page]) -> Callable[[str], Page]:
    """As `open_page`, over a slow network."""

    def open_path(path: str) -> Page:
        page = open_page(path)
        page.add_init_script(COMES_LATE)
        page.reload()
        settled(page)
        return page

    return open_path


def settled(page: Page) -> None:
    """Waits until the page is connected and its script has run to its end."""
    page.wait_for_selector("[data-testid=stApp][data-test-connection-state=CONNECTED]", timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE)
