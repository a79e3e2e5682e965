"""The Classify page's "Your own microscope": cells labelled, the network adapted to them, what it brought."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from bloodcell_core import background, disk, runs, workspace
from bloodcell_core.inference import adaptation
from bloodcell_core.runs import Run
from bloodcell_core.smear import adaptation_jobs, slides
from bloodcell_core.smear.adaptation_jobs import AdaptationJob
from bloodcell_core.smear.slide_answers import SlideAnswers
from bloodcell_core.smear.slide_cells import counted_pictures
from bloodcell_core.smear.slides import Slide
from bloodcell_core.training.ensembles import create_ensemble
from tests.test_adaptation_jobs import labelled_slide
from tests.test_classify_page import components, draw, press, ran, words
from tests.training_fixtures import trained
from ui import classify_slide, labelling

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def run(lab: Path) -> Run:
    return trained(view="cell", seed=2)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs start no process: a test works at them itself, and quickly."""
    monkeypatch.setattr(background.Job, "start", lambda job, module: job.tell(**background.starting()))
    monkeypatch.setitem(adaptation.SETTINGS, "epochs", 2)
    torch.set_num_threads(1)


def own(slide: Slide, **query: str) -> AppTest:
    return draw(slide=slide.id, view="own", **query)


def button(app: AppTest, key: str):
    (found,) = [each for each in app.button if each.key == key]
    return found


def as_now(slide: Slide) -> Slide:
    return slides.read_slide(slide.id)


def unlabelled(slide: Slide) -> Slide:
    return slides.undo(slide)


# Labelling


@pytest.mark.parametrize(
    ("cells", "words"), [(0, "Every cell here"), (1, "The other one here is"), (2, "All 2 others here are")]
)
def test_the_rest_is_counted_in_words(cells: int, words: str):
    assert labelling._rest_in_words(cells).startswith(words)


def test_all_cells_stand_on_the_sheet_and_are_confirmed_together(run: Run):
    slide = unlabelled(labelled_slide(run, pictures=3))
    app = own(slide)
    (sheet,) = components(app, "lab_sheet")
    assert len(sheet["cells"]) == 12
    assert {cell["state"] for cell in sheet["cells"]} == {"guess"}
    assert {cell["named"] for cell in sheet["cells"]} == {run.classes[0]}
    assert [cls["name"] for cls in sheet["classes"]] == run.classes
    assert "**0 labelled cells**" not in words(app)
    assert "0 labelled cells" in button_words(app)
    # Two are given another class by hand, one is no cell: the button takes the others alone.
    first, second, third = (cell["id"] for cell in sheet["cells"][:3])
    given(slide, run, ("label", first, run.classes[1]), ("label", second, run.classes[2]), ("remove", third, ""))
    app = own(slide)
    assert button(app, "sheet_rest").label == "All 9 others here are right"
    button(app, "sheet_rest").click()
    ran(app)
    (sheet,) = components(app, "lab_sheet")
    states = [(cell["state"], cell["confirmed"]) for cell in sheet["cells"]]
    assert states[:2] == [("confirmed", run.classes[1]), ("confirmed", run.classes[2])]
    assert states[2][0] == "removed"
    assert states[3:] == [("confirmed", run.classes[0])] * 9
    assert button(app, "sheet_rest").disabled
    assert as_now(slide).last_change == max(one.version for one in as_now(slide).corrections)
    assert len({one.version for one in as_now(slide).corrections[-9:]}) == 1, "one undoing takes all nine back"


def button_words(app: AppTest) -> str:
    """What stands on the bars of progress, which AppTest has no name for."""
    return "\n".join(element.proto.text for element in app.get("progress"))


def given(slide: Slide, run: Run, *acts: tuple[str, str, str]) -> None:
    """What the browser sends for clicks on tiles, as the page takes it."""
    st.session_state[classify_slide.SEEN] = as_now(slide)
    try:
        for do, key, label in acts:
            box = [0, 60, 40, 100] if do == "label" else None
            labelling.apply({"do": do, "cell": key, "label": label, "box": box}, run.classes)
    finally:
        del st.session_state[classify_slide.SEEN]
        told = st.session_state.pop(classify_slide.TOLD, None)
    assert told is None, told


