"""`review` on the command line: from a mistake to a verdict, an overlay, a file and back."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bloodcell_core import cli, workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.review import queue
from bloodcell_core.runs import Run
from bloodcell_core.words import counted
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """What `review …` prints as JSON."""

    def do(*words: str) -> Any:
        assert cli.main(["review", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return do


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one line that `review …` is refused with."""

    def do(*words: str) -> str:
        assert cli.main(["review", *words]) == 2
        told = capsys.readouterr()
        assert not told.out
        assert len(told.err.splitlines()) == 1
        return told.err

    return do


@pytest.fixture
def wrong(done: Run) -> Any:
    """The run's mistakes on its test split."""
    found = done.predictions().query("split == 'test' and label != predicted")
    assert found.source_photo.nunique() > 2
    return found


@pytest.mark.parametrize("words", [("list", "latest"), ("history", "latest"), ("issues", "latest")])
def test_fewer_than_no_rows_are_refused(done: Run, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["review", *words, "--limit", "-5"])
    assert ended.value.code == 2
    assert "argument --limit: a whole number of rows, 0 for all, not '-5'" in capsys.readouterr().err


def test_a_verdict_has_the_keys_that_are_promised_and_takes_the_photo_off_the_list(
    done: Run, wrong: Any, say: Any
) -> None:
    before = say("list", "latest", "--limit", "0")
    first = before["pictures"][0]
    assert before["photos"] == wrong.source_photo.nunique() == len(before["pictures"])
    made = say("set", "latest", first["image_id"][:20], "label wrong", "--label", first["answer"], "--by", "Ana")
    wanted = {"run": done.name, "image_id": first["image_id"], "verdict": "label-wrong", "label": first["answer"]}
    assert made.items() >= (wanted | {"id": 1, "by": "Ana", "predicted": first["answer"]}).items()
    assert made["at"].endswith("+00:00")
    after = say("list", "latest", "--limit", "0")
    assert [row["photo"] for row in after["pictures"]] == [row["photo"] for row in before["pictures"][1:]]
    assert after["progress"]["decided"] == 1
    assert [row["by"] for row in say("list", "latest", "--reviewed", "reviewed")["pictures"]] == ["Ana"]
    middle = sorted(row["margin"] for row in before["pictures"])[len(before["pictures"]) // 2]
    near = say("list", "latest", "--reviewed", "all", "--margin", str(middle), "0", "--limit", "0")["pictures"]
    assert 0 < len(near) < len(before["pictures"])
    assert all(middle <= row["margin"] <= 0 for row in near)
    say("undo", "1", "--by", "Ben")
    assert say("list", "latest", "--limit", "0")["pictures"] == before["pictures"]
    told = say("history", "latest", first["image_id"])["events"]
    assert [(each["id"], each["by"], each["undoes"], each["undone"]) for each in told] == [
        (2, "Ben", 1, False), (1, "Ana", None, True),
    ]  # fmt: skip


def test_a_reviewer_in_other_capitals_is_one_person(wrong: Any, say: Any) -> None:
    """As on the page, or one would differ with oneself."""
    image_id = wrong.image_id.iloc[0]
    for verdict, name in (("ambiguous", "Ana Š"), ("model-wrong", "ana  š"), ("ambiguous", "Anna Š")):
        say("set", "latest", image_id, verdict, "--by", name)
    told = say("history", "latest", image_id)
    assert [each["by"] for each in told["events"]] == ["Anna Š", "Ana Š", "Ana Š"]


def test_from_verdicts_to_an_overlay_to_a_file_and_back(wrong: Any, say: Any, refused: Any, tmp_path: Path) -> None:
    first, second = wrong.drop_duplicates("source_photo").image_id.tolist()[:2]
    say("set", "latest", first, "ambiguous")
    say("overlay", "day-one")
    made = say("export", "day-one", "--csv", str(tmp_path / "a.csv"))
    assert (made["overlay"], made["version"], made["rows"]) == ("day-one", 1, made["excluded"]["pictures"])
    assert say("export", "day-one")["version"] == 1
    say("set", "latest", second, "unusable", "--this-picture", "--note", "=x")
    assert say("export", "day-one@1")["version"] == 1
    assert say("export", "day-one")["version"] == 2
    assert say("overlay", "day-one")["made"] is False
    assert "there is no overlay 'othre'" in refused("export", "othre")  # and doesn't make one
    back = say("import", str(tmp_path / "a.csv"), "--overlay", "other")
    assert (back["version"], back["made"], back["excluded"]) == (1, True, made["excluded"])
    assert say("export", "other")["labels"] == say("export", "day-one@1")["labels"]
    assert [(each["overlay"], each["version"]) for each in say("overlays")["overlays"]] == [
        ("day-one", 2), ("day-one", 1), ("other", 1),
    ]  # fmt: skip


def test_a_damaged_dataset_keeps_nobody_from_the_verdicts_of_another(wrong: Any, say: Any, tmp_path: Path) -> None:
    say("set", "latest", wrong.image_id.iloc[0], "ambiguous")
    dead = workspace.dataset_dir("dead")
    dead.mkdir()
    (dead / "dataset.json").write_text("{")
    assert say("overlay", "day-one")["dataset"] == "demo"
    say("export", "day-one", "--csv", str(tmp_path / "a.csv"))
    assert say("import", str(tmp_path / "a.csv"), "--overlay", "other")["dataset"] == "demo"


def test_what_two_runs_have_in_common_and_what_changed(done: Run, say: Any) -> None:
    other = train_here(seed=3)
    both = say("list", done.name, other.name, "--order", "disagreement", "--limit", "0")
    assert both["runs"] == [done.name, other.name]
    assert all(set(row["answers"]) == {done.name, other.name} for row in both["pictures"])
    split = say("list", done.name, other.name, "--disputed", "--limit", "0")["pictures"]
    assert {row["photo"] for row in split} <= {row["photo"] for row in both["pictures"]}
    told = say("fixed", done.name, other.name)
    assert told["words"].startswith("Of ")
    assert len(told["fixed"]) == told["comparison"]["by_picture"]["only_b"]
    taught = say("teaches", done.name)
    assert sum(part["wrong"] for part in taught["rates"]["edge"]) == sum(row["wrong"] for row in taught["by_photo"])
    issues = say("issues", done.name, "--limit", "3", "--device", "cpu")
    assert len(issues["photos"]) == 3
    assert "in-sample" in issues["warning"]
    ranked = say("list", done.name, "--order", "issue")
    assert (ranked["ranked_by"], ranked["warning"]) == (done.name, issues["warning"])
    assert say("list", done.name)["ranked_by"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "latest", "{id}", "wrong"], "a verdict is model-wrong"),
        (["set", "latest", "{id}", "label-wrong"], "needs the right class"),
        (["set", "latest", "{id}", "label-wrong", "--label", "unicorn"], "needs the right class"),
        (["set", "latest", "zz", "ambiguous"], "has no picture"),
        (["set", "nothing", "{id}", "ambiguous"], "there is no run"),
        (["set", "latest", "{id}", "ambiguous", "--by", ""], "who says so"),
        (["undo", "7"], "there is no verdict 7"),
        (["undo", "99999999999999999999"], "there is no verdict"),
        (["list", "latest", "--order", "size"], "is ordered by"),
        (["list", "latest", "--label", "unicorn"], "there is no class"),
        (["list", "latest", "--loss", "2", "1"], "loss lies between"),
        (["export", "nothing"], "there is no overlay 'nothing': `review overlays` shows what there is"),
        (["export", "../x@1"], "there is no overlay"),
        (["overlay", "nothing"], "there are no verdicts yet"),
        (["overlay", "../x", "--data", "demo"], "no verdict"),
        (["import", "/nowhere.csv", "--overlay", "x"], "can't be read"),
    ],
)
def test_what_can_not_be_is_told_in_one_line(done: Run, refused: Any, words: list[str], said: str) -> None:
    image_id = Dataset("demo").pictures.image_id[0]
    assert said in refused(*(word.replace("{id}", image_id) for word in words))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_overlay_that_is_printed_into_a_file_comes_back_whatever_the_terminal_writes(
    encoding: str, say: Any, wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("set", "latest", wrong.image_id.iloc[0], "ambiguous", "--by", "Ünsal", "--note", "мелкий → größer")
    say("overlay", "day-one")
    labels = say("export", "day-one")["labels"]
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    with monkeypatch.context() as piped:
        piped.setattr(sys, "stdout", printed)
        assert cli.main(["review", "export", "day-one"]) == 0
    file = tmp_path / "labels.csv"
    file.write_bytes(printed.buffer.getvalue())  # type: ignore[attr-defined]
    say("import", str(file), "--overlay", "back")
    assert say("export", "back")["labels"] == labels


def test_pictures_that_are_judged_one_by_one_are_not_called_photos(
    done: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, pictures = queue.of_runs([done])
    alone = pictures.assign(photo=pictures.image_id)
    monkeypatch.setattr(queue, "of_runs", lambda *_: (dataset, alone))
    assert cli.main(["review", "list", "latest"]) == 0
    wrong = int(pictures.mistake.sum())
    assert f"0 of {counted(wrong, 'picture')} with mistakes are decided; {wrong} here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pictures", "photos", "told"), [(3, 3, "3 pictures"), (3, 1, "3 pictures of 1 photo"), (1, 1, "1 picture")]
)
def test_photos_of_an_overlay_are_told_where_they_are_not_the_pictures_themselves(pictures, photos, told) -> None:
    """Where photos aren't known, each picture counts as one."""
    part = {"pictures": pictures, "photos": photos}
    facts = {"overlay": "a", "version": 1, "dataset": "d", "by": "Ana", "at": "2026-01-31T12:00", "made_from": "csv"}
    line = cli.review._overlay_line(facts | {"changed": part, "excluded": part})
    assert f" d: {told} relabelled, {told} left out; by Ana" in line


def test_the_lines_for_people(done: Run, wrong: Any, capsys: pytest.CaptureFixture[str]) -> None:
    image_id = wrong.image_id.iloc[0]
    for words, said in (
        (["list", "latest"], "photos with mistakes are decided"),
        (["set", "latest", image_id, "ambiguous", "--by", "Ana", "--note", "two\nlines"], "Ana"),
        (["set", "latest", image_id, "model-wrong", "--by", "Ben"], "decides"),
        (["history", "latest"], "people differ on 1 photo: "),
        (["undo", "2", "--by", "Ben"], "takes back 2 (model-wrong)"),
        (["overlay", "day-one"], ": 0 pictures relabelled, "),
        (["overlays"], "day-one@1"),
        (["export", "day-one"], "image_id,file,photo,label_from,label,verdict,by,at,note"),
        (["teaches", "latest"], "Half of the"),
    ):
        assert cli.main(["review", *words]) == 0
        assert said in capsys.readouterr().out
