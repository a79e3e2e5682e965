"""What another window does, and what a slow browser does, while a page is open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import settled
from playwright.sync_api import Route, expect

from bloodcell_core import runs
from bloodcell_core.runs import Run, readable_runs

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def two_runs(lab: Path, tmp_path: Path, monkeypatch) -> list[Run]:
    """The server's workspace with two runs, the newest first."""
    from tests.training_fixtures import trained

    for seed in (1, 2):
        trained(view="cell", seed=seed)
    lab.rename(tmp_path / "workspace")
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "workspace"))
    return [run for run in readable_runs()[0] if not run.bundled]


def test_a_dialog_closes_when_its_run_is_deleted_in_another_window(two_runs: list[Run], open_page):
    page = open_page("Train")
    page.locator(f".st-key-name-{two_runs[0].name} button").click()
    title = page.get_by_role("dialog").get_by_role("textbox", name="Title")
    expect(title).to_be_visible()
    runs.remove(two_runs[0])
    title.fill("Too late")
    title.press("Tab")
    expect(page.get_by_text("A run was deleted in another window.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.get_by_test_id("stException").count() == 0


def test_a_choice_that_the_browser_draws_late_is_the_one_in_the_address(two_runs: list[Run], open_page):
    page = open_page()
    held: list[Route] = []
    page.route(re.compile(r"/Selectbox\.[^/]*\.js"), lambda route: held.append(route))
    page.goto(f"{page.url}Classify?run={two_runs[1].name}")
    page.get_by_text("A folder", exact=True).click()
    expect(page.get_by_text("Drop a folder of pictures here")).to_be_visible()
    settled(page)
    for route in held:
        route.continue_()
    network = page.locator(".st-key-run input")
    expect(network).to_have_value(re.compile(f"{two_runs[1].name[-4:]}$"))
    # Nor does the next click hand in another.
    page.get_by_role("button", name="Try an example smear field").click()
    expect(page.locator(".box").first).to_be_visible()
    expect(network).to_have_value(re.compile(f"{two_runs[1].name[-4:]}$"))
    assert f"run={two_runs[1].name}" in page.url


def test_back_leads_from_a_page_that_was_opened_first_to_the_slide_before_it(two_runs: list[Run], open_page):
    page = open_page("Classify")
    page.get_by_role("button", name="Try an example smear field").click()
    expect(page.locator(".box").first).to_be_visible()
    settled(page)
    slide = page.url
    page.get_by_role("link", name="Browse").click()
    expect(page).to_have_url(re.compile("Browse.*dataset=demo"))
    settled(page)
    page.go_back()
    expect(page.locator(".box").first).to_be_visible()
    assert page.url == slide
    page.go_forward()
    expect(page).to_have_url(re.compile("Browse.*dataset=demo"))
    expect(page.get_by_role("heading", name="Browse")).to_be_visible()


def test_back_leads_in_one_step_from_an_address_that_was_typed(two_runs: list[Run], open_page):
    page = open_page("Classify")
    before = page.url
    page.goto(before.replace("Classify", "Browse").partition("?")[0])
    expect(page).to_have_url(re.compile("Browse.*dataset=demo"))
    settled(page)
    page.go_back()
    expect(page).to_have_url(before)
    expect(page.get_by_role("heading", name="Classify")).to_be_visible()


def test_quick_steps_of_back_leave_each_address_as_it_was(two_runs: list[Run], open_slow_page):
    page = open_slow_page("")
    steps = [page.url]
    for name in ("Browse", "Train", "Compare", "Review"):
        page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        page.wait_for_timeout(1000)  # the address that it gives itself is as late as all that the server says
        settled(page)
        steps.append(page.url)
    at = 4
    for way in (-1, -1, 1, -1, -1, 1, 1):
        page.evaluate("(way) => history.go(way)", way)
        page.wait_for_timeout(100)
        at += way
    for _ in range(at):
        page.wait_for_timeout(2000)
        settled(page)
        assert page.url == steps[at]
        page.evaluate("history.back()")
        at -= 1
    expect(page.get_by_role("heading", name="Blood Cell Lab")).to_be_visible()
    for step in steps[1:]:
        page.go_forward()
        page.wait_for_timeout(2000)
        settled(page)
        assert page.url == step
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible()


@pytest.mark.parametrize("before_the_path", [True, False])
def test_what_a_page_writes_as_it_opens_is_one_step_in_either_order(open_page, before_the_path: bool):
    """Which of path and query Streamlit changes first hangs on how quick the server is: here it is told."""
    page = open_page("Classify")
    expect(page.locator(".st-key-lab_history")).to_be_attached()
    page.wait_for_function("window.labHistory")
    steps = page.evaluate(
        """(queryFirst) => {
          const before = history.length
          const push = (url) => history.pushState(null, "", url)
          window.dispatchEvent(new Event("pointerdown"))  // a click on the link
          if (queryFirst) push("/Classify?dataset=demo")
          else push("/Browse")
          push("/Browse?dataset=demo")
          const opened = history.length - before
          window.dispatchEvent(new Event("pointerdown"))  // a click on the page
          push("/Browse?dataset=demo&view=cell")
          return [opened, history.length - before, location.pathname + location.search]
        }""",
        before_the_path,
    )
    assert steps == [1, 2, "/Browse?dataset=demo&view=cell"]


def test_what_a_page_adds_to_a_choice_is_no_step_and_what_it_changes_is_one(open_page):
    page = open_page("Review")
    page.wait_for_function("window.labHistory")
    steps = page.evaluate(
        """() => ["pair=1-2", "pair=1-2&picture=b", "pair=1-2&picture=c", "pair=1-2&picture=c&run=a"].map((query) => {
          const before = history.length
          if (query == "pair=1-2") window.dispatchEvent(new Event("click"))
          history.pushState(null, "", "/Review?" + query)
          return history.length - before
        })"""
    )
    assert steps == [1, 0, 1, 0]
