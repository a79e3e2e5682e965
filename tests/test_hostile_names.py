"""What people name (classes, files, titles, tags, notes) never becomes HTML or Markdown, and no name leads out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from bloodcell_core import notes, runs
from bloodcell_core.cli import main
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.runs import Run
from tests.conftest import class_files, tree, write_files
from tests.test_pages import EVERY_PAGE, draw
from tests.training_fixtures import train_here
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
    return found


def alive(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    as_html = ("html.body", "plotly_chart.spec")  # no Markdown is read there
    return [(where, text[:200]) for where, text in texts if (TAG if where in as_html else ALIVE).search(text)]


@pytest.fixture
def hostile(lab_home: Path, tmp_path: Path) -> Run:
    """A run on a dataset whose classes and files are called so, with a title and a tag."""
    classes = (f"{MARKUP} one", f"{MARKUP} two")
    files = {name.replace("/", f"/{MARKUP} ", 1): data for name, data in class_files(12, classes, (64, 64)).items()}
    dataset = import_dataset(write_files(tmp_path / "source", files), "hostile", trace=False)
    assert dataset.classes == [*classes]
    notes.rename("dataset", "hostile", MARKUP)
    run = train_here(data="hostile", epochs=1)
    notes.rename("run", run.name, MARKUP)
    notes.tag("run", run.name, [f"{MARKUP[:28]}"])
    return run


@EVERY_PAGE
def test_no_name_is_drawn_as_html_or_markdown(page: str, hostile: Run) -> None:
    app = draw(
        page, dataset="hostile", run=hostile.name, picture="0", runs=hostile.name, cell="0-1", matrix=hostile.name
    )
    texts = sent(app)
    assert len(texts) > 10
    assert alive(texts) == []


@pytest.mark.parametrize("show", ["audit", "counts", "looks", "map"])
def test_no_name_is_drawn_as_html_or_markdown_in_a_dataset_s_facts(show: str, hostile: Run) -> None:
    assert alive(sent(draw("pages/1_Browse.py", dataset="hostile", show=show))) == []


@pytest.mark.parametrize("panel", PANELS)
def test_no_name_is_drawn_as_html_or_markdown_in_a_comparison(panel: str, hostile: Run) -> None:
    assert alive(sent(draw("pages/3_Compare.py", runs=hostile.name, panel=panel))) == []


def test_the_dialog_draws_none_either(hostile: Run) -> None:
    app = draw("pages/2_Train.py")
    assert alive(sent(app.button(key=f"name-{hostile.name}").click().run())) == []


def test_what_is_drawn_as_markup_would_be_seen() -> None:
    app = AppTest.from_string(f"import streamlit as st\nst.caption({MARKUP!r})\nst.button({MARKUP!r})").run()
    assert len(alive(sent(app))) == 2


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
