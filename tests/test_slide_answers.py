"""A slide's answers: computed once, cached, with corrections applied; the count, table and dataset made of them."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bloodcell_core import workspace
from bloodcell_core.data.combining import combine, part_names
from bloodcell_core.data.cut_cells import widened
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.demo import draw_field, draw_picture
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.errors import LabError
from bloodcell_core.inference.answers import CELL, FIELD, Answer, CellAnswer
from bloodcell_core.inference.handed_in import Handed
from bloodcell_core.runs import Run
from bloodcell_core.smear import slide_answers, slides
from bloodcell_core.smear.corrections import Correction, cell_id
from bloodcell_core.smear.slide_answers import SlideAnswers, answer_missing, kept_as, unanswered, unanswered_squares
from bloodcell_core.smear.slide_cells import (
    CountedPicture,
    confirm_all,
    counted_pictures,
    counts_of,
    csv_of,
    final_answer,
)  # fmt: skip
from bloodcell_core.smear.slide_dataset import AROUND, send_to_dataset
from bloodcell_core.smear.slides import Slide
from tests.conftest import encoded, random_picture, write_files
from tests.training_fixtures import drawn

CLASSES = ["eosinophil", "lymphocyte", "monocyte", "neutrophil"]
RUN = "some-run"
SQUARES = [(10, 10, 60, 60), (100, 20, 160, 80), (200, 100, 260, 160)]


def cell(square: Sequence[int], cls: str, share: float, state: str = "ok") -> CellAnswer:
    others = (1 - share) / 3
    x0, y0, x1, y1 = square
    nucleus = (x0 + 15, y0 + 15, x1 - 15, y1 - 15)
    label = cls if state == "ok" else None
    return CellAnswer(tuple(square), state, label, dict.fromkeys(CLASSES, others) | {cls: share}, "", nucleus)


class Stand:
    """Stands for a network: fields have three cells, pictures called "cell" have one; it counts what it is asked."""

    def __init__(self, fields_possible: bool = True):
        self.fields_possible = fields_possible
        self.asked: list[tuple[str, str | None]] = []
        self.squares: list[tuple[int, ...]] = []

    def classify(self, pictures: Iterable[Handed], kind: str | None = None) -> Iterator[Answer]:
        for path, read in pictures:
            self.asked.append((path, kind))
            try:
                height, width = decode_rgb(read()).shape[:2]
            except LabError as error:
                yield Answer(path, "refused", str(error))
                continue
            told = kind or (CELL if "cell" in path else FIELD)
            cells = [
                cell(SQUARES[0], "neutrophil", 0.9),
                cell(SQUARES[1], "lymphocyte", 0.6),
                cell(SQUARES[2], "monocyte", 0.8, "unlike"),
            ]
            yield Answer(path, "ok", "", cells if told == FIELD else cells[:1], told, width, height)

    def classify_squares(self, picture: Any, boxes: Sequence[tuple[int, ...]]) -> list[CellAnswer]:
        self.squares += boxes
        return [replace(cell(box, "eosinophil", 0.95), nucleus=None) for box in boxes]


@pytest.fixture
def slide(lab_home) -> Slide:
    rng = np.random.default_rng(3)
    handed = [
        ("field.png", lambda: encode(draw_field(rng, ["neutrophil"], (320, 240)).pixels)),
        ("cell.png", lambda: encode(draw_picture("monocyte", rng))),
        ("text.png", lambda: b"no picture"),
    ]
    return slides.create("S", RUN, handed)


def counted(slide: Slide, threshold: float = 0.7, network: Stand | None = None) -> list[CountedPicture]:
    answers = SlideAnswers(slide, RUN)
    answer_missing(slide, answers, network or Stand())
    return counted_pictures(slide, answers, threshold)


def ids(picture: CountedPicture) -> list[str]:
    return [one.id for one in picture.cells]


def as_monocyte(second: str) -> Correction:
    return Correction(1, "label", second, "monocyte", SQUARES[1])


def test_the_network_is_asked_once_and_again_only_for_what_is_new(slide):
    network = Stand()
    counted(slide, network=network)
    assert len(network.asked) == 3
    counted(slide, network=network)
    assert len(network.asked) == 3
    slide = slides.add_pictures(slide, [("more.png", lambda: encode(np.full((99, 99, 3), 9, np.uint8)))])
    assert [one.file for one in unanswered(slide, SlideAnswers(slide, RUN))] == ["more.png"]
    counted(slide, network=network)
    assert len(network.asked) == 4
    counted(slides.correct(slide, [Correction(1, "cell")]), network=network)
    assert network.asked[4:] == [("field.png", "cell")]


def test_two_windows_on_one_slide_ask_once(slide, monkeypatch):
    """The second waits, tells how far the first is, and takes its answers."""
    monkeypatch.setattr(slide_answers, "LOOK_AGAIN", 0.01)
    begun, go_on, told = threading.Event(), threading.Event(), []

    class Slow(Stand):
        def classify(self, pictures, kind=None):
            for answer in super().classify(pictures, kind):
                begun.set()
                assert go_on.wait(30)
                yield answer

    network = Slow()
    first = threading.Thread(target=counted, args=(slide,), kwargs={"network": network})
    first.start()
    assert begun.wait(30)

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        go_on.set()

    answers = SlideAnswers(slide, RUN)
    answer_missing(slide, answers, network, tell)
    first.join()
    assert len(network.asked) == 3
    assert told[0] == (0, 3)
    assert unanswered(slide, answers) == []


def test_what_a_window_that_broke_off_leaves_is_asked_by_the_next(slide):
    class Breaks(Stand):
        def classify(self, pictures, kind=None):
            yield next(super().classify(pictures, kind))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counted(slide, network=Breaks())
    network = Stand()
    counted(slide, network=network)
    assert [path for path, _ in network.asked] == ["cell.png", "text.png"], "what it had answered is kept"


def test_what_is_answered_is_there_for_other_windows_within_a_moment(slide, monkeypatch):
    monkeypatch.setattr(slide_answers, "AT_LEAST_EACH", 0.0)
    left = []

    def tell(done: int, total: int) -> None:
        left.append(len(unanswered(slide, SlideAnswers(slide, RUN))))

    answer_missing(slide, SlideAnswers(slide, RUN), Stand(), tell)
    assert left == [2, 1, 0]


def test_answers_of_another_version_are_asked_again(slide):
    counted(slide)
    file = SlideAnswers(slide, RUN).file
    told = [json.loads(line) for line in file.read_text().splitlines()]
    told[0]["answer"]["mood"] = "good"
    told[1]["answer"] = None
    told[2]["answer"]["cells"] = [{}]
    file.write_text("".join(json.dumps(line) + "\n" for line in told))
    network = Stand()
    assert len(counted(slide, network=network)) == 3
    assert len(network.asked) == 3


class Recorded(Run):
    """A run as far as `kept_as` asks it."""

    def __init__(self, created: str = "2026-11-28T08:54:12+00:00", bundled: bool = False, members: int = 0, **status):
        self.name, self.created, self.bundled = "x" * 64, created, bundled
        self.member_facts = [{"run": f"member-{place}"} for place in range(members)]
        self.told = {"state": "done", "ended": 1764381234.5} | status

    def status(self):
        return self.told


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Recorded(bundled=True), Recorded("2027-01-02T03:04:05+00:00", bundled=True)),
        (Recorded(members=2), Recorded("2027-01-02T03:04:05+00:00", members=2)),
        (Recorded(state="stopped"), Recorded()),
        (Recorded(state="stopped"), Recorded(state="stopped", ended=1764381300.25)),
    ],
    ids=["a bundled run is updated", "an ensemble is made anew", "a stopped run goes on", "and is stopped again"],
)
def test_answers_do_not_outlast_the_network_that_gave_them(before, after):
    assert kept_as(before) != kept_as(after)
    assert all(workspace.check_name(kept_as(run), "run") for run in (before, after))


def test_answers_of_a_finished_run_are_kept_under_its_name():
    assert kept_as(Recorded()) == Recorded().name


def test_a_drawn_cell_of_a_picture_that_is_gone_costs_its_own_answer(slide):
    counted(slide)
    drawn = [Correction(number, "add", "new", box=(10, 10, 60, 60)) for number in (1, 2)]
    slide = slides.correct(slide, drawn)
    (slide.folder / "pictures" / slide.pictures[0].stored).unlink()
    gone, there, _ = counted(slide)
    assert gone.cells[-1].answer is None
    assert "give the cell a class by hand" in gone.cells[-1].reason
    assert there.cells[-1].answer.likeliest == "eosinophil"


def test_a_picture_whose_file_can_not_be_read_now_is_tried_again(slide):
    file = slide.folder / "pictures" / slide.pictures[0].stored
    away = file.rename(file.with_suffix(".away"))
    assert "can't be read any more" in counted(slide)[0].answer.reason
    away.rename(file)
    assert [one.file for one in unanswered(slide, SlideAnswers(slide, RUN))] == ["field.png"]
    assert [one.answer.state for one in counted(slide)] == ["ok", "ok", "refused"]


def test_answers_that_were_broken_off_are_gone_on_with(slide):
    counted(slide)
    file = SlideAnswers(slide, RUN).file
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"", b"{}\nnonsense\n[1]\n" + whole[:-20]):
        file.write_bytes(damaged)
        assert counted(slide) == counted(slide)
        assert [json.loads(line)["picture"] for line in file.read_bytes().splitlines() if b'"answer"' in line]
    assert {one.answer.state for one in counted(slide)} == {"ok", "refused"}


def test_another_threshold_asks_nobody_and_changes_what_is_unsure(slide):
    network = Stand()
    for threshold, state in ((0.5, "ok"), (0.7, "unsure"), (0.95, "unsure")):
        told = counted(slide, threshold, network)[0].cells[1]
        assert told.state == state
        assert told.label == ("lymphocyte" if state == "ok" else None)
    assert counted(slide, 0.0, network)[0].cells[2].state == "unlike", "unlike stays, however sure"
    assert len(network.asked) == 3


def test_corrections_are_laid_over_the_answers_and_outlast_a_change_of_run(slide):
    first, second, third = ids(counted(slide)[0])
    slide = slides.correct(slide, [as_monocyte(second), Correction(1, "remove", third)])
    for run in (RUN, "other-run"):
        answers = SlideAnswers(slide, run)
        answer_missing(slide, answers, Stand())
        field = counted_pictures(slide, answers, 0.7)[0]
        assert [(one.state, one.label) for one in field.cells] == [
            ("ok", "neutrophil"), ("confirmed", "monocyte"), ("removed", None)
        ]  # fmt: skip
        assert [one.id for one in field.standing] == [first, second]


def test_cells_drawn_and_moved_are_asked_for_where_they_are(slide):
    network = Stand()
    first = ids(counted(slide, network=network)[0])[0]
    there = (150, 150, 200, 200)
    slide = slides.correct(
        slide, [Correction(1, "add", "new", "", there), Correction(1, "move", first, "", (5, 5, 40, 40))]
    )
    field = counted(slide, network=network)[0]
    assert network.squares == [(5, 5, 40, 40), there]
    assert [(one.box, one.label) for one in field.cells] == [
        ((5, 5, 40, 40), "eosinophil"), (SQUARES[1], None), (SQUARES[2], None), (there, "eosinophil")
    ]  # fmt: skip
    counted(slide, network=network)
    assert len(network.squares) == 2
    assert not unanswered_squares(slide, SlideAnswers(slide, RUN))


def test_a_run_that_sees_whole_pictures_leaves_drawn_cells_to_a_person(slide):
    slide = slides.correct(slide, [Correction(1, "add", "new", "", (1, 1, 50, 50)), Correction(2, "field")])
    network = Stand(fields_possible=False)
    field = counted(slide, network=network)[0]
    assert not network.squares
    assert {kind for _, kind in network.asked} == {None}
    assert (field.cells[-1].state, field.cells[-1].label) == ("unsure", None)
    assert "give the cell a class by hand" in field.cells[-1].reason
    assert csv_of(slide, [field], CLASSES, RUN)
    slide = slides.correct(slide, [Correction(1, "label", field.cells[-1].id, "monocyte", (1, 1, 50, 50))])
    assert counts_of(counted(slide, network=network), CLASSES)[1]["monocyte"] == 1


def test_a_field_whose_cells_were_named_under_another_run_is_one_under_a_run_that_sees_whole_pictures(slide):
    """That run's answer is of one cell: the count had all of them, the report and the page the first alone."""
    other = cell(SQUARES[1], "lymphocyte", 0.9).nucleus
    slide = slides.correct(slide, [Correction(2, "label", cell_id(other), "monocyte", SQUARES[1])])
    two = counted(slide, network=Stand(fields_possible=False))[1]
    assert two.answer.kind == CELL
    assert two.kind == FIELD
    count, by_hand = counts_of([two], CLASSES)
    assert [one.label for one in final_answer(two).counted] == ["neutrophil", "monocyte"]
    assert (sum(count.named.values()), by_hand["monocyte"]) == (1, 1)


