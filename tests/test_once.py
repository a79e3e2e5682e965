"""A click begins once what it begins, however soon a second one comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest

from ui import once


class Session(dict[str, Any]):
    """A session's state, which tells when it is asked for a second time: so does the second click of a double one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.twice = 0, threading.Event()

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        found = super().setdefault(key, default)
        if self.asked == 2:
            self.twice.set()
        return found


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    state = Session()
    monkeypatch.setattr(once.st, "session_state", state)
    monkeypatch.setattr(once.st, "spinner", lambda words: nullcontext())
    return state


def test_a_second_click_that_is_drawn_beside_the_first_begins_nothing(session: Session) -> None:
    begun: list[str] = []

    def begin() -> str:
        assert session.twice.wait(30), "the second click came while this is at work"
        begun.append("a run")
        return begun[-1]

    with ThreadPoolExecutor(2) as threads:
        clicks = [threads.submit(once.once, "settings", begin) for _ in range(2)]
        assert [click.result() for click in clicks] == ["a run", "a run"]
    assert begun == ["a run"]


def test_other_settings_and_a_later_click_begin_anew(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    for asked in ("one", "other", "one"):
        once.once(asked, lambda asked=asked: begun.append(asked))  # type: ignore[misc]
    assert begun == ["one", "other"]
    monkeypatch.setattr(once, "DOUBLE_CLICK", 0.0)
    once.once("one", lambda: begun.append("one"))
    assert begun == ["one", "other", "one"]


def test_what_could_not_begin_is_tried_again(session: Session) -> None:
    def refuse() -> str:
        raise OSError("the disk is full")

    for _ in range(2):
        with pytest.raises(OSError, match="disk is full"):
            once.once("settings", refuse)
    assert once.once("settings", lambda: "begun") == "begun"
