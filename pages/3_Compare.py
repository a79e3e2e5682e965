"""Compare: two or more runs side by side, their figures, their confusion matrices, the pictures behind each cell."""

import pandas as pd
import streamlit as st

from bloodcell_core.data.dataset import names as dataset_names
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.published import PUBLISHED, PUBLISHED_FORMAT
from ui import gallery, lab, matrix, shell
from ui.theme import pretty

PER_PAGE = 120
MODES = {"counts": "Counts", "by true": "By true class", "by predicted": "By predicted class"}
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "Macro F1",
    "auc_ovr": "AUC",
}

shell.page("Compare", "Put runs side by side, and open the pictures behind every figure.")
runs = {run.name: run for run in lab.need_runs()}

chosen = shell.bound_multiselect(
    "Runs", list(runs), "runs", default=list(runs)[:2], format_func=lambda name: lab.run_title(runs[name])
)
picked = [runs[name] for name in chosen]
if not picked:
    st.info("Pick at least one run; two or more to compare them.")
    st.stop()


def open_cell(runs: dict) -> tuple | None:
    """The run and the (true, predicted) indices whose pictures the address asks for."""
    run, cell = runs.get(shell.address("matrix")), (shell.address("cell") or "").split("-")
    if run and len(cell) == 2 and all(part.isdecimal() and int(part) < len(run.classes) for part in cell):
        return run, (int(cell[0]), int(cell[1]))
    return None


def figure(value: float | None, limits: list[float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" + (f"  ({limits[0]:.3f} to {limits[1]:.3f})" if limits else "")


rows = []
for run in picked:
    summary, test = run.summary(), run.summary()["test"]
    rows.append(
        {"Run": lab.run_title(run) + (" · synthetic pictures" if run.synthetic else "")}
        | {title: figure(test[key], test["intervals"][key]) for key, title in METRICS.items()}
        | {
            "Test pictures": f"{test['pictures']:,}",
            "Photos": f"{test['photos']:,}" if test["photos"] is not None else "not known",
            "Photos right": f"{test['by_photo']['right']:,}" if test["by_photo"] else "–",
            "Weights": f"{summary['parameters']:,}",
            "Training": f"{summary['training_seconds']:,.0f} s",
            "Best epoch": f"{summary['best_epoch']} of {summary['epochs_trained']}",
        }
    )
formats = {lab.dataset(name).facts["format"] for name in {run.config.data for run in picked} if name in dataset_names()}
published = [
    {
        "Run": f"{row.title} (published)",
        "Accuracy": f"{row.accuracy:.4f}",
        "Macro F1": f"{row.f1_macro:.4f}",
        "AUC": f"{row.auc_ovr:.4f}",
    }
    for row in PUBLISHED
]
table = pd.DataFrame(rows + published).fillna("–")
st.dataframe(table, hide_index=True, column_config={"Run": st.column_config.TextColumn(width="large", pinned=True)})
st.caption(
    "In brackets the 95% interval, resampled by source photo where photos are known. The published rows are what the "
    "original analysis reports on the public archive's test split, without intervals."
    + (
        ""
        if formats == {PUBLISHED_FORMAT}
        else " These runs are on other pictures: they can't be compared with the published rows."
    )
)
notes = dict.fromkeys(note for run in picked for note in run.summary()["test"]["warnings"])
if notes:
    st.caption(f":material/info: {shell.plain('; '.join(notes))}.")
if len({(run.data_hash, run.config.data) for run in picked}) > 1:
    st.warning(
        "These runs were tested on different pictures: their figures can't be set against each other.",
        icon=":material/warning:",
    )

st.subheader("Confusion matrices", anchor=False)
mode = shell.bound_segmented(
    "Figures", list(MODES), "mode", default="counts", format_func=MODES.get, label_visibility="collapsed"
)
scale = matrix.common_scale(*(run.summary()["test"]["confusion"] for run in picked)) if mode == "counts" else None
opened = open_cell(runs)
with st.grid(2, min_column_width=380) if len(picked) > 1 else st.container():
    for run in picked:
        clicked = matrix.confusion_matrix(
            run.summary()["test"]["confusion"], run.classes, key=f"matrix-{run.name}", title=lab.run_title(run),
            mode=mode, scale_max=scale, selected=opened[1] if opened and opened[0] is run else None,
        )  # fmt: skip
        if clicked:
            shell.set_address(matrix=run.name, cell="{}-{}".format(*clicked), page=None)
            st.rerun()

if opened and opened[0] in picked:
    run, place = opened
    true, predicted = (run.classes[index] for index in place)
    found = lab.predictions(run)
    found = found[(found.split == "test") & (found.label == true) & (found.predicted == predicted)]
    st.subheader(
        f"{len(found):,} pictures: truly {shell.plain(pretty(true))}, called {shell.plain(pretty(predicted))}",
        anchor=False,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(shell.plain(lab.run_title(run)), width="content")
        lab.say_synthetic(run.synthetic)
    try:
        data = lab.dataset(run.config.data)
        found = found.assign(row=lab.rows_of(data, found.image_id)).dropna(subset="row")
        view = shell.bound_segmented(
            "View", ["frame", "cell"], "view", default=run.config.view, format_func=str.capitalize
        )
        above, below = st.container(), st.container()
        with below:
            start, stop = gallery.pager(len(found), PER_PAGE)
        part = found.sort_values(f"p_{predicted}", ascending=False, kind="stable")[start:stop]
        captions = [shell.percent(share) for share in part[f"p_{predicted}"]]
        with above:
            picture = gallery.gallery(lab.tiles(data, part.row.astype(int).tolist(), view, captions), "cell")
        if picture:
            st.switch_page("pages/1_Browse.py", query_params={"dataset": data.name, "picture": picture})
    except LabError as error:
        shell.show_error(str(error))
else:
    st.caption("Click a cell of a matrix to see its pictures.")
