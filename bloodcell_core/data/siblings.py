"""Finds pictures that were made from one photograph (siblings) where the photographs themselves aren't available.

Candidates are chosen by shared visual words (Sivic and Zisserman 2003): the word of a keypoint is the most similar of
some thousand sampled keypoints, and rare words weigh more than common ones (tf-idf). A mirror image has the mirrored
words. A candidate is a sibling if its keypoints agree with the picture's under one transform, at least half of what one
of them shows is in both, and the pixels agree there. Siblings of siblings are one family.

Measured in benchmarks/bench_siblings.py; the figures are in docs/source-photos.md.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from scipy import sparse

from bloodcell_core.cells import shrink
from bloodcell_core.data.parallel import picture_threads
from bloodcell_core.data.points import MIRRORED, Points, find_points, fit_points, rooted
from bloodcell_core.progress import Progress, no_progress

MOST_PICTURES = 20_000  # in about 860 MB of memory, including the libraries
SMALLEST_SIDE = 96  # pixels
WORKING_SIDE = 160  # pixels, to which larger pictures are shrunk before keypoints are found
KEPT_POINTS = 128  # the strongest of a picture
MOST_WORDS = 4096  # and as many mirrored ones
POINTS_A_WORD = 10  # keypoints per word, at least: if each were its own word, pictures would share none
CANDIDATES = 6  # other families that a family is compared with in a round
MIN_AGREEING = 8  # keypoints
MIN_LIKENESS = 0.65  # correlation
THUMB_SIDE = 96  # pixels of the thumbnails whose pixels are compared
MIN_SHARED = 0.5  # of the picture that shows less: neighbouring views of a smear overlap, but are no copies
AROUND = 4  # thumbnail pixels, sigma of the neighbourhood for local contrast
NOISE = 4  # grey values; less contrast is not taken for a pattern
BLACK = 12  # grey value below which a pixel is border
BLOCK = 32  # pictures whose similarity to all others is in memory at a time, on each core


class _Picture(NamedTuple):
    digest: bytes
    points: Points


class Match(NamedTuple):
    """What two pictures have in common."""

    agreeing: int
    """Keypoints that agree under one transform."""
    likeness: float
    """Correlation, -1…1, of the local contrasts under that transform; -1 where too little agrees or is shared."""

    @property
    def siblings(self) -> bool:
        """Whether enough keypoints agree, and the pixels are alike enough, for two copies of one photograph."""
        return self.agreeing >= MIN_AGREEING and self.likeness >= MIN_LIKENESS


class _Pair(NamedTuple):
    """Two pictures that may be siblings, by their numbers."""

    one: int
    other: int
    mirrored: bool


def off_because(count: int) -> str | None:
    """Why siblings aren't looked for among `count` pictures of SMALLEST_SIDE or more; None where they are."""
    if count > MOST_PICTURES:
        return f"siblings are looked for among up to {MOST_PICTURES:,} pictures, and these are {count:,}"
    if count < 2:
        return f"siblings are looked for in pictures of {SMALLEST_SIDE} pixels a side or more, and these are smaller"
    return None


