"""The queue: each photo once, what was asked for and nothing else, and nothing that is decided comes again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.errors import LabError
from bloodcell_core.labels.verdicts import MODEL_WRONG, UNUSABLE, Event, Standing
from bloodcell_core.review.queue import NEAR, ORDERS, QueueFilter, candidates, family, pairs, queue

CLASSES = ["a", "b", "c"]
SHARES = [(6, 3, 1), (1, 6, 3), (3, 1, 6), (7, 2, 1), (2, 1, 7), (5, 4, 1), (4, 5, 1)]


def table(rows: list[tuple[str, str | None, str, tuple[int, int, int]]]) -> pd.DataFrame:
    """Predictions of rows (image_id, photo, label, probabilities in tenths)."""
    shares = np.array([row[3] for row in rows], dtype=float).reshape(len(rows), 3) / 10
    return pd.DataFrame(
        {
            "image_id": pd.Series([row[0] for row in rows], dtype=object),
            "split": "test",
            "label": pd.Series([row[2] for row in rows], dtype=object),
            "predicted": pd.Series([CLASSES[place] for place in shares.argmax(1)] if rows else [], dtype=object),
            "source_photo": pd.Series([row[1] for row in rows], dtype=object),
            "p_a": shares[:, 0],
            "p_b": shares[:, 1],
            "p_c": shares[:, 2],
        }
    )


@st.composite
def several(draw: st.DrawFn) -> dict[str, pd.DataFrame]:
    """One to three runs' predictions of some of the same pictures; few distinct values, so ties are common."""
    count = draw(st.integers(0, 14))
    labels = draw(st.lists(st.sampled_from(CLASSES), min_size=count, max_size=count))
    photos = draw(st.lists(st.sampled_from(["p0", "p1", "p2", "p3", None]), min_size=count, max_size=count))
    found = {}
    for run in range(draw(st.integers(1, 3))):
        shares = draw(st.lists(st.sampled_from(SHARES), min_size=count, max_size=count))
        there = draw(st.lists(st.booleans(), min_size=count, max_size=count)) if run else [True] * count
        rows = [
            (f"id{place:02d}", photos[place], labels[place], shares[place]) for place in range(count) if there[place]
        ]
        found[f"run{run}"] = table(rows)
    return found


