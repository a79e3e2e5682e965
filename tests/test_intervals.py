"""bloodcell_core.evaluation.intervals against scikit-learn, SciPy, and what a bootstrap must do."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import binom, binomtest, norm, t
from sklearn import metrics as sklearn_metrics

from bloodcell_core.evaluation import resampling
from bloodcell_core.evaluation.intervals import (
    LOWEST,
    cluster_bootstrap,
    draw_photos,
    photo_accuracy,
)
from bloodcell_core.evaluation.limits import (
    NEAREST_TO_THE_END,
    difference_interval,
    exact_binomial,
    expanded_interval,
    expanded_level,
    share_interval,
)
from bloodcell_core.evaluation.metrics import evaluate_predictions
from bloodcell_core.evaluation.resampling import (
    CLASS_METRICS,
    METRICS,
    number_photos,
    photo_multiplicities,
    resampled_metrics,
)


def clustered_predictions(
    seed: int = 0, photos: int = 60, copies: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and photos of 3 classes; the copies of a photo differ little from one another."""
    random = np.random.default_rng(seed)
    photo_labels = np.arange(photos) % 3
    numbers = np.repeat(np.arange(photos), copies)
    labels = photo_labels[numbers]
    scores = random.normal(size=(photos, 3))[numbers] + 0.2 * random.normal(size=(len(labels), 3))
    scores[np.arange(len(labels)), labels] += 1.2
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return labels, probabilities, np.array([f"photo {number}" for number in numbers])


