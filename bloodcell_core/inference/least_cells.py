"""How many labelled cells are needed, and how many advised, to adapt a run. Imports nothing heavy, for the pages."""

from __future__ import annotations

from collections.abc import Mapping

LEAST_CELLS, LEAST_OF_CLASS = 40, 5
WANTED_CELLS = 100
ONE_PICTURE = "all cells are of one photo: the gain can't be tested, so label some of another one, too"


def too_few(counts: Mapping[str, int]) -> str:
    """Why labelled cells (class → number, which may be 0) are too few to adapt a run to; "" where they aren't."""
    counts = {name: count for name, count in counts.items() if count}
    total, few = sum(counts.values()), {name: count for name, count in counts.items() if count < LEAST_OF_CLASS}
    if total < LEAST_CELLS:
        cells = "1 labelled cell is" if total == 1 else f"{total} labelled cells are"
        return f"{cells} too few to adapt a network: at least {LEAST_CELLS} are needed"
    if len(counts) < 2:
        return "cells of one class alone can't tell classes apart"
    if few:
        words = ", ".join(f"{name} has {count}" for name, count in few.items())
        return f"at least {LEAST_OF_CLASS} cells of a class are needed, and {words}: label more, or leave the class out"
    return ""
