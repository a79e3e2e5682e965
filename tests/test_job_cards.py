"""The cards of jobs: a job may be closed in another window between any two looks at it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import background, disk
from bloodcell_core.background import RequestedJob
from bloodcell_core.data import import_jobs
from bloodcell_core.data.import_jobs import ImportJob
from bloodcell_core.runs import Run
from bloodcell_core.smear import adaptation_jobs
from bloodcell_core.smear.adaptation_jobs import AdaptationJob
from tests.conftest import class_files, write_zip
from tests.test_adaptation_jobs import labelled_slide
from tests.test_classify_page import draw, words
from tests.test_pages import draw as draw_page
from tests.training_fixtures import drawn as drawn_dataset
from ui import imports, shell

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs start no process: they end as a test says."""
    monkeypatch.setattr(background.Job, "start", lambda job, module: job.tell(**background.starting()))


def importing() -> ImportJob:
    return import_jobs.start("demo", name="drawn", per_class=10, seed=0)


def adapting(run: Run) -> AdaptationJob:
    return adaptation_jobs.start(run, labelled_slide(run, pictures=12))


@pytest.mark.parametrize("page", ["Browse", "Classify", "Your own microscope"])
def test_a_job_that_is_closed_in_another_window_while_a_page_is_drawn(
    done: Run, page: str, monkeypatch: pytest.MonkeyPatch
):
    """It is there when the page lists its jobs, and gone when it asks how far they are."""
    kind = ImportJob if page == "Browse" else AdaptationJob
    job = importing() if page == "Browse" else adapting(done)
    listed = kind.readable

    def closed_meanwhile() -> tuple[list[RequestedJob], list[str]]:
        found = listed()
        shutil.rmtree(job.folder, ignore_errors=True)
        return found

    monkeypatch.setattr(kind, "readable", closed_meanwhile)
    app = drawn(page, job)
    assert not app.exception, app.exception[0].value
    assert not app.error, app.error[0].value
    assert not [each for each in app.button if (each.key or "").endswith(job.name)]


def drawn(page: str, job: RequestedJob) -> AppTest:
    if page == "Browse":
        return draw_page("pages/1_Browse.py")
    return draw(slide=job.request["slide"], view="own") if page == "Your own microscope" else draw()


def test_a_click_on_a_card_of_a_job_that_is_gone_is_no_error(done: Run):
    job = adapting(done)
    shutil.rmtree(job.folder)
    job.request_stop()
    job.dismiss()
    assert not job.folder.exists()
    gone = importing()
    shutil.rmtree(gone.folder)
    gone.request_stop()
    gone.dismiss()


def test_the_dialog_tells_of_an_import_that_makes_the_same_dataset(lab_home: Path, monkeypatch: pytest.MonkeyPatch):
    importing()
    errors: list[str] = []
    monkeypatch.setattr(shell, "show_error", errors.append)
    imports._start("demo", name="drawn", per_class=10, seed=0)
    assert errors == [
        "an import that makes 'drawn' is at work already: wait for it, stop it, or choose another name"
    ]
    assert len(ImportJob.readable()[0]) == 1


