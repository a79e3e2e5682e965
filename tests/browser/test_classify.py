"""The Classify page in a real browser: fields in, cells corrected by mouse and key, what is taken away is right."""

from __future__ import annotations

import codecs
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import settled
from filelock import FileLock
from playwright.sync_api import Locator, Page, expect

from bloodcell_core import workspace
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.inference.answers import Answer, CellAnswer
from bloodcell_core.runs import Run, readable_runs
from bloodcell_core.smear import slides
from bloodcell_core.smear.slide_answers import SlideAnswers
from tests.training_fixtures import wait_for

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.training_fixtures"]

LABELS = ["neutrophil", "lymphocyte", "monocyte", "neutrophil"]


@pytest.fixture
def lab_with_run(lab: Path, tmp_path: Path) -> Path:
    """The server's workspace with a run that has the cell view."""
    from tests.training_fixtures import trained

    trained(view="cell", epochs=8, seed=1)
    lab.rename(tmp_path / "workspace")
    return tmp_path / "workspace"


def field(seed: int) -> dict:
    pixels = demo.draw_field(np.random.default_rng(seed), LABELS).pixels
    return {"name": f"field {seed}.png", "mimeType": "image/png", "buffer": encode(pixels)}


def counted(page: Page, count: int, by_hand: int = 0) -> None:
    expect(page.get_by_text(f"{count} cells counted")).to_be_visible()
    if by_hand:
        expect(page.get_by_text(f"{by_hand} by hand").first).to_be_visible()


def count_of(page: Page, name: str) -> Locator:
    return page.locator(".lab-count .line").filter(has_text=re.compile(f"^{name}")).locator("span").nth(1)


def cells_of(page: Page, name: str) -> int:
    return int(count_of(page, name).inner_text())


@pytest.mark.slow
def test_over_a_slow_network_each_act_is_meant_for_what_came_of_the_last(
    lab_with_run: Path, open_slow_page, monkeypatch: pytest.MonkeyPatch
):
    page = open_slow_page("Classify?threshold=0")
    page.locator("input[type=file]").set_input_files([field(1)])
    boxes = page.locator(".box")
    expect(boxes).to_have_count(4)
    settled(page)
    boxes.nth(0).focus()
    for _ in range(3):
        page.wait_for_timeout(400)  # sooner than the server is heard
        page.keyboard.press("ArrowRight")

    def done() -> list[tuple[str, str]]:
        (slide,) = in_workspace(monkeypatch, lab_with_run)
        return [(one.do, one.label) for one in slide.corrections]

    page.keyboard.press("3")
    expect(boxes.nth(3)).to_contain_text("Monocyte ✓")
    settled(page)
    for pressed in ("4", "3", "Delete", "Delete"):
        page.keyboard.press(pressed)
    wait_for(lambda: len(done()) == 5, "all is kept")
    assert done() == [
        ("label", "monocyte"), ("label", "neutrophil"), ("label", "monocyte"), ("remove", ""), ("restore", ""),
    ]  # fmt: skip


