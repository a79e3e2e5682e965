"""From resampled figures to the ends of a confidence interval.

**The interval of a share** (`share_interval`) is Student's: the spread of the resampled figures on the scale of log
odds, times the t of as many degrees of freedom as the photos give, and further away from the nearer end where a few
mistakes weigh more than all others. The percentiles of the resamples would do for a middling network on many photos.
They fail where it matters: a good network on few photos errs so seldom that no resample shows what another set of
photos would. `benchmarks.bench_coverage` measures how often each holds the truth.
Figures that are no shares (`expanded_interval`) have percentiles, taken further out by the same two corrections.

Method: Efron & Tibshirani, An Introduction to the Bootstrap (1993), 12.5 (t on a scale where the figure is more nearly
normal); Hesterberg, The American Statistician 69 (2015), 5.3 (small samples); Hall (1992), see `_skewed`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""How often each interval holds the truth."""

Interval = list[float] | None
Weights = npt.NDArray[np.intp] | npt.NDArray[np.float64] | None

NEAREST_TO_THE_END = 0.1
"""A resample has at least this share of the data's own distance from a perfect figure (and from none at all).

One without any mistake has infinite log odds. It says that the mistakes seen hang on few photos, not that there are
none; measured: a fifth holds the truth too seldom on 20 photos a class, a twentieth too often on all few photos.
"""

_ROUNDING = 1e-12  # a figure as near to an end of its range is there
_ANGLES = np.linspace(0, 2 * np.pi, 361)  # around an ellipse


def share_interval(
    figure: float | None,
    resampled: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.intp],
    lowest: float = 0.0,
    weights: Weights = None,
    of_photos: bool = False,
) -> Interval:
    """The interval of a figure that runs from `lowest` to 1: Student's t on the scale of log odds.

    A figure at an end of its range, as of a network without a mistake, has the limit of `_without_mistake`. A mean of
    shares of photos is never surer than that: a class of four photos, all of them right, adds nothing to the spread,
    and 44 of 48 right in another class would make the mean of both surer than 48 of 48.

    Args:
        figure: of the data; None or NaN where it is undefined.
        resampled: (R,) the same in each resample.
        sizes: photos of each class whose photos the figure varies with.
        lowest: the least that the figure can be.
        weights: (C,) how much of the figure each class makes up, in any unit; a mean over classes where none are told.
        of_photos: whether it is such a mean of the classes' shares of photos, as accuracy and recall are.

    Returns:
        [low, high] around `figure`; None where it is undefined in the data or in a resample, whose rest would be a
        biased choice, where no class has two photos, and where no resample moves it but from an end of its range.
    """
    if figure is None or np.isnan(figure) or np.isnan(resampled).any() or not (sizes > 1).any():
        return None
    share = (figure - lowest) / (1 - lowest)
    if _inside(share) and np.ptp(resampled) < _ROUNDING:
        return None  # all resamples agree, by the chance of few photos: that says nothing of new ones
    low, high = _of_share(share, (resampled - lowest) / (1 - lowest), sizes, weights)
    if of_photos:
        surest = _without_mistake(sizes, weights)
        low, high = min(low, surest), max(high, 1 - surest)
    return [lowest + (1 - lowest) * low, lowest + (1 - lowest) * high]


