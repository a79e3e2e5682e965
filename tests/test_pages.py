"""Every page, drawn in an empty workspace and in one with a dataset and a run."""

import base64
import json
import os
import re
import shutil

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import disk, runs, workspace
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset, remove
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.evaluation.comparison import side_of
from bloodcell_core.evaluation.dial import accuracy_coverage, dial
from bloodcell_core.evaluation.published import PUBLISHED_FORMAT
from bloodcell_core.models import MODELS
from tests.conftest import class_files, write_files
from tests.training_fixtures import answering_otherwise, drawn, tiny, train_here
from ui import lab, shell
from ui.compare_about import on_public_archive
from ui.shell import PAGES, counted

pytest_plugins = ["tests.training_fixtures"]

PAGES_OF_RUNS = [PAGES[name][0] for name in ("Home", "Compare", "Review", "Classify")]
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
    kinds = (app.markdown, app.caption, app.header, app.title, app.error, app.info, app.warning)
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
def test_where_there_can_be_no_workspace_it_is_told_and_nothing_else_drawn(page, monkeypatch, tmp_path):
    monkeypatch.setenv("BLOODCELL_HOME", f"{tmp_path}/" + os.fsdecode(b"caf\xe9"))
    app = draw(page)
    assert [shown.value for shown in app.error if "isn’t valid UTF" in shown.value or "isn't valid UTF" in shown.value]
    assert not app.button


@EVERY_PAGE
def test_a_filled_lab_is_drawn(page, done):
    app = draw(page)
    assert not app.error
    assert "synthetic" in words(app)


def test_a_dataset_that_was_made_of_others_is_not_called_drawn(lab_home, tmp_path):
    made = import_dataset(write_files(tmp_path / "cells", class_files()), "cells", trace=False)
    combine("both", [(made, {})])
    assert "Format: combined, cells." in words(draw("pages/1_Browse.py", dataset="both", show="counts"))


@pytest.mark.parametrize("show", ["pictures", "audit", "counts", "looks", "map"])
def test_frame_or_cell_can_be_chosen_where_it_changes_something(show, done):
    app = draw("pages/1_Browse.py", show=show)
    assert app.segmented_control(key="view").proto.disabled is (show != "pictures")


def test_an_address_opens_the_same_picture_after_an_import_in_another_order(lab_home, tmp_path):
    files, rows = class_files(), []
    for order in (list(files), list(reversed(files))):
        listed = "\n".join(f"{file},{file.split('/')[0]}" for file in order)
        folder = write_files(tmp_path / order[0], files | {"t.csv": f"path,label\n{listed}".encode()})
        pictures = import_dataset(folder, "cells", trace=False).pictures
        picture = pictures[pictures.file == "band/0.png"]
        rows.append(picture.index.item())
        (facts,) = draw("pages/1_Browse.py", dataset="cells", picture=picture.image_id.item()).table
        assert "band/0.png" in facts.value.to_string()
        remove("cells")
    assert rows[0] != rows[1]


def test_cells_of_a_patient_are_not_called_copies(lab_home, tmp_path):
    files = class_files()
    rows = "\n".join(f"{file},{file.split('/')[0]},patient-{place % 3}" for place, file in enumerate(files))
    import_dataset(write_files(tmp_path / "cells", files | {"t.csv": f"path,label,group\n{rows}".encode()}), "cells")
    app = draw("pages/1_Browse.py", dataset="cells", picture=Dataset("cells").pictures.image_id[0])
    assert "Show all 4 pictures of this group" in [button.label for button in app.button]
    said = words(draw("pages/1_Browse.py", dataset="cells"))
    assert "12 pictures from 3 groups" in said
    assert "photos" not in said


def test_what_was_published_is_of_the_archive_that_a_run_was_tested_on_and_not_of_one_of_its_name(done):
    facts = Dataset("demo").facts | {"format": PUBLISHED_FORMAT}
    for content_hash, on_it in ((done.data_hash, True), ("0" * 64, False)):
        disk.write_json(Dataset("demo").folder / "dataset.json", facts | {"content_hash": content_hash})
        assert on_public_archive([done]) is on_it


