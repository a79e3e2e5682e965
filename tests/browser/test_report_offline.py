"""A report opened from disk in a real browser without a network: nothing is asked for, nothing goes wrong."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from bloodcell_core.evaluation.document import write_report
from bloodcell_core.evaluation.report import run_report
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_alone_and_offline(browser: Browser, done: Run, tmp_path: Path, scheme: str) -> None:
    scores, table = evaluated(done)
    file = tmp_path / "report.html"
    write_report(run_report(scores, table, done), file)
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 800}, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Accuracy", exact=True))
    expect(row.first).to_contain_text(f"{scores['accuracy']:.4f}")
    assert page.locator("svg").count() == 4
    first = page.locator(".matrix td").first
    assert first.evaluate("cell => getComputedStyle(cell).backgroundColor") != "rgba(0, 0, 0, 0)"
    lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (lightness > 128) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert asked == [file.as_uri()]
    assert said == []
    context.close()
