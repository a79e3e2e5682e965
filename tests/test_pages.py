"""Every page, drawn in an empty workspace and in one with a dataset and a run."""

import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import runs, workspace
from bloodcell_core.models import MODELS
from ui.shell import PAGES

pytest_plugins = ["tests.training_fixtures"]

EVERY_PAGE = pytest.mark.parametrize("page", [path for path, _ in PAGES.values()])
PATIENCE = 60


def draw(path: str, **query: str) -> AppTest:
    app = AppTest.from_file("../streamlit_app.py", default_timeout=PATIENCE)
    app.query_params.update(query)
    if path != "streamlit_app.py":
        app.switch_page(path)
    app.run()
    assert not app.exception, app.exception[0].value
    return app


def words(app: AppTest) -> str:
    """All that stands on the page, tables and choices too."""
    kinds = (app.markdown, app.caption, app.subheader, app.title, app.error, app.info, app.warning)
    texts = [element.value for kind in kinds for element in kind]
    tables = [table.value.to_string() for table in app.dataframe]
    choices = [option for box in (*app.selectbox, *app.multiselect) for option in box.options]
    return "\n".join(texts + tables + choices)


@EVERY_PAGE
def test_an_empty_lab_leads_on(page, lab_home):
    app = draw(page)
    assert [button for button in app.button if button.label == "Make demo pictures"]
    assert not app.error


@EVERY_PAGE
def test_a_filled_lab_is_drawn(page, done):
    app = draw(page)
    assert not app.error
    assert "synthetic" in words(app)


@EVERY_PAGE
def test_an_address_that_means_nothing_is_passed_over(page, done):
    app = draw(page, dataset="nowhere", run="../..", picture="99999", pair="7-9", matrix="x", cell="1", page="12")
    assert not app.error


@EVERY_PAGE
def test_a_damaged_run_is_told_and_the_others_are_shown(page, done):
    broken = workspace.run_dir("20200101-000000-basic_cnn-dead")
    broken.mkdir()
    (broken / "config.json").write_text("{")
    draw(page)


@EVERY_PAGE
def test_a_deleted_dataset_costs_no_page(page, done):
    from bloodcell_core.data.dataset import remove
    from bloodcell_core.data.importing import make_demo

    make_demo("other", per_class=10)
    remove("demo")
    draw(page)


def test_train_starts_a_run_with_the_form_s_settings(lab, monkeypatch):
    from bloodcell_core.training import jobs

    monkeypatch.setattr(jobs, "start", lambda run: None)
    before = set(runs.names())
    app = draw("pages/2_Train.py")
    next(field for field in app.number_input if field.label == "Epochs").set_value(3).run()
    next(button for button in app.button if button.label == "Train").click().run()
    (made,) = set(runs.names()) - before
    assert runs.Run(made).config.epochs == 3
    assert runs.Run(made).config.data == "demo"


def test_train_all_three_tells_of_missing_weights_and_starts_the_others(lab, monkeypatch):
    from bloodcell_core.errors import LabError
    from bloodcell_core.models import resnet18
    from bloodcell_core.training import jobs

    def offline():
        raise LabError("resnet18's ImageNet weights can't be had")

    monkeypatch.setattr(jobs, "start", lambda run: None)
    monkeypatch.setattr(resnet18, "_default_state", offline)
    before = set(runs.names())
    app = draw("pages/2_Train.py")
    next(button for button in app.button if button.label == "Train every network").click().run()
    started = {runs.Run(name).config.model for name in set(runs.names()) - before}
    assert started == set(MODELS) - {"resnet18"}
    assert "weights can" in app.error[0].value


def test_a_number_that_is_none_is_told_before_anything_starts(lab):
    app = draw("pages/2_Train.py")
    next(field for field in app.text_input if field.label == "Learning rate").set_value("fast").run()
    assert "learning\\_rate takes a number" in app.error[0].value
    assert all(button.disabled for button in app.button if button.label.startswith("Train"))


def test_scratch_is_said_where_a_pretrained_network_could_have_been(lab):
    from tests.training_fixtures import train_here

    train_here(model="resnet18", weights="none", epochs=1)
    for page, _ in PAGES.values():
        if page != "pages/1_Browse.py":
            assert "from scratch" in words(draw(page)), page


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label and not button.disabled).click().run()


def test_waiting_runs_can_be_moved_and_taken_out(lab, monkeypatch):
    from bloodcell_core.training import jobs
    from tests.training_fixtures import tiny

    first, second = (jobs.create_run(tiny(epochs=epochs)) for epochs in (1, 2))
    app = draw("pages/2_Train.py")
    assert "number 1 of 2 in line" in words(app)
    press(app, "Sooner")
    assert [run.name for run in runs.waiting("cpu")] == [second.name, first.name]
    taken_out = []
    monkeypatch.setattr(jobs, "withdraw", lambda run: taken_out.append(run.name))
    press(app, "Remove")
    assert taken_out == [second.name]


def test_a_duplicated_run_fills_the_form_and_is_changed_before_it_trains(done, monkeypatch):
    from bloodcell_core.training import jobs

    monkeypatch.setattr(jobs, "start", lambda run: None)
    app = press(draw("pages/2_Train.py"), "Duplicate")
    assert not app.exception
    next(field for field in app.number_input if field.label == "Seed").set_value(5).run()
    press(app, "Train")
    copy = next(runs.Run(name) for name in runs.names() if name != done.name)
    assert copy.config.to_json() == done.config.to_json() | {"seed": 5}


def test_learning_by_heart_is_told_on_the_run_s_card(done):
    import json

    events = [{"event": "epoch", "epoch": n, "step": n, "train_loss": 1 / n, "val_loss": n, "train_accuracy": 1.0,
               "val_accuracy": 0.5, "best": n == 1, "seconds": 1.0} for n in range(1, 7)]  # fmt: skip
    with open(done.folder / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    assert "it learns them by heart. The weights of epoch 1 are kept." in words(draw("pages/2_Train.py"))


def test_how_long_it_will_take_is_told_by_the_pace_of_a_like_run_or_measured(done):
    from bloodcell_core.training import jobs

    app = draw("pages/2_Train.py")
    press(app, "How long will it take?")
    assert not app.error
    assert " ms on CPU: " in words(app)
    jobs.write_status(done.folder, pictures_per_second=2.0)
    app = press(draw("pages/2_Train.py"), "Duplicate")
    assert f"by the pace of run {done.name[-4:]}" in words(app)
