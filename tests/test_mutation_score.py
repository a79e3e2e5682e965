"""The mutation score: what it changes, what it leaves alone, and which tests it asks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import mutation_score
from benchmarks.mutation_score import ROOT, Runner, mutants_of

SOURCE = '''"""Ein Maß."""
LIMIT = 3


def judge(count: int = 2, wide: bool = True) -> str:
    """How many."""
    if count < 5 and wide:
        return f"{count + 1} of five"
    if not wide:
        raise ValueError("1 < 2" + str(count))
    return "µ" * (count - 1) or "none"
'''


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file after each change, as text."""
    monkeypatch.setattr(mutation_score, "ROOT", tmp_path)
    file = tmp_path / "judge.py"
    file.write_text(SOURCE, encoding="utf-8")
    return [mutant.applied(SOURCE.encode()).decode() for mutant in mutants_of(file)]


def test_each_change_is_one_that_makes_a_difference_and_parses(changed: list[str]) -> None:
    assert len({*changed}) == len(changed) == 11
    for text in changed:
        assert text != SOURCE
        ast.parse(text)
        [[before, after]] = [
            pair for pair in zip(SOURCE.splitlines(), text.splitlines(), strict=True) if pair[0] != pair[1]
        ]
        assert before != after
    for told in ("count <= 5 and wide", "count < 5 or wide", "count < 6 and wide", "if not (count < 5 and wide):",
                 "if not (not wide):", "count: int = 3", "wide: bool = False", '"µ" / (count - 1)', "(count + 1)",
                 "(count - 2)", '"µ" * (count - 1) and "none"'):  # fmt: skip
        assert [told in text for text in changed].count(True) == 1, told


def test_messages_and_tuning_constants_are_left_alone(changed: list[str]) -> None:
    for text in changed:
        assert "LIMIT = 3\n" in text
        assert 'f"{count + 1} of five"' in text
        assert 'raise ValueError("1 < 2" + str(count))' in text


@pytest.mark.slow
def test_the_tests_of_a_module_s_own_name_come_first() -> None:
    assert mutation_score.tests_of("bloodcell_core/review/queue.py", 3)[0] == "tests/test_queue.py"
    found = mutation_score.tests_of("bloodcell_core/evaluation/metrics.py", 2)
    assert found[0] == "tests/test_metrics.py"
    assert mutation_score.tests_of("bloodcell_core/evaluation/limits.py", 1) == ["tests/test_intervals.py"]
    assert len(found) == 2
    assert all((ROOT / name).is_file() for name in found)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """A runner that has imported what these tests need, which is little."""
    monkeypatch.setattr(mutation_score, "LIBRARIES", ("hypothesis", "pytest"))
    made = Runner()
    yield made
    made.close()


@pytest.mark.slow
def test_a_red_test_and_an_endless_one_are_told_from_a_green_one(runner: Runner, tmp_path: Path) -> None:
    for body, state in (("assert True", "green"), ("assert False", "red"), ("while True: pass", "late"),
                        ("pass", "green")):  # fmt: skip
        (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n", encoding="utf-8")
        assert runner.run(tmp_path, ["test_it.py"], 60 if state != "late" else 5) == state, body


@pytest.mark.slow
def test_a_file_is_taken_as_it_is_when_it_is_asked(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import judged\ndef test_it():\n    assert judged.WHAT\n", encoding="utf-8")
    for what, state in (("1", "green"), ("0", "red"), ("2", "green")):
        (tmp_path / "judged.py").write_text(f"WHAT = {what}\n", encoding="utf-8")
        assert runner.run(tmp_path, ["test_it.py"], 60) == state
