"""What can be read with poor sight, or heard: words on dark stand out, pictures have words."""

from __future__ import annotations

import re

import pytest
from conftest import settled
from playwright.sync_api import Browser, Locator, expect

from tests.test_ui_kit import contrast

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest_plugins = ["tests.training_fixtures"]

PAGE = {"light": "#FCFCFD", "dark": "#131219"}
DARK_PAGE = PAGE["dark"]


def hex_of(words: Locator, part: str = "color") -> str:
    """The colour of a part of what is shown, by its name in CSS."""
    colour = words.evaluate("(node, part) => getComputedStyle(node).getPropertyValue(part)", part)
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


def as_seen(words: Locator, ground: str) -> str:
    """Their colour on that ground, as they and all that they are in let it through."""
    through = """node => {
      let share = 1
      for (; node; node = node.parentElement ?? node.getRootNode().host) share *= getComputedStyle(node).opacity
      return share
    }"""
    share = float(words.evaluate(through))
    pairs = [(int(colour[at : at + 2], 16) for colour in (hex_of(words), ground)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * ink + (1 - share) * paper):02x}" for ink, paper in pairs)


def test_what_was_taken_out_can_be_read(browser: Browser, server: str, with_demo: None) -> None:
    context = browser.new_context(color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{server}/Classify")
    settled(page)
    page.get_by_role("button", name="Try two example cells").click()
    row = page.locator(".row").first
    row.focus()
    page.keyboard.press("Delete")
    expect(row).to_have_class("row removed")
    assert contrast(as_seen(row.locator("b"), PAGE["light"]), PAGE["light"]) >= 4.5
    page.get_by_role("radio", name="Your own microscope").click()
    name = page.locator(".tile.removed .name")
    expect(name).to_be_visible()
    ground = hex_of(name.locator("xpath=.."), "background-color")
    assert contrast(as_seen(name, ground), ground) >= 4.5
    context.close()


def test_on_dark_a_sliders_value_and_a_pressed_button_can_be_read(
    browser: Browser, server: str, with_demo: None
) -> None:
    context = browser.new_context(color_scheme="dark", reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{server}/Classify")
    settled(page)
    value = page.get_by_test_id("stSliderThumbValue").locator("p")
    expect(value).to_be_visible()
    assert contrast(hex_of(value), DARK_PAGE) >= 4.5
    page.goto(f"{server}/Browse")
    settled(page)
    button = page.get_by_role("button", name="Name, tags, delete")
    button.hover()
    expect(button).not_to_have_css("color", "rgb(233, 231, 240)")  # as it was before the pointer came
    assert contrast(hex_of(button.locator("p")), DARK_PAGE) >= 4.5
    page.mouse.down()
    assert contrast(hex_of(button.locator("p")), DARK_PAGE) >= 4.5
    context.close()


def test_the_pictures_of_an_empty_lab_have_words(open_page) -> None:
    pictures = open_page().get_by_test_id("stImage").get_by_role("img")
    expect(pictures).to_have_count(4)
    assert all("synthetic" in str(picture.get_attribute("alt")) for picture in pictures.all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_has_the_focus_stands_out(browser: Browser, server: str, with_demo: None, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{server}/Classify")
    settled(page)
    page.keyboard.press("Tab")  # from now on as by key
    switch, slider = page.get_by_role("switch", name="Average over turns"), page.get_by_role("slider")
    radio = page.get_by_role("radio", name="Pictures or a zip")
    for focused, ring in (
        (switch, switch.locator("xpath=ancestor::label")),
        (slider, slider.locator("xpath=../..")),
        (radio, radio),
        (page.get_by_role("button", name="Try two example cells"),) * 2,
    ):
        focused.focus()
        expect(ring).to_have_css("outline-style", "solid")
        assert contrast(hex_of(ring, "outline-color"), PAGE[scheme]) >= 3
    context.close()
