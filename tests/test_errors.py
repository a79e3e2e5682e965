"""What other programs' errors become, before a person is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_core.errors import brief


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("no  file\nhere", "no file"),
        ("\n\nno file", "no file"),
        ("", "ValueError"),
        ("one two three four", "one two …"),
        ("one twothreefour", "one twothr …"),
        ("onetwothreefour", "onetwothre …"),
    ],
)
def test_an_error_is_told_on_one_line_and_not_cut_within_a_word_where_that_costs_less_than_half(says, told):
    assert brief(ValueError(says), 10) == told


@given(st.text())
def test_what_is_short_is_told_whole_and_what_is_long_never_longer(says):
    told = brief(ValueError(says))
    words = " ".join((says.strip().splitlines() or [""])[0].split())
    assert len(told.splitlines()) == 1
    assert told == (words or "ValueError") if len(words) <= 120 else told.removesuffix(" …") in words
    assert len(told) <= 122
