"""The Classify page: uploading, reopening and correcting slides, and the messages when that fails."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import zipfile
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from bloodcell_core import disk, runs, workspace
from bloodcell_core.data.demo import draw_field, draw_picture
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.data.views import make_view, view_of_square
from bloodcell_core.errors import LabError
from bloodcell_core.inference.answers import Answer, CellAnswer
from bloodcell_core.runs import Run
from bloodcell_core.smear import slides
from bloodcell_core.smear.corrections import Correction, SlideCell
from bloodcell_core.smear.differential import classes_by_hand
from bloodcell_core.smear.slide_answers import SlideAnswers
from bloodcell_core.smear.slide_cells import CountedCell, CountedPicture, counted_pictures, csv_of
from bloodcell_core.smear.slides import Slide, SlidePicture
from bloodcell_core.training import jobs
from bloodcell_core.words import pretty
from tests.conftest import encoded
from tests.training_fixtures import tiny, trained
from ui import (
    address,
    classify,
    classify_answers,
    classify_count,
    classify_detail,
    classify_pictures,
    classify_slide,
    classify_start,
    desk,
    lab,
    labelling,
    once,
    shell,
)

pytest_plugins = ["tests.training_fixtures"]

PAGE = "pages/5_Classify.py"
PATIENCE = 60
LABELS = ["neutrophil", "lymphocyte", "monocyte"]


def draw(**query: str) -> AppTest:
    app = AppTest.from_file("../streamlit_app.py", default_timeout=PATIENCE)
    app.query_params.update(query)
    app.switch_page(PAGE)
    return ran(app)


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception[0].value
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.header, app.error, app.warning, app.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return ran(app)


def field(seed: int = 1) -> bytes:
    return encode(draw_field(np.random.default_rng(seed), LABELS).pixels)


def cell(seed: int = 1) -> bytes:
    return encode(draw_picture("monocyte", np.random.default_rng(seed)))


def only_slide() -> Slide:
    (slide,), damaged = slides.listed()
    assert not damaged
    return slide


def as_eosinophil(drawn: dict) -> Correction:
    return Correction(1, "label", drawn["id"], "eosinophil", tuple(drawn["box"]))


@pytest.fixture
def run(lab) -> Run:
    """A run with the cell view: the only kind that can count the cells of a field."""
    return trained(view="cell", seed=2)


def components(app: AppTest, kind: str) -> list[dict]:
    """What the page gave its components of that name to draw."""
    found = [json.loads(element.proto.json) for element in app.get("bidi_component")
             if element.proto.component_name == kind]  # fmt: skip
    assert found, words(app)
    return found


def test_two_cells_and_a_text_are_handed_in_answered_and_found_again_by_their_address(run):
    app = draw()
    app.file_uploader[0].set_value([("a.png", cell(1), "image/png"), ("b.png", cell(2), "image/png"),
                                 ("c.png", b"no picture", "image/png")])  # fmt: skip
    ran(app)
    slide = only_slide()
    assert app.query_params["slide"] in (slide.id, [slide.id])
    assert [picture.file for picture in slide.pictures] == ["a.png", "b.png", "c.png"]
    (answers,) = (slide.folder / "answers").glob("*.jsonl")
    assert len(answers.read_text().splitlines()) == 3
    again = draw(slide=slide.id)
    assert "cells counted" in words(again)
    assert "Refused (1)" in again.selectbox(key="show").options
    (listed,) = (table.value for table in draw().dataframe)
    assert listed["Answered by"].tolist() == [f"Basic CNN · demo, cell view · {run.name[-4:]}"]


ODD_NAMES = {" .png": "1 picture, .*", "\u202e.png": "1 picture, .*", "a\x1b[31m.png": r"a \[31m", "<b>.png": "<b>"}


@pytest.mark.parametrize(("file", "name"), ODD_NAMES.items())
def test_a_picture_of_any_name_is_taken(file, name, run):
    app = draw()
    app.file_uploader[0].upload(file, cell())
    ran(app)
    assert not app.error
    slide = only_slide()
    assert re.fullmatch(name, slide.name)
    assert slide.pictures[0].file == file


def test_a_zip_is_unpacked_in_memory_and_its_parts_have_rows(run, lab_home):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/a.png", cell())
        archive.writestr("notes.txt", "no picture")
        archive.writestr(".DS_Store", "x")
    app = draw()
    app.file_uploader[0].upload("my cells.zip", packed.getvalue())
    ran(app)
    slide = only_slide()
    assert [picture.file for picture in slide.pictures] == ["my cells.zip/in/a.png", "my cells.zip/notes.txt"]
    assert slide.name == "my cells"
    assert {path.name for path in (lab_home / "slides").iterdir()} == {slide.id}, "the zip itself is not kept"


def test_what_a_system_left_in_a_folder_is_none_of_a_slide_s_pictures(run):
    app = draw()
    app.segmented_control(key="classify_drop_what").set_value("A folder")
    ran(app)
    left = [(f"smear/{name}", b"x", "") for name in (".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/a.png")]
    app.file_uploader[0].set_value([("smear/a.png", cell(), "image/png"), *left])
    ran(app)
    assert [picture.file for picture in only_slide().pictures] == ["smear/a.png"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b"PK\x05\x06" + bytes(18)], ids=["broken", "empty"])
def test_a_zip_that_cannot_be_read_is_told_of_by_its_own_name(run, content):
    app = draw()
    app.file_uploader[0].upload("my cells.zip", content)
    ran(app)
    (row,) = components(app, "lab_cell_rows")[0]["rows"]
    assert row["note"].startswith("my cells.zip is ")


def test_zips_of_one_name_are_each_read(run):
    def zipped(name: str, content: bytes) -> tuple[str, bytes, str]:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(name, content)
        return ("Cells.zip" if name == "a.png" else "cells.zip", packed.getvalue(), "application/zip")

    app = draw()
    app.file_uploader[0].set_value([zipped("a.png", cell(1)), zipped("b.png", cell(2))])
    ran(app)
    slide = only_slide()
    assert [picture.file for picture in slide.pictures] == ["Cells.zip/a.png", "cells.zip/b.png"]
    assert [slide.read(picture) for picture in slide.pictures] == [cell(1), cell(2)]


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04broken"])
def test_a_zip_that_is_none_is_one_refused_row(content, run):
    app = draw()
    app.file_uploader[0].upload("x.zip", content)
    ran(app)
    assert "is not a zip file" in only_slide().pictures[0].reason
    assert "0 cells counted" in words(app)


def test_the_examples_are_said_to_be_synthetic(run):
    app = press(draw(), "Try an example smear field")
    slide = only_slide()
    assert slide.synthetic
    assert "Example smear field" in words(app)
    (drawn,) = components(app, "lab_field")
    assert len(drawn["cells"]) == 7
    press(draw(), "Try two example cells")
    assert len(slides.listed()[0]) == 2


def test_too_many_are_refused_in_words(run, monkeypatch):
    monkeypatch.setattr(slides, "MAX_PICTURES", 1)
    app = draw()
    app.file_uploader[0].set_value([("a.png", cell(1), "image/png"), ("b.png", cell(2), "image/png")])
    ran(app)
    assert "2 pictures are more than the 1 that a slide may hold" in app.error[0].value
    assert slides.listed() == ([], {})


# An opened slide


@pytest.fixture
def slide(run) -> Slide:
    return slides.create("Mine", run.name, [("field.png", field), ("cell.png", cell), ("more.png", lambda: field(2))])


def test_the_list_of_slides_tells_the_corrections_that_were_not_undone(slide):
    slide = slides.correct(slide, [Correction(1, "out"), Correction(3, "out")])
    slide = slides.undo(slides.correct(slide, [Correction(2, "out")]))
    (listed,) = (table.value for table in draw().dataframe)
    assert listed["Corrections"].tolist() == [2]
    assert "3 pictures and 2 corrections" in words(draw(slide=slide.id))


def test_the_slide_is_opened_that_was_picked_and_not_one_that_came_into_its_row_since(slide, monkeypatch):
    drawn, written = {}, {}
    monkeypatch.setattr(shell, "table", lambda table, **how: drawn.update(how))
    draw()
    slides.create("Newer", slide.run, [("cell.png", cell)])
    monkeypatch.setattr(address, "write", lambda **values: written.update(values))
    monkeypatch.setitem(st.session_state, "classify_slides", SimpleNamespace(selection=SimpleNamespace(rows=[0])))
    drawn["on_select"]()
    assert written["slide"] == slide.id


@pytest.mark.parametrize("same", [True, False])
def test_a_slide_keeps_the_threshold_that_was_set_for_its_own_network_alone(slide, same: bool):
    def opened(slide_id: str) -> None:
        from bloodcell_core.smear import slides
        from ui import classify_start

        classify_start._address(slides.read_slide(slide_id))

    app = AppTest.from_function(opened, args=(slide.id,), default_timeout=PATIENCE)
    app.query_params.update(run=slide.run if same else "another", threshold="95")
    ran(app)
    assert (app.query_params["slide"], app.query_params["run"]) == (slide.id, slide.run)
    assert app.query_params.get("threshold") == ("95" if same else None)


def test_a_run_that_was_stopped_answers_only_where_it_is_chosen(run):
    stopped, done, *_ = lab.scored_runs()  # the newest first
    jobs.write_status(stopped.folder, state="stopped", reason="stopped on request")
    assert lab.need_networks()[0].name == done.name
    assert draw().query_params["run"] in (done.name, [done.name])
    assert draw(run=stopped.name).query_params["run"] in (stopped.name, [stopped.name])


@pytest.mark.parametrize(("better", "first"), [("a", 1), ("b", 0), (None, 0)])
def test_a_run_that_was_better_before_it_was_adapted_answers_only_where_it_is_chosen(run, better, first):
    adapted, other, *_ = lab.scored_runs()  # the newest first
    facts = {"adaptation": {"compared": {"better": better}}}  # A: as it was
    disk.write_json(adapted.folder / "summary.json", adapted.summary() | facts)
    assert lab.need_networks()[0].name == (adapted, other)[first].name


def test_fields_and_cells_are_told_apart_and_counted_together(slide):
    app = draw(slide=slide.id)
    assert app.segmented_control(key="view").options == ["Fields (2)", "Cells (1)", "Your own microscope"]
    (drawn,) = components(app, "lab_field")
    assert len(drawn["cells"]) == 3
    assert [one["name"] for one in drawn["classes"]] == classes_by_hand(Run(slide.run).classes)
    (rows,) = components(draw(slide=slide.id, view="cells"), "lab_cell_rows")
    assert [row["file"] for row in rows["rows"]] == ["cell.png"]
    assert sum(bar["share"] for bar in rows["rows"][0]["bars"]) == pytest.approx(1)


def seen_as(run: Run, kind: str, state: str) -> CountedPicture:
    """A picture of that kind, whose only cell the network gave that state; of no state where nothing was found."""
    cells = [CellAnswer((0, 0, 9, 9), state, None, {}, "")] if state != "refused" else []
    answer = Answer("a.png", state, "", cells, kind)
    return CountedPicture(SlidePicture(1, "a.png"), answer, kind, ())


@pytest.mark.parametrize("number", [4, 8, 9, 36])
def test_a_row_of_many_classes_shows_the_likeliest_and_the_others_together(number):
    classes = [f"kind {one}" for one in range(number)]
    shares = dict(zip(classes, np.random.default_rng(0).dirichlet(np.ones(number)).tolist(), strict=True))
    answer = CellAnswer((0, 0, 9, 9), "unsure", None, shares, "")
    cell = CountedCell(SlideCell("1", answer.box), answer)
    counted = CountedPicture(SlidePicture(1, "a.png"), Answer("a.png", "unsure", "", [answer], "cell"), "cell", (cell,))
    bars = classify_pictures.row_of(counted, "", dict.fromkeys(classes, "red"), "a.png")["bars"]
    assert sum(bar["share"] for bar in bars) == pytest.approx(1)
    likeliest = [pretty(name) for name in classes if shares[name] in sorted(shares.values())[-7:]]
    if number > classify_pictures.MOST_BARS:
        assert [bar["title"] for bar in bars] == [*likeliest, f"{number - 7} others"]
    else:
        assert [bar["title"] for bar in bars] == [pretty(name) for name in classes]


@pytest.mark.parametrize(
    ("fields", "cells", "first"),
    [
        (["unlike"], ["ok"], "cells"),
        (["unlike"], ["unsure", "refused"], "cells"),
        (["unlike", "unsure"], ["ok"], "fields"),
        (["ok", "unlike"], ["ok", "unsure"], "cells"),
        (["unlike"], ["unlike", "refused"], "fields"),
        (["unlike"], ["unlike", "unlike"], "cells"),
        (["unlike"], [], "fields"),
        ([], ["refused"], "cells"),
    ],
)
def test_a_slide_opens_where_most_cells_are_that_the_network_knows(fields, cells, first, run):
    parts = {"fields": [seen_as(run, "field", state) for state in fields],
             "cells": [seen_as(run, "cell", state) for state in cells]}  # fmt: skip
    assert classify_slide.first_view(parts) == first


def test_a_correction_changes_the_count_and_the_table_at_once(slide):
    app = draw(slide=slide.id, threshold="0")
    before = words(app)
    (drawn,) = components(app, "lab_field")
    first = drawn["cells"][0]
    slides.correct(slides.read_slide(slide.id), [as_eosinophil(first)])
    app = draw(slide=slide.id, threshold="0")
    assert "1 by hand" in words(app)
    assert "1 by hand" not in before
    (drawn,) = components(app, "lab_field")
    assert (drawn["cells"][0]["state"], drawn["cells"][0]["confirmed"]) == ("confirmed", "eosinophil")


def test_a_threshold_above_all_sets_everything_aside(slide):
    app = draw(slide=slide.id, threshold="100")
    assert "**0 cells counted**" in words(app)
    assert "no white cell was counted" in words(app).lower()


def test_a_picture_is_told_to_be_of_another_kind_and_left_out(slide):
    app = press(draw(slide=slide.id), "It shows one cell")
    assert app.segmented_control(key="view").options == ["Fields (1)", "Cells (2)", "Your own microscope"]
    app = press(app, "Leave it out of the count")
    assert "Left out of the count" in words(app)
    assert {one.do for one in slides.read_slide(slide.id).corrections} == {"cell", "out"}


def test_a_network_that_learned_from_drawn_cells_is_no_judge_of_photographs(slide, run):
    assert "learned from cells that a program drew" in words(draw(slide=slide.id))
    drawn = slides.create("Drawn", run.name, [("cell.png", cell)], synthetic=True)
    assert "say little" not in words(draw(slide=drawn.id))


def test_a_report_tells_drawn_pictures_and_those_that_a_person_left_out(run):
    handed = [("one.png", cell), ("two.png", lambda: cell(2))]
    made = slides.correct(slides.create("Drawn", run.name, handed, synthetic=True), [Correction(2, "out")])
    draw(slide=made.id)
    chosen = classify.Chosen(run, 0.0, average_turns=False)
    pictures = classify_answers.completed(made, chosen)
    count = classify_count.differential(chosen, pictures)
    report = classify_count._report(made, pictures, count, run)
    assert "<h1>Drawn (synthetic)</h1>" in report
    assert re.search(r"two\.png</th><td[^>]*>left out of the count by hand<", report)
    assert report.count("<img") == 1


def test_a_picture_of_one_cell_is_told_to_be_a_field_and_left_out(slide):
    (number,) = (one.number for one in slide.pictures if "cell" in one.file)
    app = draw(slide=slide.id, view="cells", picture=str(number))
    app = press(app, "Leave it out of the count")
    assert app.segmented_control(key="view").options == ["Fields (2)", "Cells (1)", "Your own microscope"]
    app = press(draw(slide=slide.id, view="cells", picture=str(number)), "It is a smear field")
    assert app.segmented_control(key="view").options == ["Fields (3)", "Your own microscope"]
    assert [(one.picture, one.do) for one in slides.read_slide(slide.id).corrections] == [
        (number, "out"), (number, "field"),
    ]  # fmt: skip


@pytest.mark.parametrize(("file", "other"), [("field", "It shows one cell"), ("cell", "It is a smear field")])
def test_a_picture_that_is_counted_again_is_what_a_person_had_said_that_it_is(file, other, slide):
    number = next(one.number for one in slide.pictures if file in one.file)
    told = press(draw(slide=slide.id, view="fields" if "field" in file else "cells", picture=str(number)), other)
    parts, view = told.segmented_control(key="view").options, "cells" if "one" in other else "fields"
    for button in ("Leave it out of the count", "Count it again"):
        app = press(draw(slide=slide.id, view=view, picture=str(number)), button)
        assert app.segmented_control(key="view").options == parts
    assert [one.do for one in slides.read_slide(slide.id).corrections][1:] == ["out", "auto"]


def test_all_named_cells_of_a_field_are_confirmed_and_go_to_a_dataset(slide):
    app = draw(slide=slide.id, threshold="0")
    (button,) = [button for button in app.button if button.label.startswith("Confirm its")]
    button.click()
    ran(app)
    confirmed = slides.read_slide(slide.id).corrections
    assert len(confirmed) == int(button.label.split()[2])
    assert f"{len(confirmed)} by hand" in words(app)


def test_renamed_and_deleted_when_asked_twice(slide):
    app = draw(slide=slide.id)
    next(one for one in app.text_input if one.label == "Name").set_value("<b>Other</b>")
    app = press(app, "Save")  # at once: the click that saves is the one that ends the typing
    assert slides.read_slide(slide.id).name == "<b>Other</b>"
    assert "\\<b>Other\\</b>" in words(draw(slide=slide.id))
    app = draw(slide=slide.id)
    assert next(button for button in app.button if button.label == "Delete the slide").disabled
    app.checkbox[0].check()
    ran(app)
    app = press(app, "Delete the slide")
    assert slides.listed() == ([], {})
    assert "slide" not in app.query_params


def test_another_run_answers_under_the_same_corrections(slide, run):
    other = trained(view="cell", seed=5)
    first = components(draw(slide=slide.id), "lab_field")[0]["cells"][0]
    slides.correct(slides.read_slide(slide.id), [as_eosinophil(first)])
    app = draw(slide=slide.id, run=other.name)
    assert components(app, "lab_field")[0]["cells"][0]["confirmed"] == "eosinophil"
    assert slides.read_slide(slide.id).run == other.name
    assert len(list((slide.folder / "answers").iterdir())) == 2


def test_a_run_that_sees_whole_pictures_answers_each_once(slide):
    (whole,) = [run for run in runs.readable_runs()[0] if run.config.view == "frame" and not run.bundled]
    app = draw(slide=slide.id, run=whole.name)
    (rows,) = components(app, "lab_cell_rows")
    assert len(rows["rows"]) == 3
    assert all(len(row["bars"]) == 4 for row in rows["rows"])


def test_a_damaged_or_deleted_slide_is_told_and_leads_back(slide):
    (slide.folder / "slide.json").write_text("{")
    app = draw(slide=slide.id)
    assert "can't be read" in app.error[0].value
    assert app.file_uploader
    slides.remove(slide.id)
    assert "may have been deleted" in draw(slide=slide.id).error[0].value


def test_a_slide_without_pictures_is_told(slide):
    facts = disk.read_json(slide.folder / "slide.json")
    disk.write_json(slide.folder / "slide.json", facts | {"pictures": [], "corrections": []})
    assert "has no pictures: its slide.json is damaged" in draw(slide=slide.id).error[0].value


def test_a_network_that_is_deleted_in_another_window_while_its_slide_is_open_is_told(slide, monkeypatch):
    """The slide is drawn by itself when a cell is chosen: with the network that the page had found."""
    choose, gone = classify.choose, []

    def deleted_since(*args: object) -> classify.Chosen:
        chosen = choose(*args)
        if not gone:
            gone.append(chosen.run.name)
            runs.remove(chosen.run)
        return chosen

    monkeypatch.setattr(classify, "choose", deleted_since)
    app = draw(slide=slide.id)
    assert app.toast[0].value == f"There is no run {shell.plain(gone[0])}: another network answers."
    assert gone[0] not in str(app.query_params["run"])
    assert not app.error


def test_a_slide_whose_network_was_deleted_is_told_to_be_answered_by_another(slide):
    before = only_slide().run
    assert not draw(slide=slide.id).toast
    runs.remove(Run(before))
    for asked in ({}, {"run": before}):
        (told,) = draw(slide=slide.id, **asked).toast
        assert told.value == f"There is no run {shell.plain(before)}: another network answers."


def test_a_damaged_slide_is_deleted_on_the_page_once_that_is_confirmed(slide):
    (slide.folder / "slide.json").write_text("{")
    app = draw()
    (told,) = app.error
    assert "can't be read" in told.value
    delete = f"classify_delete_{slide.id}"
    assert app.button(key=delete).disabled
    app.checkbox(key=f"classify_sure_{slide.id}").check().run()
    app.button(key=delete).click()
    ran(app)
    assert not app.error
    assert not slide.folder.exists()


def test_pictures_that_have_no_part_in_the_count_are_told_beside_it(run):
    blank = encode(np.full((60, 80, 3), 240, np.uint8))
    made = slides.create("Some", run.name, [("a.png", cell), ("b.txt", lambda: b"-"), ("c.png", lambda: blank)])
    assert "No white cell was found in 1 picture, 1 picture couldn't be taken." in words(draw(slide=made.id))


def test_what_can_t_be_stored_is_tried_once_and_again_where_it_is_dropped_anew(run, monkeypatch):
    tried = []

    def full(*arguments):
        tried.append(arguments)
        raise LabError("the disk is full")

    monkeypatch.setattr(slides, "create", full)
    app = draw()
    app.file_uploader[0].upload("a.png", cell())
    for _ in range(2):
        ran(app)
        assert [error.value for error in app.error] == ["the disk is full"]
    assert len(tried) == 1
    app.file_uploader[0].upload("a.png", cell())
    ran(app)
    assert len(tried) == 2


def test_a_picture_taken_away_by_hand_costs_its_own_place(slide):
    draw(slide=slide.id)
    (slide.folder / "pictures" / slide.pictures[0].stored).unlink()
    st.cache_data.clear()
    app = draw(slide=slide.id)
    assert "can't be read any more" in app.error[0].value
    assert "cells counted" in words(app)


@pytest.mark.parametrize("picture", ["²", "x", "9" * 5000, "-1"])
def test_an_address_of_no_picture_opens_the_first(picture, slide):
    assert "Field 1 of 2" in words(draw(slide=slide.id, picture=picture))


@pytest.mark.parametrize(("name", "stem"), [("Smear 7", "slide-smear-7"), ("血涂片", "slide")])
def test_files_of_a_slide_are_called_after_it(slide, monkeypatch, name, stem):
    slides.rename(slide, name)
    files = []
    monkeypatch.setattr(classify_count.st, "download_button", lambda label, data, file, *_, **how: files.append(file))
    draw(slide=slide.id)
    assert files == [f"{stem}.csv", f"{stem}.html"]


def test_a_class_is_called_in_the_filter_as_everywhere(slide, monkeypatch):
    monkeypatch.setattr(classify_pictures, "classes_by_hand", lambda classes: [*classes, "NRBC"])
    draw(slide=slide.id)
    counted = counted_pictures(slide, SlideAnswers(slide, slide.run), 0.0)[1]
    slides.correct(slide, [Correction(2, "label", counted.cells[0].id, "NRBC", counted.cells[0].box)])
    assert "NRBC (1)" in draw(slide=slide.id, view="cells").selectbox(key="show").options


def test_a_class_of_another_run_can_be_seen_and_taken_back(slide):
    draw(slide=slide.id)
    run = Run(slide.run)
    counted = counted_pictures(slide, SlideAnswers(slide, run.name), 0.0)[1]
    slides.correct(slide, [Correction(2, "label", counted.cells[0].id, "blast", counted.cells[0].box)])
    app = draw(slide=slide.id, view="cells")
    assert "**1 cell counted** :small[:gray[1 by hand]]" in words(app)
    (classes,) = [group for group in app.pills if group.label == "Class by hand"]
    assert classes.value == "blast"
    classes.set_value(None)
    ran(app)
    assert slides.read_slide(slide.id).corrections[-1].do == "unlabel"


def test_a_class_that_is_called_as_a_button_is_that_class(slide, monkeypatch):
    monkeypatch.setattr(classify_pictures, "classes_by_hand", lambda classes: [*classes, "not a cell"])
    app = draw(slide=slide.id, view="cells")
    for picked, done in (("not a cell", ("label", "not a cell")), ("", ("remove", ""))):
        (classes,) = [group for group in app.pills if group.label == "Class by hand"]
        classes.set_value(picked)
        ran(app)
        last = slides.read_slide(slide.id).corrections[-1]
        assert (last.do, last.label) == done


def test_heat_map_and_likeness_are_of_what_the_network_is_shown(slide, monkeypatch):
    seen = []
    network = SimpleNamespace(heat_map=lambda pixels, label: seen.append(pixels) or np.zeros(pixels.shape[:2]))
    monkeypatch.setattr(classify_detail, "explainer", lambda member: network)
    configs = [tiny(view="cell", colours="balanced"), tiny(view="cell", size=48)]
    run = SimpleNamespace(members=[SimpleNamespace(config=config) for config in configs], config=configs[0])
    nearest = SimpleNamespace(like=lambda run, data, views: seen.extend(views) or [])
    monkeypatch.setattr(classify_detail, "finder", lambda: nearest)
    box, counted = (10, 10, 90, 90), SimpleNamespace(picture=slide.pictures[0])
    classify_detail._heat.__wrapped__(run, slide, slide.pictures[0], box, "a")
    classify_detail._alike(slide, counted, SimpleNamespace(box=box), run)
    wanted = [view_of_square(decode_rgb(field()), box, config.size, config.crop) for config in configs]
    for pixels, of_member in zip(seen, wanted * 2, strict=True):
        np.testing.assert_array_equal(pixels, of_member)


def test_few_pictures_are_in_memory_at_full_size_whichever_part_of_the_page_is_drawn(slide, monkeypatch):
    class Counted:
        held = 0

        def __enter__(self):
            self.held += 1

        def __exit__(self, *_):
            self.held -= 1

    def made_smaller(pixels, box):
        assert at_once.held == 1
        return pixels

    at_once, box, picture = Counted(), (10, 10, 90, 90), slide.pictures[0]
    monkeypatch.setattr(classify_slide, "_drawing", at_once)
    for module in (classify_slide, labelling):
        monkeypatch.setattr(module, "cut_square", made_smaller)
    assert labelling._pixels.__wrapped__(slide, picture, (box, box))
    assert classify_slide._small.__wrapped__(slide, picture, box, 9)
    assert classify_slide.cut_out.__wrapped__(slide, picture, box).shape
    assert at_once.held == 0


def test_weights_that_can_not_be_opened_are_told_below_the_cell(slide, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied", "weights")

    told = []
    monkeypatch.setattr(classify_detail, "_heat", refused)
    monkeypatch.setattr(classify_detail, "finder", lambda: SimpleNamespace(like=refused))
    monkeypatch.setattr(classify_detail.st, "caption", told.append)
    config = tiny()
    run = SimpleNamespace(folder="", members=[SimpleNamespace(config=config)], config=config)
    counted = SimpleNamespace(picture=slide.pictures[0])
    cell = SimpleNamespace(box=(10, 10, 90, 90), answer=SimpleNamespace(likeliest="a"))
    pixels = np.zeros((9, 9, 3), np.uint8)
    assert classify_detail._with_heat(slide, counted, cell, run, pixels) is pixels
    classify_detail._alike(slide, counted, cell, run)
    assert len(told) == 2
    for words in told:
        assert "the system refused 'weights': Permission denied" in words
        assert "Errno" not in words


@pytest.mark.parametrize("views", [["cell", "frame"], ["frame", "cell"]])
def test_heat_maps_of_an_ensemble_s_views_lie_over_the_same_part_of_the_picture(slide, monkeypatch, views):
    """Both members go by the darkest spot, and the maps are of the class that the ensemble answered."""
    asked = []

    def heat_map(pixels, label):
        asked.append(label)
        return (pixels.sum(2) == pixels.sum(2).min()).astype(np.float32)

    monkeypatch.setattr(classify_detail, "explainer", lambda member: SimpleNamespace(heat_map=heat_map))
    pixels = np.full((240, 320, 3), 230, np.uint8)
    pixels[100:124, 200:224] = (90, 20, 130)  # a nucleus …
    pixels[100:108, 200:208] = 0  # … and its darkest corner
    monkeypatch.setattr(classify_slide, "at_full_size", lambda slide, picture: nullcontext(pixels))
    configs = {"cell": tiny(view="cell", size=96), "frame": tiny(view="frame", size=96)}
    run = SimpleNamespace(members=[SimpleNamespace(config=configs[view]) for view in views])
    box = make_view(pixels, views[0], 96, configs[views[0]].crop).box
    heat = classify_detail._heat.__wrapped__(run, slide, slide.pictures[0], box, "monocyte")
    down, across = np.unravel_index(heat.argmax(), heat.shape)
    x, y = (start + (place + 0.5) * (end - start) / 96 for start, end, place in
            ((box[0], box[2], across), (box[1], box[3], down)))  # fmt: skip
    assert 199 <= x <= 209
    assert 99 <= y <= 109
    assert heat.max() > 0.6, "one lies over the other"
    assert asked == ["monocyte", "monocyte"]


def test_a_heat_map_is_moved_to_another_part_of_the_picture():
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 1
    np.testing.assert_array_equal(classify_detail.moved(heat, (0, 0, 40, 40), (0, 0, 40, 40), 4), heat)
    there = classify_detail.moved(heat, (0, 0, 40, 40), (20, 10, 40, 30), 2)
    np.testing.assert_array_equal(there, [[1, 0], [0, 0]])
    assert classify_detail.moved(heat, (0, 0, 40, 40), (50, 50, 60, 60), 4).max() == 0


def test_progress_goes_on_where_another_session_has_come(run, monkeypatch):
    """Who loads the page anew while many pictures are answered sees how many of all are."""
    slide = slides.create("Many", run.name, [(f"{place}.png", partial(cell, place)) for place in range(20)])
    draw(slide=slide.id)
    (file,) = (slide.folder / "answers").glob("*.jsonl")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:8]))
    told = []
    bar = SimpleNamespace(progress=lambda share, text: told.append((share, text)))
    monkeypatch.setattr(classify_answers.st, "progress", lambda share, text: told.append((share, text)) or bar)
    app = draw(slide=slide.id, threshold="0")
    assert told[0] == (8 / 20, "8 of 20 pictures classified")
    assert told[-1] == (1.0, "20 of 20 pictures classified")
    assert "20 cells counted" in words(app)


def test_what_the_page_began_with_is_out_of_sight_while_a_slide_is_open(slide):
    def shown(app: AppTest) -> list[str]:
        styles = "".join(element.proto.body for element in app.get("html"))
        return re.findall(r"\.st-key-classify_start \{ display: (\w+)", styles)

    assert shown(draw()) == ["flex"]
    assert shown(draw(slide=slide.id)) == ["none"]


def test_answers_that_cannot_be_kept_are_told_with_a_way_back(slide, monkeypatch):
    def refused(*_: object) -> None:
        raise LabError("the answers can't be kept: No space left on device")

    monkeypatch.setattr(classify_answers, "answer_missing", refused)
    app = draw(slide=slide.id)
    assert "can't be kept" in app.error[0].value
    assert "All slides" in [link.proto.label for link in app.get("page_link")]


def test_the_dialog_of_a_dataset_stays_open_where_the_page_is_drawn_anew_behind_it(slide):
    (drawn,) = components(draw(slide=slide.id), "lab_field")
    slides.correct(slides.read_slide(slide.id), [as_eosinophil(drawn["cells"][0])])
    app = press(draw(slide=slide.id), "To a dataset")
    assert "**1 confirmed cell**: Eosinophil 1" in words(app)
    app.text_input[-1].set_value("half-typed")
    ran(app)
    app = ran(app)  # as an adapting does that has ended
    assert "Create the dataset" in [button.label for button in app.button]
    assert "half-typed" in [field.value for field in app.text_input]
    assert "Create the dataset" not in [button.label for button in draw(slide=slide.id).button]


def test_cells_do_not_go_to_another_dataset_than_was_chosen_where_that_is_deleted_meanwhile(slide):
    (drawn,) = components(draw(slide=slide.id), "lab_field")
    slides.correct(slides.read_slide(slide.id), [as_eosinophil(drawn["cells"][0])])
    app = press(draw(slide=slide.id), "To a dataset")
    before = lab.dataset_names()
    app.selectbox(key="classify_base").select("demo")
    ran(app)
    shutil.move(workspace.dataset_dir("demo"), workspace.home() / "gone")
    app = press(app, "Create the dataset")
    assert "The dataset demo was deleted in another window" in words(app)
    assert lab.dataset_names() == [name for name in before if name != "demo"]


def test_cells_that_are_the_very_same_picture_are_told_where_one_is_left_out(run, monkeypatch):
    again = encoded(decode_rgb(field()), "PNG", compress_level=1)  # the same pixels in another file
    slide = slides.create("twice", run.name, [("a.png", field), ("b.png", lambda: again)])
    (drawn,) = components(draw(slide=slide.id), "lab_field")
    one, other = drawn["cells"][:2]
    said = [(1, one, "eosinophil"), (2, one, "eosinophil"), (1, other, "monocyte")]
    slides.correct(
        slides.read_slide(slide.id),
        [Correction(number, "label", cell["id"], label, tuple(cell["box"])) for number, cell, label in said],
    )
    app = press(press(draw(slide=slide.id), "To a dataset"), "Create the dataset")
    assert "holds 2 pictures. Left out, because it is the same picture as another: 1." in app.success[0].value
    monkeypatch.setattr(once, "DOUBLE_CLICK", 1e6)
    app = press(app, "Create the dataset")
    assert "holds 2 pictures" in app.success[0].value, "of a double click the second says what the first does"


def test_a_slide_that_the_system_refuses_to_read_is_told_in_words(slide, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system", "answers.jsonl")

    monkeypatch.setattr(classify_answers, "answer_missing", refused)
    told = draw(slide=slide.id).error[0].value
    assert "the system refused 'answers.jsonl': Read-only file system: name a place" in told
    assert "Errno" not in told


def test_an_example_that_cannot_be_kept_is_told_below_the_examples(run, monkeypatch):
    def refused(*_: object) -> None:
        raise LabError("the slide can't be kept: No space left on device. Nothing was changed")

    monkeypatch.setattr(slides, "create", refused)
    drawn = [*press(draw(), "Try two example cells").main]
    place = next(place for place, element in enumerate(drawn) if element.type == "error")
    assert "No space left" in drawn[place].value
    assert not [element for element in drawn[place:] if element.type == "button"]


def test_a_disk_that_is_full_is_told(slide, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "replace", full)
    app = press(draw(slide=slide.id), "Leave it out of the count")
    assert "No space left on device" in app.warning[0].value


def test_hostile_names_stand_as_text(run):
    name = "<script>alert(1)</script> $x$ :red[y] [a](b).png"
    slide = slides.create(name[:70], run.name, [(name, field)])
    app = draw(slide=slide.id)
    for text in [element.value for kind in (app.markdown, app.header, app.caption) for element in kind]:
        assert "<script" not in text.replace("\\<", "")
        assert ":red[" not in text.replace("\\:", "").replace("\\[", "")


def test_many_results_are_paged(run):
    slide = slides.create("Many", run.name, [(f"{n}.png", lambda n=n: encode(plain(n))) for n in range(60)])
    (rows,) = components(draw(slide=slide.id), "lab_cell_rows")
    assert len(rows["rows"]) == 25
    (rows,) = components(draw(slide=slide.id, page="3"), "lab_cell_rows")
    assert [row["file"] for row in rows["rows"]] == [f"{n}.png" for n in range(50, 60)]


def plain(grey: int) -> np.ndarray:
    return np.full((32, 32, 3), 4 * grey, np.uint8)


def test_the_table_that_is_taken_away_holds_every_cell(slide):
    draw(slide=slide.id)
    run = Run(slide.run)
    pictures = counted_pictures(slide, SlideAnswers(slide, run.name), 0.5)
    rows = list(csv.DictReader(io.StringIO(csv_of(slide, pictures, run.classes, run.name))))
    assert len(rows) == sum(len(one.cells) for one in pictures) == 7


def test_what_comes_from_a_part_of_the_page_that_is_drawn_no_more_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    """As when a slide or run is deleted in another window while somebody presses keys here."""
    heard, done = [], []

    def component(on_acts_change=None, on_outbox_change=None, **_):
        heard.append(on_acts_change or on_outbox_change)
        return SimpleNamespace(outbox=None)

    monkeypatch.setattr(desk, "_DESK", component)
    try:
        classify_pictures.mounted(component, "gone", {}, done.append)
        desk.desk("gone", done.append, [], classes=[], total=0, decided=0, undoable=[], last="", heat=False,
                  waiting=False, data_hash="")  # fmt: skip
        for callback in heard:
            callback()
    finally:
        for key in ("gone-heard", "gone_done"):
            del st.session_state[key]
    assert len(heard) == 2
    assert done == []


def test_an_act_that_is_told_to_another_session_again_is_done_once(monkeypatch: pytest.MonkeyPatch):
    """As after a lost connection, when the answer to the first telling was lost with it."""
    told = {"nonce": "told-again", "acts": [{"seq": 1, "do": "add"}, {"seq": 2, "do": "undo"}]}
    done, drawn = [], []

    def component(key, data, on_acts_change):
        drawn.append(data["acked"])
        monkeypatch.setitem(st.session_state, key, {"acts": told})
        on_acts_change()

    try:
        for session in ("one", "other"):
            classify_pictures.mounted(component, session, {}, done.append)
            told["acts"].append({"seq": 3, "do": "label"})
        classify_pictures.mounted(component, "other", {}, done.append)
    finally:
        for session in ("one", "other"):
            del st.session_state[f"{session}-heard"]
    assert [act["do"] for act in done] == ["add", "undo", "label"]
    assert drawn == [{}, {}, {"nonce": "told-again", "seq": 3}]


def act_on(slide: Slide, drawn_by: str, act: dict, monkeypatch: pytest.MonkeyPatch, **query: str) -> list[Correction]:
    """The slide's corrections after an act on what that function of `classify_pictures` has drawn last."""
    drawn = []
    monkeypatch.setattr(classify_pictures, drawn_by, lambda *_, apply, **how: drawn.append(apply))
    draw(slide=slide.id, **query)
    st.session_state[classify_slide.SEEN] = slides.read_slide(slide.id)
    try:
        drawn[-1](act)
    finally:
        del st.session_state[classify_slide.SEEN]
    return list(slides.read_slide(slide.id).corrections)


