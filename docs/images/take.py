"""Takes the README's pictures of the pages anew: `python -m docs.images.take [--home FOLDER]`, minutes on a laptop.

Demo pictures alone: no photograph of a patient is in this repository. In a workspace of its own, or in FOLDER, which
keeps what was trained there, so that a second call only takes the pictures.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.server import Server, chromium

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MOST_BYTES = 120_000
NETWORKS = ("basic_cnn", "deep_cnn")
SETTINGS = ["--preset", "quick look", "--set", "epochs=6"]
PATIENCE = 180_000  # milliseconds


def command_line(home: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "bloodcell_core", *arguments], cwd=ROOT, check=True,
        env=os.environ | {"BLOODCELL_HOME": str(home)}, stdout=sys.stderr,
    )  # fmt: skip


def fill(home: Path) -> None:
    """Demo pictures and two trained networks, where they aren't there yet."""
    if not (home / "datasets" / "demo").exists():
        command_line(home, "data", "demo", "--per-class", "150")
    there = [path.name for path in (home / "runs").glob("*")]
    for model in NETWORKS:
        if not any(model in name for name in there):
            command_line(home, "train", "--data", "demo", "--model", model, *SETTINGS)


def settled(page: Page) -> None:
    page.wait_for_selector("[data-testid=stApp][data-test-connection-state=CONNECTED]", timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE)
    page.wait_for_function("document.querySelectorAll('[data-testid=stSkeleton]').length === 0", timeout=PATIENCE)


def keep(page: Page, name: str) -> None:
    """The window as a JPEG of at most `MOST_BYTES`, at the best quality that allows."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in range(85, 20, -5):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= MOST_BYTES:
            break
    else:
        raise SystemExit(f"{name} doesn't become as small as {MOST_BYTES:,} bytes")
    (HERE / f"{name}.jpg").write_bytes(out.getvalue())
    print(f"{name}.jpg: {out.tell():,} bytes, quality {quality}")


def take(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        for name, path, shown in (
            ("browse", "Browse?view=cell", ".st-key-browse button"),
            ("train", "Train", "[class*=curves] svg, canvas, .st-key-curves, [class*=stVega]"),
            ("compare", "Compare", "text=Confusion matrices"),
            ("review", "Review", "text=Review"),
        ):
            page.goto(f"{address}/{path}")
            settled(page)
            page.wait_for_selector(shown, state="attached")
            page.wait_for_timeout(4000)  # pictures fade in; nothing is measured here
            page.get_by_text("Looking for them").wait_for(state="hidden")  # Review's cells most alike take seconds
            if name == "review":
                page.keyboard.press("h")
                page.get_by_text("What speaks for").first.wait_for()
            keep(page, name)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a workspace to keep; by default one that is thrown away")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as throwaway:
        home = args.home or Path(throwaway) / "workspace"
        fill(home)
        server = Server(home, Path(throwaway) / "server.log")
        server.start()
        try:
            take(server.address)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
