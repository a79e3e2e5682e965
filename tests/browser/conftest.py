"""The real server and a real Chromium for the tests in this folder.

Without Chromium they skip and say so; with BLOODCELL_REQUIRE_BROWSER set such a skip is a failure.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 90_000  # milliseconds; two slow cores train and draw at once

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("BLOODCELL_REQUIRE_BROWSER"):
            pytest.fail("Chromium isn't installed, and BLOODCELL_REQUIRE_BROWSER asks for it")
        pytest.skip("Chromium isn't installed: the browser tests are left out")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield started
        started.close()


class Server:
    """The app, serving a workspace; it can be killed and started again at the same address."""

    def __init__(self, workspace: Path, log: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._workspace, self._log = workspace, log

    def start(self) -> None:
        # To a file: a pipe that nobody reads would stop the server once it is full.
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "streamlit_app.py",
                 "--server.port", str(self.port), "--server.headless", "true"],
                cwd=ROOT, env=os.environ | {"BLOODCELL_HOME": str(self._workspace)}, stdout=log, stderr=log,
            )  # fmt: skip
        _wait_for_health(self.address, self._process)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        for run in (self._workspace / "runs").glob("*"):  # a worker outlives the server
            (run / "stop").touch()


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


def _wait_for_health(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                if answer.read() == b"ok":
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server didn't come up")


@pytest.fixture
def open_page(browser: Browser, server: str) -> Iterator[Callable[[str], Page]]:
    """Opens a path of the app in a browser of its own, as another person would, once it is drawn."""
    contexts = []

    def open_path(path: str = "") -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server}/{path}")
        settled(page)
        return page

    yield open_path
    for context in contexts:
        context.close()


def settled(page: Page) -> None:
    """Waits until the page is connected and its script has run to its end."""
    page.wait_for_selector("[data-testid=stApp][data-test-connection-state=CONNECTED]", timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE)
