"""What there is to tell of a dataset, and what stands out in it: findings that each name their pictures.

Everything is read from the dataset's table: no picture is opened. What is looked for is in findings.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.data.findings import FINDINGS, Severity, Table, imbalance, missing

FAMILIES, SIZES = 10, 10  # that are listed: the largest, the commonest


@dataclass(frozen=True)
class Finding:
    """Something that stands out, and the pictures that it is about."""

    name: str
    title: str
    severity: Severity
    words: str
    """A sentence or two with the figures."""
    rows: list[int]
    """Its pictures: row numbers of `dataset.images`."""
    groups: list[list[int]]
    """The same rows where some belong side by side, as copies of each other do; else empty."""


@dataclass(frozen=True)
class Audit:
    """What there is to tell of a dataset, and what stands out in it."""

    facts: dict[str, Any]
    """What `describe` tells and more; JSON-ready."""
    findings: list[Finding]
    """The loudest first."""


def audit(dataset: Dataset) -> Audit:
    """Looks for everything in `FINDINGS`; a moment for 10,000 pictures, most of a minute for 300,000."""
    table = Table(dataset)
    findings = []
    for kind in FINDINGS.values():
        seen = kind.look(table)
        if seen:
            findings.append(Finding(kind.name, kind.title, kind.severity, *seen))
    return Audit(_facts(table), findings)


def _facts(table: Table) -> dict[str, Any]:
    usable = table.usable
    counts = table.units_by_class(usable)
    copies = table.traced.source_photo.value_counts()
    largest = copies.index[copies > 1][:FAMILIES]
    sizes = (usable.width.astype(str) + "×" + usable.height.astype(str)).value_counts()
    return describe(table.dataset) | {
        "largest_families": [_family(table.traced[table.traced.source_photo == photo]) for photo in largest],
        "balance": {"of": f"{table.unit}s", "by_class": counts, "ratio": imbalance(counts)},
        "sizes": sizes.head(SIZES).to_dict(),
        "modes": usable["mode"].value_counts().to_dict(),
        "missing": {column: int(missing(usable[column]).sum()) for column in ("label", "source_photo", "box_x0")},
    }


def _family(copies: pd.DataFrame) -> dict[str, Any]:
    return {
        "photo": copies.source_photo.iloc[0],
        "pictures": len(copies),
        "labels": sorted(copies.label.unique()),
        "splits": sorted(copies.split.unique()),
    }
