"""Runs adapted to another microscope's cells: what they are made of, what is claimed of them, and where they work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from bloodcell_core import runs, workspace
from bloodcell_core.cli import main
from bloodcell_core.cli.adapting import adaptation_lines
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import compare
from bloodcell_core.evaluation.report import run_report
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.evaluation.together import seed_groups
from bloodcell_core.inference import adaptation
from bloodcell_core.inference.adaptation import adapt, adapted, own_cells
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.least_cells import LEAST_CELLS, LEAST_OF_CLASS, too_few
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.labels.overlays import freeze
from bloodcell_core.labels.verdicts import AMBIGUOUS, LABEL_WRONG, record
from bloodcell_core.models.network import load_network
from bloodcell_core.review import ranking
from bloodcell_core.runs import Run
from bloodcell_core.training import loop
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.training.gradients import Blend, Gradients
from tests.conftest import write_files
from tests.training_fixtures import drawn, trained
from ui import compare as compare_page

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture(scope="module")
def own_original(module_home: Path) -> Path:
    """Another microscope: 48 cells, drawn from another seed. Not to be written to."""
    return drawn("own", per_class=12, seed=21).folder


@pytest.fixture
def own(lab: Path, own_original: Path) -> Dataset:
    """That microscope's cells in the test's workspace."""
    shutil.copytree(own_original, workspace.dataset_dir("own"))
    return Dataset("own")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adaptation.SETTINGS, "epochs", 2)
    torch.set_num_threads(1)


def kept_files(run: Run) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.folder.iterdir() if file.is_file()}


_MADE: dict[str, dict[str, bytes]] = {}
"""The name of the run that `made_of` has adapted in this process, and its files."""


def made_of(done: Run, own: Dataset) -> Run:
    """`adapt` for tests of what comes after: the second time, in another workspace, the first one's files."""
    if not _MADE:
        made = adapt(done, own, device="cpu")
        _MADE[made.name] = kept_files(made)
        return made
    ((name, files),) = _MADE.items()
    write_files(workspace.run_dir(name), files)
    return Run(name)


def test_an_adapted_run_is_a_new_finished_run_and_the_old_one_stays_as_it_was(done: Run, own: Dataset) -> None:
    before, heard = kept_files(done), []
    made = adapt(done, own, device="cpu", progress=lambda at, total: heard.append((at, total)))
    assert kept_files(done) == before
    assert made.name != done.name
    assert runs.find("latest").name == made.name
    assert made.status()["state"] == "done"
    assert made.adapted is not None
    assert (made.adapted["from"], made.adapted["cells"]) == (done.name, 48)
    assert sorted(made.adapted["cells_used"]) == sorted(own.pictures.image_id)
    assert made.classes == done.classes
    assert made.config.data == "own"
    assert made.data_hash == own.content_hash
    assert not made.trained_here
    assert heard == [(n, 12) for n in range(1, 13)], "each epoch of each of the six networks"
    old, new = load_file(done.weights_file), load_file(made.weights_file)
    assert old.keys() == new.keys()
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_an_adapted_run_learns_no_labels_that_were_reviewed_on_the_old_one_s_pictures(lab: Path, own: Dataset) -> None:
    demo = Dataset("demo")
    picture = demo.pictures[demo.pictures.split == "train"].iloc[0]
    other = next(name for name in demo.classes if name != picture.label)
    record(demo, [picture.image_id], LABEL_WRONG, label=other, by="Ana")
    freeze("day-one", demo, by="Ana")
    made = adapt(trained(labels="day-one"), own, device="cpu")
    assert made.config.labels == ""
    assert evaluated(made)[0]["reviewed"] is None


