"""Classify: hand in pictures, read their classes, take them away as a table."""

import io

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core.data import demo
from bloodcell_core.data.pictures import MAX_FILE_BYTES, SUFFIXES, decode_rgb, encode
from bloodcell_core.errors import LabError
from ui import charts, gallery, lab, shell
from ui.theme import css_colours, pretty

MAX_PICTURES = 2000  # of one hand-in: they are held in memory
DETAILED = 30  # rows drawn with thumbnail and bars; the table below them holds all

shell.page("Classify", "Hand in pictures of single white cells and read what a trained network calls them.")
runs = {run.name: run for run in lab.need_networks()}

name = shell.bound_selectbox("Network", list(runs), "run", format_func=lambda name: lab.run_title(runs[name]))
run = runs[name]
test = run.summary()["test"]
with st.container(horizontal=True, vertical_alignment="center"):
    lab.say_synthetic(run.synthetic)
    photos = f"{test['photos']:,} photos" if test["photos"] is not None else "source photos not known"
    st.caption(
        f"Right on {shell.percent(test['accuracy'], test['intervals']['accuracy'])} of {test['pictures']:,} test "
        f"pictures ({photos}) of {shell.plain(run.config.data)}. A cell unlike its training cells gets no class."
    )

uploads = st.file_uploader(
    "Pictures", type=[suffix[1:] for suffix in SUFFIXES], accept_multiple_files=True,
    max_upload_size=MAX_FILE_BYTES // 2**20,
    help="JPEG, PNG, TIFF, WebP or BMP, one white cell each. They stay on this machine.",
)  # fmt: skip


@st.cache_data(show_spinner=False)
def examples() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(7)
    return [(f"synthetic {label}.png", encode(demo.draw_picture(label, rng))) for label in ("neutrophil", "eosinophil")]


with st.container(horizontal=True, vertical_alignment="center"):
    if st.button("Try two example pictures", icon=":material/image:") or st.session_state.get("examples"):
        st.session_state["examples"] = not uploads
handed_in = [(file.name, file.getvalue()) for file in uploads[:MAX_PICTURES]]
if len(uploads) > MAX_PICTURES:
    st.warning(
        f"Only the first {MAX_PICTURES:,} of {len(uploads):,} pictures are taken; the command line takes any number."
    )
if not handed_in and st.session_state.get("examples"):
    handed_in = examples()
    shell.synthetic_badge()
if not handed_in:
    st.stop()


@st.cache_resource(max_entries=4, show_spinner="Loading the network …")
def predictor(weights: str, changed: int):
    from bloodcell_core.inference.predictor import Predictor

    return Predictor(runs[name])


try:
    loaded = predictor(str(run.weights_file), run.weights_file.stat().st_mtime_ns)
    bar = st.progress(0.0, "Classifying …") if len(handed_in) > 64 else None
    answers = []
    for answer in loaded.classify((title, lambda data=data: data) for title, data in handed_in):
        answers.append(answer)
        if bar:
            bar.progress(len(answers) / len(handed_in), f"{len(answers):,} of {len(handed_in):,} pictures classified")
    if bar:
        bar.empty()
except (LabError, OSError) as error:
    shell.show_error(str(error))
    st.stop()

refused = [answer for answer in answers if answer.state == "refused"]
st.subheader(
    f"{len(answers) - len(refused):,} classified" + (f", {len(refused):,} refused" if refused else ""),
    anchor=False,
)
colours = css_colours(run.classes)
for (title, data), answer in list(zip(handed_in, answers, strict=True))[:DETAILED]:
    with st.container(border=True):
        thumb, words, bars = st.columns([1, 2, 3], vertical_alignment="center")
        words.markdown(f":small[{shell.plain(title)}]")
        if answer.state == "refused":
            thumb.markdown(":material/broken_image:")
            words.markdown("**refused**")
            bars.caption(shell.plain(answer.reason))
            continue
        thumb.html(f'<img alt="" style="border-radius:6px" src="{gallery.thumbnail(decode_rgb(data), 96)}">')
        cell = answer.cells[0] if answer.cells else None
        if cell and cell.label:
            words.markdown(f"**{shell.plain(pretty(cell.label))}** {shell.percent(cell.probabilities[cell.label])}")
        else:
            words.markdown(f"**{answer.state}**")
            words.caption(shell.plain(cell.reason if cell else answer.reason))
        if cell is None:
            continue
        if answer.reason:
            words.caption(answer.reason)
        with bars:
            charts.probability_bars(cell.probabilities, bold=cell.label or "")
if len(answers) > DETAILED:
    st.caption(f"The first {DETAILED} are drawn; the table holds all {len(answers):,}.")

table = pd.DataFrame(
    {
        "picture": answer.path, "state": answer.state, "class": answer.cells[0].label if answer.cells else None,
        **({f"p_{cls}": share for cls, share in answer.cells[0].probabilities.items()} if answer.cells else {}),
        "reason": answer.reason,
    }
    for answer in answers
)  # fmt: skip
with st.expander("Table", expanded=len(answers) > DETAILED):
    st.dataframe(table, hide_index=True)
written = io.StringIO()
table.assign(run=run.name).to_csv(written, index=False)
st.download_button(
    "Download CSV",
    written.getvalue(),
    "classified.csv",
    "text/csv",
    icon=":material/download:",
    on_click="ignore",
)
