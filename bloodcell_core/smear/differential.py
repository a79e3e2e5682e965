"""The differential count of a slide: the number of cells of each class, with limits.

There are two sources of error. Only a sample of the slide's cells was counted: hence exact limits (Clopper & Pearson,
1934). And the network misclassifies some: a class that it often misses is counted too low, one for which it mistakes
others too high. The second is corrected with the network's own confusion matrix, by the class shares under which the
count is most likely (the estimate of Rogan & Gladen, Am J Epidemiol 107, 1978, in the matrix form of Barron, Biometrics
33, 1977, constrained to shares from 0 to 1 by the EM algorithm of Dempster, Laird & Rubin, 1977). Unsure cells are a
column of that matrix, so that a class that is often unsure isn't counted too low.

The limits include the uncertainty of the matrix: each class's row is drawn from the Dirichlet distribution of its
photos, all copies of one photo counting as one, with the weight of one photo spread evenly over all answers (so that
three photos without a mistake don't pass for a class without mistakes); the counts are drawn likewise.

A differential count is of white cells: other classes that a run names, such as platelets or erythroblasts (nucleated
red cells), are counted separately and aren't part of the 100%. A white cell of a kind that the run doesn't know is part
of it if a person says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell_core.data.class_names import match_classes
from bloodcell_core.evaluation.arrays import Flags, Floats
from bloodcell_core.evaluation.figures import figure_words
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.predictions import arrays_of
from bloodcell_core.inference.answers import Count
from bloodcell_core.runs import Run
from bloodcell_core.words import counted, pretty

FEW_CELLS = 100  # a manual count is of 100 to 200 cells
LEAST_CORRECTED = 20  # counted cells. With fewer, a class that wasn't seen at all may make up more than a sixth of the
# blood's white cells (exact limit): beside that the network's mistakes are negligible, and a correction looks too exact
FEW_PHOTOS = 10  # of a class: with fewer its row of the confusion matrix is hardly known
LEAST_APART = 0.2  # smallest singular value of the matrix: below it two classes get nearly the same answers
DRAWS, STEPS = 1000, 300  # random draws for the limits, and steps of the EM algorithm

REFERENCE = {
    "neutrophil": (40.0, 60.0), "lymphocyte": (20.0, 40.0), "monocyte": (2.0, 8.0), "eosinophil": (1.0, 4.0),
    "basophil": (0.5, 1.0),
}  # fmt: skip
OTHER_WHITE_CELL = "other white cell"
NO_WHITE_CELLS = ("platelet", "erythroblast", "erythrocyte")
PER_WHITE_CELLS = ("erythroblast",)  # laboratories give these so; of platelets and red cells the finder leaves out most
REFERENCE_SOURCE = (
    "usual in adults, percent of white cells: MedlinePlus Medical Encyclopedia, Blood differential test "
    "(medlineplus.gov/ency/article/003657.htm); laboratories differ"
)


def classes_by_hand(classes: Sequence[str]) -> list[str]:
    """The classes that a person may give a cell: the run's, and of REFERENCE and OTHER_WHITE_CELL those it lacks."""
    known = match_classes([*REFERENCE, OTHER_WHITE_CELL], classes)
    return [*classes, *(name for name, own in known.items() if own is None)]


class Confusion(NamedTuple):
    """A confusion matrix by photo."""

    counts: Floats
    """(C, C + 1): photos by true class and answer, with unsure as the last column; a photo whose copies get several
    answers is divided among these."""
    photos_known: bool


def confusion_by_photo(table: pd.DataFrame, classes: Sequence[str], threshold: float) -> Confusion:
    """The confusion matrix of a run's validation and test predictions at a review threshold, by photo."""
    labels, probabilities, photos, known = arrays_of(table[table.split.isin(("val", "test"))], classes)
    answers = np.where(probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1), len(classes))
    counts = np.zeros((len(classes), len(classes) + 1))
    units = pd.DataFrame({"label": labels, "photo": photos}).groupby(["label", "photo"]).ngroup().to_numpy()
    if len(labels):
        np.add.at(counts, (labels, answers), 1 / np.bincount(units)[units])
    return Confusion(counts, known)


