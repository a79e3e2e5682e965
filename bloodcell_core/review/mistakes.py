"""Which pictures a run got wrong, the most confident mistakes first. Pure functions on a table of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def mistakes(
    table: pd.DataFrame, classes: Sequence[str], split: str = "test", pair: tuple[str, str] | None = None
) -> pd.DataFrame:
    """The wrongly classified rows of a table of predictions, most confident first.

    Adds `confidence`, the probability (0…1) of the predicted class. `pair` keeps (true, predicted) alone. Ties
    stand in the order of image_id, so that a page of the list shows the same pictures each time.
    """
    wrong = table[(table.split == split) & (table.label != table.predicted)]
    if pair:
        wrong = wrong[(wrong.label == pair[0]) & (wrong.predicted == pair[1])]
    confidence = wrong[[f"p_{name}" for name in classes]].max(axis=1)
    return (
        wrong.assign(confidence=confidence)
        .sort_values(["confidence", "image_id"], ascending=[False, True])
        .reset_index(drop=True)
    )


def confusion_pairs(wrong: pd.DataFrame) -> pd.DataFrame:
    """How often each (label, predicted) pair occurs among mistakes, most frequent first: label, predicted, count."""
    counted = wrong.groupby(["label", "predicted"]).size().rename("count").reset_index()
    return counted.sort_values(["count", "label", "predicted"], ascending=[False, True, True]).reset_index(
        drop=True
    )