def test_fields_are_corrected_counted_and_taken_away(lab_with_run: Path, open_page, browser, monkeypatch):
    page = open_page("Classify?threshold=0")
    page.locator("input[type=file]").set_input_files([field(1), field(2)])
    boxes = page.locator(".box")
    expect(boxes).to_have_count(4)
    expect(page).to_have_url(re.compile("slide="))
    counted(page, 8)

    # A cell gets another class by mouse: the count follows at once.
    title = boxes.nth(0).get_attribute("title").split(": ")[1]
    other = next(name.capitalize() for name in demo.DEMO_CLASSES if name.capitalize() != title)
    before, after = cells_of(page, title), cells_of(page, other)
    boxes.nth(0).click()
    page.locator(".tools .class").filter(has_text=other).click()
    expect(page.get_by_text("1 by hand")).to_be_visible()
    expect(count_of(page, title)).to_have_text(str(before - 1))  # may be drawn a moment later
    expect(count_of(page, other)).to_have_text(str(after + 1))
    expect(boxes.nth(0)).to_contain_text(f"1 {other} ✓")

    # By key, faster than the page answers: two cells, none lost. Then one is taken out.
    boxes.nth(1).focus()
    for pressed in ("2", "ArrowRight", "3", "ArrowRight", "Delete"):
        page.keyboard.press(pressed)
    counted(page, 7, by_hand=3)
    expect(boxes.nth(1)).to_contain_text("Lymphocyte ✓")
    expect(boxes.nth(2)).to_contain_text("Monocyte ✓")
    expect(boxes.nth(3)).to_contain_text("Not a cell")

    # A cell is drawn, moved by key, and undone; nothing else changes.
    page.get_by_role("button", name="Add a cell").click()
    place = page.locator(".stage").bounding_box()
    page.mouse.move(place["x"] + 20, place["y"] + 20)
    page.mouse.down()
    page.mouse.move(place["x"] + 80, place["y"] + 70, steps=3)
    page.mouse.up()
    expect(boxes).to_have_count(5)
    drawn = boxes.nth(4)
    expect(drawn).to_have_attribute("aria-pressed", "true")
    drawn.focus()
    style = drawn.get_attribute("style")
    for pressed in ("m", "ArrowRight", "ArrowDown", "+", "Enter"):
        page.keyboard.press(pressed)
    assert drawn.get_attribute("style") != style

    def done() -> list[str]:
        (slide,) = in_workspace(monkeypatch, lab_with_run)
        return [one.do for one in slide.corrections]

    wait_for(lambda: len(done()) > 5, "the move is kept")  # the page shows it before the server knows
    assert done() == ["label", "label", "label", "remove", "add", "move"]
    settled(page)
    for pressed in ("u", "U"):  # as with Caps Lock
        page.keyboard.press(pressed)
        settled(page)
    expect(boxes).to_have_count(4)

    # The other field has its own cells; the address leads a colleague to the same, corrections and all.
    colleague = open_page(page.url.split("/", 3)[3])
    counted(colleague, 7, by_hand=3)
    colleague.locator(".st-key-classify_film button").nth(1).click()
    expect(colleague.get_by_text("Field 2 of 2")).to_be_visible()
    expect(colleague.locator(".box")).to_have_count(4)

    # The table holds what is seen …
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.path().read_bytes().startswith(codecs.BOM_UTF8), "Excel takes it for another encoding"
    with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["field 1.png"] * 4 + ["field 2.png"] * 4
    assert [row["state"] for row in rows[:4]] == ["confirmed", "confirmed", "confirmed", "removed"]
    assert [row["label"] for row in rows[:3]] == [other.lower(), "lymphocyte", "monocyte"]
    named = [row["label"] for row in rows if row["label"]]
    assert {name: cells_of(page, name.capitalize()) for name in demo.DEMO_CLASSES} == {
        name: named.count(name) for name in demo.DEMO_CLASSES
    }

    # … and so does the report, which opens alone and prints on two pages at most.
    with page.expect_download() as download:
        page.get_by_role("button", name="Report").click()
    check_report(browser, Path(download.value.path()), named)
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0


@pytest.mark.slow
def test_what_is_pressed_after_a_cell_was_added_is_done_to_that_cell(lab_with_run: Path, open_page):
    page = open_page("Classify?threshold=0")
    page.locator("input[type=file]").set_input_files([field(1)])
    boxes = page.locator(".box")
    expect(boxes).to_have_count(4)
    boxes.nth(0).focus()
    first = boxes.nth(0).get_attribute("title")

    # By key, before the page has answered.
    for pressed in ("a", "2"):
        page.keyboard.press(pressed)
    expect(boxes).to_have_count(5)
    expect(boxes.nth(4)).to_have_attribute("title", "Cell 5: Lymphocyte, by hand")
    counted(page, 5, by_hand=1)

    # By mouse, and then by key: without a click on the cell that was drawn.
    page.get_by_role("button", name="Add a cell").click()
    page.locator(".stage").click(position={"x": 40, "y": 40})
    page.keyboard.press("3")
    expect(boxes).to_have_count(6)
    expect(boxes.nth(5)).to_have_attribute("title", "Cell 6: Monocyte, by hand")
    counted(page, 6, by_hand=2)
    expect(boxes.nth(0)).to_have_attribute("title", first)


AS_SAFARI = """addEventListener("mousedown", (event) => {
  const button = event.composedPath().find((each) => each.tagName === "BUTTON")
  if (!button || button.hasAttribute("tabindex")) return
  event.preventDefault()
  button.getRootNode().activeElement?.blur()
}, true)"""
"""At a click Safari gives a button the focus only where its tabindex is said, and takes it from where it was."""


