"""inference.handed_in: no file of a folder is left out silently."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bloodcell_core.cli import main
from bloodcell_core.errors import LabError
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]


def answered(folder: Path) -> dict[str, str]:
    """Each file's path below a folder, and why it can't be read, in the order in which it is answered."""
    found = {}
    for path, read in files_of([folder]):
        try:
            read()
            why = ""
        except LabError as error:
            why = str(error)
        found[os.path.relpath(path, folder)] = why
    return found


def test_a_folder_that_can_not_be_looked_into_is_a_row_and_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "shut/2.png", "z/3.png", "z/deep/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
    really = os.scandir

    def scandir(folder: Any = ".") -> Any:  # root, who may run this, is shut out of nothing
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied", str(folder))
        return really(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(answered(tmp_path).items()) == [
        ("a/1.png", ""),
        ("shut", "this folder can't be read: Permission denied"),
        ("z/3.png", ""),
        ("z/deep/4.png", ""),
    ]


def test_a_file_of_which_only_the_name_may_be_read_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    really = os.stat

    def shut(path: Any, **how: Any) -> os.stat_result:  # as of a folder that may not be gone into
        if Path(path).name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, **how)

    monkeypatch.setattr(os, "stat", shut)
    assert answered(tmp_path) == {"1.png": "", "2.png": "can't be read: Permission denied", "3.png": ""}
    named = [tmp_path / "2.png", tmp_path / "3.png"]
    assert [path for path, _ in files_of(named)] == list(map(str, named))


def test_what_a_system_left_in_a_folder_is_none_of_its_pictures(tmp_path: Path) -> None:
    for name in ("slide/1.png", "slide/.DS_Store", "slide/Thumbs.db", "slide/.thumbs/1.png", "__MACOSX/._1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert answered(tmp_path) == {"slide/1.png": ""}
    hidden = tmp_path / "slide" / ".thumbs"
    assert answered(hidden) == {"1.png": ""}  # asked for by name
    assert [path for path, _ in files_of([tmp_path / "slide" / ".DS_Store"])] == [str(tmp_path / "slide" / ".DS_Store")]


def test_a_file_that_the_system_keeps_shut_is_told_in_words_without_a_number(done: Run) -> None:
    def shut() -> bytes:
        raise PermissionError(13, "Permission denied", "a.png")

    def handed() -> Iterator[Any]:
        yield "a.png", shut

    (answer,) = Predictor(done, "cpu").classify(handed())
    assert (answer.state, answer.reason) == ("refused", "can't be read: Permission denied")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="its file names are text")
def test_a_name_that_is_no_text_is_told_as_text_by_every_verb(
    done: Run, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a character in JSON is refused by most programs but Python."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.png"))
    odd.write_bytes(pictures[0].read_bytes())
    for words, where in (
        (["cells", str(odd)], ("pictures", 0, "path")),
        (["predict", "latest", str(odd)], ("pictures", 0, "path")),
        (["export", "latest", str(odd.with_suffix(".onnx"))], ("file",)),
    ):
        assert main([*words, "--json"]) == 0
        value = json.loads(capsys.readouterr().out)
        for key in where:
            value = value[key]
        assert value.encode().startswith(os.fsencode(tmp_path) + rb"/x\udcff")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="its file names are text")
def test_a_zip_that_is_none_and_whose_name_is_no_text_has_its_row_in_the_table(done: Run, tmp_path: Path) -> None:
    odd, table = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.zip")), tmp_path / "answers.csv"
    odd.write_bytes(b"no zip")
    assert main(["predict", "latest", str(odd), "--csv", str(table)]) == 2
    assert r"x\udcff.zip is not a zip file" in table.read_text()
