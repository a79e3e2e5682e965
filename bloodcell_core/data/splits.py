"""Cuts pictures in two so that no source photo stands on both sides. Pure functions, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cut_by_photo(labels: Sequence[str], photos: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """Which pictures go to the smaller side: bool (N,).

    Each class gives up about `fraction` of its photos (at least one where it has two or more; none where it has a
    single one, which stays on the larger side). All pictures of a photo go together; a photo with several labels
    counts for its most frequent one. Every draw depends on `seed` and the set of photos alone, not on row order.

    Raises ValueError unless 0 < fraction < 1 and labels and photos have the same length.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, not {fraction}")
    if len(labels) != len(photos):
        raise ValueError(f"{len(labels)} labels for {len(photos)} photos")
    votes: dict[str, dict[str, int]] = {}
    for label, photo in zip(labels, photos, strict=True):
        of_photo = votes.setdefault(photo, {})
        of_photo[label] = of_photo.get(label, 0) + 1
    by_class: dict[str, list[str]] = {}
    for photo in sorted(votes):
        label = max(sorted(votes[photo]), key=votes[photo].__getitem__)
        by_class.setdefault(label, []).append(photo)
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for label in sorted(by_class):
        members = by_class[label]
        wanted = round(fraction * len(members))
        wanted = min(max(wanted, 1), len(members) - 1)
        chosen.update(members[i] for i in rng.permutation(len(members))[:wanted])
    return np.fromiter((photo in chosen for photo in photos), dtype=bool, count=len(photos))