def without_mistake(sizes: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The lower limit of a mean over classes in which all is right."""
    weighed = None if weights is None else np.asarray(weights)
    limits = share_interval(1.0, np.ones(9), np.asarray(sizes), weights=weighed)
    assert limits is not None
    assert limits[1] == 1
    return limits[0]


def weighted_figures(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The figures of `METRICS`, and each class's of `CLASS_METRICS`, from scikit-learn with weights; NaN: undefined."""
    predicted = probabilities.argmax(axis=1)
    occurring = np.union1d(labels, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_class = []
        for index in range(probabilities.shape[1]):
            mine, taken, scores = labels == index, predicted == index, probabilities[:, index]
            weighted = {"sample_weight": weights, "zero_division": np.nan}
            precision = sklearn_metrics.average_precision_score(mine, scores, sample_weight=weights)
            by_class.append(
                {
                    "precision": sklearn_metrics.precision_score(mine, taken, **weighted),
                    "recall": sklearn_metrics.recall_score(mine, taken, **weighted),
                    "specificity": sklearn_metrics.recall_score(~mine, ~taken, **weighted),
                    "f1": sklearn_metrics.f1_score(mine, taken, **weighted),
                    "auc": sklearn_metrics.roc_auc_score(mine, scores, sample_weight=weights),
                    "average_precision": precision if weights[mine].any() else np.nan,
                }
            )
        macro = {"average": "macro", "sample_weight": weights}
        balanced_accuracy = sklearn_metrics.balanced_accuracy_score(labels, predicted, sample_weight=weights)
        overall = {
            "accuracy": sklearn_metrics.accuracy_score(labels, predicted, sample_weight=weights),
            "balanced_accuracy": balanced_accuracy,
            "f1_macro": sklearn_metrics.f1_score(labels, predicted, **macro),
            "auc_ovr": float(np.nanmean([figures["auc"] for figures in by_class])),
            "precision_macro": sklearn_metrics.precision_score(labels, predicted, **macro),
            "recall_macro": balanced_accuracy,
            "specificity_macro": float(np.nanmean([by_class[index]["specificity"] for index in occurring])),
            "average_precision_macro": float(np.nanmean([figures["average_precision"] for figures in by_class])),
            "kappa": sklearn_metrics.cohen_kappa_score(labels, predicted, sample_weight=weights),
        }
    return overall, by_class


@st.composite
def resampling_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities with many ties, photo numbers and multiplicities; classes and photos drop out."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, pictures, photos = draw(st.integers(2, 4)), draw(st.integers(1, 30)), draw(st.integers(1, 8))
    borne = random.choice(classes, size=random.integers(1, classes + 1), replace=False)
    labels = random.choice(borne, size=pictures)
    parts = random.integers(0, 4, size=(pictures, classes)) + (np.arange(classes) == 0)
    photo_numbers = random.integers(photos, size=pictures)
    multiplicities = random.poisson(1, size=(4, photos))
    # at least one picture in each resample: a resample of none is not one
    multiplicities[:, photo_numbers[0]] += multiplicities[:, photo_numbers].sum(axis=1) == 0
    return labels, parts / parts.sum(axis=1, keepdims=True), photo_numbers, multiplicities


def test_resampled_figures_equal_scikit_learns_with_sample_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_TOGETHER", 3)  # so that there are two batches

    @settings(max_examples=20, deadline=None)
    @given(resampling_cases())
    def check(case: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
        labels, probabilities, photo_numbers, multiplicities = case
        figures = resampled_metrics(labels, probabilities, photo_numbers, multiplicities)[0]
        assert tuple(figures) == METRICS
        _, by_class = resampled_metrics(labels, probabilities, photo_numbers, multiplicities)
        assert tuple(by_class) == CLASS_METRICS
        for row, photo_weights in enumerate(multiplicities):
            expected, of_classes = weighted_figures(labels, probabilities, photo_weights[photo_numbers])
            found = {metric: values[row] for metric, values in figures.items()}
            assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
            for index, expected_of_class in enumerate(of_classes):
                found = {metric: values[row, index] for metric, values in by_class.items()}
                assert found == pytest.approx(expected_of_class, abs=1e-12, nan_ok=True)

    check()


def test_many_classes_take_no_table_of_their_pairs() -> None:
    random = np.random.default_rng(0)
    classes, photos, resamples = 40, 400, 64
    multiplicities = photo_multiplicities(np.zeros(photos, dtype=np.intp), resamples, seed=0)
    labels, probabilities = random.integers(classes, size=photos), random.dirichlet(np.ones(classes), size=photos)
    tracemalloc.start()
    resampled_metrics(labels, probabilities, np.arange(photos), multiplicities)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < photos * classes**2 * 8


def test_every_photo_once_gives_the_metrics_of_the_data() -> None:
    labels, probabilities, photos = clustered_predictions()
    numbers, names = number_photos(photos, len(labels))
    figures = resampled_metrics(labels, probabilities, numbers, np.ones((1, len(names)), dtype=int))[0]
    result = evaluate_predictions(labels, probabilities, ("A", "B", "C"))
    for metric in METRICS:
        assert figures[metric][0] == pytest.approx(result[metric], abs=1e-12)


def test_multiplicities_are_those_of_draws_with_replacement_within_each_stratum() -> None:
    strata = np.array([0, 2, 0, 0, 2, 0, 2, 5, 0, 0])
    multiplicities = photo_multiplicities(strata, resamples=20_000, seed=1).astype(float)
    for stratum, size in ((0, 6), (2, 3), (5, 1)):
        drawn = multiplicities[:, strata == stratum]
        assert (drawn.sum(axis=1) == size).all()
        # binomial(size, 1/size); 5 standard errors of a mean over 20,000 are 0.035
        assert drawn.mean(axis=0) == pytest.approx(np.ones(size), abs=0.035)
        assert drawn.var(axis=0) == pytest.approx(np.full(size, 1 - 1 / size), abs=0.08)


def test_each_class_keeps_its_number_of_photos_in_each_resample() -> None:
    labels, probabilities, photos = clustered_predictions(photos=9, copies=4)
    rare = np.array([2, 2]), probabilities[:2], np.array(["rare a", "rare b"])
    kept = labels != 2
    labels = np.concatenate([labels[kept], rare[0]])
    probabilities = np.concatenate([probabilities[kept], rare[1]])
    photos = np.concatenate([photos[kept], rare[2]])
    predicted = probabilities.argmax(axis=1)
    # a class that a resample lost would take its wrong answers along, and lift balanced accuracy above this
    assert (predicted[-2:] != 2).all()
    wrong = predicted != labels
    assert wrong[-2:].all()
    drawn = draw_photos(labels, photos, 3, resamples=500)
    assert drawn is not None
    figures = resampled_metrics(labels, probabilities, drawn.photo_numbers, drawn.multiplicities)[0]
    assert figures["balanced_accuracy"].max() <= 2 / 3 + 1e-12


def test_the_same_seed_gives_the_same_intervals_in_any_order_of_the_pictures() -> None:
    labels, probabilities, photos = clustered_predictions()
    first = cluster_bootstrap(labels, probabilities, photos, resamples=200, seed=3)[0]
    assert cluster_bootstrap(labels, probabilities, photos, resamples=200, seed=3)[0] == first
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = cluster_bootstrap(labels[order], probabilities[order], photos[order], resamples=200, seed=3)[0]
    assert shuffled == first
    assert cluster_bootstrap(labels, probabilities, photos, resamples=200, seed=4)[0] != first


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_figure_of_the_data(seed: int) -> None:
    labels, probabilities, photos = clustered_predictions(seed)
    result = evaluate_predictions(labels, probabilities, ("A", "B", "C"))
    intervals = cluster_bootstrap(labels, probabilities, photos, resamples=500)[0]
    for metric in METRICS:
        interval = intervals[metric]
        assert interval is not None
        assert interval[0] < result[metric] < interval[1]


def test_one_picture_a_photo_is_the_ordinary_bootstrap_of_pictures() -> None:
    labels, probabilities, _ = clustered_predictions(photos=45, copies=1)
    resamples = 250
    found = cluster_bootstrap(labels, probabilities, np.arange(len(labels)), resamples=resamples)[0]
    random = np.random.default_rng(99)
    by_class = [np.flatnonzero(labels == index) for index in range(3)]
    figures: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for _ in range(resamples):
        drawn = np.concatenate([random.choice(members, size=len(members)) for members in by_class])
        once = np.ones((1, len(drawn)), dtype=int)  # the very pictures drawn: no multiplicities, no photos
        expected = resampled_metrics(labels[drawn], probabilities[drawn], np.arange(len(drawn)), once)[0]
        for metric in METRICS:
            figures[metric].append(expected[metric][0])
    for metric in METRICS:
        own = resampled_metrics(labels, probabilities, np.arange(45), np.ones((1, 45), dtype=int))[0][metric][0]
        expected_limits = share_interval(own, np.array(figures[metric]), np.full(3, 15), lowest=LOWEST.get(metric, 0))
        assert expected_limits is not None
        # other draws: the ends differ by their Monte Carlo error, about 0.06 of the width at 250 resamples
        assert found[metric] == pytest.approx(expected_limits, abs=0.25 * np.ptp(expected_limits))


def test_by_photo_is_wider_than_by_picture_on_copies() -> None:
    labels, probabilities, photos = clustered_predictions(copies=20)
    by_photo = cluster_bootstrap(labels, probabilities, photos, resamples=500)[0]
    by_picture = cluster_bootstrap(labels, probabilities, np.arange(len(labels)), resamples=500)[0]
    for metric in METRICS:
        photo_interval, picture_interval = by_photo[metric], by_picture[metric]
        assert photo_interval is not None
        assert picture_interval is not None
        # identical copies would make it sqrt(20) = 4.5 times as wide
        assert np.ptp(photo_interval) > 2.5 * np.ptp(picture_interval)


def test_copying_each_picture_does_not_narrow_the_interval() -> None:
    labels, probabilities, photos = clustered_predictions(copies=1)
    once = cluster_bootstrap(labels, probabilities, photos, resamples=300)[0]
    copied = cluster_bootstrap(labels.repeat(7), probabilities.repeat(7, axis=0), photos.repeat(7), resamples=300)[0]
    for metric in METRICS:
        assert copied[metric] == pytest.approx(once[metric], abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["one photo", "one photo a class"])
def test_no_class_with_two_photos_means_no_intervals(labels: list[int]) -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3]])
    photos = np.zeros(3) if labels == [0, 0, 0] else np.arange(3)
    overall, by_class = cluster_bootstrap(labels, probabilities, photos)
    assert overall == dict.fromkeys(METRICS)
    assert by_class == [dict.fromkeys(CLASS_METRICS)] * 3