def true_shares(counted: npt.ArrayLike, matrix: npt.ArrayLike, steps: int = STEPS) -> Floats:
    """The maximum-likelihood shares of the true classes, (R, C), rows sum to 1.

    Args:
        counted: (R, K) cells, or shares, by answer.
        matrix: (R, C, K) or (C, K), rows sum to 1: the probability of each answer given the class.
        steps: of the EM algorithm.
    """
    seen = np.asarray(counted, np.float64)
    seen = seen / seen.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(matrix, (len(seen), *np.shape(matrix)[-2:]))
    shares = np.full(rows.shape[:2], 1 / rows.shape[1])
    for _ in range(steps):
        expected = np.einsum("rc,rck->rk", shares, rows)
        ratio = np.divide(seen, expected, out=np.zeros_like(seen), where=expected > 0)
        shares = shares * np.einsum("rck,rk->rc", rows, ratio)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    return shares


def differential(
    count: Count, classes: Sequence[str], confusion: Confusion | None, by_hand: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The differential count. JSON-ready.

    Args:
        count: the network's answers, without the cells that a person labelled.
        classes: the run's classes.
        confusion: the network's confusion matrix; None where it isn't known.
        by_hand: class → cells that a person labelled; they aren't corrected, and may be of classes that the run lacks.
        seed: of the draws for the corrected limits.

    Returns:
        - cells: white cells that are counted; by_hand: how many of these a person labelled; set_aside {unsure, unlike};
          at_border; pictures; refused; empty.
        - classes {class: {cells, percent, interval, corrected, corrected_interval, reference}}, the run's, then those
          given only by hand: percent of the counted white cells with exact 95% limits; `corrected` is of the counted
          and the unsure cells together, None with its limits where it can't be calculated, or fewer than
          `LEAST_CORRECTED` cells are counted; reference [low, high] or None. A class that isn't a white cell has only
          its number of cells.
        - twice: a warning that mistakes which a person has already corrected are corrected again; '' where none are.
        - apart: the cells of classes that aren't white cells, in words; '' where there are no such classes.
        - few: a warning that the cells are too few for a count, or for the correction; '' otherwise.
        - correction: {photos {class: n}, photos_known, warnings}, None where there is none.
        - reference_source.
    """
    hand = dict.fromkeys(classes, 0) | dict(by_hand or {})
    cells = {name: count.named.get(name, 0) + n for name, n in hand.items()}
    others = {name for name, other in match_classes(list(hand), NO_WHITE_CELLS).items() if other}
    total = sum(n for name, n in cells.items() if name not in others)
    references = match_classes(list(hand), list(REFERENCE))
    corrected, limits, correction = _corrected(count, classes, confusion, hand, others, seed)
    by_class = {}
    for place, name in enumerate(hand):
        known, is_white = references[name], name not in others
        by_class[name] = {
            "cells": cells[name],
            "percent": 100 * cells[name] / total if total and is_white else None,
            "interval": [100 * end for end in exact_binomial(cells[name], total)] if total and is_white else None,
            "corrected": float(100 * corrected[place]) if corrected is not None and is_white else None,
            "corrected_interval": [float(100 * end) for end in limits[place]]
            if limits is not None and is_white else None,
            "reference": list(REFERENCE[known]) if known else None,
        }  # fmt: skip
    return {
        "cells": total,
        "by_hand": sum(n for name, n in hand.items() if name not in others),
        "set_aside": {"unsure": count.unsure, "unlike": count.unlike},
        "at_border": count.at_border,
        "pictures": count.pictures,
        "refused": count.refused,
        "empty": count.empty,
        "classes": by_class,
        "few": _too_few(total, correction is not None and not correction["warnings"]),
        "twice": _twice(count, sum(hand.values())) if corrected is not None else "",
        "apart": _apart({name: n for name, n in cells.items() if name in others}, total),
        "correction": correction,
        "reference_source": REFERENCE_SOURCE,
    }


def _apart(cells: Mapping[str, int], white: int) -> str:
    if not cells:
        return ""
    rated = match_classes(list(cells), PER_WHITE_CELLS)  # in their order
    each = (
        f"{pretty(name)} {n:,}" + (f" ({100 * n / white:.1f} per 100 white cells)" if n and white and rate else "")
        for (name, n), rate in zip(cells.items(), rated.values(), strict=True)
    )
    return f"counted separately from white cells: {', '.join(each)}"


def _twice(count: Count, by_hand: int) -> str:
    if not by_hand:
        return ""
    left = sum(count.named.values()) + count.unsure
    cells = "other cell is" if left == 1 else f"{left:,} other cells are"
    return (
        f"the {cells} corrected as if nobody had looked at them: confirm those that you found right, or the mistakes "
        "that you have mended are corrected twice"
    )


def _too_few(total: int, correctable: bool) -> str:
    if total >= FEW_CELLS:
        return ""
    if not total:
        return "no white cell was counted"
    usual = max(1, round(0.05 * total))
    low, high = exact_binomial(usual, total)
    few = "1 cell is" if total == 1 else f"{total} cells are"
    return (
        f"{few} too few for a differential count, for which {FEW_CELLS} to 200 are counted: a class with "
        f"{usual} of them may make up {low:.1%} to {high:.0%} of the blood's white cells"
    ) + (
        f". They are not corrected for the network's mistakes, for which at least {LEAST_CORRECTED} are needed"
        if correctable and total < LEAST_CORRECTED else ""
    )  # fmt: skip


def _corrected(
    count: Count, classes: Sequence[str], confusion: Confusion | None, hand: Mapping[str, int],
    others: Collection[str], seed: int,
) -> tuple[Floats | None, Floats | None, dict[str, Any] | None]:  # fmt: skip
    """Shares (H,) of the white cells, corrected for the network's mistakes, their limits (H, 2), and the facts of the
    correction; for the classes of `hand`, the run's first. `others`, which aren't white cells, have the share 0."""
    white = np.array([name not in others for name in hand])
    by_hand = np.array([*hand.values()], np.float64)
    answered = np.array([*(count.named[name] for name in classes), count.unsure], np.float64)
    if confusion is None or not answered.sum():
        return None, None, None
    photos = confusion.counts.sum(axis=1)
    facts: dict[str, Any] = {
        "photos": {name: round(float(n)) for name, n in zip(classes, photos, strict=True)},
        "photos_known": confusion.photos_known,
        "warnings": [],
    }
    lacking = [name for name, n in zip(classes, photos, strict=True) if not n]
    if lacking:
        why = f"no validation or test photo is of {', '.join(map(pretty, lacking))}"
        if not photos.any():  # an exported file brings none of them
            why = "the network's answers on its own validation and test pictures aren't known here"
        facts["warnings"].append(f"no correction: {why}")
        return None, None, facts
    if not confusion.photos_known:
        facts["warnings"].append(
            "source photos aren't known: each picture counts as one, and the corrected limits are too narrow where "
            "pictures are copies of one photo"
        )
    few = ", ".join(f"{pretty(name)} ({n:.0f})" for name, n in zip(classes, photos, strict=True) if n < FEW_PHOTOS)
    if few:
        facts["warnings"].append(
            f"the network's mistakes on some classes are known from few photos only, which makes the limits wide: {few}"
        )
    matrix = confusion.counts / photos[:, None]
    if np.linalg.svd(matrix, compute_uv=False)[-1] < LEAST_APART:
        facts["warnings"].append(
            "the network's answers on two classes are so alike that the correction can hardly tell them apart"
        )
    if (_padded(answered[:-1], len(hand)) + by_hand)[white].sum() < LEAST_CORRECTED:
        return None, None, facts | {"warnings": []}
    untold = [
        name for name, n, told in zip(classes, answered[:-1], confusion.counts.T[:-1], strict=True)
        if n and not told.any()
    ]  # fmt: skip
    if untold:  # under no shares is such a count possible
        why = f"no validation or test photo got the answer {', '.join(map(pretty, untold))}"
        return None, None, facts | {"warnings": [f"no correction: {why}, and nothing tells how often that is right"]}
    weight = answered.sum() / (answered.sum() + by_hand.sum())
    own = by_hand / max(by_hand.sum(), 1)
    of_all = weight * _padded(true_shares(answered[None], matrix)[0], len(hand)) + (1 - weight) * own
    point = _among(white, of_all)
    total = round((answered.sum() + by_hand.sum()) * of_all[white].sum())
    if total < LEAST_CORRECTED:
        why = f"by the network's mistakes on its own photos so many of the white cells are others that {total} are left"
        return None, None, facts | {"warnings": [f"no correction: {why}, and at least {LEAST_CORRECTED} are needed"]}

    rng = np.random.default_rng(seed)
    answers = len(answered)
    seen = rng.dirichlet(answered + 1 / answers, DRAWS)
    rows = np.stack([rng.dirichlet(row + 1 / answers, DRAWS) for row in confusion.counts], axis=1)
    drawn = weight * _padded(true_shares(seen, rows), len(hand))
    if by_hand.sum():
        drawn += (1 - weight) * rng.dirichlet(by_hand + 1 / len(hand), DRAWS)
    ends = np.quantile(_among(white, drawn), (0.025, 0.975), axis=0).T
    # Never narrower than the exact limits of the cells alone, however well the matrix is known.
    alone = np.array([exact_binomial(round(share * total), total) for share in point])
    limits = np.column_stack([np.minimum(ends[:, 0], alone[:, 0]), np.maximum(ends[:, 1], alone[:, 1])])
    return point, limits, facts


def _padded(shares: Floats, classes: int) -> Floats:
    """Shares (…, C) of the run's classes, padded with zeros for the classes given only by hand: (…, classes)."""
    return np.pad(shares, [(0, 0)] * (shares.ndim - 1) + [(0, classes - shares.shape[-1])])


def _among(white: Flags, shares: Floats) -> Floats:
    """Shares (…, C) of all cells as shares of the white ones alone."""
    kept: Floats = np.where(white, shares, 0.0)
    kept /= np.maximum(kept.sum(axis=-1, keepdims=True), 1e-300)
    return kept


def differential_of(
    run: Run, count: Count, threshold: float, by_hand: Mapping[str, int] | None = None, average_turns: bool = False
) -> dict[str, Any]:
    """`differential` of a run's answers at a review threshold, corrected by its validation and test predictions.

    It has `threshold`, too. Those predictions are of cells as they lie, which a warning tells where the answers are
    averaged over turns (`average_turns`).
    """
    confusion = confusion_by_photo(run.predictions(), run.classes, threshold)
    told = differential(count, run.classes, confusion, by_hand)
    if average_turns and any(row["corrected"] is not None for row in told["classes"].values()):
        told["correction"]["warnings"].append(
            "the answers are averaged over turns, and the network's mistakes are known without: where averaging leaves "
            "fewer of them, the correction takes out too many"
        )
    return told | {"threshold": threshold}


def without_cells(count: Mapping[str, Any]) -> str:
    """How many pictures aren't part of a differential count, and why, in words; '' where all are."""
    parts = [f"no white cell was found in {counted(count['empty'], 'picture')}"] if count["empty"] else []
    parts += [f"{counted(count['refused'], 'picture')} couldn't be taken"] if count["refused"] else []
    return ", ".join(parts)


def differential_lines(count: Mapping[str, Any]) -> list[str]:
    """A differential count in words, one line per class."""
    aside = count["set_aside"]
    read = count["pictures"] - count["refused"]
    lines = [
        f"differential count: {counted(count['cells'], 'cell')} in {counted(read, 'picture')}; set aside: "
        f"{aside['unsure']:,} unsure, {aside['unlike']:,} unlike the training cells; {count['at_border']:,} at a border"
    ]
    width = max(map(len, count["classes"]))
    for name, row in count["classes"].items():
        line = f"  {name:{width}} {row['cells']:6,}"
        if row["percent"] is not None:
            line += f"  {_share(row['percent']):>6} ({_limits(row['interval'])})"
        if row["corrected"] is not None:
            line += f"  corrected {_share(row['corrected']):>6} ({_limits(row['corrected_interval'])})"
        if row["reference"]:
            line += f"  adults {row['reference'][0]:g} to {row['reference'][1]:g}%"
        lines.append(line)
    warnings = (count["correction"] or {"warnings": []})["warnings"]
    words = (without_cells(count), count["apart"], count["twice"], count["few"])
    notes = [*words, *warnings, count["reference_source"]]
    return lines + [f"  note: {note}" for note in notes if note]


def _share(percent: float) -> str:
    return figure_words("accuracy", percent / 100)


def _limits(ends: Sequence[float]) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"