def test_the_home_page_calls_runs_as_the_other_pages_do(done):
    from ui.lab import run_title

    (last,) = (table.value for table in draw("streamlit_app.py").dataframe if "Validation loss" in table.value)
    assert last.Run.tolist() == [f"{run_title(done)} · synthetic pictures"]


def test_of_a_long_title_and_a_long_dataset_the_end_is_seen_where_a_run_must_fit_a_line(done):
    from bloodcell_core import notes
    from ui import lab

    recorded = disk.read_json(done.folder / "config.json")
    config = recorded["config"] | {"data": "hospital-of-somewhere-haematology-lab-smears-2026-v2"}
    disk.write_json(done.folder / "config.json", recorded | {"config": config})
    notes.rename("run", done.name, "Second trial, larger crop, November's labels")
    run = runs.Run(done.name)
    short = f"Second trial…er's labels · Basic CNN · hospital-of-…ars-2026-v2, frame view · {done.name[-4:]}"
    assert lab.run_choice(run) == short
    assert "Second trial, larger crop, November's labels · Basic CNN · hospital-of-somewhere" in lab.run_title(run)
    for page in ("streamlit_app.py", COMPARE):
        assert f"{short} · synthetic pictures" in words(draw(page))
    assert short in words(draw("pages/5_Classify.py"))


@EVERY_PAGE
def test_an_address_that_means_nothing_is_passed_over(page, done):
    nonsense = {"dataset": "nowhere", "run": "../..", "picture": "99999", "pair": "7-9", "margin": "9..x"}
    app = draw(page, **nonsense, matrix="x", cell="1", page="12")
    assert not app.error


def test_a_class_called_all_can_be_looked_at_alone(lab_home, tmp_path):
    """As the pictures of the C-NMC challenge have one, of acute lymphoblastic leukaemia."""
    files = class_files(4, ("all", "hem"))
    import_dataset(write_files(tmp_path / "cells", files), "cells", trace=False)
    assert "8 pictures" in words(draw("pages/1_Browse.py", dataset="cells"))
    alone = draw("pages/1_Browse.py", dataset="cells", label="all")
    assert "4 pictures" in words(alone)
    (classes,) = [box for box in alone.selectbox if box.label == "Class"]
    assert classes.options == ["All classes", "All", "Hem"]
    (counts,) = draw("pages/1_Browse.py", dataset="cells", show="counts").table
    assert counts.value.index.tolist() == ["All", "Hem", "**All**"]
    assert counts.value.Train.str.split().str[0].astype(int).tolist() == [3, 3, 6]


def test_a_picture_of_a_dataset_that_is_gone_opens_none_of_another(done):
    app = draw("pages/1_Browse.py", dataset="gone", picture=Dataset("demo").pictures.image_id[3], label="blast")
    assert "picture" not in app.query_params
    assert app.query_params["dataset"] in ("demo", ["demo"])
    assert "Click a picture to see it at full size." in words(app)
    assert "no dataset gone" in app.toast[0].value


def test_a_click_that_was_meant_for_a_dataset_that_is_gone_trains_on_no_other(lab):
    drawn("zebra", per_class=10)
    app = draw("pages/2_Train.py", dataset="zebra")
    remove("zebra")
    before = runs.names()
    next(button for button in app.button if button.label == "Train").click().run()
    assert runs.names() == before
    assert "no dataset zebra" in app.toast[0].value
    assert app.query_params["dataset"] in ("demo", ["demo"])


def test_nor_does_it_search_on_another(lab, monkeypatch):
    from bloodcell_core.training import studies
    monkeypatch.setattr(studies, "start", lambda study: None)
    drawn("zebra", per_class=10)
    app = draw("pages/2_Train.py", part="search")
    next(box for box in app.selectbox if box.label == "Dataset").set_value("zebra").run()
    remove("zebra")
    app.button(key="search_start").click().run()
    assert studies.names() == []
    assert "no dataset zebra" in app.toast[0].value


