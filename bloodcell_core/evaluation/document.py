"""What reports are written with: elements, tables, and the file around them.

There is no script in it and nothing is loaded. Text is escaped where it is put in (`tag`), so that no name of a class,
dataset, run or file can become markup.
"""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from bloodcell_core import __version__, disk
from bloodcell_core.errors import LabError

PURPOSE = "For research and teaching, not for diagnosis."
FORBIDDEN = ("Cc", "Cf", "Cs", "Cn")  # control, direction marks, half characters: would hide or turn what follows


class Html(str):
    """Text that is HTML already; all other text is escaped where it is put in."""


def tag(name: str, attributes: Mapping[str, object], *inside: object) -> Html:
    """An element with what is inside it; what is not `Html` is escaped, its control characters made visible."""
    words = "".join(f' {key}="{escaped(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{words}>{''.join(escaped(part) for part in inside)}</{name}>")


def escaped(value: object) -> str:
    """Text as it may stand in HTML, in an element or an attribute; `Html` as it is."""
    if isinstance(value, Html):
        return value
    shown = "".join("\ufffd" if unicodedata.category(sign) in FORBIDDEN else sign for sign in str(value))
    return html.escape(shown)


def check_report_file(file: Path) -> None:
    """LabError unless a report can have that name, OSError where it can't be written there."""
    if file.suffix.lower() != ".html":
        raise LabError(f"a report is written as .html, not as {file.name!r}")
    disk.check_writable(file)


def write_report(content: str, file: Path) -> None:
    """Writes a report whole or not at all; LabError for a name that doesn't end in .html."""
    check_report_file(file)
    with disk.write_atomic(file) as temporary:
        temporary.write_text(content, encoding="utf-8")


def document(title: str, lead: str, sections: Iterable[Html], facts: Mapping[str, Any], style: str = "") -> str:
    """The whole file: title, a line below it, the sections, and `facts` as JSON; `style` is CSS of its own."""
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Blood Cell Lab {__version__}"
    style = resources.files("bloodcell_core.evaluation").joinpath("report.css").read_text(encoding="utf-8") + style
    # In JSON these signs stand inside strings alone, where this is the same; the element can't be ended by a name.
    data = json.dumps(facts, allow_nan=False)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    body = "".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="'
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{style}</style></head>\n<body><main><h1>{escaped(title)}</h1>"
        f'<p>{escaped(lead)}</p><p class="quiet">{escaped(made)}. {PURPOSE}</p>{body}</main>\n'
        f'<script type="application/json" id="figures">{data}</script></body></html>\n'
    )


def section(title: str, *inside: Html) -> Html:
    """A section with its heading; nothing where nothing is inside."""
    return tag("section", {}, tag("h2", {}, title), *inside) if inside else Html()


def table_of(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table whose first cell of a row is its head."""
    body = [tag("tr", {}, tag("th", {}, row[0]), *(tag("td", {}, cell) for cell in row[1:])) for row in rows]
    return scrolled(tag("table", {}, heads_of(heads), *body))


def heads_of(heads: Iterable[object]) -> Html:
    """The first row of a table; where it has no words, as in a corner, stands no head."""
    return tag("tr", {}, *(tag("th" if text else "td", {}, text) for text in heads))


def scrolled(table: Html) -> Html:
    """A table that is scrolled sideways where it is too wide; by key too, for which Safari needs the `tabindex`."""
    return tag("div", {"class": "scroll", "tabindex": 0, "role": "group", "aria-label": "Table"}, table)
