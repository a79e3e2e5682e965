"""The Review page, without a browser: what it shows in each state, and that each event of its desk counts once."""

from __future__ import annotations

import getpass
import json
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import disk, runs, workspace
from bloodcell_core.crops import Crop
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset, remove
from bloodcell_core.labels import database, exchange, overlays
from bloodcell_core.labels.verdicts import current, events, record
from bloodcell_core.runs import Run
from bloodcell_core.training.ensembles import create_ensemble
from tests.test_pages import PATIENCE, draw, words
from tests.training_fixtures import drawn, run_cli, trained
from ui import lab, review, review_cards, review_desk, review_sources, shell

pytest_plugins = ["tests.training_fixtures"]

REVIEW = "pages/4_Review.py"


@pytest.fixture
def wrong(done: Run) -> Run:
    """A run that calls each test picture the class after its label, surer of each than of the one before."""
    spoil(done)
    return done


def spoil(run: Run, by: int = 1) -> None:
    table = run.predictions()
    table["split"] = "test"
    table["predicted"] = [run.classes[(run.classes.index(label) + by) % len(run.classes)] for label in table.label]
    sure = 0.5 + np.arange(len(table)) / 1000
    for name in run.classes:
        table[f"p_{name}"] = np.where(table.predicted == name, sure, (1 - sure) / (len(run.classes) - 1))
    table.to_parquet(run.folder / "predictions.parquet")


def desk_of(app: AppTest) -> dict[str, Any] | None:
    """What the desk was given to show; None where there is none."""
    shown = [each.proto for each in app.get("bidi_component") if each.proto.component_name == "lab_desk"]
    return json.loads(shown[0].json) if shown else None


_turns = iter(range(10**6))


def send(app: AppTest, *happened: dict[str, Any]) -> AppTest:
    """What the browser's outbox holds reaches the page, as after a key was pressed."""
    on = {"data_hash": Dataset("demo").content_hash}
    app.session_state["review_desk"] = {"outbox": {"turn": next(_turns), "events": [on | each for each in happened]}}
    app.run()
    assert not app.exception, app.exception[0].value
    return app


def verdict(app: AppTest, code: str = "model-wrong", token: str = "t1", **more: Any) -> dict[str, Any]:
    card = desk_of(app)["cards"][0]
    return {
        "kind": "verdict", "id": card["id"], "verdict": code, "label": None, "note": "", "alone": False, "token": token,
    } | more  # fmt: skip


def test_a_verdict_on_another_dataset_s_picture_waits_until_that_is_shown(wrong: Run) -> None:
    """The browser sends its outbox again after a lost connection, when the page may be opened with another run."""
    demo = Dataset("demo")
    drawn("other", per_class=12, seed=9)
    app = draw(REVIEW)
    waiting = verdict(app, data_hash=Dataset("other").content_hash)
    send(app, waiting)
    assert desk_of(app)["failures"] == []
    assert events(demo) == []
    send(app, waiting | {"data_hash": demo.content_hash})
    assert [event.token for event in events(demo)] == [waiting["token"]]


