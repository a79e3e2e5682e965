"""The Compare page in a real browser: what a cell of the matrix opens, and the report that is downloaded."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import settled
from playwright.sync_api import Browser, expect

from bloodcell_core import runs
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.words import counted

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.browser


@pytest.fixture
def run(lab_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    """The finished run of the workspace that `server` serves."""
    home = tmp_path / "workspace"
    shutil.copytree(lab_original, home, dirs_exist_ok=True)
    monkeypatch.setenv("BLOODCELL_HOME", str(home))
    return runs.find("latest")


def test_each_cell_of_the_matrix_opens_exactly_its_pictures(open_page, run: runs.Run):
    table = run.predictions().query("split == 'test'")
    page = open_page("Compare")
    cells = page.locator(f"[class*='st-key-matrix-{run.name}'] td button")
    opened = 0
    for place in range(len(run.classes) ** 2):
        true, predicted = (run.classes[part] for part in divmod(place, len(run.classes)))
        found = table[(table.label == true) & (table.predicted == predicted)]
        if len(found):
            cells.nth(place).click()
            heading = f"{counted(len(found), 'picture')}: truly {true.capitalize()}, called {predicted.capitalize()}"
            expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
            tiles = page.locator(".st-key-cell button")
            for one in found.image_id:  # each is waited for: the heading may be the new one before the tiles are
                expect(page.locator(f".st-key-cell button[data-id='{one}']")).to_have_count(1)
            expect(tiles).to_have_count(len(found))
            opened += len(found)
    assert opened == len(table)
    address, one = page.url, tiles.first.get_attribute("data-id")
    tiles.first.click()
    expect(page.get_by_role("heading", name="Browse", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(f"picture={one}"))
    expect(page.get_by_alt_text("whole picture")).to_be_visible()
    page.go_back()
    expect(page.locator(f".st-key-cell button[data-id='{one}']")).to_have_count(1)
    expect(page).to_have_url(address)


@pytest.mark.slow
def test_the_report_is_downloaded_and_opens_alone(open_page, run: runs.Run, browser: Browser, tmp_path: Path):
    scores = evaluated(run)[0]
    page = open_page("Compare")
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("Report")).click()
    assert download.value.suggested_filename == f"{run.name}.html"
    file = tmp_path / "report.html"
    download.value.save_as(file)
    context = browser.new_context(offline=True)
    alone = context.new_page()
    asked = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(file.as_uri())
    expect(alone.get_by_role("heading", name=run.name)).to_be_visible()
    assert json.loads(alone.locator("#figures").text_content()) == json.loads(json.dumps(scores))
    assert asked == [file.as_uri()]
    context.close()
