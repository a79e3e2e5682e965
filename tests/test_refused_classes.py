"""Classes that a run is not to name: learned as one kind, left out of every figure, called unlike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import REFUSED, run_classes, run_pictures
from bloodcell_core.data.views import build_view
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import side_of
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.evaluation.recommend import recommend
from bloodcell_core.evaluation.run_likeness import looks_of
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.labels.overlays import freeze
from bloodcell_core.labels.verdicts import LABEL_WRONG, record
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import Tapped, predict_logits
from bloodcell_core.models.network import last_layer, load_network
from bloodcell_core.training import jobs
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.training.prepare import first_state, load_pictures, split_rows
from bloodcell_core.words import listed
from tests.training_fixtures import tiny, train_here, trained

pytest_plugins = ["tests.training_fixtures"]

CPU = choose_device("cpu")
NAMED = ["eosinophil", "lymphocyte", "neutrophil"]


@pytest.mark.parametrize("folds", [{}, {"folds": 3}, {"folds": 3, "fold_over": "train"}], ids=str)
def test_what_is_refused_is_trained_on_and_in_no_figure(lab: Path, folds: dict[str, Any]):
    dataset = Dataset("demo")
    plain, config = tiny(**folds), tiny(refuse="monocyte", **folds)
    before, after = run_pictures(plain, dataset), run_pictures(config, dataset)
    monocytes = before.label == "monocyte"
    assert (after.split[~monocytes].fillna("") == before.split[~monocytes].fillna("")).all()
    assert ((after.split == REFUSED) == (monocytes & (before.split == "train"))).all()
    assert after.split[monocytes & (before.split != "train")].isna().all()

    validation = sorted(set(before.photo[before.split == "train"]))[::4]
    rows, plain_rows = (split_rows(each, dataset, validation) for each in (config, plain))
    assert set(rows["train"]) == set(plain_rows["train"])  # a refused cell on a validation photo isn't trained on
    assert {*before.label[rows["val"]], *before.label[rows["test"]]} == set(NAMED)


def test_all_that_is_refused_is_one_kind(lab: Path):
    dataset, config = Dataset("demo"), tiny(refuse="monocyte, eosinophil")
    assert run_classes(config, dataset) == ["lymphocyte", "neutrophil"]
    rows = split_rows(config, dataset, [])
    _, training, _ = load_pictures(config, dataset, rows, CPU)
    kinds = {"lymphocyte": 0, "neutrophil": 1, "monocyte": 2, "eosinophil": 2}
    assert training.labels.tolist() == [kinds[label] for label in dataset.pictures.label[rows["train"]]]


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        ("basophil", "no class 'basophil' to refuse"),
        ("eosinophil,lymphocyte,monocyte", "all but 1 are refused"),
        (140_000 * "x", "these names can't be read, 'xxx.*: field larger than"),
    ],
    ids=["unknown", "too many", "too long"],
)
def test_what_can_t_be_refused_is_told_before_anything_is_made(lab: Path, refuse: str, words: str):
    before = sorted((lab / "runs").iterdir())
    with pytest.raises(LabError, match=words):
        jobs.create_run(tiny(refuse=refuse))
    assert sorted((lab / "runs").iterdir()) == before


def test_a_class_with_a_comma_in_its_name_is_refused_in_quotation_marks() -> None:
    """As in a table, and as the message names it."""
    classes = ["a", "b", "cell, other", 'the "blue" one']
    dataset: Any = SimpleNamespace(name="cells", classes=classes)
    assert run_classes(tiny(refuse='"cell, other", the "blue" one'), dataset) == ["a", "b"]
    with pytest.raises(LabError, match="no class 'cell' to refuse: ") as told:
        run_classes(tiny(refuse="cell, other"), dataset)
    assert listed(str(told.value).partition("to refuse: ")[2]) == classes


@pytest.mark.parametrize("model", [name for name, info in MODELS.items() if not info.pretrained] + ["resnet18"])
def test_a_network_is_read_without_its_outputs_for_what_it_refuses(model: str, tmp_path: Path):
    config = tiny(model=model, refuse="smudge", weights="none")
    network = first_state(config, 3, CPU, "none").network.eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    tapped = Tapped(load_network(config, 3, tmp_path / "model.safetensors"))
    whole, (named, features) = predict_logits(network, pictures, CPU), tapped.predict(pictures, CPU)
    assert whole.shape == (5, 4)
    torch.testing.assert_close(named, whole[:, :3])
    weights, biases = last_layer(config, 3, tmp_path / "model.safetensors")
    np.testing.assert_allclose(features @ weights.T + biases, whole.numpy(), rtol=1e-4, atol=1e-4)


def test_an_ensemble_of_runs_that_refuse_a_class_refuses_it(lab: Path):
    members = [train_here(refuse="monocyte", learning_rate=rate) for rate in (0.001, 0.002)]
    ensemble = create_ensemble(members)
    _, table = evaluated(ensemble, split="train", device="cpu")
    assert set(table.image_id) == set(evaluated(members[0], split="train", device="cpu")[1].image_id)
    assert set(table.label) == set(NAMED)
    told = recommend([ensemble.describe()])
    assert told is not None
    assert "with Monocyte refused" in told.why


def test_a_run_names_the_others_and_calls_what_it_refuses_unlike(lab: Path):
    settings = {"model": "cell_net", "view": "cell", "epochs": 12, "validation_fraction": 0.4}
    run = train_here(refuse="monocyte", **settings)
    assert run.status()["state"] == "done"
    assert run.classes == NAMED
    assert set(run.predictions().label) == set(NAMED)

    likeness, dataset = Likeness.load(run.likeness_file), Dataset("demo")
    view = build_view(dataset, "cell", 32, run.config.crop)
    tapped = Tapped(load_network(run.config, 3, run.weights_file))

    def odds(rows: pd.Series) -> np.ndarray:
        """Of being what is refused, over their limit."""
        places = np.flatnonzero(rows)
        features, looks = tapped.predict(view[places], CPU)[1], looks_of(view, places, dataset.places)
        return likeness.distances(features, looks)[:, 2]

    pictures = dataset.pictures
    training = pictures.split == "train"
    refused, named = (odds(pictures.label.isin(names) & training) for names in (["monocyte"], NAMED))
    assert np.median(refused) > 3 * np.median(named)
    assert Likeness.load(train_here(**settings).likeness_file).arrays.get("refused_weights") is None


def test_a_picture_that_was_reviewed_to_be_of_a_refused_class_takes_no_part_in_its_figures(lab: Path):
    dataset = Dataset("demo")
    run = trained(refuse="monocyte", validation_fraction=0.4)
    table = run.predictions().query("split == 'test'")
    relabelled = table.image_id.iloc[0]
    record(dataset, [relabelled], LABEL_WRONG, label="monocyte", by="Ada")
    overlay, _ = freeze("day-one", dataset, by="Ada")
    changed = set(overlay.rows.image_id) & set(table.image_id)

    left = overlay.relabelled(table, run.classes)
    assert set(left.image_id) == set(table.image_id) - changed
    reviewed = evaluated(run, overlay=overlay)[0]["reviewed"]
    assert (reviewed["pictures"], reviewed["left_out"]) == (len(table) - len(changed), len(changed))
    assert side_of(run).relabelled(overlay).table.image_id.tolist() == left.image_id.tolist()