@pytest.mark.slow
def test_the_keys_go_on_after_a_click_on_a_tool_in_safari(lab_with_run: Path, open_page):
    page = open_page("Classify?threshold=0")
    page.locator("input[type=file]").set_input_files([field(1)])
    boxes = page.locator(".box")
    expect(boxes).to_have_count(4)
    page.evaluate(AS_SAFARI)
    boxes.nth(0).click()
    page.get_by_role("button", name="Not a cell").click()
    expect(boxes.nth(0)).to_contain_text("Not a cell")
    page.keyboard.press("u")
    expect(boxes.nth(0)).not_to_contain_text("Not a cell")


def in_workspace(monkeypatch, home: Path) -> list[slides.Slide]:
    monkeypatch.setenv("BLOODCELL_HOME", str(home))
    return slides.listed()[0]


def check_report(browser, path: Path, named: list[str]) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    path = path.rename(path.with_name("report.html"))
    page.goto(path.as_uri())
    told = json.loads(page.locator("#figures").inner_text(timeout=1000) or page.locator("#figures").text_content())
    assert {name: row["cells"] for name, row in told["differential"]["classes"].items()} == {
        name: named.count(name) for name in demo.DEMO_CLASSES
    }
    assert told["differential"]["by_hand"] == 3
    expect(page.get_by_text("7 cells counted, 3 of them classified by hand")).to_be_visible()
    assert page.locator("img").count() == 7
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert said == []
    pages = page.pdf(format="A4").count(b"/Type /Page\n") or page.pdf(format="A4").count(b"/Type /Page ")
    assert 1 <= pages <= 2
    context.close()


@pytest.mark.slow
def test_two_windows_on_one_cell(lab_with_run: Path, open_page):
    """The second to change a cell is told what the first did, and nothing is lost."""
    mine = open_page("Classify?threshold=0")
    mine.locator("input[type=file]").set_input_files([field(1)])
    expect(mine.locator(".box")).to_have_count(4)
    settled(mine)
    theirs = open_page(mine.url.split("/", 3)[3])
    expect(theirs.locator(".box")).to_have_count(4)
    settled(theirs)
    mine.locator(".box").nth(0).focus()
    mine.keyboard.press("1")
    counted(mine, 4, by_hand=1)
    theirs.locator(".box").nth(0).focus()
    theirs.keyboard.press("2")
    expect(theirs.get_by_text("changed in another window")).to_be_visible()
    expect(theirs.locator(".box").nth(0)).to_contain_text("Eosinophil ✓")
    settled(theirs)
    theirs.locator(".box").nth(0).focus()
    theirs.keyboard.press("2")  # said again, now that it is seen
    expect(theirs.locator(".box").nth(0)).to_contain_text("Lymphocyte ✓")


