"""How a file is called, and what is no plain file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.hostile.kit import ANSWER, NO_ROW, REFUSE, Hostile, cell, encoded


def odd_names() -> Iterator[Hostile]:
    names: Sequence[str | bytes] = (
        "<img src=x onerror=alert(1)>.png", "<b>bold<b>.png", "\"'`.png", "a\nb.png", "a\tb.png", "\x1b[31mred.png",
        "\x07bell.png", "a\rb.png", "\u202egnp.exe", "zero\u200bwidth.png", "😀.png", "n" * 251 + ".png", "-rf.png",
        "--help.png", "%s%n%x.png", "$(touch pwned).png", "`touch pwned`.png", "; touch pwned;.png", "a\\..\\b.png",
        "CON.png", " .png", "....png", "=cmd|' -C calc'!A0.png", "+1+1.png", "@SUM(1).png", "{{7*7}}.png",
        "${7*7}.png", "[a](javascript:alert(1)).png", "**bold**.png", "|a|b|.png", "'; DROP TABLE runs;--.png",
        "file:__etc_passwd.png", "ｆｕｌｌ.png", "e\u0301.png", b"\xff\xfe.png", b"caf\xe9.png", ".hidden.png", "*.png",
        "?.png", "#1.png", "a&b.png",
    )  # fmt: skip
    for number, name in enumerate(names):
        yield Hostile(name, encoded(cell(48, number)), ANSWER)


def no_plain_files() -> Iterator[Hostile]:
    def link(to: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(to)

    def bind(path: Path) -> None:
        place, made = Path.cwd(), socket.socket(socket.AF_UNIX)
        os.chdir(path.parent)  # a socket's path may be no longer than some hundred bytes
        try:
            made.bind(path.name)
        finally:
            made.close()
            os.chdir(place)

    yield Hostile("link-passwd.png", link("/etc/passwd"), REFUSE)
    yield Hostile("link-nowhere.png", link("/nowhere/at/all.png"), NO_ROW)
    yield Hostile("link-itself.png", link("link-itself.png"), NO_ROW)
    yield Hostile("link-zero.png", link("/dev/zero"), NO_ROW)
    yield Hostile("link-up", link(".."), NO_ROW)
    yield Hostile("pipe.png", os.mkfifo, NO_ROW)
    yield Hostile("socket.png", bind, NO_ROW)
    yield Hostile("folder.png", Path.mkdir, NO_ROW)
    yield Hostile("sparse.png", lambda path: (path.touch(), os.truncate(path, 2**40))[0], REFUSE)
