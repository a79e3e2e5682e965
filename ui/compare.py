"""The Compare page's parts: the table to tick runs in, cached scores and comparisons, the verdict, the report."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from bloodcell_core.crops import VIEWS
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.comparison import (
    OUTCOMES,
    Side,
    at_once_words,
    check_comparable,
    compare_sides,
    p_words,
    picture_outcomes,
    settings_of,
    side_of,
)
from bloodcell_core.evaluation.figures import (
    SHARES,
    difference_interval_words,
    difference_words,
    figure_words,
    interval_words,
    spread_words,
)
from bloodcell_core.evaluation.intervals import RESAMPLES
from bloodcell_core.evaluation.merging import granulocytes
from bloodcell_core.evaluation.scoring import score
from bloodcell_core.labels.overlays import of_runs
from bloodcell_core.runs import Run
from bloodcell_core.words import pretty
from ui import address, cached, dataset_pictures, gallery, lab, shell
from ui.missing import say_missing
from ui.theme import is_dark

T = TypeVar("T")

METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "Macro F1",
    "auc_ovr": "AUC",
}
MEANING = {
    "accuracy": "The share of the pictures whose predicted class is their label.",
    "balanced_accuracy": "The mean recall of the classes: a rare class counts as much as a common one.",
    "f1_macro": "Precision and recall of a class in one figure (their harmonic mean); the mean over the classes.",
    "auc_ovr": "How often a picture of a class gets a higher probability of it than one of another; 0.5 by guessing.",
}
GALLERIES = ("cell", "cell_b")  # keys: of the pictures of A or the only run, and of B
PER_PAGE = 120
MANY = 5  # runs on the same test pictures, from which on the page warns that the best of them is flattered
FOR_INTERVALS, FOR_BOTH = (f"Drawing photos {RESAMPLES:,} times for {what} …" for what in ("the intervals", "both"))
LIGHTER = ("color: #6B6878", "color: #A19EAE")  # on light, on dark


# ---- Picking runs --------------------------------------------------------------------------------------


def pick(runs: Mapping[str, Run], there: Container[str]) -> list[Run]:
    """Draws the table of `runs`, to be sorted, searched and ticked; returns the ticked runs, which the address has.

    The address keeps others of those that are `there`, too: tags that are looked for may leave them out for now. Runs
    that are ticked at the start come first: if they were further down, the table would look as if none were.
    """
    named = st.query_params.get_all("runs")
    asked = [name for name in dict.fromkeys(named) if name in there]
    picked = [name for name in asked if name in runs] or _newest_two(list(runs.values()))
    missing = say_missing(named, there, "the others are shown" if asked else "other runs are shown")
    if missing or not named:
        address.write(runs=asked or picked)  # the default, too: a copied address must keep it
    if st.session_state.get("compare_ticked") != picked or st.session_state.get("compare_rows") != list(runs):
        # Changed from outside: a new table with these ticks is needed, since it remembers ticks by row.
        st.session_state["compare_ticked"], st.session_state["compare_rows"] = picked, list(runs)
        st.session_state["compare_version"] = st.session_state.get("compare_version", 0) + 1
        st.session_state["compare_order"] = list(dict.fromkeys([*picked, *runs]))
    key = f"compare_runs_{st.session_state['compare_version']}"
    names = st.session_state["compare_order"]

    def ticked() -> None:
        rows = [names[row] for row in st.session_state[key]["selection"]["rows"]]
        now = [name for name in picked if name in rows] + [name for name in rows if name not in picked]
        st.session_state["compare_ticked"] = now
        address.write(runs=now, matrix=None, cell=None, who=None, page=None)

    shell.table(
        table([runs[name] for name in names]), key=key, on_select=ticked, selection_mode="multi-row",
        selection_default={"selection": {"rows": [names.index(name) for name in picked]}},
        column_config=_columns(), height=min(36 + 35 * len(names), 300), alt="Runs; tick those to compare",
    )  # fmt: skip
    return [runs[name] for name in picked]


def _newest_two(runs: Sequence[Run]) -> list[str]:
    """The newest run, and the next one that was tested on the same pictures."""
    return [run.name for run in runs if tested_on(run) == tested_on(runs[0])][:2]


def tested_on(run: Run) -> tuple[Any, ...]:
    """The same for runs that were tested on the same pictures of the same classes; an adapted one was on all."""
    return run.data_hash, run.classes, run.split_words("test")


def table(runs: Sequence[Run]) -> Any:
    """A row per run: figures as numbers, so that they can be sorted, each with its interval in a lighter colour."""
    rows = []
    for run in runs:
        summary = run.summary()
        test = summary["test"]
        figures: dict[str, Any] = {}
        for key, title in METRICS.items():
            limits = test["intervals"][key]
            figures[title] = 100 * test[key] if key in SHARES and test[key] is not None else test[key]
            figures[f"{title}, 95%"] = interval_words(key, limits)
        by_photo = test["by_photo"]
        rows.append(
            {"Run": lab.run_cell(run)}
            | figures
            | {
                "Photos right": f"{by_photo['right']:,} of {by_photo['photos']:,}" if by_photo else "not known",
                "Photos right, 95%": interval_words("accuracy", by_photo and by_photo["interval"]),
                "Test pictures": test["pictures"],
                "Validation accuracy": None if summary["val_accuracy"] is None else 100 * summary["val_accuracy"],
                "Weights": summary["parameters"],
                "Training": summary["training_seconds"],
                "Seed": None if run.is_ensemble else run.config.seed,
                "Best epoch": summary["best_epoch"],
                "Tags": list(run.notes.tags),
            }
        )
    frame = pd.DataFrame(rows)
    if not frame.Tags.any():
        frame = frame.drop(columns="Tags")
    return frame.style.map(lambda _: LIGHTER[is_dark()], subset=[name for name in frame if name.endswith(", 95%")])


def _columns() -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    return (
        {"Run": text(width=310, pinned=True)}
        | {
            title: number(
                format="%.1f%%" if key in SHARES else "%.3f", width=90 if len(title) < 12 else 140, help=MEANING[key]
            )
            for key, title in METRICS.items()
        }
        | {f"{title}, 95%": text("95% interval", width=115) for title in (*METRICS.values(), "Photos right")}
        | {"Validation accuracy": number(format="%.1f%%", help="Of the pictures that runs are chosen by.")}
        | {"Training": number("Seconds of training", format="localized"), "Weights": number(format="localized")}
        | {"Test pictures": number(format="localized")}
    )


def say_many_tested(picked: Sequence[Run], runs: Iterable[Run]) -> None:
    """Warns that the best of many is flattered, if many runs were tested on the pictures of the one ticked first."""
    if not picked:
        return
    first, *others = map(tested_on, (picked[0], *runs))
    if others.count(first) >= MANY:
        st.caption(
            f":material/info: {others.count(first):,} runs were tested on these pictures, and the best of many looks "
            "better than it is: choose by validation accuracy, as the home page does, and report the chosen run's "
            "figures."
        )


# ---- What was tested -----------------------------------------------------------------------------------


def sides(runs: Sequence[Run], merge: bool) -> list[Side]:
    """The test predictions of runs, with `merge` for granulocytes against the rest."""
    return [_side(run, merge) for run in runs]


def can_merge(runs: Sequence[Run]) -> bool:
    """Whether each run's classes can be merged into granulocytes and others."""
    return all(granulocytes(run.classes) for run in runs)


