"""What people name (classes, files, slides, titles, tags, notes) never becomes HTML or Markdown, nor leads out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from bloodcell_core import notes, runs, workspace
from bloodcell_core.cli import main
from bloodcell_core.data import demo
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.pictures import encode
from bloodcell_core.errors import LabError
from bloodcell_core.labels.verdicts import LABEL_WRONG, record
from bloodcell_core.runs import Run
from bloodcell_core.smear import slides
from tests.conftest import class_files, tree, write_files
from tests.test_pages import EVERY_PAGE, draw
from tests.training_fixtures import trained
from ui.compare_panels import PANELS

pytest_plugins = ["tests.training_fixtures"]

MARKUP = "<img src=x onerror=alert(1)>[a](b) **c** :red[d] $e$"
"""As a name of a file or class: what HTML, Markdown and Streamlit's own colours would make something of."""
TAG = re.compile(r"(?<!\\)<img src=x", re.I)
ALIVE = re.compile(r"(?<!\\)(<img src=x|\[a\]\(|\*\*c|:red\[|\$e\$)", re.I)
PLAIN_FIELDS = {  # what browsers are given as text, or a component as data that it sets as text
    "options", "alt", "default", "value", "raw_value", "raw_values", "placeholder", "json", "mixed", "arrow_data",
    "data", "query_string", "id", "url", "file_name", "column_config", "columns", "styler", "set_value", "string_value",
}  # fmt: skip