def test_only_the_undefined_metric_has_no_interval() -> None:
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.9, 0.1]])
    found = cluster_bootstrap([1, 1, 1, 1], probabilities, np.arange(4), resamples=200)[0]
    assert found.pop("auc_ovr") is None
    low, high = found["accuracy"]
    assert 0 < low < 0.5 < high < 1
    assert found.pop("kappa") is None, "undefined in a resample of right pictures alone"
    assert all(interval is not None for interval in found.values())


def test_the_intervals_of_a_class_hold_its_figures() -> None:
    labels, probabilities, photos = clustered_predictions(photos=90)
    _, by_class = cluster_bootstrap(labels, probabilities, photos, resamples=300)
    result = evaluate_predictions(labels, probabilities, ("A", "B", "C"))
    assert [set(of_class) for of_class in by_class] == [set(CLASS_METRICS)] * 3
    for figures, of_class in zip(result["per_class"].values(), by_class, strict=True):
        for metric, interval in of_class.items():
            assert interval is not None
            assert interval[0] < figures[metric] < interval[1]


def test_a_class_never_taken_for_in_a_resample_has_no_interval_of_its_precision() -> None:
    # class 1 is predicted in one photo of two alone
    labels, photos = [0, 0, 1, 1], np.array(list("abcd"))
    probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    of_class = cluster_bootstrap(labels, probabilities, photos, resamples=200)[1][1]
    assert of_class["precision"] is None
    assert of_class["recall"][0] < 0.5 < of_class["recall"][1]


def test_a_metric_undefined_in_some_resamples_has_no_interval() -> None:
    # class 1 lives in a minority of photo "b" alone, and AUC dies with it when only "a" is drawn
    labels = [0, 0, 0, 0, 1]
    probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])
    found = cluster_bootstrap(labels, probabilities, np.array(list("aabbb")), resamples=200)[0]
    assert found["auc_ovr"] is None
    assert found["accuracy"] is not None


def test_the_level_is_expanded_as_students_t_and_n_less_1_demand() -> None:
    for photos in (2, 5, 40):
        spread = t.ppf(0.975, photos - 1) * np.sqrt(photos / (photos - 1))
        assert expanded_level(np.array([photos])) == pytest.approx(2 * norm.cdf(spread) - 1)
    assert expanded_level(np.full(4, 10_000)) == pytest.approx(0.95, abs=1e-4)
    # a class of one photo adds no spread, and changes nothing
    assert expanded_level(np.array([3, 0, 1])) == expanded_level(np.array([0, 3]))
    assert 0.95 < expanded_level(np.full(4, 20)) < expanded_level(np.full(4, 5)) < 1


def test_a_class_counts_by_its_weight() -> None:
    sizes = np.array([4, 40])
    assert expanded_level(sizes, weights=np.array([0, 3])) == expanded_level(np.array([40]))
    assert expanded_level(sizes, weights=np.array([7, 7])) == expanded_level(sizes)
    assert expanded_level(sizes, weights=np.array([0, 0])) == expanded_level(sizes), "no picture, as good as no weights"
    # Satterthwaite's degrees of freedom of 0.25 of a mean of 4 and 0.75 of a mean of 40
    of_few, of_many = 0.25**2 / 4, 0.75**2 / 40
    freedom = (of_few + of_many) ** 2 / (of_few**2 / 3 + of_many**2 / 39)
    spread = t.ppf(0.975, freedom) * np.sqrt((of_few + of_many) / (of_few * 3 / 4 + of_many * 39 / 40))
    assert expanded_level(sizes, weights=np.array([50, 150])) == pytest.approx(2 * norm.cdf(spread) - 1)


def test_where_accuracy_cannot_move_no_figure_of_right_and_wrong_has_an_interval() -> None:
    """Four photos a class: those of the first two are all right, those of the third are taken for either of these."""
    labels, photos = np.repeat([0, 1, 2], 4), np.arange(12)
    answers = np.where(labels < 2, labels, photos % 2)
    probabilities = np.eye(3)[answers] * 0.6 + np.random.default_rng(0).dirichlet(np.ones(3), 12) * 0.4
    assert probabilities.argmax(axis=1).tolist() == answers.tolist()
    intervals, _ = cluster_bootstrap(labels, probabilities, photos, resamples=200)
    assert {metric for metric, limits in intervals.items() if limits} == {"auc_ovr", "average_precision_macro"}
    answers[-1] = 2  # one photo of the third is right
    moved, _ = cluster_bootstrap(labels, np.eye(3)[answers], photos, resamples=200)
    assert moved["accuracy"]
    assert moved["f1_macro"]


