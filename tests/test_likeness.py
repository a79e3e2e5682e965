"""Out-of-distribution detection: limits refuse as many cells as they claim, and cells beyond them are called unlike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from scipy import stats
from sklearn.covariance import ledoit_wolf

from bloodcell_core import workspace
from bloodcell_core.cells import Place
from bloodcell_core.data import demo
from bloodcell_core.data.looks import LOOKS, look_of
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation import likeness
from bloodcell_core.evaluation.likeness import (
    RATE,
    Cells,
    LastLayer,
    Likeness,
    _whitener,
    fit,
    highest_but,
    limit_of,
    shrunken_covariance,
)
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]
FOUND = {"a": 1.0, "b": 1.0}


def cells(rng: np.random.Generator, photos: int, copies: int = 4, width: int = 6, shift: float = 0.0) -> Cells:
    """Cells of two kinds, the copies of a photo close together."""
    number = np.repeat(np.arange(photos), copies)
    kind = (number % 2)[:, None] * 8.0
    features = rng.normal(size=(photos, width))[number] + kind + shift + 0.1 * rng.normal(size=(len(number), width))
    looks = rng.normal(size=(photos, len(LOOKS)))[number] + shift
    return Cells(features.astype(np.float32), looks, number.astype(str))


def labels(of: Cells) -> np.ndarray:
    return np.where(of.photos.astype(int) % 2, "b", "a")


def last_layer(direction: np.ndarray) -> LastLayer:
    """Of a network that names two classes by nothing, and takes for a third what lies in a direction."""
    weights = np.vstack([np.zeros((2, len(direction))), direction]).astype(np.float32)
    return LastLayer(weights, np.zeros(3, np.float32), 2)


def test_about_as_many_new_cells_are_refused_as_is_said():
    rng = np.random.default_rng(0)
    training, held, new = cells(rng, 600), cells(rng, 150), cells(rng, 1000, copies=1)
    told = fit(training, labels(training), held, FOUND)
    refused = (told.distances(new.features, new.looks).max(axis=1) > 1).mean()
    assert 0.005 < refused < 0.04
    assert told.facts["held"] == {"pictures": 600, "photos": 150}
    assert told.facts["refused"] <= told.facts["rate"]


@pytest.mark.parametrize("width", [6, 400])
def test_cells_elsewhere_are_unlike_in_features_or_in_looks_alone(width: int):
    rng = np.random.default_rng(1)
    training, held = cells(rng, 60, width=width), cells(rng, 30, width=width)
    told = fit(training, labels(training), held, FOUND)
    far = cells(rng, 20, width=width, shift=30)
    assert (told.distances(far.features, held.looks[: len(far.photos)])[:, 0] > 1).all()
    assert (told.distances(held.features[: len(far.photos)], far.looks)[:, 1] > 1).all()
    between = np.full((1, width), 4, np.float32)  # between the two kinds, where the mean of all cells lies
    assert told.distances(between, np.zeros((1, len(LOOKS))))[0, 0] > 1


@pytest.mark.parametrize("width", [6, 400])
def test_distances_are_those_of_their_formulas_to_the_last_digit(width: int):
    """What is worked out once for all cells must give what working it out for each of them did."""
    rng = np.random.default_rng(4)
    training, held = cells(rng, 40, width=width), cells(rng, 40, width=width)
    layer = last_layer(rng.normal(size=width))
    told = fit(training, labels(training), held, FOUND, last_layer=layer)
    arrays, one = told.arrays, held.features[:1]
    told.distances(held.features, held.looks)  # the second call answers from what the first has worked out
    narrowed = likeness._narrowed(one, arrays)
    filled = likeness._filled(held.looks[:1], arrays)
    here, middles = narrowed @ arrays["feature_whitener"], arrays["feature_means"] @ arrays["feature_whitener"]
    features = 0.5 * np.log(((here[:, None] - middles[None]) ** 2).mean(axis=2).min(axis=1))
    place = ((filled - arrays["look_fill"]) / arrays["look_spreads"]).astype(np.float32)
    others = arrays["look_cells"]
    squared = (place**2).sum(axis=1)[:, None] - 2 * place @ others.T + (others**2).sum(axis=1)
    looks = 0.5 * np.log(np.maximum(squared.min(axis=1), 1e-6))
    odds = one @ layer.weights[2] - np.float32(np.log(2))
    raw = np.column_stack([features, looks, odds]).astype(np.float64)
    expected = np.exp(np.clip(raw - told.facts["limits"], -20, 20))
    found = told.distances(one, held.looks[:1])
    assert (found[:, :2] == expected[:, :2]).all()
    assert found[:, 2] == pytest.approx(expected[:, 2], rel=1e-4)  # a sum of exponentials


def test_whitened_cells_vary_alike_in_all_directions_whatever_the_scale_of_a_feature():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(4000, 4)) @ (np.eye(4) + 0.3 * rng.normal(size=(4, 4))) * [1e-3, 1, 1, 1e3]
    whitened = mixed @ _whitener(mixed.astype(np.float32))
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(4), atol=0.15)


@pytest.mark.parametrize(("count", "width"), [(2, 2), (5, 1), (5, 40), (40, 5), (300, 12)])
def test_a_shrunken_covariance_is_scikit_learns(count: int, width: int):
    residuals = np.random.default_rng(count).normal(size=(count, width)) * np.linspace(0.2, 3, width)
    expected = ledoit_wolf(residuals, assume_centered=True)[0]
    np.testing.assert_allclose(shrunken_covariance(residuals), expected, rtol=1e-9, atol=1e-12)


def test_few_photos_give_wide_limits_and_copies_don_t_count_as_photos():
    rng = np.random.default_rng(2)
    values = rng.normal(size=4)
    few = limit_of(values, list("abcd"), 0.02)
    assert few > values.max()
    copied = limit_of(np.repeat(values, 50), np.repeat(list("abcd"), 50), 0.02)
    assert copied == pytest.approx(few)
    many = rng.normal(size=2000)
    assert limit_of(many, np.arange(2000), 0.02) == pytest.approx(np.quantile(many, 0.98), abs=0.15)


def test_a_limit_is_the_prediction_limit_of_a_normal_distribution():
    values = np.array([0.3, 1.1, -0.4, 2.0, 0.9])
    reach = stats.t.ppf(0.98, 4) * np.sqrt(values.var(ddof=1) * (1 + 1 / 5))
    assert limit_of(values, np.arange(5), 0.02) == pytest.approx(values.mean() + reach)


def test_the_two_distances_share_the_rate_that_was_asked_for():
    rng = np.random.default_rng(8)
    training, held = cells(rng, 60), cells(rng, 20)
    told = fit(training, labels(training), held, FOUND)
    raw = likeness._raw(told._ready, held.features, held.looks)
    by_aim = [[limit_of(column, held.photos, aim * likeness.RATE / 2) for column in raw.T] for aim in likeness.AIMS]
    assert told.facts["limits"] in by_aim


def test_a_training_cell_itself_lies_at_hardly_any_distance():
    rng = np.random.default_rng(8)
    training = cells(rng, 60)
    told = fit(training, labels(training), cells(rng, 20), FOUND)
    nearest = likeness._raw(told._ready, training.features, training.looks)[:, 1]
    assert np.exp(nearest.max()) < 0.05


@pytest.mark.parametrize(("worst", "said"), [(0, "own features"), (1, "stain"), (2, "not to be named")])
def test_the_reason_is_that_of_the_greatest_distance(worst: int, said: str):
    rng = np.random.default_rng(8)
    training = cells(rng, 60)
    told = fit(training, labels(training), cells(rng, 20), FOUND)
    distances, looks = np.full(3, 0.5), training.looks[0].copy()
    distances[worst] = 2.0
    looks[0] += 50
    assert said in told.why(distances, looks)


def test_what_limits_refuse_is_counted_on_photos_that_did_not_set_them():
    """Of each laboratory by itself, and the worst of them is told."""
    rng = np.random.default_rng(0)
    raw = np.concatenate([rng.normal(0, 0.1, (24, 2)), rng.normal(0, 3.0, (24, 2))])
    photos, laboratories = np.arange(48).astype(str), np.repeat(["alike", "spread"], 24)
    told = likeness._refused_of_others(raw, photos, laboratories, 0.2)
    shares: dict[str, list[float]] = {"alike": [], "spread": []}
    halves = np.random.default_rng(0)
    for _ in range(likeness.HALVINGS):
        half = set(halves.permutation(np.unique(photos))[:24].tolist())
        sets = np.array([photo in half for photo in photos])
        limits = likeness._limits(raw[sets], photos[sets], laboratories[sets], 0.2)
        for name, refused in shares.items():
            own = [number for number in range(48) if not sets[number] and laboratories[number] == name]
            refused.append(float(np.mean([any(raw[number] > limits) for number in own])))
    assert told == pytest.approx(max(np.mean(each) for each in shares.values()))


@pytest.mark.parametrize(("photos", "counts"), [(1, False), (2, True), (3, True)])
def test_a_laboratory_has_a_say_from_two_photos_on(photos: int, counts: bool):
    rng = np.random.default_rng(9)
    raw = np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(photos, 2)) + 9])
    names = np.arange(len(raw)).astype(str)
    laboratories = np.repeat(["many", "few"], [40, photos])
    limits = likeness._limits(raw, names, laboratories, 0.01)
    few = laboratories == "few"
    wanted = [limit_of(column[few if counts else ~few], names[few if counts else ~few], 0.01) for column in raw.T]
    assert limits == pytest.approx(wanted)


@given(st.integers(2, 8), st.floats(0.005, 0.3), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_a_limit_is_above_the_mean_and_lower_for_a_higher_rate(photos: int, rate: float, seed: int):
    values = np.random.default_rng(seed).normal(size=photos)
    limit = limit_of(values, np.arange(photos), rate)
    assert limit > values.mean()
    assert limit_of(values, np.arange(photos), rate * 1.5) < limit


def test_a_measure_that_isn_t_known_tells_nothing():
    rng = np.random.default_rng(3)
    training, held = cells(rng, 60), cells(rng, 20)
    training.looks[:, -1] = np.nan
    told = fit(training, labels(training), held, FOUND)
    unknown = held.looks[:1].copy()
    unknown[0, 3] = np.nan
    assert np.isfinite(told.distances(held.features[:1], unknown)).all()


def test_what_the_network_learned_to_refuse_is_unlike():
    rng = np.random.default_rng(4)
    training, held = cells(rng, 80), cells(rng, 40)
    direction = np.array([2.5, -2.5, 0, 0, 0, 0], np.float32)  # as far as the cloud alone would pass in most cases
    alone = fit(training, labels(training), held, FOUND)
    taught = fit(training, labels(training), held, FOUND, last_layer=last_layer(direction))
    new = cells(rng, 100)
    asked = new.features + direction, new.looks
    assert (taught.distances(*asked).max(axis=1) > 1).mean() > (alone.distances(*asked).max(axis=1) > 1).mean() + 0.2
    assert (taught.distances(new.features, new.looks).max(axis=1) > 1).mean() < 0.12
    assert taught.why(np.array([0.0, 0.5, 2.0]), new.looks[0]) == "it looks like a kind of cell that is not to be named"


def test_the_odds_of_what_is_refused_are_the_networks_own():
    rng = np.random.default_rng(5)
    training, held = cells(rng, 60), cells(rng, 30)
    layer = LastLayer(rng.normal(size=(5, 6)).astype(np.float32), rng.normal(size=5).astype(np.float32), 3)
    likeness = fit(training, labels(training), held, FOUND, last_layer=layer)
    logits = torch.from_numpy(held.features @ layer.weights.T + layer.biases)
    shares = logits.softmax(1).numpy()
    odds = shares[:, 3:].sum(axis=1) / shares[:, :3].sum(axis=1)
    limit = likeness.facts["limits"][2]
    expected = np.exp(np.clip(np.log(odds) - limit, -20, 20))
    assert likeness.distances(held.features, held.looks)[:, 2] == pytest.approx(expected, rel=1e-3)


@given(st.integers(1, 200), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_at_most_two_in_a_hundred_held_back_cells_lie_beyond_the_limit_of_refusal(photos: int, seed: int):
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(photos), rng.integers(1, 5, photos))
    values = rng.normal(size=len(names))
    limit = highest_but(RATE, values, names)
    assert limit in values
    by_photo = [float((values[names == photo] > limit).mean()) for photo in range(photos)]
    assert np.mean(by_photo) <= RATE + 1e-9
    lower = values[values < limit].max() if (values < limit).any() else -np.inf
    below = [float((values[names == photo] > lower).mean()) for photo in range(photos)]
    assert np.mean(below) > RATE - 1e-9  # and it is the lowest of which that holds


def test_a_laboratory_with_few_photos_is_let_in_beside_one_with_many():
    rng = np.random.default_rng(6)
    many, few = cells(rng, 300, copies=1), cells(rng, 40, copies=1, shift=6)
    held_many, held_few = cells(rng, 150, copies=1), cells(rng, 20, copies=1, shift=6)

    def both(first: Cells, second: Cells, told: bool) -> Cells:
        photos = np.arange(len(first.photos) + len(second.photos)).astype(str)
        places = np.repeat(["many", "few"], [len(first.photos), len(second.photos)])
        parts = (np.concatenate(pair) for pair in zip(first[:2], second[:2], strict=True))
        return Cells(*parts, photos, places if told else None)

    kinds = np.concatenate([labels(many), labels(few)])
    new = cells(rng, 200, copies=1, shift=6)
    refused = {}
    for told in (True, False):
        fitted = fit(both(many, few, told), kinds, both(held_many, held_few, told), FOUND)
        refused[told] = float((fitted.distances(new.features, new.looks).max(axis=1) > 1).mean())
    assert refused[True] < 0.06
    assert refused[True] < refused[False]


def test_it_is_kept_and_read_again(tmp_path: Path):
    rng = np.random.default_rng(5)
    training, held = cells(rng, 40), cells(rng, 10)
    told = fit(training, labels(training), held, FOUND)
    told.save(tmp_path / "kept.safetensors")
    again = Likeness.load(tmp_path / "kept.safetensors")
    assert json.dumps(again.facts) == json.dumps(told.facts)
    assert np.array_equal(again.distances(held.features, held.looks), told.distances(held.features, held.looks))
    for damaged in (b"nothing", save(told.arrays, {"likeness": "[7]"})):
        (tmp_path / "kept.safetensors").write_bytes(damaged)
        with pytest.raises(LabError, match="can't be used"):
            Likeness.load(tmp_path / "kept.safetensors")
    facts = {"likeness": json.dumps(told.facts)}
    lacking = {name: array for name, array in told.arrays.items() if name != "look_cells"}
    narrower = told.arrays | {"feature_means": told.arrays["feature_means"][:, :1].copy()}
    no_limits = {"likeness": json.dumps({key: value for key, value in told.facts.items() if key != "limits"})}
    for arrays, metadata in ((lacking, facts), (narrower, facts), (told.arrays, no_limits)):
        (tmp_path / "kept.safetensors").write_bytes(save(arrays, metadata))
        with pytest.raises(LabError, match="is damaged"):
            Likeness.load(tmp_path / "kept.safetensors")


def test_too_few_photos_can_t_tell():
    rng = np.random.default_rng(6)
    with pytest.raises(LabError, match="1 validation photos"):
        fit(cells(rng, 40), labels(cells(rng, 40)), cells(rng, 1), FOUND)


# Looks


def look(pixels: np.ndarray, place: Place | None = None) -> dict[str, float]:
    return dict(zip([name for name, _ in LOOKS], look_of(pixels, place), strict=True))


def test_looks_tell_stain_light_sharpness_and_scale_apart():
    picture = demo.draw_picture("monocyte", np.random.default_rng(0))[:96, :96]
    plain = look(picture)
    darker = look((picture * 0.7).astype(np.uint8))
    assert darker["bright_light"] < plain["bright_light"] - 10
    blurred = look(cv2.GaussianBlur(picture, (0, 0), 2))
    assert blurred["focus"] < plain["focus"] - 0.1
    assert blurred["grain"] < plain["grain"]
    bluer = look(np.clip(picture * np.array([0.9, 1.0, 1.1]), 0, 255).astype(np.uint8))
    assert bluer["bright_b"] < plain["bright_b"] - 3
    assert np.isnan(plain["nucleus_size"])
    assert look(picture, Place((0, 0, 40, 20), 20.0))["nucleus_size"] == pytest.approx(np.log(2))


@pytest.mark.parametrize("fill", [0, 255, 128])
@pytest.mark.parametrize("size", [32, 97])
def test_looks_of_a_plain_colour_are_numbers(fill: int, size: int):
    assert np.isfinite(look_of(np.full((size, size, 3), fill, np.uint8), None)[:-1]).all()


# Of a run


def test_a_finished_run_knows_what_its_cells_are_like(done: Run):
    told = Likeness.load(done.likeness_file).facts
    assert told["rate"] == likeness.RATE
    assert told["held"]["photos"] == len(done.validation_photos)
    assert told["found"] == dict.fromkeys(done.classes, 1.0)
    assert Predictor(done, "cpu").why_unknown == ""


def test_a_run_without_one_is_learned_from_its_dataset_and_its_folder_left_alone(done: Run):
    wanted = Likeness.load(done.likeness_file)
    done.likeness_file.unlink()
    before = sorted(done.folder.iterdir())
    assert Predictor(done, "cpu").why_unknown == ""
    assert sorted(done.folder.iterdir()) == before
    kept = Likeness.load(workspace.likeness_file(done.name))
    assert kept.facts["limits"] == pytest.approx(wanted.facts["limits"], rel=1e-3)


def test_what_another_version_kept_is_fitted_anew(done: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(likeness, "VERSION", likeness.VERSION + 1)
    with pytest.raises(LabError, match="another version"):
        Likeness.load(done.likeness_file)
    assert Predictor(done, "cpu").why_unknown == ""
    assert Likeness.load(workspace.likeness_file(done.name)).facts["version"] == likeness.VERSION


def test_without_its_dataset_likeness_isn_t_known_and_said_so(done: Run):
    done.likeness_file.unlink()
    workspace.dataset_dir("demo").rename(workspace.dataset_dir("demo").with_name("moved"))
    data = next((workspace.datasets_dir() / "moved" / "originals").rglob("*.*")).read_bytes()
    predictor = Predictor(done, "cpu", threshold=0)
    assert "'demo' isn't here as it was" in predictor.why_unknown
    (answer,) = predictor.classify([("a.png", lambda: data)])
    assert "whether it is like the training cells is not known" in answer.reason
    assert (answer.state, answer.cells[0].distance) == ("ok", None)


def test_a_run_s_likeness_goes_with_it(done: Run):
    from bloodcell_core import runs

    done.likeness_file.unlink()
    Predictor(done, "cpu")
    assert workspace.likeness_file(done.name).exists()
    runs.remove(done)
    assert not workspace.likeness_file(done.name).exists()


def test_a_class_that_often_shows_no_cell_is_not_asked_for_one():
    rng = np.random.default_rng(7)
    training, held = cells(rng, 40), cells(rng, 10)
    some: dict[str, Any] = {"a": 1.0, "b": 0.6}
    assert not fit(training, labels(training), held, some).asks_for_cell
    assert fit(training, labels(training), held, FOUND).asks_for_cell
