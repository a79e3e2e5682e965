"""External validation: what is left out and reported, and how unlike the pictures are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bloodcell_core import workspace
from bloodcell_core.cli.scoring import distance_lines, match_lines
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.external import FACTS, distance
from bloodcell_core.evaluation.predictions import write_predictions
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.labels.overlays import freeze
from bloodcell_core.labels.verdicts import AMBIGUOUS, record
from bloodcell_core.runs import Run
from tests.training_fixtures import drawn, trained

pytest_plugins = ["tests.training_fixtures"]

# Distance


def facts_table(n: int = 40, **shift: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    usual = {"stain_a": (2, 3), "stain_b": (5, 3), "brightness": (200, 20), "red_radius": (20, 3),
             "cell_area": (2000, 300), "focus": (1.3, 0.1)}  # fmt: skip
    return pd.DataFrame(
        {name: rng.normal(mean, spread, n) + shift.get(name, 0) for name, (mean, spread) in usual.items()}
    )


def test_the_distance_is_that_of_the_medians_in_spreads_of_the_training_pictures() -> None:
    training, here = facts_table(), facts_table(brightness=-70, red_radius=4)
    told = distance(training, here)
    assert list(told) == list(FACTS)
    values = training.brightness
    spread = 1.4826 * (values - values.median()).abs().median()
    assert told["brightness"]["distance"] == pytest.approx(-70 / spread)
    assert told["brightness"]["training"] == pytest.approx(values.median())
    assert told["brightness"]["here"] == pytest.approx(values.median() - 70)
    assert told["brightness"]["words"] == f"far: {70 / spread:.1f} times the spread of the training pictures"
    assert told["red_radius"]["words"].startswith("somewhat apart: 1.")
    assert told["focus"] == told["focus"] | {"distance": 0.0, "words": "like the training data"}
    json.dumps(told, allow_nan=False)
    assert len(distance_lines(told)) == 1 + len(FACTS)


def test_pictures_that_are_all_the_same_count_as_spread_by_what_can_be_seen() -> None:
    training = pd.concat([facts_table(1)] * 9)
    told = distance(training, training.assign(focus=training.focus + 0.01, cell_area=training.cell_area * 1.02))
    assert {fact["words"] for fact in told.values()} == {"like the training data"}


def test_what_was_not_measured_is_told_as_such() -> None:
    told = distance(facts_table(), facts_table().assign(red_radius=None))
    assert told["red_radius"] == told["red_radius"] | {
        "here": None, "distance": None, "words": "not measured on both sides"
    }  # fmt: skip
    assert "–" in "\n".join(distance_lines(told))
    assert distance_lines(None) == []


# A run on other data


@pytest.fixture
def renamed(lab: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Makes a dataset of other demo pictures, its class folders named as `names` says."""

    def make(names: dict[str, str], name: str = "other") -> Dataset:
        theirs = drawn("drawn", per_class=10, seed=3)
        for row in theirs.pictures.itertuples():
            target = tmp_path / "source" / names.get(row.label, row.label) / f"{row.Index}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((workspace.dataset_dir("drawn") / "originals" / row.stored).read_bytes())
        return import_dataset(tmp_path / "source", name, trace=False)

    return make


def test_other_data_is_scored_whole_and_what_is_left_out_is_told(done: Run, renamed: Callable[..., Dataset]) -> None:
    other = renamed({"eosinophil": "EO", "lymphocyte": "Lymphocytes", "monocyte": "ig", "neutrophil": "band"})
    counts = other.pictures.label.value_counts()
    scores = evaluated(done, "other", "all", "cpu")[0]
    assert scores["class_map"] == {
        "EO": "eosinophil", "Lymphocytes": "lymphocyte", "band": None, "ig": None
    }  # fmt: skip
    assert scores["left_out_classes"] == {"ig": counts["ig"], "band": counts["band"]}
    assert scores["left_out"] == counts["ig"] + counts["band"]
    assert scores["lacking"] == ["monocyte", "neutrophil"]
    assert [sum(row) for row in scores["confusion"]] == [counts["EO"], counts["Lymphocytes"], 0, 0]
    assert [line.split(maxsplit=1) for line in match_lines(scores)[1:]] == [
        ["EO", f"eosinophil, {counts['EO']} pictures"],
        ["Lymphocytes", f"lymphocyte, {counts['Lymphocytes']} pictures"],
        ["none", "monocyte, 0 pictures"],
        ["none", "neutrophil, 0 pictures"],
    ]
    assert match_lines(evaluated(done)[0]) == []
    words = "\n".join(scores["warnings"])
    assert f"ig ({counts['ig']} pictures)" in words
    assert "band may belong to neutrophil" in words
    assert "ig may" not in words
    told = evaluated(done, "other", "all", "cpu", {"band": "neutrophil"})[0]
    assert sum(told["confusion"][done.classes.index("neutrophil")]) == counts["band"]
    assert "band" not in "\n".join(told["warnings"])
    test = evaluated(done, "other", "test", "cpu")[0]
    assert test["pictures"] < scores["pictures"] == counts["EO"] + counts["Lymphocytes"]