def test_what_is_not_known_is_a_dash_in_every_table(done, monkeypatch):
    """Streamlit itself writes None."""
    from bloodcell_core.training import jobs
    from bloodcell_core.training.ensembles import create_ensemble

    create_ensemble([done, train_here(seed=3)], "both")  # its curve, seed and best epoch are nobody's
    jobs.create_run(tiny())  # a run without figures; last, as a training would wait for it
    for page, query in (("streamlit_app.py", {}), (COMPARE, {}), (COMPARE, {"panel": "dial"})):
        tables = draw(page, **query).dataframe
        assert tables
        assert {table.proto.placeholder for table in tables} == {"–"}


@pytest.mark.parametrize("picture", ["9" * 5000, "²", "0"])
def test_an_address_of_no_picture_opens_none_and_a_photo_s_name_stays_text(picture, done):
    app = draw("pages/1_Browse.py", picture=picture, family="![x](https://example.org/x.png)")
    assert "Click a picture to see it at full size." in words(app)
    (photo,) = [button.label for button in app.button if button.label.startswith("Photo")]
    assert photo.startswith(r"Photo !\[x\](")


@EVERY_PAGE
def test_a_damaged_run_is_told_and_the_others_are_shown(page, done):
    broken = workspace.run_dir("20200101-000000-basic_cnn-dead")
    broken.mkdir()
    (broken / "config.json").write_text("{")
    said = words(draw(page))
    assert page not in PAGES_OF_RUNS or "can be deleted on the Train page" in said


@EVERY_PAGE
def test_a_deleted_dataset_costs_no_page(page, done):
    drawn("other", per_class=10)
    remove("demo")
    draw(page)


def refused(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system", "/lab/runs")


def test_train_tells_in_words_what_the_system_refuses(lab, monkeypatch):
    from bloodcell_core.training import jobs

    monkeypatch.setattr(jobs, "train_detached", refused)
    app = draw("pages/2_Train.py")
    app = next(button for button in app.button if button.label == "Train").click().run()
    (told,) = [error.value for error in app.error]
    assert "the system refused '/lab/runs': Read-only file system: name a place" in told
    assert "Errno" not in told


def test_a_button_tells_in_words_what_the_system_refuses(done, monkeypatch):
    from bloodcell_core import notes

    monkeypatch.setattr(notes, "rename", refused)
    app = draw("pages/2_Train.py")
    app = app.button(key=f"name-{done.name}").click().run()
    app = app.button(key="naming_save").click().run()
    (told,) = [error.value for error in app.error]
    assert "the system refused '/lab/runs': Read-only file system: name a place" in told


def test_train_starts_a_run_with_the_form_s_settings(lab, monkeypatch):
    from bloodcell_core.training import jobs

    monkeypatch.setattr(jobs, "start", lambda run: None)
    before = set(runs.names())
    app = draw("pages/2_Train.py")
    next(field for field in app.text_input if field.label == "Epochs").set_value("3").run()
    next(button for button in app.button if button.label == "Train").click().run()
    (made,) = set(runs.names()) - before
    assert runs.Run(made).config.epochs == 3
    assert runs.Run(made).config.data == "demo"


@pytest.mark.parametrize("model", MODELS)
def test_what_a_network_costs_is_told_at_the_size_and_width_chosen(model, lab):
    from bloodcell_core.models.costs import cost

    app = draw("pages/2_Train.py", model=model)
    for size, width in ((64, 1.0), (128, 1.0), *([(128, 0.5)] if MODELS[model].widens else [])):
        next(field for field in app.text_input if field.label == "Size").set_value(str(size)).run()
        next(field for field in app.text_input if field.label == "Width").set_value(f"{width}").run()
        reckoned = cost(model, size, width)
        assert f"{reckoned.flops / 1e6:,.0f} MFLOP a picture of {size}×{size}" in words(app)
        assert f"{reckoned.parameters:,} weights" in words(app)


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
    assert "learning rate takes a number" in app.error[0].value
    assert all(button.disabled for button in app.button if button.label.startswith("Train"))


@pytest.mark.parametrize(("field", "given"), [("Epochs", "1001"), ("Epochs", "1e3"), ("Size", "0"), ("Seed", "-1")])
def test_a_whole_number_that_cannot_be_is_told_and_nothing_else_is_trained_with(lab, field, given):
    app = draw("pages/2_Train.py")
    next(each for each in app.text_input if each.label == field).set_value(given).run()
    (told,) = app.error
    assert told.value.startswith(field.lower())
    assert all(button.disabled for button in app.button if button.label.startswith("Train"))


def test_scratch_is_said_where_a_pretrained_network_could_have_been(lab):
    train_here(model="resnet18", weights="none", epochs=1)
    for name in ("Home", "Train", "Compare", "Review", "Classify"):
        assert "from scratch" in words(draw(PAGES[name][0])), name


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label and not button.disabled).click().run()


