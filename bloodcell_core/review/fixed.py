"""Fixed and broken: which mistakes a second run no longer makes, and which are new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bloodcell_core.evaluation.comparison import Side, compare_sides, picture_outcomes, why_not
from bloodcell_core.evaluation.figures import gain_words, signed
from bloodcell_core.evaluation.scoring import flattered
from bloodcell_core.labels.overlays import Overlay


@dataclass(frozen=True)
class Change:
    """What changed from one run to another on the same test pictures."""

    before: str
    after: str
    fixed: pd.DataFrame
    """Pictures that only the run after is right on: image_id, photo, label, and the answers before and after."""
    broken: pd.DataFrame
    """Pictures that only the run before was right on; same columns."""
    still: pd.DataFrame
    """Pictures that both are wrong on; same columns."""
    comparison: dict[str, Any]
    """`compare_sides` of before (a) and after (b), with paired intervals. Its notes say which of the two the reviewed
    labels flatter."""

    def in_words(self) -> str:
        """One sentence: how many were fixed and broken, and whether that tells the two apart."""
        right = self.comparison["right"]
        unit, limits = right["unit"], right["interval"]
        fixed, broken = right["only_b"], right["only_a"]
        head = f"Of {right['of']:,} {unit} {fixed:,} were fixed and {broken:,} broken"
        if limits is None:
            return f"{head}; there are too few photos for an interval."
        told = {"b": "the run after is better", "a": "the run before is better"}.get(
            self.comparison["better"], "this data can't tell them apart"
        )
        figures = f"{signed(right['difference'])}, 95% interval {gain_words(limits)}"
        why = why_not(right)
        return f"{head}: {figures}{f', {why}' if why else ''}; {told}."


def fixed_and_broken(before: Side, after: Side, overlay: Overlay | None = None) -> Change:
    """What a run `after` got right that `before` did not, and the other way round, on their test pictures.

    On the dataset's own labels, or with an `overlay` on reviewed ones. LabError where the two can't be compared, or
    the overlay is of another dataset.
    """
    notes = []
    if overlay:
        own = before, after
        before, after = (side.relabelled(overlay) for side in own)
        for side, on_labels in zip(own, (before, after), strict=True):
            notes += [f"{side.name}: {words}" for words in flattered(side.table, on_labels.table)]
    comparison = compare_sides(before, after)
    outcomes = picture_outcomes(before, after)
    table = before.table.assign(photo=before.table.source_photo.fillna(before.table.image_id))
    answers = after.table.set_index("image_id").predicted
    told = pd.DataFrame(
        {
            "image_id": table.image_id.to_numpy(),
            "photo": table.photo.to_numpy(),
            "label": table.label.to_numpy(),
            "before": table.predicted.to_numpy(),
            "after": answers.loc[table.image_id].to_numpy(),
        }
    )
    which = outcomes.loc[told.image_id].to_numpy()
    parts = {
        outcome: told[which == outcome].sort_values(["label", "photo", "image_id"], ignore_index=True)
        for outcome in ("only_b", "only_a", "neither")
    }
    comparison |= {"notes": comparison["notes"] + notes}
    return Change(before.name, after.name, parts["only_b"], parts["only_a"], parts["neither"], comparison)
