"""A map of a dataset: pictures that are alike lie close together.

Alike to a trained network (the features that its last layer decides by), or where there is none by colour and shape.
"""

from __future__ import annotations

import numpy as np

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import photos_first
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run

METHODS = ("pca", "t-sne")
MOST_PICTURES = 2000  # t-SNE of more takes minutes, and no eye tells more points apart
COMPONENTS = 30  # that t-SNE works on; the rest is noise to it
LEAST_PICTURES = 10


def sample_rows(
    dataset: Dataset, most: int = MOST_PICTURES, seed: int = 0, among: np.ndarray | None = None
) -> np.ndarray:
    """At most `most` rows of `dataset.pictures`, or of those `among` them: one of each photo before a second of any.

    Sorted, int64.
    """
    return photos_first(dataset.pictures if among is None else dataset.pictures.loc[among], most, seed)


def look_features(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Colour and shape of pictures by the facts of their import: float64 (N, 7), each of mean 0 and spread 1.

    Colour cast, brightness and focus of the picture; size and form of the nucleus, where one was found.
    """
    wanted = ["stain_a", "stain_b", "brightness", "focus", "cell_area", "red_radius"]
    part = dataset.pictures.loc[rows, [*wanted, "box_x0", "box_x1", "box_y0", "box_y1"]].astype(float)
    width, height = part.box_x1 - part.box_x0, part.box_y1 - part.box_y0
    columns = [
        part.stain_a, part.stain_b, part.brightness, part.focus,
        np.log(part.cell_area / part.red_radius.fillna(part.red_radius.median()) ** 2),
        part.cell_area / (width * height),
        np.maximum(width, height) / np.minimum(width, height),
    ]  # fmt: skip
    features = np.column_stack([np.asarray(column, np.float64) for column in columns])
    features = np.where(np.isfinite(features), features, np.nan)
    known = np.isfinite(features).any(axis=0)
    features[:, ~known] = 0
    features = np.where(np.isfinite(features), features, np.nanmedian(features, axis=0))
    scaled: np.ndarray = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    return scaled


def run_features(run: Run, dataset: Dataset, rows: np.ndarray, device: str = "auto") -> np.ndarray:
    """What a run decides by: float32 (N, D), the inputs of its last layer; of an ensemble those of all members."""
    return np.hstack([_member_features(member, dataset, rows, device) for member in run.members])


def square_features(run: Run, square: np.ndarray, device: str = "auto") -> np.ndarray:
    """As `run_features`, of one cell as it was cut out of any picture (uint8 side×side×3): float32 (1, D)."""
    from bloodcell_core.data.views import resize

    return np.hstack(
        [_features(member, resize(square, member.config.size)[None], device) for member in run.members]
    )


def _member_features(run: Run, dataset: Dataset, rows: np.ndarray, device: str) -> np.ndarray:
    from bloodcell_core.data.views import build_view

    view = build_view(dataset, run.config.view, run.config.size, run.config.crop)
    return _features(run, view[rows], device)


def _features(run: Run, pixels: np.ndarray, device: str) -> np.ndarray:
    """The inputs of a trained run's last layer for pictures as it sees them (uint8 N×S×S×3)."""
    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import Tapped
    from bloodcell_core.models.network import load_network

    chosen = choose_device(device)
    network = load_network(run.config, len(run.classes), run.weights_file).to(chosen.device)
    return Tapped(network).predict(pixels, chosen)[1]


def project(features: np.ndarray, method: str = "pca", seed: int = 0) -> np.ndarray:
    """Places on the map, float64 (N, 2), of features (N, D): `pca` keeps distances, `t-sne` neighbours.

    Raises LabError where there are too few pictures for a map.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}: use {' or '.join(METHODS)}")
    if len(features) < LEAST_PICTURES:
        raise LabError(f"a map needs at least {LEAST_PICTURES} pictures, there are {len(features)}")
    components = 2 if method == "pca" else min(COMPONENTS, *features.shape)
    places = PCA(components, random_state=seed).fit_transform(features.astype(np.float64))
    if method == "t-sne":
        perplexity = min(30.0, (len(features) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(places)
    return np.asarray(places, np.float64)
