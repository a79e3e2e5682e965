"""How names and numbers stand in sentences that people read."""

from __future__ import annotations


def pretty(label: str) -> str:
    """The name of a class as people read it: "NEUTROPHIL" → "Neutrophil", "band_cell" → "Band cell"."""
    return " ".join(label.replace("_", " ").split()).capitalize()


def counted(number: int, what: str) -> str:
    """How many there are: "1 photo", "1,200 photos"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
