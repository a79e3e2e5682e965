"""Compare: runs side by side, what each gets right, and the pictures behind every figure."""

from functools import partial

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import OUTCOMES, check_comparable
from bloodcell_core.evaluation.together import seed_groups
from bloodcell_core.words import pretty
from ui import address, compare, compare_panels, lab, matrix, naming, shell
from ui.compare_about import about_figures

MODES = {"counts": "Counts", "by true": "By true class", "by predicted": "By predicted class"}
DIFFERENCE = "difference"  # in the address: the name of the matrix of differences

shell.page("Compare", "Put runs side by side, and open the pictures behind every figure.")
naming.dialog()
every = {run.name: run for run in lab.need_runs()}
runs = naming.by_tag(every)
if not runs:
    st.caption("No run has all of these tags: remove one above.")
    st.stop()
titles = {name: lab.run_title(run) for name, run in runs.items()}
choices = {name: lab.run_choice(run) for name, run in runs.items()}

st.caption(
    "Tick two or more runs. A column's head sorts; the magnifier above the table searches.",
    help="By key: find a run by the magnifier and press Escape; then the arrows move and Shift and the space bar tick.",
)
picked = compare.pick(runs, every)
compare.say_many_tested(picked, runs.values())
about_figures(picked, titles)
compare.seed_spread(seed_groups(picked), titles)

try:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        merge = compare.can_merge(picked) and address.toggle(
            "Granulocytes against the rest", "merge", forget=("matrix", "cell"),
            help="The same predictions with classes taken together: probabilities are summed. The table keeps all "
            "classes.",
        )  # fmt: skip
        sides = compare.sides(picked, merge)
        compare.report_button(sides, titles, merge)
        naming.button("run", [side.name for side in sides], "name_runs")
except LabError as error:
    shell.show_error(str(error))
    st.stop()

# A is the run ticked first, B the second or the one asked for.
pair = None
if len(sides) > 1:
    against = sides[1]
    if len(sides) > 2:
        name = address.selectbox(
            "B, to compare with A, the first", [side.name for side in sides[1:]], "b",
            default=sides[1].name, format_func=choices.get, forget=("matrix", "cell", "who"),
        )  # fmt: skip
        against = next(side for side in sides if side.name == name)
    try:
        check_comparable(sides[0], against, titles)
        pair = (sides[0], against)
        compare.verdict(compare.compared(*pair), [titles[side.name] for side in pair], len(sides) - 1)
    except LabError as error:
        st.warning(shell.plain(str(error)), icon=":material/warning:")

st.header("Confusion matrices", anchor=False)
with st.container(horizontal=True, vertical_alignment="center"):
    mode = address.segmented_control(
        "Figures", list(MODES), "mode", default="counts", format_func=MODES.get, label_visibility="collapsed"
    )
    with_difference = pair is not None and address.toggle("What changes from A to B", "change")
counts = {side.name: compare.confusion(side) for side in sides}
scale = matrix.common_scale(*counts.values()) if mode == "counts" else None
asked, cell = address.value_of("matrix"), compare.cell_of(address.value_of("cell"))
letters = {side.name: f"{letter}: " for letter, side in zip("AB", pair or (), strict=False)}
drawn = [
    (side.name, side.classes, counts[side.name], None, letters.get(side.name, "") + choices[side.name])
    for side in sides
]
if with_difference:
    a, b = pair
    order = [b.classes.index(name) for name in a.classes]
    after = [[counts[b.name][i][j] for j in order] for i in order]
    drawn.append((DIFFERENCE, a.classes, after, counts[a.name], "B less A"))
width = matrix.narrowest(*(classes for _, classes, *_ in drawn))
with st.grid(2, min_column_width=width) if len(drawn) > 1 else st.container():
    for name, classes, after, before, title in drawn:
        matrix.confusion_matrix(
            after, classes, key=f"matrix-{name}" if before is None else "changes", title=title, mode=mode,
            on_click=partial(compare.open_cell, name), baseline=before, scale_max=scale if before is None else None,
            selected=cell if cell and name == asked and max(cell) < len(classes) else None,
        )  # fmt: skip

if pair:
    compare.outcome_buttons(compare.compared(*pair))
opened = next((side for side in sides if side.name == asked), pair[0] if pair and asked == DIFFERENCE else None)
try:
    if pair and address.value_of("who") in OUTCOMES:
        compare.open_outcome(*pair, address.value_of("who"))
    elif opened and cell and max(cell) < len(opened.classes):
        true, predicted = (opened.classes[place] for place in cell)
        shown = list(pair) if asked == DIFFERENCE else [opened]
        found = [compare.found_pictures(side, true, predicted) for side in shown]
        *first, last = (len(table) for table in found)
        of = "".join(f"{count:,} and " for count in first) + shell.counted(last, "picture")
        st.header(f"{of}: truly {shell.plain(pretty(true))}, called {shell.plain(pretty(predicted))}", anchor=False)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(" · ".join(shell.plain(titles[side.name]) for side in shown), width="content")
            lab.say_synthetic(opened.run.synthetic)
        compare.pictures_of(opened.run, dict(zip(compare.GALLERIES, found, strict=False)))
    else:
        st.caption("Click a cell of a matrix to see its pictures.")
except LabError as error:
    shell.show_error(str(error))

st.header("Figures", anchor=False)
compare_panels.panels(sides, choices)
