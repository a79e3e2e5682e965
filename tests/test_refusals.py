"""What the system refuses is told of the file that was named, in words, before work is done for it."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bloodcell_core import cli, disk, notes
from bloodcell_core.errors import WHAT_TO_DO, LabError, refusal
from bloodcell_core.runs import Run

pytest_plugins = ["tests.training_fixtures"]


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that a command is refused with, as what a person can mend."""
    capsys.readouterr()
    code: object
    try:
        code = cli.main(words)
    except SystemExit as end:  # argparse ends the process by itself
        code = end.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
    return err


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system lets no file grow beyond it, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("number", WHAT_TO_DO)
def test_a_refusal_is_words_with_what_helps_and_no_number(number: int) -> None:
    told = refusal(OSError(number, os.strerror(number), "table.csv"))
    assert told == f"the system refused 'table.csv': {os.strerror(number)}: {WHAT_TO_DO[number]}"
    assert refusal(OSError("of some library's own")) == "the system refused: of some library's own"


def test_a_file_that_does_not_fit_is_told_by_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with files_of_at_most(1000), pytest.raises(OSError, match="too large") as told:
        with disk.write_atomic(file) as temporary:
            temporary.write_bytes(bytes(2000))
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(file))
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_place_of_a_folder_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError) as told, disk.write_atomic(tmp_path / "taken"):
        pass
    assert (told.value.filename, told.value.filename2) == (str(tmp_path / "taken"), None)


def test_what_is_read_meanwhile_is_not_told_as_what_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told, disk.write_atomic(tmp_path / "table.csv"):
        (tmp_path / "gone").read_bytes()
    assert str(told.value.filename) == str(tmp_path / "gone")


WRITING = {
    "predict --csv": ["predict", "latest", "PICTURE", "--csv", "FILE.csv"],
    "predict --report": ["predict", "latest", "PICTURE", "--report", "FILE.html"],
    "evaluate --report": ["evaluate", "latest", "--report", "FILE.html"],
    "evaluate --predictions": ["evaluate", "latest", "--predictions", "FILE.parquet"],
    "compare --report": ["compare", "latest", "other", "--report", "FILE.html"],
    "export": ["export", "latest", "FILE.onnx"],
    "review export --csv": ["review", "export", "day-one", "--csv", "FILE.csv"],
}


@pytest.mark.parametrize("place", ["in a file", "a folder", "a pipe"])
@pytest.mark.parametrize("verb", WRITING)
def test_a_place_that_takes_no_file_is_told_before_the_work(
    verb: str, place: str, done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for work in ("evaluation.scoring.evaluated", "inference.predictor.Predictor", "cli.scoring._side",
                 "inference.export._written", "cli.review._to_export"):  # fmt: skip
        monkeypatch.setattr(f"bloodcell_core.{work}", lambda *_: pytest.fail("it went to work"))
    *_, option = WRITING[verb]
    here = tmp_path / "here"
    here.mkdir()
    file = here / ("file/x" if place == "in a file" else "x") / option
    (here / "file").touch()
    if place == "a folder":
        file.mkdir(parents=True)
    elif place == "a pipe":
        file.parent.mkdir()
        os.mkfifo(file)
    filled = {option: str(file), "PICTURE": str(here / "file")}
    told = said([filled.get(word, word) for word in WRITING[verb]], capsys)
    assert str(file) in told
    assert "[Errno" not in told
    assert "name a" in told
    assert not re.search(r"/\.FILE", told)  # nobody knows the file beside it
    assert sorted(path.name for path in here.rglob("*") if path.is_file()) == ["file"]


@pytest.mark.parametrize("verb", WRITING)
def test_a_picture_that_stands_where_the_file_s_name_was_forgotten_is_not_replaced(
    verb: str, done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in `predict cell-net --csv *.png`."""
    picture = tmp_path / "cell.png"
    picture.write_bytes(b"a picture")
    told = said([*(str(picture) if word == "PICTURE" else word for word in WRITING[verb][:-1]), str(picture)], capsys)
    assert f", not {'' if verb == 'export' else 'as '}'cell.png'" in told
    assert picture.read_bytes() == b"a picture"


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LabError, match="pipe is a pipe or a device: name a file"):
        disk.check_writable(tmp_path / "pipe")


def test_a_link_to_a_file_stays_and_the_file_is_written(tmp_path: Path) -> None:
    real, link = tmp_path / "shared" / "table.csv", tmp_path / "table.csv"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    disk.check_writable(link)
    with disk.write_atomic(link) as temporary:
        temporary.write_text("new")
    assert (link.is_symlink(), real.read_text(), os.listdir(real.parent)) == (True, "new", ["table.csv"])
    link.unlink()
    link.symlink_to(tmp_path / "away" / "table.csv")  # as is a file that the link is to make
    disk.check_writable(link)
    with disk.write_atomic(link) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "away" / "table.csv").read_text() == "new"


def test_asking_whether_a_file_can_be_written_makes_nothing(tmp_path: Path) -> None:
    disk.check_writable(tmp_path / "new" / "folder" / "table.csv")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [["data", "import", ""], ["predict", "latest", ""], ["cells", ""], ["predict", "latest", "x.png", "--csv", ""],
     ["evaluate", "latest", "--classes", ""]],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_path_is_not_the_folder_one_is_in(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "an empty path; the folder that you are in is ." in said(words, capsys)


def test_a_mapping_file_that_is_missing_is_told_without_a_number(
    tmp_path: Path, done: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(["evaluate", "latest", "--classes", str(tmp_path / "none.csv")], capsys)
    assert told == f"bloodcell_core: the mapping file {tmp_path}/none.csv can't be read: No such file or directory\n"


@pytest.mark.parametrize(
    "words", [["runs", "tag", "latest", ""], ["data", "tag", "demo", "a", " "], ["runs", "list", "--tag", ""]]
)
def test_an_empty_tag_takes_no_tags_away(words: list[str], done: Run, capsys: pytest.CaptureFixture[str]) -> None:
    notes.tag("run", done.name, ["kept"])
    assert "an empty word" in said(words, capsys)
    assert done.notes.tags == ("kept",)


@pytest.mark.parametrize(
    "words",
    ["evaluate latest --data", "evaluate latest --labels", "compare latest latest --labels", "adapt latest --data",
     "review fixed latest latest --labels", "review teaches latest --labels", "review history latest",
     "review overlay x --data", "review export x --data", "review import x.csv --overlay x --data",
     "cross-validate --group", "tune --study", "data import x --name", "data demo --name", "ensemble a b --name",
     "train --data demo --model cell_net --weights"],
)  # fmt: skip
def test_an_empty_word_is_not_taken_for_none(words: str, done: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a shell's variable that isn't set."""
    assert "an empty word, as of a variable that isn't set" in said([*words.split(), ""], capsys)


def test_an_error_that_says_nothing_is_told_by_its_kind(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("bloodcell_core.runs.pd.read_parquet", silent)
    with pytest.raises(LabError, match=r"predictions.parquet can't be read \(OSError\)"):
        done.predictions()
