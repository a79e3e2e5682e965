"""A slide: pictures uploaded to be classified together, and a person's corrections, in a folder.

    slides/<id>/slide.json       its name, run, pictures, corrections; `version` counts its changes
                pictures/        as they were handed in, under names made from their content
                answers/         see slide_answers.py

slide.json is read, changed and written back under a lock, so that two windows, or two people, don't overwrite each
other's changes: someone who saw an older version than the one on disk may still change what nobody else has touched
since; otherwise the change is refused. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from bloodcell_core import disk, workspace
from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.errors import LabError
from bloodcell_core.inference.handed_in import Handed, why_unreadable
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.smear.corrections import Correction, clash, drawn_id, in_force

SLIDE_VERSION = 1  # of slide.json
MAX_PICTURES = 2000  # of a slide; the command line takes any number
MAX_BYTES = 2 * 2**30  # of a slide's pictures
MAX_NAME, MAX_FILE_NAME = 80, 500  # characters
WAIT = 20.0  # seconds for another window that is writing to the slide


class SlideChangedError(LabError):
    """Someone else has changed the same thing since it was displayed."""


@dataclass(frozen=True)
class SlidePicture:
    """A picture that was handed in."""

    number: int
    """1, 2, … in the order of handing in."""
    file: str
    """Its original name: shown to people, never used as a path."""
    stored: str = ""
    """Its name in the folder `pictures`; empty where it couldn't be read, or is a duplicate."""
    reason: str = ""
    """Why it isn't stored; empty where it is."""
    bytes: int = 0


@dataclass(frozen=True)
class Slide:
    """A slide as it was at one version."""

    id: str
    name: str
    run: str
    """The run that answers for it."""
    created: str
    version: int
    pictures: tuple[SlidePicture, ...]
    corrections: tuple[Correction, ...]
    synthetic: bool = False
    """Example pictures, drawn by this program."""

    @property
    def folder(self) -> Path:
        """Where it lies in the workspace."""
        return workspace.slide_dir(self.id)

    def read(self, picture: SlidePicture) -> bytes:
        """The bytes of one of its pictures; LabError where there are none."""
        if not picture.stored:
            raise LabError(picture.reason)
        try:
            return (self.folder / "pictures" / picture.stored).read_bytes()
        except OSError as error:
            raise LabError(f"its file can't be read any more: {error.strerror}") from None

    @cached_property
    def _in_force(self) -> dict[int, list[Correction]]:
        by_picture: dict[int, list[Correction]] = {}
        for one in in_force(self.corrections):
            by_picture.setdefault(one.picture, []).append(one)
        return by_picture

    def corrections_of(self, number: int) -> list[Correction]:
        """Those of one picture that were not undone, oldest first."""
        return self._in_force.get(number, [])

    @property
    def corrections_in_force(self) -> int:
        """How many corrections were not undone; an undo isn't one."""
        return sum(map(len, self._in_force.values()))

    @property
    def last_change(self) -> int | None:
        """The version that an undo would take back; None where there is nothing to undo."""
        return max((one.version for ones in self._in_force.values() for one in ones), default=None)

    def to_json(self) -> dict[str, Any]:
        """What slide.json holds."""
        return {
            "schema_version": SLIDE_VERSION, "name": self.name, "run": self.run, "created": self.created,
            "version": self.version, "synthetic": self.synthetic,
            "pictures": [{k: v for k, v in asdict(picture).items() if v not in ("", 0)} for picture in self.pictures],
            "corrections": [one.to_json() for one in self.corrections],
        }  # fmt: skip


# Reading