def test_uneven_copies_make_no_figure_certain_where_photos_happen_to_do_alike() -> None:
    """A class that is never named, all else right: accuracy was 76% to 86% by the numbers of copies alone."""
    copies = np.arange(36) % 4 + 1
    labels, photos = np.repeat(np.arange(36) // 12, copies), np.repeat(np.arange(36), copies)
    answers = np.where(labels == 2, 0, labels)
    probabilities = np.eye(3)[answers] * 0.6 + np.random.default_rng(0).dirichlet(np.ones(3), len(labels)) * 0.4
    intervals, by_class = cluster_bootstrap(labels, probabilities, photos, resamples=200)
    assert {metric for metric, limits in intervals.items() if limits} == {"auc_ovr", "average_precision_macro"}
    assert {metric for metric, limits in by_class[0].items() if limits} == {"recall", "auc", "average_precision"}
    assert by_class[0]["recall"] == pytest.approx(exact_binomial(12, 12))


def test_where_all_is_wrong_only_what_is_at_its_end_and_what_goes_by_rank_has_an_interval() -> None:
    """By where the mistakes went alone, kappa was known to within a twentieth, and specificity likewise."""
    labels, photos = np.repeat([0, 1, 2], 12), np.arange(36)
    answers = (labels + 1 + photos % 2) % 3
    probabilities = np.eye(3)[answers] * 0.6 + np.random.default_rng(0).dirichlet(np.ones(3), 36) * 0.4
    intervals, by_class = cluster_bootstrap(labels, probabilities, photos, resamples=200)
    assert intervals["accuracy"] == pytest.approx(exact_binomial(0, 36))
    assert {metric for metric, limits in intervals.items() if not limits} == {"kappa", "specificity_macro"}
    assert {metric for metric, limits in by_class[0].items() if not limits} == {"specificity"}


def test_a_class_of_two_photos_that_has_all_the_weight_decides_alone() -> None:
    resampled = np.linspace(0.3, 0.7, 9)
    alone = share_interval(0.5, resampled, np.array([2]))
    assert alone == pytest.approx(share_interval(0.5, resampled, np.array([2, 40]), weights=np.array([1.0, 0.0])))
    assert alone != pytest.approx(share_interval(0.5, resampled, np.array([40])))


@pytest.mark.parametrize("metric", METRICS)
def test_classes_weigh_as_their_pictures_in_shares_of_pictures_alone(metric: str) -> None:
    labels, probabilities, photos = clustered_predictions(photos=18, copies=2)
    few = np.isin(photos, ["photo 0", "photo 3"]) | (labels > 0)  # two photos of class 0, six of each other class
    kept = np.repeat(np.flatnonzero(few), np.where(labels[few] == 2, 5, 1))  # of class 2 five times as many pictures
    labels, probabilities, photos = labels[kept], probabilities[kept], photos[kept]
    found = cluster_bootstrap(labels, probabilities, photos, resamples=300)[0][metric]
    drawn = draw_photos(labels, photos, 3, resamples=300)
    assert drawn is not None
    own = resampled_metrics(labels, probabilities, drawn.photo_numbers, np.ones((1, 14), dtype=int))[0][metric][0]
    resampled = resampled_metrics(labels, probabilities, drawn.photo_numbers, drawn.multiplicities)[0][metric]
    by_pictures = metric in ("accuracy", "kappa")
    wanted, other = (
        share_interval(own, resampled, np.array([2, 6, 6]), lowest=LOWEST.get(metric, 0), weights=weights)
        for weights in (np.array([4, 12, 60]), None)[:: 1 if by_pictures else -1]
    )
    assert found == pytest.approx(wanted) != pytest.approx(other)


@pytest.mark.parametrize("lowest", [0.0, -1.0])
def test_a_share_has_students_interval_on_the_scale_of_log_odds(lowest: float) -> None:
    resampled = np.random.default_rng(0).uniform(0.6, 0.9, size=400)
    odds = logit((resampled - lowest) / (1 - lowest))
    middle = logit((0.8 - lowest) / (1 - lowest))
    reach = t.ppf(0.975, 11) * np.sqrt(12 / 11) * np.sqrt(((odds - middle) ** 2).mean())
    limits = lowest + (1 - lowest) * expit([middle - reach, middle + reach])
    assert share_interval(0.8, resampled, np.array([12]), lowest=lowest) == pytest.approx(limits)


def test_a_resample_without_a_mistake_counts_as_one_with_a_tenth_of_them() -> None:
    resampled = np.array([0.9, 1.0, 0.95, 1.0])
    stood = np.where(resampled == 1, 1 - NEAREST_TO_THE_END * 0.1, resampled)
    sizes = np.array([20, 20])
    low, high = share_interval(0.9, resampled, sizes)
    assert high == share_interval(0.9, stood, sizes)[1], "the near end, which no skewness moves"
    # turned round, the share of mistakes has the same limits
    assert share_interval(0.1, 1 - resampled, sizes) == pytest.approx((1 - high, 1 - low))


def test_no_mistake_at_all_is_as_sure_as_the_photos_allow() -> None:
    assert share_interval(1.0, np.ones(9), np.array([30])) == pytest.approx(exact_binomial(30, 30))
    assert share_interval(0.0, np.zeros(9), np.array([30])) == pytest.approx(exact_binomial(0, 30))
    for sizes in ([93], [31, 31, 31]):
        assert without_mistake(sizes) == pytest.approx(exact_binomial(93, 93)[0], rel=1e-12)
    assert without_mistake([10, 20, 40], [3, 6, 12]) == pytest.approx(exact_binomial(70, 70)[0], rel=1e-12)
    # a mean is no surer than its poorest class allows, whose 4 of 4 may be 40% in truth
    assert without_mistake([4, 400]) == pytest.approx((exact_binomial(4, 4)[0] + 1) / 2)
    assert without_mistake([4, 400], [0, 3]) == pytest.approx(exact_binomial(400, 400)[0])
    # the 71 photos of the archive's test split: two classes are as bad as can be, two without a fault
    of_six, of_four = 0.025**0.1 * 6 / (6**0.6 * 4**0.4), 0.025**0.1 * 4 / (6**0.6 * 4**0.4)
    assert without_mistake([13, 6, 4, 48]) == pytest.approx((1 + of_six + of_four + 1) / 4)
    assert without_mistake([13, 6, 4, 48]) == pytest.approx(0.839, abs=5e-4), "it was 0.888, missed in 9.6 of 100"
    low, high = share_interval(1.0, np.ones(9), np.array([30]), lowest=-1.0)
    assert (low, high) == pytest.approx((2 * exact_binomial(30, 30)[0] - 1, 1))


@pytest.mark.parametrize(
    ("sizes", "weights"), [([4, 30], [1, 1]), ([13, 6, 4], [1, 1, 1]), ([2, 9, 5], [1, 7, 2]), ([8, 8, 8], [1, 2, 3])]
)
def test_without_a_mistake_the_limit_is_the_least_mean_that_a_search_finds(
    sizes: list[int], weights: list[int]
) -> None:
    """All but one class's true shares on a grid; the last is what then makes all photos right in 2.5 of 100."""
    grids = np.meshgrid(*[np.linspace(0.025 ** (1 / size), 1, 801) for size in sizes[:-1]])
    spent = sum(size * np.log(shares) for size, shares in zip(sizes, grids, strict=False))
    last = np.exp(np.minimum(0, (np.log(0.025) - spent) / sizes[-1]))
    means = sum(weight * shares for weight, shares in zip(weights, [*grids, last], strict=True)) / sum(weights)
    least = means[spent >= np.log(0.025) - 1e-9].min()
    assert without_mistake(sizes, weights) == pytest.approx(least, abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.01, 10)), min_size=1, max_size=8), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_no_shares_that_may_be_all_right_have_a_lower_mean(classes: list[tuple[int, float]], seed: int) -> None:
    sizes, weights = (np.array(each) for each in zip((2, 1e-9), *classes, strict=True))  # two photos make an interval
    weighed = weights / weights.sum()
    limit = without_mistake(sizes, weights)
    blame = np.random.default_rng(seed).dirichlet(np.full(len(sizes), 0.3), size=200)  # who bears how much of 0.025
    assert limit <= (0.025 ** (blame / sizes) @ weighed).min() + 1e-12
    assert 0.025 ** (1 / sizes.min()) - 1e-12 <= limit <= 0.025 ** (1 / sizes.sum()) + 1e-12
    assert limit <= without_mistake(sizes + (np.arange(len(sizes)) == seed % len(sizes)), weights) + 1e-12
    assert share_interval(0.0, np.zeros(9), sizes, weights=weights) == pytest.approx((0, 1 - limit))


