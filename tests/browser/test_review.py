"""Verdicts by keyboard alone, while the page is refreshed, a second person reviews, and the server dies."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from conftest import Server, settled
from playwright.sync_api import Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.labels.verdicts import events
from bloodcell_core.runs import Run
from tests.test_review_page import spoil

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.browser

VERDICTS = 30
ASK_LATE = """() => {
  window.sent = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (bytes) {
    send.call(this, bytes);
    const desk = window.sent.at(-1);
    window.sent.push([...bytes]);
    if (window.sent.length == 2) this.send(new Uint8Array(desk));
  };
}"""  # keeps what the browser asks the server for, and asks the first of it again just after the second
WATCH = """strong => {
  window.places = [];
  const look = () => window.places.push(parseInt(strong.textContent) || 0);
  new MutationObserver(look).observe(strong, {childList: true, characterData: true, subtree: true});
}"""  # 0 while the next picture hasn't come yet
CLASSES = 13


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in the server's workspace that is wrong about every picture, of more photos than there are verdicts."""
    import torch

    from tests.training_fixtures import drawn, train_here

    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "workspace"))
    torch.set_num_threads(1)
    data = drawn("demo", per_class=40, seed=8)
    run = train_here(epochs=1)
    table = run.predictions()
    others = data.pictures[~data.pictures.image_id.isin(table.image_id)]
    more = others[["image_id", "split", "label", "source_photo"]].assign(predicted="")
    more = more.assign(**{f"p_{name}": 0.0 for name in run.classes})
    pd.concat([table, more], ignore_index=True).to_parquet(run.folder / "predictions.parquet")
    spoil(run)
    return run


@pytest.mark.slow
def test_on_a_phone_the_heat_map_s_button_is_read_in_full(wrong: Run, open_page):
    page = open_page("Review")
    page.set_viewport_size({"width": 390, "height": 844})
    words = page.get_by_role("button", name="Heat map").locator("span")
    expect(words).to_be_visible()
    shown = """span => {
        const text = document.createRange();
        text.selectNodeContents(span);
        return {lines: text.getClientRects().length, cut: span.scrollWidth > span.clientWidth};
    }"""
    assert words.evaluate(shown) == {"lines": 1, "cut": False}


@pytest.mark.slow
def test_undo_is_offered_for_verdicts_alone(wrong: Run, open_page):
    page = open_page("Review")
    undo = page.locator("[data-kind=undo]")
    expect(undo).to_be_disabled()
    page.evaluate("() => { WebSocket.prototype.send = () => {} }")  # what is pressed now waits in the browser
    page.get_by_role("button", name="Skip").click()
    expect(undo).to_be_disabled()
    page.wait_for_timeout(1000)  # sooner a verdict would be taken for one on the cell before
    page.keyboard.press("m")
    expect(undo).to_be_enabled()
    page.keyboard.press("Backspace")
    expect(undo).to_be_disabled()


@pytest.mark.slow
def test_a_zoomed_picture_is_looked_at_by_dragging(wrong: Run, open_page):
    page = open_page("Review")
    glass = page.locator(".whole .glass")
    expect(glass.locator("img[src]").first).to_be_visible()
    glass.click()
    expect(glass).to_have_class(re.compile("zoomed"))
    box = glass.bounding_box()
    at = [(box["x"] + share * box["width"], box["y"] + box["height"] / 2) for share in (0.2, 0.5, 0.8)]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    assert float(glass.evaluate("glass => glass.style.getPropertyValue('--x')").rstrip("%")) == pytest.approx(80, abs=1)
    expect(glass).to_have_class(re.compile("zoomed"))
    glass.click()
    expect(glass).not_to_have_class(re.compile("zoomed"))


def place(page: Page) -> int:
    return int(re.match(r"(\d+) of", page.locator(".progress strong").inner_text()).group(1))


def at(page: Page, number: int) -> None:
    """Waits until the picture with this number is shown and all that was said is kept."""
    expect(page.locator(".progress strong")).to_have_text(re.compile(rf"^{number} of \d+$"))
    expect(page.locator(".state")).not_to_have_text("Saving …")


def press(page: Page, key: str, times: int = 1) -> None:
    """A key, when a person could have looked at the picture; each leads on to the next one."""
    for _ in range(times):
        before = place(page)
        page.evaluate("() => new Promise(done => setTimeout(done, 300))")  # the desk takes no verdict sooner
        page.keyboard.press(key)
        at_least(page, before + 1)


def at_least(page: Page, number: int) -> None:
    expect(page.locator(".state")).not_to_have_text("Saving …")
    page.wait_for_function(
        """least => {
        const desk = [...document.querySelectorAll('*')].map(each => each.shadowRoot).find(
            root => root && root.querySelector('.desk'));
        return parseInt(desk.querySelector('.progress strong').textContent) >= least }""",
        arg=number,
    )


