"""The report: one file that needs nothing else, with the figures of `evaluate` and `compare`, whatever names hold."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from bloodcell_core import disk, notes, workspace
from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import charts
from bloodcell_core.evaluation.comparison import Side, side_of
from bloodcell_core.evaluation.comparison_report import comparison_report
from bloodcell_core.evaluation.document import tag, write_report
from bloodcell_core.evaluation.figures import device_words, difference_words, figure_words, percent
from bloodcell_core.evaluation.predictions import predictions_table
from bloodcell_core.evaluation.report import run_report
from bloodcell_core.evaluation.report_parts import (
    CLASS_WORDS,
    METRIC_WORDS,
    classes,
    data,
    figure_and_limits,
    setting_words,
)
from bloodcell_core.evaluation.scoring import evaluated, score
from bloodcell_core.evaluation.together import side_by_side
from bloodcell_core.runs import Run
from bloodcell_core.words import counted, pretty
from tests.training_fixtures import drawn

pytest_plugins = ["tests.training_fixtures"]

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\x00b\x1b[31m\u202egnp", "</td>&amp;'"]
MAY_STAND = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "section", "div", "table", "caption",
    "tr", "th", "td", "small", "strong", "figure", "figcaption", "span", "svg", "polyline", "text", "script",
}  # fmt: skip


class Read(HTMLParser):
    """What a browser would find in a file: elements with their attributes, the text, the JSON."""

    def __init__(self, content: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.json = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.json += data
        elif self.open[-1:] != ["style"]:
            self.texts.append(data)


def assert_stands_alone(content: str) -> Read:
    """It loads nothing, runs nothing, and is well formed."""
    read = Read(content)
    assert read.open == []
    assert {name for name, _ in read.elements} <= MAY_STAND
    for name, attributes in read.elements:
        assert not {"src", "href", "srcset", "data", "action", "xlink:href"} & attributes.keys()
        assert not any(key.startswith("on") for key in attributes)
        assert name != "script" or attributes == {"type": "application/json", "id": "figures"}
    assert "url(" not in content
    assert "@import" not in content
    assert "default-src 'none'" in content
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", content)
    return read


def hostile_side(name: str, seed: int) -> Side:
    rng = np.random.default_rng(seed)
    labels = np.repeat(HOSTILE, 12)
    scores = rng.normal(size=(48, 4)) + 1.5 * (labels[:, None] == np.array(HOSTILE))
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    pictures = pd.DataFrame(
        {"image_id": [f"i{i}" for i in range(48)], "split": "test", "label": labels}
        | {"source_photo": [f"p{i // 2}" for i in range(48)]}
    )
    return Side(name, "demo", "h", HOSTILE, predictions_table(pictures, shares, HOSTILE))


# A run


def test_the_report_of_a_run_shows_evaluates_figures_and_holds_them_to_the_digit(done: Run) -> None:
    scores, table = evaluated(done)
    content = run_report(scores, table, done)
    read = assert_stands_alone(content)
    assert json.loads(read.json) == json.loads(json.dumps(scores))
    text = " ".join(read.texts)
    for metric, words in METRIC_WORDS.items():
        assert words in text
        assert scores[metric] is None or figure_words(metric, scores[metric]) in read.texts
    for row in scores["confusion"]:
        for count in row:
            assert f"{count:,}" in read.texts
    for said in (
        f"{scores['pictures']} pictures from {scores['photos']} photos",
        "not for diagnosis", "synthetic", "Blood Cell Lab", done.config.model, "Reliability", "learning_rate",
    ):  # fmt: skip
        assert said in text
    for limit in scores["warnings"] + scores["notes"]:
        assert limit[1:] in text
    assert_shows_the_dial(read, scores["dial"])
    assert len(content) < 500_000


def test_the_report_tells_how_many_photos_stand_behind_each_class(done: Run) -> None:
    scores = evaluated(done)[0]
    for known in (True, False):
        told = re.findall(r"<tr><th[^>]*>([^<]+)</th><td[^>]*>([^<]+)</td><td[^>]*>([^<]+)</td>", str(classes(scores)))
        assert told == [
            (pretty(name), f"{own['support']:,}", str(own["photos"]) if known else "–")
            for name, own in scores["per_class"].items()
        ]
        for own in scores["per_class"].values():
            own["photos"] = None


def assert_shows_the_dial(read: Read, told: dict[str, Any]) -> None:
    for row in told["thresholds"]:
        assert f"{row['set_aside']:,} ({percent(row['share'])})" in read.texts
        assert f"{told['pictures'] - row['set_aside']:,} of {counted(row['photos'], 'photo')}" in read.texts
        assert row["accuracy"] is None or figure_and_limits(row, "accuracy") in read.texts
        for each in row["by_class"].values():
            assert f"{each['set_aside']:,} · {each['caught']:,} · {each['missed']:,}" in read.texts


def test_the_pictures_of_many_classes_stand_below_each_other(done: Run) -> None:
    """A column for each class was wider than a sheet of paper."""
    splits = describe(Dataset("demo"))["splits"]
    content = str(data("demo", done.data_hash, done.name))
    assert re.findall(r"<th>([^<]+)</th>", content.split("<table>")[2].split("</tr>")[0]) == ["Pictures", *splits]
    for label in done.classes:
        row = "".join(f"<td>{part['by_class'][label]:,}</td>" for part in splits.values())
        assert f"<tr><th>{pretty(label)}</th>{row}</tr>" in content


def test_the_report_of_other_data_tells_the_classes_and_the_distance(done: Run) -> None:
    drawn("other", per_class=10, seed=3)
    scores, table = evaluated(done, "other", "all", "cpu")
    text = " ".join(assert_stands_alone(run_report(scores, table, done)).texts)
    assert "Data of another source" in text
    assert all(told["words"] in text for told in scores["distance"].values())
    assert "all splits of other (synthetic pictures)" in text


def test_a_report_can_be_made_when_the_data_are_gone(done: Run) -> None:
    shutil.rmtree(workspace.dataset_dir("demo"))
    scores, table = evaluated(done)
    assert "there is no dataset 'demo'" in " ".join(assert_stands_alone(run_report(scores, table, done)).texts)


def test_of_another_dataset_that_has_the_name_now_the_report_tells_nothing(done: Run) -> None:
    """Its pictures, splits and licence would be told as those that the run was tested on."""
    scores, table = evaluated(done)
    sides = [side_of(done)]
    shutil.rmtree(workspace.dataset_dir("demo"))
    drawn("demo", per_class=10, seed=99)
    told = side_by_side(sides)
    for content in (run_report(scores, table, done), comparison_report(told, sides)):
        text = " ".join(assert_stands_alone(content).texts)
        assert f"dataset 'demo' is no longer the one that '{done.name}' was made with" in text
        assert "Byte-identical, left out" not in text


def test_a_report_calls_a_run_by_its_title_with_the_end_of_its_name(done: Run) -> None:
    notes.rename("run", done.name, "larger crop")
    notes.rename("dataset", "demo", "Drawn cells")
    texts = assert_stands_alone(run_report(*evaluated(done), done)).texts
    assert f"larger crop · {done.name[-4:]} on demo" in texts
    assert "Drawn cells" in texts
    assert "the network's own" in texts  # its rate, which nobody set
    assert "None" not in texts
    assert texts.count(done.name) == 1  # among the settings, to find it by


def test_a_setting_is_words_and_no_value_of_python(lab: Path) -> None:
    assert [setting_words(value) for value in (None, ["a", "b"], 0.5, "")] == ["the network's own", "a, b", "0.5", ""]


def test_hostile_names_stay_text(done: Run) -> None:
    side = hostile_side("run", 0)
    scores, _ = evaluated(done)
    scores |= score(side.table, HOSTILE) | {"classes": HOSTILE, "run": HOSTILE[0], "data": HOSTILE[1]}
    content = run_report(scores, side.table, done)
    read = assert_stands_alone(content)
    assert json.loads(read.json)["classes"] == HOSTILE
    assert HOSTILE[0] in "".join(read.texts)
    assert "a\ufffdb\ufffd[31m\ufffdgnp" in read.texts


# A comparison


def test_the_report_of_a_comparison_holds_compares_figures_and_hostile_names_as_text(lab: Path) -> None:
    notes.rename("run", "a", HOSTILE[0])
    sides = [hostile_side("a", 0), hostile_side("b", 1), hostile_side("c", 2)]
    told = side_by_side(sides)
    settings = {"seed": 1, "model": "m"}, {"seed": 2, "model": "m"}
    of_runs = [replace(side, run=SimpleNamespace(settings=each)) for side, each in zip(sides, settings, strict=False)]
    read = assert_stands_alone(comparison_report(told, [*of_runs, sides[2]]))
    assert json.loads(read.json) == json.loads(json.dumps(told))
    text = " ".join(read.texts)
    assert not any(re.search(r"(^|\s)-\d", part) for part in read.texts)  # one kind of minus, as on the pages
    assert f"{HOSTILE[0]} · a against b" in text
    assert f"tested on demo; {HOSTILE[0]} · a is the run a" in text
    assert "a" not in read.texts  # everywhere by its title
    for facts in told["comparisons"]:
        assert facts["verdict"] in text
        for metric, compared in facts["metrics"].items():
            assert difference_words(metric, compared["difference"]) in read.texts
        assert f"{facts['right']['only_b']:,}" in read.texts
    for row in told["runs"]:
        assert f"{row['by_photo']['right']} of 24 " in text
        assert row["warnings"][0] in text
        assert_shows_the_dial(read, row["dial"])
        for of_class in row["per_class"].values():
            for metric in CLASS_WORDS:
                assert figure_and_limits(of_class, metric) in read.texts
    assert "seed" in read.texts
    assert "model" not in read.texts
    # ROC and precision-recall of each of four classes, a line and one in the key for each of three runs
    assert [name for name, _ in read.elements].count("figure") == 8
    lines = [attributes for name, attributes in read.elements if name == "polyline" and attributes["class"] == "curve"]
    assert len(lines) == 8 * 3 * 2


def test_the_report_of_runs_compares_their_calibration_and_cost(done: Run) -> None:
    file = done.folder / "summary.json"
    disk.write_json(file, disk.read_json(file) | {"training_seconds": 4321.4})
    other = done.folder.with_name("other")
    shutil.copytree(done.folder, other)
    sides = [side_of(run) for run in (done, Run("other"))]
    told = side_by_side(sides)
    read = assert_stands_alone(comparison_report(told, sides))
    assert "Reliability" in read.texts
    for row in told["runs"]:
        assert f"{row['calibration']['temperature']:.3f}" in read.texts
        after, before = (figure_and_limits(row["calibration"][when], "log_loss") for when in ("after", "before"))
        assert after in read.texts
        assert before not in read.texts, "or the line above says nothing"
        assert "4,321" in read.texts
        assert f"{row['cost']['flops']:,}" in read.texts
        assert f"{row['cost']['milliseconds']:.3g} ({device_words(row['cost']['milliseconds_on'])})" in read.texts


def test_a_curve_in_a_report_has_scikit_learns_area() -> None:
    table = hostile_side("a", 4).table
    for name in HOSTILE:
        own, shares = (table.label == name).to_numpy(), table[f"p_{name}"].to_numpy()
        roc, precision = charts._curves_of(table, name)
        assert auc(*zip(*roc, strict=True)) == pytest.approx(roc_auc_score(own, shares))
        assert auc(*zip(*precision, strict=True)) == pytest.approx(average_precision_score(own, shares), abs=0.05)
    assert charts._curves_of(table[table.label == HOSTILE[0]], HOSTILE[0]) is None
    assert charts._curves_of(table[table.label == HOSTILE[0]], HOSTILE[1]) is None


def test_no_two_curves_of_40_look_alike_and_each_looks_as_in_its_key() -> None:
    curves = [charts.Curve(str(place), [(0, 0), (1, 1)]) for place in range(40)]
    looks = re.findall(r'<polyline class="curve" [^>]* style="([^"]+)"', str(charts.chart("", "", "", curves)))
    keys, drawn = looks[:40], looks[40:]
    assert keys == drawn
    assert len(set(drawn)) == 40


# The file


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "report.html"
    write_report("first", file)
    with pytest.raises(LabError, match=r"as \.html, not as 'report\.pdf'"):
        write_report("x", file.with_suffix(".pdf"))
    with pytest.raises(UnicodeEncodeError):
        write_report("half \ud800 a sign", file)
    assert file.read_text() == "first"
    assert list(file.parent.iterdir()) == [file]


def test_text_is_escaped_where_it_is_put_in_and_elements_are_not_escaped_twice() -> None:
    assert tag("p", {"class": '"<'}, tag("b", {}, "a & b"), "<i>") == (
        '<p class="&quot;&lt;"><b>a &amp; b</b>&lt;i&gt;</p>'
    )