def difference_interval(
    a: float | None,
    b: float | None,
    resampled_a: npt.NDArray[np.float64],
    resampled_b: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.intp],
    middle_known: bool = True,
    weights: Weights = None,
) -> Interval:
    """The interval of b less a, two shares of the same photos, each resampled (R,) together with the other. The
    arguments are those of `share_interval`.

    Student's t of the difference of their log odds, turned back into a difference around the middle of the two: what is
    the same in both cancels out, and two that never differ have an interval of no width.

    That takes the middle for known, which does for shares of photos: the photos on which the two differ tell both. It
    doesn't for AUCs near 1, which hang on a handful of photos whose weight isn't bounded: other photos would move the
    middle, and with it what a difference of log odds is worth. Without `middle_known` the interval is therefore from
    the least to the greatest difference within the ellipse that both log odds have together, as wide each way as the
    interval of either alone: the profile interval of a function of two normal figures (Venzon & Moolgavkar, Applied
    Statistics 37, 1988).

    Where one of them is at an end of its range it has no log odds, and nothing tells how the two go together: their own
    intervals are put together as if they were independent (Zou & Donner, Statistics in Medicine 27, 2008).

    None where a figure is undefined in the data or in a resample, where no class has two photos, where the two differ
    by as much in every resample, and beside a figure at an end of its range where the other has no interval of its own.
    """
    if a is None or b is None or np.isnan(resampled_b - resampled_a).any() or not (sizes > 1).any():
        return None
    if not (_inside(a) and _inside(b)):
        if any(_inside(share) and np.ptp(each) < _ROUNDING for share, each in ((a, resampled_a), (b, resampled_b))):
            return None
        # Without a mistake two classes' pairs are as sure as the fewer photos of the two, as each class's own AUC is.
        at_end = sizes if middle_known or np.count_nonzero(sizes) != 2 else sizes[sizes > 0].min(keepdims=True)
        (low_a, high_a), (low_b, high_b) = (
            _of_share(share, each, sizes if _inside(share) else at_end, weights)
            for share, each in ((a, resampled_a), (b, resampled_b))
        )
        return [b - a - float(np.hypot(b - low_b, high_a - a)), b - a + float(np.hypot(high_b - b, a - low_a))]
    if abs(b - a) >= _ROUNDING and np.ptp(resampled_b - resampled_a) < _ROUNDING:
        return None  # as of one share: a few photos happen to do alike
    times = _reach(sizes, weights)
    of_a, of_b = (_log_odds(share, each, times) for share, each in ((a, resampled_a), (b, resampled_b)))
    if middle_known:
        middle, apart = (of_a.middle + of_b.middle) / 2, of_b.middle - of_a.middle
        reach = times * np.sqrt(np.mean((of_b.moved - of_a.moved) ** 2))
        ends = np.array([apart - reach, apart + reach])
        low, high = (_share_of(middle + ends / 2) - _share_of(middle - ends / 2)).tolist()
    else:
        half = np.arccos(_correlation(of_a.moved, of_b.moved)) / 2
        differences = of_b.at(np.cos(_ANGLES + half)) - of_a.at(np.cos(_ANGLES - half))
        low, high = float(differences.min()), float(differences.max())
    return [low, high]