def test_the_count_keeps_what_a_person_said_apart(slide):
    first, second, third = ids(counted(slide)[0])
    slide = slides.correct(slide, [as_monocyte(second)])
    count, by_hand = counts_of(counted(slide), CLASSES)
    assert count.named == {"eosinophil": 0, "lymphocyte": 0, "monocyte": 0, "neutrophil": 2}
    assert by_hand == {"eosinophil": 0, "lymphocyte": 0, "monocyte": 1, "neutrophil": 0}
    assert (count.unsure, count.unlike, count.pictures, count.refused, count.empty) == (0, 1, 3, 1, 0)
    slide = slides.correct(slide, [Correction(1, "label", first, "blast", SQUARES[0]), Correction(1, "remove", third)])
    count, by_hand = counts_of(counted(slide), CLASSES)
    assert (count.named["neutrophil"], count.unlike, by_hand["blast"]) == (1, 0, 1)
    assert list(by_hand) == [*CLASSES, "blast"]
    slide = slides.correct(slide, [Correction(1, "out")])
    count, by_hand = counts_of(counted(slide), CLASSES)
    assert (sum(count.named.values()), sum(by_hand.values()), count.pictures) == (1, 0, 2)


def test_a_class_by_hand_holds_for_a_run_that_writes_it_otherwise(slide):
    _, second, third = ids(counted(slide)[0])
    said = [Correction(1, "label", second, "MONOCYTE", SQUARES[1]), Correction(1, "label", third, "BLAST", SQUARES[2])]
    slide = slides.correct(slide, said)
    pictures = counted_pictures(slide, SlideAnswers(slide, RUN), 0.7, CLASSES)
    assert [cell.label for cell in pictures[0].cells] == ["neutrophil", "monocyte", "BLAST"]
    _, by_hand = counts_of(pictures, CLASSES)
    assert (by_hand["monocyte"], by_hand["BLAST"]) == (1, 1)


