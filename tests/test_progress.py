"""Durations in words."""

import pytest

from bloodcell_core.words import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.3, "less than 1 s"),
        (0.7, "1 s"),
        (65, "65 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5369, "89 min"),
        (5400, "1.5 h"),
        (100_000, "27.8 h"),
    ],
)
def test_a_duration_is_as_fine_as_people_care(seconds, words):
    assert duration(seconds) == words
