"""How quick the pages are: `python -m benchmarks.bench_dashboard [--repeats N]`, the real server and a real Chromium.

A workspace of 400 drawn pictures, a finished run, and one that looks as if it were training: 2,000 steps are told, and
more all the while. Each figure is the median, least and most of the repeats; aims in brackets are issue-sized wishes.

1. Memory of the server, and whether PyTorch is loaded: when it has started, and after each page that needs none.
2. First paint: seconds from asking a warm server for a page until the page's title is drawn (1 s), and until its script
   has ended; in a browser that keeps nothing, as on a first visit, and in one that has Streamlit's own program already.
3. Page switch: from the click in the sidebar until the new title is drawn (0.5 s).
4. A gallery of 300: from asking for the page until 300 pictures stand on it and those in the window are loaded (1.5 s).
5. A live tick: milliseconds from the browser's request to the server's last answer (100 ms).
6. Ten sessions on the ticking page at once: first paint of Browse for one more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.bench_review import WATCH
from benchmarks.server import Server, chromium

PAGES = {"Blood Cell Lab": "", "Browse": "Browse", "Train": "Train", "Compare": "Compare", "Review": "Review",
         "Classify": "Classify"}  # fmt: skip
SESSIONS, TICKS, STEPS = 10, 20, 2000
GALLERY = """() => {
  const roots = [document, ...[...document.querySelectorAll("*")].map((each) => each.shadowRoot).filter(Boolean)];
  const images = roots.flatMap((root) => [...root.querySelectorAll("img")]);
  const seen = images.filter((each) => each.getBoundingClientRect().top < innerHeight);
  return images.length >= 300 && seen.every((each) => each.complete && each.naturalWidth > 0);
}"""
SETTLED = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"


def filled(home: Path) -> None:
    """Makes the dataset and the two runs; half a minute."""
    os.environ["BLOODCELL_HOME"] = str(home)
    from bloodcell_core.config import PRESETS, TrainConfig
    from bloodcell_core.data.importing import make_demo
    from bloodcell_core.training import jobs, worker

    make_demo("demo", per_class=100, seed=3)
    settings = PRESETS["quick look"] | {"epochs": 2, "pictures_per_epoch": 64}
    run = jobs.create_run(TrainConfig(data="demo", model="basic_cnn", **settings))
    worker.work(run, say=lambda line: None)
    shutil.copytree(run.folder, at_work(home))
    for ended in ("summary.json", "predictions.parquet"):
        (at_work(home) / ended).unlink()
    jobs.write_status(at_work(home), state="running", step=STEPS, total_steps=100 * STEPS)
    with open(at_work(home) / "metrics.jsonl", "w", encoding="utf-8") as file:
        file.writelines(map(event, range(1, STEPS + 1)))


def at_work(home: Path) -> Path:
    return home / "runs" / "29990101-000000-basic_cnn-live"


def event(step: int) -> str:
    return json.dumps({"event": "step", "step": step, "loss": 1 / step**0.1, "seconds": 0.01}) + "\n"


def looks_alive(home: Path, ended: threading.Event) -> None:
    """Holds the lock of the run that looks as if it were training, and adds ten steps a second."""
    from filelock import FileLock

    with FileLock(at_work(home) / "worker.lock"), open(at_work(home) / "metrics.jsonl", "a", encoding="utf-8") as file:
        step = STEPS
        while not ended.wait(0.1):
            step += 1
            file.write(event(step))
            file.flush()


def told(what: str, values: list[float], unit: str = "s") -> None:
    digits = 2 if unit == "s" else 0
    least, middle, most = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    print(f"| {what} | {middle} ({least} to {most}) {unit} |", flush=True)


def memory(server: Server, when: str) -> None:
    maps = Path(f"/proc/{server.pid}/maps").read_text(encoding="utf-8")
    torch = "with PyTorch" if "libtorch" in maps else "without PyTorch"
    print(f"| memory of the server {when} | {server.megabytes():.0f} MB, {torch} |", flush=True)


def visitor(browser: Browser) -> BrowserContext:
    """Somebody at a browser of their own, with nothing in it yet."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