def test_a_mean_of_shares_is_no_surer_with_mistakes_than_without_any() -> None:
    """All of 10 photos right and 95 of 100; where truly 90% of both are, it was missed in 16 of 100."""
    sizes, random, missed = np.array([10, 100]), np.random.default_rng(0), 0.0
    surest = without_mistake(sizes)
    for few, many in np.ndindex(11, 31):
        right = 1 - np.array([few, many]) / sizes
        resampled = (random.binomial(sizes, right, size=(400, 2)) / sizes).mean(axis=1)
        found = share_interval(right.mean(), resampled, sizes, of_photos=True)
        turned = share_interval(1 - right.mean(), 1 - resampled, sizes, of_photos=True)
        if found:
            assert found[0] <= surest
            assert right.mean() < 0.51 or turned == pytest.approx((1 - found[1], 1 - found[0]))
            missed += float(binom.pmf([few, many], sizes, 0.1).prod()) * (found[0] > 0.9)
    assert missed < 0.025


def test_figures_of_right_and_wrong_photos_are_no_surer_than_without_a_mistake() -> None:
    """All of 10 photos of one class are right, and 95 of 100 of another."""
    labels, surest = np.repeat([0, 1], [10, 100]), without_mistake([10, 100])
    answers = np.where(np.arange(110) < 105, labels, 0)
    overall, (_, of_many) = cluster_bootstrap(labels, np.eye(2)[answers] * 0.6 + 0.2, np.arange(110), resamples=400)
    assert overall["balanced_accuracy"][0] == overall["recall_macro"][0] == pytest.approx(surest)
    assert overall["specificity_macro"] == overall["balanced_accuracy"], "of two classes the same figure"
    assert of_many["specificity"] == pytest.approx(exact_binomial(10, 10))
    heavy = np.where(labels == 0, 10, 1)  # copies: both classes weigh the same
    labels, answers, photos = (np.repeat(each, heavy) for each in (labels, answers, np.arange(110)))
    probabilities = np.eye(2)[answers] * 0.6 + 0.2
    assert cluster_bootstrap(labels, probabilities, photos, resamples=400)[0]["accuracy"][0] == pytest.approx(surest)
    drawn = draw_photos(labels, photos, 2, resamples=400)
    assert drawn is not None
    share = drawn.share_interval(answers == labels, labels >= 0, np.linspace(0.96, 0.99, 400))
    assert share is not None
    assert share[0] == pytest.approx(surest)