@pytest.mark.slow
def test_a_network_is_adapted_to_cells_that_are_labelled_on_the_page(lab_with_run: Path, open_page, monkeypatch):
    """About a minute of a person's work: labelled by click, key and together; adapted; seen; used."""
    page = open_page("Classify")
    page.locator("input[type=file]").set_input_files([crowded(seed) for seed in range(4)])
    page.get_by_role("radio", name="Your own microscope").click()
    tiles = page.locator(".sheet .tile")
    expect(tiles).to_have_count(4 * len(CROWD))
    expect(page.get_by_text("0 labelled cells", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Adapt", exact=True)).to_be_disabled()

    # A click says that it is what it is called, a second one takes that back.
    tiles.nth(0).click()
    expect(tiles.nth(0)).to_have_class("tile confirmed")
    tiles.nth(0).click()
    expect(tiles.nth(0)).to_have_class("tile guess")
    # By key, faster than the page answers, and each goes on to the next: none is lost.
    tiles.nth(0).focus()
    for pressed in [*"1234" * 5, "C", "Delete"]:
        page.keyboard.press(pressed)
    expect(page.get_by_text("21 labelled cells", exact=True)).to_be_visible()
    names = [name.capitalize() for name in demo.DEMO_CLASSES]
    for place, name in enumerate(names * 5):
        expect(tiles.nth(place)).to_contain_text(name)
    expect(tiles.nth(21)).to_have_class("tile removed")
    # What a click says is chosen, and undone by key.
    page.locator(".tools button").filter(has_text=names[2]).click()
    tiles.nth(22).click()
    expect(tiles.nth(22)).to_contain_text(names[2])
    expect(page.get_by_text("22 labelled cells", exact=True)).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text("21 labelled cells", exact=True)).to_be_visible()
    # All that are right at once.
    page.get_by_role("button", name="others here are right").click()
    expect(page.get_by_text(f"{4 * len(CROWD) - 1} labelled cells", exact=True)).to_be_visible()

    # Adapted by a process of its own: the page is left and found again.
    page.get_by_role("button", name="Adapt", exact=True).click()
    expect(page.get_by_text("Adapting to")).to_be_visible()
    address = page.url.split("/", 3)[3]
    page.context.close()
    again = open_page(address)
    expect(again.get_by_text(re.compile("Adapted to"))).to_be_visible(timeout=10 * 60_000)  # busy cores
    expect(again.get_by_text(f"On {4 * len(CROWD) - 1} cells (4 pictures)")).to_be_visible()
    again.get_by_role("button", name="Use the adapted network").click()
    expect(again).to_have_url(re.compile("run=[^&]*cnn"))
    expect(again.get_by_text("What adapting brought this network")).to_be_visible()
    (slide,) = in_workspace(monkeypatch, lab_with_run)
    assert slide.run in again.url
    assert "adaptation" in Run(slide.run).summary()
    assert again.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0


@pytest.mark.slow
def test_progress_is_shown_to_who_comes_while_another_session_is_at_work(lab_with_run: Path, open_page, monkeypatch):
    """This test stands for that session: it holds the lock of who asks the network, and writes answers itself."""
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_with_run))
    (run,) = [run for run in readable_runs()[0] if run.config.view == "cell" and not run.bundled]
    rng = np.random.default_rng(4)
    handed = [(f"{n}.png", lambda: encode(demo.draw_picture("monocyte", rng))) for n in range(40)]
    slide = slides.create("Many", run.name, handed)
    answers = SlideAnswers(slide, run.name)

    def answer(numbers: range) -> None:
        lines = [Answer(f"{n}.png", "unlike", "no white cell was found", [], "cell", 80, 60).to_json() for n in numbers]
        answers.append([{"picture": n, "asked": "", "answer": line} for n, line in zip(numbers, lines, strict=True)])

    with FileLock(workspace.lock_file(f"answering-{slide.id}-{answers.file.stem}")):
        answer(range(1, 11))
        page = open_page("Classify")
        expect(page.get_by_text("Nothing at hand?")).to_be_visible()
        page.goto(f"{page.url.split('?')[0]}?slide={slide.id}&run={run.name}&threshold=0")
        expect(page.get_by_text("10 of 40 pictures classified")).to_be_visible()
        answer(range(11, 18))
        expect(page.get_by_text("17 of 40 pictures classified")).to_be_visible()
        page.reload()
        expect(page.get_by_text("17 of 40 pictures classified")).to_be_visible()
        # The way back is heard meanwhile; and what stands there is out of sight as soon as the slide is opened again.
        page.get_by_role("link", name="All slides").click()
        expect(page.get_by_text("Nothing at hand?")).to_be_visible()
        settled(page)
        page.locator(".dvn-scroller").click(position={"x": 16, "y": 52})
        expect(page.get_by_text("17 of 40 pictures classified")).to_be_visible()
        expect(page.get_by_text("Nothing at hand?")).not_to_be_visible()
    settled(page)
    expect(page.get_by_text("23 cells counted")).to_be_visible()
    assert len(SlideAnswers(slide, run.name).file.read_text().splitlines()) == 40


@pytest.mark.slow
def test_cells_at_the_border_have_names_to_be_read_and_stay_on_the_picture(lab_with_run: Path, open_page, monkeypatch):
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_with_run))
    (run,) = [run for run in readable_runs()[0] if run.config.view == "cell" and not run.bundled]
    slide = slides.create("Borders", run.name, [("a.png", field(1)["buffer"].__bytes__)])
    height, width = decode_rgb(field(1)["buffer"]).shape[:2]
    corners = [(-60, 200), (width - 40, 200), (-60, -50), (width - 40, -50)]
    shares = dict.fromkeys(run.classes, 1 / len(run.classes))
    cells = [
        CellAnswer((x, y, x + 100, y + 100), "ok", "lymphocyte", shares, "", (x + 25, y + 25, x + 75, y + 75))
        for x, y in corners
    ]
    told = Answer("a.png", "ok", "", cells, "field", width, height).to_json()
    SlideAnswers(slide, run.name).append([{"picture": 1, "asked": "", "answer": told}])
    page = open_page(f"Classify?slide={slide.id}&run={run.name}&threshold=0")
    page.set_viewport_size({"width": 390, "height": 900})
    expect(page.locator(".box")).to_have_count(4)
    picture = page.locator(".stage").bounding_box()
    for tag in page.locator(".box .tag").all():
        place = tag.bounding_box()
        assert place["x"] >= picture["x"] - 2.5, tag.inner_text()
        assert place["x"] + place["width"] <= picture["x"] + picture["width"] + 2.5, tag.inner_text()
        assert place["y"] >= picture["y"] - 0.5, tag.inner_text()

    # The box in the corner is made small, by its handle: it doesn't leave the picture.
    boxes = page.locator(".box")
    boxes.nth(2).focus()
    handle = boxes.nth(2).locator(".handle").bounding_box()
    page.mouse.move(handle["x"] + 7, handle["y"] + 7)
    page.mouse.down()
    page.mouse.move(picture["x"] - 15, picture["y"] - 15, steps=3)
    page.mouse.up()
    wait_for(lambda: slides.read_slide(slide.id).corrections, "the box is kept")
    (made,) = slides.read_slide(slide.id).corrections
    assert made.do == "move"
    assert min(made.box[2:]) > 0


