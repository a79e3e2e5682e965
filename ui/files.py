"""The files that a component of ours is made of, for the browser: beside the Python that draws it."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def together(*names: str) -> str:
    """The text of these files of `ui/`, one after the other: a module for the browser is several files for us."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