def test_an_answer_may_be_of_a_class_that_no_cell_is_of(wrong: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a run that was adapted to cells that lack one of its classes: its dataset has no such class."""
    three = combine("three", [(Dataset("demo"), {"monocyte": None})])
    recorded = disk.read_json(wrong.folder / "config.json")
    settings = recorded["config"] | {"data": "three"}
    disk.write_json(
        wrong.folder / "config.json", recorded | {"config": settings, "data_hash": three.content_hash}
    )
    wrong.predictions().query("label != 'monocyte'").to_parquet(wrong.folder / "predictions.parquet")
    app = draw(REVIEW, run=wrong.name, pair=f"any-{wrong.classes.index('monocyte')}")
    assert [bar["title"] for bar in desk_of(app)["cards"][0]["bars"] if bar["answer"]] == ["Monocyte"]
    code, told, _ = run_cli(capsys, "review", "list", wrong.name, "--answer", "monocyte", "--json")
    assert (code, json.loads(told)["photos"] > 0) == (0, True)


def test_an_ensemble_s_cell_is_cut_as_the_member_sees_it_whose_heat_map_lies_over_it(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = create_ensemble([trained(view="cell", crop_scale=3.0, epochs=1, seed=seed) for seed in (0, 1)], "wide")
    spoil(wide)
    crops: list[Crop] = []
    looks = review_cards._looks

    def heard(data: Dataset, row: int, crop: Crop) -> tuple[str, str, bool]:
        crops.append(crop)
        return looks(data, row, crop)

    monkeypatch.setattr(review_cards, "_looks", heard)
    assert desk_of(draw(REVIEW, run="wide"))["cards"]
    assert {crop.scale for crop in crops} == {3.0}


@pytest.mark.parametrize("part", ["desk", "selection"])
def test_a_run_that_is_deleted_in_another_window_while_it_is_reviewed_is_told(part, wrong, monkeypatch):
    """These parts are drawn by themselves at each verdict: with the run that the page had found."""
    choose = review.choose

    def deleted_since(*args: Any, **more: Any) -> review.Review:
        chosen = choose(*args, **more)
        runs.remove(wrong)
        return chosen

    monkeypatch.setattr(review, "choose", deleted_since)
    app = draw(REVIEW, run=wrong.name, part=part)
    assert "deleted in another window" in app.toast[0].value
    assert "No run has finished yet" in words(app)
    assert not app.error


def test_a_run_of_the_address_that_is_gone_is_told_where_another_s_mistakes_are_shown(wrong):
    app = draw(REVIEW, run="gone")
    assert [toast.value for toast in app.toast] == ["There is no run gone: another one is shown."]
    assert app.query_params["run"] in (wrong.name, [wrong.name])
    app = draw(REVIEW, run=[wrong.name, "gone"])
    assert [toast.value for toast in app.toast] == ["There is no run gone: the others are shown."]
    assert not draw(REVIEW, run=wrong.name).toast


def test_the_most_confident_mistake_comes_first_and_the_next_ones_with_it(wrong):
    shown = desk_of(draw(REVIEW))
    table = wrong.predictions()
    photos = Dataset("demo").pictures.set_index("image_id").photo[table.image_id].nunique()
    assert shown["total"] == photos
    assert (shown["decided"], shown["cards"][0]["place"]) == (0, 1)
    assert len({card["id"] for card in shown["cards"]}) == 3
    assert shown["cards"][0]["id"] == table.image_id.iloc[-1]
    assert [bar["title"] for bar in shown["cards"][0]["bars"] if bar["answer"]] == [shown["cards"][0]["answer"]]
    assert [shell.percent(bar["share"]) for bar in shown["cards"][0]["bars"]] == [
        bar["words"] for bar in shown["cards"][0]["bars"]
    ]
    assert [each["key"] for each in shown["classes"]] == ["1", "2", "3", "4"]


def test_the_address_tells_run_and_picture(wrong):
    app = draw(REVIEW)
    assert app.query_params["run"] == wrong.name
    assert app.query_params["picture"] == desk_of(app)["cards"][0]["id"]
    third = desk_of(app)["cards"][2]["id"]
    assert desk_of(draw(REVIEW, run=wrong.name, picture=third))["cards"][0]["id"] == third


def test_a_verdict_is_kept_once_and_the_next_picture_comes(wrong):
    app = draw(REVIEW)
    first = verdict(app, note="blurred <b>", token="once")
    second = desk_of(app)["cards"][1]["id"]
    send(app, first)
    send(app, first)
    assert desk_of(app)["cards"][0]["id"] == second
    assert desk_of(app)["decided"] == 1
    assert "once" in desk_of(app)["kept"]
    (kept,) = events(Dataset("demo"))
    assert (kept.image_id, kept.verdict, kept.note, kept.run) == (first["id"], "model-wrong", "blurred <b>", wrong.name)
    assert kept.predicted == wrong.predictions().predicted.iloc[-1]

    # Another session, as after a refresh: what it sends again is known by its token; the picture doesn't come again.
    other = draw(REVIEW, picture=first["id"])
    assert desk_of(other)["cards"][0]["id"] == second
    send(other, first)
    assert len(events(Dataset("demo"))) == 1


def test_several_events_at_once_are_done_in_their_order(wrong):
    app = draw(REVIEW)
    cards = desk_of(app)["cards"]
    right = next(name for name in wrong.classes if name != cards[1]["own"])
    send(
        app,
        verdict(app, "unusable", token="a", alone=cards[0]["copies"]),
        verdict(app, "label-wrong", token="b", id=cards[1]["id"], label=right),
        verdict(app, "ambiguous", token="c", id=cards[2]["id"]),
        {"kind": "undo", "id": "", "token": "d", "of": "b"},
    )
    assert [each.verdict for each in events(Dataset("demo")) if each.counts] == ["unusable", "ambiguous"]
    assert desk_of(app)["cards"][0]["id"] == cards[1]["id"], "what was undone is shown again"
    assert desk_of(app)["undoable"] == ["c", "a"]


def test_an_undo_that_is_sent_twice_takes_one_verdict_back(wrong):
    app = draw(REVIEW)
    for token in ("a", "b"):
        send(app, verdict(app, token=token))
    undo = {"kind": "undo", "id": "", "token": "u", "of": "b"}
    send(app, undo)
    send(draw(REVIEW), undo)
    assert [each.token for each in events(Dataset("demo")) if each.counts] == ["a"]


def test_what_can_t_be_kept_is_told_and_its_picture_stays(wrong):
    app = draw(REVIEW)
    own = desk_of(app)["cards"][0]["own"]
    send(app, verdict(app, "label-wrong", label=own))
    assert "already" in desk_of(app)["failures"][0]
    assert desk_of(app)["cards"][0]["own"] == own
    assert desk_of(app)["decided"] == 0
    send(app, {"kind": "look", "id": desk_of(app)["cards"][0]["id"], "token": "l"})
    assert "already" in desk_of(app)["failures"][0], "what the browser asks by itself takes away what nobody read yet"
    send(app, verdict(app, token="t2"))
    assert desk_of(app)["failures"] == []


def test_a_verdict_that_finds_the_disk_full_is_said_not_to_be_kept_and_its_note_stays(
    wrong: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = draw(REVIEW)
    first, second, _ = desk_of(app)["cards"]
    with monkeypatch.context() as patch:
        full = sqlite3.OperationalError("database or disk is full")
        patch.setattr(review_desk, "record", Mock(side_effect=database.refused(full)))
        send(app, verdict(app, token="a", note="folded"), verdict(app, token="b", id=second["id"]))
    (told,) = desk_of(app)["failures"]
    assert told.startswith("The verdict isn't kept: ")
    assert told.endswith("database or disk is full: make room on it")
    assert desk_of(app)["notes"] == {first["id"]: "folded"}
    send(app, verdict(app, token="c", id=first["id"], note="folded"))
    assert (desk_of(app)["failures"], desk_of(app)["notes"]) == ([], {})
    assert [(each.image_id, each.note) for each in events(Dataset("demo"))] == [(first["id"], "folded")]


def test_back_and_on_go_through_the_queue_without_a_verdict(wrong):
    app = draw(REVIEW)
    first, second, third = (card["id"] for card in desk_of(app)["cards"])
    send(app, {"kind": "on", "id": first, "token": "1"})
    assert desk_of(app)["cards"][0]["id"] == second
    send(app, {"kind": "on", "id": second, "token": "2"}, {"kind": "back", "id": third, "token": "3"})
    assert desk_of(app)["cards"][0]["id"] == second
    assert app.query_params["picture"] == second
    assert events(Dataset("demo")) == []


def test_another_person_s_verdicts_are_passed_over(wrong):
    app, other = draw(REVIEW), draw(REVIEW)
    _, second, third = (card["id"] for card in desk_of(app)["cards"])
    send(app, verdict(app, token="mine"))
    send(other, verdict(other, token="theirs", id=second))
    assert desk_of(send(app, {"kind": "look", "id": second, "token": "l"}))["cards"][0]["id"] == third


def test_who_is_called_with_blanks_finds_the_own_verdicts_again(wrong: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import reviewer

    monkeypatch.setattr(reviewer, "_account", lambda: "Ana  Lee ")
    app = draw(REVIEW)
    assert desk_of(send(app, verdict(app)))["undoable"]


def test_two_people_get_different_pictures(wrong, monkeypatch):
    from ui import reviewer

    app = draw(REVIEW)
    mine = {card["id"] for card in desk_of(app)["cards"]}
    monkeypatch.setattr(reviewer, "_account", lambda: "Bea")
    theirs = desk_of(draw(REVIEW))["cards"]
    assert not mine & {card["id"] for card in theirs}
    assert theirs[0]["place"] == 4


def test_who_takes_another_name_is_not_taken_for_two_people(wrong: Run) -> None:
    """As at each visit: the page is drawn before the browser has told the name that it remembers."""
    app = draw(REVIEW)
    for name in ("Ann", "Bea"):
        app.session_state["reviewer"] = {"name": name}
        app.run()
        assert [card["place"] for card in desk_of(app)["cards"]] == [1, 2, 3]


def test_two_windows_of_one_person_are_not_taken_for_two_people(wrong: Run) -> None:
    for _ in range(2):
        assert [card["place"] for card in desk_of(draw(REVIEW))["cards"]] == [1, 2, 3]


def test_who_is_gone_for_long_keeps_no_pictures(wrong: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import reviewer

    draw(REVIEW)
    monkeypatch.setattr(reviewer, "_account", lambda: "Bea")
    monkeypatch.setattr(review_desk, "AT_WORK", 0.0)
    assert [card["place"] for card in desk_of(draw(REVIEW))["cards"]] == [1, 2, 3]


def test_what_is_reviewed_and_what_reviewers_differ_on_can_be_asked_for(wrong):
    app = draw(REVIEW)
    first, second, third = (card["id"] for card in desk_of(app)["cards"])
    every = desk_of(app)["total"]
    for number, (image_id, by, said) in enumerate(
        [(first, "Ana", "model-wrong"), (third, "Ana", "ambiguous"), (third, "Ben", "unusable")]
    ):
        record(Dataset("demo"), [image_id], said, by=by, token=f"r{number}")
    for which, wanted in (("reviewed", [first, third]), ("disputed", [third])):
        shown = desk_of(draw(REVIEW, which=which))
        assert [card["id"] for card in shown["cards"]] == wanted
        assert (shown["total"], shown["cards"][0]["place"]) == (len(wanted), 1)
        app = draw(REVIEW, which=which, part="selection")
        assert f"{len(wanted)} of {len(wanted)} are shown" in words(app)
    assert desk_of(draw(REVIEW, which="all"))["total"] == every
    assert desk_of(draw(REVIEW))["cards"][0]["id"] == second


def test_a_second_opinion_is_of_what_others_decided_and_does_not_tell_what_they_said(wrong, monkeypatch):
    from ui import reviewer

    app = draw(REVIEW)
    first, second, third = (card["id"] for card in desk_of(app)["cards"])
    data = Dataset("demo")
    record(data, [first], "ambiguous", by="Ana", note="folded")
    record(data, [third], "unusable", by="Ana")
    record(data, [second], "model-wrong", by="Bea")
    monkeypatch.setattr(reviewer, "_account", lambda: "Bea")
    app = draw(REVIEW, which="second")
    shown = desk_of(app)
    assert [card["id"] for card in shown["cards"]] == [first, third]
    assert (shown["total"], shown["decided"]) == (2, 0)
    assert [(card["said"], card["verdict"]) for card in shown["cards"]] == [("", None)] * 2
    send(app, verdict(app))
    shown = desk_of(app)
    assert [card["id"] for card in shown["cards"]] == [third]
    assert shown["decided"] == 1
    send(app, {"kind": "back", "id": third, "token": "b"})
    assert desk_of(app)["cards"][0]["said"] == "Bea said: model wrong"
    send(app, verdict(app, token="t9", id=third))
    assert desk_of(app) is None
    assert "All 2 are reviewed" in words(app)
    assert set(current(data).disagreements) == set(data.pictures.set_index("image_id").photo[[first, third]])


def test_the_history_of_a_second_opinion_is_told_once_it_is_given(wrong):
    def history(which: str) -> None:
        from dataclasses import replace

        from ui import review, review_more, review_sources

        chosen = replace(review.choose(review_sources.sources(), of_a_queue=False), which=which, by="Bea")
        review_more._history(chosen, chosen.rows.iloc[0])

    def told(which: str) -> str:
        app = AppTest.from_function(history, args=(which,), default_timeout=PATIENCE).run()
        assert not app.exception
        return words(app)

    data = Dataset("demo")
    record(data, data.pictures.image_id.tolist(), "ambiguous", by="Ana")
    assert "Ana" in told("all")
    assert "Ana" not in told("second")
    assert "hidden until you have given yours" in told("second")
    record(data, data.pictures.image_id.tolist(), "model-wrong", by="Bea")
    assert "Ana" in told("second")


def test_when_all_are_reviewed_the_page_says_so_and_the_last_can_be_undone(wrong):
    app = draw(REVIEW)
    for number in range(desk_of(app)["total"]):
        send(app, verdict(app, token=f"t{number}"))
    assert desk_of(app) is None
    assert "are reviewed" in words(app)
    next(button for button in app.button if button.label == "Undo the last verdict").click().run()
    assert desk_of(app)["decided"] == desk_of(app)["total"] - 1
    again = draw(REVIEW, which="all")
    assert "said: model wrong" in desk_of(again)["cards"][0]["said"]


def test_two_runs_are_reviewed_together(wrong, lab):
    from tests.training_fixtures import train_here

    other = train_here(seed=3)
    spoil(other, by=2)
    app = draw(REVIEW, run=[wrong.name, other.name], order="disagreement")
    card = desk_of(app)["cards"][0]
    assert card["says_words"] == "2 of 2 runs are wrong; bars are their mean"
    asked = verdict(app)
    send(app, asked)
    assert events(Dataset("demo"))[0].run in (wrong.name, other.name)


def test_runs_on_other_pictures_are_refused_together(wrong, lab):
    from tests.training_fixtures import drawn, train_here

    drawn("other", per_class=12, seed=9)
    app = draw(REVIEW, run=[wrong.name, train_here(data="other").name])
    assert "can't be reviewed together: they are of different data" in app.error[0].value
    assert desk_of(app) is None


def test_a_deleted_dataset_is_told(wrong):
    drawn("other", per_class=10)
    remove("demo")
    app = draw(REVIEW)
    assert "there is no dataset" in app.error[0].value
    assert desk_of(app) is None


def test_a_damaged_database_is_told_and_no_verdict_is_taken(wrong):
    (workspace.home() / "lab.sqlite").write_bytes(b"no database at all" * 100)
    app = draw(REVIEW)
    assert "can't be used" in app.error[0].value
    assert desk_of(app) is None


def test_when_the_database_can_be_used_again_the_desk_comes_back_without_a_reload(wrong):
    database = workspace.home() / "lab.sqlite"
    database.write_bytes(b"no database at all" * 100)
    app = draw(REVIEW)
    database.unlink()
    next(button for button in app.button if button.label == "Try again").click().run()
    assert not app.error
    assert desk_of(app) is not None


def test_a_picture_whose_file_is_gone_costs_its_own_card_only(wrong):
    card = desk_of(draw(REVIEW))["cards"][0]
    data = Dataset("demo")
    stored = data.pictures.stored[data.pictures.image_id == card["id"]].iloc[0]
    (data.folder / "originals" / stored).unlink()
    from ui import review_cards

    review_cards._looks.clear()
    shown = desk_of(draw(REVIEW))["cards"]
    assert "is missing" in shown[0]["cell_words"]
    assert shown[1]["cell_words"] == "Cell view"


def test_a_pair_and_filters_choose_the_queue(wrong):
    table = wrong.predictions()
    pair = table[table.label == wrong.classes[0]]
    shown = desk_of(draw(REVIEW, pair="0-1"))
    photos = Dataset("demo").pictures.set_index("image_id").photo
    assert shown["total"] == photos[pair.image_id].nunique()
    assert {card["own"] for card in shown["cards"]} == {wrong.classes[0]}
    assert desk_of(draw(REVIEW, sure="90..100")) is None
    for part in ("desk", "selection"):
        for which in review.WHICH:
            assert "No picture matches" in words(draw(REVIEW, sure="90..100", which=which, part=part))
    for kind, of in (("0-any", table.label), ("any-0", table.predicted)):
        own = table[of == wrong.classes[0]]
        assert desk_of(draw(REVIEW, pair=kind))["total"] == photos[own.image_id].nunique()


def test_a_range_of_the_margin_is_asked_for_by_slider_and_address(wrong):
    table = wrong.predictions()
    own = [row[f"p_{row['label']}"] - row[f"p_{row['predicted']}"] for _, row in table.iterrows()]
    near = table[np.array(own) >= -0.34]
    photos = Dataset("demo").pictures.set_index("image_id").photo
    wanted = photos[near.image_id].nunique()
    assert 0 < wanted < photos[table.image_id].nunique()
    assert desk_of(draw(REVIEW, margin="-34..100"))["total"] == wanted
    app = draw(REVIEW)
    app.slider(key="margin").set_value((-34, 100)).run()
    assert app.query_params["margin"] == "-34..100"
    assert desk_of(app)["total"] == wanted
    app.slider(key="margin").set_value((-100, 100)).run()
    assert "margin" not in app.query_params


@pytest.mark.parametrize("told", ["x", "7", "5..1", "-101..0", "1..2..3", "9999999999..9"])
def test_a_range_that_can_not_be_is_passed_over(wrong, told):
    app = draw(REVIEW, margin=told, loss=told)
    assert app.slider(key="margin").value == (-100, 100)
    assert app.slider(key="loss").value == (0, 10)
    assert desk_of(app)


def test_no_class_has_a_key_that_means_something_else():
    from ui.review_desk import CLASS_KEYS

    html = Path(shell.__file__).with_name("desk.html").read_text(encoding="utf-8")
    taken = {*re.findall(r'data-key="(\w)"', html), *(key.lower() for key in re.findall(r"<kbd>(\w)</kbd>", html))}
    assert taken >= {*"maunhz"}
    assert not {*CLASS_KEYS} & (taken | {*"cr"}), "C and R are Streamlit's own"
    assert len({*CLASS_KEYS}) == len(CLASS_KEYS) > 20


def test_the_tenth_class_has_a_key_and_none_is_left_out(wrong, monkeypatch):
    from ui import review_desk

    monkeypatch.setattr(review_desk, "CLASS_KEYS", "1x")
    assert [each["key"] for each in desk_of(draw(REVIEW))["classes"]] == ["1", "x", "", ""]


def test_one_verdict_for_many(wrong):
    app = draw(REVIEW, part="selection")
    assert all(button.disabled for button in app.button if button.label == "Ambiguous")
    next(button for button in app.button if button.label == "Mark all shown").click().run()
    next(button for button in app.button if button.label == "Ambiguous").click().run()
    assert not app.exception
    photos = Dataset("demo").pictures.set_index("image_id").photo[wrong.predictions().image_id].unique()
    standing = current(Dataset("demo"))
    assert {photo: each.verdict for photo, each in standing.by_photo.items()} == dict.fromkeys(photos, "ambiguous")
    assert len(standing.steps) == 1, "it is undone as one"
    assert "are reviewed" in words(app)


def test_of_runs_whose_dataset_was_deleted_none_is_reviewed_unasked(wrong):
    newer = trained(seed=5)
    recorded = disk.read_json(newer.folder / "config.json")
    disk.write_json(newer.folder / "config.json", recorded | {"config": recorded["config"] | {"data": "gone"}})
    app = draw(REVIEW)
    assert app.multiselect(key="run").value == [wrong.name]
    assert not app.error
    remove("demo")
    assert "there is no dataset" in draw(REVIEW).error[0].value


def test_how_pictures_are_marked_is_told_above_them(wrong):
    """Below, of 120 pictures, it was out of sight, and the buttons above were off without a word."""
    shown = list(draw(REVIEW, part="selection").main)
    (told,) = [place for place, each in enumerate(shown) if each.type == "caption" and "Click pictures" in each.value]
    (pictures,) = [place for place, each in enumerate(shown) if each.type == "bidi_component"
                   and each.proto.component_name == "lab_gallery"]  # fmt: skip
    assert told < pictures


def test_the_most_doubtful_labels_come_first_also_where_the_network_agrees(done):
    table = done.predictions()
    app = draw(REVIEW, order="issue")
    test = table[table.split == "test"]
    photos = Dataset("demo").pictures.set_index("image_id").photo
    shown = desk_of(app)
    assert shown["total"] == photos[test.image_id].nunique(), "right answers too"
    assert "Test pictures alone are ranked" in words(app)
    own = test.assign(photo=photos[test.image_id].to_numpy(), own=[row[f"p_{row.label}"] for _, row in test.iterrows()])
    least = own.groupby("photo").own.mean().idxmin()
    assert photos[shown["cards"][0]["id"]] == least


def test_the_network_is_asked_for_its_training_pictures_once_and_tells_how_far_it_is(done, monkeypatch):
    asked, told = [], []
    whole, drawn = review_sources.own_predictions, review_sources.st.progress

    def counted(run, split, progress):
        asked.append(split)
        return whole(run, split, progress=progress)

    def progress(value, words):
        told.append(words)
        return drawn(value, words)

    monkeypatch.setattr(review_sources, "own_predictions", counted)
    monkeypatch.setattr(review_sources.st, "progress", progress)
    app = draw(REVIEW, training="True")
    assert told == [review_sources.ASKING]
    assert not app.get("progress"), "it is done"
    app.run()
    assert asked == ["train"]
    assert not app.exception


def test_training_pictures_come_with_a_warning(done):
    app = draw(REVIEW, order="issue", training="True")
    assert "Only in-sample" in words(app)
    assert desk_of(app)["total"] == Dataset("demo").pictures.photo.nunique()


def test_a_cross_validation_is_reviewed_as_a_whole(lab):
    from bloodcell_core.training import groups, worker
    from tests.training_fixtures import tiny

    group = groups.create_group(tiny(epochs=1), 2)
    for run in groups.unfinished(group):
        worker.work(run, say=lambda line: None)
    group = groups.find(group.name)
    app = draw(REVIEW, run=group.name, order="issue")
    assert desk_of(app)["total"] == Dataset("demo").pictures.photo.nunique()
    assert "in-sample" not in words(app)
    send(app, verdict(app))
    tested = {run.name: set(run.predictions().query("split == 'test'").image_id) for run in group.finished}
    (kept,) = events(Dataset("demo"))
    assert kept.image_id in tested[kept.run]
    app = draw(REVIEW, run=group.name, part="selection")
    for label in ("Mark all shown", "Unusable"):
        next(button for button in app.button if button.label == label).click().run()
    many = [event for event in events(Dataset("demo")) if event.verdict == "unusable"]
    assert {event.run for event in many} == {*tested}
    assert all(event.image_id in tested[event.run] for event in many)


def test_a_gallery_begins_with_one_picture_of_each_photo():
    table = pd.DataFrame({"photo": [*"aaabbc"], "image_id": [*"123456"]})
    assert review.each_photo_first(table).image_id.tolist() == [*"146253"]
    assert review.each_photo_first(table.iloc[:0]).empty


def test_what_was_fixed_and_broken_is_shown_with_its_interval(wrong, lab):
    from bloodcell_core.evaluation.comparison import side_of
    from bloodcell_core.review.fixed import fixed_and_broken
    from tests.training_fixtures import train_here

    assert "There is only one run" in words(draw(REVIEW, part="fixed"))
    other = train_here(epochs=1)
    spoil(other, by=0)
    for run, answer in ((wrong, 0), (other, 1)):  # the first picture is the one that it is the other way round for
        table = run.predictions()
        table.loc[0, "predicted"] = run.classes[(run.classes.index(table.label[0]) + answer) % len(run.classes)]
        table.to_parquet(run.folder / "predictions.parquet")
    app = draw(REVIEW, part="fixed", before=wrong.name, after=other.name)
    assert "Broken: 1 picture" in app.segmented_control(key="who").options
    assert shell.plain(fixed_and_broken(side_of(wrong), side_of(other)).in_words()) in words(app)
    assert not app.error


def test_a_run_is_first_set_against_one_that_was_tested_on_the_same_pictures_of_the_same_classes(done: Run) -> None:
    fewer, last = trained(refuse="monocyte"), trained(seed=3)
    for day, run in enumerate((fewer, last), 1):
        recorded = disk.read_json(run.folder / "config.json")
        disk.write_json(run.folder / "config.json", recorded | {"created": f"2999-01-0{day}T00:00:00+00:00"})
    app = draw(REVIEW, part="fixed")
    assert not app.error
    assert [app.selectbox(key=side).value for side in ("before", "after")] == [done.name, last.name]
    kept = [app.query_params[side] for side in ("before", "after")]
    assert kept == [done.name, last.name], "a copied address keeps them when there are newer runs"
    runs.remove(last)
    assert "their classes differ" in words(draw(REVIEW, part="fixed")), "there is no other pair"


@pytest.mark.parametrize("by", ["words", "facts", "photo"])
def test_what_the_mistakes_teach_is_shown_each_way(wrong, by):
    app = draw(REVIEW, part="teaches", by=by)
    assert not app.error
    number = len(wrong.predictions())
    assert f"{number} wrong pictures of" in words(app) if by == "words" else "wrong picture" in words(app)


def test_groups_that_a_table_told_are_not_called_photos(wrong: Run) -> None:
    table = wrong.folder / "predictions.parquet"
    pd.read_parquet(table).assign(copies=False).to_parquet(table)
    images = workspace.dataset_dir("demo") / "images.parquet"
    patients = pd.read_parquet(images).assign(copies=False)
    images.unlink()  # other tests' workspaces share the file
    patients.to_parquet(images)
    app = draw(REVIEW, part="teaches", by="facts")
    assert {"Groups", "Pictures"} < set(app.dataframe[0].value.columns)
    assert "Photos" not in app.dataframe[0].value
    assert re.search(r"wrong pictures? of \d+ groups?", words(app))
    assert "By group" in app.segmented_control(key="by").options
    send(draw(REVIEW), verdict(draw(REVIEW), "ambiguous"))
    assert "leave out 1 group (1 picture)" in words(draw(REVIEW, part="overlays"))


def test_verdicts_become_an_overlay_that_training_takes(wrong, monkeypatch):
    from bloodcell_core.training import jobs

    app = draw(REVIEW)
    send(app, verdict(app, "ambiguous"))
    app = draw(REVIEW, part="overlays")
    next(button for button in app.button if button.label == "Make a version").click().run()
    assert not app.exception
    (made,) = overlays.versions()
    assert (made["overlay"], made["version"], made["by"]) == ("reviewed", 1, getpass.getuser())
    assert "reviewed@1" in words(draw(REVIEW, part="overlays"))

    started = []
    monkeypatch.setattr(jobs, "train_detached", started.append)
    train = draw("pages/2_Train.py", dataset="demo", labels="reviewed@1")
    assert "With the reviewed labels reviewed@1" in words(train)
    next(button for button in train.button if button.label == "Train").click().run()
    assert [config.labels for config in started] == ["reviewed@1"]


def test_what_was_brought_from_elsewhere_is_not_replaced_by_the_verdicts_unasked(wrong, tmp_path):
    data = Dataset("demo")
    record(data, [data.pictures.image_id[0]], "ambiguous", by="Ann")
    overlays.freeze("mine", data, by="Ann")
    brought = tmp_path / "labels.csv"
    brought.write_text(f"image_id,label\n{data.pictures.image_id[1]},{data.classes[-1]}\n")
    overlay, _, _ = exchange.import_csv(brought, "elsewhere", by="Bea")
    app = draw(REVIEW, part="overlays")
    assert next(box for box in app.text_input if box.label == "Overlay").value == "mine"
    assert f"Train with {overlay.reference}" in [button.label for button in app.button], "the newest is ticked"
    exchange.import_csv(brought, "mine", by="Bea")  # over what was made of verdicts
    for name in ("reviewed", "reviewed-demo"):
        app = draw(REVIEW, part="overlays")
        assert next(box for box in app.text_input if box.label == "Overlay").value == name
        exchange.import_csv(brought, name, by="Bea")


def test_labels_are_not_imported_without_a_file_and_without_a_word(wrong):
    app = draw(REVIEW, part="overlays")
    next(button for button in app.button if button.label == "Import").click().run()
    assert [toast.value for toast in app.toast] == ["Choose a CSV file first"]


def test_labels_that_can_not_be_imported_are_told_by_the_name_of_the_file_that_was_chosen(wrong):
    app = draw(REVIEW, part="overlays")
    app.file_uploader[0].upload("monday <b>.csv", b"image_id\nx\n")
    next(button for button in app.button if button.label == "Import").click().run()
    assert [error.value.replace("\\", "") for error in app.error] == [
        "'monday <b>.csv' lacks the column 'label': it needs image_id, label, and may have all that "
        "`review export` writes"
    ]


@pytest.fixture(autouse=True)
def _nothing_outlives_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is at work; and the neighbours' thread, which would go on in another test's workspace."""
    from ui import neighbours, review_desk

    review_desk._at_work.clear()
    monkeypatch.setattr(neighbours.Finder, "ask", lambda self, run, data, rows: None)


def test_two_who_go_on_at_the_same_moment_are_given_different_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import review_desk

    ids = [(f"picture {n}", f"photo {n}") for n in range(12)]
    coming = review_desk._coming

    def slowly(*given: Any) -> list[int]:
        chosen = coming(*given)
        time.sleep(0.05)  # the other one chooses meanwhile, if they may
        return chosen

    both = Barrier(2)

    def chosen_by(person: str) -> set[int]:
        both.wait()
        data = SimpleNamespace(content_hash="same")
        review: Any = SimpleNamespace(ids=ids, once=True, by=person, data=data)
        return {*review_desk._take(review, [False] * len(ids))[1 : 1 + review_desk.AHEAD]}

    monkeypatch.setattr(review_desk, "_coming", slowly)
    monkeypatch.setattr(review_desk, "_me", get_ident)
    monkeypatch.setattr(review_desk, "_place", lambda review, decided: {"Ann": 0, "Bea": 1}[review.by])
    with ThreadPoolExecutor(2) as pool:
        ann, bea = pool.map(chosen_by, ("Ann", "Bea"))
    assert len(ann | bea) == 2 * review_desk.AHEAD


def test_the_same_pictures_imported_in_another_order_are_shown_under_their_own_names(wrong):
    """A folder is imported anew, its files called otherwise: the content is the same, each picture was another's."""

    def shown() -> tuple[list[str], list[str]]:
        data = lab.dataset("demo")
        source = review_sources.Source(name=wrong.name, title="", runs=[wrong])
        found = review_sources.pictures_of([source], data, training=False)
        finding = next(each for each in lab.audit_of(data).findings if each.rows)
        seen = [*found.image_id, *data.pictures.image_id.iloc[lab.finding_rows(data, finding)]]
        return seen, [*data.pictures.image_id.loc[found.row], *data.images.image_id.iloc[finding.rows]]

    told, there = shown()
    assert told == there
    data = Dataset("demo")
    before = data.images.image_id.tolist()
    with disk.write_atomic(data.folder / "images.parquet") as aside:  # the file is a link to all tests' own
        data.images.iloc[::-1].to_parquet(aside, index=False)
    disk.write_json(data.folder / "dataset.json", data.facts | {"imported": "2031-01-01T00:00:00+00:00"})
    assert lab.dataset("demo").images.image_id.tolist() == before[::-1]
    told, there = shown()
    assert told == there
