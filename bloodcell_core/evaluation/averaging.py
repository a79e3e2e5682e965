"""What an ensemble says: the mean of what its members say, each calibrated by itself, at a temperature of its own.

Probabilities are averaged and not logits: those of two networks are on no common scale, their calibrated
probabilities are. The mean of members that disagree is less sure than each of them, which makes it right less often
than it says, or more often: hence a temperature of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bloodcell_core.evaluation.arrays import Floats
from bloodcell_core.evaluation.calibration import with_temperature
from bloodcell_core.runs import Run


def answer_of(run: Run, members: Sequence[npt.ArrayLike]) -> Floats:
    """(N, C) the probabilities of a run from those of each of its `members`, in their order, each (N, C).

    A member's are those at its own temperature. A trained run is its own and only member, and its answer is the
    member's, unchanged.
    """
    if not run.is_ensemble:
        return np.asarray(members[0], np.float64)
    return mean_answer(members, run.temperature)


def mean_answer(members: Sequence[npt.ArrayLike], temperature: float = 1.0) -> Floats:
    """(N, C) the mean of the members' (N, C) probabilities, at a temperature: 1 leaves the mean as it is."""
    mean: Floats = np.mean([np.asarray(shares, np.float64) for shares in members], axis=0)
    return mean if temperature == 1 else with_temperature(mean, temperature)