def read_slide(slide: str) -> Slide:
    """The slide of that id as it stands; LabError where there is none or its slide.json is damaged."""
    told = disk.read_json(_folder_of(slide) / "slide.json")
    if not isinstance(told, dict) or told.get("schema_version") != SLIDE_VERSION:
        raise LabError(f"slide {slide!r} was made by another version of this program and can't be read")
    try:
        return _checked(slide, told)
    except (LabError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabError(f"slide {slide!r} can't be read, its slide.json is damaged: {error}") from None


def _folder_of(slide: str) -> Path:
    """A slide's folder; LabError where there is none."""
    folder = workspace.slide_dir(slide)
    if not folder.is_dir():
        raise LabError(f"there is no slide {slide!r}: it may have been deleted")
    return folder


def _checked(slide: str, recorded: dict[str, Any]) -> Slide:
    pictures = tuple(SlidePicture(**picture) for picture in recorded["pictures"])
    texts = (recorded["name"], recorded["run"], recorded["created"])
    texts += tuple(text for picture in pictures for text in (picture.file, picture.stored, picture.reason))
    datetime.fromisoformat(recorded["created"])  # ValueError: pages sort and tell by it
    numbers = (recorded["version"], *(number for picture in pictures for number in (picture.number, picture.bytes)))
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("a text or a number is none")
    if [picture.number for picture in pictures] != list(range(1, len(pictures) + 1)):
        raise ValueError("its pictures aren't numbered 1, 2, …")
    if any(picture.stored != PurePosixPath(picture.stored).name for picture in pictures if picture.stored):
        raise ValueError("a picture's stored name is a path")
    corrections = tuple(Correction.from_json(one) for one in recorded["corrections"])
    name, run, created = texts[:3]
    return Slide(slide, name, run, created, recorded["version"], pictures, corrections, bool(recorded["synthetic"]))


def listed() -> tuple[list[Slide], dict[str, str]]:
    """The slides that can be read, newest first, and {id: why} of those that can't."""
    folder = workspace.slides_dir()
    good: list[Slide] = []
    damaged: dict[str, str] = {}
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        if not workspace.NAME_PATTERN.fullmatch(path.name):
            continue  # one that is being made
        try:
            good.append(read_slide(path.name))
        except LabError as error:
            if path.exists():  # not deleted meanwhile
                damaged[path.name] = str(error)
    return good, damaged


# Writing


def create(
    name: str, run: str, handed: Iterable[Handed], synthetic: bool = False, progress: Progress = no_progress
) -> Slide:
    """A new slide of the pictures handed in. It appears whole or not at all; LabError where it can't be written."""
    slide = workspace.dated_name()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    final = workspace.slide_dir(slide)
    with _told("the slide can't be kept"):
        with disk.new_folder(final) as folder:
            (folder / "pictures").mkdir()
            pictures = _take_in(folder / "pictures", (), handed, progress)
            if not pictures:
                raise LabError("nothing was handed in: the folder or zip is empty")
            made = Slide(slide, tidy_name(name), run, created, 1, pictures, (), synthetic)
            disk.write_json(folder / "slide.json", made.to_json())
    return made


def add_pictures(seen: Slide, handed: Iterable[Handed], progress: Progress = no_progress) -> Slide:
    """Adds pictures to a slide; duplicates are marked as such and counted once."""
    with _told("the pictures can't be kept"), _locked(seen.id):
        now = read_slide(seen.id)
        pictures = _take_in(now.folder / "pictures", now.pictures, handed, progress)
        return _write(replace(now, pictures=pictures))


def rename(seen: Slide, name: str) -> Slide:
    """Renames a slide; SlideChangedError where another window has done so since `seen`."""
    with _told("the name can't be kept"), _locked(seen.id):
        now = read_slide(seen.id)
        if now.name != seen.name:
            raise SlideChangedError(f"the slide was renamed to {now.name!r} in another window: look at it again")
        return _write(replace(now, name=tidy_name(name)))


def choose_run(seen: Slide, run: str) -> Slide:
    """Makes another run answer for the slide; corrections stay."""
    with _told("the choice can't be kept"), _locked(seen.id):
        now = read_slide(seen.id)
        return now if now.run == run else _write(replace(now, run=run))


def correct(seen: Slide, changes: Sequence[Correction]) -> Slide:
    """Applies changes, all as one new version of the slide, and returns the new slide.

    A drawn cell's id is given here, whatever the change calls it. Raises SlideChangedError, and changes nothing, where
    another window changed one of the same cells since the version that was `seen`.
    """
    with _told("the correction can't be kept"), _locked(seen.id):
        now = read_slide(seen.id)
        if clash(changes, (one for one in now.corrections if one.version > seen.version)):
            raise SlideChangedError(
                "the same was changed in another window since: what was done there is shown now, and nothing is lost. "
                "Make your change again where it still holds"
            )
        numbers = {picture.number for picture in now.pictures}
        if not all(one.picture in numbers for one in changes):
            raise LabError("there is no such picture on this slide")
        version, at = now.version + 1, datetime.now(UTC).isoformat(timespec="seconds")
        made = [
            replace(one, version=version, at=at, cell=drawn_id(version, place) if one.do == "add" else one.cell)
            for place, one in enumerate(changes)
        ]
        return _write(replace(now, corrections=(*now.corrections, *made)))


def undo(seen: Slide) -> Slide:
    """Takes back the last correction; LabError where there is none."""
    if seen.last_change is None:
        raise LabError("there is nothing to undo")
    (first, *_) = [one for one in seen.corrections if one.version == seen.last_change]
    return correct(seen, [Correction(first.picture, "undo", of=seen.last_change)])


def remove(slide: str) -> None:
    """Deletes a slide with its pictures and corrections, even one that can't be read."""
    folder = workspace.slide_dir(slide)
    with _told("the slide can't be deleted"), _locked(slide):
        disk.discard(folder)  # at once: another window may be writing answers into it


def tidy_name(name: str) -> str:
    """A slide's name on one line, without control characters; LabError where that leaves nothing."""
    tidy = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())[:MAX_NAME].strip()
    if not tidy:
        raise LabError("a slide needs a name")
    return tidy


