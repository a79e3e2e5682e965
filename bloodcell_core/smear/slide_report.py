"""A slide's report: its count, its fields, some cells of each class and what the network is worth, on one or two pages.

One HTML file that needs nothing else, made of the same parts as the reports on runs (evaluation/document.py).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from bloodcell_core.crops import cut_square
from bloodcell_core.data.formats.listing import Read
from bloodcell_core.data.pictures import decode_rgb, jpeg_uri
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.document import Html, document, escaped, heads_of, scrolled, section, table_of, tag
from bloodcell_core.evaluation.figures import figure_words, interval_words, threshold_words, with_interval
from bloodcell_core.evaluation.report_parts import called
from bloodcell_core.inference.answers import Answer, CellAnswer
from bloodcell_core.inference.fields import square_around
from bloodcell_core.runs import Run
from bloodcell_core.smear.differential import without_cells
from bloodcell_core.words import capitalised, counted, groups_behind, pretty

GALLERY = 10  # cells of a class that are shown, drawn by lot where there are more
CELL_PX = 72
MAX_ROWS = 24  # pictures that are listed one by one: more would fill pages
LONGEST_NAME = 60  # letters of a picture's name, on two lines of the list
SET_ASIDE = {"unsure": "Set aside, unsure", "unlike": "Set aside, unlike the training cells"}
SHOWN = {"field": "a smear field", "cell": "one cell"}
STYLE = """
.groups { columns: 22rem 2; column-gap: 1.5rem; }
.groups > div { break-inside: avoid; padding-bottom: .5rem; }
.cells { display: flex; flex-wrap: wrap; gap: 4px; margin: .2rem 0; }
.cells img { width: 58px; height: 58px; border-radius: 4px; }
.share { position: relative; min-width: 9rem; }
.files { width: 100%; }
.files th:first-child { overflow-wrap: anywhere; width: 34%; }
.files tr + tr th { font-weight: 400; }
.files .kind { white-space: nowrap; }
.share i { position: absolute; top: 50%; height: .7em; margin-top: -.35em; border-radius: 2px; background: var(--hue);
  print-color-adjust: exact; }
.share b { position: absolute; top: 50%; height: 2px; margin-top: -1px; background: var(--ink);
  print-color-adjust: exact; }
.share u { position: absolute; top: 12%; height: 76%; border: 1px dashed var(--quiet); border-width: 0 1px; }
td.number { text-align: right; white-space: nowrap; }
h3 { font-size: .95rem; margin: 0 0 .1rem; break-after: avoid; }
@media print { body { line-height: 1.4; } h2 { margin: .8rem 0 .2rem; } h3 { font-size: .72rem; }
  .groups { columns: 3; column-gap: 1rem; } .cells { gap: 3px; } .cells img { width: 37px; height: 37px; }
  .groups > div { padding-bottom: .2rem; } .scroll { margin: .3rem 0; }
  table { overflow-wrap: break-word; } .files { break-inside: auto; font-size: 8.5px; line-height: 1.25; }
  .files th, .files td { padding: .08rem .4rem; } .files tr { break-inside: avoid; }
  .files tr:first-child { break-after: avoid; } }
"""

Group = tuple[str, str]
"""Cells of a class, (name, ""), or those set aside, ("", state): a class may be called "unsure"."""


def group_of(cell: CellAnswer) -> Group:
    """The group in which a cell is shown and counted."""
    return (cell.label, "") if cell.label else ("", cell.state)


class Gathered:
    """What a report needs of a slide's answers, a bounded part of them however many there are."""

    def __init__(self, classes: Sequence[str]):
        self.classes = list(classes)
        self.rows: list[tuple[str, str, Counter[Group]]] = []
        self.pictures = 0
        self.kinds: Counter[str] = Counter()
        self.cells: dict[Group, list[Html]] = {}
        self._seen: Counter[Group] = Counter()
        self._lot = random.Random(0)

    def add(self, answer: Answer, read: Read) -> None:
        """Takes in an answer; `read` gives its picture's bytes.

        A picture that can't be read any more costs its cells' places in the gallery, not the report.
        """
        self.pictures += 1
        kind = "refused" if answer.state == "refused" else answer.kind
        self.kinds[kind] += 1
        counts = Counter(map(group_of, answer.counted))
        if len(self.rows) < MAX_ROWS:
            self.rows.append((answer.path, kind if answer.state != "refused" else answer.reason, counts))
        picture: np.ndarray | None = None
        gone = False
        for cell in answer.counted:
            place = self._place(group_of(cell))  # also where it can't be shown: it is counted here
            if place is None or gone:
                continue
            if picture is None:
                try:
                    picture = decode_rgb(read())
                except (LabError, OSError):
                    gone = True
                    continue
            shown = self.cells.setdefault(group_of(cell), [])
            shown[place : place + 1] = [_picture(picture, answer, cell)]

    def add_left_out(self, path: str, why: str) -> None:
        """A picture that was left out of the count: it is listed as such."""
        self.pictures += 1
        if len(self.rows) < MAX_ROWS:
            self.rows.append((path, why, Counter()))

    def _place(self, group: Group) -> int | None:
        """Where in its gallery the next cell of a group goes, so that each has the same chance to be shown."""
        seen = self._seen[group]
        self._seen[group] += 1
        if seen < GALLERY:
            return len(self.cells.get(group, ()))
        place = self._lot.randrange(seen + 1)
        return place if place < len(self.cells.get(group, ())) else None

    def count(self, group: Group) -> int:
        """How many cells of that group were seen, whether they are shown or not."""
        return self._seen[group]


