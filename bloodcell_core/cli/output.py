"""What the verbs print: one JSON object, or lines for people; progress goes to stderr."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from bloodcell_core import notes
from bloodcell_core.evaluation.figures import device_words
from bloodcell_core.progress import Progress, TimeLeft
from bloodcell_core.words import counted, duration, groups_behind

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's kinds: control, format, half of a pair, ends of lines


def show(value: dict[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    """Prints `value` as one JSON object, or else the lines for people."""
    if as_json:
        print(json.dumps(value, allow_nan=False))
    else:
        print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines for a person, made safe: names of files, classes and people in them may hold any characters."""
    for line in lines:
        print(writable(on_one_line(line)))


def writable(text: str) -> str:
    """`text`; characters that stdout's encoding lacks (an arrow, in a pipe on Windows) are replaced by numbers."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def on_one_line(line: str) -> str:
    """`line` with control characters, direction marks and line breaks replaced."""
    if line.isprintable():
        return line
    return "".join("\ufffd" if unicodedata.category(sign) in UNSEEN else sign for sign in line)


def say(line: str) -> None:
    """Prints a message on stderr, over a progress count that isn't at its end.

    Where stderr can't be written, as a pipe that nobody reads, the work goes on.
    """
    global _counting
    if sys.stderr is not None:  # closed before we began: print would take stdout in its place
        with suppress(OSError):
            print(f"\r{line:{_counting}}" if _counting else line, file=sys.stderr, flush=True)
    _counting = 0


_counting = 0  # signs of the last line of stderr where it is a count that isn't at its end yet
COUNT_EVERY = {True: 0.25, False: 30.0}  # seconds between two counts on a terminal, and in a file that keeps each


def progress(what: str) -> Progress:
    """Counts on stderr, with the time left: on a terminal in one line that changes, elsewhere a line now and then."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    time_left = TimeLeft()
    last = 0.0 if terminal else time.monotonic()

    def show(done: int, total: int) -> None:
        global _counting
        nonlocal last
        now, seconds = time.monotonic(), time_left(done, total)
        if now - last > COUNT_EVERY[terminal] or done == total:
            last = now
            left = f", {duration(seconds)} left" if seconds else ""
            text = f"{what}: {done:,} of {total:,}{left}"
            if terminal:
                print(f"\r{text:{_counting}}", end="\n" if done == total else "", file=sys.stderr, flush=True)
                _counting = len(text) if done < total else 0
            else:
                say(text)

    return show


def show_list(
    what: str, rows: list[dict[str, Any]], as_json: bool, lines: Sequence[str], damaged: Sequence[str]
) -> None:
    """Prints the "runs", "studies" or "datasets" that there are, and on stderr why those left out can't be read."""
    for line in damaged:
        say(f"left out: {line}")
    show({what: rows}, as_json, lines)


def title_words(told: notes.Notes) -> str:
    """A title in quotation marks and tags with a #; or why they can't be read."""
    return told.problem or " ".join(([f'"{told.title}"'] if told.title else []) + [f"#{tag}" for tag in told.tags])


def show_notes(kind: str, name: str, told: notes.Notes, as_json: bool) -> None:
    """Prints the title and tags of a "run" or "dataset"."""
    facts = {kind if kind == "run" else "name": name, "title": told.title, "tags": list(told.tags)}
    show(facts, as_json, [f"{name}: {title_words(told) or 'no title, no tags'}"])


def show_stopping(kind: str, name: str, as_json: bool) -> None:
    """Prints that a "run" or "study" was asked to stop."""
    show({kind: name, "stop_requested": True}, as_json, [f"{name} stops at its next batch"])


def show_removed(kind: str, name: str, as_json: bool) -> None:
    """Prints that a "run", "cross-validation", "study" or "dataset" is gone."""
    show({"removed": name}, as_json, [f"removed {kind} {name}"])


METRIC_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "auc_ovr": "AUC",
    "kappa": "Cohen's kappa",
}


def score_lines(scores: dict[str, Any], title: str) -> list[str]:
    """The figures of a `score` with their intervals, a line each."""
    lines = [f"{title}: {counted(scores['pictures'], 'picture')}, {groups_behind(scores)}"]
    for key, words in METRIC_WORDS.items():
        if scores.get(key) is not None:  # an AUC or kappa can be undefined
            lines.append(f"  {words:18} {scores[key]:.4f}{_interval(scores['intervals'][key])}")
    if scores["by_photo"]:
        photo = scores["by_photo"]
        lines.append(f"  photos right       {photo['right']:,} of {photo['photos']:,}{_interval(photo['interval'])}")
    return lines + [f"  note: {note}" for note in scores["warnings"] + scores["notes"]]


def _interval(limits: Sequence[float] | None) -> str:
    return f"  95% interval {limits[0]:.4f} to {limits[1]:.4f}" if limits else ""


def calibration_lines(facts: dict[str, Any] | None) -> list[str]:
    """The calibration error, with and without the temperature; no line where none was measured."""
    if facts is None:
        return []
    before, after = facts["before"], facts["after"]
    told = after or before
    line = f"  calibration error  {told['ece']:.4f}"
    if interval := _interval(told["intervals"]["ece"]):
        line += f"{interval}, {told['ece_by_chance']:.4f} by chance alone"
    if after:
        line += f"; {before['ece']:.4f} before the temperature of {facts['temperature']:.2f}"
    return [line, *(f"  note: {warning}" for warning in facts["warnings"])]


def cost_lines(facts: dict[str, Any] | None) -> list[str]:
    """The cost of an answer; no line where it was not measured."""
    if facts is None or facts["flops"] is None:
        return []
    operations = f"{facts['flops'] / 1e6:,.0f} million operations a picture"
    line = f"  cost               {facts['parameters']:,} weights, {operations}"
    if facts["milliseconds"] is not None:
        line += f", {facts['milliseconds']:.3g} ms ({device_words(facts['milliseconds_on'])})"
    return [line]


def figure(value: float | None) -> str:
    """A figure with four decimals; for none a dash, padded to the same width."""
    return "–     " if value is None else f"{value:.4f}"
