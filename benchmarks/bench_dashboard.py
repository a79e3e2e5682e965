"""How quick the pages are: `python -m benchmarks.bench_dashboard [--repeats N]`, the real server and a real Chromium.

A workspace of 400 drawn pictures, a finished run, and one that looks as if it were training: 2,000 steps are told, and
more all the while. Each figure is the median, least and most of the repeats; aims in brackets are issue-sized wishes.

1. Memory of the server, and whether PyTorch is loaded: when it has started, and after each page that needs none.
2. First paint: seconds from asking a warm server for a page until the page's title is drawn (1 s), and until its script
   has ended, by the page's own clock; in a browser that keeps nothing, as on a first visit, and in one with a profile
   on disk that has been here before, which keeps Streamlit's own program. After each an *empty page*: an app whose
   pages are a title and nothing else, which is what Streamlit takes by itself; and what the page takes more than that.
3. Page switch: from the click in the sidebar until the new title is drawn (0.5 s).
4. A gallery of 300: from asking for the page until 300 pictures stand on it and those in the window are loaded (1.5 s),
   and what the server sent for it.
5. A live tick: milliseconds from the browser's request to the server's last answer, the server's processor time for it
   (100 ms), and the bytes that it sends; with 2,000 steps told, and with 100,000.
6. The chart of 100,000 steps: milliseconds between two pictures on the screen (16.7 is the screen's own rate) while one
   looks closer and wider, drags across and points along it, and the server ticks; and until a zoom is answered in full.
7. A program file over a connection that stays open, asked for after the one before it: milliseconds each, of ours and
   of the empty app, in turns.
8. Ten sessions on the ticking page at once, of browsers on other machines: first paint of Browse for one more, its page
   switches, and how long the ten wait for their own ticks.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from benchmarks.bench_review import WATCH
from benchmarks.pages_workspace import EMPTY, MANY_STEPS, STEPS, Training, empty_app, filled
from benchmarks.server import Server, chromium
from benchmarks.sessions import Person

PAGES = {"Blood Cell Lab": "", "Browse": "Browse", "Train": "Train", "Compare": "Compare", "Review": "Review",
         "Classify": "Classify"}  # fmt: skip
FLAGS = ["--no-sandbox", "--disable-gpu"]
VISITS = 3  # after which a browser keeps programs in the form that its machine runs
SESSIONS, TICKS = 10, 20
SETTLED, GALLERY = "settled", "gallery"
MOMENTS = """
window.moments = {};  // milliseconds since the page was asked for, by what could be seen then for the first time
const moment = (name) => { window.moments[name] ??= performance.now(); };
const look = () => {
  for (const each of document.querySelectorAll("h1"))
    if (each.checkVisibility() && each.getBoundingClientRect().height > 0) moment(each.innerText.trim());
  if (document.querySelector("h1") && document.querySelector(
    "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]")) moment("settled");
  if (!window.moments.gallery) {
    const grids = [...document.querySelectorAll("*")].map((each) => each.shadowRoot?.querySelector(".grid"));
    const images = grids.flatMap((grid) => [...(grid?.querySelectorAll("img") ?? [])]);
    const seen = images.filter((each) => each.getBoundingClientRect().top < innerHeight);
    if (images.length >= 300 && seen.every((each) => each.complete && each.naturalWidth > 0)) moment("gallery");
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
FRAMES = """() => {
  window.frames_ = [];
  const seen = (now) => { window.frames_.push(now); if (window.frames_.length) requestAnimationFrame(seen); };
  requestAnimationFrame(seen);
}"""
SEEN_FRAMES = """() => {
  const frames = window.frames_.slice();
  window.frames_.length = 0;
  window.frames_.push = () => 0;  // the last one that was asked for ends it
  return frames.slice(1).map((now, place) => now - frames[place]);
}"""


# ---- Somebody who looks ------------------------------------------------------------------------------------


def visitor(browser: Browser) -> BrowserContext:
    """Somebody at a browser of their own, with nothing in it yet."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


def known_visitor(playwright: Playwright, profile: Path) -> BrowserContext:
    """Somebody whose browser keeps what it has loaded, on disk, as people's do."""
    return playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium(), args=FLAGS, viewport={"width": 1440, "height": 900}
    )


def opened(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    return page


def heading(page: Page, title: str) -> None:
    """Waits until the page bears that title."""
    page.wait_for_function(
        "(title) => [...document.querySelectorAll('h1')].some((each) => each.innerText.trim() === title)",
        arg=title, polling="raf",
    )  # fmt: skip


def timed(context: BrowserContext, address: str, path: str, *moments: str) -> list[float]:
    """Seconds from asking for a page until each title, SETTLED or GALLERY, by the page's own clock: who looks from
    outside is up to half a second late. Last until the browser first spoke to the server, for which it has to load and
    start Streamlit's own program.
    """
    page = opened(context)
    page.add_init_script(MOMENTS)  # here alone: it looks at each frame, which costs the processor something
    page.goto(f"{address}/{path}", wait_until="commit")
    for each in moments:
        page.wait_for_function("(name) => window.moments?.[name]", arg=each, polling=50)
    seconds: list[float] = page.evaluate(
        "(names) => [...names.map((name) => window.moments[name]), window.sent[0]].map((each) => each / 1000)", moments
    )
    page.close()
    return seconds


def first_visit(browser: Browser, address: str, path: str, *moments: str) -> list[float]:
    with visitor(browser) as context:
        return timed(context, address, path, *moments)


def told(what: str, values: Sequence[float], unit: str = "s") -> None:
    digits = 2 if unit == "s" else 0
    least, middle, most = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    print(f"| {what} | {middle} ({least} to {most}) {unit} |", flush=True)


def memory(server: Server, when: str) -> None:
    maps = Path(f"/proc/{server.pid}/maps").read_text(encoding="utf-8")
    torch = "with PyTorch" if "libtorch" in maps else "without PyTorch"
    print(f"| memory of the server {when} | {server.megabytes():.0f} MB, {torch} |", flush=True)


# ---- What is measured --------------------------------------------------------------------------------------


def first_paints(browser: Browser, known: BrowserContext, server: Server, empty: Server, repeats: int) -> None:
    """Every page and right after it an empty one at an address like its, in turn, `repeats` times."""
    ends = {path: [title, SETTLED] for title, path in PAGES.items()}
    ends["Train"].pop()  # whose script is at work all the time
    visits = {
        (path, who, which): []
        for path in ends for who in ("first", "again") for which in ("ours", "empty")
    }  # fmt: skip
    for number in range(VISITS + repeats):
        for path in ends:
            for which, address, at, until in (
                ("ours", server.address, path, ends[path]), ("empty", empty.address, EMPTY if path else "", [EMPTY]),
            ):  # fmt: skip
                times = timed(known, address, at, *until)
                if number >= VISITS:
                    visits[path, "again", which].append(times)
                    visits[path, "first", which].append(first_visit(browser, address, at, *until))
    for who, words in (("first", "on a first visit"), ("again", "in a browser that has been here before")):
        for paths, at in (([""], "the front address"), ([path for path in ends if path], "another address")):
            nothing_there = [each for path in paths for each in visits[path, who, "empty"]]
            told(f"first paint of an empty page at {at}, {words}", [each[0] for each in nothing_there])
            told("– of it until the browser first asked the server", [each[-1] for each in nothing_there])
        for path in ends:
            ours, none = visits[path, who, "ours"], visits[path, who, "empty"]
            told(f"first paint of {path or 'the home page'}, {words}", [each[0] for each in ours])
            more = [1000 * (one[0] - other[0]) for one, other in zip(ours, none, strict=True)]
            told("– more than the empty page after it", more, "ms")
            if len(ends[path]) > 1:
                told("– until its script ended", [each[1] for each in ours])


def gallery(browser: Browser, known: BrowserContext, server: Server, repeats: int) -> None:
    first = [first_visit(browser, server.address, "Browse", GALLERY)[0] for _ in range(repeats)]
    told("a gallery of 300, asked for by its address", first)
    told("– in a browser that has been here before",
         [timed(known, server.address, "Browse", GALLERY)[0] for _ in range(repeats)])  # fmt: skip
    page = opened(known)
    page.add_init_script(MOMENTS)
    page.goto(f"{server.address}/Browse")
    page.wait_for_function("() => window.moments?.gallery && window.moments.settled", polling=50)
    print(f"| – sent for it over the socket | {page.evaluate('() => window.bytes / 1000'):,.0f} kB |", flush=True)
    page.close()


def switches(page: Page, rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds):
        for title in ("Compare", "Review", "Classify", "Train", "Browse"):
            page.wait_for_timeout(1500)
            start = time.perf_counter()
            page.get_by_test_id("stSidebar").get_by_role("link", name=title).click()
            heading(page, title)
            seconds.append(time.perf_counter() - start)
    return seconds


def ticks(page: Page, server: Server, steps: str) -> None:
    """Of a Train page that has come to rest but for its ticks."""
    waits, sent, seconds = [], [], server.processor_seconds()
    begun = time.perf_counter()
    for _ in range(TICKS):
        wait, size = tick(page)
        waits.append(wait)
        sent.append(size)
    told(f"a live tick, {steps} steps, request to last answer", waits, "ms")
    told("– sent for it", sent, "kB")
    # Between two ticks that are looked at another may pass
    spent = (server.processor_seconds() - seconds) / ((time.perf_counter() - begun) / 1.5)
    print(f"| – processor time of the server for each | about {1000 * spent:.0f} ms |", flush=True)


def tick(page: Page) -> tuple[float, float]:
    """Milliseconds that a tick takes, and thousands of bytes."""
    page.evaluate("() => { window.sent.length = window.got.length = window.bytes = 0; }")
    page.wait_for_function("() => window.sent.length && performance.now() - Math.max(...window.got, 0) > 400"
                           " && window.got.some((at) => at > window.sent[0])", polling=50)  # fmt: skip
    return page.evaluate("() => [Math.max(...window.got) - window.sent[0], window.bytes / 1000]")


def long_curves(page: Page) -> None:
    """What a hand at the chart of many steps sees of it."""
    chart = page.get_by_label("Loss over the epochs")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    across = [box["x"] + share * box["width"] for share in (0.3, 0.8)]
    middle = box["y"] + box["height"] / 2

    def point() -> None:
        page.mouse.move(across[0], middle)
        page.mouse.move(across[1], middle + 20, steps=120)

    def drag() -> None:
        page.mouse.move(across[0], middle)
        page.mouse.down()
        page.mouse.move(across[1], middle + 20, steps=60)
        page.mouse.up()

    def closer_and_wider() -> None:
        chart.focus()
        for key in "+++++-----":
            page.keyboard.press(key)
            page.wait_for_timeout(60)

    for words, act in (("pointing along", point), ("dragging across, and looking closer", drag),
                       ("closer and wider by keys", closer_and_wider)):  # fmt: skip
        frames: list[float] = []
        for _ in range(5):
            page.evaluate(FRAMES)
            act()
            page.wait_for_timeout(300)
            frames += page.evaluate(SEEN_FRAMES)
            chart.focus()
            page.keyboard.press("Escape")
            page.wait_for_timeout(300)
        ordered = sorted(frames)
        late = sum(each > 50 for each in frames)
        print(f"| {MANY_STEPS:,} steps, {words}: time between two frames | {statistics.median(frames):.0f}, 95% below "
              f"{ordered[int(0.95 * (len(ordered) - 1))]:.0f}, most {ordered[-1]:.0f} ms; {late} of {len(frames):,} "
              "above 50 ms |", flush=True)  # fmt: skip


def measure(browser: Browser, known: BrowserContext, servers: tuple[Server, Server], training: Training,
            repeats: int) -> None:  # fmt: skip
    server, empty = servers
    memory(server, "that has started")
    for path in ("Browse", "Train", "Compare", "Review"):
        timed(known, server.address, path, SETTLED)
        memory(server, f"after {path}")
    for path in ("", "Classify"):
        timed(known, server.address, path, SETTLED)
    memory(server, "after every page")
    first_paints(browser, known, server, empty, repeats)
    gallery(browser, known, server, repeats)

    page = opened(visitor(browser))
    page.goto(f"{server.address}/Browse")
    heading(page, "Browse")
    told("page switch", switches(page, repeats))
    page.get_by_test_id("stSidebar").get_by_role("link", name="Train").click()
    heading(page, "Train")
    page.wait_for_timeout(4000)
    ticks(page, server, f"{STEPS:,}")
    training.tell(MANY_STEPS)
    page.wait_for_timeout(6000)
    ticks(page, server, f"{MANY_STEPS:,}")
    long_curves(page)
    page.context.close()
    files(server, empty, repeats)
    crowd(known, server, repeats)


def files(server: Server, empty: Server, repeats: int) -> None:
    spent: dict[str, list[float]] = {"from Streamlit by itself": [], "from ours": []}
    for _ in range(repeats):
        for each, address in zip(spent.values(), (empty.address, server.address), strict=True):
            each += program_files(address)
    for who, each in spent.items():
        told(f"a program file over an open connection, {who}", each, "ms")


def program_files(address: str) -> list[float]:
    """Milliseconds of each file that the empty page loads first, but for the first of the connection."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def got(path: str) -> tuple[bytes, float]:
        start = time.perf_counter()
        connection.request("GET", path)
        content = connection.getresponse().read()
        return content, 1000 * (time.perf_counter() - start)

    names = sorted(set(re.findall(r"static/js/[\w.-]+\.js", got("/")[0].decode())))
    return [got("/" + name)[1] for name in names]


class Crowd:
    """SESSIONS people with the page that ticks open, at browsers of other machines: none draws here what it is sent."""

    def __init__(self, server: Server):
        self._address = server.address
        self.waits: list[float] = []
        """Seconds that each tick took."""
        self._ended = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Crowd:
        """Once all have come to rest but for their ticks."""
        self._people = self._thread.submit(asyncio.run, self._all())
        while len(self.waits) < 5 * SESSIONS and not self._people.done():
            time.sleep(0.1)
        self.waits.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._people.result()
        self._thread.shutdown()

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(place / SESSIONS) for place in range(SESSIONS)))

    async def _one(self, phase: float) -> None:
        """Somebody whose clock is that part of a tick behind the first's: people don't open a page all at once."""
        async with Person(self._address, page="Train") as person:
            await asyncio.sleep(phase * person.clock.interval)
            while not self._ended.is_set():
                await asyncio.sleep(person.clock.interval)
                begun = time.perf_counter()
                await person.tick()
                self.waits.append(time.perf_counter() - begun)


def crowd(known: BrowserContext, server: Server, repeats: int) -> None:
    """One more visitor beside SESSIONS on the page that ticks."""
    with Crowd(server) as beside:
        crowded = [timed(known, server.address, "Browse", "Browse")[0] for _ in range(repeats)]
        told(f"first paint of Browse beside {SESSIONS} ticking sessions", crowded)
        page = opened(known)
        page.goto(f"{server.address}/Browse")
        heading(page, "Browse")
        told("– page switch beside them", switches(page, 2))
        page.close()
        told("– a tick of each of them", [1000 * wait for wait in beside.waits], "ms")
    memory(server, f"after {SESSIONS} sessions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    folder = Path(tempfile.mkdtemp(prefix="bench-dashboard-"))
    home = folder / "workspace"
    filled(home)
    training = Training(home)
    servers = (Server(home, folder / "server.log"),
               Server(home, folder / "empty.log", app=empty_app(folder / "empty")))  # fmt: skip
    for server in servers:
        server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            known = known_visitor(playwright, folder / "profile")
            measure(browser, known, servers, training, repeats)
            known.close()
            browser.close()
    finally:
        training.end()
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
