"""The desk's card of a picture: its two views, probabilities, nearest neighbours, heat map, and its verdict."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from bloodcell_core.crops import AS_THEY_ARE, Crop
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.views import make_view
from bloodcell_core.errors import LabError, in_words
from bloodcell_core.evaluation.figures import percent
from bloodcell_core.labels.verdicts import Standing
from bloodcell_core.runs import Run
from bloodcell_core.words import pretty
from ui import cached, dataset_pictures, lab
from ui.desk import Card
from ui.gallery import thumbnail
from ui.neighbours import finder
from ui.review import Review, said_of

CELL_PX, WHOLE_PX = 400, 640
LONGEST_PHOTO = 12  # characters of a photo's name that are shown: its end distinguishes it from others
GONE = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
LOOKING = "Looking for them …"


def card_of(review: Review, place: int, standing: Standing, heat: bool) -> Card:
    """The card of the queue's picture at `place`; with `heat` also its heat map, or why there is none."""
    picture = review.rows.iloc[place]
    run, row = review.run_of(picture.image_id), int(picture.row)
    verdict = standing.of(picture.image_id, picture.photo)
    copies = review.copies[picture.photo]
    label, answer = pretty(picture.label), pretty(picture.answer)
    try:
        cell, whole, found = _looks(review.data, row, run.members[0].config.crop)
        cell_words = "Cell view" if found else "No white cell was found: the picture's middle"
    except LabError as error:
        cell, whole, cell_words = GONE, GONE, str(error)
    like, like_words = _like(review, run, row)
    wrong = f"{picture.wrong_runs} of {picture.runs} runs are wrong; bars are their mean"
    card = Card(
        id=picture.image_id, place=place + 1, own=picture.label, label=label, answer=answer,
        words=f"Label {label}, called {answer}" + (", synthetic" if review.data.synthetic else ""),
        bars=[
            {"title": pretty(name), "colour": review.colours[name], "share": share, "words": percent(share),
             "answer": name == picture.answer, "own": name == picture.label}
            for name, share in ((name, float(picture[f"p_{name}"])) for name in review.classes)
        ],
        says_words=wrong if picture.runs > 1 else "",
        cell=cell, cell_words=cell_words, whole=whole, like=like, like_words=like_words, copies=copies > 1,
        family=f"Decides {copies:,} copies of photo {picture.photo}" if copies > 1 else "",
        said=said_of(verdict) if verdict else "",
        verdict=verdict.verdict if verdict else None, to=verdict.label_to if verdict else None,
    )  # fmt: skip
    return replace(card, **_heat(review, run, picture)) if heat and cell is not GONE else card


def ask_neighbours(review: Review, places: list[int], begin: bool) -> None:
    """Requests the neighbours of pictures of the queue. Unless `begin`, only if somebody has requested any before."""
    if not (begin or finder().used):
        return
    by_run: dict[str, tuple[Run, list[int]]] = {}
    for place in reversed(places):  # the last request is served first
        run = review.run_of(review.ids[place][0])
        by_run.setdefault(run.name, (run, []))[1].insert(0, int(review.rows.row.iloc[place]))
    for run, rows in by_run.values():
        finder().ask(run, review.data, rows)


@cached.data(max_entries=150, show_spinner=False)
def _looks(data: Dataset, row: int, crop: Crop) -> tuple[str, str, bool]:
    """A picture's cell view as a run cuts it, all of it with the cell outlined, and whether a cell was found."""
    original = data.read_original(row)
    cell = make_view(original, "cell", CELL_PX, crop._replace(colours=AS_THEY_ARE), data.places[row])
    return thumbnail(cell.pixels, CELL_PX), thumbnail(dataset_pictures.outlined(original, cell), WHOLE_PX), cell.found


def _like(review: Review, run: Run, row: int) -> tuple[list[dict[str, str]], str]:
    """The neighbours' tiles, or why there are none."""
    found = finder().known(run, review.data, row)
    if found is None:
        return [], LOOKING
    if isinstance(found, str):
        return [], f"{found}. Come back to the picture in half a minute to try again."
    pictures = review.data.pictures
    tiles = [
        {"src": src, "label": pretty(pictures.label[each]), "photo": _short(pictures.photo[each]),
         "colour": review.colours[pictures.label[each]]}
        for each, src in zip(found, dataset_pictures.thumbnails(review.data, found, "cell"), strict=True)
    ]  # fmt: skip
    return tiles, "" if tiles else "There are no others in training."


def _short(photo: str) -> str:
    return photo if len(photo) <= LONGEST_PHOTO else "…" + photo[1 - LONGEST_PHOTO :]


# ---- Heat maps -----------------------------------------------------------------------------------------


def _heat(review: Review, run: Run, picture: Any) -> dict[str, str]:
    member = run.members[0]  # an ensemble is explained by its first member
    view = member.config.view
    try:
        src = _heat_map(member, review.data, int(picture.row), picture.answer)
    except (LabError, OSError) as error:
        return {"heat_words": in_words(error)}
    whose = f" to {lab.network_title(member)}, its first member" if run.is_ensemble else ""
    return {"heat": src, "heat_on": view if view == "cell" else "whole",
            "heat_words": f"What speaks for {pretty(picture.answer)}{whose}"}  # fmt: skip


@cached.data(max_entries=200, show_spinner=False)
def _heat_map(run: Run, data: Dataset, row: int, label: str) -> str:
    """A heat map to be laid over the view that the network saw: a data URI of a PNG with alpha."""
    original, config = data.read_original(row), run.config
    seen = make_view(original, *config.sight, data.places[row])
    heat = explainer(run).heat_map(seen.pixels, label)
    height, width = original.shape[:2] if config.view == "frame" else (CELL_PX, CELL_PX)
    scale = WHOLE_PX / 2 / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    heat = cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC)
    levels = (255 * heat.clip(0, 1)).astype(np.uint8)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    _, encoded = cv2.imencode(".png", np.dstack([coloured, (levels * 0.7).astype(np.uint8)]))
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


@cached.resource(max_entries=4, show_spinner=False)
def explainer(run: Run) -> Any:
    """The `Explainer` of a trained run, shared by all sessions; LabError where it can't be loaded."""
    from bloodcell_core.inference.explanation import Explainer

    return Explainer(run)
