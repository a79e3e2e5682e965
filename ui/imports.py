"""The dialog that starts an import, and the cards that show how far imports are."""

from pathlib import PurePath
from typing import Any

import streamlit as st

from bloodcell_core import disk, workspace
from bloodcell_core.data import import_jobs
from bloodcell_core.data.download import DOWNLOADS
from bloodcell_core.data.import_jobs import ImportJob
from bloodcell_core.data.importing import DEMO_PER_CLASS, free_name
from bloodcell_core.data.sources import check_source, name_for
from ui import job_cards, naming
from ui.once import once
from ui.shell import plain, show_error, shows_errors, visit, whole_number

OPEN = "import_open"  # in the session the visit of the page, until the dialog is closed


def import_button() -> None:
    """Draws the button that opens the dialog, and the dialog while it is open, also when the page is redrawn because an
    earlier import has ended. Of this dialog and `naming`'s the one asked for last opens."""
    if st.button("Import pictures", icon=":material/upload:", on_click=naming.close):
        st.session_state[OPEN] = visit()
    if st.session_state.get(OPEN) == visit() and not naming.asked():
        _dialog()
    else:
        _close()


def _close() -> None:
    st.session_state.pop(OPEN, None)


@st.dialog("Import pictures", width="large", on_dismiss=_close)
def _dialog() -> None:
    """Draws the choice of what to import, and starts it."""
    tab_path, tab_upload, tab_download, tab_demo = st.tabs(
        ["From this machine", "Upload", "Download", "Draw demo pictures"]
    )
    with tab_path:
        st.caption(
            "A zip or folder with **one folder a class**, with or without `train`, `val` and `test` folders above or "
            "inside them; a table (CSV, TSV or Parquet) of paths and labels; smear fields marked in **COCO, VOC, YOLO "
            "or labelme**, of which each cell is cut out; MedMNIST's `.npz`; a folder of PatchCamelyon's `.h5` files; "
            "the public *Blood Cell Images* archive as it is downloaded."
        )
        path = st.text_input("Path", placeholder="/home/me/blood-cells.zip")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("Name", placeholder="made from the path where left empty", key="path_name")
            trace = st.toggle(
                "Find source photos",
                value=True,
                help="Copies of one photograph are found by what they show, which takes minutes. Without this, "
                "intervals are by picture and far too narrow.",
            )
            simple = st.toggle("Take TEST_SIMPLE too", help="71 more pictures of the public archive.")
        # Never off: the click that takes the cursor out of the field comes before the page has heard of the path.
        if st.button("Import", type="primary", key="import_path"):
            # File managers may copy a path in quotation marks, or with a space after it.
            source = path.strip().strip("\"'")
            if source:
                _start("import", source=source, name=name, trace=trace, with_test_simple=simple)
            else:
                show_error("Give the path of a zip, a folder or a table of pictures.")
    with tab_upload:
        upload = st.file_uploader("A zip, a table with its pictures zipped, or an .npz", type=["zip", "npz"])
        name = st.text_input("Name", placeholder="made from the file's name where left empty", key="upload_name")
        if st.button("Import", type="primary", disabled=upload is None, key="import_upload") and upload:
            _start("import", upload=(upload.name, upload), name=name or workspace.slug(PurePath(upload.name).stem))
    with tab_download:
        st.caption("Public data sets, fetched where this machine is online. Some are gigabytes.")
        wanted = st.selectbox("Data set", list(DOWNLOADS), format_func=lambda name: DOWNLOADS[name].title)
        name = st.text_input("Name", placeholder=wanted, key="download_name")
        if st.button("Download and import", type="primary"):
            _start("download", download=wanted, name=name or wanted)
    with tab_demo:
        st.caption("Synthetic pictures, drawn by a program: good for trying things out, not for any claim.")
        with st.container(horizontal=True):
            name = st.text_input("Name", value="demo", key="demo_name")
            count = whole_number("Pictures a class", 10, 5000, DEMO_PER_CLASS)
            seed = whole_number("Seed", 0, 10**6, 0, help="The same seed draws the same pictures.")
        if st.button("Draw", type="primary", disabled=None in (count, seed)):
            _start("demo", name=name, per_class=count, seed=seed)


@shows_errors
def _start(kind: str, **options: Any) -> None:
    def begin() -> None:
        # Checked here, where others can be given: for another job all would have to be given, or uploaded, anew.
        if source := options.get("source"):
            path = disk.expanded(source).absolute()  # the job works in another folder than this server
            check_source(path)
            options.update(source=str(path), name=options["name"] or name_for(path))
        free_name(options["name"])
        import_jobs.check_not_being_made(options["name"])
        import_jobs.start(kind, **options)

    once((kind, str(options)), begin)
    _close()
    st.rerun()


def import_cards() -> None:
    """Draws a card for each import that is at work, or has ended and whose card wasn't closed."""
    job_cards.live_cards(*ImportJob.readable(), _card)


def _card(job: ImportJob, status: dict[str, Any]) -> None:
    options = job.request["options"]
    what = options.get("name") or options.get("download") or options.get("source", "").rstrip("/").rsplit("/", 1)[-1]
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"import_{job.name}"):
        if job_cards.progress(job, status, plain(what)):
            return
        if status["state"] == "done":
            st.markdown(f":material/check_circle: **{plain(status['dataset'])}** is imported.")
            only = dict.fromkeys(st.query_params) | {"dataset": status["dataset"]}
            job_cards.close_and_go(job, "Look at it", **only)
        else:
            job_cards.say_why(status, what)
        job_cards.close(job)
