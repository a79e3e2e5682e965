"""Splits and folds by source photo: no photo in two parts, stratified by class, reproducible."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.data.splits import cut_by_photo, folds_by_photo

fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**31 - 1)


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """(labels, photos) of some classes with some photos of some pictures each, in any order."""
    rows = [
        (label, f"{label}-{photo}")
        for label in draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
        for photo in range(draw(st.integers(1, 12)))
        for _ in range(draw(st.integers(1, 4)))
    ]
    rows = draw(st.permutations(rows))
    return [label for label, _ in rows], [photo for _, photo in rows]


def photos_by_class(labels: list[str], photos: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for label, photo in zip(labels, photos, strict=True):
        found.setdefault(label, set()).add(photo)
    return found


@settings(max_examples=150, deadline=None)
@given(collections(), fractions, seeds)
def test_no_photo_stands_on_both_sides(collection, fraction, seed):
    labels, photos = collection
    chosen = cut_by_photo(labels, photos, fraction, seed)
    assert chosen.dtype == bool
    assert chosen.shape == (len(labels),)
    smaller = {photo for photo, taken in zip(photos, chosen, strict=True) if taken}
    larger = {photo for photo, taken in zip(photos, chosen, strict=True) if not taken}
    assert not smaller & larger


@settings(max_examples=150, deadline=None)
@given(collections(), fractions, seeds)
def test_each_class_gives_up_its_share_of_photos_within_rounding(collection, fraction, seed):
    labels, photos = collection
    chosen = cut_by_photo(labels, photos, fraction, seed)
    taken = {photo for photo, out in zip(photos, chosen, strict=True) if out}
    for members in photos_by_class(labels, photos).values():
        share = len(members & taken)
        if len(members) == 1:
            assert share == 0  # a single photo stays on the larger side
        else:
            assert 1 <= share <= len(members) - 1
            exact = fraction * len(members)
            at_the_ends = (share == 1 and exact < 1) or (share == len(members) - 1 and exact > share)
            assert abs(share - exact) <= 0.5 or at_the_ends


@settings(max_examples=100, deadline=None)
@given(collections(), fractions, seeds, st.randoms(use_true_random=False))
def test_the_cut_is_the_same_for_the_same_photos_in_any_order(collection, fraction, seed, random):
    labels, photos = collection
    before = dict(zip(photos, cut_by_photo(labels, photos, fraction, seed), strict=True))
    order = random.sample(range(len(labels)), len(labels))
    after = cut_by_photo([labels[i] for i in order], [photos[i] for i in order], fraction, seed)
    assert [before[photos[i]] for i in order] == after.tolist()


def test_another_seed_cuts_elsewhere():
    photos = [f"photo-{number}" for number in range(40)]
    cuts = {cut_by_photo(["a"] * 40, photos, 0.25, seed).tobytes() for seed in range(5)}
    assert len(cuts) == 5


def test_every_photo_is_drawn_as_often_as_any_other():
    photos = [f"photo-{number}" for number in range(8)]
    times = sum(cut_by_photo(["a"] * 8, photos, 0.25, seed).astype(int) for seed in range(400))
    assert times.sum() == 800
    assert times.min() > 60  # 100 expected; five standard deviations below is 57
    assert times.max() < 144


@pytest.mark.parametrize(("count", "fraction", "taken"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.15, 2), (100, 0.2, 20)])
def test_the_share_of_a_class_in_photos(count, fraction, taken):
    assert cut_by_photo(["a"] * count, [str(number) for number in range(count)], fraction, 0).sum() == taken


def test_shares_are_counted_in_photos_and_not_in_pictures():
    photos = ["many"] * 90 + [f"single-{number}" for number in range(9)]
    assert (
        len({photo for photo, taken in zip(photos, cut_by_photo(["a"] * 99, photos, 0.2, 3), strict=True) if taken})
        == 2
    )


def test_classes_of_a_single_photo_stay_whole_on_the_larger_side():
    chosen = cut_by_photo(["a", "a", "a", "b", "b"], ["one", "one", "one", "two", "three"], 0.5, 0)
    assert not chosen[:3].any()
    assert chosen[3:].sum() == 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6)), min_size=1, max_size=40), fractions, seeds)
def test_no_class_is_cut_off_whole_with_patients_who_count_for_others(cells, fraction, seed):
    labels, patients = [label for label, _ in cells], [f"patient-{number}" for _, number in cells]
    chosen = cut_by_photo(labels, patients, fraction, seed)
    gone = set(labels) - {label for label, out in zip(labels, chosen, strict=True) if not out}
    if gone:  # each that was to be given up has the only cells of a class
        theirs = photos_by_class(labels, patients)
        assert {patient for label in gone for patient in theirs[label]} == {*np.array(patients)[chosen]}
    assert not {*np.array(patients)[chosen]} & {*np.array(patients)[~chosen]}


def test_the_only_patient_with_a_class_stays():
    labels, patients = ["a"] * 20 + ["b"], [f"patient-{number % 10}" for number in range(20)] + ["patient-3"]
    cuts = [cut_by_photo(labels, patients, 0.2, seed) for seed in range(30)]
    assert not any(cut[-1] for cut in cuts)
    assert all(cut.any() for cut in cuts)


def test_a_photo_with_several_labels_goes_whole_and_counts_for_the_most_frequent_one():
    # "mixed" is a's third photo: a gives up one of 3, b one of 2. Counted for b it would be one of 2 and one of 3.
    labels = ["a", "a", "b", "a", "a", "b", "b"]
    photos = ["mixed", "mixed", "mixed", "a1", "a2", "b1", "b2"]
    sides = [dict(zip(photos, cut_by_photo(labels, photos, 0.34, seed), strict=True)) for seed in range(60)]
    for side in sides:
        assert Counter(side[photo] for photo in ("mixed", "a1", "a2")) == {False: 2, True: 1}
        assert Counter(side[photo] for photo in ("b1", "b2")) == {False: 1, True: 1}
    assert any(side["mixed"] for side in sides)


def test_nothing_to_cut_is_no_error():
    assert cut_by_photo([], [], 0.5, 0).tolist() == []


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_named(fraction):
    with pytest.raises(ValueError, match=f"fraction must lie between 0 and 1, not {fraction}"):
        cut_by_photo(["a", "b"], ["1", "2"], fraction, 0)


def test_labels_without_photos_are_named():
    with pytest.raises(ValueError, match="2 labels for 1 photos"):
        cut_by_photo(["a", "b"], ["1"], 0.5, 0)


def test_the_inputs_may_be_arrays():
    labels, photos = np.array(["a", "a", "b", "b"]), np.array(["1", "2", "3", "4"])
    assert cut_by_photo(labels, photos, 0.5, 0).tolist() == cut_by_photo(list(labels), list(photos), 0.5, 0).tolist()


# Folds


@st.composite
def to_fold(draw: st.DrawFn) -> tuple[list[str], list[str], int]:
    """(labels, photos, folds), as many folds as the photos allow at most."""
    labels, photos = draw(collections().filter(lambda collection: len(set(collection[1])) > 1))
    return labels, photos, draw(st.integers(2, min(7, len(set(photos)))))


@settings(max_examples=150, deadline=None)
@given(to_fold(), seeds)
def test_every_photo_is_in_one_fold_and_every_fold_has_some(collection, seed):
    labels, photos, folds = collection
    fold = folds_by_photo(labels, photos, folds, seed)
    assert fold.dtype == np.int64
    assert fold.shape == (len(labels),)
    assert {*fold.tolist()} == {*range(folds)}
    assert len({*zip(photos, fold.tolist(), strict=True)}) == len({*photos})


@settings(max_examples=150, deadline=None)
@given(to_fold(), seeds)
def test_folds_are_even_in_photos_of_each_class_and_of_all(collection, seed):
    labels, photos, folds = collection
    fold = folds_by_photo(labels, photos, folds, seed)
    for members in [{*photos}, *photos_by_class(labels, photos).values()]:
        sizes = Counter(of for photo, of in {*zip(photos, fold.tolist(), strict=True)} if photo in members)
        counted = [sizes[number] for number in range(folds)]
        assert sum(counted) == len(members)
        assert max(counted) - min(counted) <= 1


@settings(max_examples=100, deadline=None)
@given(to_fold(), seeds, st.randoms(use_true_random=False))
def test_the_folds_are_the_same_for_the_same_photos_in_any_order(collection, seed, random):
    labels, photos, folds = collection
    before = dict(zip(photos, folds_by_photo(labels, photos, folds, seed).tolist(), strict=True))
    order = random.sample(range(len(labels)), len(labels))
    after = folds_by_photo([labels[i] for i in order], [photos[i] for i in order], folds, seed)
    assert [before[photos[i]] for i in order] == after.tolist()


def test_another_seed_folds_otherwise():
    photos = [f"photo-{number}" for number in range(40)]
    assert len({folds_by_photo(["a"] * 40, photos, 5, seed).tobytes() for seed in range(5)}) == 5


def test_a_photo_with_several_labels_is_dealt_with_the_class_of_the_most_frequent_one():
    labels = ["a", "a", "b", "a", "b", "b"]
    photos = ["mixed", "mixed", "mixed", "a1", "b1", "b2"]
    for seed in range(20):
        fold = dict(zip(photos, folds_by_photo(labels, photos, 2, seed).tolist(), strict=True))
        assert fold["mixed"] != fold["a1"]
        assert fold["b1"] != fold["b2"]


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_none(folds):
    with pytest.raises(ValueError, match=f"at least 2 folds are needed, not {folds}"):
        folds_by_photo(["a", "b"], ["1", "2"], folds, 0)


def test_more_folds_than_photos_are_refused():
    with pytest.raises(ValueError, match="2 photos are too few for 3 folds"):
        folds_by_photo(["a", "a", "b"], ["1", "1", "2"], 3, 0)


def test_folds_of_labels_without_photos_are_named():
    with pytest.raises(ValueError, match="2 labels for 1 photos"):
        folds_by_photo(["a", "b"], ["1"], 2, 0)