def _write(slide: Slide) -> Slide:
    written = replace(slide, version=slide.version + 1)
    disk.write_json(written.folder / "slide.json", written.to_json())
    return written


def _take_in(
    folder: Path, there: tuple[SlidePicture, ...], handed: Iterable[Handed], progress: Progress
) -> tuple[SlidePicture, ...]:
    """Stores uploaded pictures after those that are `there`; LabError where they are too many or too large."""
    remaining = iter(handed)
    waiting = list(islice(remaining, MAX_PICTURES - len(there)))
    if more := sum(1 for _ in remaining):  # counted, not kept: a zip may list half a million
        raise LabError(
            f"{len(there) + len(waiting) + more:,} pictures are more than the {MAX_PICTURES:,} that a slide may hold: "
            "hand in a part of them, or take the command line's `predict`, which takes any number"
        )
    pictures = list(there)
    try:
        for done, (file, read) in enumerate(waiting, 1):
            pictures.append(_store(folder, pictures, file, read))
            progress(done, len(waiting))
    except BaseException:
        for picture in pictures[len(there) :]:
            if picture.stored:
                (folder / picture.stored).unlink(missing_ok=True)
        raise
    return tuple(pictures)


def _store(folder: Path, there: Sequence[SlidePicture], file: str, read: Callable[[], bytes]) -> SlidePicture:
    number, file = len(there) + 1, file[-MAX_FILE_NAME:].encode("utf-8", "replace").decode()
    try:
        data = read()
    except (LabError, OSError) as error:
        return SlidePicture(number, file, reason=why_unreadable(error))
    if sum(picture.bytes for picture in there) + len(data) > MAX_BYTES:
        raise LabError(
            f"these pictures are more than the {MAX_BYTES / 2**30:.0f} GiB that a slide may hold: "
            "hand in a part of them"
        )
    suffix = PurePosixPath(file).suffix.lower()
    stored = hashlib.sha256(data).hexdigest()[:32] + (suffix if suffix in SUFFIXES else ".bin")
    same = next((picture for picture in there if picture.stored[:32] == stored[:32]), None)
    if same:
        reason = f"the very same picture as number {same.number} ({same.file}): it is counted once"
        return SlidePicture(number, file, reason=reason)
    with disk.write_atomic(folder / stored) as temporary:
        temporary.write_bytes(data)
    return SlidePicture(number, file, stored, bytes=len(data))


@contextmanager
def _locked(slide: str) -> Iterator[None]:
    """Keeps other windows, and other programs, from writing to a slide."""
    _folder_of(slide)
    try:
        with FileLock(workspace.lock_file(f"slide-{slide}"), timeout=WAIT):
            yield
    except TimeoutError:
        raise LabError("another window is writing to this slide: try again in a moment") from None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns an OSError (disk full, read-only, no permission) into a LabError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise LabError(f"{what}: {error.strerror or error}. Nothing was changed") from None
