"""Overlays: the verdicts frozen as labels to train with, and exported and imported as CSV."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.labels import exchange, overlays
from ui import cached, shell
from ui.review import Review, standing_in

NAME = "reviewed"  # the default name of the first overlay


@shell.shows_errors
def overlays_part(review: Review) -> None:
    """Draws what the verdicts change, the button that freezes it, and all versions."""
    versions = versions_of(review.data)
    changes = overlays.rows_of(standing_in(review.data), review.data)
    make, bring = shell.sides([1, 1], "overlays")
    with make:
        _make(review, changes, versions)
    with bring:
        _bring(review)
    _list(review.data, versions)


def versions_of(data: Dataset) -> list[dict[str, Any]]:
    """The versions of all overlays of a dataset (`Overlay.describe`), the newest first."""
    own = [each for each in overlays.versions() if each["data_hash"] == data.content_hash]
    return sorted(own, key=lambda each: str(each["at"]), reverse=True)


def _make(review: Review, changes: pd.DataFrame, versions: list[dict[str, Any]]) -> None:
    changed, left_out = (
        f"{shell.counted(part.photo.nunique(), review.data.unit)} ({shell.counted(len(part), 'picture')})"
        for part in (changes[changes.label_to.notna()], changes[changes.label_to.isna()])
    )
    st.markdown("**Freeze the verdicts**")
    told = f"They give {changed} another label and leave out {left_out} as ambiguous or unusable."
    if changes.empty:
        told = "None changes a label so far: *Label wrong* does, *Ambiguous* and *Unusable* leave a picture out."
    st.caption(f"{told} The dataset itself stays as it is.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Overlay", _name_for(review.data, versions), max_chars=64)
        if st.button("Make a version", type="primary", disabled=changes.empty and not versions):
            made, new = overlays.freeze(name.strip(), review.data, by=review.by)
            st.toast(f"{made.reference} {'is made' if new else 'says the same already'}")
            st.rerun()


def _name_for(data: Dataset, versions: list[dict[str, Any]]) -> str:
    """The overlay whose newest version was made of verdicts; a new version of one brought as CSV would lack its labels.
    Else a name that none has; "" where both are taken."""
    newest = {each["overlay"]: each for each in reversed(versions)}
    made = [each["overlay"] for each in versions if newest[each["overlay"]]["made_from"] == overlays.FROM_VERDICTS]
    taken = overlays.names()
    return next((name for name in (*made, NAME, f"{NAME}-{data.name}"[:64]) if name in made or name not in taken), "")


def _bring(review: Review) -> None:
    st.markdown("**Bring labels as CSV**")
    st.caption("Columns image_id and label, or those of a download from here. It becomes the next version.")
    with st.form("bring_labels", clear_on_submit=True, border=False), st.container(
        horizontal=True, vertical_alignment="bottom"
    ):
        file = st.file_uploader("CSV of labels", type="csv", label_visibility="collapsed", max_upload_size=50)
        name = st.text_input("As overlay", "imported", max_chars=64)
        clicked = st.form_submit_button("Import")
        if clicked and file is None:
            st.toast("Choose a CSV file first", icon=":material/upload:")
        elif clicked and file is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "labels.csv")  # the uploaded file's own name may be any text
                path.write_bytes(file.getvalue())
                kept, new, same = exchange.import_csv(
                    path, name.strip(), by=review.by, data=review.data.name, called=file.name
                )
            unchanged = f"; nothing is changed by {shell.counted(same, 'line')}" if same else ""
            st.toast(f"{kept.reference} {'is made' if new else 'says the same already'}{unchanged}")
            st.rerun()


def _list(data: Dataset, versions: list[dict[str, Any]]) -> None:
    """Draws all versions of this dataset's overlays; the ticked one can be downloaded, or trained with."""
    if not versions:
        st.caption("There is no overlay of this dataset yet.")
        return
    damage = [_is_damaged(f"{each['overlay']}@{each['version']}", each["digest"]) for each in versions]
    table = pd.DataFrame(
        {
            "Overlay": f"{each['overlay']}@{each['version']}",
            "Made": pd.Timestamp(each["at"]),
            "By": each["by"],
            "From": each["made_from"],
            "Label changed, photos": each["changed"]["photos"],
            "pictures": each["changed"]["pictures"],
            "Left out, photos": each["excluded"]["photos"],
            "pictures ": each["excluded"]["pictures"],
            "Reviewers": ", ".join(each["reviewers"]),
            **({"Damage": overlays.DAMAGED if damaged else ""} if any(damage) else {}),
        }
        for each, damaged in zip(versions, damage, strict=True)
    )
    ticked = shell.ticked_row(
        table, "overlay_versions", alt="Overlays of this dataset; tick one to use it",
        column_config={"Made": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC")},
    )  # fmt: skip
    reference = str(table.Overlay[ticked])
    if damage[ticked]:
        shell.show_error(f"{reference} {overlays.DAMAGED}: take another")
        return
    with st.container(horizontal=True):
        if st.button(f"Train with {reference}", type="primary", icon=":material/play_arrow:"):
            st.switch_page("pages/2_Train.py", query_params={"dataset": data.name, "labels": reference})
        st.download_button(
            "Download CSV", lambda: exchange.to_csv(overlays.load(reference), data).encode("utf-8-sig"),
            f"{reference.replace('@', '-')}.csv", "text/csv", icon=":material/download:", on_click="ignore",
        )  # fmt: skip


@cached.data(max_entries=500, show_spinner=False)
def _is_damaged(reference: str, digest: str) -> bool:
    """Whether a version is damaged; read once, as its rows are many. Edited later, it is refused where it is used."""
    return overlays.is_damaged(reference)
