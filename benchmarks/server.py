"""The app as a server of its own, and the browser to look at it: for what measures or tests it from outside."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds that a server may take to come up


def chromium() -> str | None:
    """The browser's path; None where it isn't installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Server:
    """The app, serving a workspace; it can be killed and started again at the same address.

    `app` is the folder of another app to be served, for what is to be set against ours.
    """

    def __init__(self, workspace: Path, log: Path, port: int = 0, app: Path = ROOT):
        self.port = port or _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._workspace, self._log, self._app = workspace, log, app

    def start(self) -> None:
        """Returns once it answers; RuntimeError where it doesn't."""
        # To a file: a pipe that nobody reads would stop the server once it is full.
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "streamlit_app.py",
                 "--server.port", str(self.port), "--server.headless", "true"],
                cwd=self._app, env=os.environ | {"BLOODCELL_HOME": str(self._workspace)}, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5) as answer:
                    if answer.read() == b"ok":
                        return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the server didn't come up: {self._log} tells why")

    @property
    def pid(self) -> int:
        """Of its process, since `start`."""
        return self._process.pid

    def megabytes(self) -> float:
        """Memory that is its own or shared, in MB of 2²⁰ bytes."""
        return float(psutil.Process(self.pid).memory_info().rss / 2**20)

    def processor_seconds(self) -> float:
        """What it has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        """Ends it, and asks the trainings that it began to end, which would outlive it."""
        self._process.terminate()
        self._process.wait(20)
        for run in (self._workspace / "runs").glob("*"):
            (run / "stop").touch()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
