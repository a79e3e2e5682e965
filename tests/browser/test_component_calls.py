"""Components whose calls end late: on a slow machine Streamlit ends an earlier call after a later one has begun."""

import pytest
from playwright.sync_api import Page

from ui import classify_pictures, curves, labelling, reviewer
from ui.files import together

pytestmark = pytest.mark.browser

ORDERS = {
    "in turn": ["begin", "end 0", "begin"],
    "the first ends late": ["begin", "begin", "end 0"],
    "twice, both late": ["begin", "begin", "begin", "end 0", "end 1"],
}
"""What is there afterwards is a component whose last call goes on."""

CELL = {"id": "c", "box": [10, 10, 30, 30], "tag": "1", "title": "Cell 1", "state": "ok", "colour": "red",
        "named": "a", "confirmed": None}  # fmt: skip
FIELD = {
    "picture": 1, "image": "data:,one", "alt": "", "width": 100, "height": 100, "selected": "c",
    "cells": [CELL, CELL | {"id": "d"}],
    "classes": [{"name": name, "title": name, "colour": "red"} for name in "ab"], "can_undo": False, "usual_side": 20,
    "say": "", "acked": {},
}  # fmt: skip
SHEET = {"cells": [CELL | {"src": "data:,", "state": "guess"}], "classes": FIELD["classes"], "picture": 1,
         "can_undo": False, "say": "", "acked": {}}  # fmt: skip
CARD = {
    "id": "a", "place": 1, "words": "One", "cell": "", "whole": "", "heat": "", "heat_on": "cell", "heat_words": "",
    "cell_words": "", "label": "a", "answer": "b", "bars": [], "says_words": "", "like": [], "like_words": "",
    "family": "", "said": "", "own": "a", "copies": False, "verdict": None, "to": None,
}  # fmt: skip
DESK = {"data_hash": "a", "cards": [CARD], "classes": [], "total": 1, "decided": 0, "undoable": [], "last": "",
        "heat": False, "waiting": False, "kept": [], "failures": [], "notes": {}}  # fmt: skip
LINE = {"run": 0, "split": "validation", "x": [1, 2, 3], "y": [1, 0.5, 0.2]}
CURVES = {
    "runs": [{"id": "r", "name": "Run"}], "words": "", "zoom": None,
    "plots": [{"title": title, "log": False, "percent": False, "lines": [LINE]} for title in ("Loss", "Accuracy")],
}  # fmt: skip

BEGIN_AND_END = """async ({ script, html, css, data, steps }) => {
  document.body.innerHTML = `<style>${css}</style><div id="parent" style="width: 600px">${html}</div>`
  const begin = (await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })))).default
  window.told = []
  window.ends = []
  const tell = (name, value) => window.told.push(structuredClone(value))
  window.call = (data) => window.ends.push(begin({ data: structuredClone(data),
    parentElement: document.querySelector("#parent"), setStateValue: tell, setTriggerValue: tell }))
  for (const step of steps) {
    const [what, number] = step.split(" ")
    if (what === "end") window.ends[number]()
    else window.call(data)
  }
}"""


@pytest.fixture
def page(browser):
    with browser.new_context(viewport={"width": 900, "height": 700}) as context:
        yield context.new_page()


def run(page: Page, script: str, html: str, css: str, data: dict, steps: list[str]) -> None:
    page.evaluate(BEGIN_AND_END, {"script": script, "html": html, "css": css, "data": data, "steps": steps})


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS)
def test_each_curve_is_drawn_once_and_follows_the_width(steps, page):
    run(page, together(*curves.SCRIPTS), curves.HTML, together("curves.css"), CURVES, steps)
    plots = page.locator("svg")
    assert plots.count() == 2
    paths = plots.first.locator("path.line").evaluate_all("lines => lines.map((line) => line.getAttribute('d'))")
    page.evaluate("() => { document.querySelector('#parent').style.width = '400px' }")
    page.wait_for_function(
        "before => document.querySelector('svg path.line').getAttribute('d') !== before", arg=paths[0]
    )


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS)
def test_the_desk_hears_its_keys_until_its_last_call_ends(steps, page):
    run(page, together("desk.js"), together("desk.html"), together("desk.css"), DESK, steps)
    page.wait_for_timeout(300)  # a verdict that comes sooner is a key that bounced
    page.keyboard.press("m")
    (told,) = page.evaluate("() => window.told")
    assert [event["verdict"] for event in told["events"]] == ["model-wrong"]
    page.evaluate("() => { window.told.length = 0; window.ends.at(-1)() }")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => window.told") == []