def slide_report(title: str, gathered: Gathered, differential: Mapping[str, Any], run: Run) -> str:
    """The report of a slide as one HTML file.

    Args:
        title: the slide's name.
        gathered: the answers for its pictures, in which cells that a person labelled have their class.
        differential: of `differential_of`.
        run: that gave the answers.
    """
    return document(
        title,
        f"White cells of {_pictures(gathered)}, classified by {run.config.model} (run {run.name})",
        [
            _count(differential),
            section("Cells", *_gallery(gathered)),
            _model(run, differential),
            section("Pictures", *_listing(gathered)),
        ],
        {"slide": title, "run": run.name, "differential": differential},
        STYLE,
    )


def _pictures(gathered: Gathered) -> str:
    words = {"field": ("smear field", "smear fields"), "cell": ("picture of a cell", "pictures of a cell each")}
    told = [f"{n:,} {words[kind][n != 1]}" for kind, n in gathered.kinds.items() if kind in words and n]
    refused = gathered.kinds["refused"]
    return " and ".join(told or ["no pictures"]) + (f" ({refused:,} more couldn't be taken)" if refused else "")


# The count


def _count(count: Mapping[str, Any]) -> Html:
    aside = count["set_aside"]
    words = (
        f"{counted(count['cells'], 'cell')} counted, {count['by_hand']:,} of them classified by hand. "
        f"Set aside: {aside['unsure']:,} unsure, {aside['unlike']:,} unlike the training cells. "
        f"{count['at_border']:,} cell{' is' if count['at_border'] == 1 else 's are'} cut by a picture's border."
    )
    corrected = any(row["corrected"] is not None for row in count["classes"].values())
    heads = ["Class", "Cells", "Percent, exact 95% limits", "", *(["Corrected, 95% limits"] if corrected else [])]
    rows = []
    for name, row in count["classes"].items():
        share = _number(percent(row["percent"], row["interval"]))
        cells = [tag("th", {}, pretty(name)), _number(f"{row['cells']:,}"), share]
        cells.append(tag("td", {"class": "share"}, *_bar(row)))
        if corrected:
            cells.append(_number(percent(row["corrected"], row["corrected_interval"])))
        reference = row["reference"]
        cells.append(_number(f"{reference[0]:g} to {reference[1]:g}%" if reference else "–"))
        rows.append(tag("tr", {}, *cells))
    head = heads_of([*heads, "Adults"])
    correction = count["correction"] or {"warnings": []}
    notes = [
        *(why and why + "." for why in (without_cells(count), count["apart"], count["twice"], count["few"])),
        "Corrected: for the mistakes that this network makes on its own validation and test pictures, the uncertainty "
        "of both taken together; unsure cells are shared out." if corrected else "",
        *correction["warnings"],
        f"Reference: {count['reference_source']}.",
    ]  # fmt: skip
    return section(
        "Differential count",
        tag("p", {}, words),
        scrolled(tag("table", {}, head, *rows)),
        *(tag("p", {"class": "quiet"}, capitalised(note)) for note in notes if note),
    )


def percent(share: float | None, limits: Sequence[float] | None) -> str:
    """A share in percent with its limits: "12.0% (5.3 to 22.1)"; "–" for none."""
    ends = [end / 100 for end in limits] if limits else None
    return with_interval("accuracy", None if share is None else share / 100, ends)


def _number(text: str) -> Html:
    return tag("td", {"class": "number"}, text)


def _bar(row: Mapping[str, Any]) -> list[Html]:
    """A share as a bar, its limits as a line across the bar's end, the reference range between dashed lines."""
    if row["percent"] is None:
        return []

    def across(kind: str, low: float, high: float) -> Html:
        return tag(kind, {"style": f"left:{low:.1f}%;width:{max(high - low, 0.3):.1f}%"})

    parts = [across("i", 0, row["percent"]), across("b", *row["interval"])]
    return parts + ([across("u", *row["reference"])] if row["reference"] else [])


