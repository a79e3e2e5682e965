"""Slides on disk: kept whole or not at all, changed by several at once without loss, and damaged ones told."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bloodcell_core import disk
from bloodcell_core.errors import LabError
from bloodcell_core.inference.handed_in import Handed
from bloodcell_core.smear import corrections, slides
from bloodcell_core.smear.corrections import Correction, corrected_cells, in_force, kind_by_hand
from bloodcell_core.smear.slides import Slide, SlideChangedError
from tests.conftest import encoded, random_picture, tree

BOX = (1, 2, 11, 12)


def handed(count: int = 3) -> list[Handed]:
    return [(f"c{number}.png", lambda number=number: encoded(random_picture(number))) for number in range(count)]


def made(count: int = 3, name: str = "Mine") -> Slide:
    return slides.create(name, "some-run", handed(count))


def label(cell: str = "c", to: str = "monocyte", picture: int = 1) -> Correction:
    return Correction(picture, "label", cell, to, BOX)


def file_of(slide: Slide) -> Path:
    return slide.folder / "slide.json"


# Kept


def test_a_slide_is_found_again_as_it_was_handed_in(lab_home):
    slide = made()
    again = slides.read_slide(slide.id)
    assert again == slide
    assert [again.read(picture) for picture in again.pictures] == [read() for _, read in handed()]
    assert [picture.file for picture in again.pictures] == ["c0.png", "c1.png", "c2.png"]
    assert slides.listed() == ([slide], {})


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "<img src=x onerror=alert(1)>.png", "a\x00b\n.png", "x" * 3000, "…/\u202egnp.png", "con"],
)
def test_a_name_is_data_and_never_a_path(name, lab_home):
    slide = slides.create("Odd", "some-run", [(name, lambda: encoded(random_picture(1)))])
    outside = {path for path in tree(lab_home) if not path.startswith(("slides/", "locks"))}
    assert outside == {"slides"}
    (stored,) = (slide.folder / "pictures").iterdir()
    assert stored.name == slide.pictures[0].stored
    assert set(stored.name) <= set("0123456789abcdef.pngbi")
    assert slides.read_slide(slide.id).pictures[0].file == name[-slides.MAX_FILE_NAME :]


def test_a_picture_handed_in_twice_counts_once(lab_home):
    slide = slides.create("Twice", "some-run", [*handed(2), ("again.png", handed(1)[0][1])])
    assert [bool(picture.stored) for picture in slide.pictures] == [True, True, False]
    assert "the very same picture as number 1 (c0.png)" in slide.pictures[2].reason
    more = slides.add_pictures(slide, [("later.png", handed(1)[0][1]), ("new.png", handed(4)[3][1])])
    assert [bool(picture.stored) for picture in more.pictures] == [True, True, False, False, True]
    assert [picture.number for picture in more.pictures] == [1, 2, 3, 4, 5]


def test_what_the_system_refuses_to_read_is_told_without_its_number(lab_home):
    def closed():
        raise PermissionError(13, "Permission denied", "/nobody/c.png")

    slide = slides.create("Part", "some-run", [("c.png", closed), *handed(1)])
    assert slide.pictures[0].reason == "can't be read: Permission denied"


def test_what_cannot_be_read_has_its_place_and_its_reason(lab_home):
    def refuse() -> bytes:
        raise LabError("damaged inside the zip")

    slide = slides.create("Part", "some-run", [("bad.png", refuse), *handed(1)])
    assert slide.pictures[0].reason == "damaged inside the zip"
    with pytest.raises(LabError, match="damaged inside"):
        slide.read(slide.pictures[0])


def test_more_than_a_slide_holds_is_refused_whole(lab_home, monkeypatch):
    monkeypatch.setattr(slides, "MAX_PICTURES", 3)
    slide = made(2)
    with pytest.raises(LabError, match=r"4 pictures are more than the 3 .* `predict`"):
        made(4)
    before = tree(slide.folder)
    with pytest.raises(LabError, match="5 pictures"):
        slides.add_pictures(slide, handed(3))
    monkeypatch.setattr(slides, "MAX_PICTURES", 100)
    monkeypatch.setattr(slides, "MAX_BYTES", slide.pictures[0].bytes * 4)
    with pytest.raises(LabError, match="GiB that a slide may hold"):
        slides.add_pictures(slide, handed(9)[2:])
    assert tree(slide.folder) == before
    assert slides.listed()[0] == [slide]


def test_nothing_handed_in_makes_no_slide(lab_home):
    with pytest.raises(LabError, match="nothing was handed in"):
        slides.create("None", "some-run", [])
    assert slides.listed() == ([], {})


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_what_the_disk_refuses_is_told_and_changes_nothing(code, words, lab_home, monkeypatch):
    slide = made()
    before = {path: path.read_bytes() for path in slide.folder.rglob("*") if path.is_file()}

    def refuse(*_: object) -> None:
        raise OSError(code, words)

    monkeypatch.setattr(disk.os, "replace", refuse)
    for attempt in (
        lambda: made(name="Other"),
        lambda: slides.add_pictures(slide, handed(5)),
        lambda: slides.rename(slide, "Other"),
        lambda: slides.correct(slide, [label()]),
        lambda: slides.choose_run(slide, "other-run"),
    ):
        with pytest.raises(LabError, match=rf"can't be kept: {words}.*Nothing was changed"):
            attempt()
    assert {path: path.read_bytes() for path in slide.folder.rglob("*") if path.is_file()} == before
    assert slides.listed() == ([slide], {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: "{",
        lambda told: json.dumps(told | {"schema_version": 99}),
        lambda told: json.dumps(told | {"pictures": None}),
        lambda told: json.dumps(told | {"pictures": [told["pictures"][0] | {"stored": "../../lab.sqlite"}]}),
        lambda told: json.dumps(told | {"pictures": told["pictures"][1:]}),
        lambda told: json.dumps(told | {"corrections": [{"do": "erase", "version": 2, "picture": 1}]}),
        lambda told: json.dumps(told | {"corrections": [label().to_json() | {"version": 2, "box": [1, 2, 0.5, "x"]}]}),
        lambda told: json.dumps(told | {"version": "two"}),
        lambda told: json.dumps(told | {"created": "yesterday"}),
        lambda told: "[1]",
    ],
)
def test_a_damaged_slide_is_told_the_others_are_listed_and_it_can_be_deleted(damage, lab_home):
    good, bad = made(), made(name="Bad")
    file_of(bad).write_text(damage(json.loads(file_of(bad).read_text())))
    listed, told = slides.listed()
    assert listed == [good]
    assert list(told) == [bad.id]
    assert bad.id in told[bad.id]
    with pytest.raises(LabError):
        slides.correct(bad, [label()])
    slides.remove(bad.id)
    assert slides.listed() == ([good], {})


def test_a_slide_is_renamed_on_one_line_and_deleted(lab_home):
    slide = slides.rename(made(), "  Patient\n7 \x1b[31m ")
    assert slides.read_slide(slide.id).name == "Patient 7 [31m"
    with pytest.raises(LabError, match="needs a name"):
        slides.rename(slide, "\x00 \n")
    slides.remove(slide.id)
    for gone in (slides.remove, slides.read_slide, lambda _: slides.rename(slide, "x")):
        with pytest.raises(LabError, match="may have been deleted"):
            gone(slide.id)
    with pytest.raises(LabError, match="can't name a slide"):
        slides.read_slide("../runs")


def test_a_slide_goes_whole_though_another_window_writes_into_it(lab_home, monkeypatch):
    slide = made()
    remove_folder = os.rmdir

    def answered_meanwhile(path, **of):
        folder = slide.folder / "answers"
        if slide.folder.is_dir() and not folder.exists():
            folder.mkdir()
            (folder / "some-run.jsonl").write_text("{}")
        remove_folder(path, **of)

    monkeypatch.setattr(os, "rmdir", answered_meanwhile)
    slides.remove(slide.id)
    assert not slide.folder.exists()
    assert slides.listed() == ([], {})


# Changed by several


def test_two_windows_change_other_cells_and_nothing_is_lost(lab_home):
    seen = made()
    slides.correct(seen, [label("a")])
    slides.rename(seen, "New")
    now = slides.correct(seen, [label("b")])  # by a window that still shows the first version
    assert [one.cell for one in now.corrections] == ["a", "b"]
    assert now.name == "New"


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ([label("a")], [label("a", "lymphocyte")]),
        ([label("b"), label("a")], [label("c"), Correction(1, "remove", "a")]),
        ([Correction(1, "out")], [Correction(1, "field")]),
    ],
)
def test_two_windows_change_the_same_and_the_second_is_told(theirs, mine, lab_home):
    seen = made()
    first = slides.correct(seen, theirs)
    with pytest.raises(SlideChangedError, match="in another window"):
        slides.correct(seen, mine)
    assert slides.read_slide(seen.id) == first
    assert slides.correct(first, mine).version == first.version + 1


def test_a_window_that_is_behind_can_t_undo_what_it_has_not_seen(lab_home):
    seen = slides.correct(made(), [label("a")])
    slides.correct(seen, [label("b")])
    with pytest.raises(SlideChangedError):
        slides.undo(seen)


def test_two_names_at_once_are_told(lab_home):
    seen = made()
    slides.rename(seen, "Mine now")
    with pytest.raises(SlideChangedError, match="renamed to 'Mine now'"):
        slides.rename(seen, "No, mine")


def test_many_writers_at_once_lose_nothing(lab_home):
    seen = made()
    threads = [threading.Thread(target=slides.correct, args=(seen, [label(f"c{n}")])) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = slides.read_slide(seen.id)
    assert {one.cell for one in now.corrections} == {f"c{n}" for n in range(12)}
    assert [one.version for one in now.corrections] == list(range(2, 14))


def test_a_picture_that_is_not_there_is_not_corrected(lab_home):
    slide = made()
    with pytest.raises(LabError, match="no such picture"):
        slides.correct(slide, [label(picture=9)])


def test_undo_takes_back_one_change_after_the_other(lab_home):
    slide = slides.correct(made(), [label("a"), label("b")])
    slide = slides.correct(slide, [Correction(1, "out")])
    slide = slides.undo(slide)
    assert [one.cell for one in slide.corrections_of(1)] == ["a", "b"]
    assert slide.corrections_in_force == 2
    slide = slides.undo(slide)
    assert slide.corrections_of(1) == []
    assert slide.corrections_in_force == 0
    assert len(slide.corrections) == 5, "the list only grows"
    with pytest.raises(LabError, match="nothing to undo"):
        slides.undo(slide)


# Corrections


FOUND = {"a": (0, 0, 10, 10), "b": (20, 20, 30, 30)}
cells = some.sampled_from(["a", "b", "h2.0"])
boxes = some.tuples(*[some.integers(-50, 50)] * 2, *[some.integers(51, 99)] * 2)
changes = some.one_of(
    some.builds(Correction, some.just(1), some.just("label"), cells, some.sampled_from("xy"), boxes),
    some.builds(Correction, some.just(1), some.sampled_from(["unlabel", "remove", "restore"]), cells),
    some.builds(Correction, some.just(1), some.just("move"), cells, some.just(""), boxes),
    some.builds(Correction, some.just(1), some.just("add"), some.just("h2.0"), some.just(""), boxes),
    some.builds(Correction, some.just(1), some.sampled_from(corrections.OF_PICTURES)),
)


def numbered(ones: list[Correction], start: int = 2) -> list[Correction]:
    return [corrections.replace(one, version=version) for version, one in enumerate(ones, start)]


@settings(deadline=None, max_examples=100)
@given(some.lists(changes, max_size=8), changes)
def test_undoing_gives_what_was_there_before(before, last):
    history = numbered([*before, last])
    undo = Correction(1, "undo", of=history[-1].version, version=99)
    then, now = in_force(history[:-1]), in_force([*history, undo])
    assert corrected_cells(FOUND, now) == corrected_cells(FOUND, then)
    assert kind_by_hand(now) == kind_by_hand(then)
    assert [Correction.from_json(json.loads(json.dumps(one.to_json()))) for one in history] == history


@settings(deadline=None, max_examples=100)
@given(some.lists(changes, max_size=12))
def test_cells_are_never_lost_nor_doubled(ones):
    told = corrected_cells(FOUND, in_force(numbered(ones)))
    ids = [cell.id for cell in told]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= set(FOUND), "what was found stays, if only as taken out"
    assert all(cell.by_hand or cell.box == FOUND[cell.id] for cell in told)


def test_a_label_stays_with_its_cell_when_the_finder_no_longer_sees_it():
    (cell, *_) = corrected_cells({}, [label("a")])
    assert (cell.id, cell.box, cell.label, cell.by_hand) == ("a", BOX, "monocyte", True)
    assert corrected_cells({}, [Correction(1, "remove", "a")]) == []


def test_a_class_given_to_what_was_taken_out_puts_it_back():
    gone = Correction(1, "remove", "a")
    (cell, _) = corrected_cells(FOUND, [gone, label("a")])
    assert (cell.label, cell.removed) == ("monocyte", False)
    (cell, _) = corrected_cells(FOUND, [label("a"), gone])
    assert cell.removed
    (cell, _) = corrected_cells(FOUND, [label("a"), gone, Correction(1, "unlabel", "a")])
    assert cell.removed, "a class that is taken back says nothing of that"


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "erase", "cell": "a"}, {"do": "label", "cell": "a", "box": BOX},
        {"do": "label", "cell": "a", "label": "x"}, {"do": "move", "cell": "a"},
        {"do": "move", "cell": "a", "box": (5, 5, 5, 9)}, {"do": "out", "cell": "a"},
        {"do": "remove"}, {"do": "undo"}, {"do": "label", "cell": "a", "label": "x" * 999, "box": BOX},
        {"do": "add", "cell": "h", "box": (0, 0, 10**9, 10**9)},
        {"do": "add", "cell": "h", "box": (-20_000, 0, 20_000, 9)},
        {"do": "move", "cell": "a", "box": (0, 0, 9, 10_001)},
    ],
)  # fmt: skip
def test_a_correction_that_means_nothing_is_refused(wrong):
    with pytest.raises(LabError, match="no such correction"):
        Correction(1, **wrong)
