"""Reports opened from disk in a real browser without a network: nothing is asked for, nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from bloodcell_core import cli
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.demo import draw_field
from bloodcell_core.data.pictures import encode
from bloodcell_core.evaluation.document import document, section, write_report
from bloodcell_core.evaluation.report import run_report
from bloodcell_core.evaluation.report_parts import confusion
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.inference.answers import FIELD, Answer, CellAnswer
from bloodcell_core.labels.overlays import freeze, load
from bloodcell_core.labels.verdicts import LABEL_WRONG, UNUSABLE, record
from bloodcell_core.runs import Run
from bloodcell_core.smear.differential import Confusion, differential
from bloodcell_core.smear.slide_report import Gathered, slide_report
from tests.conftest import count_of
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]
pytestmark = pytest.mark.browser
A4_WIDTH = 673  # pixels between the margins


@pytest.fixture
def alone(browser: Browser) -> Iterator[Callable[[Path, str], Page]]:
    """Opens a file in a narrow window without a network, and in the end finds that it asked for nothing."""
    contexts, asked, said = [], [], []

    def open_file(file: Path, scheme: str = "light") -> Page:
        context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 800}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url != file.as_uri() and request.url))
        page.goto(file.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert asked
    assert not any(asked), asked
    assert said == []


def row_of(page: Page, name: str) -> list[str]:
    """The cells of the first row with this name."""
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))
    return row.first.get_by_role("cell").all_inner_texts()


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def by_ear_and_key(page: Page) -> bool:
    """Whether all is within the page's main part, a head has words, and what is scrolled can be so by key."""
    main = page.get_by_role("main")
    expect(main.get_by_role("heading", level=1)).to_have_count(1)
    assert main.locator("section").count() == page.locator("section").count() > 0
    assert all(page.locator("th").all_inner_texts())
    scrolled = page.locator(".scroll")
    return scrolled.count() == page.locator(".scroll[tabindex='0'][role=group][aria-label]").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_alone_and_offline(alone, done: Run, tmp_path: Path, scheme: str) -> None:
    scores, table = evaluated(done)
    file = tmp_path / "report.html"
    write_report(run_report(scores, table, done), file)
    page = alone(file, scheme)
    assert row_of(page, "Accuracy")[0].startswith(f"{100 * scores['accuracy']:.1f}%")
    assert page.locator("figure > svg").count() == 4
    first = page.locator(".matrix td").first
    assert first.evaluate("cell => getComputedStyle(cell).backgroundColor") != "rgba(0, 0, 0, 0)"
    lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (lightness > 128) == (scheme == "light")
    assert fits(page), "the page scrolls sideways"
    assert by_ear_and_key(page)


def test_reports_on_reviewed_labels_open_alone_with_both_figures(alone, done: Run, tmp_path: Path) -> None:
    data = Dataset("demo")
    test = data.pictures[data.pictures.split == "test"]
    wrong, unusable = test.image_id.iloc[0], test[test.photo != test.photo.iloc[0]].image_id.iloc[0]
    other = next(name for name in data.classes if name != test.label.iloc[0])
    record(data, [wrong], LABEL_WRONG, label=other, by="Ana <b>")
    record(data, [unusable], UNUSABLE, by="Ana <b>")
    freeze("day-one", data, by="Ana <b>")
    own, _ = evaluated(done)
    reviewed, _ = evaluated(done, overlay=load("day-one"))

    file = tmp_path / "report.html"
    assert cli.main(["evaluate", done.name, "--labels", "day-one", "--report", str(file)]) == 0
    page = alone(file)
    told = row_of(page, "Accuracy")
    assert told[0].startswith(f"{100 * own['accuracy']:.1f}%")
    assert told[2] == f"{100 * reviewed['reviewed']['accuracy']:.1f}%"  # the interval is between them
    expect(page.get_by_text("the reviewed labels day-one@1")).to_be_visible()
    assert fits(page)

    again = train_here(epochs=1, seed=5)
    assert cli.main(["compare", done.name, again.name, "--labels", "day-one", "--report", str(file)]) == 0
    page = alone(file, "dark")
    figures = page.locator("section").filter(has=page.get_by_role("heading", name="Figures on the reviewed labels"))
    row = figures.first.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Accuracy", exact=True))
    assert row.first.get_by_role("cell").first.inner_text().startswith(f"{100 * reviewed['reviewed']['accuracy']:.1f}%")
    expect(page.get_by_role("heading", name="Figures", exact=True)).to_be_visible()
    assert fits(page)
    assert by_ear_and_key(page)


