"""Verdicts: kept once each, whoever gives them and however many at once; what counts is what a simple model says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.labels import verdicts
from bloodcell_core.labels.database import writing
from bloodcell_core.labels.verdicts import AMBIGUOUS, LABEL_WRONG, MODEL_WRONG, UNUSABLE, Event, current, record, undo
from tests.training_fixtures import drawn


@pytest.fixture(scope="module")
def demo(module_home: Path) -> Dataset:
    made = drawn("demo", per_class=12, seed=8)
    made.pictures  # noqa: B018 (read while its workspace is the module's)
    return made


@pytest.fixture
def ids(demo: Dataset) -> list[str]:
    """A picture of each photo."""
    return demo.pictures.drop_duplicates("photo").image_id.tolist()


def family(demo: Dataset, least: int = 2) -> list[str]:
    """The pictures of a photo that has several."""
    photo = demo.pictures.photo.value_counts().loc[lambda counts: counts >= least].index[0]
    return demo.pictures[demo.pictures.photo == photo].image_id.tolist()


def other_class(demo: Dataset, image_id: str) -> str:
    own = demo.pictures.set_index("image_id").label[image_id]
    return next(name for name in demo.classes if name != own)


# One verdict


def test_a_verdict_tells_who_when_of_what_and_what_was_there_before(demo: Dataset, ids: list[str]) -> None:
    wanted = other_class(demo, ids[0])
    [made] = record(
        demo, ids[:1], LABEL_WRONG, by=" Ana ", run="a-run", label=wanted, predicted={ids[0]: wanted}, note="blue"
    )
    row = demo.pictures.set_index("image_id").loc[ids[0]]
    assert (made.by, made.run, made.dataset, made.data_hash) == ("Ana", "a-run", "demo", demo.content_hash)
    assert (made.image_id, made.photo, made.label_from, made.label_to) == (ids[0], row.photo, row.label, wanted)
    assert (made.predicted, made.note, made.undoes, made.undone) == (wanted, "blue", None, False)
    assert timedelta() <= datetime.now(UTC) - made.at < timedelta(minutes=1)
    assert verdicts.events(demo) == [made]


def test_blanks_make_nobody_another_person(demo: Dataset, ids: list[str]) -> None:
    for name in ("Ana Lee", " Ana \t Lee\n", "Ana\u3000Lee"):
        record(demo, ids[:1], AMBIGUOUS, by=name)
    assert verdicts.reviewers() == ["Ana Lee"]


def test_a_verdict_decides_the_copies_too_and_one_of_a_picture_alone_does_not(demo: Dataset) -> None:
    one, other, *_ = family(demo)
    [alone] = record(demo, [one], UNUSABLE, by="Ana", picture_only=True)
    standing = current(demo)
    assert standing.of(one, alone.photo) == alone
    assert standing.of(other, alone.photo) is None
    [whole] = record(demo, [one, other], AMBIGUOUS, by="Ana")
    standing = current(demo)
    assert standing.of(other, alone.photo) == whole
    assert standing.of(one, alone.photo) == alone


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "wrong"}, "a verdict is model-wrong"),
        ({"verdict": LABEL_WRONG}, "needs the right class"),
        ({"verdict": LABEL_WRONG, "label": "a\x00b"}, "needs the right class"),
        ({"label": "eosinophil"}, "goes with label-wrong only"),
        ({"picture_only": True}, "only unusable"),
        ({"by": "  "}, "who says so"),
        ({"by": "x" * 101}, "up to 100"),
        ({"by": "a\x00b"}, "control characters"),
        ({"note": "\ud800"}, "control characters"),
        ({"note": "x" * 2001}, "up to 2,000"),
        ({"token": ""}, "1 to 64"),
        ({"image_ids": []}, "no picture is named"),
        ({"image_ids": ["0" * 64]}, "has no picture '000"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_kept(
    demo: Dataset, ids: list[str], changes: dict[str, object], said: str
) -> None:
    call = {"image_ids": ids[:2], "verdict": AMBIGUOUS, "by": "Ana"} | changes
    with pytest.raises(LabError, match=said):
        record(demo, **call)  # type: ignore[arg-type]
    assert verdicts.events(demo) == []


def test_one_bad_picture_of_a_selection_keeps_all_from_being_decided(demo: Dataset, ids: list[str]) -> None:
    own = demo.pictures.set_index("image_id").label
    mixed = [next(i for i in ids if own[i] != "monocyte"), next(i for i in ids if own[i] == "monocyte")]
    with pytest.raises(LabError, match="already"):
        record(demo, mixed, LABEL_WRONG, label="monocyte", by="Ana")
    assert verdicts.events(demo) == []


def test_words_of_a_person_are_taken_for_the_code() -> None:
    assert verdicts.verdict_code(" Label_Wrong") == verdicts.verdict_code("label  wrong") == LABEL_WRONG
    with pytest.raises(LabError, match="a verdict is"):
        verdicts.verdict_code("<b>")


def test_a_picture_is_found_by_a_unique_beginning(demo: Dataset, ids: list[str]) -> None:
    assert verdicts.find_picture(demo, ids[0][:16]) == ids[0]
    for wrong in ("", "zz", ids[0] + "0"):
        with pytest.raises(LabError, match="has no picture"):
            verdicts.find_picture(demo, wrong)
    with pytest.raises(LabError, match="begins the ids of"):
        verdicts.find_picture(demo, next(i[0] for i in ids if sum(j[0] == i[0] for j in ids) > 1))


# Again, and back


def test_a_request_that_comes_twice_makes_one_event(demo: Dataset, ids: list[str]) -> None:
    first = record(demo, ids[:3], AMBIGUOUS, by="Ana", token="click")
    assert record(demo, ids[:3], AMBIGUOUS, by="Ana", token="click") == first == verdicts.events(demo)
    with pytest.raises(LabError, match="another token"):
        record(demo, ids[:3], MODEL_WRONG, by="Ana", token="click")
    back = undo([each.id for each in first], by="Ana", token="back")
    assert undo([each.id for each in first], by="Ana", token="back") == back
    assert len(verdicts.events(demo)) == 6
    assert [each.undone for each in record(demo, ids[:3], AMBIGUOUS, by="Ana", token="click")] == [True] * 3


def test_any_step_can_be_taken_back_once_and_an_undo_can_not(demo: Dataset, ids: list[str]) -> None:
    [first] = record(demo, ids[:1], AMBIGUOUS, by="Ana")
    [second] = record(demo, ids[:1], MODEL_WRONG, by="Ana")
    [back] = undo([first.id], by="Ben")
    assert (back.by, back.undoes, back.verdict, back.photo) == ("Ben", first.id, AMBIGUOUS, first.photo)
    assert current(demo).by_photo == {first.photo: second}
    with pytest.raises(LabError, match=f"verdict {first.id} was taken back before"):
        undo([first.id], by="Ana")
    with pytest.raises(LabError, match="to have its verdict again, give it again"):
        undo([back.id], by="Ana")
    with pytest.raises(LabError, match="there is no verdict 99"):
        undo([second.id, 99], by="Ana")
    assert current(demo).by_photo == {first.photo: second}
    undo([second.id], by="Ana")
    assert current(demo).by_photo == {}
    assert [each.id for each in verdicts.history(demo, ids[0])] == [4, 3, 2, 1]


def test_a_selection_is_one_step(demo: Dataset, ids: list[str]) -> None:
    many = record(demo, ids[:5], UNUSABLE, by="Ana")
    [one] = record(demo, ids[5:6], MODEL_WRONG, by="Ana")
    assert current(demo).steps == [[one], many]


def test_where_two_people_differ_both_are_kept_the_later_counts_and_it_is_told(demo: Dataset, ids: list[str]) -> None:
    [hers] = record(demo, ids[:1], AMBIGUOUS, by="Ana")
    [his] = record(demo, ids[:1], MODEL_WRONG, by="Ben")
    standing = current(demo)
    assert standing.by_photo[hers.photo] == his
    assert standing.disagreements == {hers.photo: [hers, his]}
    record(demo, ids[:1], MODEL_WRONG, by="Ana")
    assert current(demo).disagreements == {}


def test_progress_counts_photos(demo: Dataset, ids: list[str]) -> None:
    record(demo, ids[:2], AMBIGUOUS, by="Ana")
    record(demo, ids[2:3], MODEL_WRONG, by="Ben")
    photos = demo.pictures.set_index("image_id").photo[ids[:4]]
    told = current(demo).progress(photos)
    assert (told["total"], told["decided"], told["by"]) == (4, 3, {"Ana": 2, "Ben": 1})
    assert told["by_verdict"] == {MODEL_WRONG: 1, LABEL_WRONG: 0, AMBIGUOUS: 2, UNUSABLE: 0}


def test_verdicts_go_by_content_and_reading_makes_no_database(demo: Dataset, lab_home: Path) -> None:
    drawn("again", per_class=12, seed=8)
    drawn("other", per_class=12, seed=9)
    assert current(Dataset("again")).by_photo == {}
    assert not (lab_home / "lab.sqlite").exists()
    [made] = record(Dataset("again"), demo.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    assert verdicts.events(demo) == [made]
    assert verdicts.events(Dataset("other")) == []


# Against a simple model

Steps = list[tuple[str, list[int], str, str]]


def test_what_came_since_is_all_that_is_read_and_none_of_it_is_missed(demo: Dataset, ids: list[str]) -> None:
    known: list[Event] = []
    given = [record(demo, [each], AMBIGUOUS, by="Ana")[0] for each in ids[:3]]
    for change in (
        lambda: record(demo, ids[3:5], MODEL_WRONG, by="Ben"),
        lambda: undo([given[1].id], by="Ana"),
        lambda: None,
    ):
        known = verdicts.events(demo, known)
        assert known == verdicts.events(demo)
        change()
    # A row that was kept after one with a later number, as PostgreSQL may show them
    late = [each for each in verdicts.events(demo) if each.id != given[2].id]
    assert verdicts.events(demo, late) == verdicts.events(demo)


def delete_database(home: Path) -> None:
    for file in home.glob("lab.sqlite*"):
        file.unlink()


def test_where_the_database_was_deleted_the_next_verdict_is_kept_and_the_others_are_told_no_more(
    demo: Dataset, ids: list[str], lab_home: Path
) -> None:
    known = [record(demo, [ids[0]], AMBIGUOUS, by="Ana")[0]]
    delete_database(lab_home)
    made = record(demo, [ids[1]], AMBIGUOUS, by="Ana")
    assert made[0].id == known[0].id
    assert verdicts.events(demo, known) == verdicts.events(demo) == made


def test_where_others_made_the_deleted_database_anew_it_has_our_tables_again(
    demo: Dataset, ids: list[str], lab_home: Path
) -> None:
    record(demo, [ids[0]], AMBIGUOUS, by="Ana")
    delete_database(lab_home)
    with closing(sqlite3.connect(lab_home / "lab.sqlite")) as other:  # as a search does for its trials
        other.execute("CREATE TABLE trials (id INTEGER)")
    assert verdicts.events(demo) == []
    made = record(demo, [ids[1]], AMBIGUOUS, by="Ana")
    assert verdicts.events(demo) == made


def test_a_verdict_that_went_with_its_deleted_database_is_not_told_as_kept(
    demo: Dataset, ids: list[str], lab_home: Path
) -> None:
    record(demo, [ids[0]], AMBIGUOUS, by="Ana")
    with pytest.raises(LabError, match="was deleted or replaced meanwhile: nothing was kept"):
        with writing():
            delete_database(lab_home)
    assert record(demo, [ids[1]], AMBIGUOUS, by="Ana") == verdicts.events(demo)


@st.composite
def steps(draw: st.DrawFn) -> Steps:
    """(what, which pictures or which events of those so far, who, verdict), to be done one after another."""
    one = st.tuples(
        st.sampled_from(["record", "record", "alone", "undo"]),
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
        st.sampled_from(["Ana", "Ben", "Cho"]),
        st.sampled_from([MODEL_WRONG, AMBIGUOUS, UNUSABLE]),
    )
    return draw(st.lists(one, max_size=12))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty folders without end: hypothesis runs many cases in one test."""
    return (tmp_path_factory.mktemp("model") for _ in iter(int, 1))


