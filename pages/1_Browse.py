"""Browse: look at a dataset's cells, its counts and splits, and import new pictures."""

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import SPLITS, describe
from bloodcell_core.data.formats import FORMATS
from bloodcell_core.data.importing import DEMO_PER_CLASS, import_dataset, make_demo
from bloodcell_core.data.views import VIEWS
from bloodcell_core.errors import LabError
from ui import charts, gallery, lab, shell
from ui.theme import pretty

PER_PAGE = 150
SPLIT_WORDS = {"all": "All", "train": "Train", "val": "Validation", "test": "Test"}

shell.page("Browse", "Look at the cells of a dataset before you train on them.")


@st.dialog("Import pictures", width="large")
def import_dialog() -> None:
    st.markdown(
        "A **zip or folder with one folder a class**, with or without `train` and `test` folders above them; "
        "the public *Blood Cell Images* archive is recognised as it is downloaded."
    )
    tab_path, tab_upload, tab_demo = st.tabs(["From this machine", "Upload a zip", "Draw demo pictures"])
    st.caption("Keep this window open until it is done: an import that is left is undone.")
    with tab_path:
        path = st.text_input("Path of a zip or folder", placeholder="/home/me/blood-cells.zip")
        name = st.text_input("Name", placeholder="made from the path where left empty", key="path_name")
        trace = st.toggle(
            "Trace pictures to their photographs",
            value=True,
            help="Takes minutes where the archive holds the photographs; without it intervals go by picture and are "
            "far too narrow.",
        )
        simple = st.toggle("Take TEST_SIMPLE too", help="71 more pictures of the public archive; left out by default.")
        if st.button("Import", type="primary", disabled=not path, key="import_path"):
            _run_import(
                lambda progress, tracing: import_dataset(
                    Path(path).expanduser(), name or None, "auto", simple, progress, trace, tracing
                )
            )
    with tab_upload:
        upload = st.file_uploader("A zip", type=["zip"])
        name = st.text_input("Name", placeholder="made from the file's name where left empty", key="upload_name")
        if st.button("Import", type="primary", disabled=upload is None, key="import_upload") and upload:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, Path(upload.name).name)
                file.write_bytes(upload.getbuffer())
                _run_import(
                    lambda progress, tracing: import_dataset(
                        file, name or None, progress=progress, trace_progress=tracing
                    )
                )
    with tab_demo:
        st.caption("Synthetic pictures, drawn by a program: good for trying things out, not for any claim.")
        name = st.text_input("Name", value="demo", key="demo_name")
        count = st.number_input("Pictures a class", 10, 5000, DEMO_PER_CLASS)
        seed = st.number_input("Seed", 0, 10**6, 0, help="The same seed draws the same pictures.")
        if st.button("Draw", type="primary"):
            _run_import(lambda progress, _: make_demo(name, int(count), int(seed), progress))


def _run_import(work) -> None:
    bar = st.progress(0.0, "Reading …")
    try:
        made = work(
            lambda done, total: bar.progress(done / total, f"{done:,} of {total:,} pictures read"),
            lambda done, total: bar.progress(done / total, f"{done:,} of {total:,} traced to their photographs"),
        )
    except LabError as error:
        bar.empty()
        shell.show_error(str(error))
        return
    except OSError as error:
        bar.empty()
        shell.show_error(f"The system refused: {error.strerror or error}")
        return
    shell.set_address(dataset=made.name, label=None, split=None, page=None, picture=None)
    st.rerun()


if not lab.dataset_names():
    shell.empty_state(
        "No pictures yet. **Demo pictures** are drawn in a few seconds, or import a zip or folder of your own.",
        "Make demo pictures",
        lab.demo_dialog,
    )
    if st.button("Import pictures", icon=":material/upload:"):
        import_dialog()
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    name = shell.bound_selectbox("Dataset", lab.dataset_names(), "dataset", width=260)
    view = shell.bound_segmented(
        "View", VIEWS, "view", default="frame", format_func={"frame": "Frame", "cell": "Cell"}.get,
        help="Frame: the whole picture. Cell: a square cut around the white cell.",
    )  # fmt: skip
    if st.button("Import pictures", icon=":material/upload:"):
        import_dialog()

try:
    data = lab.dataset(name)
    facts = describe(data)
