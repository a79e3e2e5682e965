"""The home page: what is here, what to do next."""

import numpy as np
import pandas as pd
import streamlit as st

from bloodcell_core import runs as run_folders
from bloodcell_core.data import demo
from bloodcell_core.data.views import make_view
from bloodcell_core.errors import LabError
from bloodcell_core.words import pretty
from ui import curves, lab, recommendation, review, shell
from ui.device import device_and_reason

SEED = 16  # draws four cells of which none lies at its picture's edge
HINTS = {"Mistakes to review": "Photos with a picture that the newest run got wrong and nobody has judged yet."}

shell.page(shell.NAME, "Train networks on white-blood-cell pictures, look at every mistake, classify your own.")

datasets = lab.dataset_names()
runs, damaged = run_folders.readable_runs()
described = [run.describe() for run in runs]
working = sum(facts["state"] in ("running", "queued") for facts in described)
own = [facts for facts in described if not facts["bundled"]]
# A fold of a cross-validation is tested on other pictures than a run on the dataset's own test split.
runs, described = [run for run in runs if not run.config.folds], [facts for facts in described if not facts["fold"]]
scored = [facts for facts in described if facts["summary"] and facts["summary"]["test"]]
trained = [facts for facts in scored if not facts["bundled"]]


@st.cache_data(show_spinner=False)
def _samples() -> list[np.ndarray]:
    """A drawn cell of each class, to show an empty lab's visitor what this is about."""
    rng = np.random.default_rng(SEED)
    return [make_view(demo.draw_picture(name, rng), "cell", 240).pixels for name in demo.DEMO_CLASSES]


def _to_review() -> str:
    """How many photos of the newest run's mistakes nobody has judged yet."""
    if not trained:
        return "–"
    try:
        return f"{review.left_to_review(run_folders.Run(trained[0]['run'])):,}"
    except LabError:  # its pictures or the database are gone: the Review page tells why
        return "–"


def _losses(run: run_folders.Run) -> list[float | None]:
    """The validation loss of each epoch; as far as the file can be read, which is told of."""
    course = curves.course(run)
    if course.problem:
        shell.show_error(course.problem)
    return [event.get("val_loss") for event in course.epochs]


def _next_step() -> tuple[str, str, str]:
    """What to do next: a sentence, the button's words, and the page it leads to."""
    if not datasets:
        return "Begin with pictures: draw some within half a minute, or import your own.", "Make demo pictures", ""
    if not trained and working:
        return "The first network is learning: watch its loss fall.", "Watch it learn", "pages/2_Train.py"
    if not trained:
        return (
            "Train the first network and watch its loss fall.",
            "Train the first network",
            "pages/2_Train.py",
        )
    if len(trained) == 1:
        return "Look at what the network gets wrong.", "Look at its mistakes", "pages/4_Review.py"
    return "Try a picture of your own on a trained network.", "Classify your own", "pages/5_Classify.py"


with st.grid(4, min_column_width=200):
    for title, value in (
        ("Datasets", len(datasets)),
        ("Runs at work" if working else "Runs", f"{working} of {len(own)}" if working else len(own)),
        ("Mistakes to review", _to_review()),
    ):
        st.metric(title, value, border=True, height="stretch", help=HINTS.get(title))
    device = st.empty()  # its tile stands from the start: it takes seconds to be filled
    device.metric("Device", "…", "looking for a GPU", delta_color="off", delta_arrow="off", border=True,
                  height="stretch")  # fmt: skip

sentence, button, target = _next_step()
with st.container(border=True, horizontal=True, vertical_alignment="center"):
    st.markdown(f"**Next step.** {sentence}")
    clicked = st.button(button, type="primary", width="content")
if clicked and target:
    st.switch_page(target)
elif clicked:
    lab.make_demo_pictures()
if not datasets:
    st.caption("The public archive or your own folder of pictures is imported on the *Browse* page.")
    if any(run.bundled for run in runs):
        st.page_link(
            "pages/5_Classify.py", label="Classify with the network that comes with the lab",
            icon=":material/biotech:",
        )  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        for name, drawn in zip(demo.DEMO_CLASSES, _samples(), strict=True):
            of = f"{pretty(name)}, synthetic"
            st.image(drawn, width=150, caption=of, alt=of)

lab.tell_damaged(damaged)

pending: recommendation.Pending = []
if scored:
    st.header("Which network to use", anchor=False)
    pending = recommendation.cards(scored, {run.name: run for run in runs})

if own:
    st.header("Last runs", anchor=False)
    rows = []
    trained_here = [(run, facts) for run, facts in zip(runs, described, strict=True) if not run.bundled]
    for run, facts in trained_here[:12]:
        test = (facts["summary"] or {}).get("test")
        limits = test["intervals"]["accuracy"] if test else None
        rows.append(
            {
                "Run": lab.run_cell(run),
                "State": facts["state"],
                "Validation loss": _losses(run),
                "Test accuracy": 100 * test["accuracy"] if test else None,
                "95% interval": shell.percent_interval(limits),
            }
        )
    shell.table(
        pd.DataFrame(rows),
        column_config={
            "Validation loss": st.column_config.LineChartColumn(help="By epoch; lower is better."),
            "Test accuracy": st.column_config.NumberColumn(format="%.1f%%"),
            "95% interval": st.column_config.TextColumn(help="Of the accuracy, in percent; by source photo if known."),
        },
    )

# After all that is quick: it takes seconds the first time.
with device:
    try:
        kind, why = device_and_reason()
    except LabError as error:
        kind, why = "not known", shell.plain(str(error))
    st.metric("Device", kind, why, delta_color="off", delta_arrow="off", border=True, height="stretch",
              help=why if kind == "not known" else None)  # fmt: skip  (longer than the tile is wide)
recommendation.fill(pending)