def test_all_named_cells_are_confirmed_at_once_and_undone_at_once(slide):
    told = counted(slide)
    changes = confirm_all(told)
    assert [(one.picture, one.label) for one in changes] == [(1, "neutrophil"), (2, "neutrophil")]
    slide = slides.correct(slide, changes)
    assert confirm_all(counted(slide)) == []
    assert counted(slides.undo(slide)) == told


def test_the_table_has_a_row_a_cell_and_a_row_a_picture_without_any(slide):
    _, second, third = ids(counted(slide)[0])
    slide = slides.correct(slide, [as_monocyte(second), Correction(1, "remove", third)])
    rows = list(csv.DictReader(io.StringIO(csv_of(slide, counted(slide), CLASSES, RUN))))
    assert [(row["path"], row["state"], row["label"], row["by_hand"], row["answered"]) for row in rows] == [
        ("field.png", "ok", "neutrophil", "0", "neutrophil"),
        ("field.png", "confirmed", "monocyte", "1", "lymphocyte"),
        ("field.png", "removed", "", "1", "monocyte"),
        ("cell.png", "ok", "neutrophil", "0", "neutrophil"),
        ("text.png", "refused", "", "", ""),
    ]
    assert all(row["run"] == RUN and row["slide"] == "S" for row in rows)
    final = final_answer(counted(slide)[0])
    assert [(one.state, one.label) for one in final.cells] == [("ok", "neutrophil"), ("ok", "monocyte")]