def test_the_home_page_leads_to_the_first_training_while_it_is_at_work(lab):
    from bloodcell_core.training import jobs
    shutil.rmtree(runs.find("latest").folder)
    assert "**Next step.** Train the first network" in words(draw("streamlit_app.py"))
    run = jobs.create_run(tiny())
    assert "**Next step.** The first network is learning" in words(draw("streamlit_app.py"))
    jobs.write_status(run.folder, state="failed", reason="no room")
    assert "**Next step.** Train the first network" in words(draw("streamlit_app.py"))


def test_waiting_runs_can_be_moved_and_taken_out(lab, monkeypatch):
    from bloodcell_core.training import jobs
    first, second = (jobs.create_run(tiny(epochs=epochs)) for epochs in (1, 2))
    looks, waiting = [], runs.waiting
    with monkeypatch.context() as patch:
        patch.setattr(runs, "waiting", lambda queue: looks.append(queue) or waiting(queue))
        app = draw("pages/2_Train.py")
    assert looks == ["cpu"]  # for all cards: of many runs it takes long
    assert "number 1 of 2 in line" in words(app)
    press(app, "Sooner")
    assert [run.name for run in runs.waiting("cpu")] == [second.name, first.name]
    taken_out = []
    monkeypatch.setattr(jobs, "withdraw", lambda run: taken_out.append(run.name))
    press(app, "Remove")
    assert taken_out == [second.name]


def test_a_duplicated_run_has_every_digit_of_its_settings(done, monkeypatch):
    """As a search draws them."""
    from bloodcell_core.training import jobs
    monkeypatch.setattr(jobs, "start", lambda run: None)
    drawn = jobs.create_run(tiny(learning_rate=0.0012345678901234, rotation=12.0))
    jobs.write_status(drawn.folder, state="stopped")
    before = set(runs.names())
    press(draw("pages/2_Train.py", preset=f"like {drawn.name}"), "Train")
    (copy,) = set(runs.names()) - before
    assert runs.Run(copy).config.learning_rate == 0.0012345678901234


def test_a_duplicated_run_fills_the_form_and_is_changed_before_it_trains(done, monkeypatch):
    from bloodcell_core.training import jobs

    monkeypatch.setattr(jobs, "start", lambda run: None)
    app = press(draw("pages/2_Train.py"), "Duplicate")
    assert not app.exception
    next(field for field in app.text_input if field.label == "Seed").set_value("5").run()
    press(app, "Train")
    copy = next(runs.Run(name) for name in runs.names() if name != done.name)
    assert copy.config.to_json() == done.config.to_json() | {"seed": 5}


