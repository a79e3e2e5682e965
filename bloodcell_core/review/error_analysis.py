"""Error analysis: how error rates depend on blur, stain, cell size, the picture's edge and the photo.

Pure functions on a table of predictions and a dataset's table of pictures. Each rate has an interval by source photo,
and the pictures that it is of. A difference is put into words only where chance alone would hardly make one. Intervals
that lie apart are not enough for that: the worst of several parts is set against the best, of several facts, and where
mistakes went with nothing one table in six had such a pair. Hence the mistakes are shuffled among the photos of each
class (`chances`), which also leaves out what goes with the class alone: classes differ in size and stain, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell_core.evaluation.intervals import draw_photos, photo_accuracy
from bloodcell_core.evaluation.limits import exact_binomial
from bloodcell_core.evaluation.predictions import (
    PHOTOS_UNKNOWN,
    arrays_of,
    copies_of,
    one_answer_a_photo,
    unit_of,
)
from bloodcell_core.words import capitalised, counted, pretty

MOST_CONFUSIONS = 3  # that are put into words
PARTS = 4  # quantile bins of a measured fact
FACTS = {
    "focus": ("sharpness", "blurred", "sharp"),
    "stain_a": ("redness of the background", "greenish", "reddish"),
    "stain_b": ("yellowness of the background", "bluish", "yellowish"),
    "cell_size": ("diameter of the nucleus in pixels", "small", "large"),
}
"""Column → its name, and what its lowest and highest bin are called."""
SHUFFLES, AT_ONCE = 2000, 100
BEYOND_CHANCE = 0.05  # share of tables without any relation in which one is put into words all the same
EDGE, NO_EDGE, NO_CELL = "the cell touches the edge", "the cell is whole", "no cell was found"


def with_facts(table: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """Predictions with facts from `Dataset.pictures`; rows whose picture isn't there are dropped.

    Adds focus, stain_a, stain_b, `cell_size` (diameter in pixels of a disc as large as the nucleus), `edge` (EDGE,
    NO_EDGE or NO_CELL) and `photo`.
    """
    facts = pictures.set_index("image_id")
    table = table[table.image_id.isin(facts.index)].reset_index(drop=True)
    own = facts.loc[table.image_id].reset_index()
    box = own[["box_x0", "box_y0", "box_x1", "box_y1"]].astype("float64")
    touches = (box.box_x0 <= 0) | (box.box_y0 <= 0) | (box.box_x1 >= own.width) | (box.box_y1 >= own.height)
    return table.assign(
        photo=own.photo.to_numpy(),
        focus=own.focus.astype("float64"),
        stain_a=own.stain_a.astype("float64"),
        stain_b=own.stain_b.astype("float64"),
        cell_size=2 * np.sqrt(own.cell_area.astype("float64") / np.pi),
        edge=np.where(box.isna().any(axis=1), NO_CELL, np.where(touches, EDGE, NO_EDGE)),
    )


def error_rates(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """How often pictures are wrong, by each of FACTS and by `edge`, parts in rising order.

    Args:
        table: what `with_facts` gave.
        classes: of the predictions.

    Returns:
        {fact: parts}; of each part:
        - part: what it is called; low, high: the values of the fact that it spans (None for `edge`).
        - pictures, photos, wrong, rate: of pictures; interval: at 95%, by source photo, None where photos don't vary.
        - expected: the rate if its pictures were wrong as often as all of their class.
        - by_photo: `photo_accuracy` of the part, a photo's copies averaged, with exact limits; None where a photo's
          pictures are cells with answers of their own.
        - image_ids: the wrong pictures.
        A fact that is known of no picture, or the same for all, has no parts.
    """
    table = table.assign(expected=_expected(table))
    found: dict[str, list[dict[str, Any]]] = {}
    for fact, (_, lowest, highest) in FACTS.items():
        parts = _parts(table[fact].to_numpy(np.float64))
        found[fact] = []
        last = parts.max(initial=-1)  # of no pictures there are no parts
        for place in range(last + 1):
            own = table[parts == place]
            name = lowest if place == 0 else highest if place == last else f"part {place + 1}"
            limits = {"part": name, "low": float(own[fact].min()), "high": float(own[fact].max())}
            found[fact].append(limits | _rate(own, classes))
    found["edge"] = [
        {"part": part, "low": None, "high": None} | _rate(table[table.edge == part], classes)
        for part in (NO_EDGE, EDGE, NO_CELL)
        if (table.edge == part).any()
    ]
    return found


def chances(table: pd.DataFrame) -> dict[str, float]:
    """By each of FACTS and `edge`, in what share of SHUFFLES its parts differ as much in their mistakes, 0…1; 1 where
    there is one part or no mistake.

    A shuffle deals the photos' shares of wrong pictures anew among the photos of each class, and which of a photo's
    copies are wrong. What is compared is the sum over the parts of (wrong - expected)² / expected, `expected` being
    what their mix of classes makes likely.
    """
    edge = pd.Categorical(table.edge, categories=[NO_EDGE, EDGE, NO_CELL]).codes.astype(np.int64)
    numbers = {fact: _parts(table[fact].to_numpy(np.float64)) for fact in FACTS} | {"edge": edge}
    inside = [parts == part for parts in numbers.values() for part in range(parts.max() + 1)]
    facts = [fact for fact, parts in numbers.items() for _ in range(parts.max() + 1)]
    wrong = (table.label != table.predicted).to_numpy(np.float64)
    if not inside or not wrong.any():
        return dict.fromkeys(numbers, 1.0)
    of_part = np.column_stack(inside).astype(np.float64)
    expected = np.maximum(_expected(table).to_numpy() @ of_part, np.finfo(np.float64).tiny)
    of_fact = np.array([[each == fact for fact in numbers] for each in facts], np.float64)

    def apart(mistakes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return ((mistakes @ of_part - expected) ** 2 / expected) @ of_fact

    units, names = pd.factorize(pd.MultiIndex.from_arrays([table.photo, table.label]))
    shares = np.bincount(units, wrong) / np.bincount(units)
    of_class = [np.flatnonzero(names.get_level_values(1) == label) for label in names.unique(1)]
    seen, rng = apart(wrong[None]) * (1 - 1e-9), np.random.default_rng(0)  # an equal one counts, whatever was rounded
    as_far = np.zeros(len(numbers))
    for _ in range(SHUFFLES // AT_ONCE):
        dealt = np.empty((AT_ONCE, len(shares)))
        for own in of_class:
            dealt[:, own] = rng.permuted(np.tile(shares[own], (AT_ONCE, 1)), axis=1)
        as_far += (apart(rng.random((AT_ONCE, len(wrong))) < dealt[:, units]) >= seen).sum(axis=0)
    return {
        fact: float((1 + far) / (1 + SHUFFLES)) if facts.count(fact) > 1 else 1.0
        for fact, far in zip(numbers, as_far, strict=True)
    }


def by_photo(table: pd.DataFrame) -> pd.DataFrame:
    """How many of each photo's pictures are wrong, the most wrong pictures first.

    photo, label, pictures, wrong, rate, low, high (exact limits at 95% for further copies of the same photo, taken for
    independent: they don't tell of other photos), and `answer`, the commonest wrong one.
    """
    rows = []
    for photo, own in table.assign(error=table.label != table.predicted).groupby("photo"):
        wrong = own[own.error]
        low, high = exact_binomial(len(wrong), len(own))
        rows.append(
            {
                "photo": photo, "label": own.label.mode().iloc[0], "pictures": len(own), "wrong": len(wrong),
                "rate": len(wrong) / len(own), "low": low, "high": high,
                "answer": wrong.predicted.mode().iloc[0] if len(wrong) else None,
            }
        )  # fmt: skip
    columns = ["photo", "label", "pictures", "wrong", "rate", "low", "high", "answer"]
    told = pd.DataFrame(rows, columns=columns)
    told["answer"] = pd.Series([row["answer"] for row in rows], dtype=object)  # None where there is none, and no NaN
    return told.sort_values(["wrong", "rate", "photo"], ascending=[False, False, True], ignore_index=True)


def in_words(table: pd.DataFrame, rates: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Sentences for people: the main confusions, in how few photos mistakes gather, and what they depend on, by the
    table's `error_rates`."""
    wrong = table[table.label != table.predicted]
    if wrong.empty:
        return ["There is no mistake to learn from."]
    return [*_confusions(table, wrong), _gathering(wrong), *_differences(rates, chances(table))]


def _confusions(table: pd.DataFrame, wrong: pd.DataFrame) -> list[str]:
    pairs = wrong.groupby(["label", "predicted"]).agg(pictures=("image_id", "size"), photos=("photo", "nunique"))
    pairs = pairs.reset_index().sort_values(
        ["photos", "pictures", "label", "predicted"], ascending=[False, False, True, True]
    )
    lines = []
    for label, predicted, pictures, photos in pairs.head(MOST_CONFUSIONS).itertuples(index=False):
        of = table[table.label == label].photo.nunique()
        low, high = exact_binomial(photos, of)
        behind = f"one picture or more of {photos:,} of its {counted(of, unit_of(table))}"
        if table.source_photo.isna().all():
            behind = f"{photos:,} of its {counted(of, 'picture')}"
        lines.append(
            f"{pretty(label)} is called {pretty(predicted)} in {behind} "
            f"({low:.0%} to {high:.0%} at 95%), {pictures / len(wrong):.0%} of all mistakes."
        )
    return lines


def _gathering(wrong: pd.DataFrame) -> str:
    of_photo = wrong.photo.value_counts()
    few = int((of_photo.cumsum() < len(wrong) / 2).sum()) + 1
    if len(wrong) == 1:
        return "There is one mistake."
    if wrong.source_photo.isna().all():
        return f"{capitalised(PHOTOS_UNKNOWN)}."
    half = f"Half of the {len(wrong):,} mistakes are"
    if not copies_of(wrong).all():  # of patients, slides or pictures that cells were cut from
        return f"{half} of {counted(few, 'group')}; {_have_any(len(of_photo), 'group')}."
    return f"{half} copies of {counted(few, 'photo')}; {_have_any(len(of_photo), 'photo')}."


def _have_any(number: int, unit: str) -> str:
    return f"{counted(number, unit)} {'has' if number == 1 else 'have'} any"


def _differences(rates: Mapping[str, list[dict[str, Any]]], chances: Mapping[str, float]) -> list[str]:
    """A sentence for each fact whose bins differ by more than chance, and one for the others."""
    lines, untold = [], []
    for fact, parts in rates.items():
        title = FACTS[fact][0] if fact in FACTS else "how much of the cell is in the picture"
        worst = max(parts, key=lambda part: part["rate"], default=None)
        best = min(parts, key=lambda part: part["rate"], default=None)
        if not worst or not best or chances[fact] > BEYOND_CHANCE / len(rates):
            untold.append(title)
            continue
        lines.append(
            f"By {title}: {_told(worst)} are wrong most often, {_rate_words(worst)}, against {_rate_words(best)} of "
            f"{_told(best)}; by their mix of classes alone {worst['expected']:.0%} and {best['expected']:.0%} would be."
        )
    if untold:
        lines.append(f"This data can't tell that mistakes go with {', '.join(untold)}.")
    return lines


def _rate_words(part: dict[str, Any]) -> str:
    limits = "{:.0%} to {:.0%}".format(*part["interval"]) if part["interval"] else "no interval"
    return f"{part['rate']:.0%} ({limits})"


def _told(part: dict[str, Any]) -> str:
    """A part of the pictures in words: 'the blurred quarter', 'those where the cell is whole'."""
    if part["low"] is None:
        return f"those where {part['part']}"
    return f"pictures from {part['low']:.3g} to {part['high']:.3g} ({part['part']})"


def _expected(table: pd.DataFrame) -> pd.Series:
    """(N,) how often pictures of each one's class are wrong."""
    return (table.label != table.predicted).groupby(table.label).transform("mean")


def _parts(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The part of each value, 0 the lowest; -1 where it isn't known. Equal values are in one part."""
    known = ~np.isnan(values)
    parts = np.full(len(values), -1, dtype=np.int64)
    if len(np.unique(values[known])) > 1:
        limits = np.unique(np.quantile(values[known], np.arange(1, PARTS) / PARTS))
        parts[known] = np.unique(np.searchsorted(limits, values[known], side="right"), return_inverse=True)[1]
    return parts


def _rate(own: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    own = own.assign(source_photo=own.photo)
    labels, probabilities, photos, _ = arrays_of(own, classes)
    wrong = (own.label != own.predicted).to_numpy()
    drawn = draw_photos(labels, photos, len(classes))
    limits = None
    if drawn is not None:
        count = drawn.multiplicities.shape[1]
        of_photo = np.bincount(drawn.photo_numbers, minlength=count)
        wrong_of_photo = np.bincount(drawn.photo_numbers, weights=wrong, minlength=count)
        rates = (drawn.multiplicities @ wrong_of_photo) / (drawn.multiplicities @ of_photo)
        limits = drawn.share_interval(wrong, np.ones(len(own), dtype=np.bool_), rates)
    return {
        "pictures": len(own),
        "photos": int(own.photo.nunique()),
        "wrong": int(wrong.sum()),
        "rate": float(wrong.mean()),
        "interval": limits,
        "expected": float(own.expected.mean()),
        "by_photo": photo_accuracy(labels, probabilities, photos) if one_answer_a_photo(own) else None,
        "image_ids": own.image_id[wrong].tolist(),
    }
