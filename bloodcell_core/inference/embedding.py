"""A map of a dataset in two dimensions, by PCA or t-SNE: similar pictures are close together.

Similar to a trained network (by its features, the inputs of its last layer) or, without one, by colour and shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.runs import Run

MOST_PICTURES = 2000  # t-SNE of more takes minutes, and nobody can tell more points apart
COMPONENTS = 30  # principal components given to t-SNE; the rest is noise
LEAST_PICTURES = 10


def look_features(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Colour and shape of pictures, from the facts of their import: float64 (N, 7), standardised.

    Tint, brightness and focus of the picture; size and shape of the nucleus, where one was found.
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


class Embedder:
    """The features of any pictures by a run's networks, which are loaded once. Immutable."""

    def __init__(self, run: Run, device: str = "auto"):
        from bloodcell_core.device import choose_device
        from bloodcell_core.models.forward import Tapped
        from bloodcell_core.models.network import quickest, trained_network

        self._device = chosen = choose_device(device)
        self._members = []
        for member in run.members:
            tapped = Tapped(quickest(trained_network(member), member.config.model).to(chosen.device))
            self._members.append((member.config, tapped))

    def of_rows(self, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
        """The features, float32 (N, D), of rows of a dataset's pictures; those of all members are concatenated."""
        from bloodcell_core.data.views import build_view

        return np.hstack(
            [
                tapped.predict(build_view(dataset, *config.sight), self._device, rows=rows)[1]
                for config, tapped in self._members
            ]
        )

    def of_views(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """The features, float32 (1, D), of one cell of any picture, as each member sees it (uint8 size×size×3)."""
        return np.hstack(
            [
                tapped.predict(view[None], self._device)[1]
                for view, (_, tapped) in zip(views, self._members, strict=True)
            ]
        )


def project(features: np.ndarray, method: str) -> np.ndarray:
    """Places on the map, float64 (N, 2), of features (N, D): `pca` preserves distances, `t-sne` neighbours.

    Raises LabError for too few pictures.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < LEAST_PICTURES:
        raise LabError(f"a map needs at least {LEAST_PICTURES} pictures, there are {len(features)}")
    components = 2 if method == "pca" else min(COMPONENTS, *features.shape)
    places = PCA(components, random_state=0).fit_transform(features.astype(np.float64))
    if method == "t-sne":
        perplexity = min(30.0, (len(features) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(places)
    return np.asarray(places, np.float64)
