"""Files that a person might hand in by mistake, and some that nobody would by mistake: made by a seeded script.

Nothing of it is kept in the repository. Each file is told by its name, its bytes (or what makes it, for what is no
plain file), and what must become of it: a class, a refusal, or either where a decoder may well make sense of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.hostile import bombs, names, pictures, zips
from tests.hostile.kit import Hostile


@cache
def corpus() -> list[Hostile]:
    """All of it but the zips."""
    return made()


def made(seed: int = 0) -> list[Hostile]:
    """As `corpus`, made anew."""
    rng = np.random.default_rng(seed)
    return [*pictures.all_of(rng), *bombs.all_of(), *names.odd_names(), *names.no_plain_files()]


@cache
def packed() -> list[Hostile]:
    """The zips."""
    return zips.all_of()
