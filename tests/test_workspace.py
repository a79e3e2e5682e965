"""Names that are safe as folders, files that are never half there, folders that appear whole or not at all."""

import errno
import fcntl
import inspect
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bloodcell_core import background, disk, workspace
from bloodcell_core.cli import main
from bloodcell_core.disk import new_folder, read_json, sweep_unfinished, write_atomic, write_json
from bloodcell_core.errors import LabError
from bloodcell_core.workspace import (
    check_name,
    slug,
)
from tests.conftest import tree

HOSTILE = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc", "C:", "a:b", "~", "~root", ".hidden", "-flag", "_x", "a b", " a",
    "a ", "a\n", "\na", "a\0b", "a\t", "é", "ａ", "А", "Upper", "UPPER", "x" * 65, "x" * 300, "a*", "a?", "a|b",
    "$HOME", "`id`", "a;b", "a%2f", "\u202e", "😀",
]  # fmt: skip


# Names


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "path", [workspace.dataset_dir, workspace.run_dir, lambda name: workspace.view_file(name, "frame-96")]
)
def test_no_path_is_made_of_a_hostile_name(path, name):
    with pytest.raises(LabError) as caught:
        path(name)
    words = str(caught.value)
    assert "use up to 64 lower-case letters, digits, '.', '_' and '-'" in words
    assert "\n" not in words
    assert len(words) < 250


@pytest.mark.parametrize("name", ["a", "0", "blood-cells", "a.b_c-d", "x" * 64, "2024-05-01t12", "a..b", "con"])
def test_a_plain_name_is_returned_as_it_is(name):
    assert check_name(name, "dataset") == name


@pytest.mark.parametrize("what", ["dataset", "run"])
def test_the_message_tells_what_would_be_named(what):
    with pytest.raises(LabError, match=rf"'A' can't name a {what}: "):
        check_name("A", what)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="aZ09._-/\\ é", max_size=100))
@example("-" * 70 + "a")
@example("._-a" + "-" * 100)
@example("İ")
@example("x" * 63 + " y")
def test_any_text_has_a_safe_name(text):
    name = slug(text)
    assert check_name(name, "dataset") == name
    assert slug(name) == name or name.rstrip("-._") == slug(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Blood Cells (1)", "blood-cells-1"),
        ("dataset2-master", "dataset2-master"),
        ("../../etc/passwd", "etc-passwd"),
        ("Zürich Σ", "z-rich"),
        ("ΣΩ", "dataset"),
        ("", "dataset"),
        ("...", "dataset"),
        ("v1.2_final", "v1.2_final"),
    ],
)
def test_a_safe_name_is_near_the_text(text, name):
    assert slug(text) == name


# Places


def test_the_workspace_is_where_the_person_says(lab_home):
    assert workspace.home() == lab_home
    assert workspace.dataset_dir("cells") == lab_home / "datasets" / "cells"
    assert workspace.run_dir("r1") == lab_home / "runs" / "r1"
    assert workspace.view_file("cells", "cell-96") == lab_home / "datasets" / "cells" / "views" / "cell-96.npy"


def test_without_a_word_it_lies_beside_the_app(monkeypatch):
    beside = Path(workspace.__file__).resolve().parents[1] / "workspace"
    monkeypatch.delenv("BLOODCELL_HOME")
    assert workspace.home() == beside
    monkeypatch.setenv("BLOODCELL_HOME", "")
    assert workspace.home() == beside


def test_the_person_s_own_folder_may_be_called_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BLOODCELL_HOME", "~/lab")
    assert workspace.home() == tmp_path / "lab"


def test_the_folder_of_somebody_who_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("BLOODCELL_HOME", "~nobody-of-that-name/lab")
    assert main(["data", "list"]) == 2
    told = "~nobody-of-that-name/lab: there is no home folder of that name here: write the path in full"
    assert told in capsys.readouterr().err