def said(photo: str, image_id: str = "id00", by: str = "Ana", verdict: str = MODEL_WRONG, place: int = 1) -> Event:
    return Event(
        id=place, at=datetime(2026, 1, 1, tzinfo=UTC), by=by, run="", dataset="d", data_hash="h", image_id=image_id,
        photo=photo, picture_only=verdict == UNUSABLE, verdict=verdict, label_from="a", label_to=None, predicted="",
        note="", undoes=None, undone=False, token=str(place),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(several())
def test_a_picture_is_as_wrong_as_its_runs_say(tables: dict[str, pd.DataFrame]) -> None:
    found = candidates(tables, CLASSES).set_index("image_id")
    assert set(found.index) == {image_id for each in tables.values() for image_id in each.image_id}
    for image_id, row in found.iterrows():
        own = {run: each.set_index("image_id").loc[image_id] for run, each in tables.items()
               if image_id in set(each.image_id)}  # fmt: skip
        answers = {run: each.predicted for run, each in own.items()}
        assert row.answers == answers
        assert (row.runs, row.wrong_runs) == (len(own), sum(each != row.label for each in answers.values()))
        mean = {name: np.mean([each[f"p_{name}"] for each in own.values()]) for name in CLASSES}
        assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx([*mean.values()])
        others = max(mean[name] for name in CLASSES if name != row.label)
        assert row.margin == pytest.approx(mean[row.label] - others)
        assert row.loss == pytest.approx(-np.log(mean[row.label]))
        assert row.confidence == pytest.approx(mean[row.answer])
        assert row.mistake == (row.wrong_runs > 0) == (row.answer != row.label)
        assert row.near == (not row.mistake and row.margin < NEAR)
        votes = [[*answers.values()].count(name) for name in CLASSES]
        assert row.disagreement == pytest.approx(1 - max(votes) / len(own))
        if row.mistake:
            wrong = {name: votes[place] for place, name in enumerate(CLASSES) if name != row.label}
            assert wrong[row.answer] == max(wrong.values())


@settings(max_examples=60, deadline=None)
@given(several(), st.sampled_from([order for order in ORDERS if order != "issue"]), st.booleans(), st.integers(0, 99))
def test_each_photo_comes_once_and_in_order(
    tables: dict[str, pd.DataFrame], order: str, near: bool, seed: int
) -> None:
    pictures = candidates(tables, CLASSES)
    found = queue(pictures, QueueFilter(near=near, order=order))
    wanted = pictures[pictures.mistake | (pictures.near & near)]
    assert found.photo.is_unique
    assert set(found.photo) == set(wanted.photo)
    column, ascending = ORDERS[order]
    values = found[column].tolist()
    assert values == sorted(values, reverse=not ascending)
    for row in found.itertuples():
        own = pictures[pictures.photo == row.photo]
        assert (row.pictures, row.wrong_pictures) == (len(own), own.mistake.sum())
        best = wanted[wanted.photo == row.photo][column]
        assert getattr(row, column) == (best.min() if ascending else best.max())
    again = queue(pictures.sample(frac=1, random_state=seed), QueueFilter(near=near, order=order))
    pd.testing.assert_frame_equal(found, again)


@settings(max_examples=60, deadline=None)
@given(several(), st.sets(st.sampled_from(["p0", "p1", "p2", "p3"])), st.sets(st.sampled_from(["id00", "id01"])))
def test_what_is_decided_does_not_come_again(
    tables: dict[str, pd.DataFrame], decided: set[str], alone: set[str]
) -> None:
    pictures = candidates(tables, CLASSES)
    events = [said(photo, f"of-{photo}", place=place) for place, photo in enumerate(sorted(decided), 1)]
    photo_of = dict(zip(pictures.image_id, pictures.photo, strict=True))
    events += [said(photo_of.get(each, "p9"), each, verdict=UNUSABLE, place=20 + place)
               for place, each in enumerate(sorted(alone))]  # fmt: skip
    standing = Standing(events)
    open_, closed, every = (
        queue(pictures, QueueFilter(reviewed=which), standing) for which in ("unreviewed", "reviewed", "all")
    )
    assert not set(open_.photo) & decided
    assert not set(open_.image_id) & alone
    assert set(open_.photo) | set(closed.photo) == set(every.photo)
    left = pictures[pictures.mistake & ~pictures.photo.isin(decided) & ~pictures.image_id.isin(alone)]
    assert set(open_.photo) == set(left.photo)
    assert open_.verdict.isna().all()
    assert closed.verdict.notna().all()


@settings(max_examples=40, deadline=None)
@given(several())
def test_the_pairs_count_the_queues_that_they_open(tables: dict[str, pd.DataFrame]) -> None:
    pictures = candidates(tables, CLASSES)
    counted = pairs(pictures)
    for row in counted.itertuples():
        opened = queue(pictures, QueueFilter(label=row.label, answer=row.answer))
        assert len(opened) == row.photos
        assert set(opened.label) == {row.label}
        assert all(row.answer in each.values() for each in opened.answers)
    assert counted.photos.tolist() == sorted(counted.photos, reverse=True)
    assert bool(len(counted)) == bool(pictures.mistake.any())


def test_the_pairs_with_most_photos_come_first_then_those_with_most_pictures() -> None:
    a, b, c = (6, 3, 1), (1, 6, 3), (3, 1, 6)
    rows = [("1", "p", "a", b), ("2", "p", "a", b), ("3", "q", "c", a), ("4", "r", "b", c), ("5", "s", "b", c)]
    rows += [("6", "t", "b", a), ("7", "u", "c", b), ("8", "u", "c", b), ("9", "q", "c", a)]
    counted = pairs(candidates({"run": table(rows)}, CLASSES))
    assert counted.to_numpy().tolist() == [
        ["b", "c", 2, 2], ["a", "b", 2, 1], ["c", "a", 2, 1], ["c", "b", 2, 1], ["b", "a", 1, 1],
    ]  # fmt: skip


def test_of_runs_that_are_wrong_in_several_ways_the_surest_is_shown() -> None:
    one, other = table([("1", "p", "a", (1, 6, 3))]), table([("1", "p", "a", (1, 2, 7))])
    (found,) = candidates({"one": one, "other": other}, CLASSES).to_dict("records")
    assert found["answer"] == "c"


def test_the_filters() -> None:
    runs = {
        "one": table([("i0", "p", "a", (1, 6, 3)), ("i1", "q", "a", (6, 3, 1)), ("i2", "r", "b", (5, 4, 1))]),
        "two": table([("i0", "p", "a", (1, 6, 3)), ("i1", "q", "a", (3, 1, 6)), ("i2", "r", "b", (5, 4, 1))]),
    }
    pictures = candidates(runs, CLASSES)
    assert queue(pictures).photo.tolist() == ["p", "r", "q"]
    assert queue(pictures, QueueFilter(order="loss")).photo.tolist() == ["p", "r", "q"]
    assert queue(pictures, QueueFilter(order="disagreement")).photo.tolist()[0] == "q"
    assert queue(pictures, QueueFilter(disputed_by_runs=True)).photo.tolist() == ["q"]
    assert queue(pictures, QueueFilter(label="a")).photo.tolist() == ["p", "q"]
    assert queue(pictures, QueueFilter(answer="a")).photo.tolist() == ["r", "q"]
    assert queue(pictures, QueueFilter(label="a", answer="c")).photo.tolist() == ["q"]
    assert queue(pictures, QueueFilter(confidence=(0.4, 0.55))).photo.tolist() == ["r"]
    assert queue(pictures, QueueFilter(margin=(-0.2, 0))).photo.tolist() == ["r"], "q is ahead by as much"
    assert queue(pictures, QueueFilter(margin=(0, 1))).photo.tolist() == ["q"]
    assert queue(pictures, QueueFilter(loss=(1.5, 9))).photo.tolist() == ["p"]
    assert queue(pictures, QueueFilter(loss=(0, 0.95))).photo.tolist() == ["r", "q"]
    assert family(pictures, "p").image_id.tolist() == ["i0"]


def test_the_dataset_s_photos_count_where_they_are_given() -> None:
    found = candidates({"run": table([("i0", None, "a", (1, 6, 3))])}, CLASSES, {"i0": "photo"})
    assert found.photo.tolist() == ["photo"]


def test_what_people_differ_on_can_be_asked_for() -> None:
    pictures = candidates({"run": table([("i0", "p", "a", (1, 6, 3)), ("i1", "q", "a", (1, 6, 3))])}, CLASSES)
    standing = Standing([said("p"), said("p", by="Ben", verdict="ambiguous", place=2), said("q", place=3)])
    found = queue(pictures, QueueFilter(reviewed="disputed"), standing)
    assert found[["photo", "verdict", "by", "disputed"]].values.tolist() == [["p", "ambiguous", "Ben", True]]


def test_the_order_by_label_issues_has_what_the_network_agrees_with_too() -> None:
    pictures = candidates({"run": table([("i0", "p", "a", (6, 3, 1)), ("i1", "q", "a", (1, 6, 3))])}, CLASSES)
    found = queue(pictures, QueueFilter(order="issue"), issues={"p": 0.1})
    assert found.photo.tolist() == ["p", "q"]
    assert found.issue.isna().tolist() == [False, True]
    with pytest.raises(LabError, match="needs a ranking"):
        queue(pictures, QueueFilter(order="issue"))


@pytest.mark.parametrize(("changes", "said"), [
    ({"reviewed": "x"}, "holds what is"),
    ({"order": "x"}, "is ordered by"),
    ({"margin": (0.5, 0.1)}, "margin lies between"),
    ({"loss": (float("nan"), 1)}, "loss lies between"),
])  # fmt: skip
def test_a_choice_that_is_not_there_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LabError, match=said):
        QueueFilter(**changes)


def test_runs_that_were_told_different_labels_are_not_mixed() -> None:
    with pytest.raises(LabError, match="different labels"):
        candidates(
            {"x": table([("i0", "p", "a", (1, 6, 3))]), "y": table([("i0", "p", "b", (1, 6, 3))])}, CLASSES
        )  # fmt: skip
    with pytest.raises(LabError, match="at least one run"):
        candidates({}, CLASSES)
