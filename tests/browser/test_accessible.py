"""Headings, names and keys as people have them who listen, speak or type instead of seeing and pointing."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import settled
from playwright.sync_api import Browser, Locator, Page, expect

from bloodcell_core.data import demo
from bloodcell_core.data.pictures import encode

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest_plugins = ["tests.training_fixtures"]

SYSTEM_COLOUR = """name => {
  const node = document.body.appendChild(document.createElement("i"))
  node.style.cssText = `forced-color-adjust: none; color: ${name}`
  return getComputedStyle(node).color
}"""
PAGES = ["", "Browse", "Train", "Compare", "Review", "Classify"]


@pytest.fixture
def with_run(lab: Path, tmp_path: Path) -> None:
    """The server's workspace with a run that makes mistakes."""
    from tests.training_fixtures import trained

    trained(view="cell", seed=1)
    lab.rename(tmp_path / "workspace")


def levels(page: Page) -> list[int]:
    """The levels of the page's headings, from top to bottom."""
    return page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("all => all.map(each => Number(each.tagName[1]))")


def test_headings_leave_out_no_level(with_run: None, open_page) -> None:
    page = open_page()
    below = 0
    for path in PAGES:
        page.goto(f"{page.url.split('?')[0].rsplit('/', 1)[0]}/{path}")
        settled(page)
        if path == "Review":
            expect(page.locator(".says h2")).to_be_visible()
        found = levels(page)
        assert found[0] == 1
        assert found.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(found)), (path, found)
        below += len(found) - 1
    assert below >= 6  # of Home, Compare and Review


def hand_in(page: Page, name: str, content: bytes) -> None:
    page.goto(f"{page.url.split('?')[0].rsplit('/', 1)[0]}/Classify")
    settled(page)
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def words(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text).split())


def unlike_their_names(page: Page) -> list[tuple[str, str]]:
    """What a button shows, and the name it has instead: who speaks to the computer says what is seen."""
    found = page.locator("button[aria-label]").evaluate_all("all => all.map(b => [b.innerText, b.ariaLabel])")
    return [(seen, name) for seen, name in found if words(seen) not in words(name)]


def test_a_button_is_called_what_stands_on_it(with_run: None, open_page) -> None:
    page = open_page("Review")
    verdict = page.locator(".classes button:enabled").first
    expect(verdict.locator("kbd")).to_be_visible()
    expect(verdict).to_have_accessible_name(re.compile(r"^[A-Z]\w+ \d$"))
    expect(page.get_by_role("group", name="Label wrong: it is")).to_have_count(1)
    expect(page.get_by_role("textbox", name="Comment N")).to_be_visible()
    assert unlike_their_names(page) == []

    page.goto(page.url.split("Review")[0] + "Compare")
    settled(page)
    expect(page.locator("td button small").first).to_be_attached()
    cell = page.locator("td button.right").first
    assert f"{cell.text_content()} of" in str(cell.get_attribute("aria-label")).replace(",", "")  # words apart
    assert unlike_their_names(page) == []

    pixels = demo.draw_field(np.random.default_rng(1), ["neutrophil", "lymphocyte"]).pixels
    hand_in(page, "field.png", encode(pixels))
    expect(page.locator(".box").first).to_be_visible()
    expect(page.locator(".tools .class kbd").first).to_have_text("1")
    expect(page.locator(".tools button").first).to_have_accessible_name(re.compile(r"^[A-Z]\w+ 1$"))
    assert unlike_their_names(page) == []

    hand_in(page, "broken.png", b"no picture")
    expect(page.locator(".row")).to_have_accessible_name(re.compile("^Refused broken.png"))
    assert unlike_their_names(page) == []


def background(what: Locator) -> str:
    return str(what.evaluate("node => getComputedStyle(node).backgroundColor"))


