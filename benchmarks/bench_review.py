"""The Review page with 2,000 mistakes: `python -m benchmarks.bench_review [--port P]`.

A workspace with a dataset of drawn pictures, each a photo of its own, and a run that is wrong about 2,000 of them; the
real server and a real Chromium.

1. Seconds from asking for the page until its first picture is drawn: on a server that was just started, and on one that
   has shown it before, each time in a browser that keeps nothing; beside it until the Train page's title is, which any
   page costs.
2. Milliseconds from a key pressed to the server's last answer about it, which is the server's time and the way there
   and back, measured in the browser at its socket; and until the next picture is drawn, which the browser has already.
   With no verdict in the database and with 1,500 of them. Beside it the processor time that the server spends on a
   verdict, which a busy machine doesn't stretch as much.
3. Memory of the server before, after the first picture, and after the steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.server import Server, chromium

MISTAKES, STEPS, BEFORE = 2000, 60, 1500
WATCH = """
window.sent = []; window.got = []; window.bytes = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (...args) {
  if (!this.watched) {
    this.watched = true;
    this.addEventListener("message", (event) => {
      window.got.push(performance.now());
      window.bytes += event.data.size ?? event.data.byteLength ?? event.data.length;
    });
  }
  window.sent.push(performance.now());
  return send.apply(this, args);
};
"""
DRAWN = """() => {
  const roots = [...document.querySelectorAll("*")].map((each) => each.shadowRoot);
  const desk = roots.find((root) => root?.querySelector(".desk"));
  const image = desk?.querySelector(".cell .near");
  return image?.complete && image.naturalWidth > 1 ? image.src : null;
}"""


def workspace_with_mistakes(home: Path) -> None:
    """Makes the dataset and the run; half a minute."""
    os.environ["BLOODCELL_HOME"] = str(home)
    from bloodcell_core.config import PRESETS, TrainConfig
    from bloodcell_core.data.importing import make_demo
    from bloodcell_core.training import jobs, worker

    data = make_demo("demo", per_class=MISTAKES // 4 + 50, seed=3)
    images = pd.read_parquet(data.folder / "images.parquet")
    images.assign(source_photo=images.image_id, scene=images.image_id).to_parquet(data.folder / "images.parquet")
    settings = PRESETS["quick look"] | {"epochs": 1, "pictures_per_epoch": 64}
    run = jobs.create_run(TrainConfig(data="demo", model="cell_net", **settings))
    worker.work(run, say=lambda line: None)
    part = data.pictures.iloc[:MISTAKES]
    table = part[["image_id", "label"]].assign(split="test", source_photo=part.image_id)
    after = dict(zip(run.classes, [*run.classes[1:], run.classes[0]], strict=True))
    table["predicted"] = table.label.map(after)
    for name in run.classes:
        table[f"p_{name}"] = [0.7 if said == name else 0.1 for said in table.predicted]
    table.to_parquet(run.folder / "predictions.parquet")


def give_verdicts(count: int) -> None:
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.labels.verdicts import AMBIGUOUS, record

    data = Dataset("demo")
    for image in data.pictures.image_id[:count]:
        record(data, [image], AMBIGUOUS, by="somebody", run="a run")


def opened(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    return page


def first_picture(page: Page, address: str) -> float:
    """Seconds until the first picture is drawn."""
    start = time.perf_counter()
    page.goto(f"{address}/Review", wait_until="commit")
    page.wait_for_function(DRAWN, polling=20)
    return time.perf_counter() - start


def quiet(page: Page) -> None:
    """Waits until nothing was sent or answered for a while."""
    page.wait_for_function("() => performance.now() - Math.max(...window.sent, ...window.got, 0) > 700", polling=50)


def step(page: Page, key: str) -> tuple[float, float]:
    """Milliseconds until the server's last answer, and until the next picture is drawn."""
    quiet(page)
    before = page.evaluate(DRAWN)
    page.evaluate("() => { window.sent.length = window.got.length = 0; }")
    drawn = page.evaluate(
        f"""([key, before]) => new Promise((done) => {{
          const start = performance.now(), drawn = {DRAWN};
          const look = () => {{
            const now = drawn();
            if (now && now !== before) done(performance.now() - start); else requestAnimationFrame(look);
          }};
          document.body.dispatchEvent(new KeyboardEvent("keydown", {{key, bubbles: true, composed: true}}));
          look();
        }})""",
        [key, before],
    )
    quiet(page)
    return page.evaluate("() => Math.max(...window.got) - window.sent[0]"), drawn


def told(what: str, values: list[float]) -> None:
    ordered = sorted(values)
    worst, middle = ordered[int(0.95 * (len(ordered) - 1))], statistics.median(ordered)
    print(f"{what}: median {middle:.0f}, 95% below {worst:.0f}, most {ordered[-1]:.0f} ms", flush=True)


def measure(browser: Browser, home: Path, port: int) -> None:
    server = Server(home, home / "server.log", port)
    server.start()
    try:
        print(f"server idle: {server.megabytes():.0f} MB", flush=True)
        page = opened(browser)
        print(f"first picture, server just started: {first_picture(page, server.address):.2f} s", flush=True)
        page.context.close()
        titles = []
        for _ in range(3):
            page = opened(browser)
            start = time.perf_counter()
            page.goto(f"{server.address}/Train", wait_until="commit")
            page.get_by_role("heading", name="Train").wait_for()
            titles.append(time.perf_counter() - start)
            page.context.close()
        print(f"title of another page, warm: {', '.join(f'{each:.2f}' for each in titles)} s", flush=True)
        times = []
        for _ in range(5):
            page = opened(browser)
            times.append(first_picture(page, server.address))
            if _ < 4:
                page.context.close()
        print(f"first picture, warm: {', '.join(f'{each:.2f}' for each in times)} s", flush=True)
        page.wait_for_timeout(20_000)  # PyTorch is loaded beside, and the training cells looked through
        print(f"after the first pictures: {server.megabytes():.0f} MB", flush=True)
        before = server.processor_seconds()
        server_ms, drawn_ms = zip(*(step(page, "m" if place % 3 else "a") for place in range(STEPS)), strict=True)
        spent = 1000 * (server.processor_seconds() - before) / STEPS
        print(f"the server's processor time a verdict, neighbours looked for beside: {spent:.0f} ms", flush=True)
        told("server's answer to a verdict", list(server_ms))
        told("next picture drawn", list(drawn_ms))
        print(f"after {STEPS} verdicts: {server.megabytes():.0f} MB", flush=True)
        page.context.close()
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--home", type=Path, help="a workspace that was made before with this")
    args = parser.parse_args()
    home = args.home or Path(tempfile.mkdtemp(prefix="bench-review-"))
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "runs").exists():
        workspace_with_mistakes(home)
    os.environ["BLOODCELL_HOME"] = str(home)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        print("no verdicts yet")
        measure(browser, home, args.port)
        give_verdicts(BEFORE)
        print(f"{BEFORE:,} verdicts in the database")
        measure(browser, home, args.port)
        browser.close()


if __name__ == "__main__":
    main()
