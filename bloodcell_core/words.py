"""How names and numbers stand in sentences that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

LONGEST_SHORT_FORM = 4  # capitals, as in NRBC: longer ones are a word that somebody wrote in capitals


def pretty(label: str) -> str:
    """The name of a class as people read it: "NEUTROPHIL" → "Neutrophil", "band_cell" → "Band cell"; "NRBC" stays."""
    words = " ".join(label.replace("_", " ").split())
    return words if words.isupper() and len(words) <= LONGEST_SHORT_FORM else words.capitalize()


def titles(labels: Iterable[str]) -> dict[str, str]:
    """`pretty` of each class, by its name; those that would be called alike keep their own: "Blast" and "blast"."""
    called = {label: pretty(label) for label in labels}
    shared = Counter(called.values())
    return {label: name if shared[name] == 1 else label for label, name in called.items()}


def counted(number: int, what: str) -> str:
    """How many there are: "1 photo", "1,200 photos"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def first_of(names: Sequence[str], most: int) -> str:
    """Names in a row, at most so many: "a, b and 58 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