def test_a_cell_is_known_by_where_its_nucleus_is():
    assert cell_id((1, 2, 30, 40)) == "1.2.30.40"
    assert cell_id(None) == "whole"


# A dataset of confirmed cells


def confirmed(slide: Slide) -> tuple[Slide, list[CountedPicture]]:
    first, second, _ = ids(counted(slide)[0])
    slide = slides.correct(slide, [Correction(1, "label", first, "neutrophil", SQUARES[0]), as_monocyte(second)])
    return slide, counted(slide)


def test_confirmed_cells_become_a_dataset_with_their_nuclei_and_pictures_as_groups(slide):
    slide, pictures = confirmed(slide)
    made = send_to_dataset(slide, pictures, "mine")
    table = Dataset("mine").pictures
    assert sorted(table.label) == ["monocyte", "neutrophil"]
    assert set(table.source_photo) == {f"{slide.id}/1"}
    assert table.box_told.all()
    original = decode_rgb(slide.read(slide.pictures[0]))
    row = table.index[table.label == "monocyte"][0]
    x0, y0, x1, y1 = widened(SQUARES[1], AROUND, 320, 240)
    assert (x0, y0, x1, y1) == (70, 0, 190, 110)
    np.testing.assert_array_equal(made.read_original(row), original[y0:y1, x0:x1])
    assert made.places[row].box == (100 + 15 - 70, 20 + 15, 160 - 15 - 70, 80 - 15)
    assert not made.synthetic