def test_learning_by_heart_is_told_on_the_run_s_card(done):
    import json

    events = [{"event": "epoch", "epoch": n, "step": n, "train_loss": 1 / n, "val_loss": n, "train_accuracy": 1.0,
               "val_accuracy": 0.5, "best": n == 1, "seconds": 1.0} for n in range(1, 7)]  # fmt: skip
    with open(done.folder / "metrics.jsonl", "w") as file:
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
    assert f"by the pace of Basic CNN {done.name[-4:]}." in words(app)
    jobs.write_status(done.folder, pictures_per_second=1e9)
    assert "**Less than 1 s**, by the pace of" in words(app.run())


@pytest.fixture
def pair(done):
    """The finished run and one that answers every third picture otherwise, newer than it; (newer, older)."""
    return answering_otherwise(done, "29990101-000000-basic_cnn-swap"), done


COMPARE = "pages/3_Compare.py"


def test_the_heads_of_the_figures_say_what_they_mean(pair):
    columns = json.loads(draw(COMPARE).dataframe[0].proto.columns)
    assert all(columns[title]["help"] for title in ("Accuracy", "Balanced accuracy", "Macro F1", "AUC"))


def test_two_runs_are_set_against_each_other_with_the_figures_of_the_command_line(pair):
    from bloodcell_core.evaluation.comparison import compare
    from bloodcell_core.evaluation.figures import difference_words, figure_words, interval_words

    facts = compare(*pair)
    app = draw(COMPARE)
    said = words(app)
    assert facts["verdict"] in said
    assert "differ by their seed alone" in said
    differences = next(table.value for table in app.dataframe if "B less A" in table.value)
    metrics = facts["metrics"].items()
    assert differences["B less A"].tolist() == [difference_words(key, told["difference"]) for key, told in metrics]
    assert differences["A"].tolist() == [figure_words(key, told["a"]) for key, told in metrics]
    shown = next(table.value for table in app.dataframe if "Photos right" in table.value)
    for run, row in zip(pair, shown.itertuples(index=False), strict=False):
        test = run.summary()["test"]
        assert list(row[1:3]) == [100 * test["accuracy"], interval_words("accuracy", test["intervals"]["accuracy"])]
        assert list(row[7:9]) == [test["auc_ovr"], interval_words("auc_ovr", test["intervals"]["auc_ovr"])]
        right = test["by_photo"]
        assert f"{right['right']} of {right['photos']}" in row
        assert row[list(shown).index("Photos right, 95%")] == interval_words("accuracy", right["interval"])
    buttons = {button.label: button for button in app.button}
    for title, outcome in (("Both right", "both"), ("Only A right", "only_a"), ("Both wrong", "neither")):
        count = facts["by_picture"][outcome]
        assert buttons[f"{title}: {counted(count, 'picture')}"].disabled == (not count)


def test_a_run_of_the_address_that_is_gone_is_told_where_others_are_compared(pair):
    newer, older = (run.name for run in pair)
    for asked, shown, words_for_it in (
        (["gone"], [newer, older], "There is no run gone: other runs are shown."),
        ([older, "gone"], [older], "There is no run gone: the others are shown."),
    ):
        app = draw(COMPARE, runs=asked)
        assert [toast.value for toast in app.toast] == [words_for_it]
        assert [*np.atleast_1d(app.query_params["runs"])] == shown
    assert not draw(COMPARE, runs=[older]).toast


def test_a_run_that_has_not_the_tag_looked_for_is_not_said_to_be_gone(pair):
    from bloodcell_core import notes
    newer, older = pair
    notes.tag("run", newer.name, ["mine"])
    app = draw(COMPARE, runs=[older.name], tag=["mine"])
    assert not app.toast
    assert app.query_params["runs"] in (older.name, [older.name])


