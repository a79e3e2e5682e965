"""A page that is asked for by its own address, and one that is chosen in the sidebar."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import settled
from playwright.sync_api import Browser, expect

from benchmarks.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("below", ["", "/lab"])
def test_it_asks_the_server_where_that_is(
    below: str, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamlit's own guess is a level too low, and costs 0.1 s. Behind a proxy the app may lie below an address."""
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", below)
    server = Server(tmp_path / "workspace", tmp_path / "server.log")
    server.address += below
    context = browser.new_context()
    page = context.new_page()
    try:
        server.start()
        page.goto(f"{server.address}/Browse")  # the first page that a server draws brings the mend
        settled(page)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.address}/Train?dataset=none&preset=balanced")
        settled(page)
        expect(page.get_by_role("heading", name="Train", exact=True)).to_be_visible()
        assert [url for url in asked if url.endswith("health")] == [f"{server.address}/_stcore/health"]
        page.get_by_role("link", name="Home").click()
        expect(page.get_by_role("heading", name="Blood Cell Lab")).to_be_visible()
        assert page.url.partition("?")[0] == f"{server.address}/"
        page.reload()
        settled(page)
        expect(page.get_by_role("heading", name="Blood Cell Lab")).to_be_visible()
    finally:
        context.close()
        server.stop()


def test_on_a_phone_the_sidebar_closes_behind_the_page_that_was_chosen_in_it(open_page) -> None:
    page = open_page("")
    page.set_viewport_size({"width": 390, "height": 844})
    sidebar = page.get_by_test_id("stSidebar")
    page.reload()
    settled(page)
    page.get_by_test_id("stExpandSidebarButton").click()
    expect(sidebar).to_have_attribute("data-collapsed", "false")
    sidebar.get_by_role("link", name="Browse").click()
    expect(page.get_by_role("heading", name="Browse")).to_be_visible()
    expect(sidebar).to_have_attribute("data-collapsed", "true")
    # Where it is closed already, another page doesn't open it.
    page.go_back()
    page.get_by_role("link", name="Classify with the network").click()
    expect(page.get_by_role("heading", name="Classify")).to_be_visible()
    expect(sidebar).to_have_attribute("data-collapsed", "true")


@pytest.mark.parametrize(("name", "heading"), [("Home", "Blood Cell Lab"), ("Browse", "Browse")])
@pytest.mark.parametrize("how", [{"modifiers": ["Control"]}, {"button": "middle"}])
def test_a_page_opens_in_a_tab_of_its_own_where_that_is_asked_for(open_page, name: str, heading: str, how) -> None:
    page = open_page("Train")
    before = page.url
    with page.context.expect_page() as opened:
        page.get_by_test_id("stSidebar").get_by_role("link", name=name).click(**how)
    expect(opened.value.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    assert page.url == before
    page.get_by_test_id("stSidebar").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
