"""TrainConfig: each field says what it is, holds its limits, and comes back from text and from JSON."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core import config
from bloodcell_core.config import PRESETS, TrainConfig, field_type, fields, optional, parse, spelled_out
from bloodcell_core.errors import LabError

NEEDED = {"data": "demo", "model": "basic_cnn"}
LIMITED = [name for name, spec in fields().items() if spec.metadata["low"] is not None]
CHOSEN = [name for name, spec in fields().items() if spec.metadata["choices"]]
NUMBERS = [name for name in fields() if field_type(name) in (int, float)]


def made(**changes: Any) -> TrainConfig:
    return TrainConfig(**NEEDED | changes)


def refusal(name: str, value: Any) -> str:
    with pytest.raises(LabError) as caught:
        made(**{name: value})
    words = str(caught.value)
    assert words.startswith(f"{spelled_out(name)} ")
    return words


def values(name: str) -> st.SearchStrategy[Any]:
    """Any value that the field may have."""
    limits = fields()[name].metadata
    if limits["choices"]:
        return st.sampled_from(limits["choices"])
    if field_type(name) is int:
        return st.integers(limits["low"], limits["high"])
    if field_type(name) is float:
        number = st.floats(limits["low"], limits["high"])
        return st.none() | number if optional(name) else number
    return st.text(max_size=20)


any_config = st.fixed_dictionaries({name: values(name) for name in fields()})


def just_outside(name: str) -> tuple[float, float]:
    low, high = fields()[name].metadata["low"], fields()[name].metadata["high"]
    if field_type(name) is int:
        return low - 1, high + 1
    return math.nextafter(low, -math.inf), math.nextafter(high, math.inf)


# Each field


@pytest.mark.parametrize("name", fields())
def test_a_field_explains_itself(name):
    spec = fields()[name]
    assert spec.metadata["help"].strip()[-1] in ".?"
    assert len(spec.metadata["help"]) > 15
    assert isinstance(spec.metadata["advanced"], bool)
    assert (spec.metadata["low"] is None) == (spec.metadata["high"] is None)
    assert field_type(name) in (int, float, str)


@pytest.mark.parametrize("name", fields())
def test_a_default_is_one_of_the_values_that_the_field_takes(name):
    spec = fields()[name]
    if name in NEEDED:
        assert spec.default is dataclasses.MISSING
        return
    assert getattr(made(), name) == spec.default
    if spec.default is None:
        assert optional(name)
    else:
        assert type(spec.default) is field_type(name)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_limits(name):
    assert name in LIMITED


@pytest.mark.parametrize("name", LIMITED)
def test_the_limits_themselves_are_taken(name):
    for limit in (fields()[name].metadata["low"], fields()[name].metadata["high"]):
        assert getattr(made(**{name: field_type(name)(limit)}), name) == limit


@pytest.mark.parametrize("name", LIMITED)
def test_just_outside_of_the_limits_is_refused_with_the_limits(name):
    low, high = fields()[name].metadata["low"], fields()[name].metadata["high"]
    for value in just_outside(name):
        words = [f"{limit:,}" if isinstance(limit, int) else f"{limit:g}" for limit in (low, high)]
        assert refusal(name, value) == f"{spelled_out(name)} must lie between {words[0]} and {words[1]}, not {value!r}"


def test_a_large_limit_is_told_to_its_last_digit():
    assert refusal("seed", -1) == "seed must lie between 0 and 2,147,483,647, not -1"


@pytest.mark.parametrize("name", CHOSEN)
def test_each_choice_is_taken_and_another_word_is_refused_with_the_choices(name):
    choices = fields()[name].metadata["choices"]
    for choice in choices:
        assert getattr(made(**{name: choice}), name) == choice
    assert refusal(name, "sideways") == f"{spelled_out(name)} is {' or '.join(choices)}, not 'sideways'"
    refusal(name, choices[0].upper())


@pytest.mark.parametrize("name", fields())
@pytest.mark.parametrize("value", [True, False, [], {}, b"x", 1j])
def test_a_value_of_another_kind_is_refused(name, value):
    kind = {int: "a whole number", float: "a number", str: "a word"}[field_type(name)]
    assert refusal(name, value) == f"{spelled_out(name)} takes {kind}, not {value!r}"


@pytest.mark.parametrize("name", fields())
def test_nothing_is_a_value_only_where_the_field_is_optional(name):
    if optional(name):
        assert getattr(made(**{name: None}), name) is None
    else:
        refusal(name, None)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(name, value):
    refusal(name, value)


@pytest.mark.parametrize("name", [name for name in NUMBERS if field_type(name) is int])
def test_a_whole_number_is_not_made_of_a_fraction(name):
    refusal(name, float(fields()[name].metadata["high"]))


def test_a_whole_number_will_do_where_a_fraction_is_wanted():
    assert made(weight_decay=0, learning_rate=1).learning_rate == 1


def test_a_word_for_a_number_is_refused():
    assert refusal("epochs", "10") == "epochs takes a whole number, not '10'"
    assert refusal("learning_rate", "0.1") == "learning rate takes a number, not '0.1'"
    assert refusal("data", 7) == "data takes a word, not 7"


# Text, as on the command line


@settings(max_examples=60, deadline=None)
@given(any_config)
def test_a_value_comes_back_from_its_text(config_values):
    for name, value in config_values.items():
        assert parse(name, str(value)) == value


@pytest.mark.parametrize("text", ["", "none", "None", "NONE"])
def test_an_optional_field_is_left_empty_by_no_text(text):
    assert [name for name in fields() if optional(name)] == ["learning_rate", "dropout", "frozen_epochs", "body_rate"]
    assert parse("learning_rate", text) is None
    assert parse("weights", text) == text


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["ten", "1,5", "0x10", "1e", "--", "x" * 500])
def test_text_that_is_no_number_is_refused_with_what_would_be(name, text):
    with pytest.raises(LabError) as caught:
        parse(name, text)
    kind = {int: "a whole number", float: "a number"}[field_type(name)]
    assert str(caught.value) == f"{spelled_out(name)} takes {kind}, not {text[:40]!r}"


@pytest.mark.parametrize("text", ["1.5", "1e3", ""])
def test_a_fraction_is_no_whole_number(text):
    with pytest.raises(LabError, match="epochs takes a whole number"):
        parse("epochs", text)


def test_not_a_number_gets_no_further_than_its_field():
    with pytest.raises(LabError, match="weight decay must lie between 0 and 1, not nan"):
        made(weight_decay=parse("weight_decay", "nan"))


def test_a_field_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(LabError) as caught:
        parse("momentum", "0.9")
    assert str(caught.value) == f"no setting is called 'momentum': there are {', '.join(fields())}"


# JSON, as in a run's folder


@settings(max_examples=60, deadline=None)
@given(any_config)
def test_a_config_comes_back_from_json(config_values):
    settings = TrainConfig(**config_values)
    assert settings.to_json() == config_values
    assert TrainConfig.from_json(json.loads(json.dumps(settings.to_json(), allow_nan=False))) == settings


def test_unknown_names_are_refused_with_those_that_are_known():
    with pytest.raises(LabError) as caught:
        TrainConfig.from_json(NEEDED | {"momentum": 0.9})
    assert str(caught.value) == f"no setting is called 'momentum': there are {', '.join(fields())}"


@pytest.mark.parametrize(("given_values", "missing"), [({}, "data, model"), ({"data": "x"}, "model")])
def test_missing_names_are_told(given_values, missing):
    with pytest.raises(LabError) as caught:
        TrainConfig.from_json(given_values)
    assert str(caught.value) == f"settings are missing: {missing}"


def test_what_json_leaves_out_has_its_default():
    assert TrainConfig.from_json(NEEDED) == made()


def test_a_wrong_value_in_json_is_named():
    with pytest.raises(LabError, match="epochs must lie between 1 and 1,000, not 0"):
        TrainConfig.from_json(NEEDED | {"epochs": 0})


# The whole


def test_a_config_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().epochs = 3  # type: ignore[misc]


def test_the_defaults_are_those_of_the_original_analysis():
    settings = made()
    assert (settings.epochs, settings.size, settings.view, settings.device) == (10, 96, "frame", "auto")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_valid_choice_of_fields(name):
    preset = PRESETS[name]
    assert preset.keys() <= fields().keys() - NEEDED.keys()
    settings = made(**preset)
    assert {key: getattr(settings, key) for key in preset} == preset


def test_the_preset_of_the_original_is_there():
    assert PRESETS["original"]["epochs"] == 10
    assert PRESETS["original"]["view"] == "frame"


def test_fields_are_those_of_the_class_in_its_order():
    assert [*fields()] == [spec.name for spec in dataclasses.fields(config.TrainConfig)]