def test_cells_side_by_side_that_all_of_a_picture_is_cut_around_stay_two(slide):
    """Byte-identical files are one picture, and one of two confirmed cells would be gone without a word."""
    left, right = (20, 10, 240, 230), (60, 10, 280, 230)
    drawn = [Correction(1, "add", f"h{number}", label, box) for number, label, box in
             ((1, "neutrophil", left), (2, "monocyte", right))]  # fmt: skip
    slide = slides.correct(slide, drawn)
    table = send_to_dataset(slide, counted(slide), "mine").pictures
    assert sorted(table.label) == ["monocyte", "neutrophil"]
    assert set(table.width) == {320}
    assert set(table.height) == {240}
    assert table.image_id.is_unique


def test_confirmed_cells_join_a_dataset_under_a_new_name_and_leave_its_test_split_as_it_was(slide):
    base = drawn("base", per_class=10, seed=1)
    slide, pictures = confirmed(slide)
    made = send_to_dataset(slide, pictures, "both", base)
    old, new = base.pictures, made.pictures
    assert len(new) == len(old) + 2
    assert set(new[new.split == "test"].image_id) == set(old[old.split == "test"].image_id)
    mine = new[~new.image_id.isin(old.image_id)]
    assert set(mine.split) == {"train"}
    merged = new.merge(old, on="image_id")
    assert (merged.label_x == merged.label_y).all()
    assert (merged.source_photo_x == merged.source_photo_y).all()
    assert made.synthetic, "drawn pictures are among them"
    # Said anew, a cell replaces what was said of it before.
    slide = slides.correct(slide, [Correction(1, "label", ids(pictures[0])[1], "eosinophil", SQUARES[1])])
    again = send_to_dataset(slide, counted(slide), "again", made)
    assert len(again.pictures) == len(new)
    assert sorted(again.pictures[~again.pictures.image_id.isin(old.image_id)].label) == ["eosinophil", "neutrophil"]


def test_a_cell_that_joins_a_dataset_is_called_as_there(slide):
    """The network that comes with the program writes NEUTROPHIL, many a dataset neutrophil: trained on both, a network
    would learn two classes of one cell."""
    slide, _ = confirmed(slide)
    third = ids(counted(slide)[0])[2]
    slide = slides.correct(slide, [Correction(1, "label", third, "NEUTROPHILS", SQUARES[2])])
    slide = slides.correct(slide, [Correction(2, "label", ids(counted(slide)[1])[0], "Blast", SQUARES[0])])
    made = send_to_dataset(slide, counted(slide), "both", drawn("base", per_class=10, seed=1))
    assert made.classes == ["Blast", *CLASSES]
    assert sorted(made.pictures.label[made.pictures.file.str.startswith(slide.id)]) == [
        "Blast", "monocyte", "neutrophil", "neutrophil"
    ]  # fmt: skip


def test_more_cells_of_a_picture_go_where_its_others_are(slide):
    """A picture of which some cells are tested on is not trained on."""
    slide, pictures = confirmed(slide)
    base = send_to_dataset(slide, pictures, "mine")
    images = pd.read_parquet(base.folder / "images.parquet")
    images["split"] = "test"
    images.to_parquet(base.folder / "images.parquet", index=False)
    other = slides.correct(slide, [Correction(2, "label", ids(pictures[1])[0], "neutrophil", SQUARES[0])])
    other = slides.correct(other, [Correction(1, "label", ids(pictures[0])[2], "monocyte", SQUARES[2])])
    made = send_to_dataset(other, counted(other), "more", Dataset("mine"))
    assert len(made.pictures) == 4
    assert dict(zip(made.pictures.source_photo, made.pictures.split, strict=True)) == {
        f"{slide.id}/1": "test", f"{slide.id}/2": "train"
    }  # fmt: skip
    assert made.pictures.groupby("source_photo").split.nunique().max() == 1