def test_runs_adapted_from_different_ones_do_not_differ_by_chance_alone(done: Run, own: Dataset) -> None:
    """What they were trained with before is no setting of theirs."""
    demo = Dataset("demo")
    record(demo, demo.pictures[demo.pictures.split == "train"].image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    freeze("day-one", demo, by="Ana")
    made = [adapt(run, own, device="cpu") for run in (done, trained(labels="day-one", seed=1))]
    assert not seed_groups(made)
    made[1] = adapt(trained(labels="day-one"), own, device="cpu")
    assert not [note for note in compare(*made)["notes"] if "the same settings" in note]


def test_the_report_of_an_adapted_run_says_so_and_what_it_was_tested_on(done: Run, own: Dataset) -> None:
    made = made_of(done, own)
    report = run_report(*evaluated(made), made)
    assert f"adapted from {done.name}, trained on synthetic pictures; all cells (out of fold) of own" in report
    assert "<th>epochs</th><td>2</td>" in report  # of the adapting, and not of the training before
    assert "test split of own" in run_report(*evaluated(done, "own", "test"), done)


def test_the_compare_page_begins_with_no_adapted_run_beside_one_that_was_tested_on_a_split(own: Dataset) -> None:
    made = [adapt(trained(seed=seed), own, device="cpu") for seed in (0, 1)]
    beside = trained(data="own", epochs=1)
    assert compare_page._newest_two([made[0], beside, made[1]]) == [made[0].name, made[1].name]
    assert compare_page._newest_two([beside, made[0]]) == [beside.name]


@pytest.mark.parametrize("called", [{}, {"eosinophil": "EOS"}])
def test_adapted_members_are_put_together(done: Run, own: Dataset, called: dict[str, str | None]) -> None:
    """As is advised where an ensemble can't be adapted itself, whatever the cells are called at that microscope: the
    two have each a dataset of its own made of them."""
    cells = combine("theirs", [(own, called)]) if called else own
    made = [adapt(run, cells, device="cpu") for run in (done, trained(seed=1))]
    both = create_ensemble(made, "both")
    summary = both.summary()
    assert summary["val_accuracy"] is None
    assert (summary["temperature"], summary["temperature_reason"]) == (1.0, "there are no validation pictures")
    assert summary["test"]["pictures"] == 48
    assert {each.split_words("test") for each in (*made, both)} == {"all cells (out of fold)"}
    shutil.rmtree(made[0].folder)
    assert runs.Run("both").split_words("test") == "test split"


def test_every_cell_is_answered_by_a_network_that_was_not_adapted_to_its_photo(
    done: Run, own: Dataset, monkeypatch: Any
) -> None:
    seen: list[set[bytes]] = []

    def watched(network: Any, config: Any, pixels: np.ndarray, labels: np.ndarray, *others: Any) -> Any:
        seen.append({cell.tobytes() for cell in pixels})
        assert len(pixels) == len(labels)
        return adapted(network, config, pixels, labels, *others)

    monkeypatch.setattr(adaptation, "adapted", watched)
    made = adapt(done, own, device="cpu")
    *folds, whole = seen
    assert len(folds) == 5
    assert len(whole) == 48
    held = [whole - fold for fold in folds]
    assert set.union(*held) == whole
    assert sum(map(len, held)) == 48
    scenes = own.pictures.scene.to_numpy()
    from bloodcell_core.data.views import build_view

    pixels = build_view(own, done.config.view, done.config.size, done.config.crop)
    for fold, out in zip(folds, held, strict=True):
        inside = {scene for scene, cell in zip(scenes, pixels, strict=True) if cell.tobytes() in fold}
        outside = {scene for scene, cell in zip(scenes, pixels, strict=True) if cell.tobytes() in out}
        assert not inside & outside
    table = made.predictions()
    assert len(table) == 48
    assert set(table.split) == {"test"}
    final = load_network(made.config, len(made.classes), made.weights_file)
    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import predict_probabilities

    shares = predict_probabilities(final, np.asarray(pixels), choose_device("cpu"))
    kept = table.set_index("image_id").loc[own.pictures.image_id, [f"p_{name}" for name in made.classes]].to_numpy()
    assert np.abs(shares - kept).max() > 0.01, "the kept predictions are out of fold, not the final network's"


def test_what_was_gained_is_told_with_intervals_for_before_and_after(done: Run, own: Dataset) -> None:
    made = made_of(done, own)
    summary = made.summary()
    facts = summary["adaptation"]
    assert facts["cells"] == facts["before"]["pictures"] == facts["after"]["pictures"] == 48
    assert facts["by_class"] == dict.fromkeys(done.classes, 12)
    for when in ("before", "after"):
        low, high = facts[when]["intervals"]["accuracy"]
        assert low <= facts[when]["accuracy"] <= high
    assert facts["compared"]["verdict"]
    assert summary["test"] == facts["after"]
    assert facts["before"]["accuracy"] == evaluated(done, "own", "all", "cpu")[0]["accuracy"]


def test_adapting_is_the_same_each_time(done: Run, own: Dataset) -> None:
    one, other = adapt(done, own, device="cpu"), adapt(done, own, device="cpu")
    pd.testing.assert_frame_equal(one.predictions(), other.predictions())
    assert one.weights_file.read_bytes() == other.weights_file.read_bytes()


def test_an_adapted_run_is_used_like_any_other(done: Run, own: Dataset, pictures: list[Path], capsys: Any) -> None:
    made = made_of(done, own)
    assert evaluated(made)[0]["pictures"] == 48
    answers = list(Predictor(made, "cpu").classify(files_of(pictures[:3])))
    assert all(answer.state in ("ok", "unsure", "unlike") for answer in answers)
    for verb in (["runs", "list"], ["runs", "show", made.name], ["evaluate", made.name]):
        assert main(verb) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["runs", "show", made.name]) == 0
    told = capsys.readouterr().out
    assert "cell view" in told or "frame view" in told
    assert "epoch" not in told, "none of its own was counted"
    again = adapt(made, drawn("third", per_class=12, seed=33), device="cpu")  # from an adapted one
    assert again.adapted is not None
    assert again.adapted["from"] == made.name
    runs.remove(made)
    assert made.name not in runs.names()