def test_an_act_is_of_the_field_on_which_it_was_done_though_another_is_shown_since(slide, monkeypatch):
    draw(slide=slide.id)
    before = counted_pictures(slide, SlideAnswers(slide, slide.run), 0.0)
    cell = before[0].cells[0]
    act = {"do": "label", "cell": cell.id, "label": "eosinophil", "box": list(cell.box), "picture": 1}
    (made,) = act_on(slide, "field_editor", act, monkeypatch, picture="3")
    assert (made.picture, made.label) == (1, "eosinophil")
    now = slides.read_slide(slide.id)
    after = counted_pictures(now, SlideAnswers(now, slide.run), 0.0)
    assert [len(one.cells) for one in after] == [len(one.cells) for one in before]
    assert len(act_on(slide, "field_editor", act | {"picture": 99}, monkeypatch, picture="3")) == 1


def test_a_second_key_on_a_row_that_the_first_took_out_of_the_list_is_heard(run, monkeypatch):
    slide = slides.create("Two", run.name, [("one.png", cell), ("two.png", lambda: cell(2))])
    draw(slide=slide.id)
    pictures = counted_pictures(slide, SlideAnswers(slide, slide.run), 0.0)
    ids = [one.cells[0].id for one in pictures]
    slide = slides.correct(slide, [
        Correction(number, "label", ids[number - 1], to, pictures[number - 1].cells[0].box)
        for number, to in ((1, run.classes[0]), (2, run.classes[1]))
    ])  # fmt: skip
    act = {"do": "label", "cell": "2", "label": run.classes[2], "box": list(pictures[1].cells[0].box)}
    *_, last = act_on(slide, "cell_rows", act, monkeypatch, view="cells", show="c0")
    assert (last.picture, last.cell, last.label) == (2, ids[1], run.classes[2])


