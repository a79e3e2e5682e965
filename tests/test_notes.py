"""Titles and tags of runs and datasets: what is kept, what is refused, and that the folders stay as they are."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_core import notes, runs, workspace
from bloodcell_core.cli import main
from bloodcell_core.data import dataset as datasets
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from tests.conftest import tree
from tests.training_fixtures import tiny, train_here

pytest_plugins = ["tests.training_fixtures"]


def test_a_run_s_title_and_tags_stand_beside_its_folder(done: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.folder.iterdir()}
    notes.rename("run", done.name, "  first \t try ")
    notes.tag("run", done.name, ["Paper", "ＰＡＰＥＲ", "a b"])
    assert done.notes == notes.Notes("first try", ("a b", "paper"))
    assert {path: path.stat().st_mtime_ns for path in done.folder.iterdir()} == before
    assert (done.describe()["title"], done.describe()["tags"]) == ("first try", ["a b", "paper"])
    assert notes.rename("run", done.name, "").tags == ("a b", "paper")
    assert notes.tag("run", done.name, []) == notes.Notes()


@pytest.mark.parametrize("bad", ["a\x00b", "a\u202eb", "zero\u200bwidth", "a\x1b[31m", "\ud800", "x" * 81])
def test_what_cannot_be_seen_or_is_too_long_is_no_title_and_no_tag(bad: str, done: Run) -> None:
    with pytest.raises(LabError, match=r"can't be seen|at most"):
        notes.rename("run", done.name, bad)
    with pytest.raises(LabError, match=r"can't be seen|at most"):
        notes.tag("run", done.name, ["good", bad])
    assert done.notes == notes.Notes()


@given(st.text(max_size=100))
def test_what_is_kept_is_kept_the_same_when_it_is_read_and_kept_again(text: str) -> None:
    try:
        title, tags = notes.clean(text, notes.MOST_TITLE, "title"), notes.clean_tags([text])
    except LabError:
        return
    assert notes.clean(title, notes.MOST_TITLE, "title") == title
    assert notes.clean_tags(tags) == tags
    assert len(title) <= notes.MOST_TITLE


def test_too_many_tags_are_refused(done: Run) -> None:
    with pytest.raises(LabError, match="at most 12 tags, not 13"):
        notes.tag("run", done.name, map(str, range(13)))


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"title": 5, "tags": []}', '{"title": "a", "tags": 5}', '{"title": "\\u0007"}']
)
def test_damaged_notes_are_told_and_cost_nobody_the_run(damage: str, done: Run) -> None:
    from ui.lab import run_title

    notes.rename("run", done.name, "first")
    workspace.notes_file("run", done.name).write_text(damage)
    assert "is damaged" in runs.find("latest").notes.problem
    assert "can’t be read" in run_title(done)
    assert notes.rename("run", done.name, "second") == done.notes == notes.Notes("second")


def test_a_deleted_run_takes_its_title_along(done: Run) -> None:
    notes.rename("run", done.name, "first")
    runs.remove(done)
    assert not [path for path in tree(workspace.home()) if done.name in path]


def test_a_dataset_on_which_a_run_is_at_work_stays(done: Run) -> None:
    run = jobs.create_run(tiny())
    before = tree(workspace.dataset_dir("demo"))
    with pytest.raises(LabError, match=f"{run.name}' is at work on dataset 'demo': stop it first"):
        datasets.remove("demo")
    assert tree(workspace.dataset_dir("demo")) == before
    notes.rename("dataset", "demo", "drawn cells")
    shutil.rmtree(run.folder)
    datasets.remove("demo")
    assert datasets.names() == []
    assert notes.read("dataset", "demo") == notes.Notes()
    assert len(done.predictions())


def test_a_member_of_an_ensemble_stays(done: Run) -> None:
    from bloodcell_core.training.ensembles import create_ensemble

    both = create_ensemble([done, train_here(seed=3)], "both")
    with pytest.raises(LabError, match="is a member of both: remove that first"):
        runs.remove(done)
    assert Run(done.name).notes == notes.Notes()
    runs.remove(both)
    runs.remove(done)


def test_the_command_line_names_tags_and_lists_by_tag(done: Run, capsys) -> None:
    assert main(["runs", "rename", "latest", "First <try>"]) == 0
    assert main(["runs", "tag", "latest", "paper", "old"]) == 0
    other = train_here(seed=3)
    capsys.readouterr()
    main(["runs", "list", "--tag", "Paper"])
    told = capsys.readouterr().out
    assert 'First <try>" #old #paper' in told
    assert other.name not in told
    main(["data", "rename", "demo", "Drawn cells"])
    main(["data", "list"])
    assert 'classes  "Drawn cells"' in capsys.readouterr().out
    assert main(["data", "tag", "nowhere", "x"]) == 2
    assert main(["runs", "rename", "latest", "a\x1b[31m"]) == 2
    assert "U+001B" in capsys.readouterr().err
