"""Whole smear fields, zips and folders, and several networks as one: what is found, counted and told."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bloodcell_core.cells import Box, Cell, Found, search
from bloodcell_core.cli import main
from bloodcell_core.crops import Crop, cell_square, square_of_other
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.errors import LabError
from bloodcell_core.inference import fields, predictor
from bloodcell_core.inference.answers import CELL, FIELD, csv_columns, csv_rows
from bloodcell_core.inference.fields import cut_by_border, kind_of, square_around
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.runs import Run
from bloodcell_core.training.ensembles import create_ensemble
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]
LABELS = ["lymphocyte", "neutrophil", "monocyte"]


def field(seed: int = 4) -> bytes:
    return encode(demo.draw_field(np.random.default_rng(seed), LABELS, (640, 480)).pixels)


@pytest.fixture
def cell_run(lab: Path) -> Run:
    return train_here(view="cell", epochs=1)


@pytest.fixture
def cells(cell_run: Run) -> Predictor:
    return Predictor(cell_run, "cpu", threshold=0)


# Told apart


def found(*boxes: tuple[int, int, int, int], radius: float | None = 20.0) -> Found:
    empty = np.ones((1, 1), bool)
    return Found([Cell(box, float((box[2] - box[0]) * (box[3] - box[1])), empty) for box in boxes], radius)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (found(), CELL),
        (found((40, 40, 110, 110)), CELL),  # one large nucleus takes the picture
        (found((40, 40, 70, 70)), CELL),  # one with its red cells around it, as the public archive's pictures are
        (found((40, 40, 64, 64)), FIELD),  # one small one leaves room for many
        (found((20, 20, 70, 70), (90, 90, 135, 135)), FIELD),
        (found((40, 40, 110, 110), (0, 0, 30, 30)), CELL),  # a neighbour that the border cuts
        (found((40, 40, 100, 90), (60, 100, 100, 140), radius=None), CELL),  # lobes: nothing tells how far is far
        (found((10, 10, 60, 60), (105, 105, 150, 150), radius=None), CELL),
        (found((5, 5, 50, 50), (120, 110, 155, 150), radius=None), FIELD),
    ],
)
def test_fields_are_told_from_pictures_of_one_cell_by_what_is_found(seen: Found, kind: str):
    assert kind_of(seen, 160, 160) == kind


def test_drawn_fields_are_fields_and_cut_out_cells_are_not():
    drawn = demo.draw_field(np.random.default_rng(4), LABELS, (640, 480))
    assert kind_of(search(drawn.pixels), 640, 480) == FIELD
    for _, (x0, y0, x1, y1) in drawn.cells:
        cut = np.ascontiguousarray(drawn.pixels[max(0, y0) : y1, max(0, x0) : x1])
        assert kind_of(search(cut), cut.shape[1], cut.shape[0]) == CELL


def test_pictures_of_one_cell_among_red_cells_are_no_fields():
    drawn = list(demo.draw_pictures(4, seed=11))
    assert [kind_of(search(one.pixels), *demo.PICTURE_SIZE) for one in drawn] == [CELL] * 16


def test_a_nucleus_at_the_border_is_cut():
    assert cut_by_border((0, 10, 20, 30), 100, 100)
    assert cut_by_border((50, 50, 99, 70), 100, 100)
    assert not cut_by_border((5, 5, 90, 90), 100, 100)


def test_a_box_that_somebody_drew_gets_the_square_around_it():
    assert square_around((0, 0, 10, 30)) == (-10, 0, 20, 30)


# Answered


def test_each_cell_of_a_field_is_answered_largest_first(cells: Predictor):
    (answer,) = cells.classify([("field.png", field)])
    assert (answer.kind, answer.width, answer.height) == (FIELD, 640, 480)
    nuclei = [cell.box for cell in search(decode_rgb(field())).cells]
    assert [cell.nucleus for cell in answer.cells] == nuclei
    assert len(nuclei) == len(LABELS)
    assert answer.state == answer.cells[0].state
    for cell, nucleus in zip(answer.cells, nuclei, strict=True):
        assert cell.box[0] <= nucleus[0] < nucleus[2] <= cell.box[2]
        assert sum(cell.probabilities.values()) == pytest.approx(1)
    (alone,) = cells.classify([("field.png", field)], CELL)
    assert len(alone.cells) == len(alone.counted) == 1
    assert alone.cells[0].probabilities == pytest.approx(answer.cells[0].probabilities, abs=1e-6)


def test_a_box_by_hand_gets_the_answer_of_the_found_one(cells: Predictor):
    (answer,) = cells.classify([("field.png", field)])
    told = cells.classify_squares(decode_rgb(field()), [cell.box for cell in answer.cells])
    for mine, theirs in zip(told, answer.cells, strict=True):
        assert mine.box == theirs.box
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    assert cells.classify_squares(decode_rgb(field()), []) == []


@pytest.mark.parametrize("other", [Crop(3.0), Crop(1.2), Crop(2.0, 1.0), Crop(1.5, 2.0)])
def test_the_square_of_another_crop_is_the_one_around_the_same_nucleus(other: Crop):
    nucleus = (40, 50, 74, 80)  # its longer side is the usual 3.4 radii of a red cell
    for crop, wanted in ((Crop(), other), (other, Crop())):
        square = square_of_other(cell_square(nucleus, 10, crop), crop, wanted)
        assert np.abs(np.subtract(square, cell_square(nucleus, 10, wanted))).max() <= 1
    assert square_of_other((0, 0, 9, 9), other, other) == (0, 0, 9, 9)


def test_each_member_of_an_ensemble_is_shown_a_box_by_hand_as_it_was_trained(
    cell_run: Run, monkeypatch: pytest.MonkeyPatch
):
    both = Predictor(create_ensemble([cell_run, train_here(view="cell", crop_scale=3.0, epochs=1)]), "cpu", threshold=0)
    sides: list[int] = []
    cut = predictor.view_of_square

    def heard(picture: np.ndarray, square: Box, *more: Any) -> np.ndarray:
        sides.append(square[2] - square[0])
        return cut(picture, square, *more)

    monkeypatch.setattr(predictor, "view_of_square", heard)
    (told,) = both.classify_squares(decode_rgb(field()), [(100, 100, 140, 140)])
    assert sides == [40, 60]
    assert told.box == (100, 100, 140, 140)


def test_a_run_that_sees_whole_pictures_can_t_answer_for_a_field(done: Run):
    frame = Predictor(done, "cpu", threshold=0)
    with pytest.raises(LabError, match="looks at whole pictures"):
        frame.classify([("field.png", field)], FIELD)
    with pytest.raises(LabError, match="looks at whole pictures"):
        frame.classify_squares(decode_rgb(field()), [(0, 0, 9, 9)])
    (answer,) = frame.classify([("field.png", field)])
    assert len(answer.cells) == 1
    assert "3 white cells were found" in answer.reason


def test_no_more_cells_than_can_be_looked_at(cells: Predictor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fields, "MOST_CELLS", 2)
    (answer,) = cells.classify([("field.png", field)])
    assert len(answer.cells) == 2
    assert answer.reason == "the 2 largest of 3 cells found are answered"


def test_an_answer_below_the_threshold_is_unsure_and_names_nothing(cell_run: Run, cells: Predictor):
    (sure,) = cells.classify([("field.png", field)])
    surest = max(max(cell.probabilities.values()) for cell in sure.cells if cell.state == "ok")
    (answer,) = Predictor(cell_run, "cpu", threshold=min(1.0, surest + 1e-6)).classify([("field.png", field)])
    for cell, before in zip(answer.cells, sure.cells, strict=True):
        assert cell.state == ("unsure" if before.state == "ok" else "unlike")
        assert cell.label is None
        assert cell.likeliest == max(cell.probabilities, key=cell.probabilities.__getitem__)
    with pytest.raises(LabError, match="between 0 and 1"):
        Predictor(cell_run, "cpu", threshold=1.5)


def test_turned_and_mirrored_pictures_have_one_answer_when_turns_are_averaged(cell_run: Run):
    turns = Predictor(cell_run, "cpu", threshold=0, average_turns=True)
    view = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    views = [np.rot90(side, quarters) for side in (view, view[:, ::-1]) for quarters in range(4)]
    answers = [turns.classify_squares(np.ascontiguousarray(turned), [(0, 0, 32, 32)])[0] for turned in views]
    for answer in answers[1:]:
        assert answer.probabilities == pytest.approx(answers[0].probabilities, abs=1e-5)
    once = Predictor(cell_run, "cpu", threshold=0).classify_squares(view, [(0, 0, 32, 32)])[0]
    assert once.probabilities != pytest.approx(answers[0].probabilities, abs=1e-4)


def test_several_networks_answer_as_one(done: Run, cell_run: Run):
    """Of two sizes: what they say is averaged, at the ensemble's temperature. One of whole pictures answers for one."""
    larger = train_here(view="cell", size=48, epochs=1)
    ensemble = create_ensemble([cell_run, larger])
    (answer,) = Predictor(ensemble, "cpu", threshold=0).classify([("field.png", field)])
    members = [next(Predictor(run, "cpu", threshold=0).classify([("f", field)])) for run in (cell_run, larger)]
    for place, cell in enumerate(answer.cells):
        own = [member.cells[place] for member in members]
        mean = np.mean([list(one.probabilities.values()) for one in own], axis=0)
        tempered = mean ** (1 / ensemble.temperature)
        assert list(cell.probabilities.values()) == pytest.approx(tempered / tempered.sum(), abs=1e-6)
        assert cell.distance == pytest.approx(np.mean([one.distance for one in own]), rel=1e-4)
    mixed = Predictor(create_ensemble([cell_run, done], "mixed"), "cpu", threshold=0)
    assert not mixed.fields_possible
    (whole,) = mixed.classify([("field.png", field)])
    assert len(whole.cells) == 1


