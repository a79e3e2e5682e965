"""The network's answers for a slide on the Classify page: missing ones are computed, with progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.smear.slide_answers import SlideAnswers, answer_missing, kept_as, unanswered, unanswered_squares
from bloodcell_core.smear.slide_cells import CountedPicture, counted_pictures
from bloodcell_core.smear.slides import Slide
from ui import classify, classify_start, shell

MANY = 8  # with more pictures, a bar shows the progress
BEAT = 0.3  # seconds between two of its updates


def completed(slide: Slide, chosen: classify.Chosen) -> list[CountedPicture]:
    """The slide's pictures with their cells, after the network has answered what was missing; draws the progress."""
    answers = SlideAnswers(slide, kept_as(chosen.run), chosen.average_turns)
    waiting = len(unanswered(slide, answers))
    if waiting:
        with _progress(slide, waiting) as tell:
            answer_missing(slide, answers, classify.predictor(chosen), tell)
    elif unanswered_squares(slide, answers):
        answer_missing(slide, answers, classify.predictor(chosen))
    return counted_pictures(slide, answers, chosen.threshold, chosen.run.classes)


@contextmanager
def _progress(slide: Slide, waiting: int) -> Iterator[Progress]:
    """Draws the progress, as a share of all the slide's pictures: after a reload of the page it goes on from there."""
    if waiting <= MANY:
        with st.spinner(f"Classifying {shell.counted(waiting, 'picture')} …"):
            yield no_progress
        return
    total = sum(bool(picture.stored) for picture in slide.pictures)
    place = st.empty()

    def words(done: int) -> str:
        return f"{done:,} of {total:,} pictures classified"

    with place.container():
        bar = st.progress((total - waiting) / total, words(total - waiting))
        classify_start.way_back("What has been classified is kept.")
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if done == of or time.monotonic() - last > BEAT:
            last = time.monotonic()
            bar.progress((total - of + done) / total, words(total - of + done))

    yield tell
    place.empty()
