"""Merged classes, computed from the same predictions: granulocytes against the rest, or any other grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bloodcell_core.data.class_names import is_kind_of
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.predictions import probabilities_of
from bloodcell_core.words import listed

GRANULOCYTES = ("basophil", "eosinophil", "neutrophil", "immature granulocyte")


def merged(
    table: pd.DataFrame, classes: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The same predictions with some classes merged.

    A group's probability is the sum of its classes', and the predicted class is the most probable one after that,
    which need not be the group of the class predicted before.

    Args:
        table: with the columns of predictions.parquet; it isn't changed.
        classes: its classes.
        groups: {new name: the classes merged into it}; classes in no group stay as they are.

    Returns:
        A new table and its classes, each group in the place of its first class.

    Raises:
        LabError: for an unknown class or one in two groups, a name that is taken, or fewer than two classes left.
    """
    group_of = {name: group for group, members in groups.items() for name in members}
    unknown = [name for name in group_of if name not in classes]
    if unknown:
        raise LabError(f"there is no class {unknown[0]!r} to merge: there are {', '.join(classes)}")
    if len(group_of) < sum(len(members) for members in groups.values()):
        raise LabError("a class can be merged into one group only")
    taken = [group for group in groups if group in classes and group_of.get(group) != group]
    if taken:
        raise LabError(f"a group can't be called {taken[0]!r}: a class that isn't in it has that name")
    left = list(dict.fromkeys(group_of.get(name, name) for name in classes))
    if len(left) < 2:
        raise LabError("merged so, there is one class left: at least two are needed")
    shares = probabilities_of(table, classes)
    summed = np.zeros((len(table), len(left)))
    for place, name in enumerate(classes):
        summed[:, left.index(group_of.get(name, name))] += shares[:, place]
    result = table.drop(columns=[f"p_{name}" for name in classes])
    result["label"] = table.label.map(lambda label: group_of.get(label, label))
    result["predicted"] = np.asarray(left, dtype=object)[summed.argmax(1)]
    for place, name in enumerate(left):
        result[f"p_{name}"] = summed[:, place]
    return result, left


def granulocytes(classes: Sequence[str]) -> dict[str, list[str]] | None:
    """The `groups` of `merged` that set granulocytes against the rest; None where the classes have no such halves."""
    inside = [name for name in classes if is_kind_of(name, GRANULOCYTES)]
    rest = [name for name in classes if name not in inside]
    return {"granulocyte": inside, "other": rest} if len(inside) > 1 and rest else None


def groups_from_words(words: Sequence[str], classes: Sequence[str]) -> dict[str, list[str]]:
    """The `groups` of `merged` from what a person typed: `granulocytes`, or NAME=CLASS,CLASS… for each group.

    Raises:
        LabError: for words that are neither, and for `granulocytes` where the classes have no such halves. Whether
            the classes named are there, `merged` tells.
    """
    if list(words) == ["granulocytes"]:
        halves = granulocytes(classes)
        if halves is None:
            raise LabError(f"there are no granulocytes to set against others among {', '.join(classes)}")
        return halves
    groups: dict[str, list[str]] = {}
    for word in words:
        name, _, members = word.partition("=")
        named = listed(members)
        if not name.strip() or not named or name.strip() in groups:
            raise LabError(f"classes are merged by `granulocytes`, or by NAME=CLASS,CLASS once a name, not by {word!r}")
        groups[name.strip()] = named
    return groups