def test_kappa_without_a_mistake_may_hide_those_that_accuracy_may() -> None:
    labels = np.repeat([0, 1], [100, 10])
    overall = cluster_bootstrap(labels, np.eye(2)[labels] * 0.6 + 0.2, np.arange(110), resamples=50)[0]
    wrong = 1 - exact_binomial(110, 110)[0]
    agreed = (100 / 110) ** 2 + (10 / 110) ** 2
    assert overall["kappa"] == pytest.approx((1 - wrong / (1 - agreed), 1)), "it was 0.934, missed in 12 of 100"
    labels, photos = np.repeat([0, 1], [5, 200]), np.append(np.arange(5), np.repeat([5, 6], 100))
    assert cluster_bootstrap(labels, np.eye(2)[labels], photos, resamples=50)[0]["kappa"] == [-1, 1], "of two photos"


def test_what_hangs_mostly_on_a_class_of_one_photo_has_no_interval() -> None:
    """A third of balanced accuracy, right or wrong as it happened; with the others' spread alone it was 88 to 96%."""
    labels = np.repeat([0, 1, 2], [1, 40, 40])
    probabilities = np.eye(3)[labels] * 0.7 + 0.1
    probabilities[[5, 15, 25, 45, 55, 65]] = [[0.5, 0.2, 0.3]] * 6
    overall, (one, many, _) = cluster_bootstrap(labels, probabilities, np.arange(81), resamples=200)
    assert {metric for metric, limits in overall.items() if limits} == {"accuracy", "kappa"}
    assert {metric for metric, limits in one.items() if limits} == {"specificity", "precision"}
    assert all(many.values())
    heavy = np.where(labels == 0, 40, 1)  # copies: the one photo is a third of the pictures
    labels, probabilities, photos = (np.repeat(each, heavy, axis=0) for each in (labels, probabilities, np.arange(81)))
    assert cluster_bootstrap(labels, probabilities, photos, resamples=200)[0]["accuracy"] is None
    pictures = np.ones(len(labels), dtype=np.bool_)
    drawn = draw_photos(labels, photos, 3, 200)
    assert drawn is not None
    right = probabilities.argmax(axis=1) == labels
    assert drawn.share_interval(right, pictures, np.linspace(0.9, 0.99, 200)) is None


def test_two_classes_of_a_network_that_knows_more_are_as_sure_as_the_fewer_photos() -> None:
    labels = np.repeat([0, 2], [3, 40])
    overall, by_class = cluster_bootstrap(labels, np.eye(4)[labels] * 0.6 + 0.1, np.arange(43), resamples=50)
    assert overall["auc_ovr"] == by_class[2]["auc"] == pytest.approx(exact_binomial(3, 3))


def test_photos_that_happen_to_do_alike_make_no_figure_certain() -> None:
    """Three fields of ten cells, of which the two that can be drawn have five right each: it said 43.3% to 43.3%."""
    assert share_interval(13 / 30, np.full(9, 13 / 30), np.array([1, 2])) is None
    alike = np.full(9, 13 / 30), np.full(9, 15 / 30)
    assert difference_interval(13 / 30, 15 / 30, *alike, np.array([1, 2])) is None
    assert difference_interval(13 / 30, 1.0, alike[0], np.ones(9), np.array([1, 2])) is None
    assert difference_interval(0.0, 13 / 30, np.zeros(9), alike[0], np.array([1, 2])) is None
    labels, probabilities = np.array([0, 1] * 10), np.tile([0.9, 0.1], (20, 1))
    assert cluster_bootstrap(labels, probabilities, ["a"] * 10 + ["b"] * 10)[0]["accuracy"] is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 50), min_size=1, max_size=4),
    st.sampled_from([0.0, -1.0]),
)
def test_an_interval_of_a_share_holds_it_and_stays_in_its_range(
    photos: list[float], seed: int, sizes: list[int], lowest: float
) -> None:
    drawn = np.random.default_rng(seed).choice(photos, size=(40, len(photos)))
    figure, resampled = (lowest + (1 - lowest) * share for share in (float(np.mean(photos)), drawn.mean(axis=1)))
    found = share_interval(figure, resampled, np.array(sizes), lowest=lowest)
    stands = 1e-12 < np.mean(photos) < 1 - 1e-12 and np.ptp(resampled) < 1e-12
    assert (found is None) == (max(sizes) < 2 or stands)
    if found:
        assert lowest <= found[0] <= figure + 1e-9
        assert figure - 1e-9 <= found[1] <= 1


def test_a_difference_is_students_of_log_odds_turned_back_around_the_middle() -> None:
    random = np.random.default_rng(1)
    hard = random.normal(size=300)
    a, b = expit(1.5 + 0.4 * hard), expit(2.0 + 0.4 * hard + 0.1 * random.normal(size=300))
    sizes = np.array([12])
    reach = t.ppf(0.975, 11) * np.sqrt(12 / 11) * np.sqrt(((logit(b) - logit(a) - 0.5) ** 2).mean())
    wanted = [expit(1.75 + end / 2) - expit(1.75 - end / 2) for end in (0.5 - reach, 0.5 + reach)]
    found = difference_interval(expit(1.5), expit(2.0), a, b, sizes)
    assert found == pytest.approx(wanted)
    assert found is not None
    assert found[0] < expit(2.0) - expit(1.5) < found[1]
    assert np.ptp(found) < np.ptp(share_interval(expit(2.0), b, sizes)) / 2, "what is hard for both cancels out"
    turned = difference_interval(expit(2.0), expit(1.5), b, a, sizes)
    assert turned == pytest.approx((-found[1], -found[0]))