@pytest.mark.parametrize(
    ("state", "summary", "said"),
    [
        ("done", {"test": None}, "was tested on no picture, so its accuracy isn't known"),
        ("failed", None, "has no results, it is failed"),
    ],
)
@pytest.mark.parametrize("page", [COMPARE, "pages/4_Review.py", "pages/5_Classify.py"])
def test_a_run_without_test_figures_is_not_said_to_be_gone(page, state, summary, said, pair):
    from bloodcell_core.training import jobs
    run, _ = pair
    file = run.folder / "summary.json"
    if summary:
        disk.write_json(file, run.summary() | summary)
    else:
        file.unlink()
    jobs.write_status(run.folder, state=state)
    (toast,) = draw(page, runs=[run.name], run=[run.name]).toast
    assert toast.value.startswith(f"The run {shell.plain(run.name)} {said}: ")


def test_the_address_says_which_runs_are_compared_and_which_is_a(pair):
    from ui.lab import run_title

    newer, older = pair
    unasked = draw(COMPARE)
    assert f"A: {run_title(newer)}  \nB: {run_title(older)}" in words(unasked)
    assert unasked.query_params["runs"] == [newer.name, older.name], "a colleague sees these, whatever is newest then"
    turned = draw(COMPARE, runs=[older.name, newer.name])
    assert f"A: {run_title(older)}  \nB: {run_title(newer)}" in words(turned)
    alone = draw(COMPARE, runs=[older.name])
    assert not [button for button in alone.button if button.label.startswith("Both right")]


def test_an_outcome_opens_its_pictures_and_no_others(pair):
    from bloodcell_core.evaluation.comparison import picture_outcomes, side_of

    outcomes = picture_outcomes(*map(side_of, pair)).value_counts()
    app = draw(COMPARE)
    title = {"both": "Both right", "only_a": "Only A right", "only_b": "Only B right", "neither": "Both wrong"}
    for outcome, count in outcomes.items():
        next(button for button in app.button if button.label.startswith(title[outcome])).click().run()
        of = counted(count, "picture")
        assert f"{of}: {title[outcome][0].lower()}{title[outcome][1:]}" in words(app)
        assert not app.exception
        assert not app.error


def test_a_cell_of_what_changed_opens_the_pictures_of_both(pair):
    newer, older = pair
    app = draw(COMPARE, change="True", matrix="difference", cell="0-0")
    counts = [
        int(((found := run.predictions()).split.eq("test") & found.label.eq(run.classes[0])
             & found.predicted.eq(run.classes[0])).sum()) for run in (newer, older)
    ]  # fmt: skip
    assert f"{counts[0]} and {counts[1]} pictures: truly Eosinophil, called Eosinophil" in words(app)
    assert not app.error


def test_classes_can_be_merged_and_every_figure_follows(pair):
    from bloodcell_core.evaluation.comparison import compare_sides, side_of
    from bloodcell_core.evaluation.merging import granulocytes

    facts = compare_sides(*(side_of(run).merged(granulocytes(run.classes)) for run in pair))
    app = draw(COMPARE, merge="True", matrix=pair[0].name, cell="1-0")
    assert facts["verdict"] in words(app)
    assert f"{facts['confusion']['a'][1][0]} pictures: truly Other, called Granulocyte" in words(app)


def test_merging_classes_closes_a_cell_of_the_matrix(pair):
    """The same numbers would mean another cell of the merged classes."""
    app = draw(COMPARE, runs=pair[0].name, matrix=pair[0].name, cell="0-1")
    (toggle,) = [each for each in app.toggle if each.key == "merge"]
    toggle.set_value(True).run()
    assert not app.exception
    assert "True" in app.query_params["merge"]
    assert not {"matrix", "cell"} & {*app.query_params}


def figures_of(report):
    """The JSON that stands in a report."""
    return json.loads(report.split('id="figures">')[1].split("</script>")[0])


def test_the_report_is_that_of_the_command_line(pair):
    from bloodcell_core.evaluation.scoring import evaluated
    from bloodcell_core.evaluation.together import side_by_side
    from ui import compare

    alone = figures_of(compare.report(compare.sides(pair[:1], False), False))
    assert alone == json.loads(json.dumps(evaluated(pair[0])[0]))
    for merge in (False, True):
        sides = compare.sides(pair, merge)
        assert figures_of(compare.report(sides, merge)) == json.loads(json.dumps(side_by_side(sides)))
    one_merged = figures_of(compare.report(compare.sides(pair[:1], True), True))
    assert list(one_merged["runs"][0]["per_class"]) == ["granulocyte", "other"]


