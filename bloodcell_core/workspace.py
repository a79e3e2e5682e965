"""Where things lie on disk: the only module that builds a path below the workspace.

    datasets/<name>/dataset.json, images.parquet, originals/, views/
    runs/<run>/config.json, status.json, metrics.jsonl, worker.log, model.safetensors, checkpoint.pt,
               predictions.parquet, summary.json
    groups/<group>.json
    likeness/<run>.safetensors   of runs without one of their own: adapted ones, and those of another version
    notes/runs/<run>.json, notes/datasets/<name>.json   titles and tags that people gave
    imports/<import>/request.json, status.json, worker.log, and what was uploaded
    adaptations/<adaptation>/request.json, status.json, worker.log
    searches/<study>/status.json, worker.log
    slides/<slide>/slide.json, pictures/, answers/<run and options>.jsonl
    downloads/<name>/
    locks/
    lab.sqlite
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_core.disk import expanded, may_be_there
from bloodcell_core.errors import LabError

SCHEMA_VERSION = 1  # of a run's config.json
DATASET_VERSION = 2  # of dataset.json and images.parquet; 2 has the facts of each picture
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
AFTER_THE_TIME = re.compile(r"\d{8}-\d{6}-")  # begins a `dated_name`
FOLDERS = (
    "datasets", "runs", "groups", "likeness", "notes", "notes/runs", "notes/datasets", "imports", "adaptations",
    "searches", "slides", "downloads", "locks",
)  # fmt: skip
LEAST_ROOM = 2**20  # free bytes below which a disk counts as full: SQLite alone needs some
LONGEST_MIDDLE = 42  # letters of a `dated_name` between its time and its end: all of it may have 64


def home() -> Path:
    """`$BLOODCELL_HOME`, or `workspace/` beside the app. Not created until something is written.

    LabError for the `~` of a user who isn't there, and for a path that isn't valid UTF-8: neither tables, nor weights,
    nor the database can lie there.
    """
    chosen = os.environ.get("BLOODCELL_HOME")
    path = (
        Path(os.path.realpath(expanded(chosen)))  # `resolve` raises for links in a ring
        if chosen
        else Path(__file__).resolve().parent.parent / "workspace"
    )
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise LabError(
            f"the workspace can't lie in {os.fsencode(path)!r}, which isn't valid UTF-8: rename that folder, or set "
            "BLOODCELL_HOME to another"
        ) from None
    return path


def check_name(name: str, what: str) -> str:
    """`name` where it is safe as a folder's name, else LabError."""
    if not NAME_PATTERN.fullmatch(name):
        raise LabError(
            f"{name[:80]!r} can't name {'an' if what[0] in 'aeiou' else 'a'} {what}: "
            "use up to 64 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    return name


def find_name(reference: str, names: Iterable[str], kinds: tuple[str, str], listing: str) -> str:
    """The one of `names` that is `reference`, or else the only one that begins with it.

    LabError where none or several do. `kinds` are the words for one and for several of what has these names; `listing`
    says how to see which there are.
    """
    matches = [name for name in names if name.startswith(reference)] if reference else []
    if reference in matches or len(matches) == 1:
        return reference if reference in matches else matches[0]
    if not matches:
        raise LabError(f"there is no {kinds[0]} {reference!r}: {listing}")
    several = f"{reference!r} begins the names of {len(matches)} {kinds[1]}"
    raise LabError(f"{several}: give more of it ({', '.join(matches[:3])} …)")


def slug(text: str) -> str:
    """A safe name close to any text: 'Blood Cells (1).zip' → 'blood-cells-1-.zip', without odd ends."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:64] or "dataset"


def dated_name(what: str = "") -> str:
    """A new name with the time and what it is of, '20260131-235959-cell_net-1f3a': such names sort by age."""
    middle = f"{slug(what)[:LONGEST_MIDDLE]}-" if what else ""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{middle}{secrets.token_hex(2)}"


def short_name(name: str) -> str:
    """A short name that tells a run from others: the end of a `dated_name`, or the whole name that a person gave."""
    return name[-4:] if AFTER_THE_TIME.match(name) else name


def datasets_dir() -> Path:
    """A folder for each dataset."""
    return home() / "datasets"


def dataset_dir(name: str) -> Path:
    """A dataset's folder; LabError where the name can't be one."""
    return datasets_dir() / check_name(name, "dataset")


def view_file(dataset: str, view: str) -> Path:
    """The pixels of a view; its name `view` (`data.views.view_name`) tells all that they depend on."""
    return dataset_dir(dataset) / "views" / f"{view}.npy"


def downloads_dir() -> Path:
    """A folder for each data set that was fetched by name."""
    return home() / "downloads"


def runs_dir() -> Path:
    """A folder for each run that was made here."""
    return home() / "runs"


def run_dir(run: str) -> Path:
    """A run's folder; LabError where the name can't be one."""
    return runs_dir() / check_name(run, "run")


def group_file(group: str) -> Path:
    """The figures of a finished cross-validation."""
    return home() / "groups" / f"{check_name(group, 'group')}.json"


def likeness_file(run: str) -> Path:
    """What a run's training cells are like, where its own folder, never written to again, has no usable one."""
    return home() / "likeness" / f"{check_name(run, 'run')}.safetensors"


def notes_file(kind: str, name: str) -> Path:
    """The title and tags of a "run" or "dataset"."""
    return home() / "notes" / f"{kind}s" / f"{check_name(name, kind)}.json"


def imports_dir() -> Path:
    """A folder for each import that runs in a process of its own."""
    return home() / "imports"


def adaptations_dir() -> Path:
    """A folder for each adapting of a run that was asked for on a page."""
    return home() / "adaptations"


def searches_dir() -> Path:
    """A folder for each search that was begun here."""
    return home() / "searches"


def search_dir(study: str) -> Path:
    """The status and log of a search's process; its trials lie in the database."""
    return searches_dir() / check_name(study, "study")


def slides_dir() -> Path:
    """A folder for each slide."""
    return home() / "slides"


def slide_dir(slide: str) -> Path:
    """The pictures of a slide that were handed in to be classified, and what was said of them."""
    return slides_dir() / check_name(slide, "slide")


def database_url() -> str:
    """The database as SQLAlchemy names it: `$BLOODCELL_DB_URL`, or lab.sqlite in the workspace.

    A file of SQLite by its whole path: the processes that are started work in another folder. LabError where the
    workspace's path can't be part of a URL: it would be another file, and nothing would be found in it again.
    """
    chosen = os.environ.get("BLOODCELL_DB_URL") or f"sqlite:///{home() / 'lab.sqlite'}"
    if "?" in str(home()) and not database_is_shared():
        raise LabError(f"a database can't lie in {home()}, for the ? in its name: rename that folder")
    kind, slashes, place = chosen.partition(":///")
    is_file = kind.partition("+")[0] == "sqlite" and place and not place.startswith((":", "file:"))
    return f"{kind}{slashes}{os.path.abspath(place)}" if is_file else chosen


def database_is_shared() -> bool:
    """Whether other workspaces may use the database, too."""
    return bool(os.environ.get("BLOODCELL_DB_URL"))


def database_exists() -> bool:
    """Whether there may be a database; connecting to find out would make an empty one."""
    return database_is_shared() or may_be_there(home() / "lab.sqlite")


def entries(folder: Path) -> list[str]:
    """The names in a folder of the workspace; none where there is no such folder, or it can't be read, which `troubles`
    reports."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def names_in(folder: Path, files: tuple[str, ...]) -> list[str]:
    """The names of the folders in a folder of the workspace that hold any of these files, sorted.

    Any, so that one that lost its most important file is reported and not skipped. What is still being made isn't among
    them: its name matches no NAME_PATTERN.
    """
    named = filter(NAME_PATTERN.fullmatch, entries(folder))
    return sorted(name for name in named if any(may_be_there(folder / name / file) for file in files))


def troubles() -> list[str]:
    """What is wrong with the workspace as a whole, a line each: folders that can't be read, whose contents no list
    shows, and that nothing can be written."""
    folders = [home(), *(home() / name for name in FOLDERS)]
    closed = {folder: why for folder in folders if (why := _closed_because(folder))}
    if home() in closed:  # so is all that it holds
        closed = {home(): closed[home()]}
    found = [
        f"{folder} can't be looked into ({why}), and what lies there isn't shown: open it to the account that "
        "the lab runs under, or put the folder back in its place"
        for folder, why in closed.items()
    ]
    if home() in closed or not home().is_dir():
        return found
    kept = "what is there is shown, and nothing new can be kept"
    if not os.access(home(), os.W_OK):
        return [*found, f"{home()} can't be written to: {kept}"]
    there = [folder for folder in folders if folder not in closed and os.access(folder, os.F_OK)]
    found += [f"{folder} can't be written to: {kept} there" for folder in there if not os.access(folder, os.W_OK)]
    with suppress(OSError):  # deleted, or its disk gone, since we looked
        if shutil.disk_usage(home()).free < LEAST_ROOM:
            found.append(f"The disk of {home()} is full: {kept}")
    return found


def _closed_because(folder: Path) -> str:
    """Why a folder can't be read; "" where it can, or isn't made yet."""
    try:
        os.scandir(folder).close()
        return "" if os.access(folder, os.X_OK) else "Permission denied"
    except OSError as error:
        not_made = isinstance(error, FileNotFoundError) and not folder.is_symlink()
        return "" if not_made else error.strerror or str(error)


def lock_file(name: str) -> Path:
    """A lock file's path; its folder is made."""
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"