def opened(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    return page


def heading(page: Page, title: str) -> None:
    page.get_by_role("heading", name=title, exact=True, level=1).wait_for()


def timed(context: BrowserContext, address: str, path: str, *until: Callable[[Page], object]) -> list[float]:
    """Seconds from asking for a page until each thing in turn is so; and last until the browser first spoke to the
    server, for which it has to load and start Streamlit's own program."""
    page, seconds = opened(context), []
    start = time.perf_counter()
    page.goto(f"{address}/{path}", wait_until="commit")
    for each in until:
        each(page)
        seconds.append(time.perf_counter() - start)
    seconds.append(page.evaluate("() => window.sent[0] / 1000"))
    page.close()
    return seconds


def first_visit(browser: Browser, address: str, path: str, *until: Callable[[Page], object]) -> list[float]:
    with visitor(browser) as context:
        return timed(context, address, path, *until)


def measure(browser: Browser, server: Server, repeats: int) -> None:
    memory(server, "that has started")
    known = visitor(browser)
    for path in ("Browse", "Train", "Compare", "Review"):
        timed(known, server.address, path, lambda page: page.wait_for_selector(SETTLED))
        memory(server, f"after {path}")
    for path in ("", "Classify"):
        timed(known, server.address, path, lambda page: page.wait_for_selector(SETTLED))
    memory(server, "after every page")
    for title, path in PAGES.items():
        ends = [(lambda page, title=title: heading(page, title)), lambda page: page.wait_for_selector(SETTLED)]
        ends = ends[:1] if path == "Train" else ends
        times = [first_visit(browser, server.address, path, *ends) for _ in range(repeats)]
        told(f"first paint of {path or 'the home page'}", [each[0] for each in times])
        told("– of it until the browser first asked the server", [each[-1] for each in times])
        again = [timed(known, server.address, path, *ends) for _ in range(repeats)]
        told("– in a browser that has been here before", [each[0] for each in again])
        if path != "Train":  # which is at work all the time
            told(f"{path or 'the home page'}, its script ended", [each[1] for each in times])
    shown = [lambda page: page.wait_for_function(GALLERY, polling=20)]
    gallery = [first_visit(browser, server.address, "Browse", *shown)[0] for _ in range(repeats)]
    told("a gallery of 300, asked for by its address", gallery)
    gallery = [timed(known, server.address, "Browse", *shown)[0] for _ in range(repeats)]
    told("– in a browser that has been here before", gallery)

    page = opened(visitor(browser))
    page.goto(f"{server.address}/Browse")
    heading(page, "Browse")
    switches: list[float] = []
    for _ in range(repeats):
        for title in ("Compare", "Review", "Classify", "Train", "Browse"):
            page.wait_for_timeout(1500)
            start = time.perf_counter()
            page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
            heading(page, title)
            switches.append(time.perf_counter() - start)
    told("page switch", switches)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Train").click()
    heading(page, "Train")
    page.wait_for_timeout(4000)
    ticks = []
    for _ in range(TICKS):
        page.evaluate("() => { window.sent.length = window.got.length = 0; }")
        page.wait_for_function("() => window.sent.length && performance.now() - Math.max(...window.got, 0) > 400"
                               " && window.got.some((at) => at > window.sent[0])", polling=50)  # fmt: skip
        ticks.append(page.evaluate("() => Math.max(...window.got) - window.sent[0]"))
    told("a live tick, request to last answer", ticks, "ms")
    page.context.close()

    pages = [opened(visitor(browser)) for _ in range(SESSIONS)]
    for page in pages:
        page.goto(f"{server.address}/Train", wait_until="commit")
    for page in pages:
        heading(page, "Train")
    ends = [lambda page: heading(page, "Browse")]
    crowded = [timed(known, server.address, "Browse", *ends)[0] for _ in range(repeats)]
    told(f"first paint of Browse beside {SESSIONS} ticking sessions", crowded)
    memory(server, f"after {SESSIONS} sessions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    home = Path(tempfile.mkdtemp(prefix="bench-dashboard-"))
    filled(home)
    ended = threading.Event()
    threading.Thread(target=looks_alive, args=(home, ended), daemon=True).start()
    server = Server(home, home / "server.log")
    server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
            measure(browser, server, repeats)
            browser.close()
    finally:
        ended.set()
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
