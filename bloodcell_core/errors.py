"""Errors as people read them: the one exception whose text is meant for them, and the system's refusals in words."""

import errno
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """Something the person asked for can't be done; the message says in one line what is wrong and what would work.

    The command line prints it and ends with exit code 2; a page shows it in place. Anything else that is raised
    is a failure of the program itself.
    """


_OTHER_PLACE = "name a place that this account may write to"
_MORE_ROOM = "make room on the disk, or name a place on another"
WHAT_TO_DO = {
    errno.ENOSPC: _MORE_ROOM,
    errno.EDQUOT: _MORE_ROOM,
    errno.EFBIG: _MORE_ROOM,
    errno.EROFS: _OTHER_PLACE,
    errno.EACCES: "let this account read and write there, or name another place",
    errno.EPERM: _OTHER_PLACE,
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "a part of the path is a file: name another place",
    errno.EEXIST: "name another place",
    errno.ENAMETOOLONG: "give a shorter one",
    errno.ENOENT: "name a place that is there",
    errno.ELOOP: "mend the link, or name another place",
}
"""What helps where the system refuses, by its number: what the person who asked can change."""


def refusal(error: OSError) -> str:
    """What the system refused and what helps, in words: without its number, which says nothing to a person."""
    named = error.filename2 if error.filename2 is not None else error.filename
    what = f" {os.fspath(named)!r}" if isinstance(named, (str, bytes, os.PathLike)) else ""
    why = error.strerror or str(error)
    helps = f": {WHAT_TO_DO[error.errno]}" if error.errno in WHAT_TO_DO else ""
    return f"the system refused{what}: {why}{helps}"


def brief(error: BaseException, most: int = 120) -> str:
    """The first line of a library's error message, of some `most` characters; the error's type where there is none."""
    text = " ".join((str(error).strip().splitlines() or [""])[0].split()) or type(error).__name__
    if len(text) <= most:
        return text
    whole_words = text[:most].rpartition(" ")[0]
    return f"{whole_words if len(whole_words) > most // 2 else text[:most]} …"


def all_readable(names: Iterable[str], read: Callable[[str], T]) -> tuple[list[T], list[str]]:
    """What `read` gives for each name, and the message of its LabError for each name that it can't be given for."""
    good: list[T] = []
    damaged: list[str] = []
    for name in names:
        try:
            good.append(read(name))
        except LabError as error:
            damaged.append(str(error))
    return good, damaged


def in_words(error: LabError | OSError) -> str:
    """The message for a person of an error that isn't a failure of the program itself."""
    return refusal(error) if isinstance(error, OSError) else str(error)
