"""From resampled figures to the ends of an interval.

**The interval of a share** (`share_interval`) is Student's: the spread of the resampled figures on the scale of log
odds, times the t of as many degrees of freedom as the photos give. The percentiles of the resamples would do for
a middling network on many photos. They fail where it matters: a good network on few photos errs so seldom that no
resample shows what another set of photos would. `benchmarks.bench_coverage` measures how often each holds the truth.
Figures that are no shares (`expanded_interval`) have percentiles, taken further out by the same two corrections.

Method: Efron & Tibshirani, An Introduction to the Bootstrap (1993), 12.5 (t on a scale where the figure is more nearly
normal); Hesterberg, The American Statistician 69 (2015), 5.3 (small samples).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float] | None

NEAREST_TO_THE_END = 0.05
"""A resample has at least this share of the data's own distance from a perfect figure (and from none at all).

One without any mistake has infinite log odds. It says that the mistakes seen hang on few photos, not that there are
none; measured: a tenth holds the truth too seldom for the AUC of a good network, a fiftieth too often for all else.
"""

_ROUNDING = 1e-12  # a figure as near to an end of its range is there


def share_interval(
    figure: float | None,
    resampled: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.intp],
    level: float = 0.95,
    lowest: float = 0.0,
) -> Interval:
    """The interval of a figure that runs from `lowest` to 1: Student's t on the scale of log odds.

    A figure at an end of its range, as of a network without a mistake, has the exact binomial interval of so many
    right of as many photos as `sizes` are worth in a mean over classes.

    Args:
        figure: of the data; None or NaN where it is undefined.
        resampled: (R,) the same in each resample.
        sizes: photos of each class whose photos the figure varies with.
        level: between 0 and 1.
        lowest: the least that the figure can be.

    Returns:
        (low, high) around `figure`; None where it is undefined in the data or in a resample, whose rest would be a
        biased choice, and where no class has two photos.
    """
    if figure is None or np.isnan(figure) or np.isnan(resampled).any() or not (sizes > 1).any():
        return None
    share = (figure - lowest) / (1 - lowest)
    if not _ROUNDING < share < 1 - _ROUNDING:
        worth = int(max(1, (sizes > 0).sum() ** 2 / (1 / sizes[sizes > 0]).sum()))
        low, high = exact_binomial(worth if share > 0.5 else 0, worth, level)
    else:
        middle, odds = _log_odds(share, (resampled - lowest) / (1 - lowest))
        reach = _reach(sizes, level) * np.sqrt(np.mean((odds - middle) ** 2))
        low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - reach, middle + reach))
    return lowest + (1 - lowest) * low, lowest + (1 - lowest) * high


def difference_interval(
    a: float | None,
    b: float | None,
    resampled_a: npt.NDArray[np.float64],
    resampled_b: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.intp],
    level: float = 0.95,
) -> Interval:
    """The interval of b less a, two shares of the same photos, each resampled (R,) together with the other.

    Student's t of the difference of their log odds, turned back into a difference around the middle of the two: what is
    the same in both cancels out, and two that never differ have an interval of no width. Where one of them is at an end
    of its range it has no log odds, and the interval is the `expanded_interval` of the difference.

    None where a figure is undefined in the data or in a resample, and where no class has two photos.
    """
    difference = resampled_b - resampled_a
    if a is None or b is None or np.isnan(difference).any() or not (sizes > 1).any():
        return None
    if not all(_ROUNDING < share < 1 - _ROUNDING for share in (a, b)):
        return expanded_interval(np.where(np.abs(difference) < _ROUNDING, 0.0, difference), sizes, level)
    (odds_a, all_a), (odds_b, all_b) = _log_odds(a, resampled_a), _log_odds(b, resampled_b)
    middle, apart = (odds_a + odds_b) / 2, odds_b - odds_a
    reach = _reach(sizes, level) * np.sqrt(np.mean((all_b - all_a - apart) ** 2))

    def turned_back(end: float) -> float:
        return float(1 / (1 + np.exp(-middle - end / 2)) - 1 / (1 + np.exp(-middle + end / 2)))

    return turned_back(apart - reach), turned_back(apart + reach)


def _log_odds(share: float, resampled: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Of a share between 0 and 1, and of it resampled: none nearer to an end than `NEAREST_TO_THE_END` allows."""
    least = NEAREST_TO_THE_END * min(share, 1 - share)
    shares = np.clip(resampled, least, 1 - least)
    odds: npt.NDArray[np.float64] = np.log(shares / (1 - shares))
    return float(np.log(share / (1 - share))), odds


def expanded_interval(values: npt.NDArray[Any], sizes: npt.NDArray[np.intp], level: float = 0.95) -> Interval:
    """The interval of any figure, from (R,) resampled ones: percentiles, taken further out where photos are few.

    It is None if any is NaN. `sizes` as in `share_interval`, one of them at least 2.
    """
    return percentile_interval(values, expanded_level(sizes, level))


def expanded_level(sizes: npt.NDArray[np.intp], level: float = 0.95) -> float:
    """The level that percentiles must have for their interval to hold the truth as often as `level` says.

    On few photos percentiles are too narrow, for two reasons: drawing n of n photos makes a variance too small by
    (n - 1) / n, and the tails are those of a normal distribution and not of Student's t (Hesterberg 2015).
    """
    from scipy.special import ndtr

    return float(2 * ndtr(_reach(sizes, level)) - 1)


def _reach(sizes: npt.NDArray[np.intp], level: float) -> float:
    """How many standard deviations of resampled figures an interval of that level reaches to either side.

    It is that of a mean over the classes whose photos vary alike, with Satterthwaite's degrees of freedom.
    """
    from scipy.special import stdtrit

    photos = sizes[sizes > 1].astype(np.float64)
    variance, drawn_variance = (1 / photos).sum(), ((photos - 1) / photos**2).sum()
    freedom = variance**2 / (1 / (photos**2 * (photos - 1))).sum()
    return float(-stdtrit(freedom, (1 - level) / 2) * np.sqrt(variance / drawn_variance))


def exact_binomial(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share: `successes` of `n` independent trials.

    Its coverage is never below `level`, however small `n` (Clopper & Pearson, Biometrika 26, 1934).

    Args:
        successes: 0…n.
        n: at least 1.
        level: between 0 and 1.

    Returns:
        (low, high), both 0…1.

    Raises:
        ValueError: in one line, for arguments out of range.
    """
    # the quantile of scipy.stats.beta, at a fifth of its import time
    from scipy.special import betaincinv

    check_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a share: 0 to n of at least 1 is needed")
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def percentile_interval(values: npt.NDArray[np.float64], level: float = 0.95) -> Interval:
    """The middle `level` of (R,) resampled figures; None if any is NaN: the rest are a biased choice."""
    if np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def json_limits(interval: Interval) -> list[float] | None:
    return list(interval) if interval else None


def check_level(level: float) -> None:
    """ValueError unless `level` lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")