def test_few_mistakes_that_weigh_most_move_the_far_end_by_halls_term() -> None:
    # nine resamples of ten are 0.005 from a perfect figure, one 0.055: mean 0.01, standard deviation 0.015, and the
    # skewness of a coin that falls one way in ten, 0.8 / 0.3
    resampled = 1 - np.array([0.005] * 9 + [0.055])
    times = t.ppf(0.975, 19) * np.sqrt(20 / 19)
    near = times * np.sqrt(((logit(resampled) - logit(0.99)) ** 2).mean())
    beyond = 0.8 / 0.3 * (2 * times**2 + 1) / 6 - 0.98 * 0.015 / (0.01 * 0.99) * times**2 / 2
    stretch = 1 + beyond / times
    assert stretch > 1.4
    wanted = expit([logit(0.99) - stretch * near, logit(0.99) + near])
    assert share_interval(0.99, resampled, np.array([20])) == pytest.approx(wanted)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.97])
def test_counts_of_mistakes_move_no_end(share: float) -> None:
    counts = np.arange(81)
    resampled = np.repeat(counts / 80, np.round(binom.pmf(counts, 80, share) * 1e5).astype(int))
    low, high = share_interval(share, resampled, np.array([80]))
    assert logit(high) - logit(share) == pytest.approx(logit(share) - logit(low))


def test_a_difference_whose_middle_isnt_known_is_as_wide_as_what_moves() -> None:
    random = np.random.default_rng(2)
    b, sizes = expit(5 + 0.3 * random.normal(size=500)), np.array([30])
    a = expit(4.0)
    found = difference_interval(a, expit(5.0), np.full(500, a), b, sizes, middle_known=False)
    low, high = share_interval(expit(5.0), b, sizes)
    assert found == pytest.approx((low - a, high - a)), "A never moves: all that moves is B"
    # they move alike: the difference grows with the distance from a perfect figure
    alike = expit(logit(b) - 1)
    found = difference_interval(a, expit(5.0), alike, b, sizes, middle_known=False)
    of_a = share_interval(a, alike, sizes)
    assert found == pytest.approx((high - of_a[1], low - of_a[0]))
    known = difference_interval(a, expit(5.0), alike, b, sizes)
    assert np.ptp(known) < np.ptp(found) / 100, "with the middle known the same pair seems to differ for certain"


def test_where_both_move_by_themselves_the_difference_moves_by_both_at_right_angles() -> None:
    around = np.linspace(0, 2 * np.pi, 720, endpoint=False)  # both as much, and neither with the other
    of_a, of_b, sizes = expit(2 + 0.02 * np.cos(around)), expit(2.5 + 0.03 * np.sin(around)), np.array([200])
    a, b = expit(2.0), expit(2.5)
    (low_a, high_a), (low_b, high_b) = share_interval(a, of_a, sizes), share_interval(b, of_b, sizes)
    found = difference_interval(a, b, of_a, of_b, sizes, middle_known=False)
    wanted = b - a - np.hypot(b - low_b, high_a - a), b - a + np.hypot(high_b - b, a - low_a)
    assert found == pytest.approx(wanted, rel=0.02)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(0.01, 0.999), st.floats(-1, 1), st.floats(0.01, 2), st.booleans()
)  # fmt: skip
def test_a_difference_holds_the_datas_turns_round_and_vanishes_between_two_alike(
    seed: int, share: float, apart: float, spread: float, middle_known: bool
) -> None:
    moved = np.random.default_rng(seed).normal(size=(3, 60)) * spread
    a, b, sizes = share, float(expit(logit(share) + apart)), np.array([9, 20])
    of_a, of_b = expit(logit(a) + moved[0] + moved[1]), expit(logit(b) + moved[0] + moved[2])
    low, high = difference_interval(a, b, of_a, of_b, sizes, middle_known=middle_known)
    assert -1 <= low <= b - a <= high <= 1
    turned = difference_interval(b, a, of_b, of_a, sizes, middle_known=middle_known)
    assert turned == pytest.approx((-high, -low), abs=1e-9)
    assert difference_interval(a, a, of_a, of_a, sizes, middle_known=middle_known) == [0, 0]


def test_differences_at_the_ends() -> None:
    values, sizes = np.linspace(0.7, 0.95, 50), np.array([12])
    assert difference_interval(0.8, 0.8, values, values, sizes) == [0, 0]
    # two without a mistake may differ by what either may be wrong on
    allowed = 1 - exact_binomial(12, 12)[0]
    assert difference_interval(1.0, 1.0, np.ones(50), np.ones(50), sizes) == pytest.approx((-allowed, allowed))
    low, high = share_interval(0.8, values, sizes)
    perfect = difference_interval(0.8, 1.0, values, np.ones(50), sizes)
    assert perfect == pytest.approx((0.2 - np.hypot(allowed, high - 0.8), 0.2 + 0.8 - low))
    assert difference_interval(None, 0.8, values, values, sizes) is None
    assert difference_interval(0.8, 0.8, values, values * np.nan, sizes) is None
    assert difference_interval(0.8, 0.8, values, values, np.array([1, 1])) is None


