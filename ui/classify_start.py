"""The start of the Classify page: pictures are uploaded, or an earlier slide is opened."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core import runs as run_folders
from bloodcell_core import workspace
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import SUFFIXES, UnreadablePicture, encode
from bloodcell_core.data.sources import left_by_a_system
from bloodcell_core.errors import LabError
from bloodcell_core.inference.handed_in import Handed, files_of
from bloodcell_core.smear import slides
from bloodcell_core.smear.slides import MAX_BYTES, MAX_PICTURES, Slide
from ui import address, classify, lab, shell

MANY = 16  # with more files, a bar shows the progress of storing them
MAX_UPLOAD = 450  # MiB per file, probably a zip: pictures larger than `MAX_FILE_BYTES` are refused. Streamlit would
# write more than 500 MB as "1GB".
EXAMPLE_FIELD = ("neutrophil", "neutrophil", "lymphocyte", "neutrophil", "monocyte", "eosinophil", "lymphocyte")
OURS = "upload.zip"  # the name of any zip while its pictures are being stored
START = "classify_start"  # key of the container of everything here
DROP = "classify_drop"  # session: how often the drop zone was emptied
MADE = "classify_made"  # session: the slide that was stored last, until it is open
REFUSED = "classify_refused"  # session: files that couldn't be stored, and why, so that no redraw tries them again
OF_A_SLIDE = ("slide", "picture", "view", "show", "called", "page", "part")  # what the address says of an open slide


def start_or(slide: Slide | None, run: str) -> bool:
    """Draws the start of the page if no slide is open; returns whether one is.

    If one is, the start is hidden at once: otherwise it would stay, greyed, until the network has answered, which can
    take minutes.
    """
    st.html(f"<style>.st-key-{START} {{ display: {'none' if slide else 'flex'} !important; }}</style>")
    # Drawn in either case: another element in its place would inherit, and show, its content in the browser.
    box = st.container(key=START)
    if slide is None:
        with box:
            _start(run)
    return slide is not None


def way_back(help: str | None = None) -> None:
    """Draws the link to the list of slides; unlike a button it works while the network is busy."""
    query = {param: st.query_params.get_all(param) for param in st.query_params if param not in OF_A_SLIDE}
    st.page_link(
        "pages/5_Classify.py", label="All slides", icon=":material/arrow_back:", query_params=query, help=help
    )


def _start(run: str) -> None:
    """Draws the drop zone, the examples and the list of slides; opens the slide that a person makes or picks."""
    if made := classify.session_dict(MADE).pop("slide", None):
        open_slide(made)  # a second click ended the script run that had stored it
    uploads = drop_zone()
    if uploads and not _refused_before(uploads):
        _make(_name_of(uploads), run, uploads)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.caption("Nothing at hand?", width="content")
            shell.synthetic_badge()
        cells = st.button("Try two example cells", icon=":material/image:")
        field = st.button("Try an example smear field", icon=":material/grain:")
    if cells:
        _make("Two example cells", run, _example_cells(), synthetic=True)
    if field:
        _make("Example smear field", run, [_example_field()], synthetic=True)
    _earlier()


def drop_zone(key: str = "") -> list[Any]:
    """Draws the drop zone; returns the uploaded files, zips among them."""
    folder = st.segmented_control(
        "Upload", ["Pictures or a zip", "A folder"], default="Pictures or a zip", required=True,
        label_visibility="collapsed", key=f"{DROP}_what{key}",
    ) == "A folder"  # fmt: skip
    times = st.session_state.get(DROP, 0)
    found: list[Any] = st.file_uploader(
        "Drop a folder of pictures here" if folder else "Drop pictures of single cells, smear fields, or a zip here",
        type=None if folder else [*(suffix[1:] for suffix in SUFFIXES), "zip"],
        accept_multiple_files="directory" if folder else True, key=f"{DROP}_{key}_{folder}_{times}",
        max_upload_size=MAX_UPLOAD,
        help=f"JPEG, PNG, TIFF (8 and 16 bit), WebP or BMP. At most {MAX_PICTURES:,} pictures and "
        f"{MAX_BYTES // 2**30} GiB a slide. They stay on this machine.",
    )  # fmt: skip
    return found


def take_more(slide: Slide) -> None:
    """Draws a drop zone that adds pictures to a slide."""
    uploads = drop_zone("_more")
    if uploads and not _refused_before(uploads):
        with _opened(uploads) as handed:
            _stored(lambda progress: slides.add_pictures(slide, handed, progress), uploads)


def _make(name: str, run: str, uploads: Sequence[Any], synthetic: bool = False) -> None:
    with _opened(uploads) as handed:
        _stored(lambda progress: slides.create(name, run, handed, synthetic, progress), uploads)


def _refused_before(uploads: Sequence[Any]) -> bool:
    """Whether these very files couldn't be stored last time: then shows why. Dropped again, they are tried again."""
    refused = classify.session_dict(REFUSED)
    same: bool = refused.get("files") == _file_ids(uploads)
    if same:
        shell.show_error(refused["reason"])
    return same


def _file_ids(uploads: Sequence[Any]) -> list[str]:
    return [upload.file_id for upload in uploads]