@pytest.mark.parametrize("times", [1, 2])
def test_cells_that_came_through_a_combined_dataset_are_known_again(slide, times):
    """Photographs and files bear the dataset's name there: a cell that is said anew stood twice, the new class was left
    out as a copy of the old, and other cells of a tested picture went to training."""
    slide, pictures = confirmed(slide)
    send_to_dataset(slide, pictures, "mine")
    images = pd.read_parquet(Dataset("mine").folder / "images.parquet")
    images.assign(split="test").to_parquet(Dataset("mine").folder / "images.parquet", index=False)
    base = Dataset("mine")
    for time in range(times):
        base = combine(f"all-{time}", [(base, {}), (drawn(f"base-{time}", per_class=10, seed=time), {})])
    slide = slides.correct(slide, [Correction(1, "label", ids(pictures[0])[1], "eosinophil", SQUARES[1])])
    slide = slides.correct(slide, [Correction(1, "label", ids(pictures[0])[2], "lymphocyte", SQUARES[2])])
    made = send_to_dataset(slide, counted(slide), "more", base)
    assert len(made.images) == len(base.pictures) + 1
    mine = made.pictures[~made.pictures.file.str.contains("synthetic")]
    assert sorted(mine.label) == ["eosinophil", "lymphocyte", "neutrophil"]
    assert set(mine.split) == {"test"}
    assert mine.scene.nunique() == mine.photo.nunique() == 1


def test_a_picture_of_another_slide_too_is_one_picture(slide):
    """Cells of it that stand in training and in test would flatter what is trained on them."""
    slide, pictures = confirmed(slide)
    send_to_dataset(slide, pictures, "mine")
    images = pd.read_parquet(Dataset("mine").folder / "images.parquet")
    images.assign(split="test").to_parquet(Dataset("mine").folder / "images.parquet", index=False)
    again = slides.create("Again", RUN, [(one.file, partial(slide.read, one)) for one in slide.pictures[:2]])
    answer_missing(again, SlideAnswers(again, RUN), Stand())
    found = ids(counted(again)[0])
    again = slides.correct(again, [Correction(1, "label", found[1], "eosinophil", SQUARES[1])])
    again = slides.correct(again, [Correction(1, "label", found[2], "lymphocyte", SQUARES[2])])
    again = slides.correct(again, [Correction(2, "label", ids(counted(again)[1])[0], "lymphocyte", SQUARES[0])])
    made = send_to_dataset(again, counted(again), "more", Dataset("mine")).pictures
    assert sorted(zip(made.label, made.split, strict=True)) == [
        ("eosinophil", "test"), ("lymphocyte", "test"), ("lymphocyte", "train"), ("neutrophil", "test"),
    ]  # fmt: skip
    assert made.groupby("scene").split.nunique().max() == 1


def test_cells_of_a_picture_that_a_dataset_tests_on_are_not_trained_on(lab_home):
    """A dataset's own pictures are handed in as a slide, their cells confirmed and sent back to it."""
    base = drawn("base", per_class=10, seed=1)
    tested = base.pictures[base.pictures.split == "test"].iloc[0]
    data = (base.folder / "originals" / tested.stored).read_bytes()
    slide = slides.create("S", RUN, [("cell.png", lambda: data)])
    (cell,) = ids(counted(slide)[0])
    slide = slides.correct(slide, [Correction(1, "label", cell, "neutrophil", SQUARES[0])])
    made = send_to_dataset(slide, counted(slide), "more", base).pictures
    (new,) = made[~made.image_id.isin(base.pictures.image_id)].itertuples()
    assert (new.split, new.scene) == ("test", tested.scene)
    assert new.family == new.image_id
    assert len(made) == len(base.pictures) + 1


def test_a_slides_cells_are_of_one_more_laboratory_beside_those_of_a_combined_dataset(slide):
    slide, pictures = confirmed(slide)
    parts = [drawn(name, per_class=10, seed=seed) for seed, name in enumerate(("here", "there"), 1)]
    wanted = {part.name: len(part.pictures) for part in parts}
    made = combine("both", [(part, {}) for part in parts])
    for name, cells in (("more", 2), ("again", 3)):
        made = send_to_dataset(slide, counted(slide), name, made)
        assert Counter(part_names(made)) == wanted | {slide.id: cells}
        slide = slides.correct(slide, [Correction(1, "label", ids(pictures[0])[2], "lymphocyte", SQUARES[2])])
    assert set(part_names(parts[0])) == {""}