@pytest.mark.slow
def test_the_end_of_a_long_name_can_be_read_in_the_rows(lab_with_run: Path, open_page, monkeypatch):
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_with_run))
    (run,) = [run for run in readable_runs()[0] if run.config.view == "cell" and not run.bundled]
    names = ["a folder of a rather long name/of somebody/(1).png", "short.png", "/(2).png"]
    rng = np.random.default_rng(4)
    handed = [(name, lambda: encode(demo.draw_picture("monocyte", rng))) for name in names]
    page = open_page(f"Classify?slide={slides.create('Names', run.name, handed).id}&run={run.name}&threshold=0")
    expect(page.locator(".row .file")).to_have_text(names)
    for file, name in zip(page.locator(".row .file").all(), names, strict=True):
        left, right, start = file.evaluate(
            """file => {
              const text = file.querySelector("bdi").firstChild
              const [whole, end] = [document.createRange(), document.createRange()]
              whole.selectNodeContents(text); end.setStart(text, text.length - 7); end.setEnd(text, text.length)
              const [seen, last] = [file.getBoundingClientRect(), end.getBoundingClientRect()]
              return [last.left - seen.left, seen.right - last.right, whole.getBoundingClientRect().left - seen.left]
            }"""
        )
        assert min(left, right) >= -0.5, f"the end of {name} is cut off"
        assert (start < -0.5) == (name == names[0]), "what fits begins at the left"


@pytest.mark.slow
def test_an_undoing_on_the_row_where_one_is_says_nothing_of_another_picture(lab_with_run: Path, open_page, monkeypatch):
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_with_run))
    (run,) = [run for run in readable_runs()[0] if run.config.view == "cell" and not run.bundled]
    rng = np.random.default_rng(4)
    handed = [(name, lambda: encode(demo.draw_picture("monocyte", rng))) for name in ("one.png", "two.png")]
    page = open_page(f"Classify?slide={slides.create('Two', run.name, handed).id}&run={run.name}&threshold=0")
    rows = page.locator(".row")
    rows.first.focus()
    for pressed in ("ArrowDown", "2"):
        page.keyboard.press(pressed)
    expect(rows.nth(1)).to_contain_text("Lymphocyte ✓")
    page.keyboard.press("u")
    expect(rows.nth(1)).not_to_contain_text("✓")
    settled(page)
    expect(page.locator("[data-testid=stAlert]")).to_have_count(0)
    rows.first.focus()
    for pressed in ("ArrowDown", "2", "ArrowUp", "u"):
        page.keyboard.press(pressed)
    expect(page.get_by_text("What was undone is on another picture: two.png")).to_be_visible()


@pytest.mark.slow
def test_a_double_click_makes_one_slide(lab_with_run: Path, open_page, monkeypatch):
    page = open_page("Classify")
    page.get_by_role("button", name="Try an example smear field").dblclick()
    expect(page.locator(".box").first).to_be_visible()
    settled(page)
    assert len(in_workspace(monkeypatch, lab_with_run)) == 1
    # Nor is what was made opened again when one goes back.
    page.get_by_role("button", name="All slides").click()
    expect(page.get_by_text("Pick a slide to open it")).to_be_visible()
    settled(page)
    assert "slide=" not in page.url


CROWD = [*demo.DEMO_CLASSES] * 3


def crowded(seed: int) -> dict:
    pixels = demo.draw_field(np.random.default_rng(100 + seed), CROWD, (800, 640)).pixels
    return {"name": f"crowd {seed}.png", "mimeType": "image/png", "buffer": encode(pixels)}