@settings(max_examples=40, deadline=None)
@given(steps())
def test_any_sequence_gives_what_a_simple_model_gives(demo: Dataset, fresh: Iterator[Path], todo: Steps) -> None:
    some = demo.pictures.image_id.tolist()[:10]
    photo_of = demo.pictures.set_index("image_id").photo.to_dict()
    by_photo: dict[str, list[Event]] = {}
    alone: dict[str, list[Event]] = {}
    kept: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(next(fresh)))
        for what, which, who, verdict in todo:
            if what == "undo":
                targets = [each for place, each in enumerate(kept) if place in which]
                stacks = [(alone if each.picture_only else by_photo) for each in targets]
                ready = all(
                    each in of.get(each.image_id if each.picture_only else each.photo, [])
                    for each, of in zip(targets, stacks, strict=True)
                )
                if ready:
                    undo([each.id for each in targets], by=who)
                    for each, of in zip(targets, stacks, strict=True):
                        of[each.image_id if each.picture_only else each.photo].remove(each)
                else:
                    with pytest.raises(LabError, match="taken back before"):
                        undo([each.id for each in targets], by=who)
                continue
            pictures = [some[place] for place in which]
            only = what == "alone"
            made = record(demo, pictures, UNUSABLE if only else verdict, by=who, picture_only=only)
            kept += made
            firsts = list({photo_of[image_id]: image_id for image_id in reversed(pictures)}.values())
            assert sorted(each.image_id for each in made) == sorted(pictures if only else firsts)
            for each in made:
                (alone if only else by_photo).setdefault(each.image_id if only else each.photo, []).append(each)
        standing = current(demo)
        every = verdicts.events(demo)
    assert standing.by_photo == {photo: stack[-1] for photo, stack in by_photo.items() if stack}
    assert standing.by_picture == {image_id: stack[-1] for image_id, stack in alone.items() if stack}
    assert [each for each in every if each.counts] == sorted(
        (each for stack in [*by_photo.values(), *alone.values()] for each in stack), key=lambda each: each.id
    )
    assert len({each.id for each in every}) == len(every)
