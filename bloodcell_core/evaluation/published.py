"""What the original analysis reports for its networks, as a reference row beside a lab's own figures.

It gives neither interval nor the number of source photos, and doesn't say on which pictures its best epoch was
chosen; docs/original-analysis.md tells what is known of it.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A row of published figures; shares, 0…1."""

    title: str
    accuracy: float
    f1_macro: float
    auc_ovr: float


PUBLISHED = (
    Published("CNN, original analysis", 0.8082, 0.8108, 0.9630),
    Published("ResNet-18, original analysis", 0.4326, 0.4351, 0.7079),
)
PUBLISHED_FORMAT = "blood-cell-images"
"""The dataset format whose official test split these figures are about."""
