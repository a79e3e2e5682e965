"""The Browse page in a real browser: an import from its dialog, what stands out, a family, the map."""

import re
from pathlib import Path

import pytest
from conftest import settled
from playwright.sync_api import Page, expect

from bloodcell_core.data.demo import draw_pictures
from bloodcell_core.data.pictures import encode
from tests.conftest import write_files

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.training_fixtures"]


def no_error(page: Page) -> None:
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


def written(folder: Path, per_class: int = 12) -> Path:
    """A class folder of drawn pictures, one of them twice and one file that is no picture."""
    files = {
        f"{picture.label}/{number}.png": encode(picture.pixels)
        for number, picture in enumerate(draw_pictures(per_class, seed=5))
    }
    first = next(iter(files))
    return write_files(folder, files | {f"{first[:-4]}-again.png": files[first], "monocyte/notes.png": b"no picture"})


def start_import(page: Page, path: str, name: str) -> None:
    page.get_by_role("button", name="Import pictures").click()
    page.get_by_role("textbox", name="Path").fill(path)
    page.get_by_role("textbox", name="Path").press("Tab")
    page.get_by_role("textbox", name="Name").first.fill(name)
    page.get_by_role("textbox", name="Name").first.press("Tab")
    settled(page)
    page.get_by_role("button", name="Import", exact=True).first.click()


@pytest.mark.slow
def test_by_the_keyboard_a_link_is_seen_to_have_the_focus(open_page):
    page = open_page("Browse")
    link = page.get_by_role("link", name="Train")
    page.get_by_role("link", name="Browse").focus()
    assert link.evaluate("link => getComputedStyle(link).outlineStyle") == "none"
    page.keyboard.press("Tab")
    expect(link).to_be_focused()
    assert link.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"


def test_import_look_and_find(open_page, tmp_path: Path):
    # A mistyped path is told where it is typed; an import goes on while its page is closed, and is found by another.
    page = open_page("Browse")
    start_import(page, str(tmp_path / "nowhere"), "nothing")
    expect(page.get_by_role("dialog").get_by_text("doesn't exist")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    start_import(page, f'"{written(tmp_path / "cells")}" ', "mine")  # as Windows copies a path
    expect(page.locator("[class*=st-key-import_20]")).to_be_visible()  # its card: it has begun
    page.close()
    page = open_page("Browse")
    expect(page.get_by_text("is imported").first).to_be_visible()
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_text("is imported")).to_have_count(0)
    expect(page).to_have_url(re.compile("dataset=mine"))
    tiles = page.locator(".st-key-browse button")
    expect(tiles).to_have_count(48)
    no_error(page)

    # What stands out opens its pictures.
    page.get_by_role("radio", name="Findings").click()
    expect(page.get_by_text("The same file several times")).to_be_visible()
    expect(page.get_by_text("monocyte/notes.png").or_(page.locator("[data-testid=stDataFrame]")).first).to_be_visible()
    page.locator(".st-key-show_identical button").click()
    expect(tiles).to_have_count(1)
    expect(page).to_have_url(re.compile("finding=identical"))
    no_error(page)

    # The other parts are drawn; a point of the map opens its picture.
    page.get_by_role("radio", name="Counts").click()
    expect(page.get_by_text("left out as byte-identical")).to_be_visible()
    page.get_by_role("radio", name="Sizes, colours").click()
    expect(page.locator(".js-plotly-plot")).to_have_count(6)
    page.get_by_role("radio", name="Map").click()
    expect(page.get_by_text("Click a point to see it at full size")).to_be_visible()
    chart = page.locator(".js-plotly-plot")
    expect(chart).to_have_count(1)
    settled(page)
    click_a_point(page)
    expect(page.get_by_alt_text("whole picture")).to_be_visible()
    expect(page).to_have_url(re.compile("picture="))
    no_error(page)