def find_families(read: Callable[[int], np.ndarray], count: int, progress: Progress = no_progress) -> list[int]:
    """The family of each picture 0…count-1, numbered in order of first appearance.

    Pictures made from the same photograph (rotated, mirrored, shifted, zoomed, recompressed) are one family, as are
    pictures with identical pixels, even plain ones; other plain pictures are alone. Families don't depend on the order
    of the pictures. `read(i)` gives uint8 H×W×3 RGB and is called from several threads, once for each picture.
    `progress` is called with (pictures done, count).
    """
    seen: list[_Picture] = []
    with picture_threads() as pool:
        for start in range(0, count, 64):
            seen += pool.map(lambda number: _look_at(read(number)), range(start, min(start + 64, count)))
            progress(len(seen) * 2 // 3, count)  # about two thirds of the time
        # Sorted by content, so that neither the sampled words nor the compared pairs depend on the order.
        distinct = {picture.digest: picture.points for picture in sorted(seen, key=lambda picture: picture.digest)}
        families = dict(zip(distinct, _families([*distinct.values()], pool), strict=True))
    progress(count, count)
    number: dict[int, int] = {}
    return [number.setdefault(families[picture.digest], len(number)) for picture in seen]


def _look_at(picture: np.ndarray) -> _Picture:
    digest = blake2b(picture.tobytes() + repr(picture.shape).encode(), digest_size=16).digest()
    return _Picture(digest, strongest_points(picture))


def strongest_points(picture: np.ndarray) -> Points:
    """The keypoints of a picture (uint8 H×W×3 RGB) by which siblings are found, and a grey thumbnail: about 30 KB."""
    points = find_points(_shrunk(picture, WORKING_SIDE))
    return points._replace(
        places=points.places[:KEPT_POINTS].copy(),  # views would keep all keypoints in memory
        looks=points.looks[:KEPT_POINTS].copy(),
        grey=_shrunk(points.grey, THUMB_SIDE),
    )


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture, with its longer side shrunk to at most `side` pixels."""
    return shrink(picture, side / max(picture.shape[:2]))


def _families(pictures: list[Points], pool: ThreadPoolExecutor) -> list[int]:
    """A number for each picture, shared by its siblings.

    In each round the families that grew in the last one are compared with the others most like any of their members,
    until none grows: copies that show different parts of a photograph are joined through copies that show both.
    """
    families = np.arange(len(pictures))
    if not any(len(picture.looks) for picture in pictures):
        return families.tolist()
    words = _Words(pictures, pool)

    def compare(pair: _Pair) -> Match:
        other = pictures[pair.other]
        return match(pictures[pair.one], other.mirrored() if pair.mirrored else other)

    asking = families.copy()
    while len(asking):
        before = families.copy()
        pairs = words.candidates(asking, families, pool)
        for start in range(0, len(pairs), BLOCK):
            open_pairs = [pair for pair in pairs[start : start + BLOCK] if families[pair.one] != families[pair.other]]
            for pair, found in zip(open_pairs, pool.map(compare, open_pairs), strict=True):
                if found.siblings:
                    families[families == families[pair.other]] = families[pair.one]
        grown = np.unique(families[families != before])
        asking = np.flatnonzero(np.isin(families, grown))
    return families.tolist()


class _Words:
    """The visual words of all pictures, as tf-idf vectors of length 1."""

    def __init__(self, pictures: list[Points], pool: ThreadPoolExecutor):
        ends = np.cumsum([len(picture.looks) for picture in pictures])
        points = int(ends[-1])
        size = min(MOST_WORDS, -(-points // POINTS_A_WORD))
        sample = np.random.default_rng(0).choice(points, size, replace=False)
        owners = np.searchsorted(ends, sample, side="right")
        looks = [pictures[owner].looks[point - ends[owner]] for owner, point in zip(owners, sample, strict=True)]
        one_way = np.array(looks, np.uint8).reshape(-1, 128)
        both_ways = rooted(np.concatenate([one_way, one_way[:, MIRRORED]])).T
        named = pool.map(lambda picture: (rooted(picture.looks) @ both_ways).argmax(axis=1), pictures)
        words = np.concatenate([*named])
        self._swapped = np.roll(np.arange(2 * len(sample)), len(sample))  # each word's mirror image

        rows = np.repeat(np.arange(len(pictures)), np.diff(ends, prepend=0))
        table = sparse.csr_matrix((np.ones(points, np.float32), (rows, words)), (len(pictures), 2 * len(sample)))
        table.sum_duplicates()
        holders = np.bincount(table.indices, minlength=2 * len(sample))
        rarity = np.log((1 + 2 * len(pictures)) / (1 + holders + holders[self._swapped]))
        table.data = np.sqrt(table.data) * rarity[table.indices].astype(np.float32)
        lengths = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
        table.data /= np.repeat(np.maximum(lengths, 1e-9), np.diff(table.indptr)).astype(np.float32)
        self._table = table

    def candidates(self, asking: np.ndarray, families: np.ndarray, pool: ThreadPoolExecutor) -> list[_Pair]:
        """For each family of the pictures `asking`: its most similar pair with each of the CANDIDATES nearest ones."""
        columns = self._table.T.tocsr(), self._table[:, self._swapped].T.tocsr()

        def nearest(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            straight, mirrored = ((self._table[rows] @ way).toarray() for way in columns)
            turned = mirrored > straight
            like = np.maximum(straight, mirrored, out=straight)
            like[families[rows, None] == families] = 0
            few = min(CANDIDATES, like.shape[1])
            others = np.argpartition(like, -few, axis=1)[:, -few:]
            places = np.arange(len(rows))[:, None], others
            return np.repeat(rows, few), others.ravel(), turned[places].ravel(), like[places].ravel()

        blocks = [asking[start : start + BLOCK] for start in range(0, len(asking), BLOCK)]
        one, other, mirrored, like = (np.concatenate(parts) for parts in zip(*pool.map(nearest, blocks), strict=True))
        found = pd.DataFrame({"one": one, "other": other, "mirrored": mirrored, "like": like})
        found = found[found.like > 0].sort_values(["like", "one", "other"], ascending=[False, True, True])
        found["family"], found["theirs"] = families[found.one], families[found.other]
        found = found.drop_duplicates(["family", "theirs"])
        found = found[found.groupby("family").cumcount() < CANDIDATES]
        rows = zip(found.one.tolist(), found.other.tolist(), found.mirrored.tolist(), strict=True)
        return [*dict.fromkeys(_Pair(min(one, other), max(one, other), turned) for one, other, turned in rows)]


def match(one: Points, other: Points) -> Match:
    """Compares two pictures by their `strongest_points`, without mirroring."""
    fit = fit_points(one, other)
    if fit.transform is None or fit.agreeing < MIN_AGREEING:
        return Match(fit.agreeing, -1.0)
    return Match(fit.agreeing, _likeness(one, other, fit.transform))


def _likeness(one: Points, other: Points, transform: np.ndarray) -> float:
    """Correlation, -1…1, of the local contrasts of two pictures where both show something; -1 where that is too little.

    Local contrast, so that neither a vignette nor a bold mark at the same place makes unrelated pictures alike.
    """
    height, width = one.grey.shape
    place = _to_thumb(other) @ np.vstack([transform, [0, 0, 1]]) @ np.linalg.inv(_to_thumb(one))
    there = cv2.warpAffine(other.grey, place[:2], (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    shared = (one.grey > BLACK) & (there > BLACK)
    sizes = np.sum(one.grey > BLACK), np.sum(other.grey > BLACK) / abs(np.linalg.det(place[:2, :2]))
    if shared.sum() < MIN_SHARED * min(sizes):
        return -1.0
    shown = cv2.erode(shared.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # the border itself is a contrast
    here, there = (_local_contrast(grey, shown)[shown] for grey in (one.grey, there))
    return float(here @ there / np.sqrt((here @ here) * (there @ there) + 1e-9))


def _to_thumb(points: Points) -> np.ndarray:
    """float64 3×3: maps places of keypoints to places in their thumbnail; coordinates are of pixel centres."""
    zoom = points.grey.shape[1] / points.width
    return np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2], [0, 0, 1]])


def _local_contrast(grey: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Grey values minus the local mean, over the local standard deviation; only what is `shown` (bool) counts."""
    mask = shown.astype(np.float32)
    weight = np.maximum(cv2.GaussianBlur(mask, (0, 0), AROUND), 1e-3)

    def around(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(values * mask, (0, 0), AROUND) / weight)

    less = grey.astype(np.float32) - around(grey.astype(np.float32))
    return np.asarray(less / (np.sqrt(around(less * less)) + NOISE))
