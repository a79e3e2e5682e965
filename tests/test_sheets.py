"""Tables that the lab writes: no user-supplied text becomes a formula, and any text is read back unchanged."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bloodcell_core import sheets
from bloodcell_core.cli import main
from bloodcell_core.data.demo import draw_field, draw_picture
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.pictures import encode
from bloodcell_core.inference.answers import Answer, CellAnswer, csv_columns, csv_rows
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.labels import overlays
from bloodcell_core.labels.exchange import import_csv, write_csv
from bloodcell_core.labels.verdicts import LABEL_WRONG, record
from bloodcell_core.runs import Run
from bloodcell_core.smear import slides
from bloodcell_core.smear.corrections import Correction
from bloodcell_core.smear.slide_answers import SlideAnswers, answer_missing
from bloodcell_core.smear.slide_cells import counted_pictures, csv_of
from tests.conftest import class_files, write_files
from tests.test_architecture import ROOT
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
ORDER = "=cmd|' -C calc'!A0"
CLASSES = (f"{ORDER} one", "@SUM(1) two")
FILES = ("=1+1.png", "-2.png", "'=3.png", "\t4.png", "+5 <b>.png")


def formulas(text: str) -> list[str]:
    """The cells of a CSV that a spreadsheet would run; a number isn't one."""
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row
            if cell.startswith(STARTS) and not cell.removeprefix("-").replace(".", "").isdigit()]  # fmt: skip


@given(st.text())
@example("'" * 5 + "=1")
@example("'tis")
@example("")
def test_any_text_comes_back_as_it_was_and_is_no_formula(text: str) -> None:
    marked = sheets.harmless(text)
    assert not marked.startswith(STARTS)
    assert sheets.as_it_was(marked) == text


@given(st.one_of(st.integers(), st.floats(), st.none(), st.booleans()))
def test_what_is_no_text_stays_as_it_is(value: object) -> None:
    assert sheets.harmless(value) is value


def test_what_would_be_run_is_found() -> None:
    assert formulas("a,=1+1\n-2,-3.5\n'=1,@x\n") == ["=1+1", "@x"]


@pytest.fixture
def run(lab_home: Path, tmp_path: Path) -> Run:
    """A run whose classes are formulas."""
    files = {name: data for name, data in class_files(12, CLASSES, (64, 64)).items()}
    import_dataset(write_files(tmp_path / "source", files), "formulas", trace=False)
    return train_here(data="formulas", epochs=1, view="cell")


def test_predicted_names_are_no_formulas(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(FILES):
        (tmp_path / name).write_bytes(encode(draw_picture("monocyte", np.random.default_rng(number))))
    monkeypatch.chdir(tmp_path)
    assert main(["predict", run.name, *(f"./{name}" for name in FILES), "--csv=t.csv"]) == 0
    text = (tmp_path / "t.csv").read_text(encoding="utf-8-sig")
    assert formulas(text) == []
    rows = [*csv.DictReader(io.StringIO(text, newline=""))]
    assert {sheets.as_it_was(row["path"]) for row in rows} == {*FILES}
    assert {f"p_{name}" for name in CLASSES} < rows[0].keys()


def test_a_slide_s_names_are_no_formulas(run: Run) -> None:
    field = encode(draw_field(np.random.default_rng(1), ["neutrophil", "monocyte"]).pixels)
    contents = (field, b"no picture", field[:99], b"", field)
    handed = [(name, lambda data=data: data) for name, data in zip(FILES, contents, strict=True)]
    slide = slides.create(f"{ORDER} slide", run.name, handed)
    answers = SlideAnswers(slide, run.name)
    answer_missing(slide, answers, Predictor(run, threshold=0))
    first = counted_pictures(slide, answers, 0)[0].cells[0]
    slide = slides.correct(slide, [Correction(1, "label", first.id, CLASSES[0], first.box)])
    text = csv_of(slide, counted_pictures(slide, answers, 0), run.classes, run.name)
    assert formulas(text) == []
    rows = [*csv.DictReader(io.StringIO(text, newline=""))]
    assert {sheets.as_it_was(row["path"]) for row in rows} == {*FILES}
    assert {sheets.as_it_was(row["slide"]) for row in rows} == {slide.name}
    assert CLASSES[0] in {sheets.as_it_was(row["label"]) for row in rows}


def test_predictions_name_no_formulas_as_csv_and_are_as_they_are_as_parquet(run: Run, tmp_path: Path) -> None:
    for name in ("p.csv", "p.parquet"):
        assert main(["evaluate", run.name, f"--predictions={tmp_path / name}"]) == 0
    exact = pd.read_parquet(tmp_path / "p.parquet")
    assert {*exact.label} == {*CLASSES}
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    assert text.startswith("\ufeff")  # for Excel
    text = text[1:]
    assert formulas(text) == []
    written = pd.read_csv(io.StringIO(text))
    for column in ("label", "predicted"):
        assert [sheets.as_it_was(name) for name in written[column]] == [*exact[column]]
    for name in CLASSES:
        assert written[f"p_{name}"].to_numpy() == pytest.approx(exact[f"p_{name}"].to_numpy())


def test_an_overlay_of_such_classes_comes_back_the_same(run: Run, tmp_path: Path) -> None:
    from bloodcell_core.data.dataset import Dataset

    dataset = Dataset("formulas")
    rows = dataset.pictures[dataset.pictures.label == CLASSES[0]]
    record(dataset, rows.image_id[:1].tolist(), LABEL_WRONG, label=CLASSES[1], by=ORDER, note="-1\n+2")
    overlay, _ = overlays.freeze("round", dataset, by="Ana")
    write_csv(overlay, dataset, tmp_path / "labels.csv")
    assert formulas((tmp_path / "labels.csv").read_text(encoding="utf-8-sig")) == []
    back, made, unchanged = import_csv(tmp_path / "labels.csv", "other", by="Cho")
    assert (made, unchanged) == (True, 0)
    assert back.rows.equals(overlay.rows)
    assert {*back.rows.label_to} == {CLASSES[1]}


def test_what_the_docs_say_to_pandas_gives_back_any_class_and_keeps_figures(tmp_path: Path) -> None:
    """Classes that pandas takes by itself for nothing, and for numbers."""
    (call,) = re.findall(r"`(pandas\.read_csv\(FILE, .*\))`", (ROOT / "docs/classify.md").read_text(encoding="utf-8"))
    for classes in (["NA", "None"], ["001", "002"]):
        cell = CellAnswer((0, 0, 9, 9), "ok", classes[0], dict(zip(classes, (0.75, 0.25), strict=True)))
        answers = [Answer("a.png", "ok", "", [cell]), Answer("b.png", "refused", "no picture")]
        with open(tmp_path / "answers.csv", "w", newline="", encoding="utf-8") as file:
            writer = sheets.Writer(file)
            writer.row(csv_columns(classes))
            for answer in answers:
                writer.rows(csv_rows(answer, classes))
        table = eval(call, {"pandas": pd, "FILE": tmp_path / "answers.csv"})  # our own paper
        assert table.label[0] == classes[0]
        assert pd.isna(table.label[1])
        assert table[f"p_{classes[0]}"].tolist() == [0.75, pytest.approx(float("nan"), nan_ok=True)]