def test_doubtful_labels_are_ranked_by_the_answers_that_are_out_of_fold(done: Run, own: Dataset) -> None:
    """Each cell was answered by a network that hadn't seen it; asked again, the network that was adapted to all of them
    agreed with the labels that it had learned, and cells counted twice."""
    made = made_of(done, own)
    issues = ranking.of_run(made)
    assert not issues.warning
    assert issues.photos.pictures.sum() == len(own.pictures)
    assert made.out_of_fold
    assert not done.out_of_fold


# What is refused, and what is said


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"a": 20, "b": 19}, "39 labelled cells are too few"),
        ({"a": 50}, "one class alone"),
        ({"a": 50, "b": 4, "c": 30}, "b has 4"),
        ({"a": 20, "b": 20}, ""),
        ({"a": 35, "b": LEAST_OF_CLASS}, ""),
        ({}, "0 labelled cells are too few"),
        ({"a": 1}, "1 labelled cell is too few"),
    ],
)
def test_too_few_cells_are_refused_with_what_would_do(counts: dict[str, int], words: str) -> None:
    told = too_few(counts)
    assert words in told
    assert bool(words) == bool(told)


def test_nothing_is_made_of_too_few_cells(done: Run) -> None:
    few = drawn("few", per_class=10, seed=3)
    cells = combine("fewer", [(few, {"eosinophil": None})])
    assert len(cells.pictures) < LEAST_CELLS
    before = runs.names()
    with pytest.raises(LabError, match="'fewer': 30 labelled cells are too few"):
        adapt(done, cells, device="cpu")
    assert runs.names() == before


def test_ensembles_own_data_and_runs_without_weights_are_refused(done: Run, own: Dataset) -> None:
    ensemble = create_ensemble([done, trained(seed=4, epochs=1)])
    with pytest.raises(LabError, match="is an ensemble: adapt its members"):
        adapt(ensemble, own)
    with pytest.raises(LabError, match="was trained on 'demo': there is nothing to adapt to"):
        adapt(done, Dataset("demo"))
    done.weights_file.unlink()
    with pytest.raises(LabError, match=r"model\.safetensors is missing"):
        adapt(done, own)


def test_too_many_cells_are_to_be_trained_on(done: Run, own: Dataset, monkeypatch: Any) -> None:
    monkeypatch.setattr(adaptation, "MOST_CELLS", 47)
    with pytest.raises(LabError, match="has 48 cells of these classes: more than 47"):
        own_cells(done, own)


