"""The parts of the Browse page: summary and alarms, gallery with filters, findings, counts, image statistics, map."""

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core.data.audit import Audit
from bloodcell_core.data.dataset import SPLITS, Dataset
from bloodcell_core.data.findings import SEVERITIES
from bloodcell_core.data.formats import FORMATS
from bloodcell_core.words import groups_behind, pretty, titles
from ui import address, charts, dataset_pictures, gallery, lab, naming, shell

PER_PAGE = 300
EVERY = ""  # stands for all classes: no class has this name, but one may be called "all"
SPLIT_WORDS = {"all": "All", "train": "Train", "val": "Validation", "test": "Test"}
LOUD = {"alarm": (":material/error:", "red"), "warning": (":material/warning:", "orange"), "note": ("", "gray")}
MEASURES = {
    "stain_a": "tint of the background: green (−) to red (+), Lab a",
    "stain_b": "tint of the background: blue (−) to yellow (+), Lab b",
    "brightness": "brightness of the background, 0 to 255",
    "focus": "focus: 1 is flat, from 1.2 sharp",
    "nucleus": "nucleus, in areas of a red cell",
    "cells": "white cells found in a picture",
}


def photo_words(pictures: str, photos: int | None, unit: str) -> str:
    """How many pictures there are, and of how many photos or groups, where these are known."""
    return pictures + (f" from {shell.counted(photos, unit)}" if photos is not None else "")


def _words(data: Dataset, part: pd.DataFrame) -> str:
    photos = part.photo.nunique() if data.photos_known else None
    return photo_words(shell.counted(len(part), "picture"), photos, data.unit)


def head(data: Dataset, audit: Audit) -> None:
    """Draws the summary with the button to name the dataset, and the alarms."""
    facts = audit.facts
    with st.container(horizontal=True, vertical_alignment="center"):
        lab.say_synthetic(data.synthetic)
        st.badge(f"{facts['pictures']:,} pictures", color="violet")
        if facts["photos"] is not None:
            origin = (facts["photos_origin"] or "told by the source").capitalize()
            own = (
                f" {shell.counted(facts['untraced'], 'picture')} without one: each counts as a {data.unit} of its own."
                if facts["untraced"]
                else ""
            )
            honest = f"{origin}. Honest figures count {data.unit}s, not pictures.{own}"
            st.badge(groups_behind(facts), color="violet", help=honest)
        else:
            st.badge(groups_behind(facts), color="gray", help=shell.plain(facts["photos_unknown_because"] or ""))
        st.badge(f"{len(facts['classes'])} classes", color="violet")
        if facts["unreadable"]:
            st.badge(f"{facts['unreadable']} unreadable", color="red")
        few = next((finding for finding in audit.findings if finding.name == "few_photos"), None)
        if few:
            rare = f"few {data.unit}s of a class"
            st.badge(rare, color="orange", icon=":material/warning:", help=shell.plain(few.words))
        naming.button("dataset", [data.name], "name_dataset")
    for finding in audit.findings:
        if finding.severity == "alarm":
            st.error(f"**{finding.title}.** {shell.plain(finding.words)}", icon=":material/error:")