@cached.resource(max_entries=16, show_spinner=False)
def _side(run: Run, merge: bool) -> Side:
    return _merged(side_of(run), merge)


def _merged(side: Side, merge: bool) -> Side:
    groups = granulocytes(side.classes) if merge else None
    return side.merged(groups) if groups else side


def kept(what: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """`st.cache_data` for functions of sides, keyed by their content: a resumed run is scored again."""
    return st.cache_data(max_entries=32, show_spinner=what, hash_funcs={Side: _content})


def _content(side: Side) -> tuple[Any, ...]:
    rows = pd.util.hash_pandas_object(side.table, index=False)
    return side.name, side.data_hash, side.classes, settings_of(side.run), int(rows.sum())


@kept(FOR_INTERVALS)
def scores(side: Side) -> dict[str, Any]:
    """All figures of a side, by class too, each with its interval; takes seconds the first time."""
    return score(side.table, side.classes)


@kept(FOR_BOTH)
def compared(a: Side, b: Side) -> dict[str, Any]:
    """`compare_sides`, cached."""
    return compare_sides(a, b)


def confusion(side: Side) -> list[list[int]]:
    """The confusion matrix: counts of pictures, by true class (rows) and predicted class."""
    table = pd.crosstab(side.table.label, side.table.predicted)
    counts: list[list[int]] = table.reindex(index=side.classes, columns=side.classes, fill_value=0).to_numpy().tolist()
    return counts


# ---- The verdict ---------------------------------------------------------------------------------------


def verdict(facts: Mapping[str, Any], titles: Sequence[str], others: int) -> None:
    """Draws which of two runs is better, and the differences of their figures; in all A is compared with `others`."""
    right, unit = facts["right"], facts["right"]["unit"]
    left, beside = shell.sides([5, 6], "verdict")
    with left:
        st.markdown(f"**{facts['verdict']}**")
        st.caption(f"A: {shell.plain(titles[0])}  \nB: {shell.plain(titles[1])}")
        counts = ", ".join(f"{title.lower().replace(' a ', ' A ').replace(' b ', ' B ')} {right[key]:,}"
                           for key, title in OUTCOMES.items())  # fmt: skip
        p = f" McNemar's exact test on them: p {p_words(right['p'])}." if right["p"] is not None else ""
        st.caption(
            f"{unit.capitalize()}: {counts}.{p}",
            help="A photo's copies are averaged to one answer. The same photos are resampled for both runs, "
            f"{RESAMPLES:,} times: the interval covers what other photos would have changed, not what another training "
            "would have.",
        )
        for note in filter(None, [*facts["notes"], at_once_words(others)]):
            shell.remark(note)
    rows = [
        {"Figure": METRICS[key], "A": figure_words(key, told["a"]), "B": figure_words(key, told["b"]),
         "B less A": difference_words(key, told["difference"]),
         "95% interval": difference_interval_words(key, told["interval"])}
        for key, told in facts["metrics"].items()
    ]  # fmt: skip
    with beside:
        frame = pd.DataFrame(rows).style.map(lambda _: LIGHTER[is_dark()], subset=["95% interval"])
        number = st.column_config.TextColumn(width="small", alignment="right")
        columns = dict.fromkeys(("A", "B", "B less A"), number)
        shell.table(frame, column_config=columns, alt="Differences of the figures")


def seed_spread(groups: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> None:
    """Draws the spread of the figures for each group of runs that differ only in their seed."""
    for group in groups:
        told = ", ".join(
            f"{METRICS[key]} {figure_words(key, figure['mean'])} ± {spread_words(key, figure['spread'])}"
            for key, figure in group["metrics"].items()
            if figure
        )
        st.caption(
            f":material/casino: {len(group['runs'])} runs like {shell.plain(titles[group['runs'][0]])} differ by their "
            f"seed alone: {told}.",
            help="Mean ± standard deviation over the seeds.",
        )


# ---- The report ----------------------------------------------------------------------------------------


def report_button(sides: Sequence[Side], titles: Mapping[str, str], merge: bool) -> None:
    """Draws a button that downloads a report on the ticked runs; the report is made on click, which takes seconds."""
    why = ""
    try:
        for other in sides[1:]:
            check_comparable(sides[0], other, titles)
        of_runs(side.run for side in sides)
    except LabError as error:
        why = str(error)
    st.download_button(
        "Report", lambda: report(sides, merge), f"{'-against-'.join(side.name for side in sides[:2])}.html",
        "text/html", icon=":material/description:", on_click="ignore", disabled=bool(why),
        help=shell.plain(why) or "One HTML file with every figure, curve and limit. It opens without this lab.",
    )  # fmt: skip


def report(sides: Sequence[Side], merge: bool) -> str:
    """The HTML that `evaluate --report` writes of one run, or `compare --report` of several or of merged classes."""
    from bloodcell_core.evaluation.comparison_report import comparison_report
    from bloodcell_core.evaluation.report import run_report
    from bloodcell_core.evaluation.scoring import evaluated
    from bloodcell_core.evaluation.together import side_by_side

    runs = [side.run for side in sides]
    if len(runs) == 1 and not merge:
        return run_report(*evaluated(runs[0]), runs[0])
    reviewed = {
        overlay.reference: [_merged(side_of(run).relabelled(overlay), merge) for run in runs]
        for overlay in of_runs(runs)
    }
    return comparison_report(side_by_side(sides, reviewed), sides)


# ---- The pictures behind a figure ----------------------------------------------------------------------


def found_pictures(side: Side, true: str, predicted: str) -> pd.DataFrame:
    """The predictions in one cell of a side's confusion matrix, the most confident first."""
    cell = side.table[(side.table.label == true) & (side.table.predicted == predicted)]
    cell = cell.sort_values(f"p_{predicted}", ascending=False, kind="stable")
    return cell.assign(caption=[shell.percent(share) for share in cell[f"p_{predicted}"]])


def cell_of(asked: str | None) -> tuple[int, int] | None:
    """The (true, predicted) class indices in the address's `cell`, "2-0"; None where it isn't such a pair."""
    parts = (asked or "").split("-")
    whole = len(parts) == 2 and all(part.isdecimal() and len(part) < 4 for part in parts)
    return (int(parts[0]), int(parts[1])) if whole else None


def open_cell(of: str, true: int, predicted: int) -> None:
    """Opens a cell of a matrix: `of` is the run's name, or what the matrix of differences is called."""
    address.write(matrix=of, cell=f"{true}-{predicted}", who=None, page=None)


def outcome_buttons(facts: Mapping[str, Any]) -> None:
    """Draws a button for each outcome, with its number of pictures."""
    with st.container(horizontal=True):
        for key, title in OUTCOMES.items():
            count = facts["by_picture"][key]
            kind = "primary" if address.value_of("who") == key else "secondary"
            label = f"{title}: {shell.counted(count, 'picture')}"
            if st.button(label, key=f"who_{key}", type=kind, disabled=not count):
                address.write(who=key, matrix=None, cell=None, page=None)
                st.rerun()


def open_outcome(a: Side, b: Side, outcome: str) -> None:
    """Draws the pictures of one outcome, class by class, with their wrong answers."""
    who = picture_outcomes(a, b)
    table = a.table[a.table.image_id.isin(who.index[who == outcome])]
    table = table.sort_values(["label", "image_id"], kind="stable")
    if table.empty:
        st.caption("There is no such picture: choose another of the four.")
        return
    other = b.table.set_index("image_id").predicted.loc[table.image_id]
    called = [
        " · ".join(f"{letter}: {pretty(name)}" for letter, name in (("A", one), ("B", two)) if name != label)
        for label, one, two in zip(table.label, table.predicted, other, strict=True)
    ]
    whose = f"{OUTCOMES[outcome][0].lower()}{OUTCOMES[outcome][1:]}"
    st.header(f"{shell.counted(len(table), 'picture')}: {whose}", anchor=False)
    lab.say_synthetic(a.run.synthetic)
    pictures_of(a.run, {GALLERIES[0]: table.assign(caption=called)})


def pictures_of(run: Run, parts: Mapping[str, pd.DataFrame]) -> None:
    """Draws galleries side by side, {key: predictions} on a run's dataset; a click opens the picture in Browse.

    They turn their pages together. LabError where the dataset is gone.
    """
    data = lab.dataset(run.config.data)
    view = address.segmented_control("View", VIEWS, "view", default=run.config.view, format_func=str.capitalize)
    above, below = st.container(), st.container()
    with below:
        start, stop = gallery.pager(max(map(len, parts.values())), PER_PAGE)
    with above:
        places = shell.sides([1] * len(parts), "pictures", "medium") if len(parts) > 1 else [st.container()]
    for place, letter, (key, found) in zip(places, "AB", parts.items(), strict=False):
        part = found.assign(row=lab.rows_of(data, found.image_id)).dropna(subset="row")[start:stop]
        with place:
            if len(parts) > 1:
                st.caption(f"{letter}: {shell.counted(len(found), 'picture')}")
            tiles = dataset_pictures.tiles(data, part.row.astype(int).tolist(), view, part.caption)
            gallery.gallery(tiles, key, dataset_pictures.opener(data))
