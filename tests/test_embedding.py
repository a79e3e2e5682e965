"""The map of a dataset: which pictures are on it, by what they are placed, and where."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import photos_first
from bloodcell_core.data.views import build_view
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.inference.embedding import Embedder, look_features, project
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import predict_logits
from bloodcell_core.models.network import load_network
from tests.training_fixtures import drawn, train_here

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def demo(lab_home: Path) -> Dataset:
    return drawn("demo", per_class=20, seed=1)


def test_each_photo_is_on_the_map_before_a_second_copy_of_any(demo: Dataset):
    photos = demo.pictures.photo.nunique()
    assert demo.pictures.photo[photos_first(demo.pictures, photos)].nunique() == photos
    assert demo.pictures.photo[photos_first(demo.pictures, photos - 3)].is_unique
    assert photos_first(demo.pictures, 2000).tolist() == list(range(len(demo.pictures)))
    assert np.array_equal(photos_first(demo.pictures, 9), photos_first(demo.pictures, 9))


def test_colour_and_shape_are_finite_and_of_one_scale(demo: Dataset):
    features = look_features(demo, np.arange(len(demo.pictures)))
    assert features.shape == (80, 7)
    assert np.isfinite(features).all()
    assert features.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert features.std(axis=0) == pytest.approx(1, abs=1e-6)


def test_so_they_are_where_no_cell_was_found(demo: Dataset):
    for column in ("box_x0", "cell_area", "red_radius"):
        demo.pictures[column] = None
    assert np.isfinite(look_features(demo, np.arange(len(demo.pictures)))).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_run_s_features_are_what_its_last_layer_decides_by(model: str, lab: Path):
    run = train_here(model=model, weights="none" if MODELS[model].pretrained else "default", epochs=1)
    dataset = Dataset(run.config.data)
    rows = np.arange(5)
    network = load_network(run.config, len(run.classes), run.weights_file)
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    features = Embedder(run, "cpu").of_rows(dataset, rows)
    view = build_view(dataset, run.config.view, run.config.size, run.config.crop)
    logits = predict_logits(network, view[rows], choose_device("cpu"))
    with torch.inference_mode():
        torch.testing.assert_close(last(torch.from_numpy(features)), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["pca", "t-sne"])
def test_what_is_alike_lies_close(method: str):
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    features = rng.normal(0, 0.1, (40, 6)) + 5 * groups[:, None]
    places = project(features, method)
    assert places.shape == (40, 2)
    assert np.array_equal(places, project(features, method))
    middles = [places[groups == group].mean(axis=0) for group in (0, 1)]
    for place, group in zip(places, groups, strict=True):
        assert np.linalg.norm(place - middles[group]) < np.linalg.norm(place - middles[1 - group])


def test_a_map_of_hardly_any_picture_is_refused():
    with pytest.raises(LabError, match="at least 10 pictures, there are 3"):
        project(np.zeros((3, 5)), "pca")