def test_runs_that_cant_be_compared_have_no_report_together(pair):
    recorded = disk.read_json(pair[1].folder / "config.json")
    disk.write_json(pair[1].folder / "config.json", recorded | {"data_hash": "another"})
    (button,) = draw(COMPARE, runs=[run.name for run in pair]).get("download_button")
    assert button.proto.disabled
    first, second = (lab.run_title(run) for run in pair)
    assert f"{shell.plain(f'{first} and {second}')} can't be compared: they were trained" in button.proto.help
    (button,) = draw(COMPARE, runs=[pair[0].name]).get("download_button")
    assert not button.proto.disabled


def test_luck_that_comes_of_many_runs_and_many_comparisons_is_told(pair):
    flattered, at_once = "the best of many looks better than it is", "A is set against 4 runs here"
    said = words(draw(COMPARE))
    assert flattered not in said
    assert at_once not in said
    more = [answering_otherwise(pair[1], f"20990101-00000{place}-basic_cnn-more").name for place in range(3)]
    app = draw(COMPARE)
    assert f"5 runs were tested on these pictures, and {flattered}" in words(app)
    assert at_once not in words(app)
    ticked = AppTest.from_file("../streamlit_app.py", default_timeout=PATIENCE)
    ticked.query_params["runs"] = [pair[0].name, pair[1].name, *more]
    ticked.switch_page(COMPARE)
    ticked.run()
    assert f"{at_once}, and each comparison alone" in words(ticked)
    assert "go by p below 0.0125" in words(ticked)


@pytest.mark.parametrize("panel", ["class", "roc", "pr", "calibration", "dial", "cost"])
def test_every_panel_is_drawn_alone(panel, pair):
    app = draw(COMPARE, panel=panel)
    assert not app.error
    assert len(app.get("plotly_chart")) == 1


def test_a_threshold_is_a_percent_as_on_the_classify_page(pair):
    app = draw(COMPARE, panel="dial")
    chosen = app.selectbox(key="threshold")
    assert chosen.value == 0.9
    assert chosen.options == ["50%", "60%", "70%", "80%", "90%", "95%", "99%"]
    (shown,) = (table.value for table in app.dataframe if "Threshold" in table.value)
    assert shown.Threshold.tolist() == chosen.options


def test_the_dial_tells_of_how_many_photos_it_speaks_and_draws_how_sure_its_curves_are(pair):
    app = draw(COMPARE, panel="dial")
    (shown,) = (table.value for table in app.dataframe if "Threshold" in table.value)
    side = side_of(pair[0])
    told = dial(side.table, side.classes)
    wanted = [(told["pictures"] - row["set_aside"], row["photos"]) for row in told["thresholds"]]
    found = [re.match(r"(\d+) of (\d+) photo", cell).groups() for cell in shown["Answers that stand"]]
    assert [tuple(map(int, each)) for each in found] == wanted
    (chart,) = app.get("plotly_chart")
    drawn = json.loads(chart.proto.spec)["data"]
    assert [trace.get("fill") for trace in drawn] == ["toself", None, "toself", None]
    limits = [point["intervals"]["accuracy"] for point in accuracy_coverage(side.table, side.classes)]
    known = [each for each in limits if each]
    assert drawn[0]["y"] == [*(high for _, high in known), *(low for low, _ in known[::-1])]