@pytest.mark.parametrize("number", [12, 24, 40])
def test_a_matrix_is_printed_to_its_last_column(alone, tmp_path: Path, number: int) -> None:
    classes = [f"immature granulocyte of kind {place}" for place in range(number)]
    counts = [[1234 if row == column else 100 for column in range(number)] for row in range(number)]
    file = tmp_path / "report.html"
    write_report(document("Many", "", [section("Confusion", confusion(counts, classes))], {}), file)
    page = alone(file)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4_WIDTH, "height": 800})
    assert page.locator(".scroll").evaluate("table => table.scrollWidth <= table.clientWidth")
    assert page.locator(".scroll").evaluate("table => table.clientHeight") < 800, "names are broken letter by letter"


def test_a_heading_is_not_printed_at_the_foot_of_a_sheet(alone, tmp_path: Path) -> None:
    """Its box reaches over what follows and isn't divided, so that both are on one sheet in every browser."""
    file = tmp_path / "report.html"
    matrix = confusion([[9, 1], [1, 9]], ["a", "b"])
    write_report(document("Two", "", [section("A", matrix), section("B", matrix)], {}), file)
    page = alone(file)
    overlap = "head => head.getBoundingClientRect().bottom - head.nextElementSibling.getBoundingClientRect().top"
    assert page.locator("h2").last.evaluate(overlap) < 0
    page.emulate_media(media="print")
    assert page.locator("h2").last.evaluate(overlap) > 60
    assert page.locator("h2").last.evaluate("head => getComputedStyle(head).breakInside") == "avoid"


@pytest.mark.parametrize(
    "name",
    ["patient-0031/field_{:03}_40x_overview.tif", "patient-{:04}/" + 3 * "smear of 26 November 2026, field at 40x, "],
    ids=["names", "long names"],
)
def test_a_slide_of_24_fields_and_8_classes_prints_on_two_pages(alone, tmp_path: Path, name: str) -> None:
    classes = ["basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte",
               "neutrophil", "platelet"]  # fmt: skip
    groups = [*((name, "ok") for name in classes), *((None, state) for state in ("unsure", "unlike"))]
    cells = [
        CellAnswer((20 * place, 20, 20 * place + 60, 80), state, label, dict.fromkeys(classes, 1 / 8), "")
        for place, (label, state) in enumerate(groups)
    ]
    names = [f"/data/slides/2026-11/{name.format(n)}" for n in range(24)]
    answers = [Answer(each, "ok", "", cells, FIELD, 320, 240) for each in names]
    picture = encode(draw_field(np.random.default_rng(1), ["neutrophil", "monocyte"], (320, 240)).pixels)
    gathered = Gathered(classes)
    for answer in answers:
        gathered.add(answer, lambda: picture)
    few_photos = Confusion(np.hstack([6 * np.eye(8) + 0.3, np.full((8, 1), 0.5)]), True)
    told = differential(count_of(answers, classes), classes, few_photos) | {"threshold": 0.6}
    test = {"accuracy": 0.9, "intervals": {"accuracy": [0.8, 0.95]}, "pictures": 2487, "photos": 71, "unit": "photo"}
    run: Any = SimpleNamespace(
        name="20261128-085412-cell_net-f727", classes=classes, synthetic=False, summary=lambda: {"test": test},
        config=SimpleNamespace(model="cell_net", view="cell", size=96, data="all-kinds"), member_facts=[],
    )  # fmt: skip
    file = tmp_path / "slide.html"
    file.write_text(slide_report("Patient 31, smear of 26 November", gathered, told, run), encoding="utf-8")
    page = alone(file)
    assert by_ear_and_key(page)
    printed = page.pdf(format="A4")
    assert (printed.count(b"/Type /Page\n") or printed.count(b"/Type /Page ")) == 2
