"""The Train page's form in a real browser: what stands in it is read whole."""

import pytest
from conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest_plugins = ["tests.training_fixtures"]


@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_no_choice_of_the_advanced_settings_is_cut(with_demo, open_page, width: int):
    page = open_page("Train?dataset=demo")
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_text("Advanced settings").click()
    settled(page)
    chosen = page.locator("[data-testid=stExpander] [data-testid=stSelectbox]")
    chosen.first.wait_for()
    cut = chosen.evaluate_all(
        """boxes => boxes.flatMap(box => [...box.querySelectorAll('*')])
            .filter(part => part.scrollWidth > part.clientWidth + 1 && part.clientWidth).map(part => part.outerHTML)"""
    )
    assert cut == []
