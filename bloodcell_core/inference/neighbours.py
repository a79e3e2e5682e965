"""The labelled training cells that a run finds most like a picture: its nearest neighbours.

By the cosine similarity of the run's features (the inputs of its last layer), after subtracting their mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.splits import photos_first
from bloodcell_core.errors import LabError
from bloodcell_core.inference.embedding import Embedder
from bloodcell_core.labels.overlays import of_run
from bloodcell_core.runs import Run
from bloodcell_core.training.prepare import split_rows

ALIKE = 4  # training cells that are found
MOST_PICTURES = 2000  # training pictures that are compared: one of each photo before a second of any
WIDEST = 512  # features per picture that are kept; more (basic_cnn has 18,432) would fill the memory


class Neighbours:
    """The training pictures of a run, by their features; takes seconds to make, then is fast. Immutable.

    LabError where `dataset` isn't the one that the run was trained on.
    """

    def __init__(self, run: Run, dataset: Dataset, device: str = "auto"):
        if dataset.content_hash != run.data_hash:
            raise LabError(f"dataset {dataset.name!r} holds other pictures than {run.name!r} was trained on")
        first = run.members[0]
        training = split_rows(first.config, dataset, first.validation_photos, of_run(first))["train"]
        self.rows = photos_first(dataset.pictures.loc[training], MOST_PICTURES)
        self._dataset, self._embedder = dataset, Embedder(run, device)
        self._scenes = dataset.pictures.scene.to_numpy()
        # Cells of a patient or a slide are one scene, too, but not one cell.
        cells = dataset.pictures.scene.where(dataset.pictures.copies.astype(bool), dataset.pictures.image_id)
        self._cells = cells.to_numpy()[self.rows]
        features = self._embedder.of_rows(dataset, self.rows)
        self._mean = features.mean(axis=0)
        self._narrow = _narrowing(features.shape[1])
        self._features = self._directions(features)

    def of(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The most similar training rows for each of some `rows` of the dataset's pictures, the nearest first.

        int64 (N, ALIKE), -1 where there are no more. Never pictures of the same cell, and one of each other cell:
        copies would always be the nearest, and tell nothing.
        """
        asked = np.asarray(rows, dtype=np.int64)
        features = self._directions(self._embedder.of_rows(self._dataset, asked))
        alike = features @ self._features.T
        alike[self._scenes[asked][:, None] == self._scenes[self.rows][None]] = -np.inf
        found = np.full((len(asked), ALIKE), -1)
        for nearest, own in zip(found, alike, strict=True):
            order = self._nearest(own)
            nearest[: len(order)] = np.where(np.isfinite(own[order]), self.rows[order], -1)
        return found

    def like(self, views: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.int64]:
        """The training rows most similar to a cell of any picture, as each of the run's members sees it (uint8
        size×size×3).

        int64, at most ALIKE, the nearest first, one of each cell.
        """
        (alike,) = self._directions(self._embedder.of_views(views)) @ self._features.T
        found: npt.NDArray[np.int64] = self.rows[self._nearest(alike)]
        return found

    def _nearest(self, alike: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """The places of the ALIKE cells that are most similar, each by its most similar picture."""
        order = np.argsort(-alike, kind="stable")
        firsts = np.unique(self._cells[order], return_index=True)[1]
        nearest: npt.NDArray[np.int64] = order[np.sort(firsts)[:ALIKE]]
        return nearest

    def _directions(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Features (N, D) minus the training pictures' mean, at most WIDEST of them, at length 1."""
        seen = features - self._mean
        if self._narrow is not None:
            seen = seen @ self._narrow
        length = np.linalg.norm(seen, axis=1, keepdims=True)
        found: npt.NDArray[np.float32] = (seen / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
        return found


def _narrowing(width: int) -> npt.NDArray[np.float32] | None:
    """A random projection (width, WIDEST), which preserves cosines to a few hundredths; None where none is needed."""
    if width <= WIDEST:
        return None
    drawn = np.random.default_rng(0).standard_normal((width, WIDEST), dtype=np.float32)
    return drawn / np.float32(np.sqrt(WIDEST))