class _LogOdds(NamedTuple):
    """A share between 0 and 1 on the scale of log odds."""

    middle: float
    moved: npt.NDArray[np.float64]  # (R,) how far each resample's are from it
    down: float  # how far the interval reaches below it
    up: float  # and above

    def at(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The shares at places from -1, the lower end of the interval, to 1, the upper one."""
        return _share_of(self.middle + places * np.where(places < 0, self.down, self.up))


def _of_share(
    share: float, resampled: npt.NDArray[np.float64], sizes: npt.NDArray[np.intp], weights: Weights
) -> list[float]:
    """`share_interval` of a share from 0 to 1 that is defined throughout."""
    if not _inside(share):
        surest = _without_mistake(sizes, weights)
        return [surest, 1.0] if share > 0.5 else [0.0, 1 - surest]
    return list(map(float, _log_odds(share, resampled, _reach(sizes, weights)).at(np.array([-1.0, 1.0]))))


def _without_mistake(sizes: npt.NDArray[np.intp], weights: Weights) -> float:
    """The lower limit of a weighted mean of the classes' shares all of whose photos are right.

    Where p_k are the true shares, n_k photos of each class are all right with probability Π p_k^n_k. All p are allowed
    of which that is at least 0.025, and the limit is the least mean Σ w_k p_k among them. A greater one would be missed
    too often by the p that has it (Buehler, Journal of the American Statistical Association 52, 1957).

    The mean is linear and Σ n_k log p_k concave, so that Lagrange's conditions suffice: p_k = min(1, λ n_k / w_k), with
    Σ n_k log p_k = log 0.025. The terms below 0 are those of the classes of the smallest n_k / w_k; without the minimum
    the sum over any others is greater. So log λ is the greatest of those that each number of such classes asks for.

    Where all classes have as many photos for their weight, p_k is the same in all, and the limit that of the exact
    binomial interval of all photos. Else most of what may be wrong is in the classes of few photos.
    """
    photos, shares = _weighted(sizes, weights, least=1)
    order = np.argsort(photos / shares)
    photos, shares = photos[order], shares[order]
    rates = np.log(photos / shares)
    multiplier = ((np.log((1 - LEVEL) / 2) - (photos * rates).cumsum()) / photos.cumsum()).max()
    return float(shares @ np.exp(np.minimum(0, multiplier + rates)))


def _inside(share: float) -> bool:
    return bool(_ROUNDING < share < 1 - _ROUNDING)


def _log_odds(share: float, resampled: npt.NDArray[np.float64], times: float) -> _LogOdds:
    """A share between 0 and 1 as it reaches in `share_interval`: `times` standard deviations to the near end."""
    least = NEAREST_TO_THE_END * min(share, 1 - share)
    shares = np.clip(resampled, least, 1 - least)
    middle = float(np.log(share / (1 - share)))
    moved = np.log(shares / (1 - shares)) - middle
    near = float(times * np.sqrt(np.mean(moved**2)))
    far = near * (1 + _skewed(share, resampled, times) / times)
    return _LogOdds(middle, moved, *((far, near) if share > 0.5 else (near, far)))


def _skewed(share: float, resampled: npt.NDArray[np.float64], times: float) -> float:
    """How many standard deviations more than `times` an interval must reach away from the nearer end; none below 0.

    By the Edgeworth expansion of Student's t (Hall, The Bootstrap and Edgeworth Expansion, 1992, 2.6): it is skewed
    against its figure, by what the figure is. Log odds take out more than that of a count of mistakes; what is left
    are mistakes of which a few weigh more than all others, as in an AUC near 1.
    """
    moved = (resampled - resampled.mean()) * (-1 if share > 0.5 else 1)
    spread = np.sqrt(np.mean(moved**2))
    if spread < _ROUNDING:
        return 0.0
    skewness = np.mean(moved**3) / spread**3
    taken_out = abs(1 - 2 * share) * spread / (share * (1 - share))
    return float(max(0, skewness * (2 * times**2 + 1) / 6 - taken_out * times**2 / 2))


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Around 0, not around their means; 0 where one never moves, and 1, to the last digit, where both move alike."""
    size = np.sqrt(np.mean(one**2) * np.mean(other**2))
    return float(np.clip(np.round(np.mean(one * other) / size, 12), -1, 1)) if size > 0 else 0.0


def _share_of(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = 1 / (1 + np.exp(-odds))
    return shares


def expanded_interval(values: npt.NDArray[Any], sizes: npt.NDArray[np.intp], weights: Weights) -> Interval:
    """The interval of any figure, from (R,) resampled ones: percentiles, taken further out where photos are few.

    It is None if any is NaN, as the rest are a biased choice, and where it `hangs_on_one`. `sizes`, one of them at
    least 2, and `weights` as in `share_interval`.
    """
    if np.isnan(values).any() or hangs_on_one(sizes, weights):
        return None
    level = expanded_level(sizes, weights)
    return list(map(float, np.quantile(values, [(1 - level) / 2, (1 + level) / 2])))


def expanded_level(sizes: npt.NDArray[np.intp], weights: Weights = None) -> float:
    """The level that percentiles must have for their interval to hold the truth as often as `LEVEL` says.

    On few photos percentiles are too narrow, for two reasons: drawing n of n photos makes a variance too small by
    (n - 1) / n, and the tails are those of a normal distribution and not of Student's t (Hesterberg 2015).
    """
    from scipy.special import ndtr

    return float(2 * ndtr(_reach(sizes, weights)) - 1)


def _reach(sizes: npt.NDArray[np.intp], weights: Weights) -> float:
    """How many standard deviations of resampled figures an interval reaches to either side.

    It is that of a weighted mean over the classes, whose photos vary alike, with Satterthwaite's degrees of freedom.
    """
    from scipy.special import stdtrit

    photos, variances = _variances(sizes, weights, least=2)
    freedom = variances.sum() ** 2 / (variances**2 / (photos - 1)).sum()
    too_small = (variances * (photos - 1) / photos).sum() / variances.sum()
    return float(-stdtrit(freedom, (1 - LEVEL) / 2) / np.sqrt(too_small))


def hangs_on_one(sizes: npt.NDArray[np.intp], weights: Weights = None) -> bool:
    """Whether over half of the variance of a mean over classes is that of classes with one photo, which no resample
    shows.

    The arguments are those of `share_interval`.
    """
    photos, variances = _variances(sizes, weights, least=1)
    return bool(variances[photos == 1].sum() > variances.sum() / 2)


def _variances(
    sizes: npt.NDArray[np.intp], weights: Weights, least: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the classes with at least so many photos: their number, and what they add to a weighted mean's variance.

    In units of the variance of one photo.
    """
    photos, shares = _weighted(sizes, weights, least)
    return photos, shares**2 / photos


def _weighted(
    sizes: npt.NDArray[np.intp], weights: Weights, least: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the classes with at least so many photos: their number, and their shares in a weighted mean.

    Classes that have no weight are left out, unless none has any.
    """
    weighted = np.ones(len(sizes)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not weighted[sizes >= least].any():
        weighted = np.ones(len(sizes))
    taken = (sizes >= least) & (weighted > 0)
    return sizes[taken].astype(np.float64), weighted[taken] / weighted[taken].sum()


def exact_binomial(successes: int, n: int) -> list[float]:
    """The Clopper-Pearson interval of a share: `successes` of `n` independent trials.

    Its coverage is never below `LEVEL`, however small `n` (Clopper & Pearson, Biometrika 26, 1934).

    Args:
        successes: 0…n.
        n: at least 1.

    Returns:
        [low, high], both 0…1.

    Raises:
        ValueError: in one line, for arguments out of range.
    """
    # the quantile of scipy.stats.beta, at a fifth of its import time
    from scipy.special import betaincinv

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share: 0 to n of at least 1 is needed")
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return [low, high]