def pictures(data: Dataset, audit: Audit, view: str) -> None:
    """Draws filters, the gallery, and the page numbers below it."""
    found = {finding.name: finding for finding in audit.findings if lab.finding_rows(data, finding)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = address.selectbox(
            "Class", [EVERY, *data.classes], "label", default=EVERY, width=180,
            format_func=lambda value: "All classes" if value == EVERY else pretty(value),
        )  # fmt: skip
        present = ["all", *(split for split in SPLITS if split in audit.facts["splits"])]
        split = address.segmented_control(
            "Split", present, "split", default="all", format_func=SPLIT_WORDS.get,
            help="Networks learn from train, and are judged on test, which they never see in training.",
        )  # fmt: skip
        finding = address.selectbox(
            "Finding", ["all", *found], "finding", default="all", width=260,
            format_func=lambda name: "All pictures" if name == "all" else found[name].title,
        )  # fmt: skip
        family = address.value_of("family")
        shown = f"{data.unit.capitalize()} {shell.plain(family or '')}"
        if family and st.button(shown, icon=":material/close:", help=f"Show all {data.unit}s again"):
            address.write(family=None, page=None)
            st.rerun()
    chosen = data.pictures
    if finding != "all":
        chosen = chosen.loc[lab.finding_rows(data, found[finding])]
        st.caption(f"**{found[finding].title}**: {shell.plain(found[finding].words)}")
    for column, value in (("label", label), ("split", EVERY if split == "all" else split), ("photo", family or EVERY)):
        if value != EVERY:
            chosen = chosen[chosen[column] == value]
    if finding == "all" and not family:
        # A fixed shuffle: in file order a page would show copies of one photo after another.
        chosen = chosen.sample(frac=1, random_state=0) if len(chosen) else chosen
    none = "No picture matches: choose another class, split or finding."
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.caption(_words(data, chosen) if len(chosen) else none, width="content")
        charts.legend(data.classes)
    above, below = st.container(), st.container()
    with below:
        start, stop = gallery.pager(len(chosen), PER_PAGE)
    with above:
        shown = chosen.label[start:stop]
        named = shown.map(pretty) if label == EVERY else None  # not everybody can tell classes apart by colour
        tiles = dataset_pictures.tiles(data, shown.index.tolist(), view, named)
        gallery.gallery(tiles, "browse", open_picture, selected=address.value_of("picture"))


def open_picture(image_id: str) -> None:
    """Opens a picture."""
    address.write(picture=image_id)


def stands_out(data: Dataset, audit: Audit) -> None:
    """Draws a card for each finding, which opens its pictures, and the largest families."""
    for finding in sorted(audit.findings, key=lambda finding: SEVERITIES.index(finding.severity)):
        icon, colour = LOUD[finding.severity]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            title = f":{colour}[{icon}] " if icon else ""
            with st.container(width="stretch"):
                st.markdown(f"{title}**{finding.title}** :gray[:small[{shell.plain(finding.words)}]]")
            if lab.finding_rows(data, finding) and st.button("Show", key=f"show_{finding.name}"):
                address.write(finding=finding.name, show=None, label=None, split=None, family=None, page=None)
                st.rerun()
    if not audit.findings:
        st.success("Nothing stands out.", icon=":material/check_circle:")
    unreadable = audit.facts["unreadable_files"]
    if unreadable:
        st.markdown(f"**Unreadable files** ({len(unreadable):,})")
        shell.table(pd.DataFrame(unreadable).rename(columns=str.capitalize))
    families = audit.facts["largest_families"]
    if families:
        st.markdown(f"**The largest families**: pictures of one {data.unit}. Tick one to see its pictures.")
        table = pd.DataFrame(families).assign(labels=[", ".join(map(pretty, row["labels"])) for row in families])
        table = table.rename(columns={"photo": data.unit}).rename(columns=str.capitalize)
        ticked = shell.table(table, on_select="rerun", selection_mode="single-row", key="families")
        if ticked["selection"]["rows"]:
            photo = families[ticked["selection"]["rows"][0]]["photo"]
            address.write(family=photo, show=None, finding=None, label=None, split=None, page=None)
            st.rerun()


def counts(data: Dataset, audit: Audit) -> None:
    """Draws the pictures and photos of each class in each split, and the dataset's source, licence and splits."""
    facts = audit.facts
    splits = facts["splits"]
    charts.class_bars({part: splits[part]["by_class"] for part in splits}, key="counts")
    called = titles(data.classes)
    table = pd.DataFrame({
        SPLIT_WORDS[part]: {
            shell.plain(called[name]): photo_words(f"{count:,}", (values["photos_by_class"] or {}).get(name), data.unit)
            for name, count in values["by_class"].items()
        } | {"**All**": photo_words(f"{values['pictures']:,}", values["photos"], data.unit)}
        for part, values in splits.items()
    }).rename_axis("Class")  # fmt: skip
    with st.container(key="lab_figures"):
        st.table(table)
    licence, citation = (shell.plain(facts[key] or "") for key in ("licence", "citation"))
    made_here = shell.plain(f"{facts['format']}, {data.facts.get('source')}")  # drawn, combined or cut out of a slide
    format_title = FORMATS[facts["format"]].title if facts["format"] in FORMATS else made_here
    st.caption(
        f"Split: {shell.plain(facts['split_origin'])}. Where the dataset has no validation split, each run holds back "
        f"some training {data.unit}s. Without a label: {shell.counted(facts['missing']['label'], 'picture')}; left out "
        f"as byte-identical: {shell.counted(facts['duplicates'], 'file')}; passed over as no labelled picture: "
        f"{shell.counted(facts['ignored_files'], 'file')}. "
        f"Format: {format_title}. "
        + (f"Licence: {licence}. " if licence else "")
        + (f"Source: {citation}." if citation else "")
    )


def looks(data: Dataset, audit: Audit) -> None:
    """Draws the distributions of the image statistics by class, and the sizes and modes of the pictures."""
    part = data.pictures.assign(nucleus=data.pictures.cell_area / (np.pi * data.pictures.red_radius**2))
    charts.legend(data.classes, lines=True)
    with st.grid(2, min_column_width=380):
        for place, (column, title) in enumerate(MEASURES.items()):
            charts.spread(part[column], part.label, title=title, classes=data.classes, key=f"spread_{place}")
    sizes = ", ".join(f"{size} ({count:,})" for size, count in audit.facts["sizes"].items())
    modes = ", ".join(f"{mode} ({count:,})" for mode, count in audit.facts["modes"].items())
    st.caption(f"Sizes in pixels: {sizes}. Stored as {modes}.")


def picture_map(data: Dataset) -> None:
    """Draws the map of pictures, by a trained run's features or by colour and shape."""
    runs = {run.name: run for run in lab.scored_runs() if run.data_hash == data.content_hash}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = address.selectbox(
            "Alike", [*runs, "looks"], "by", default=next(iter(runs), "looks"), width=380,
            format_func=lambda name: lab.run_choice(runs[name]) if name in runs else "By colour and shape",
            help="To a trained network: by its features, the inputs of its last layer.",
        )  # fmt: skip
        method = address.segmented_control(
            "Map", ["pca", "t-sne"], "method", default="pca", format_func={"pca": "PCA", "t-sne": "t-SNE"}.get,
            help="In PCA what is far apart is unlike, but neighbours may be unlike, too. t-SNE keeps neighbours "
            "together, its distances tell nothing, and it takes some seconds.",
        )  # fmt: skip
    rows, places = lab.picture_map(data, runs.get(by), method)
    part = data.pictures.loc[rows]
    hints = (part.label.map(pretty) + ", " + part.split + ", " + part.photo).tolist()
    of_all = f", drawn out of all {len(data.pictures):,}" if len(rows) < len(data.pictures) else ""
    st.caption(f"{_words(data, part)}{of_all}.")
    clicked = charts.map_of_pictures(
        places, part.label.tolist(), part.image_id.tolist(), hints,
        classes=data.classes, selected=address.value_of("picture"), key="map",
    )  # fmt: skip
    if clicked:
        open_picture(clicked)
        st.rerun()