except LabError as error:
    shell.show_error(str(error))
    st.stop()

with st.container(horizontal=True, vertical_alignment="center"):
    lab.say_synthetic(data.synthetic)
    st.badge(f"{facts['pictures']:,} pictures", color="violet")
    st.badge(
        f"{facts['photos']:,} source photos" if facts["photos"] is not None else "source photos not known",
        color="violet" if facts["photos"] is not None else "gray",
        help="The photographs that the pictures are copies of. Honest figures count photos, not copies. "
        f"{facts['untraced'] or 0} pictures could not be traced and count as photos of their own.",
    )
    st.badge(f"{len(facts['classes'])} classes", color="violet")
    if facts["unreadable"]:
        st.badge(f"{facts['unreadable']} unreadable", color="red")
    if facts["duplicates"]:
        st.badge(f"{facts['duplicates']} duplicates left out", color="gray")

if facts["scenes_in_several_splits"]:
    st.warning(
        f"{facts['scenes_in_several_splits']} cells were photographed more than once, and their photographs stand in "
        f"several splits: {facts['test_pictures_of_shared_scenes']:,} test pictures show cells that training sees too.",
        icon=":material/warning:",
    )

gallery_tab, counts_tab, files_tab = st.tabs(["Pictures", "Counts and splits", "Missing and unreadable"])

with gallery_tab:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = shell.bound_selectbox(
            "Class", ["all", *data.classes], "label", default="all", width=220,
            format_func=lambda value: "All classes" if value == "all" else pretty(value),
        )  # fmt: skip
        present = ["all", *(split for split in SPLITS if split in facts["splits"])]
        split = shell.bound_segmented("Split", present, "split", default="all", format_func=SPLIT_WORDS.get)
    chosen = data.pictures
    if label != "all":
        chosen = chosen[chosen.label == label]
    if split != "all":
        chosen = chosen[chosen.split == split]
    # A fixed shuffle: in file order a page would show copies of one photo after another.
    chosen = chosen.sample(frac=1, random_state=0) if len(chosen) else chosen
    grid, drawer = st.columns([5, 2], gap="medium")
    with grid:
        above, below = st.container(), st.container()
        with below:
            start, stop = gallery.pager(len(chosen), PER_PAGE)
        rows = chosen.index[start:stop].tolist()
        with above:
            if not rows:
                st.caption("No picture of this class in this split.")
            opened = gallery.gallery(
                lab.tiles(data, rows, view), "browse", tile_px=96, selected=shell.address("picture")
            )
        if opened:
            shell.set_address(picture=opened)
            st.rerun()
    with drawer:
        picked = shell.address("picture")
        if picked and picked.isdecimal() and int(picked) in data.pictures.index:
            lab.picture_drawer(data, int(picked))
        else:
            st.caption("Click a picture to see it at full size.")

with counts_tab:
    charts.class_bars({part: facts["splits"][part]["by_class"] for part in facts["splits"]}, key="counts")
    table = pd.DataFrame(
        [
            {"Split": SPLIT_WORDS[part], "Pictures": values["pictures"], "Photos": values["photos"]}
            | {pretty(cls): count for cls, count in values["by_class"].items()}
            for part, values in facts["splits"].items()
        ]
    )
    st.dataframe(table, hide_index=True)
    st.caption(
        f"Split: {shell.plain(facts['split_origin'])}. Validation is cut from the training pictures by each run. "
        f"Format: {FORMATS[facts['format']].title if facts['format'] in FORMATS else 'demo pictures'}. "
        + (f"Licence: {shell.plain(facts['licence'])}. " if facts["licence"] else "")
        + (f"Source: {shell.plain(facts['citation'])}." if facts["citation"] else "")
    )

with files_tab:
    st.markdown(
        f"**{facts['unreadable']:,}** unreadable, **{facts['duplicates']:,}** byte-identical duplicates, "
        f"**0** pictures without a label, {facts['ignored_files']:,} files passed over that are no labelled pictures."
    )
    if facts["unreadable"]:
        st.dataframe(pd.DataFrame(facts["unreadable_files"]), hide_index=True)
    doubled = data.images[data.images.status == "duplicate"]
    if len(doubled):
        st.dataframe(doubled[["file", "duplicate_of", "label"]], hide_index=True)