@pytest.mark.slow
def test_figures_of_a_table_are_on_the_right_and_long_names_break_into_lines(with_demo, open_page):
    page = open_page("Browse?dataset=demo&show=counts")
    expect(page.get_by_role("cell", name=re.compile("photo")).first).to_have_css("text-align", "right")
    page.set_viewport_size({"width": 1024, "height": 900})
    page.goto(page.url.replace("show=counts", ""))
    page.locator(".st-key-browse button").first.click()
    table = page.get_by_test_id("stTable")
    expect(table.get_by_text("Source photo")).to_be_visible()
    # What is wider than its table would have to be scrolled to be read.
    assert table.locator("table").evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


@pytest.mark.slow
def test_in_a_narrow_window_the_map_s_buttons_leave_its_legend_free(with_demo, open_page):
    page = open_page("Browse?dataset=demo&show=map")
    page.set_viewport_size({"width": 390, "height": 900})
    chart = page.locator(".js-plotly-plot")
    chart.hover()
    legend, buttons = (chart.locator(part).bounding_box() for part in (".legend", ".modebar"))
    assert buttons["y"] + buttons["height"] <= legend["y"]


@pytest.mark.slow
def test_the_words_above_a_row_of_choices_stand_in_one_line(with_demo, open_page):
    page = open_page("Browse?dataset=demo")
    settled(page)
    for row in (("dataset", "view", "show"), ("label", "split", "finding")):
        labels = [page.locator(f".st-key-{key}").get_by_test_id("stWidgetLabel") for key in row]
        assert len({label.bounding_box()["y"] for label in labels}) == 1


def click_a_point(page: Page) -> None:
    """Clicks where the chart has its first point."""
    x, y = page.evaluate(
        """() => {
        const chart = document.querySelector('.js-plotly-plot'), place = chart.getBoundingClientRect(),
            {xaxis, yaxis} = chart._fullLayout, trace = chart._fullData[0];
        return [place.x + xaxis._offset + xaxis.c2p(trace.x[0]), place.y + yaxis._offset + yaxis.c2p(trace.y[0])];
        }"""
    )
    page.mouse.move(x, y)
    page.mouse.click(x, y)


@pytest.mark.slow
def test_over_a_slow_network_no_quick_choice_is_lost(with_demo: None, open_slow_page):
    """The second choice came with the address from before the first, which the page then went back to."""
    page = open_slow_page("Browse")
    tiles = page.locator(".st-key-browse button")
    expect(tiles.first).to_be_visible()
    settled(page)
    every = tiles.count()
    page.locator(".st-key-view").get_by_text("Cell", exact=True).click()
    page.wait_for_timeout(200)  # sooner than the server is heard
    page.locator(".st-key-split").get_by_text("Test", exact=True).click()
    expect(page).to_have_url(re.compile("view=cell&split=test"))
    page.go_back()
    expect(tiles).to_have_count(every)
    expect(page).to_have_url(re.compile("view=cell$"))
    page.go_forward()
    expect(tiles).not_to_have_count(every)
    expect(page).to_have_url(re.compile("view=cell&split=test"))


@pytest.mark.slow
def test_over_a_slow_network_a_quick_choice_takes_nothing_back(with_demo: None, open_slow_page):
    """It came with the old values of the widgets that the page, or Back, had set since."""
    page = open_slow_page("Browse?show=audit")
    page.get_by_role("button", name="Show", exact=True).first.click()
    page.wait_for_timeout(200)  # sooner than the server is heard
    page.locator(".st-key-view").get_by_text("Cell", exact=True).click()
    expect(page).to_have_url(re.compile("finding=[a-z_]+&view=cell$"))
    expect(page.locator(".st-key-browse button").first).to_be_visible()
    settled(page)
    page.locator(".st-key-split").get_by_text("Test", exact=True).click()
    expect(page).to_have_url(re.compile("view=cell&split=test$"))
    settled(page)
    page.go_back()
    page.wait_for_timeout(200)
    page.locator(".st-key-show").get_by_text("Counts", exact=True).click()
    expect(page).to_have_url(re.compile("view=cell&show=counts$"))