def test_the_distance_is_from_what_the_run_was_trained_on(done: Run, renamed: Callable[..., Dataset]) -> None:
    other = renamed({})
    scores = evaluated(done, "other", "all", "cpu")[0]
    own = Dataset("demo").pictures
    training = own[(own.split == "train") & ~own.photo.isin(done.validation_photos)]
    assert scores["distance"] == distance(training, other.pictures)
    assert evaluated(done)[0]["distance"] is None


def test_training_pictures_under_another_name_are_told(done: Run, pictures: list[Path], tmp_path: Path) -> None:
    own = Dataset("demo").pictures
    trained = ((own.split == "train") & ~own.photo.isin(done.validation_photos)).sum()
    for row, label in enumerate(own.label):
        target = tmp_path / "twin" / label / f"{row}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pictures[row].read_bytes())
    import_dataset(tmp_path / "twin", trace=False)
    scores = evaluated(done, "twin", "all", "cpu")[0]
    assert f"{trained} of these pictures were trained on: the figures are too good" in scores["warnings"]


def test_what_reviewed_labels_left_out_was_not_trained_on(lab: Path) -> None:
    demo = Dataset("demo")
    record(demo, demo.pictures[demo.pictures.split == "train"].image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    overlay, _ = freeze("day-one", demo, by="Ana")
    run = trained(labels="day-one", epochs=1)
    combine("twin", [(demo, {})])
    own = demo.pictures[(demo.pictures.split == "train") & ~demo.pictures.photo.isin(run.validation_photos)]
    count = (~own.image_id.isin(overlay.rows.image_id)).sum()
    assert 0 < count < len(own)
    warnings = evaluated(run, "twin", "all", "cpu")[0]["warnings"]
    assert f"{count} of these pictures were trained on: the figures are too good" in warnings


def test_without_the_training_data_the_distance_is_not_known(done: Run, renamed: Callable[..., Dataset]) -> None:
    renamed({})
    workspace.dataset_dir("demo").rename(workspace.dataset_dir("gone"))
    scores = evaluated(done, "other", "all", "cpu")[0]
    assert scores["distance"] is None
    assert "'demo' isn't here as it was" in scores["warnings"][0]


def test_all_pictures_of_the_runs_own_data_are_refused(done: Run) -> None:
    with pytest.raises(LabError, match="'demo' is the run's own"):
        evaluated(done, split="all")[0]
    with pytest.raises(LabError, match="are for another dataset"):
        evaluated(done, class_map={"neutrophil": "neutrophil"})[0]


def test_another_dataset_under_the_name_of_the_runs_own_is_another(done: Run) -> None:
    kept = evaluated(done)[0]
    workspace.dataset_dir("demo").rename(workspace.dataset_dir("was-demo"))
    drawn("demo", per_class=10, seed=3)
    there, table = evaluated(done, "demo", "all", "cpu")
    assert set(table.image_id) == set(Dataset("demo").pictures.image_id)
    assert there["class_map"] == {name: name for name in done.classes}
    assert evaluated(done)[0]["confusion"] == kept["confusion"], "what it kept is of its own"
    with pytest.raises(LabError, match="'demo' is no longer the one that"):
        evaluated(done, split="train", device="cpu")
    workspace.dataset_dir("demo").rename(workspace.dataset_dir("other"))
    assert evaluated(done, "demo")[0]["confusion"] == kept["confusion"]


# The predictions as a file


@pytest.mark.parametrize("ending", ["csv", "CSV", "parquet"])
def test_predictions_are_written_as_they_were_scored(ending: str, done: Run, tmp_path: Path) -> None:
    _, table = evaluated(done)
    file = tmp_path / f"predictions.{ending}"
    write_predictions(table, file)
    read = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file)
    pd.testing.assert_frame_equal(read, table, check_exact=ending == "parquet", check_dtype=ending == "parquet")
    with pytest.raises(LabError, match=r"as \.csv or \.parquet, not as 'table\.xlsx'"):
        write_predictions(table, tmp_path / "table.xlsx")
    assert [path.name for path in tmp_path.glob("*predictions*")] == [file.name]
