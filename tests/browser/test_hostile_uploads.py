"""A running server takes the whole corpus of hostile files, and is well after."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory import most_memory
from benchmarks.sessions import Person, as_sent, is_healthy, run_apart
from bloodcell_core import runs
from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.smear import slides
from bloodcell_core.smear.slides import Slide
from tests import hostile
from tests.hostile.kit import ALLOWED, Hostile, cell, encoded, snapshot

MOST_MEMORY = 1.2e9  # bytes, without program files
BUNDLED = runs.BUNDLED  # with cell-net, which the server has; conftest.py hides it inside a test


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What lies around the server's workspace: a home, a folder for temporary files."""
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


def handed_in() -> list[Hostile]:
    """What the drop zone takes: files that are called pictures, and zips."""
    return [each for each in (*hostile.corpus(), *hostile.packed())
            if isinstance(each.make, bytes) and isinstance(each.name, str) and each.name.endswith((*SUFFIXES, ".zip"))
            and not each.name.startswith(".")]  # fmt: skip


def answers_of(slide: Slide) -> dict[int, dict]:
    """Picture number → what was answered; a picture that isn't stored is refused with its reason."""
    (file,) = (slide.folder / "answers").glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = {line["picture"]: line["answer"] for line in lines}
    return {picture.number: kept.get(picture.number) or {"state": "refused", "reason": picture.reason}
            for picture in slide.pictures}  # fmt: skip


def assert_alike(one: Any, other: Any) -> None:
    """The same but for the last digits: two processes may add in another order."""
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = sorted(one.items()), sorted(other.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_alike(left, right)
    else:
        assert one == (pytest.approx(other, abs=1e-5) if isinstance(other, float) else other)


@pytest.mark.slow
def test_the_server_is_well_after_the_whole_corpus(around: Path, app_server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(around)
    corpus, good = handed_in(), encoded(cell(240))
    assert len(corpus) > 250

    async def one_after_another() -> None:
        async with Person(app_server.address) as person:
            await person.hand_in([(str(each.name), each.make) for each in corpus])
        assert is_healthy(app_server.address)
        async with Person(app_server.address) as person:
            await person.hand_in([("good.png", good)])

    run_apart(one_after_another())
    assert is_healthy(app_server.address)
    assert most_memory(app_server.pid) < MOST_MEMORY, f"{most_memory(app_server.pid) / 1e9:.2f} GB"
    print(f"{most_memory(app_server.pid) / 1e9:.2f} GB")
    log = around / "server.log"
    assert "Traceback" not in log.read_text(encoding="utf-8")

    # Each file of the corpus has its class or its refusal, and the good picture the very answer that it has alone.
    monkeypatch.setenv("BLOODCELL_HOME", str(around / "workspace"))
    monkeypatch.setattr(runs, "BUNDLED", BUNDLED)
    listed, damaged = slides.listed()
    assert not damaged
    last, first = listed
    states: dict[str, set[str]] = {}
    for picture, answer in zip(first.pictures, answers_of(first).values(), strict=True):
        assert answer["state"] != "refused" or answer["reason"], picture.file
        file = re.sub(r"\.zip/.*", ".zip", picture.file, flags=re.DOTALL)
        twice = "the very same picture" in picture.reason  # it is answered once
        states.setdefault(file, set()).add("twice" if twice else answer["state"])
    wrong = {each.name: states.get(as_sent(str(each.name))) for each in corpus
             if not states.get(as_sent(str(each.name)), set()) & {*ALLOWED[each.wants], "twice"}}  # fmt: skip
    assert wrong == {}
    alone = next(Predictor(runs.find("cell-net")).classify([("good.png", lambda: good)]))
    assert_alike(answers_of(last)[1], json.loads(json.dumps(alone.to_json())))

    # Nothing was written but the workspace and the server's log.
    changed = {path for path, now in snapshot(around).items() if before.get(path) != now}
    inside = str(around / "workspace")
    assert {path for path in changed if path != inside and not path.startswith(inside + os.sep)} <= {str(log)}
    assert not list(around.rglob("*pwned*"))