def class_key(page: Page) -> str:
    """The key of a class that isn't the picture's label."""
    return page.locator(".classes button:enabled").first.get_attribute("data-key")


@pytest.mark.slow
def test_what_the_desk_asks_as_its_page_is_left_takes_nothing_away(wrong: Run, open_page):
    """Streamlit went back to the desk for it once the next page was drawn, and the window stayed white."""
    page = open_page("Review")
    at(page, 1)
    page.evaluate(ASK_LATE)
    press(page, "a")
    sidebar = page.get_by_test_id("stSidebar")
    sidebar.get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", name="Train", exact=True)).to_be_visible()
    settled(page)
    sent = [BackMsg.FromString(bytes(each)).rerun_script for each in page.evaluate("() => window.sent")]
    assert [bool(each.fragment_id) for each in sent[-2:]] == [False, True]
    assert sent[-1].page_script_hash != sent[-2].page_script_hash
    assert "dataset=demo" in page.url
    assert "picture" not in page.url
    sidebar.get_by_role("link", name="Review").click()
    expect(page.locator(".progress small")).to_have_text("1 reviewed")


def test_thirty_verdicts_by_keyboard_alone(wrong: Run, open_page, app_server: Server) -> None:
    page = open_page("Review")
    at(page, 1)

    # Eight of every kind; one with a comment, in which no letter counts as a verdict.
    press(page, "m", 3)
    press(page, class_key(page))
    press(page, "a", 2)
    page.keyboard.press("n")
    page.keyboard.type("mauau 123")
    page.keyboard.press("Enter")
    at(page, 7)
    press(page, "u")
    press(page, "m")
    at(page, 9)

    # A key held down and a double click of the mouse are one verdict each.
    page.wait_for_timeout(300)
    page.keyboard.down("a")
    page.keyboard.down("a")
    page.keyboard.down("a")
    page.keyboard.up("a")
    at(page, 10)

    # Two steps back and forth again.
    page.keyboard.press("Backspace")
    at(page, 9)
    page.keyboard.press("Control+z")
    at(page, 8)
    expect(page.locator(".progress small")).to_have_text("7 reviewed")
    press(page, "a", 2)
    at(page, 10)

    # A refresh forgets nothing and shows the same picture.
    page.reload()
    settled(page)
    at(page, 10)
    expect(page.locator(".progress small")).to_have_text("9 reviewed")

    # A second person at the same time: neither gets what the other has decided.
    other = open_page("Review")
    at(other, 10)
    other.get_by_label("Reviewing as").press("Control+a")
    other.get_by_label("Reviewing as").press_sequentially("Bea <b>")
    other.get_by_label("Reviewing as").press("Enter")
    settled(other)
    press(other, "ArrowRight")
    for _ in range(5):
        assert place(page) != place(other)
        press(page, "m")
        press(other, "u")

    # The server dies; what is said meanwhile is kept by the browser and arrives when the server is there again.
    seen = int(page.locator(".progress small").inner_text().split()[0])
    app_server.kill()
    page.wait_for_timeout(300)
    page.keyboard.press("m")
    expect(page.locator(".state")).to_have_text("Saving …")
    app_server.start()
    settled(page)
    expect(page.locator(".state")).not_to_have_text("Saving …")
    assert int(page.locator(".progress small").inner_text().split()[0]) >= seen + 1
    left = VERDICTS - sum(each.counts for each in events(Dataset("demo")))
    press(page, "m", left)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)

    # Every verdict is there, once.
    kept = events(Dataset("demo"))
    given = [each for each in kept if each.counts]
    assert len(given) == VERDICTS
    assert len({each.token for each in kept}) == len(kept)
    assert max(Counter(each.photo for each in given).values()) == 1
    assert sum(each.undoes is not None for each in kept) == 2
    assert Counter(each.by for each in given)["Bea <b>"] == 5
    assert [each.note for each in given if each.note] == ["mauau 123"]
    assert {each.run for each in given} == {wrong.name}
    assert {each.label_to for each in given if each.verdict == "label-wrong"} <= set(wrong.classes)


def test_back_takes_a_choice_back_in_one_step(wrong: Run, open_page) -> None:
    """The picture that a new choice begins with was a step of its own, and Back to it showed the same again."""
    page = open_page("Review")
    at(page, 1)
    press(page, "ArrowRight")
    at(page, 2)
    settled(page)
    addresses = [page.url]
    for choice, option in (("Mistake", "called anything else"), ("Order", "Label furthest behind")):
        page.get_by_test_id("stSelectbox").filter(has_text=choice).get_by_role("combobox").click()
        page.get_by_role("option", name=re.compile(option)).first.click()
        expect(page).to_have_url(re.compile("(pair|order)=.*picture=|picture=.*(pair|order)="))
        expect(page).not_to_have_url(addresses[-1])
        at(page, 1)
        settled(page)
        addresses.append(page.url)
    for before in addresses[-2::-1]:
        page.go_back()
        expect(page).to_have_url(before)
    at(page, 2)


