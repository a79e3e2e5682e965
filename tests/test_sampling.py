"""How often each training picture is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.config import TrainConfig
from bloodcell_core.training.sampling import balanced_shares, epoch_batches, pictures_a_step

tables = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), min_size=1, max_size=60)


def parts(table: list[tuple[int, str]]) -> tuple[np.ndarray, list[str]]:
    return np.array([label for label, _ in table]), [f"{label}{photo}" for label, photo in table]


def totals(shares: torch.Tensor, keys: list) -> dict:
    return {key: float(sum(share for share, other in zip(shares, keys, strict=True) if other == key)) for key in keys}


def test_without_balance_no_share_is_told():
    assert balanced_shares("none", np.array([0, 1]), ["a", "b"]) is None


@settings(max_examples=40, deadline=None)
@given(tables)
def test_what_is_balanced_comes_equally_often(table):
    labels, photos = parts(table)
    by_class = totals(balanced_shares("class", labels, photos), labels.tolist())
    assert list(by_class.values()) == pytest.approx([1 / len(by_class)] * len(by_class))
    by_photo = totals(balanced_shares("photo", labels, photos), photos)
    assert list(by_photo.values()) == pytest.approx([1 / len(by_photo)] * len(by_photo))
    both = balanced_shares("class and photo", labels, photos)
    assert list(totals(both, labels.tolist()).values()) == pytest.approx([1 / len(by_class)] * len(by_class))
    in_class = [totals(both, photos)[photo] for photo in photos if photo[0] == photos[0][0]]
    assert in_class == pytest.approx([in_class[0]] * len(in_class))


def test_a_patient_with_cells_of_several_classes_comes_in_each_as_often_as_any_other():
    labels, patients = np.array([0, 0, 0, 1, 0, 1, 1]), ["p", "p", "p", "p", "q", "q", "q"]
    shares = balanced_shares("class and photo", labels, patients)
    both = totals(shares, list(zip(labels.tolist(), patients, strict=True)))
    assert both == pytest.approx(dict.fromkeys(both, 0.25))
    assert list(totals(balanced_shares("photo", labels, patients), patients).values()) == pytest.approx([0.5, 0.5])


def test_pictures_are_drawn_by_their_shares_and_the_seed():
    config = TrainConfig(data="d", model="basic_cnn", batch_size=50, seed=3)
    shares = torch.tensor([0.0, 0.25, 0.75] + [0.0] * 997, dtype=torch.float64)
    drawn = torch.cat(epoch_batches(config, 1000, 0, shares))
    assert len(drawn) == 1000
    assert torch.bincount(drawn)[1] == pytest.approx(250, abs=60)
    assert torch.equal(drawn, torch.cat(epoch_batches(config, 1000, 0, shares)))
    assert not torch.equal(drawn, torch.cat(epoch_batches(config, 1000, 1, shares)))


@pytest.mark.parametrize(
    ("batch_size", "an_epoch", "a_step"), [(32, 0, 20), (32, 6, 6), (8, 12, 6), (8, 9, 8), (1, 3, 1)]
)
def test_a_step_has_as_many_pictures_as_its_batches_have(batch_size, an_epoch, a_step):
    chosen = TrainConfig(data="d", model="basic_cnn", batch_size=batch_size, pictures_per_epoch=an_epoch)
    assert pictures_a_step(chosen, 20) == a_step
