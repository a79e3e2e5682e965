"""Error analysis: error rates by blur, stain, size, edge and photo, with their intervals and pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.evaluation.predictions import unit_of
from bloodcell_core.review import error_analysis
from bloodcell_core.words import PHOTO, pretty
from ui import address, dataset_pictures, shell
from ui.review import Review, each_photo_first
from ui.review_sources import Source, resource

BY = {"words": "In words", "facts": "By what is measured", "photo": "By photo"}
MOST_PX = 660  # largest height of a table


def teaches_part(review: Review) -> None:
    """Draws the findings in words, or the figures as a table whose ticked row shows its wrong pictures."""
    source = review.sources[0]
    if len(review.sources) > 1:
        st.caption(f"Of {shell.plain(source.title)}, the first of the runs.")
    table, rates, by_photo, words = _lessons(source, review.data)
    figures, pictures = shell.sides([3, 2], "teaches")
    with figures:
        titles = BY | {"photo": f"By {unit_of(table)}"}
        by = address.segmented_control("Figures", list(titles), "by", default="words", format_func=titles.get,
                                   label_visibility="collapsed")  # fmt: skip
        if by == "words":
            st.markdown("\n".join(f"- {shell.plain(line)}" for line in words))
            wrong = table.image_id[table.label != table.predicted].tolist()
        else:
            wrong = _facts(rates, unit_of(table)) if by == "facts" else _photos(table, by_photo)
    with pictures:
        _pictures(review, table, wrong)


@resource(max_entries=4, show_spinner="Drawing photos for the intervals …")
def _lessons(
    source: Source, data: Dataset
) -> tuple[pd.DataFrame, dict[str, list[dict[str, Any]]], pd.DataFrame, list[str]]:
    table = error_analysis.with_facts(source.table(), data.pictures)
    rates = error_analysis.error_rates(table, source.first.classes)
    return table, rates, error_analysis.by_photo(table), error_analysis.in_words(table, rates)


def _facts(rates: dict[str, list[dict[str, Any]]], unit: str) -> list[str]:
    """Draws a row for each range of each statistic; returns the wrong pictures of the ticked one."""
    parts = [(fact, part) for fact, of_fact in rates.items() for part in of_fact]
    if not parts:
        st.caption("Nothing is measured of these pictures.")
        return []
    frame = pd.DataFrame(
        {
            "By": (error_analysis.FACTS[fact][0] if fact in error_analysis.FACTS else "edge").capitalize(),
            "Part": part["part"] + ("" if part["low"] is None else f", {part['low']:.3g} to {part['high']:.3g}"),
            "Wrong": 100 * part["rate"],
            "95% interval": _interval(part["interval"]),
            f"{unit.capitalize()}s": part["photos"],
            "Pictures": part["pictures"],
        }
        for fact, part in parts
    )
    place = _ticked(frame, "lessons_facts")
    return list(parts[place][1]["image_ids"])


def _photos(table: pd.DataFrame, by_photo: pd.DataFrame) -> list[str]:
    """Draws a row per photo, those with most wrong pictures first; returns the wrong pictures of the ticked one."""
    frame = pd.DataFrame(
        {
            unit_of(table).capitalize(): by_photo.photo,
            "Label": by_photo.label.map(pretty),
            "Mostly called": [pretty(each) if isinstance(each, str) else "–" for each in by_photo.answer],
            "Wrong": 100 * by_photo.rate,
            "95% limits": [_interval(each) for each in zip(by_photo.low, by_photo.high, strict=True)],
            "Pictures": by_photo.pictures,
        }
    )
    place = _ticked(frame, "lessons_photos")
    unit = unit_of(table)
    what = "copies" if unit == PHOTO else "pictures"
    st.caption(f"The limits are for further {what} of the same {unit}; they say nothing about other {unit}s.")
    own = table[table.photo == by_photo.photo[place]]
    return own.image_id[own.label != own.predicted].tolist()


def _interval(limits: Any) -> str:
    return "–" if limits is None else f"{100 * limits[0]:.0f} to {100 * limits[1]:.0f}%"


def _ticked(frame: pd.DataFrame, key: str) -> int:
    """Draws a table in which one row is ticked; returns that row's place."""
    share = st.column_config.NumberColumn(format="%.0f%%", width=65)
    widths = {"By": 185, "Part": 165, "95% interval": 95, "Photos": 65, "Groups": 65, "Pictures": 75}
    columns = {name: st.column_config.Column(width=px) for name, px in widths.items()} | {"Wrong": share}
    return shell.ticked_row(
        frame, key, height=min(36 + 35 * len(frame), MOST_PX), column_config=columns,
        alt="Error rates; tick a row to see its wrong pictures",
    )  # fmt: skip


def _pictures(review: Review, table: pd.DataFrame, wrong: list[str]) -> None:
    """Draws a gallery of wrong pictures, one of each photo before a second of any."""
    own = each_photo_first(table[table.image_id.isin(set(wrong))].sort_values("photo", kind="stable"))
    photos = shell.counted(own.photo.nunique(), unit_of(table))
    st.caption(f"{shell.counted(len(own), 'wrong picture')} of {photos}." if len(own) else "None is wrong.")
    answers = own.label.map(pretty) + " → " + own.predicted.map(pretty)
    dataset_pictures.gallery_to_browse(review.data, own.image_id, answers, "lessons")