def test_cells_beside_the_picture_that_they_were_cut_from_are_one_scene_when_combined(slide, tmp_path):
    """Cells would be trained on that the picture is tested on; so would others of a slide that was sent twice."""
    slide, pictures = confirmed(slide)
    send_to_dataset(slide, pictures, "mine")
    others = [encoded(random_picture(number)) for number in range(3)]
    files = {f"{number}.png": data for number, data in enumerate([slide.read(slide.pictures[0]), *others])}
    rows = ["path,label,split", "0.png,monocyte,test", "1.png,neutrophil,test", "2.png,monocyte,train"]
    source = write_files(tmp_path / "fields", files | {"t.csv": "\n".join([*rows, "3.png,neutrophil,train"]).encode()})
    fields = import_dataset(source, "fields", trace=False)
    both = combine("both", [(fields, {}), (Dataset("mine"), {})])
    assert sorted(both.pictures.file) == [f"fields/{number}.png" for number in range(4)]
    assert "2 training pictures of scenes that another part tests" in both.facts["split_origin"]
    sent_again = slides.correct(slide, [Correction(1, "label", ids(pictures[0])[2], "lymphocyte", SQUARES[2])])
    sent_again = slides.correct(sent_again, [Correction(1, "remove", ids(pictures[0])[0])])
    sent_again = slides.correct(sent_again, [Correction(1, "remove", ids(pictures[0])[1])])
    sent_again = slides.correct(sent_again, [Correction(2, "label", ids(pictures[1])[0], "monocyte", SQUARES[0])])
    send_to_dataset(sent_again, counted(sent_again), "again")
    twice = combine("twice", [(Dataset("mine"), {}), (Dataset("again"), {})]).pictures
    assert twice.groupby(twice.photo.str.split("/").str[-2:].str.join("/")).scene.nunique().max() == 1


def test_a_cell_that_is_not_confirmed_any_more_is_left_out_of_what_is_made_anew(slide):
    """It would be trained on under a class that its own reviewer has taken back."""
    slide, pictures = confirmed(slide)
    base = send_to_dataset(slide, pictures, "mine")
    first, _, third = ids(pictures[0])
    slide = slides.correct(slide, [Correction(1, "label", third, "lymphocyte", SQUARES[2])])
    slide = slides.correct(slide, [Correction(1, "remove", first)])
    made = send_to_dataset(slide, counted(slide), "again", base)
    assert sorted(made.pictures.label) == ["lymphocyte", "monocyte"]
    assert "1 of its cells left out" in made.facts["source"]
    # What isn't looked at now is no reason to lose a cell.
    other = slides.correct(slide, [Correction(2, "label", ids(counted(slide)[1])[0], "neutrophil", SQUARES[0])])
    only = [one for one in counted(other) if one.picture.number == 2]
    assert len(send_to_dataset(other, only, "third", made).pictures) == 3


def test_a_cell_that_was_moved_off_its_picture_costs_itself(slide):
    slide, _ = confirmed(slide)
    slide = slides.correct(slide, [Correction(1, "add", "new", box=(-900, -900, -850, -850), label="eosinophil")])
    made = send_to_dataset(slide, counted(slide), "mine")
    assert len(made.pictures) == 2
    assert "lies outside the picture" in made.images.reason.dropna().iloc[0]


def test_a_dataset_that_can_t_be_made_says_why(slide):
    with pytest.raises(LabError, match="no cell of this slide is confirmed"):
        send_to_dataset(slide, counted(slide), "mine")
    slide, pictures = confirmed(slide)
    send_to_dataset(slide, pictures, "mine")
    with pytest.raises(LabError, match="exists already"):
        send_to_dataset(slide, pictures, "mine")
    slide = slides.undo(slide)
    one = slides.correct(slide, confirm_all(counted(slide))[:1])
    with pytest.raises(LabError, match="at least two classes"):
        send_to_dataset(one, counted(one), "other")
    assert not (slide.folder.parent.parent / "datasets" / "other").exists()
