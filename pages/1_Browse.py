"""Browse: a dataset's cells, its findings, counts and map; importing pictures."""

import streamlit as st

from bloodcell_core.crops import VIEWS
from bloodcell_core.errors import LabError
from ui import address, browse, dataset_pictures, lab, naming, shell
from ui.imports import import_button, import_cards

SECTIONS = {
    "pictures": "Pictures",
    "audit": "Findings",
    "counts": "Counts",
    "looks": "Sizes, colours",
    "map": "Map",
}

OF_A_DATASET = ("picture", "finding", "family", "label", "split", "by")

shell.page("Browse", "Look at the cells of a dataset before you train on them.")
import_cards()
if not lab.dataset_names():
    shell.empty_state(
        "No pictures yet. **Demo pictures** are drawn within half a minute, or import a zip or folder of your own.",
        "Make demo pictures",
        lab.make_demo_pictures,
        import_button,
    )
    st.stop()

lab.leave_deleted_dataset(lab.dataset_names(), OF_A_DATASET)
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = address.selectbox("Dataset", lab.dataset_names(), "dataset", width=210, forget=OF_A_DATASET,
                                format_func=lab.dataset_title)  # fmt: skip
    view = address.segmented_control(
        "View", VIEWS, "view", default="frame", format_func=str.capitalize,
        help="Frame: the whole picture. Cell: a square cut around the white cell.",
        disabled=address.follow("show", SECTIONS, "pictures") != "pictures",  # of the gallery alone
    )  # fmt: skip
    section = address.segmented_control("Show", SECTIONS, "show", default="pictures", format_func=SECTIONS.get)
    import_button()
naming.dialog()
try:
    data = lab.dataset(name)
    audit = lab.audit_of(data)
except LabError as error:
    shell.show_error(str(error))
    naming.button("dataset", [name], "name_dataset")  # it can be deleted here
    st.stop()
browse.head(data, audit)
(row,) = lab.rows_of(data, [address.value_of("picture")])
if section in ("pictures", "map"):
    middle, drawer = shell.sides([5, 2], "browse", "medium")
    with middle:
        try:
            browse.pictures(data, audit, view) if section == "pictures" else browse.picture_map(data)
        except LabError as error:
            shell.show_error(str(error))
    with drawer:
        if row is not None:
            dataset_pictures.picture_drawer(data, row)
        else:
            st.caption(f"Click a {'picture' if section == 'pictures' else 'point'} to see it at full size.")
else:
    {"audit": browse.stands_out, "counts": browse.counts, "looks": browse.looks}[section](data, audit)