def test_a_verdict_that_the_server_has_not_heard_waits_until_its_dataset_is_shown(page):
    """Also through a reload, which may show another run. The same picture may be in both datasets."""
    page.clock.install()
    page.route("http://lab/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))

    def reload_with(data: dict) -> None:
        page.goto("http://lab/")  # a page of an address has a session's storage
        run(page, together("desk.js"), together("desk.html"), together("desk.css"), data, ["begin"])

    reload_with(DESK)
    page.clock.run_for(300)
    page.keyboard.press("m")
    [[verdict]] = page.evaluate("() => window.told.map((told) => told.events)")
    reload_with(DESK | {"data_hash": "b"})
    page.clock.run_for(25_000)
    assert page.evaluate("() => window.told") == []
    assert page.locator(".progress strong").text_content() == "1 of 1"
    assert page.locator(".state").text_content() == ""
    assert page.locator("[data-kind=undo]").is_disabled()
    page.keyboard.press("m")
    [[other]] = page.evaluate("() => window.told.map((told) => told.events)")
    reload_with(DESK)
    page.clock.run_for(300)
    assert page.evaluate("() => window.told.map((told) => told.events)") == [[verdict]]
    page.evaluate("data => window.call(data)", DESK | {"kept": [verdict["token"]]})
    reload_with(DESK | {"data_hash": "b"})
    page.clock.run_for(300)
    assert page.evaluate("() => window.told.map((told) => told.events)") == [[other]]


def test_what_is_done_on_a_field_that_the_server_has_not_heard_stays_with_that_field(page):
    run(page, together(*classify_pictures.FIELD_SCRIPTS), classify_pictures.FIELD_HTML, "", FIELD, ["begin"])
    page.locator(".box").first.focus()
    for pressed in ("1", "a", "2"):  # a cell is added, and is to be a "b" once it is there
        page.keyboard.press(pressed)
    (sent,) = page.evaluate("() => window.told.slice(-1)")
    assert [(act["do"], act["picture"]) for act in sent["acts"]] == [("label", 1), ("add", 1)]
    other = FIELD | {"picture": 2, "image": "data:,two", "selected": "d"}
    page.evaluate("other => window.call(other)", other)
    assert "confirmed" not in page.locator(".box").first.get_attribute("class")
    page.evaluate("other => window.call(other)", other | {"acked": {"nonce": sent["nonce"], "seq": 2}})
    assert page.evaluate("() => window.told.length") == 2
    page.keyboard.press("2")
    (act,) = page.evaluate("() => window.told.at(-1).acts")
    assert (act["do"], act["label"], act["picture"]) == ("label", "b", 2)


def test_a_class_that_is_called_as_a_tool_is_given_by_a_click(page):
    data = SHEET | {"classes": [{"name": name, "title": name, "colour": "red"} for name in ("a", "remove")]}
    run(page, together(*labelling.SHEET_SCRIPTS), labelling.SHEET_HTML, "", data, ["begin"])
    for tool, done in (("remove", {"do": "label", "label": "remove"}), ("Not a cell", {"do": "remove"})):
        page.locator(".tools button").filter(has_text=tool).click()
        page.locator(".tile").click()
        assert page.evaluate("() => window.told.at(-1).acts.at(-1)").items() >= done.items()
    assert page.locator(".tools button[aria-pressed=true]").count() == 1


ROW = {"id": "c", "src": "", "tag": "a", "file": "c.png", "note": "", "state": "ok", "colour": "red", "named": "a",
       "box": [10, 10, 30, 30], "bars": []}  # fmt: skip
MOUNTED = {
    "field": (classify_pictures.FIELD_SCRIPTS, classify_pictures.FIELD_HTML, FIELD),
    "rows": (classify_pictures.ROW_SCRIPTS, classify_pictures.ROWS_HTML,
             {"rows": [ROW], "classes": [{"name": "a"}], "selected": "c", "can_undo": False, "acked": {}}),
    "sheet": (labelling.SHEET_SCRIPTS, labelling.SHEET_HTML, SHEET),
}  # fmt: skip


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(("scripts", "html", "data"), MOUNTED.values(), ids=MOUNTED)
def test_what_is_done_on_cells_is_told_again_until_it_is_heard_or_the_cells_are_gone(scripts, html, data, steps, page):
    page.clock.install()
    run(page, together(*scripts), html, "", data, steps)
    page.locator(".box, .row, .tile").first.press("1")
    (first,) = page.evaluate("() => window.told")
    page.clock.run_for(25_000)
    assert page.evaluate("() => window.told") == [first] * 3  # at once, after 10 seconds and after 20
    page.evaluate("data => window.call(data)", data | {"acked": {"nonce": first["nonce"], "seq": 1}})
    page.clock.run_for(25_000)
    assert page.evaluate("() => window.told.length") == 3
    page.locator(".box, .row, .tile").first.press("1")
    page.evaluate("() => window.ends.at(-1)()")
    page.clock.run_for(25_000)
    assert page.evaluate("() => window.told.length") == 4


def test_who_has_reviewed_is_offered_and_known_in_other_capitals(page):
    data = {"fallback": "root", "known": ["Bea <b>", "Ann", "ann"]}
    run(page, together("reviewer.js"), reviewer.HTML, "", data, ["begin", "begin"])
    assert page.locator("datalist option").evaluate_all("all => all.map((each) => each.value)") == data["known"]
    name = page.get_by_label("Reviewing as")
    for typed, taken in ((" bea  <B>", "Bea <b>"), ("ann", "ann"), ("ANN", "Ann"), ("Cid  Lee ", "Cid Lee")):
        name.fill(typed)
        name.press("Enter")
        assert (name.input_value(), page.evaluate("() => window.told.at(-1)")) == (taken, taken)