def test_a_path_that_is_no_utf_8_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("BLOODCELL_HOME", f"{tmp_path}/" + os.fsdecode(b"caf\xe9"))
    assert main(["data", "demo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("caf\\xe9', which isn't valid UTF-8: rename that folder, or set BLOODCELL_HOME to another")
    assert not [*tmp_path.iterdir()]


def test_asking_where_things_lie_makes_nothing(lab_home):
    for path in (workspace.dataset_dir("a"), workspace.run_dir("b"), workspace.view_file("a", "frame-96")):
        assert path.is_relative_to(lab_home)
    assert not lab_home.exists()


def test_each_folder_that_something_is_kept_in_is_looked_into(lab_home):
    """`troubles` goes by a list of its own: it holds all that functions of the module make paths below."""
    below = set()
    for name, function in inspect.getmembers(workspace, inspect.isfunction):
        if name.endswith(("_dir", "_file")):
            wanted = list(inspect.signature(function).parameters)
            for kind in ("run", "dataset") if "kind" in wanted else ("",):
                made = function(*(kind if each == "kind" else "a" for each in wanted)).relative_to(lab_home)
                below |= {"/".join(made.parts[:2] if made.parts[0] == "notes" else made.parts[:1])}
    assert below | {"notes"} == {*workspace.FOLDERS}


@pytest.mark.parametrize("closed", ["", "runs", "locks", "notes/runs"])
def test_a_folder_that_can_t_be_written_to_is_told(lab_home, monkeypatch, closed):
    for name in workspace.FOLDERS:
        (lab_home / name).mkdir(parents=True, exist_ok=True)
    told_by_the_system = os.access

    def access(path, mode):
        return told_by_the_system(path, mode) and (path, mode) != (lab_home / closed, os.W_OK)

    monkeypatch.setattr(os, "access", access)
    kept = "nothing new can be kept" + (" there" if closed else "")
    assert workspace.troubles() == [f"{lab_home / closed} can't be written to: what is there is shown, and {kept}"]


def test_a_workspace_that_goes_while_it_is_looked_at_breaks_no_page(lab_home, monkeypatch):
    lab_home.mkdir(parents=True)

    def gone(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(workspace.shutil, "disk_usage", gone)
    assert workspace.troubles() == []


def test_a_pipe_in_a_file_s_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "status.json")
    with pytest.raises(LabError, match=r"status\.json can't be read: it is no file"):
        read_json(tmp_path / "status.json")


def test_a_lock_file_s_folder_is_made(lab_home):
    assert workspace.lock_file("cuda-0") == lab_home / "locks" / "cuda-0.lock"
    assert tree(lab_home) == {"locks"}
    workspace.lock_file("cuda-0")


# Files


def write_half_and_fail(path: Path, error: BaseException) -> None:
    with write_atomic(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), LabError("no")])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "facts.json"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_half_and_fail(path, error)
    assert path.read_text() == "old"
    assert tree(tmp_path) == {"facts.json"}


def test_a_failed_first_write_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        write_half_and_fail(tmp_path / "facts.json", OSError("disk full"))
    assert tree(tmp_path) == set()


def test_a_write_that_fails_at_the_last_step_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    write_json(path, "old")

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, "new")
    assert read_json(path) == "old"
    assert tree(tmp_path) == {"facts.json"}


def test_what_is_flushed_is_open_for_writing(tmp_path, monkeypatch):
    """Windows refuses to flush a file that may only be read, so that nothing could ever be written there."""
    ways = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: ways.append(fcntl.fcntl(descriptor, fcntl.F_GETFL)))
    write_json(tmp_path / "facts.json", "new")
    assert [way & os.O_ACCMODE for way in ways] == [os.O_RDWR]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    path.write_text("old")
    flushed = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (flushed.append(os.fstat(descriptor).st_size), fsync(descriptor))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (flushed.append("renamed"), replace(*paths)))
    with write_atomic(path) as temporary:
        assert temporary.parent == path.parent  # a rename between two disks would be no rename
        temporary.write_text("new words")
        assert path.read_text() == "old"
    assert path.read_text() == "new words"
    assert flushed == [9, "renamed"]


def test_a_file_s_folder_is_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "facts.json", {"x": 1})
    assert read_json(tmp_path / "a" / "b" / "facts.json") == {"x": 1}


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_the_umask_says_who_else_may_read_and_write(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "facts.json", {})
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "facts.json").stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == folder


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None)
@given(json_values)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_on_disk_is_for_people_too(tmp_path):
    write_json(tmp_path / "facts.json", {"a": 1, "b": [2]})
    assert (tmp_path / "facts.json").read_text() == json.dumps({"a": 1, "b": [2]}, indent=1) + "\n"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_what_is_no_json_is_not_written(tmp_path, value):
    write_json(tmp_path / "facts.json", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "facts.json", value)
    assert read_json(tmp_path / "facts.json") == "old"


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(LabError, match=r"gone\.json is missing"):
        read_json(tmp_path / "gone.json")
    for data in (b"", b"{", b"\xff", b"[1,]"):
        (tmp_path / "facts.json").write_bytes(data)
        with pytest.raises(LabError, match=r"facts\.json can't be read: "):
            read_json(tmp_path / "facts.json")
    with pytest.raises(LabError, match="can't be read"):
        read_json(tmp_path)


# Folders


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "datasets" / "cells") as folder:
        (folder / "a").mkdir()
        (folder / "a" / "1").write_text("one")
        assert not (tmp_path / "datasets" / "cells").exists()
        assert folder.parent == tmp_path / "datasets"
        assert folder.name.startswith(".cells.")
    assert tree(tmp_path) == {"datasets", "datasets/cells", "datasets/cells/a", "datasets/cells/a/1"}


def fill_and_fail(final: Path, error: BaseException) -> None:
    with new_folder(final) as folder:
        (folder / "1").write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), LabError("no")])
def test_or_not_at_all(tmp_path, error):
    with pytest.raises(type(error)):
        fill_and_fail(tmp_path / "cells", error)
    assert tree(tmp_path) == set()


def make_one(final: Path) -> None:
    with new_folder(final) as folder:
        (folder / "new").write_text("new")


def test_a_folder_that_is_there_already_stays_as_it_is(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "old").write_text("old")
    with pytest.raises(LabError, match="cells exists already: choose another name or remove it first"):
        make_one(tmp_path / "cells")
    assert tree(tmp_path) == {"cells", "cells/old"}