def test_a_double_click_is_one_change_and_one_undoing_takes_it_back(run: Run):
    handed = [("one.png", lambda: cell())]
    slide = slides.create("One", run.name, handed)
    out = [Correction(1, "out")]
    st.session_state[classify_slide.SEEN] = slide
    try:
        for _ in range(2):
            classify_slide.change_all(out)
        assert [one.do for one in slides.read_slide(slide.id).corrections] == ["out"]
        st.session_state[classify_slide.SEEN] = slides.undo(st.session_state[classify_slide.SEEN])
        classify_slide.change_all(out)  # said again after it was taken back
        assert [one.do for one in slides.read_slide(slide.id).corrections] == ["out", "undo", "out"]
    finally:
        del st.session_state[classify_slide.SEEN]


def test_an_undoing_on_a_picture_that_is_not_seen_is_told(run: Run):
    slide = slides.create("Two", run.name, [("one.png", cell), ("two.png", lambda: cell(2))])
    for number in (1, 2, 1):
        slide = slides.correct(slide, [Correction(number, "out")])
    st.session_state[classify_slide.SEEN] = slide
    try:
        told = []
        for seen in (1, 1, 0):
            classify_slide.change({"do": "undo"}, seen, run.classes)
            told.append(st.session_state.get(classify_slide.TOLD))
        assert told == [None, (slide.id, "What was undone is on another picture: two.png"), None]
    finally:
        del st.session_state[classify_slide.SEEN]


def test_a_double_click_that_comes_while_a_slide_is_stored_makes_one_and_opens_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    """It ends the first click's run at its next call of Streamlit."""
    whole = classify_start.open_slide

    def ended(slide: Slide) -> None:
        monkeypatch.setattr(classify_start, "open_slide", whole)
        st.stop()

    monkeypatch.setattr(classify_start, "open_slide", ended)
    app = press(draw(), "Try two example cells")
    assert "slide" not in app.query_params
    app = press(app, "Try two example cells")
    assert app.query_params["slide"] in (only_slide().id, [only_slide().id])
    # Nor is it opened again when one goes back.
    app = press(app, "All slides")
    assert "slide" not in app.query_params