def test_cells_of_one_photo_tell_nothing(done: Run, own: Dataset, monkeypatch: Any) -> None:
    own.pictures["scene"] = "one"
    with pytest.raises(LabError, match="all cells are of one photo"):
        adapt(done, own, device="cpu")


def test_a_few_photos_with_another_class_most_frequent_in_each_are_adapted_to(
    done: Run, own: Dataset, monkeypatch: Any
) -> None:
    """Four fields of a slide may be like that."""
    photos = own.pictures.label.to_numpy()
    monkeypatch.setattr(own, "pictures", own.pictures.assign(photo=photos, scene=photos, split="train"))
    made = adapt(done, own, device="cpu")
    assert made.status()["state"] == "done"
    assert made.summary()["adaptation"]["folds"] == 4
    assert len(made.validation_photos) == 1


def test_the_gain_is_told_to_be_of_as_many_photos_as_its_intervals_are_drawn_from(done: Run, own: Dataset) -> None:
    """Photographs of one cell are one scene, which is in one fold; they were told as one photo."""
    own.pictures["scene"] = (np.arange(48) // 4).astype(str)
    facts = adapt(done, own, device="cpu").summary()["adaptation"]
    photos = own.pictures.source_photo.nunique()
    assert photos > 12
    assert facts["photos"] == facts["before"]["photos"] == facts["after"]["photos"] == photos
    assert f"  48 cells, {photos} photos (" in adaptation_lines(facts)[0]


def test_other_names_and_other_classes_make_a_dataset_that_has_them_as_the_run_does(done: Run, own: Dataset) -> None:
    called = {"neutrophil": "Neutrophils", "lymphocyte": "LYM", "monocyte": "monocyte", "eosinophil": "smudge"}
    theirs = combine("theirs", [(own, called)])
    with pytest.raises(LabError, match="36 labelled cells are too few"):
        own_cells(done, theirs)
    cells = own_cells(done, theirs, {"smudge": "eosinophil"})
    assert cells.dataset.name == "theirs-as-demo"
    assert cells.dataset.classes == done.classes
    assert len(cells.rows) == 48
    by_id = cells.dataset.pictures.set_index("image_id").label
    assert (by_id.loc[own.pictures.image_id].to_numpy() == own.pictures.label.to_numpy()).all()
    again = own_cells(done, theirs, {"smudge": "eosinophil"})
    assert again.dataset.name == "theirs-as-demo-2"


def test_a_class_that_is_told_to_be_another_of_the_run_s_is_that_in_every_figure(done: Run, own: Dataset) -> None:
    """The dataset has all the run's class names, and one of them means something else there."""
    made = adapt(done, own, {"monocyte": "lymphocyte"}, device="cpu")
    labels = made.predictions().label.value_counts().to_dict()
    assert labels == {"lymphocyte": 24, "eosinophil": 12, "neutrophil": 12}
    summary = made.summary()
    assert summary["adaptation"]["by_class"] == {"eosinophil": 12, "lymphocyte": 24, "monocyte": 0, "neutrophil": 12}
    assert summary["test"]["per_class"]["lymphocyte"]["support"] == 24


@pytest.mark.slow
def test_what_it_was_adapted_to_and_trained_on_before_is_told_where_it_is_tested_elsewhere(
    done: Run, own: Dataset
) -> None:
    """Cells of other class names are adapted to as a dataset that is made of them; who evaluates names the first."""
    theirs = combine("theirs", [(own, {"eosinophil": "EOS"})])
    made = adapt(done, theirs, device="cpu")
    assert made.config.data != "theirs"
    again = adapt(made, combine("more", [(own, {"eosinophil": "EO"}), (drawn("big", per_class=15, seed=5), {})]))
    trained_on = combine("before", [(Dataset("demo"), {})])
    count = int((Dataset("demo").pictures.split == "train").sum()) - int(
        Dataset("demo").pictures.photo.isin(done.validation_photos).sum()
    )

    def warned(run: Run, data: str) -> list[str]:
        warnings = evaluated(run, data, "all")[0]["warnings"]
        return [line for line in warnings if "trained on" in line]

    for run, data, seen in ((made, "theirs", 48), (made, "before", count), (again, "before", count)):
        assert warned(run, data) == [f"{seen} of these pictures were trained on: the figures are too good"]
    assert any("48 of these pictures" in line for line in again.summary()["adaptation"]["warnings"])
    both = create_ensemble([made, adapt(trained(seed=1), Dataset(made.config.data), device="cpu")], "both")
    assert len(warned(both, trained_on.name)) == 1
    runs.remove(both)
    runs.remove(done)
    assert [line for line in warned(made, "before") if done.name in line and "not known" in line]


def test_what_stops_it_leaves_neither_a_run_nor_a_dataset_of_its_own(done: Run, own: Dataset) -> None:
    theirs = combine("theirs", [(own, {"eosinophil": "EOS"})])
    before = runs.names(), names()

    def stop(at: int, total: int) -> None:
        assert "theirs-as-demo" in names()
        if at == 3:  # in the second network
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(done, theirs, device="cpu", progress=stop)
    assert (runs.names(), names()) == before


def test_a_full_memory_is_told_with_what_helps_here(done: Run, own: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody chooses a batch size, and the network is the run's."""

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loop, "_follow", fail)
    with pytest.raises(LabError, match=r"memory is full \(.*\): end what else uses the device, or use --device cpu"):
        adapt(done, own, device="cpu")


def test_a_batch_that_does_not_fit_is_adapted_to_in_parts(
    done: Run, own: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    in_parts = Gradients._in_parts

    def narrow(gradients: Gradients, blended: Blend, weight: float) -> Any:
        seen.append(min(len(blended.inputs), gradients._most))
        if seen[-1] > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return in_parts(gradients, blended, weight)

    monkeypatch.setattr(Gradients, "_in_parts", narrow)
    assert adapt(done, own, device="cpu").status()["state"] == "done"
    assert max(seen) == 16


def test_a_class_without_cells_is_said_to_be_untested(done: Run) -> None:
    cells = own_cells(done, combine("three", [(drawn("big", per_class=15, seed=5), {"monocyte": None})]))
    assert set(cells.labels) == {done.classes.index(name) for name in done.classes if name != "monocyte"}
    assert [line for line in cells.warnings if line.startswith("monocyte: none of these cells")]


def test_a_run_is_adapted_to_cells_that_lack_one_of_its_classes(done: Run) -> None:
    three = combine("three", [(drawn("big", per_class=15, seed=5), {"monocyte": None})])
    made = adapt(done, three, device="cpu")
    assert made.classes == done.classes
    told = made.summary()["adaptation"]
    assert told["after"]["per_class"]["monocyte"]["support"] == 0
    assert told["after"]["per_class"]["monocyte"]["recall"] is None
    assert told["after"]["pictures"] == 45
    assert [line for line in told["warnings"] if line.startswith("monocyte: none of these cells")]
    shares = Predictor(made, "cpu").classify(files_of([three.folder / "originals"]))
    assert all(cell.probabilities.keys() == set(done.classes) for answer in shares for cell in answer.cells)


def test_where_an_adapted_run_comes_from_is_told_wherever_it_is_listed(done: Run, own: Dataset, capsys: Any) -> None:
    made = made_of(done, own)
    for verb in (["runs", "list"], ["runs", "show", made.name], ["evaluate", made.name]):
        assert main(verb) == 0
        lines = capsys.readouterr().out.splitlines()
        assert next(line for line in lines if "adapted from" in line).endswith(f"adapted from {done.name}")


def test_the_command_line_tells_before_and_after(done: Run, own: Dataset, capsys: Any) -> None:
    assert main(["adapt", "latest", "--data", "own", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "48 cells" in said
    assert "balanced accuracy" in said
    assert "before" in said
    made = runs.find("latest")
    assert made.name in said
    assert main(["adapt", done.name, "--data", "own", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["from"] == done.name
    assert told["after"]["pictures"] == 48
    assert main(["adapt", done.name, "--data", "nowhere"]) == 2
    assert workspace.runs_dir().is_dir()
