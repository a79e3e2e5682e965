"""The whole of the lab as a person goes through it, on demo pictures, in a real browser."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import settled
from playwright.sync_api import Page, expect

from bloodcell_core.data import demo
from bloodcell_core.data.pictures import encode
from bloodcell_core.data.views import make_view
from tests.training_fixtures import wait_for

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.browser

EPOCHS = 6


def no_error(page: Page) -> None:
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts() == []


def epoch_shown(page: Page) -> int:
    words = page.get_by_text(re.compile(rf"epoch \d+ of {EPOCHS}")).first.inner_text()
    return int(re.search(r"epoch (\d+)", words).group(1))


def go_to(page: Page, name: str) -> None:
    page.locator("section[data-testid=stSidebar]").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    settled(page)


def train(page: Page, epochs: int) -> None:
    page.get_by_text("Advanced settings").click()
    page.get_by_role("textbox", name="Epochs", exact=True).fill(str(epochs))
    page.get_by_role("textbox", name="Epochs", exact=True).press("Enter")
    settled(page)
    page.get_by_role("button", name="Train", exact=True).click()


def test_the_whole_tour(open_page, tmp_path: Path):
    # An empty workspace: home offers demo pictures, browse shows them.
    page = open_page()
    no_error(page)
    page.get_by_role("button", name="Make demo pictures").click()
    expect(page.get_by_role("heading", name="Browse")).to_be_visible()
    tiles = page.locator(".st-key-browse button")
    expect(tiles).to_have_count(300)
    expect(page.get_by_text("synthetic").first).to_be_visible()
    tiles.first.click()
    expect(page.get_by_alt_text("whole picture")).to_be_visible()
    expect(page).to_have_url(re.compile("picture="))
    no_error(page)

    # A training run: its curve moves, survives a refresh, shows in a second browser, and the run ends.
    go_to(page, "Train")
    train(page, EPOCHS)
    expect(page.get_by_text(re.compile(rf"epoch \d+ of {EPOCHS}")).first).to_be_visible()
    expect(page.get_by_label("Loss over the epochs")).to_be_visible()
    before = epoch_shown(page)
    page.reload()
    settled(page)
    other = open_page("Train")
    for each in (page, other):
        expect(each.get_by_text(re.compile("Basic CNN · demo")).first).to_be_visible()
        expect(each.get_by_text("Test accuracy").first).to_be_visible()
        expect(each.get_by_text("done", exact=True).first).to_be_visible()
        no_error(each)
    assert 1 <= before <= EPOCHS

    # A second run, so that there is something to compare.
    train(page, 2)
    expect(page.get_by_text("done", exact=True)).to_have_count(2)
    # While the page is drawn anew the first run's card may stand there twice, faded: the files tell for sure.
    wait_for(lambda: len([*(tmp_path / "workspace" / "runs").glob("*/summary.json")]) == 2, "the second run has ended")

    # Compare: both matrices; a cell opens exactly its pictures.
    go_to(page, "Compare")
    expect(page.get_by_text("CNN, original analysis").first).to_be_attached()
    matrices = page.locator("[class*=st-key-matrix-]")
    expect(matrices).to_have_count(2)
    mistake = matrices.last.locator("button.wrong").first
    count = int(mistake.locator("span").first.inner_text())
    mistake.click()
    expect(page.get_by_role("heading", name=re.compile(f"^{count} pictures: truly"))).to_be_visible()
    expect(page.locator(".st-key-cell button")).to_have_count(count)
    page.get_by_text("By true class").click()
    settled(page)
    expect(matrices.first.locator("button").first).to_contain_text("%")
    no_error(page)

    # Review: the mistakes one after another, by button and by key.
    go_to(page, "Review")
    expect(page.get_by_text(re.compile(r"^1 of \d+$"))).to_be_visible()
    page.get_by_role("button", name="Skip").click()
    expect(page.get_by_text(re.compile(r"^2 of \d+$"))).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(re.compile(r"^3 of \d+$"))).to_be_visible()
    expect(page.get_by_alt_text("cell view").first).to_be_visible()
    page.reload()
    settled(page)
    expect(page.get_by_text(re.compile(r"^3 of \d+$"))).to_be_visible()
    no_error(page)

    # Classify: a picture gets a class, a text file that calls itself a picture is refused, both are in the CSV.
    go_to(page, "Classify")
    # cut out around its cell: a whole picture may be taken for a field, which is shown otherwise
    drawn = encode(make_view(demo.draw_picture("lymphocyte", np.random.default_rng(3)), "cell", 160).pixels)
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "mine.png", "mimeType": "image/png", "buffer": drawn},
            {"name": "text.png", "mimeType": "image/png", "buffer": b"no picture at all"},
        ]
    )
    expect(page.locator(".row")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows["mine.png"]["answered"] in demo.DEMO_CLASSES
    assert sum(float(rows["mine.png"][f"p_{name}"]) for name in demo.DEMO_CLASSES) == pytest.approx(1)
    assert rows["text.png"]["state"] == "refused"
    expect(page.locator(".row").first).to_contain_text(rows["mine.png"]["answered"].capitalize())
    no_error(page)


@pytest.mark.slow
def test_stop_and_queue(with_demo, open_page):
    """Two runs on one device: the second waits; stopping the first lets it begin; both end."""
    page = open_page("Train")
    train(page, 1000)
    expect(page.get_by_text("running", exact=True)).to_have_count(1)
    page.get_by_role("textbox", name="Epochs", exact=True).fill("2")
    page.get_by_role("textbox", name="Epochs", exact=True).press("Enter")
    settled(page)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("queued", exact=True)).to_have_count(1)
    page.get_by_role("button", name="Stop").last.click()
    expect(page.get_by_text("stopped", exact=True)).to_have_count(1)
    expect(page.get_by_text("done", exact=True)).to_have_count(1)
    expect(page.get_by_role("button", name="Resume")).to_have_count(1)
    no_error(page)


@pytest.mark.slow
def test_a_run_that_cannot_start_says_why(with_demo, open_page):
    """Pretrained weights that can't be had: one line with the remedies, and nothing is made."""
    page = open_page("Train?model=resnet18")
    page.get_by_role("combobox", name=re.compile("First weights")).click()
    page.get_by_role("option", name="From a file").click()
    settled(page)
    page.get_by_role("textbox", name="Path of a weights file").fill("/nowhere/weights.pth")
    page.get_by_role("textbox", name="Path of a weights file").press("Enter")
    settled(page)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("there is no such file")).to_be_visible()
    expect(page.get_by_text("No run yet")).to_be_visible()
