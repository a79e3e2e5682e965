"""Titles and tags that people give to runs and datasets, kept beside their folders and not in them.

A run's folder is never written to again and other files refer to its name, so neither is touched: a new title changes
what is shown and nothing else. Bundled runs can be given titles and tags, too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from filelock import FileLock

from bloodcell_core import disk, workspace
from bloodcell_core.errors import LabError

MOST_TITLE = 80  # characters
MOST_TAG = 30
MOST_TAGS = 12


@dataclass(frozen=True)
class Notes:
    """A title, "" for none, and tags in alphabetical order."""

    title: str = ""
    tags: tuple[str, ...] = ()
    problem: str = ""
    """Why they can't be read, else ""; a new title or new tags replace the damaged file."""


def read(kind: str, name: str) -> Notes:
    """The notes of a "run" or "dataset" (`kind`). A damaged file is reported in `problem` and not raised."""
    file = workspace.notes_file(kind, name)
    if not disk.may_be_there(file):
        return Notes()
    try:
        kept = disk.read_json(file)
        return Notes(clean(kept["title"], MOST_TITLE, "title"), clean_tags([*kept["tags"]]))
    except (LabError, KeyError, TypeError):
        return Notes(
            problem=f"the title and tags of {kind} {name!r} can't be read ({file.name} is damaged): give new ones"
        )


def rename(kind: str, name: str, title: str) -> Notes:
    """Sets the title, or with "" removes it; LabError as `clean`. The folder keeps its name."""
    return _change(kind, name, title=clean(title, MOST_TITLE, "title"))


def tag(kind: str, name: str, tags: Iterable[str]) -> Notes:
    """Replaces the tags, also by none; LabError as `clean_tags`."""
    return _change(kind, name, tags=clean_tags(tags))


def forget(kind: str, name: str) -> None:
    """Deletes the notes of a deleted run or dataset: another of the same name must not inherit them."""
    workspace.notes_file(kind, name).unlink(missing_ok=True)


def _change(kind: str, name: str, **changes: str | tuple[str, ...]) -> Notes:
    with FileLock(workspace.lock_file("notes")):  # two people may change the title and the tags at once
        notes = replace(read(kind, name), problem="", **changes)  # type: ignore[arg-type]
        disk.write_json(workspace.notes_file(kind, name), {"title": notes.title, "tags": list(notes.tags)})
    return notes


def clean(text: str, most: int, what: str) -> str:
    """Text in the form in which it is kept: NFC, white space collapsed to single spaces, none at the ends.

    LabError (which calls the text `what`) where it is longer than `most` characters or holds an invisible one, such as
    a control character or one that changes the direction of writing: it would let one name look like another.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if len(text) > most:
        raise LabError(f"a {what} has at most {most} characters, and this one {len(text)}")
    unseen = next((char for char in text if unicodedata.category(char).startswith("C")), None)
    if unseen is not None:
        raise LabError(f"a {what} can't hold the character U+{ord(unseen):04X}, which can't be seen")
    return text


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags in the form in which they are kept: `clean`, NFKC and lower case, so that tags that read alike are one.

    LabError where one is too long or has an invisible character, or there are more than `MOST_TAGS`.
    """
    kept = {clean(unicodedata.normalize("NFKC", text).casefold(), MOST_TAG, "tag") for text in tags} - {""}
    if len(kept) > MOST_TAGS:
        raise LabError(f"there can be at most {MOST_TAGS} tags, not {len(kept)}")
    return tuple(sorted(kept))
