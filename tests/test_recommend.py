"""Which run to use: chosen by validation alone, set against the cheaper ones by the same test photos."""

from __future__ import annotations

import pytest

from bloodcell_core import runs
from bloodcell_core.evaluation import recommend
from bloodcell_core.evaluation.comparison import compare, compare_sides
from bloodcell_core.evaluation.scoring import evaluated
from bloodcell_core.models.costs import cost
from bloodcell_core.runs import Run
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.words import pretty
from tests.test_comparison import answers
from tests.test_pages import draw, words
from tests.training_fixtures import trained

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def heavy(done: Run) -> Run:
    return trained(model="deep_cnn", size=96, epochs=1)


def test_what_speaks_for_a_run_is_told_as_it_was_measured(done: Run, heavy: Run) -> None:
    told, scores = recommend.candidate(heavy), evaluated(heavy)[0]
    assert (told["accuracy"], told["interval"]) == (scores["accuracy"], scores["intervals"]["accuracy"])
    assert (told["right"], told["photos"]) == (scores["by_photo"]["right"], scores["photos"])
    assert (told["parameters"], told["flops"]) == cost("deep_cnn", 96)
    calibrated = scores["calibration"]
    assert told["ece"] == pytest.approx((calibrated["after"] or calibrated["before"])["ece"])
    assert told["milliseconds"] > 0


def test_an_ensemble_costs_what_its_members_cost(done: Run, heavy: Run) -> None:
    both = recommend.candidate(create_ensemble([done, heavy]))
    each = [recommend.candidate(run) for run in (done, heavy)]
    for part in ("parameters", "flops", "milliseconds"):
        assert both[part] == pytest.approx(sum(one[part] for one in each))


def test_an_ensemble_without_common_validation_photos_is_told_and_not_chosen(done: Run) -> None:
    others = (trained(seed=seed, epochs=1) for seed in range(1, 9))
    other = next(run for run in others if not set(run.validation_photos) & set(done.validation_photos))
    create_ensemble([done, other], "together")
    every = [run.describe() for run in runs.readable_runs()[0]]
    said = recommend.recommend(every)
    assert said is not None
    assert said.run != "together"
    assert "1 ensemble was not in the choice" in said.why


def test_runs_validated_on_other_photos_are_told(done: Run) -> None:
    """Nothing was said: the best of several seeds may be the one whose photos are the easiest."""
    same = trained(model="deep_cnn", epochs=1)
    both = [run.describe() for run in (done, same)]
    assert both[0]["kept_back"] == both[1]["kept_back"] != ""
    said = recommend.recommend(both)
    assert said is not None
    assert "kept back" not in said.why
    other = next(run for seed in range(1, 9) if (run := trained(seed=seed, epochs=1)).validation_photos
                 != done.validation_photos)  # fmt: skip
    every = [*both, other.describe()]
    said = recommend.recommend(every)
    assert said is not None
    assert f" {2 if said.run == other.name else 1} of these kept back other photos to validate on" in said.why
    own_split = [facts | {"kept_back": ""} for facts in every]  # of a dataset with validation pictures of its own
    said = recommend.recommend(own_split)
    assert said is not None
    assert "kept back" not in said.why


def test_an_adapted_run_is_not_called_an_ensemble(done: Run) -> None:
    told = done.describe()
    adapted = told | {"run": "home", "adapted_from": "far", "summary": told["summary"] | {"val_accuracy": None}}
    said = recommend.recommend([told, adapted, adapted | {"run": "home-2"}])
    assert said is not None
    assert said.run == done.name
    assert "2 adapted runs were not in the choice: every cell of such a run is tested on" in said.why
    assert "ensemble" not in said.why


def test_it_is_set_against_cheaper_runs_and_ensembles_alone(done: Run, heavy: Run) -> None:
    both = create_ensemble([done, heavy], "both")
    every = [done, heavy, both]
    assert [run.name for run in recommend.rivals(heavy, every)] == [done.name, "both"]
    assert [run.name for run in recommend.rivals(done, every)] == ["both"]
    assert [run.name for run in recommend.rivals(both, every)] != []


def test_the_sentence_says_what_the_paired_comparison_says(done: Run, heavy: Run) -> None:
    for best, other in ((done, heavy), (heavy, done)):
        told, said = compare(best, other), recommend.against(best, other)
        gain = told["right"]["a"] - told["right"]["b"]
        assert recommend.OTHER in said
        assert (f"{abs(gain):,} {'more' if gain > 0 else 'fewer'} of" in said) or (gain == 0 and "as many of" in said)
        assert ("can't tell them apart" in said) == (told["better"] is None)
    assert "times fewer weights" in recommend.against(heavy, done)
    assert "times as many weights" in recommend.against(done, heavy)


def test_an_interval_without_0_that_tells_nothing_says_why(
    done: Run, heavy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = compare_sides(answers("one", 27), answers("two", 25))
    monkeypatch.setattr(recommend, "compare", lambda best, other: told)
    said = recommend.against(heavy, done)
    assert said.endswith(", but they differ on 4 photos only: this data can't tell them apart.")


def test_an_interval_about_nothing_has_no_sign(done: Run, heavy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {"a": 9, "b": 9, "of": 12, "unit": "photos", "interval": [-0.2, 0.3]}
    monkeypatch.setattr(recommend, "compare", lambda *_: {"right": right, "better": None})
    assert "(95% interval 0 to 0)" in recommend.against(done, heavy)


def test_runs_that_were_tested_on_other_pictures_are_not_set_against_each_other(done: Run) -> None:
    assert "can't be set against" in recommend.against(done, trained(folds=3, epochs=1))


def test_the_home_page_tells_choice_cost_and_difference(heavy: Run, done: Run) -> None:
    create_ensemble([done, heavy], "both")
    app = draw("streamlit_app.py")
    told = words(app)
    assert "best validation accuracy of 3 finished runs" in told
    assert "On the same test photos it is right on" in told
    assert {"Accuracy", "Photos right", "Calibration error", "Weights", "Operations", "ms"} <= {*app.dataframe[0].value}


def test_a_run_with_fewer_classes_to_name_is_no_better_for_that(done: Run) -> None:
    """Whose validation accuracy is of an easier task was recommended over those that name all classes."""
    other = trained(refuse=done.classes[0], epochs=1)
    app = draw("streamlit_app.py")
    assert words(app).count("It is the only finished run on the dataset demo") == 2
    assert f"demo with {pretty(done.classes[0])} refused; its validation accuracy" in words(app)
    assert other.classes == done.classes[1:]


def test_validation_on_reviewed_labels_is_told_beside_others(done: Run) -> None:
    told = done.describe()
    reviewed = told | {"run": "reviewed", "config": told["config"] | {"labels": "day-one@1"}}
    assert "Validation is on the labels" in recommend.recommend([told, reviewed]).why
    assert "Validation is on the labels" not in recommend.recommend([told, told | {"run": "again"}]).why