def _stored(store: Any, uploads: Sequence[Any]) -> None:
    """Stores the uploads, with progress, and opens the slide; or shows why not."""
    made = classify.session_dict(MADE)
    bar = st.progress(0.0, "Keeping the pictures …") if len(uploads) > MANY else None

    def tell(done: int, total: int) -> None:
        if bar and (done % MANY == 0 or done == total):
            bar.progress(done / total, f"{done:,} of {total:,} pictures kept")

    try:
        # No call of Streamlit here: after a second click it would end this script run, and all would be stored twice.
        made["slide"] = store(tell)
    except LabError as error:
        shell.show_error(str(error))
        classify.session_dict(REFUSED).update(files=_file_ids(uploads), reason=str(error))
        return
    finally:
        if bar:
            bar.empty()
    open_slide(made["slide"])


def opened() -> None:
    """Empties the drop zone once the dropped files are stored and their slide is open, to free their memory."""
    if classify.session_dict(MADE):
        st.session_state[DROP] = st.session_state.get(DROP, 0) + 1
        del st.session_state[MADE]


def open_slide(slide: Slide | None) -> None:
    """Goes to a slide, or with None to the list of slides."""
    _address(slide)
    st.rerun()


def _address(slide: Slide | None) -> None:
    opened = {"slide": slide.id, "run": slide.run} if slide else {}
    other = {"threshold": None} if slide and slide.run != address.value_of("run") else {}  # it was set for one network
    address.write(**dict.fromkeys(OF_A_SLIDE) | opened | other)


@contextmanager
def _opened(uploads: Sequence[Any]) -> Iterator[Iterator[Handed]]:
    """The files of an upload; copies of its zips are kept beside the workspace's slides until they are stored."""
    with ExitStack() as until_stored:
        yield _files(uploads, until_stored)


def _files(uploads: Sequence[Any], until_stored: ExitStack) -> Iterator[Handed]:
    for upload in uploads:
        if any(map(left_by_a_system, PurePosixPath(upload.name).parts)):
            continue
        if not upload.name.lower().endswith(".zip"):
            yield upload.name, upload.getvalue
            continue
        parent = workspace.slides_dir()
        parent.mkdir(parents=True, exist_ok=True)
        path = Path(until_stored.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=".zip.")), OURS)
        with open(path, "xb") as copy:
            upload.seek(0)
            shutil.copyfileobj(upload, copy)
        for file, read in files_of([path]):
            yield upload.name + file.removeprefix(str(path)), partial(_read_as, upload.name, read)


def _read_as(name: str, read: Callable[[], bytes]) -> bytes:
    """The result of `read`. The message on an unreadable zip has the name of the upload, not of our copy."""
    try:
        return read()
    except UnreadablePicture as error:
        told = str(error)
        if not told.startswith(f"{OURS} "):
            raise
        raise UnreadablePicture(PurePosixPath(name).name + told.removeprefix(OURS)) from error


def _name_of(uploads: Sequence[Any]) -> str:
    """The name of a slide of these files: their folder's, the only file's, or their number and the time."""
    first = PurePosixPath(uploads[0].name)
    with suppress(LabError):  # a file's name may have no visible character
        if len(first.parts) > 1:
            return slides.tidy_name(first.parts[0])
        if len(uploads) == 1:
            return slides.tidy_name(first.stem)
    return f"{shell.counted(len(uploads), 'picture')}, {datetime.now():%d %b %H:%M}"


class _Drawn:
    """A picture that this program drew, with the attributes of an uploaded one."""

    def __init__(self, name: str, pixels: np.ndarray):
        self.name = self.file_id = name
        self.getvalue = lambda: encode(pixels)


def _example_cells() -> list[_Drawn]:
    rng = np.random.default_rng(7)
    return [_Drawn(f"synthetic {label}.png", demo.draw_picture(label, rng)) for label in ("neutrophil", "eosinophil")]


def _example_field() -> _Drawn:
    return _Drawn("synthetic field.png", demo.draw_field(np.random.default_rng(11), EXAMPLE_FIELD).pixels)


# Earlier slides


def _tell_damaged(name: str, reason: str) -> None:
    """Draws why a slide can't be read, and a button to delete it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shell.show_error(reason)
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown("This deletes the slide's pictures and corrections, which may still be intact.")
            sure = st.checkbox("Yes, delete it", key=f"classify_sure_{name}")
            if st.button("Delete the slide", type="primary", disabled=not sure, key=f"classify_delete_{name}"):
                shell.attempt(slides.remove, name)


def _earlier() -> None:
    try:
        found, damaged = slides.listed()
    except OSError:  # the head of the page reports it
        return
    for name, reason in damaged.items():
        _tell_damaged(name, reason)
    if not found:
        return
    st.header("Slides", anchor=False)
    runs = {run.name: run for run in run_folders.readable_runs()[0]}
    table = pd.DataFrame(
        {
            "Slide": slide.name + (" (synthetic)" if slide.synthetic else ""),
            "Pictures": len(slide.pictures),
            "Corrections": slide.corrections_in_force,
            "Made": pd.Timestamp(slide.created),
            "Answered by": lab.run_choice(runs[slide.run]) if slide.run in runs else slide.run,
        }
        for slide in found
    )

    def pick() -> None:
        """Of the slides as they are drawn here: the next time there may be others."""
        if rows := st.session_state["classify_slides"].selection.rows:
            _address(found[rows[0]])

    shell.table(
        table, on_select=pick, selection_mode="single-row", key="classify_slides",
        column_config={"Made": st.column_config.DatetimeColumn(format="distance")},
    )  # fmt: skip
    st.caption("Pick a slide to open it.", help="By key: the arrows, then Shift and the space bar.")
