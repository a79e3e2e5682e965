"""A dataset's summary, and findings: what stands out in it, each with the pictures that it is about.

Everything is read from the dataset's table: no picture is opened. The kinds of finding are in findings.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.data.findings import FINDINGS, Severity, Table, imbalance, missing

FAMILIES, SIZES = 10, 10  # how many are listed: the largest families, the commonest picture sizes


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
    """The same rows in groups that are shown side by side, such as copies of each other; else empty."""


@dataclass(frozen=True)
class Audit:
    """A dataset's summary and its findings."""

    facts: dict[str, Any]
    """Those of `describe`, and the largest families, class balance, sizes, modes and missing values; JSON-ready."""
    findings: list[Finding]
    """The most severe first."""


def audit(dataset: Dataset) -> Audit:
    """Looks for every kind in `FINDINGS`: a moment for 10,000 pictures, most of a minute for 300,000."""
    table = Table(dataset)
    findings = []
    for kind in FINDINGS.values():
        seen = kind.find(table)
        if seen:
            findings.append(Finding(kind.name, kind.title.format(unit=table.unit), kind.severity, *seen))
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