def test_where_the_system_sets_the_colours_nothing_vanishes(with_run: None, browser: Browser, server: str) -> None:
    context = browser.new_context(forced_colors="active", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{server}/Browse")
    settled(page)
    expect(page.locator(".grid button").nth(20)).to_be_visible()
    frames = page.locator(".grid button").evaluate_all("all => all.map(each => getComputedStyle(each).borderColor)")
    keys = [background(key) for key in page.locator("[data-testid=stHtml] i").all()]
    assert set(frames) == set(keys)
    assert len(set(keys)) == len(demo.DEMO_CLASSES)
    chosen, other = page.get_by_role("radio", name="Pictures"), page.get_by_role("radio", name="Findings")
    assert background(chosen) != background(other)
    colour = chosen.locator("p").evaluate("node => getComputedStyle(node).color")
    assert colour == page.evaluate(SYSTEM_COLOUR, "HighlightText")

    page.goto(f"{server}/Review")
    heat = page.get_by_role("button", name="Heat map")
    expect(heat).to_be_visible()
    before = background(heat)
    heat.click()
    expect(heat).to_have_attribute("aria-pressed", "true")
    assert background(heat) != before

    page.goto(f"{server}/Classify")
    settled(page)
    for part in ("stCheckbox] label > div >> nth=0", "stSlider] [role=group] > div > div >> nth=0"):
        expect(page.locator(f"[data-testid={part}")).to_have_css("outline-style", "solid")
    context.close()


def test_a_key_that_is_meant_for_a_menu_or_a_link_is_no_verdict(with_run: None, open_page) -> None:
    page = open_page("Review")
    place = page.locator(".progress strong")
    expect(place).to_have_text(re.compile("^1 of"))
    page.get_by_role("button", name="Main menu").click()
    expect(page.get_by_role("menu")).to_be_visible()
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Train").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("dialog", name="Filters")).to_be_visible()
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator(".desk").focus()
    expect(page.locator(".says h2")).to_have_attribute("aria-live", "polite")  # the next picture's words are read out
    page.keyboard.press("m")
    expect(place).to_have_text(re.compile("^2 of"))
    expect(page.locator(".progress small")).to_have_text("1 reviewed")


def test_tab_leads_into_what_a_button_has_opened_and_escape_out_of_it(with_run: None, open_page) -> None:
    page = open_page("Train")
    page.wait_for_function("window.labHistory")  # the script that listens is there
    for name, inside in (("Cross-validate", page.get_by_test_id("stPopoverBody").locator(":focus")), ("Log", None)):
        opener = page.get_by_role("button", name=name).first
        opener.focus()
        page.keyboard.press("Enter")
        opened = page.get_by_role("dialog", name=name)
        expect(opened).to_be_visible()
        page.keyboard.press("Tab")
        expect(inside or opened).to_be_focused()
        for _ in range(2):  # where a hint lies above it, the first Escape closes that
            page.keyboard.press("Escape")
            with suppress(AssertionError):
                expect(opened).to_have_count(0, timeout=5000)
                break
        expect(opened).to_have_count(0)
        expect(opener).to_be_focused()


def test_a_picture_s_class_is_written_below_it_where_several_are_shown(with_run: None, open_page) -> None:
    page = open_page("Browse")
    tiles = page.locator(".grid button")
    expect(tiles.nth(20)).to_be_visible()
    told = tiles.evaluate_all("all => all.map(each => [each.title.match(/^\\w+/)[0], each.innerText.trim()])")
    assert {name for name, _ in told} == {name.capitalize() for name in demo.DEMO_CLASSES}
    assert all(name == below for name, below in told)
    page.goto(f"{page.url}&label=monocyte")
    expect(page.locator(".grid button[title^=Lymphocyte]")).to_have_count(0)
    expect(tiles.first).to_have_text("")


def test_a_head_has_words_and_a_small_button_can_be_hit(with_run: None, open_page) -> None:
    page = open_page("Browse?show=counts")
    heads = page.locator("[data-testid=stTable] th")
    expect(heads).to_have_count(1 + 2 + len(demo.DEMO_CLASSES) + 1)
    assert all(head.strip() for head in heads.all_inner_texts())
    page.goto(page.url.split("Browse")[0] + "Review")
    small = page.get_by_test_id("stMultiSelect").get_by_role("button", name=re.compile("^Clear all|^Remove|^Open"))
    expect(small).to_have_count(3)
    sides = [button.bounding_box() for button in small.all()]
    assert min(min(side["width"], side["height"]) for side in sides) >= 24
    page.get_by_text("More about this picture").click()
    page.get_by_role("radio", name="Facts").click()
    expect(heads.filter(has_text="Split")).to_be_visible()
    assert all(head.strip() for head in heads.all_inner_texts())


def test_at_four_hundred_per_cent_a_row_s_figures_stay_within_it(with_run: None, open_page) -> None:
    page = open_page("Classify")
    page.get_by_role("button", name="Try two example cells").click()
    expect(page.locator(".row .figure").first).to_be_visible()
    page.set_viewport_size({"width": 320, "height": 640})
    ends = """row => {
      const within = [...row.querySelectorAll(".figure, .track, .name")].map(each => each.getBoundingClientRect())
      return [Math.max(...within.map(each => each.right)), Math.min(...within.map(each => each.width))]
    }"""
    right, narrowest = page.locator(".row").first.evaluate(ends)
    row = page.locator(".row").first.bounding_box()
    assert right <= row["x"] + row["width"]
    assert narrowest > 0


def test_keys_can_be_turned_off_and_stay_so(with_run: None, open_page) -> None:
    page = open_page("Review")
    keys = page.get_by_role("checkbox", name="Keys work")
    expect(keys).to_be_checked()
    keys.click()
    page.reload()
    expect(page.locator(".progress strong")).to_have_text(re.compile("^1 of"))
    expect(keys).not_to_be_checked()
    comment = page.get_by_role("textbox", name="Comment N")
    page.locator(".desk").focus()
    page.keyboard.press("n")
    expect(comment).not_to_be_focused()
    keys.click()
    page.keyboard.press("n")
    expect(comment).to_be_focused()