@pytest.mark.parametrize("figure", [None, float("nan")])
def test_an_undefined_share_has_no_interval(figure: float | None) -> None:
    assert share_interval(figure, np.full(5, 0.5), np.array([9])) is None
    assert share_interval(0.5, np.array([0.5, np.nan]), np.array([9])) is None


def test_a_classs_figure_is_as_sure_as_the_photos_that_it_varies_with() -> None:
    # all right: 3 photos of class 0, 40 of class 1
    labels = np.repeat([0, 1], [3, 40])
    probabilities = np.where(labels[:, None] == [0, 1], 0.9, 0.1)
    overall, (rare, common) = cluster_bootstrap(labels, probabilities, np.arange(43), resamples=50)
    assert rare["recall"] == rare["precision"] == common["specificity"] == pytest.approx(exact_binomial(3, 3))
    assert common["recall"] == common["precision"] == rare["specificity"] == pytest.approx(exact_binomial(40, 40))
    for metric in ("f1", "auc", "average_precision"):
        assert rare[metric] == pytest.approx(exact_binomial(3, 3)), "said to be 71.5% at least, as if of 11 photos"
    assert common["f1"] == common["average_precision"] == pytest.approx(exact_binomial(40, 40))
    assert common["auc"] == pytest.approx(exact_binomial(3, 3)), "of pairs: one of the others above all is a third"
    assert overall["auc_ovr"] == common["auc"], "the same figure; it was said to be 71.5% at least"


def test_a_class_never_found_is_as_sure_as_its_photos_allow() -> None:
    labels = np.repeat([0, 1, 2], [5, 40, 40])
    probabilities = np.eye(3)[np.where(labels == 0, 1, labels)] * 0.8 + 0.2 / 3
    none = cluster_bootstrap(labels, probabilities, np.arange(85), resamples=50)[1][0]
    assert none["f1"] == none["recall"] == pytest.approx(exact_binomial(0, 5))


def test_an_interval_is_the_middle_of_the_resampled_figures() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    many = np.full(4, 10_000)  # photos, of which the level is expanded by hardly anything
    assert expanded_interval(values, many, None) == pytest.approx((25, 975), abs=0.1)
    assert expanded_interval(np.append(values, np.nan), many, None) is None


def test_photos_are_numbered_by_their_names() -> None:
    # so that a seed draws the same photos in any process; the hash of a string differs between them
    numbers, distinct = number_photos(np.array(list("fbdacebf")), 8)
    assert distinct == list("abcdef")
    assert numbers.tolist() == [5, 1, 3, 0, 2, 4, 1, 5]


def test_photos_may_be_anything_hashable() -> None:
    labels, probabilities, photos = clustered_predictions(photos=12, copies=2)
    names = np.empty(len(labels), dtype=object)
    names[:] = [(1, name) if index % 4 < 2 else index // 2 for index, name in enumerate(photos)]
    numbers, distinct = number_photos(names, len(labels))
    assert len(distinct) == 12
    assert [distinct[number] for number in numbers] == names.tolist()
    assert cluster_bootstrap(labels, probabilities, names, resamples=50)[0]["accuracy"] is not None


def test_photo_accuracy_averages_a_photos_copies() -> None:
    # photo "b" has one right copy of two, but its mean is wrong; photo "c" has one of three, and is right
    photos = np.array(["a", "b", "c", "b", "c", "c"])
    labels = [0, 1, 1, 1, 1, 1]
    class_0 = np.array([0.9, 0.9, 0.51, 0.4, 0.51, 0.1])
    result = photo_accuracy(labels, np.column_stack([class_0, 1 - class_0]), photos)
    expected = {"photos": 3, "right": 2, "accuracy": 2 / 3, "interval": list(exact_binomial(2, 3))}
    assert result == expected


def test_a_photo_with_more_than_one_label_has_no_photo_accuracy() -> None:
    with pytest.raises(ValueError, match="photo 'b' bear more than one label"):
        photo_accuracy([0, 0, 1], np.full((3, 2), 0.5), np.array(["a", "b", "b"]))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 60])
def test_exact_binomial_equals_scipys(n: int) -> None:
    for successes in range(n + 1):
        expected = binomtest(successes, n).proportion_ci(method="exact")
        assert exact_binomial(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_exact_binomial_of_none_and_of_all() -> None:
    # the rule of three, exactly: nothing in 10 is still compatible with 1 - 0.025^(1/10)
    assert exact_binomial(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert exact_binomial(10, 10) == pytest.approx((0.025**0.1, 1.0))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_a_share_that_is_none_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} of {n} is not a share"):
        exact_binomial(successes, n)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_picture_without_a_photo_is_refused(missing: object) -> None:
    photos = np.array(["a", missing], dtype=object)
    for function in (cluster_bootstrap, photo_accuracy):
        with pytest.raises(ValueError, match="row 1 has no source photo"):
            function([0, 1], np.full((2, 2), 0.5), photos)


def test_other_input_that_makes_no_sense_is_refused() -> None:
    halves = np.full((2, 2), 0.5)
    for function in (cluster_bootstrap, photo_accuracy):
        with pytest.raises(ValueError, match="photos of shape"):
            function([0, 1], halves, np.arange(3))
        with pytest.raises(ValueError, match="sum to"):
            function([0, 1], halves * 2, np.arange(2))
    with pytest.raises(ValueError, match="at least 1 resample"):
        cluster_bootstrap([0, 1], halves, np.arange(2), resamples=0)[0]