def make_two_at_once(final: Path) -> None:
    with new_folder(final) as first:
        (first / "first").write_text("1")
        with new_folder(final) as second:
            (second / "second").write_text("2")


def test_of_two_folders_of_one_name_made_at_once_the_one_that_is_done_first_stays(tmp_path):
    with pytest.raises(LabError, match="cells exists already"):
        make_two_at_once(tmp_path / "cells")
    assert tree(tmp_path) == {"cells", "cells/second"}


def test_what_a_killed_writer_left_is_swept_after_a_day(tmp_path):
    day = 24 * 3600
    ages = {".cells.old": day + 60, ".cells.new": day - 600, "cells": 9 * day, ".hidden": 9 * day, ".a.b.c": 9 * day}
    for name, age in ages.items():
        (tmp_path / name / "originals").mkdir(parents=True)
        then = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (then, then))
    (tmp_path / ".file.x").write_text("a file")
    os.utime(tmp_path / ".file.x", (0, 0))
    sweep_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".cells.new", "cells", ".hidden", ".file.x"}


@pytest.mark.parametrize("kind", [workspace.run_dir, workspace.dataset_dir, workspace.search_dir, workspace.slide_dir])
def test_whoever_makes_a_folder_sweeps_what_was_left_beside_it(kind, lab_home):
    """A run's deletion that is killed leaves its weights under a hidden name."""
    left = kind("a").parent / ".20260101-run.xyz"
    (left / "20260101-run").mkdir(parents=True)
    os.utime(left, (0, 0))
    make_one(kind("b"))
    assert sorted(path.name for path in kind("b").parent.iterdir()) == ["b"]


def test_there_is_nothing_to_sweep_where_there_is_no_folder(tmp_path):
    sweep_unfinished(tmp_path / "nowhere")


def test_what_another_writer_finishes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / ".cells.new").mkdir()

    def now() -> float:
        os.rename(tmp_path / ".cells.new", tmp_path / "cells")
        return 1e12

    monkeypatch.setattr(disk, "time", SimpleNamespace(time=now))
    sweep_unfinished(tmp_path)
    assert tree(tmp_path) == {"cells"}


def test_a_folder_that_the_system_refuses_is_not_called_one_that_is_there(tmp_path, monkeypatch):
    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        make_one(tmp_path / "cells")
    assert tree(tmp_path) == set()


def test_a_folder_that_two_delete_at_once_is_gone(tmp_path):
    make_one(tmp_path / "cells")
    disk.discard(tmp_path / "cells")
    disk.discard(tmp_path / "cells")
    assert tree(tmp_path) == set()


def test_a_folder_that_the_system_keeps_stays_as_it_is(tmp_path, monkeypatch):
    def refused(old, new):
        raise PermissionError(errno.EACCES, "Permission denied")

    make_one(tmp_path / "cells")
    monkeypatch.setattr(disk.os, "rename", refused)
    with pytest.raises(PermissionError):
        disk.discard(tmp_path / "cells")
    assert tree(tmp_path) == {"cells", "cells/new"}


def test_what_somebody_still_writes_into_a_deleted_folder_is_swept_later(tmp_path, monkeypatch):
    make_one(tmp_path / "cells")
    monkeypatch.setattr(disk.shutil.os, "rmdir", lambda *_, **__: (_ for _ in ()).throw(OSError("not empty")))
    disk.discard(tmp_path / "cells")
    monkeypatch.undo()
    assert not (tmp_path / "cells").exists()
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    sweep_unfinished(tmp_path)
    assert tree(tmp_path) == set()


def test_the_program_begins_on_a_system_without_unix_locks():
    code = "import sys; sys.modules['fcntl'] = None; import bloodcell_core.cli, bloodcell_core.workspace"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


# Locks


def test_a_lock_is_held_by_a_worker_and_by_nobody_who_only_looks(tmp_path: Path) -> None:
    file = tmp_path / "worker.lock"
    lock = FileLock(file)
    assert not background.is_held(lock)
    with FileLock(file):
        assert background.is_held(lock)
    with open(file) as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)  # another process, paused amid its look
        assert not background.is_held(lock)
    assert not background.is_held(lock)


def test_without_shared_locks_looks_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    file = tmp_path / "worker.lock"
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(background.is_held, [FileLock(file) for _ in range(50)]))
    with FileLock(file):
        assert background.is_held(FileLock(file))


def test_a_file_that_somebody_reads_at_that_moment_is_put_in_its_place_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows refuses it meanwhile: a training ended when a page looked at its status."""
    replace, refused = os.replace, [1, 1]

    def busy(*given: object) -> None:
        if refused:
            refused.pop()
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(*given)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(disk, "RENAMES", 3)
    write_json(tmp_path / "status.json", 1)
    assert read_json(tmp_path / "status.json") == 1
    refused += [1, 1, 1]
    with pytest.raises(PermissionError):
        write_json(tmp_path / "status.json", 2)
    assert read_json(tmp_path / "status.json") == 1
