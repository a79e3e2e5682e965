"""Runs and datasets given titles and tags, and deleted, on the pages."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import notes, runs
from bloodcell_core.data import dataset as datasets
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from tests.test_pages import COMPARE, draw, words
from tests.training_fixtures import run_cli, tiny, train_here, trained
from ui import lab, shell

pytest_plugins = ["tests.training_fixtures"]


def opened(page: str, key: str, **query: str) -> AppTest:
    app = draw(page, **query)
    return app.button(key=key).click().run()


def test_a_run_is_named_tagged_and_found_by_its_tag(done: Run) -> None:
    other = train_here(seed=3)
    app = opened("pages/2_Train.py", f"name-{done.name}")
    app.text_input(key=f"title_of_{done.name}").set_value("First *try*").run()
    app.button(key="naming_save").click().run()
    assert not app.exception
    assert done.notes.title == "First *try*"
    notes.tag("run", done.name, ["paper"])  # the test app can't type a new tag
    assert r"**First \*try\* · " in words(draw("pages/2_Train.py"))
    app = draw(COMPARE, tag="paper")
    assert len(app.dataframe[0].value) == 1
    assert app.dataframe[0].value.Run[0].startswith("First *try* · ")
    assert len(draw(COMPARE).dataframe[0].value) == 2
    runs.remove(other)


def test_a_delete_is_asked_twice_and_says_what_goes(done: Run) -> None:
    app = opened("pages/2_Train.py", f"name-{done.name}")
    title = f"**{shell.plain(lab.run_title(done))}**"
    assert [text.value for text in app.markdown].count(title) == 2  # on the run's card, and in the dialog
    assert "weights, predictions, curves and log go" in words(app)
    assert app.button(key="naming_delete").disabled
    app.checkbox(key=f"sure_of_{done.name}").check().run()
    app.button(key="naming_delete").click().run()
    assert not app.exception
    assert runs.names() == []


@pytest.mark.parametrize("file", ["config.json", "status.json", "summary.json"])
def test_a_damaged_run_is_deleted_on_the_train_page(done: Run, file: str) -> None:
    other = trained(seed=3)
    (other.folder / file).write_text("{")
    app = opened("pages/2_Train.py", "name_damaged")
    app.checkbox(key=f"sure_of_{other.name}").check().run()
    app.button(key="naming_delete").click().run()
    assert not app.exception
    assert not app.error
    assert runs.names() == [done.name]


def test_a_damaged_run_is_removed_by_its_name_unless_its_worker_is_there(
    done: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (done.folder / "config.json").write_text("{")
    remove = ("runs", "remove", done.name)
    with done.lock:
        assert "is at work" in run_cli(capsys, *remove)[2]
    assert run_cli(capsys, "runs", "remove", done.name[:-1])[0] == 0
    assert runs.names() == []
    assert "there is no run" in run_cli(capsys, *remove)[2]


def test_a_dataset_with_a_run_at_work_is_refused_in_the_dialog(done: Run) -> None:
    run = jobs.create_run(tiny())
    app = opened("pages/1_Browse.py", "name_dataset")
    assert "2 runs on it keep their figures" in words(app)
    app.checkbox(key="sure_of_demo").check().run()
    app.button(key="naming_delete").click().run()
    assert f"{run.name}' is at work on dataset 'demo'" in app.error[0].value.replace("\\", "")
    assert datasets.names() == ["demo"]
    app.text_input(key="title_of_demo").set_value("Drawn cells").run()
    app.button(key="naming_save").click().run()
    assert "Drawn cells · demo" in words(draw("pages/1_Browse.py"))


def test_a_dialog_that_was_left_by_the_browser_s_back_is_closed_on_return(done: Run) -> None:
    app = opened("pages/1_Browse.py", "name_dataset")
    assert "naming_delete" in [button.key for button in app.button]
    for page in ("streamlit_app.py", "pages/1_Browse.py"):
        app = app.switch_page(page).run()
        assert not app.exception
    assert "naming_delete" not in [button.key for button in app.button]


@pytest.mark.parametrize("page", ["pages/1_Browse.py", "pages/2_Train.py", COMPARE])
def test_no_dialog_opens_by_itself(page: str, done: Run) -> None:
    assert "naming_delete" not in [button.key for button in draw(page).button]