def test_the_order_of_the_sheet_does_not_hang_on_what_is_labelled(run: Run):
    slide = labelled_slide(run, pictures=3)
    before = unlabelled(slide)
    answers = SlideAnswers(slide, run.name)
    orders = [
        [one.key for one in labelling.called_cells(counted_pictures(each, answers, threshold))]
        for each in (slide, before)
        for threshold in (0.0, 0.9)
    ]
    assert orders[0] == orders[1] == orders[2] == orders[3]
    assert len(set(orders[0])) == 12


def test_a_tile_s_class_that_the_run_does_not_have_is_refused(run: Run):
    slide = unlabelled(labelled_slide(run, pictures=1))
    (sheet,) = components(own(slide), "lab_sheet")
    with pytest.raises(AssertionError, match="can't be understood"):
        given(slide, run, ("label", sheet["cells"][0]["id"], "<b>basophil</b>"))
    assert as_now(slide).last_change is None


def test_many_cells_are_paged_and_shown_by_what_they_are_called(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(labelling, "TILES", 10)
    slide = labelled_slide(run, pictures=3)
    app = own(slide)
    assert app.segmented_control(key="called").options == ["All 12/12", f"{run.classes[0].capitalize()} 12/12"]
    assert len(components(app, "lab_sheet")[0]["cells"]) == 10
    assert len(components(own(slide, page="2"), "lab_sheet")[0]["cells"]) == 2


def test_a_picture_that_is_gone_costs_its_own_tiles(run: Run):
    slide = labelled_slide(run, pictures=2)
    (slide.folder / "pictures" / slide.pictures[0].stored).unlink()
    st.cache_data.clear()
    (sheet,) = components(own(slide), "lab_sheet")
    assert len({cell["src"] for cell in sheet["cells"]}) == 5, "four of the other picture, and one grey for four"


# How many are needed


@pytest.mark.parametrize(
    ("pictures", "bar", "why"),
    [
        (1, "36 more to begin, 96 more to the advised 100", "4 labelled cells are too few"),
        (9, "4 more to begin, 64 more to the advised 100", "36 labelled cells are too few"),
        (12, "enough to begin, 52 more to the advised 100", ""),
        (25, "at least the advised 100", ""),
    ],
)
def test_how_many_more_are_needed_is_told_and_nothing_is_begun_before(run: Run, pictures: int, bar: str, why: str):
    app = own(labelled_slide(run, pictures))
    assert f"**{4 * pictures} labelled cells** · {bar}" in button_words(app)
    assert why in words(app)
    assert ("Not yet" in words(app)) == button(app, "adapt_go").disabled == bool(why)


def test_cells_of_one_class_alone_are_not_called_enough(monkeypatch: pytest.MonkeyPatch):
    from ui import adaptation as panel

    told: list[str] = []
    monkeypatch.setattr(panel.st, "progress", lambda share, words: told.append(words))
    for counts in ({"monocyte": 60, "neutrophil": 0}, {"monocyte": 57, "neutrophil": 3}, {"monocyte": 30, "other": 30}):
        panel._progress(counts)
    assert [words.split(" · ")[1] for words in told] == [
        "40 more to the advised 100", "40 more to the advised 100", "enough to begin, 40 more to the advised 100"
    ]  # fmt: skip


def test_cells_of_one_picture_alone_are_not_enough(run: Run, monkeypatch: pytest.MonkeyPatch):
    from ui import adaptation as panel

    monkeypatch.setattr(panel, "too_few", lambda counts: "")
    assert "all cells are of one photo" in words(own(labelled_slide(run, pictures=1)))


def test_an_ensemble_is_not_adapted(run: Run):
    together = create_ensemble([run, trained(view="cell", seed=3, epochs=1)])
    app = own(labelled_slide(run, pictures=1), run=together.name)
    assert "An ensemble can't be adapted" in words(app)
    assert not [each for each in app.button if each.key == "adapt_go"]


# Adapting


def test_one_that_was_begun_in_another_window_is_shown(run: Run, here: None, monkeypatch: pytest.MonkeyPatch):
    """The panel is drawn by itself at each click: the page that draws the cards had looked before it was begun."""
    slide, listed, looks = labelled_slide(run), AdaptationJob.readable, []

    def begun_meanwhile() -> tuple[list[AdaptationJob], list[str]]:
        looks.append(listed())
        if len(looks) == 1:
            adaptation_jobs.start(run, slide)
        return looks[-1]

    monkeypatch.setattr(AdaptationJob, "readable", begun_meanwhile)
    app = own(slide)
    assert "**Adapting to My slide**" in button_words(app)
    assert button(app, "adapt_go").disabled


def test_nothing_is_adapted_to_other_cells_than_were_chosen_where_those_are_deleted_meanwhile(run: Run, here: None):
    app = own(labelled_slide(run))
    app.selectbox(key="adapt_data").select("demo")
    ran(app)
    workspace.dataset_dir("demo").rename(workspace.home() / "gone")
    button(app, "adapt_go").click()
    ran(app)
    assert "The dataset demo was deleted in another window" in words(app)
    assert AdaptationJob.readable() == ([], [])


def test_a_network_is_adapted_while_the_page_is_left_and_used_at_once(run: Run, here: None):
    slide = labelled_slide(run)
    app = own(slide)
    button(app, "adapt_go").click()
    ran(app)
    ((job,), _) = AdaptationJob.readable()
    assert job.request == {"run": run.name, "slide": slide.id, "slide_name": slide.name, "data": None}
    assert "**Adapting to My slide**" in button_words(app)
    assert button(app, "adapt_go").disabled, "one at a time"
    adaptation_jobs.work(job)  # as its process does, whatever becomes of the page
    made = Run(job.status()["run"])
    for app in (draw(), draw(slide=slide.id)):  # found again from wherever one comes
        assert ":material/check_circle: **Adapted to My slide**" in words(app)
        assert "On 48 cells (12 pictures), each answered by a network that was adapted without it" in words(app)
        assert "Before" in html(app)
        assert "After" in html(app)
    button(app, f"open_{job.name}").click()
    ran(app)
    assert app.query_params["run"] in (made.name, [made.name])
    assert AdaptationJob.readable() == ([], [])
    assert as_now(slide).run == made.name
    assert "What adapting brought this network" in words(own(slide, run=made.name))


@pytest.mark.parametrize("better", ["a", "b", None])
def test_a_network_that_adapting_made_worse_is_not_what_the_page_leads_to(better: str | None, run: Run, here: None):
    told = run.summary()
    compared = {"verdict": "A is right on 14 more of 48 cells: A is better.", "better": better}
    facts = {"before": told["test"], "after": told["test"], "cells": 48, "warnings": []}
    facts["photos"] = 12 if better else None
    disk.write_json(run.folder / "summary.json", told | {"adaptation": facts | {"compared": compared}})
    job = adaptation_jobs.start(run, labelled_slide(run), None)
    job.tell(state="done", run=run.name)
    app = draw()
    assert button(app, f"open_{job.name}").proto.type == ("secondary" if better == "a" else "primary")
    assert ("As it was, the network is better on these cells" in words(app)) is (better == "a")
    assert f"On 48 cells ({'12 pictures' if better else 'source photos not known'})," in words(app)
    for when in ("Before", "After"):  # first: on a phone the end of a long name is cut off
        assert f">{when}: right, every class" in html(app)


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def test_it_can_be_stopped_and_closed(run: Run, here: None):
    slide = labelled_slide(run)
    before = runs.names()
    button(own(slide), "adapt_go").click().run()
    ((job,), _) = AdaptationJob.readable()
    job.tell(state="running", phase="adapting", done=30, total=180, seconds_left=75)
    with job.lock:
        app = own(slide)
        assert "adapting, 30 of 180, about 75 s left" in button_words(app)
        app = press(app, "Stop")
        assert button(app, f"stop_{job.name}").disabled
    assert job.stop_requested()
    adaptation_jobs.work(job)
    app = own(slide)
    assert "Adapting to My slide: stopped on request." in words(app)
    press(app, "Close")
    assert AdaptationJob.readable() == ([], [])
    assert runs.names() == before


def test_what_fails_is_told_and_what_is_damaged_hinders_nothing(run: Run, here: None):
    slide = labelled_slide(run)
    for name in ("<b>one</b>", "two"):
        job = adaptation_jobs.start(run, slide, "gone")
        job.tell(state="failed", reason=f"there is no dataset {name}")
    (job.folder / "status.json").write_text("{")
    app = own(slide)
    told = [error.value for error in app.error]
    assert len(told) == 2
    assert "status.json can't be read" in told[0].replace("\\", "")
    assert "\\<b>one" in told[1]
    assert not button(app, "adapt_go").disabled


def test_a_run_that_was_deleted_since_is_told(run: Run, here: None):
    job = adaptation_jobs.start(run, labelled_slide(run))
    job.tell(state="done", run="20260101-000000-gone")
    assert "the new network has been deleted since" in words(draw())
    assert AdaptationJob(job.name).status()["state"] == "done"