# What answered


def _model(run: Run, count: Mapping[str, Any]) -> Html:
    test = run.summary().get("test")
    corrected = any(row["corrected"] is not None for row in count["classes"].values())
    photos = count["correction"]["photos"] if corrected else None
    threshold = count.get("threshold")
    rows = [
        ("Run", called(run.name)),
        *([("Its folder", run.name)] if called(run.name) != run.name else []),
        ("Network", _networks(run)),
        ("Trained on", run.config.data + (" (synthetic pictures, drawn by a program)" if run.synthetic else "")),
        ("Right on its test pictures", accuracy_words(test)),
    ]
    if threshold is not None:
        rows.append(("Review threshold", f"{threshold_words(threshold)}: what is less sure is unsure, and set aside"))
    if photos:
        rows.append(("Photos behind the correction", ", ".join(f"{pretty(name)} {n}" for name, n in photos.items())))
    return section("What answered", table_of(("", ""), rows))


def _networks(run: Run) -> str:
    facts = run.member_facts or [{"model": run.config.model, "view": run.config.view, "size": run.config.size}]
    each = Counter(f"{one['model']}, {one['view']} view, {one['size']} pixels" for one in facts)
    return "; ".join(f"{n} × {words}" if n > 1 else words for words, n in each.items())


def accuracy_words(test: Mapping[str, Any] | None) -> str:
    """A run's honest accuracy in words, from its summary's `test`."""
    if not test:
        return "not known: the run has not been scored"
    limits = test["intervals"]["accuracy"]  # None of so few photos that none can be told
    interval = f"95% interval {interval_words('accuracy', limits)}" if limits else "interval not known"
    right = figure_words("accuracy", test["accuracy"])
    return f"{right} ({interval}) of {counted(test['pictures'], 'picture')}, {groups_behind(test)}"


# Pictures and cells


def _listing(gathered: Gathered) -> list[Html]:
    """The first pictures, a row each; the folder that they all come from stands above them once."""
    folders = {name[: name.rfind("/") + 1] for name, _, _ in gathered.rows}
    folder = folders.pop() if len(folders) == 1 else ""

    def cells(counts: Counter[Group]) -> str:
        groups = _in_order(gathered, counts)
        return ", ".join(f"{pretty(name) or state} {counts[name, state]:,}" for name, state in groups)

    rows = [
        tag(
            "tr", {},
            tag("th", {"title": name}, _shortened(name.removeprefix(folder))),
            *(
                (tag("td", {"class": "kind"}, SHOWN[kind]), tag("td", {}, cells(counts) or "–"))
                if kind in SHOWN else (tag("td", {"colspan": "2"}, kind),)  # why it has none may be long
            ),
        )
        for name, kind, counts in gathered.rows
    ]  # fmt: skip
    head = heads_of(["File", "Shows", "Cells"])
    parts = [tag("p", {"class": "quiet"}, f"In {folder}")] if folder else []
    parts.append(tag("table", {"class": "files"}, head, *rows))
    more = gathered.pictures - len(rows)
    return [*parts, tag("p", {"class": "quiet"}, f"… and {more:,} more.")] if more else parts


def _shortened(name: str) -> str:
    """A name without its middle where it would fill lines; its end tells files apart better than its beginning."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 3]}…{name[-(LONGEST_NAME * 2 // 3) :]}"


def _in_order(gathered: Gathered, found: Collection[Group]) -> list[Group]:
    """The groups that were found: of the run's classes, of those by hand alone, and what was set aside."""
    places = {name: place for place, name in enumerate((*gathered.classes, *SET_ASIDE))}
    return sorted(found, key=lambda group: (not group[0], places.get("".join(group), len(places)), group))


def _gallery(gathered: Gathered) -> list[Html]:
    parts = []
    for group in _in_order(gathered, gathered.cells):
        shown, total = gathered.cells.get(group, []), gathered.count(group)
        if shown:
            some = "" if total <= len(shown) else f", {len(shown)} drawn by lot"
            head = tag("h3", {}, f"{pretty(group[0]) or SET_ASIDE.get(group[1], group[1])}: {total:,}{some}")
            parts.append(tag("div", {}, head, tag("div", {"class": "cells"}, *shown)))
    return [tag("div", {"class": "groups"}, *parts)] if parts else []


def _picture(picture: np.ndarray, answer: Answer, cell: CellAnswer) -> Html:
    cut = cut_square(picture, square_around(cell.box))
    small = cv2.resize(cut, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
    words = f"{answer.path}: {cell.reason}" if cell.reason else answer.path
    return Html(f'<img alt="" title="{escaped(words)}" src="{jpeg_uri(small, 82)}">')