def test_the_dialog_tells_of_a_dataset_of_the_name_that_a_path_would_give(
    lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    errors: list[str] = []
    monkeypatch.setattr(shell, "show_error", errors.append)
    monkeypatch.setattr(ImportJob, "start", lambda job, module: None)
    for place in ("here", "there"):  # as of two microscopes
        (tmp_path / place / "Drawn").mkdir(parents=True)
        imports._start("import", source=str(tmp_path / place / "Drawn"), name="", trace=False, with_test_simple=False)
    (told,) = errors
    assert told.startswith("an import that makes 'drawn' is at work already")


def test_what_was_stopped_is_no_error_and_what_failed_is(lab_home: Path):
    stopped, failed = importing(), importing()
    stopped.tell(state="stopped", reason="stopped on request: nothing of it was kept")
    failed.tell(state="failed", reason="no <b>room</b>")
    app = draw_page("pages/1_Browse.py")
    assert "drawn: stopped on request: nothing of it was kept." in words(app)
    assert [error.value for error in app.error] == ["drawn: no \\<b>room\\</b>"]


@pytest.mark.parametrize("job_class", [ImportJob, AdaptationJob])
def test_a_job_that_goes_while_they_are_listed_is_not_called_damaged(
    done: Run, job_class: type[RequestedJob], monkeypatch: pytest.MonkeyPatch
):
    job = importing() if job_class is ImportJob else adapting(done)
    whole = background.Job.status

    def goes(self: RequestedJob) -> dict:
        shutil.rmtree(job.folder, ignore_errors=True)
        return whole(self)

    monkeypatch.setattr(background.Job, "status", goes)
    assert job_class.readable() == ([], [])


def test_the_import_dialog_stays_when_another_import_ends(done: Run):
    """Its end draws the page anew: what was typed and uploaded meanwhile was gone."""
    job = importing()
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    app.text_input(key="upload_name").set_value("mine").run()
    job.tell(state="done", dataset="demo")
    app.run()
    assert app.text_input(key="upload_name").value == "mine"
    assert not app.exception


def test_the_import_dialog_of_a_page_that_was_left_does_not_open_again(done: Run):
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    app.run()
    assert any(each.key == "upload_name" for each in app.text_input)
    app.switch_page("pages/3_Compare.py").run()
    app.switch_page("pages/1_Browse.py").run()
    assert not app.exception
    assert not any(each.key == "upload_name" for each in app.text_input)


def test_a_name_that_is_taken_is_told_before_the_import_begins(done: Run):
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    for name, why in (("demo", "exists already"), ("My Cells", "can't name a dataset")):
        app.text_input(key="demo_name").set_value(name).run()
        next(each for each in app.button if each.label == "Draw").click().run()
        assert why in app.error[0].value.replace("\\", "")
    assert ImportJob.readable() == ([], [])


def test_an_upload_whose_name_is_taken_is_told_in_the_dialog(done: Run, tmp_path: Path):
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    app.file_uploader[0].upload("Demo.zip", write_zip(tmp_path / "any.zip", class_files()).read_bytes()).run()
    app.button(key="import_upload").click().run()
    assert "a dataset 'demo' exists already" in app.error[0].value.replace("\\", "")
    assert ImportJob.readable() == ([], [])


def test_a_download_whose_name_is_taken_is_told_before_it_begins(lab_home: Path):
    drawn_dataset("blood-cell-images", per_class=10)
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    next(each for each in app.button if each.label == "Download and import").click().run()
    assert "a dataset 'blood-cell-images' exists already" in app.error[0].value.replace("\\", "")
    assert ImportJob.readable() == ([], [])


def test_a_path_is_imported_by_the_click_that_ends_its_typing(
    lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A button that is off until the page has heard of the path takes no click before: the first one was lost."""
    started = []
    monkeypatch.setattr(import_jobs, "start", lambda kind, **options: started.append(options["source"]))
    app = draw_page("pages/1_Browse.py")
    dialog_of(app)
    button = app.button(key="import_path")
    assert not button.disabled
    button.click().run()
    assert [error.value for error in app.error] == ["Give the path of a zip, a folder or a table of pictures."]

    def give(path: str) -> None:
        next(each for each in app.text_input if each.label == "Path").set_value(path)
        app.button(key="import_path").click().run()

    give(f"{tmp_path}/cels")
    assert f"{tmp_path}/cels doesn't exist" in app.error[0].value.replace("\\", ""), "told where it can be corrected"
    (tmp_path / "cells").mkdir()
    give(f'"{tmp_path}/cells" ')
    dialog_of(app)
    monkeypatch.chdir(tmp_path)
    give("cells")
    assert started == [f"{tmp_path}/cells"] * 2, "the job works in another folder than the server"


@pytest.mark.parametrize(
    "told",
    [{"state": "done"}, {"state": "done", "dataset": 7}, {"state": "paused"}, {"total": "many"}, {"phase": None},
     {"seconds_left": "long"}, {"state": "failed", "reason": 7}],
)  # fmt: skip
def test_a_status_that_lacks_what_a_card_shows_is_damaged(told: dict[str, object], done: Run):
    """Of an import, an adapting, or a run's status that was put in its place."""
    job = importing()
    file = job.folder / "status.json"
    disk.write_json(file, disk.read_json(file) | told)
    app = draw_page("pages/1_Browse.py")
    assert not app.exception
    assert f"{file} is damaged" in app.error[0].value.replace("\\", "")
    assert ImportJob.readable()[0] == []


def dialog_of(app: AppTest) -> None:
    next(each for each in app.button if each.label == "Import pictures").click().run()


@pytest.mark.parametrize("last", ["Import pictures", "Name, tags, delete"])
def test_of_two_dialogs_asked_for_at_once_the_last_opens(last: str, done: Run):
    """A second click may come before the first one's dialog covers the page."""
    app = draw_page("pages/1_Browse.py")
    for label in sorted(("Import pictures", "Name, tags, delete"), key=last.__eq__):
        app = next(each for each in app.button if each.label == label).click().run()
    assert not app.exception
    opened = {each.key for each in app.button} & {"import_path", "naming_save"}
    assert opened == {"import_path" if last == "Import pictures" else "naming_save"}


def test_a_look_at_what_a_network_sees_takes_the_place_of_another_dialog(done: Run):
    app = draw_page("pages/2_Train.py")
    app = app.button(key=f"name-{done.name}").click().run()
    app = next(each for each in app.button if each.label == "What will it see?").click().run()
    assert not app.exception
    assert "naming_save" not in [each.key for each in app.button]


@pytest.mark.parametrize("button", ["close", "open"])
def test_a_card_that_can_t_be_closed_says_why(done: Run, button: str, monkeypatch: pytest.MonkeyPatch):
    """As in a workspace that may not be written to."""
    job = importing()
    job.tell(state="done", dataset="demo")

    def refused(folder: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    monkeypatch.setattr(disk, "discard", refused)
    app = draw_page("pages/1_Browse.py")
    app.button(key=f"{button}_{job.name}").click().run()
    assert not app.exception
    assert job.folder.exists()
    assert "Read-only file system" in app.toast[0].value
