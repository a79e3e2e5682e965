"""Finds pictures that look alike, by the perceptual hashes of `facts`.

A large dataset has too many pairs to compare them all. The bits of a hash are divided into two more chunks than bits
may differ: two near hashes then have at least two equal chunks (the pigeonhole principle), and only those are compared.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)


def near_groups(hashes: np.ndarray, distance: int) -> list[list[int]]:
    """Groups of rows of `hashes` (uint8 N×bytes) that differ in at most `distance` bits, directly or in a chain.

    Each group has two rows or more, in ascending order; the groups are in the order of their first rows.
    """
    if len(hashes) == 0:
        return []
    hashes = np.ascontiguousarray(hashes)
    unique, first_group = np.unique(hashes.view(f"V{hashes.shape[1]}")[:, 0], return_inverse=True)
    groups = _join(unique.view(np.uint8).reshape(len(unique), -1), distance)[first_group]
    shared = np.flatnonzero(np.bincount(groups)[groups] > 1)
    shared = shared[np.argsort(groups[shared], kind="stable")]
    members = np.split(shared, np.flatnonzero(np.diff(groups[shared])) + 1) if len(shared) else []
    return sorted(rows.tolist() for rows in members)


def _join(hashes: np.ndarray, distance: int) -> np.ndarray:
    """The group of each of some distinct hashes: int (N,)."""
    groups = np.arange(len(hashes))
    chunks = _chunks(hashes, max(distance + 2, hashes.shape[1] // 2))  # of two bytes at most: two make a key
    for one, other in combinations(chunks, 2):
        groups = _join_of_one_key(hashes, one << 16 | other, groups, distance)
    return groups


def _chunks(hashes: np.ndarray, count: int) -> list[np.ndarray]:
    """Chunk i has every `count`-th bit from i on: neighbouring bits are correlated and would tell less together."""
    bits = np.unpackbits(hashes, axis=1)
    parts = (bits[:, start::count] for start in range(count))
    return [part @ (1 << np.arange(part.shape[1])) for part in parts]


def _join_of_one_key(hashes: np.ndarray, keys: np.ndarray, groups: np.ndarray, distance: int) -> np.ndarray:
    """The groups after joining those of rows that have the same key and are near each other: int (N,).

    Groups are joined as soon as as many pairs as rows were found: among thousands of rows that are all alike, all pairs
    would be too many to compare and to keep.
    """
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
    found: list[np.ndarray] = []
    number = 0
    places = np.arange(len(keys))[~_is_one_group(groups[order], starts)[run]]
    for step in range(1, len(keys)):  # each row with the next one, the one after that, … while their keys are the same
        places = places[: np.searchsorted(places, len(keys) - step)]
        places = places[keys[places] == keys[places + step]]
        if not len(places):
            break
        pairs = np.stack([order[places], order[places + step]], axis=1)
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        differing = BITS_SET[hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]].sum(axis=1, dtype=int)
        found.append(pairs[differing <= distance])
        number += len(found[-1])
        if number >= len(keys):
            groups, found, number = _linked(groups, found), [], 0
            places = places[~_is_one_group(groups[order], starts)[run[places]]]
    return _linked(groups, found)


def _is_one_group(groups: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether the rows from each of `starts` to the next are all of one group: bool."""
    same: np.ndarray = np.minimum.reduceat(groups, starts) == np.maximum.reduceat(groups, starts)
    return same


def _linked(groups: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
    """The groups after joining those of each found pair of rows."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([np.zeros((0, 2), int), *found])
    if not len(pairs):
        return groups
    links = coo_array((np.ones(len(pairs), bool), (groups[pairs[:, 0]], groups[pairs[:, 1]])), (len(groups),) * 2)
    joined: np.ndarray = connected_components(links, directed=False)[1][groups]
    return joined
