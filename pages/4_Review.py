"""Review: every picture that a run got wrong, the most confident mistakes first."""

import streamlit as st

from bloodcell_core.errors import LabError
from bloodcell_core.review.mistakes import confusion_pairs, mistakes
from ui import charts, gallery, lab, shell
from ui.theme import pretty

PER_PAGE = 60
ALL = "all"

shell.page("Review", "Go through the pictures that a network gets wrong, its most confident mistakes first.")
runs = {run.name: run for run in lab.need_runs()}


def pair_of(run, value: str) -> tuple[str, str]:
    true, predicted = map(int, value.split("-"))
    return run.classes[true], run.classes[predicted]


with st.container(horizontal=True, vertical_alignment="bottom"):
    name = shell.bound_selectbox("Run", list(runs), "run", format_func=lambda name: lab.run_title(runs[name]))
    run = runs[name]
    table = lab.predictions(run)
    every = mistakes(table, run.classes)
    pairs = confusion_pairs(every)
    # By place among the classes: a class's name may hold any character.
    counted = {
        f"{run.classes.index(row.label)}-{run.classes.index(row.predicted)}": row.count
        for row in confusion_pairs(every).itertuples(index=False)
    }
    pair = shell.bound_selectbox(
        "Mistake", [ALL, *counted], "pair", default=ALL,
        format_func=lambda value: f"All mistakes ({len(every):,})" if value == ALL
        else "{} called {} ({:,})".format(*map(pretty, pair_of(run, value)), counted[value]),
    )  # fmt: skip
    view = shell.bound_segmented("View", ["frame", "cell"], "view", default="cell", format_func=str.capitalize)

try:
    data = lab.dataset(run.config.data)
except LabError as error:
    shell.show_error(f"The pictures of this run are gone: {error}")
    st.stop()

queue = every if pair == ALL else mistakes(table, run.classes, pair=pair_of(run, pair))
wanted = len(queue)
queue = queue.assign(row=lab.rows_of(data, queue.image_id)).dropna(subset="row").reset_index(drop=True)
if len(queue) < wanted:
    st.warning(
        f"{wanted - len(queue):,} mistakes can't be shown: their pictures are no longer in {shell.plain(data.name)}.",
        icon=":material/warning:",
    )
total = int((table.split == "test").sum())
if wanted and queue.empty:
    st.stop()
if queue.empty:
    shell.empty_state(
        f"No mistakes here: all {total:,} test pictures are classified as they are labelled.",
        "Classify your own pictures",
        "pages/5_Classify.py",
        run=run.name,
    )
    st.stop()

row_ids = [str(int(row)) for row in queue.row]
picked = shell.address("picture")
place = row_ids.index(picked) if picked in row_ids else 0
mistake = queue.loc[place]


def go(to: int) -> None:
    # The filmstrip follows: its page is the one that holds the picture.
    shell.set_address(picture=row_ids[to % len(row_ids)], page=str(to % len(row_ids) // PER_PAGE + 1))


large, side = st.columns([2, 1], gap="large")
with large:
    try:
        original, cell = lab.original_and_view(data, int(mistake.row))
        words = f"True {pretty(mistake.label)}, predicted {pretty(mistake.predicted)}"
        near, whole = st.columns([3, 4])
        near.image(cell.pixels, width="stretch", alt=f"{words}, cell view", caption="Cell view")
        whole.image(
            lab.outlined(original, cell), width="stretch", alt=f"{words}, whole picture", caption="Whole picture"
        )
    except LabError as error:
        shell.show_error(str(error))
with side:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{place + 1:,} of {len(queue):,}**")
        st.button("Previous", on_click=go, args=(place - 1,), shortcut="Left", icon=":material/arrow_back:")
        st.button(
            "Next",
            on_click=go,
            args=(place + 1,),
            shortcut="Right",
            type="primary",
            icon=":material/arrow_forward:",
        )
        lab.say_synthetic(run.synthetic)
    st.markdown(
        f"Label **{shell.plain(pretty(mistake.label))}** → predicted **{shell.plain(pretty(mistake.predicted))}**"
    )
    charts.probability_bars({cls: float(mistake[f"p_{cls}"]) for cls in run.classes}, bold=mistake.predicted)
    facts = lab.facts_of(data, int(mistake.row))
    st.caption("  \n".join(f"{title}: {shell.plain(str(value))}" for title, value in facts.items()))

st.caption(f"{len(every):,} mistakes among {total:,} test pictures of {shell.plain(data.name)}.")
above, below = st.container(), st.container()
with below:
    start, stop = gallery.pager(len(queue), PER_PAGE)
part = queue[start:stop]
captions = [f"{pretty(row.predicted)} {shell.percent(row.confidence)}" for row in part.itertuples()]
with above:
    clicked = gallery.gallery(
        lab.tiles(data, part.row.astype(int).tolist(), view, captions),
        "mistakes",
        selected=str(int(mistake.row)),
    )
if clicked:
    shell.set_address(picture=clicked)
    st.rerun()