def strings(message: Message, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text that is sent to the browser to be drawn, and its field; what is sent as data is left out."""
    for field, value in message.ListFields():
        if field.name in PLAIN_FIELDS:
            continue
        for each in value if field.is_repeated else [value]:
            if isinstance(each, Message):
                yield from strings(each, f"{where}.{field.name}")
            elif isinstance(each, str):
                yield f"{where}.{field.name}", each


def sent(app: AppTest) -> list[tuple[str, str]]:
    found, waiting = [], [app._tree]
    while waiting:
        node = waiting.pop()
        waiting += getattr(node, "children", {}).values()
        if isinstance(proto := getattr(node, "proto", None), Message):
            found += [(f"{node.type}{where}", text) for where, text in strings(proto)]
    for table in (table.value for table in app.table):  # Streamlit reads Markdown in their cells and heads
        found += [("table", str(text)) for text in (*table.index, *table.columns, *table.to_numpy().ravel())]
    return found


def alive(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    as_html = ("html.body", "plotly_chart.spec")  # no Markdown is read there
    return [(where, text[:200]) for where, text in texts if (TAG if where in as_html else ALIVE).search(text)]


@pytest.fixture
def hostile(lab_home: Path, tmp_path: Path) -> Run:
    """A run on a dataset whose classes and files are called so, with a title, a tag, a verdict, and a slide."""
    classes = (f"{MARKUP} one", f"{MARKUP} two")
    files = {name.replace("/", f"/{MARKUP} ", 1): data for name, data in class_files(12, classes, (64, 64)).items()}
    dataset = import_dataset(write_files(tmp_path / "source", files), "hostile", trace=False)
    assert dataset.classes == [*classes]
    notes.rename("dataset", "hostile", MARKUP)
    run = trained(data="hostile", epochs=1)
    notes.rename("run", run.name, MARKUP)
    notes.tag("run", run.name, [f"{MARKUP[:28]}"])
    record(dataset, [dataset.pictures.image_id[0]], LABEL_WRONG, label=classes[1], by=MARKUP, note=MARKUP)
    slides.create(MARKUP, run.name, [(f"{MARKUP} {n}.png", lambda data=data: data) for n, data in enumerate(handed())])
    return run


def handed() -> list[bytes]:
    """A field, two pictures of one cell, and a text."""
    rng = np.random.default_rng(3)
    pixels = [demo.draw_field(rng, ["neutrophil", "monocyte"]).pixels]
    pixels += [demo.draw_picture("monocyte", rng) for _ in range(2)]
    return [*map(encode, pixels), b"no picture"]


@EVERY_PAGE
def test_no_name_is_drawn_as_html_or_markdown(page: str, hostile: Run) -> None:
    run, picture = hostile.name, Dataset("hostile").pictures.image_id[0] if "Browse" in page else "0"
    app = draw(page, dataset="hostile", run=run, picture=picture, runs=run, cell="0-1", matrix=run)
    texts = sent(app)
    assert len(texts) > 10
    assert alive(texts) == []


@pytest.mark.parametrize("show", ["audit", "counts", "looks", "map"])
def test_no_name_is_drawn_as_html_or_markdown_in_a_dataset_s_facts(show: str, hostile: Run) -> None:
    assert alive(sent(draw("pages/1_Browse.py", dataset="hostile", show=show))) == []


@pytest.mark.parametrize("view", ["fields", "cells"])
def test_no_name_is_drawn_as_html_or_markdown_on_a_slide(view: str, hostile: Run) -> None:
    (slide,), _ = slides.listed()
    run = trained(data="hostile", epochs=1, view="cell")  # which can answer for a field's cells
    app = draw("pages/5_Classify.py", slide=slide.id, run=run.name, view=view, threshold="0")
    texts = sent(app)
    assert any(MARKUP[:9] in text for _, text in texts)
    assert alive(texts) == []


def test_no_name_is_a_tag_in_a_slide_s_report(hostile: Run, tmp_path: Path) -> None:
    (slide,), _ = slides.listed()
    files = [str(slide.folder / "pictures" / picture.stored) for picture in slide.pictures]
    named = tmp_path / f"{MARKUP}.png"
    named.write_bytes(handed()[1])
    assert main(["predict", hostile.name, str(named), *files, f"--report={tmp_path / 'r.html'}"]) == 2  # one is refused
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "onerror=alert(1)&gt;" in text
    assert not TAG.search(text)


@pytest.mark.parametrize("panel", PANELS)
def test_no_name_is_drawn_as_html_or_markdown_in_a_comparison(panel: str, hostile: Run) -> None:
    assert alive(sent(draw("pages/3_Compare.py", runs=hostile.name, panel=panel))) == []


def test_the_dialog_draws_none_either(hostile: Run) -> None:
    app = draw("pages/2_Train.py")
    assert alive(sent(app.button(key=f"name-{hostile.name}").click().run())) == []


def test_what_is_drawn_as_markup_would_be_seen() -> None:
    app = AppTest.from_string(f"import streamlit as st\nst.caption({MARKUP!r})\nst.button({MARKUP!r})").run()
    assert len(alive(sent(app))) == 2


# What leads out, can't be seen, is too long, or looks like something else

NAMES = [
    "../out",
    "/tmp/out",
    "..",
    "a/../../out",
    "<img src=x>",
    "a\x1b[31m",
    "x" * 300,
    "а-cyrillic",
    "ｆull",
    "\u202ea",
]

ASKS: dict[str, Callable[[str, str], list[str]]] = {
    "demo": lambda name, run: ["data", "demo", "--per-class=10", f"--name={name}"],
    "combine": lambda name, run: ["data", "combine", name, "--from", "demo", "demo"],
    "show": lambda name, run: ["data", "show", name],
    "remove": lambda name, run: ["data", "remove", name],
    "rename": lambda name, run: ["data", "rename", name, "title"],
    "run": lambda name, run: ["runs", "show", name],
    "run removed": lambda name, run: ["runs", "remove", name],
    "run renamed": lambda name, run: ["runs", "rename", name, "title"],
    "group": lambda name, run: ["runs", "group", name],
    "trained": lambda name, run: ["train", f"--data={name}", "--model=basic_cnn"],
    "overlay": lambda name, run: ["review", "overlay", name],
    "ensemble": lambda name, run: ["ensemble", run, run, f"--name={name}"],
    "study": lambda name, run: ["tune", "show", name],
}


def folders(root: Path) -> dict[str, Any]:
    return {path: (root / path).stat().st_size for path in tree(root) if ".lock" not in path and "sqlite" not in path}


@pytest.mark.parametrize("ask", ASKS)
def test_a_hostile_name_is_refused_in_one_line_and_nothing_is_made_or_lost(
    ask: str, done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folders(tmp_path)
    for name in NAMES:
        try:
            code = main(ASKS[ask](name, done.name))
        except SystemExit as end:  # argparse's own refusal
            code = end.code
        assert code == 2, name
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", told), told
        assert len(told) < 600
    assert folders(tmp_path) == before
    assert runs.names() == [done.name]


# Texts, which may be of any signs: what is kept of them can be seen, and is no path

TEXTS = [*NAMES, MARKUP, "a\nb", "a\x7fb", "\x9b31m", "\ud800", "zero\u200bwidth", "=1+1", " ", "é" * 300]


def seen(text: str) -> bool:
    return all(unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in text)


def kept_or_refused(keep: Callable[[], Any]) -> Any:
    """What is kept; None where it is refused, in a line."""
    try:
        return keep()
    except LabError as error:
        told = str(error)
    assert len(told) < 200
    assert seen(told)
    return None


@pytest.mark.parametrize("text", TEXTS)
def test_a_slide_of_any_name_lies_under_an_id_of_our_own(text: str, lab_home: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    slide = kept_or_refused(lambda: slides.create(text, "cell-net", [(text, lambda: b"no picture")]))
    if slide is None:
        assert not slides.listed()[0]
        assert not any(seen(sign) and not sign.isspace() for sign in text), "something of it can be seen"
        return
    assert slide == slides.read_slide(slide.id)
    assert workspace.NAME_PATTERN.fullmatch(slide.id)
    assert seen(slide.name)
    assert 0 < len(slide.name) <= slides.MAX_NAME
    (picture,) = slide.pictures
    assert re.fullmatch(r"[0-9a-f]{32}\.(bin|png)", picture.stored)
    assert {path.split("/")[0] for path in tree(tmp_path) - before} <= {"lab-home"}
    assert {path for path in tree(lab_home) if slide.id not in path} <= {"slides", "locks"}
    renamed = slides.rename(slide, text)
    assert (renamed.name, renamed.id) == (slide.name, slide.id)


@pytest.mark.parametrize("text", TEXTS)
def test_any_title_tag_name_and_note_is_refused_or_can_be_seen(
    text: str, done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in tree(tmp_path) if not path.startswith("lab-home/notes")}
    kept_or_refused(lambda: notes.rename("run", done.name, text))
    kept_or_refused(lambda: notes.tag("run", done.name, [text]))
    assert all(seen(each) and len(each) <= notes.MOST_TITLE for each in (done.notes.title, *done.notes.tags))
    dataset = Dataset("demo")
    image_id, other = dataset.pictures.image_id[0], next(c for c in dataset.classes if c != dataset.pictures.label[0])
    kept_or_refused(lambda: record(dataset, [image_id], LABEL_WRONG, label=other, by=text, note=text))
    capsys.readouterr()
    assert main(["review", "history", done.name]) == 0
    told = capsys.readouterr().out
    assert all(seen(line) for line in told.split("\n"))
    assert told.count("\n") == 1
    now = {path for path in tree(tmp_path) if not path.startswith("lab-home/notes")}
    assert {path for path in now - before if "lock" not in path} <= {"lab-home/lab.sqlite", "lab-home/locks"}