@pytest.mark.parametrize(("panel", "ends"), [("roc", [(0, 0), (1, 1)]), ("pr", [(0, 1), (1, None)])])
def test_a_panel_draws_the_curve_that_it_is_called_by(panel, ends, pair):
    (chart,) = draw(COMPARE, panel=panel).get("plotly_chart")
    x, y = (decoded(json.loads(chart.proto.spec)["data"][0][axis]) for axis in "xy")
    for place, (across, up) in zip((0, -1), ends, strict=True):
        assert x[place] == across
        assert up is None or y[place] == up


def test_bars_of_groups_that_a_table_told_are_not_of_photos(done):
    table = done.predictions().assign(copies=False)
    table.to_parquet(done.folder / "predictions.parquet")
    (chart,) = draw(COMPARE, panel="class").get("plotly_chart")
    (bars,) = json.loads(chart.proto.spec)["data"]
    told = [words for _, words in bars["customdata"]]
    assert all(re.fullmatch(r"\d+ pictures? of \d+ groups?", words) for words in told), told


def decoded(values):
    """An array as Plotly writes it."""
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])


def test_runs_are_compared_though_their_dataset_is_another_version_s(pair):
    file = workspace.dataset_dir("demo") / "dataset.json"
    disk.write_json(file, disk.read_json(file) | {"schema_version": 0})
    app = draw(COMPARE, who="both")
    assert "McNemar" in words(app)
    assert ["schema version 0" in error.value for error in app.error] == [True], "where its pictures would stand"


def test_runs_on_other_pictures_are_not_set_against_each_other(pair):
    recorded = disk.read_json(pair[1].folder / "config.json")
    disk.write_json(pair[1].folder / "config.json", recorded | {"data_hash": "another"})
    app = draw(COMPARE, runs=[run.name for run in pair])
    first, second = (lab.run_title(run) for run in pair)
    assert f"{shell.plain(f'{first} and {second}')} can't be compared: they were trained" in words(app)
    assert "McNemar" not in words(app)
    assert not app.error
    unasked = draw(COMPARE)
    assert not unasked.warning, "the newest alone is shown: there is no other on its data"


def test_nothing_is_compared_twice_unless_its_predictions_changed(pair, monkeypatch):
    from bloodcell_core.evaluation.comparison import compare_sides
    from ui import compare

    calls = []
    monkeypatch.setattr(compare, "compare_sides", lambda a, b: calls.append(a.name) or compare_sides(a, b))
    table = pair[0].predictions()
    table["p_eosinophil"], table["p_monocyte"] = table.p_monocyte.copy(), table.p_eosinophil.copy()
    table["predicted"] = table[[f"p_{name}" for name in pair[0].classes]].idxmax(axis=1).str.removeprefix("p_")
    table.to_parquet(pair[0].folder / "predictions.parquet")
    draw(COMPARE)
    draw(COMPARE, panel="cost")
    assert len(calls) == 1
    table.assign(**{f"p_{name}": 0.25 for name in pair[0].classes}, predicted=pair[0].classes[0]).to_parquet(
        pair[0].folder / "predictions.parquet"
    )
    draw(COMPARE)
    assert len(calls) == 2


def edit_test_scores(run, **changes):
    summary = json.loads((run.folder / "summary.json").read_text())
    summary["test"] |= changes
    (run.folder / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize("page", ["streamlit_app.py", PAGES["Train"][0]])
def test_an_accuracy_that_one_answer_for_all_reaches_is_told_beside_it(page, done):
    """On uneven classes a network that has learned nothing looks good."""
    test = done.summary()["test"]
    commonest = max(told["support"] for told in test["per_class"].values())
    edit_test_scores(done, accuracy=commonest / test["pictures"])
    assert "Always answering" in words(draw(page))
    edit_test_scores(done, accuracy=(commonest + 1) / test["pictures"])
    assert "Always answering" not in words(draw(page))


def test_compare_tells_what_evaluate_notes_of_a_run(done):
    edit_test_scores(done, warnings=[], notes=["monocyte was never predicted: it has no precision."])
    told = words(draw(COMPARE))
    assert "monocyte was never predicted: it has no precision." in told
    assert "few test photos" not in told, "that is not why"
