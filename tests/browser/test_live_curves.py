"""The learning curves in a real browser: what a person has zoomed into stays while the network trains."""

import re

import pytest
from conftest import settled
from playwright.sync_api import Page, expect

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.browser

EPOCHS = 1000


def epoch_shown(page: Page) -> int:
    words = page.get_by_text(re.compile(rf"epoch \d+ of {EPOCHS}")).first.inner_text()
    return int(re.search(r"epoch (\d+)", words).group(1))


def wait_for_epoch(page: Page, least: int) -> None:
    numbers = "|".join(str(number) for number in range(least, least + 200))
    expect(page.get_by_text(re.compile(rf"epoch ({numbers}) of {EPOCHS}")).first).to_be_visible()


def marks(page: Page, plot: int = 0) -> list[str]:
    """The epochs written under a plot."""
    return page.locator(".st-key-curves svg").nth(plot).locator(".across text").all_text_contents()


@pytest.mark.slow
def test_the_curves_keep_their_zoom_and_their_nodes_while_a_run_goes_on(with_demo, open_page):
    page = open_page("Train")
    page.get_by_text("Advanced settings").click()
    for field, value in (("Epochs", str(EPOCHS)), ("Size", "32"), ("Pictures per epoch", "32")):
        page.get_by_role("textbox", name=field, exact=True).fill(value)
        page.get_by_role("textbox", name=field, exact=True).press("Enter")
        settled(page)
    page.get_by_role("button", name="Train", exact=True).click()
    wait_for_epoch(page, 5)
    loss = page.get_by_label("Loss over the epochs")
    expect(loss.locator(".line.validation")).to_have_count(1)
    whole = page.get_by_role("button", name="Whole training")
    expect(whole).to_be_disabled()
    page.evaluate(
        """() => { for (const each of document.querySelectorAll("*")) for (const node of
           each.shadowRoot?.querySelectorAll("svg, path.line") ?? []) node.seenBefore = true }"""
    )

    # Drag across the middle: both plots show that part, and still do when the run has gone on.
    loss.scroll_into_view_if_needed()
    box = loss.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 150, steps=5)
    page.mouse.up()
    expect(whole).to_be_enabled()
    zoomed = [marks(page, plot) for plot in (0, 1)]
    assert "0" not in zoomed[0]
    for _ in range(2):
        wait_for_epoch(page, epoch_shown(page) + 3)
    assert [marks(page, plot) for plot in (0, 1)] == zoomed
    assert loss.evaluate("node => node.seenBefore"), "the plot was made anew: it flickers"
    assert loss.locator(".line.validation").evaluate("node => node.seenBefore")

    # Pointing at a place tells every value there.
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 120)
    values = page.locator(".st-key-curves .values")
    expect(values).to_contain_text(re.compile(r"Epoch \d"))
    expect(values.locator("tbody tr")).to_have_count(1)
    assert re.fullmatch(r"\d+\.\d+%", values.locator("tbody td").last.inner_text())

    # A rerun of the whole page leaves it too.
    page.get_by_text("Logarithmic loss").click()
    settled(page)
    expect(whole).to_be_enabled()
    assert marks(page, 1) == zoomed[1]

    # The keyboard gets back to the whole, and can look closer again.
    whole.focus()
    page.keyboard.press("Enter")
    expect(whole).to_be_disabled()
    assert marks(page)[0] == "0"
    loss.focus()
    page.keyboard.press("+")
    expect(whole).to_be_enabled()
    page.keyboard.press("Escape")
    expect(whole).to_be_disabled()
    loss.dblclick(position={"x": 100, "y": 100})
    expect(whole).to_be_disabled()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible()