# Handed in


def zipped(file: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return file


def test_every_file_of_a_zip_has_a_row(cells: Predictor, tmp_path: Path):
    inner = zipped(tmp_path / "inner.zip", {"a.png": field()}).read_bytes()
    archive = zipped(
        tmp_path / "slide.ZIP", {"b/2.png": field(), "1.png": field(5), "notes.txt": b"notes", "inner.zip": inner}
    )
    answers = {answer.path: answer for answer in cells.classify(files_of([archive]))}
    assert list(answers) == [f"{archive}/{name}" for name in ("1.png", "b/2.png", "inner.zip", "notes.txt")]
    states = [answer.state for answer in answers.values()]
    assert states[2:] == ["refused", "refused"]
    assert all(answer.cells for answer in list(answers.values())[:2])


@pytest.mark.parametrize(
    ("names", "why"), [({"../out.png": b"x"}, "leaves the archive"), ({}, "empty zip"), (None, "not a zip file")]
)
def test_a_zip_that_can_t_be_used_is_one_refused_file(
    names: dict[str, bytes] | None, why: str, cells: Predictor, tmp_path: Path
):
    file = tmp_path / "handed in" / "odd.zip"
    file.parent.mkdir()
    if names is None:
        file.write_bytes(b"PK nothing")
    else:
        zipped(file, names)
    (answer,) = cells.classify(files_of([file.parent]))
    assert (answer.path, answer.state) == (str(file), "refused")
    assert why in answer.reason


def test_names_of_any_bytes_are_told_in_one_line(cell_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "handed in"
    folder.mkdir()
    for name in (b"\xff\xfe.png", b"two\nlines\x1b[2J.png"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(b"")
    assert main(["predict", cell_run.name, str(folder), "--csv", str(tmp_path / "told.csv")]) == 2  # both are empty
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and "refused" in line for line in lines)
    with open(tmp_path / "told.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2


# Told


def test_a_field_has_a_row_a_cell_in_the_table(cells: Predictor):
    classes = cells.run.classes
    answer, refused = cells.classify([("field.png", field), ("none.png", lambda: b"")])
    rows = [dict(zip(csv_columns(classes), row, strict=True)) for row in csv_rows(answer, classes)]
    assert [row["cell"] for row in rows] == [1, 2, 3]
    for row, cell in zip(rows, answer.cells, strict=True):
        assert (row["path"], row["kind"], row["state"]) == ("field.png", FIELD, cell.state)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == cell.box
        assert row["label"] == (cell.label or "")
    (row,) = csv_rows(refused, classes)
    assert len(row) == len(csv_columns(classes))
    assert row[1] == "refused"


def test_the_command_line_counts_the_fields_of_a_slide(
    cell_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    slide = zipped(tmp_path / "slide.zip", {f"{seed}.png": field(seed) for seed in range(4, 7)})
    table = tmp_path / "cells.csv"
    code = main(["predict", cell_run.name, str(slide), "--fields", "--threshold", "0", "--csv", str(table), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [picture["kind"] for picture in told["pictures"]] == [FIELD] * 3
    cells = [cell for picture in told["pictures"] for cell in picture["cells"]]
    count = told["differential"]
    assert count["cells"] + count["set_aside"]["unsure"] + count["set_aside"]["unlike"] == len(cells)
    assert sum(told["states"].values()) == 3
    assert count["few"]
    assert len(list(csv.DictReader(io.StringIO(table.read_text())))) == len(cells)
    assert main(["predict", cell_run.name, str(slide), "--threshold", "0"]) == 0
    words = capsys.readouterr().out
    assert "differential count: " in words
    assert main(["predict", cell_run.name, str(slide), "--cells", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differential"] is None


def test_the_command_line_counts_the_very_same_picture_once(
    cell_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = {"a.png": field(4), "folder/a.png": field(4), "b.png": field(5), "notes.txt": b"-", "more.txt": b"-"}
    twice = zipped(tmp_path / "twice.zip", names)
    once = zipped(tmp_path / "once.zip", {name: names[name] for name in ("a.png", "b.png", "notes.txt", "more.txt")})
    report, table = tmp_path / "report.html", tmp_path / "cells.csv"
    asked = ["predict", cell_run.name, "--fields", "--threshold", "0"]
    told = {}
    for slide in (once, twice):
        written = ["--json", "--report", str(report), "--csv", str(table)]
        assert main([*asked, str(slide), *written]) == 2  # for the texts
        told[slide] = json.loads(capsys.readouterr().out)
    count = told[twice]["differential"]
    assert count == told[once]["differential"], "in which nothing is refused for it, either"
    assert (told[twice]["repeated"], told[once]["repeated"]) == (1, 0)
    assert told[twice]["states"]["refused"] == 2, "each file has its own answer"
    words = f"the very same picture as {twice}/a.png: it is counted once"
    assert words in report.read_text()
    assert [each["path"] for each in told[twice]["pictures"] if words in each["reason"]] == [f"{twice}/folder/a.png"]
    cells = pd.read_csv(table).query("state == 'ok'")
    first = cells.drop_duplicates("path")
    assert first.path[first.reason.fillna("").str.contains(words, regex=False)].tolist() == [f"{twice}/folder/a.png"]
    assert len(cells[~cells.path.str.endswith("folder/a.png")]) == count["cells"], "what the table counts beside it"
    assert main([*asked, str(twice)]) == 2
    assert "given more than once, and counted once: 1 picture beyond the first" in capsys.readouterr().out


def test_a_frame_run_refuses_fields_in_one_line(done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "field.png"
    picture.write_bytes(field())
    assert main(["predict", done.name, str(picture), "--fields"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "looks at whole pictures" in said.err