@pytest.mark.slow
def test_over_a_slow_network_no_picture_that_was_judged_comes_again(wrong: Run, open_slow_page):
    """The address of an earlier picture, which came with each verdict, was taken for the browser's Back button."""
    page = open_slow_page("Review")
    at(page, 1)
    page.locator(".progress strong").evaluate(WATCH)
    for _ in range(6):
        page.wait_for_timeout(400)  # sooner than the server is heard
        page.keyboard.press("m")
    expect(page.locator(".state")).not_to_have_text("Saving …")
    settled(page)
    places = [place for place in page.evaluate("() => window.places") if place]
    assert places == sorted(places)
    assert places[-1] > 3

    page.go_back()
    at(page, places[-1] - 1)


@pytest.mark.slow
def test_over_a_slow_network_pictures_stay_marked(wrong: Run, open_slow_page):
    page = open_slow_page("Review?part=selection")
    tiles = page.locator("[class*=st-key-review_many] .grid button")
    for number in range(4):
        tiles.nth(number).click()
        page.wait_for_timeout(400)  # sooner than the server is heard
    settled(page)
    expect(page.locator("[class*=st-key-review_many] .grid button[aria-pressed=true]")).to_have_count(4)
    page.get_by_role("button", name="Mark all shown").click()  # what is marked begins anew
    expect(page.get_by_role("button", name="Mark none")).to_be_visible()
    expect(page.locator("[class*=st-key-review_many] .grid button[aria-pressed=false]")).to_have_count(0)


@pytest.fixture
def of_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in the server's workspace on pictures of more classes than there are digits, wrong about every one."""
    import numpy as np
    import torch

    from bloodcell_core.data import demo
    from bloodcell_core.data.importing import import_dataset
    from bloodcell_core.data.pictures import encode
    from tests.training_fixtures import train_here

    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "workspace"))
    torch.set_num_threads(1)
    rng = np.random.default_rng(6)
    for number in range(CLASSES):
        folder = tmp_path / "cells" / f"kind {number:02d}"
        folder.mkdir(parents=True)
        for picture in range(8):
            drawn = demo.draw_picture(demo.DEMO_CLASSES[number % 4], rng)
            (folder / f"{picture}.png").write_bytes(encode(drawn))
    import_dataset(tmp_path / "cells", name="demo", trace=False)
    run = train_here(epochs=1)
    spoil(run)
    return run


@pytest.mark.slow
def test_ranges_and_the_keys_of_more_classes_than_digits(of_many_classes: Run, open_page) -> None:
    table, classes = of_many_classes.predictions(), of_many_classes.classes
    sure = 100 * table[[f"p_{name}" for name in classes]].max(axis=1)
    page = open_page("Review")
    at(page, 1)
    buttons = page.locator(".classes button")
    expect(buttons).to_have_count(CLASSES)
    expect(buttons.locator("kbd")).to_have_text([*"1234567890", "B", "D", "E"])

    # The class beyond the tenth is said by its letter.
    label = page.locator(".says span.true").inner_text()
    last = len(classes) - (2 if label == "Kind 12" else 1)
    press(page, {11: "d", 12: "e"}[last])
    kept = events(Dataset("demo"))
    assert [(each.verdict, each.label_to) for each in kept] == [("label-wrong", classes[last])]

    # A range is drawn by the keys of its slider; the queue, the address and a copied address follow it.
    page.get_by_role("button", name="Filters").click()
    low, high = (page.get_by_role("slider", name=re.compile("Confidence")).nth(end) for end in (0, 1))
    low.focus()
    for _ in range(52):
        page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"sure=52\.\.100"))
    settled(page)
    wanted = int((sure >= 52).sum())
    assert 1 < wanted < len(table)
    expect(page.locator(".progress strong")).to_have_text(re.compile(rf"of {wanted}$"))
    expect(low).to_have_value("52")
    expect(high).to_have_value("100")
    expect(page.get_by_role("button", name="Clear filters")).to_be_visible()
    other = open_page(f"Review?{page.url.split('?')[1]}")
    expect(other.locator(".progress strong")).to_have_text(re.compile(rf"of {wanted}$"))

    # What nothing fits is told, and what leads on.
    empty = open_page("Review?loss=0..1")
    expect(empty.get_by_text("No picture matches")).to_be_visible()
    expect(empty.locator(".desk")).to_have_count(0)
    empty.get_by_role("button", name="Clear filters").click()
    expect(empty.locator(".progress strong")).to_have_text(re.compile(rf"of {len(table)}$"))
    expect(empty.get_by_role("button", name="Clear filters")).to_have_count(0)
    assert "loss" not in empty.url
