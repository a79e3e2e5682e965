"""Many processes write labels at once, in SQLite and in a real PostgreSQL: nothing is lost, nothing is there twice."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bloodcell_core import workspace
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.labels import database, overlays, verdicts
from bloodcell_core.labels.verdicts import AMBIGUOUS, MODEL_WRONG, UNUSABLE, record, undo
from tests.training_fixtures import drawn

pytest_plugins = ["tests.postgres"]
WRITERS, EACH = 8, 125


@pytest.fixture(scope="module")
def made(module_home: Path) -> Dataset:
    return drawn("demo", per_class=12, seed=8)


@pytest.fixture
def demo(made: Dataset) -> Dataset:
    """A dataset of which nothing was ever said, in whatever database."""
    made.pictures  # noqa: B018 (read while its workspace is the module's)
    made.facts["content_hash"] = secrets.token_hex(32)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, demo: Dataset) -> str:
    if request.param == "postgresql":
        monkeypatch.setenv("BLOODCELL_DB_URL", request.getfixturevalue("postgres_url"))
    return str(request.param)


def at_once(do: Callable[[int], Any], writers: int = WRITERS) -> list[Any]:
    """What each of the processes' `do(number)` returned; they begin together, none knows the database."""
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(writers), context.Queue()

    def work(number: int) -> None:
        database._cached_engine.cache_clear()
        gate.wait(60)
        try:
            answers.put((number, do(number)))
        except BaseException as error:
            answers.put((number, repr(error)))
            os._exit(1)

    processes = [context.Process(target=work, args=(number,)) for number in range(writers)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=300) for _ in processes)
    for process in processes:
        process.join(60)
    failed = [found[number] for number, process in enumerate(processes) if process.exitcode]
    assert not failed
    return [found[number] for number in range(writers)]


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_thousand_verdicts_by_eight_writers(demo: Dataset, backend: str) -> None:
    ids = demo.pictures.image_id.tolist()

    def write(number: int) -> list[tuple[int, str]]:
        done = []
        for turn in range(EACH):
            image_id, token = ids[(turn * 7 + number) % len(ids)], f"{number}-{turn}"
            for _ in range(1 + turn % 3 // 2):  # every third request is sent twice
                [event] = record(demo, [image_id], (AMBIGUOUS, MODEL_WRONG)[number % 2], by=f"w{number}", token=token)
            done.append((event.id, token))
        return done

    told = at_once(write)
    kept = verdicts.events(demo)
    assert len(kept) == WRITERS * EACH == 1000
    assert {(each.id, each.token) for each in kept} == {pair for done in told for pair in done}
    assert len({each.token for each in kept}) == len({each.id for each in kept}) == 1000
    standing = verdicts.current(demo)
    last = {each.photo: each for each in kept}
    assert standing.by_photo == last
    assert set(standing.disagreements) == set(demo.pictures.photo)  # both kinds of writers saw each photo


def test_the_same_request_by_all_makes_one_event_and_one_undo_of_it(demo: Dataset, backend: str) -> None:
    ids = demo.pictures.image_id[:3].tolist()
    told = at_once(lambda number: record(demo, ids, UNUSABLE, by="Ana", picture_only=True, token="click"))
    assert all(each == told[0] for each in told)
    assert len(verdicts.events(demo)) == 3

    def take_back(number: int) -> str:
        try:
            undo([each.id for each in told[0]], by=f"w{number}")
        except LabError as error:
            return str(error)
        return ""

    said = at_once(take_back)
    assert said.count("") == 1
    assert set(said) - {""} == {"one of these 3 verdicts was taken back before"}
    assert len(verdicts.events(demo)) == 6
    assert verdicts.current(demo).by_picture == {}


def test_versions_that_are_made_at_once_have_numbers_of_their_own(demo: Dataset, backend: str) -> None:
    name = f"many-{secrets.token_hex(4)}"
    for place, image_id in enumerate(demo.pictures.drop_duplicates("photo").image_id[:WRITERS]):
        record(demo, [image_id], AMBIGUOUS, by=f"w{place}")
    rows = overlays.rows_of(verdicts.current(demo), demo)

    def save(number: int) -> tuple[int, str]:
        own = rows[rows.by == f"w{number}"]
        overlay, made = overlays.save(name, demo, own, by=f"w{number}", made_from="verdicts")
        assert made
        return overlay.version, overlay.digest

    told = at_once(save)
    assert sorted(version for version, _ in told) == list(range(1, WRITERS + 1))
    for number, (version, digest) in enumerate(told):
        kept = overlays.load(f"{name}@{version}")
        assert (kept.digest, kept.by, overlays._digest(kept.rows)) == (digest, f"w{number}", digest)
        assert kept.describe() in overlays.versions()  # which the database counts


def test_a_database_of_another_version_is_refused_and_left_alone(
    demo: Dataset, lab_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(demo, demo.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    monkeypatch.setattr(database, "SCHEMA_VERSION", 2)
    database._cached_engine.cache_clear()
    with pytest.raises(LabError, match="schema version 1, this program reads 2"):
        verdicts.events(demo)
    monkeypatch.undo()
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_home))
    assert len(verdicts.events(demo)) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/lab", "the database postgresql"),
        ("postgresql+psycopg://me@127.0.0.1:1/lab?password=secret", "the database postgresql"),
        ("postgresql+psycopg//me:secret@host/lab", "BLOODCELL_DB_URL is no address of a database"),
        ("postgresql+psycopg://me:pass@word:secret@host/lab", "BLOODCELL_DB_URL is no address of a database"),
        ("sqlite:////nowhere/at/all/lab.sqlite", "unable to open"),
    ],
)
def test_a_database_that_can_not_be_used_is_told_without_its_password(
    demo: Dataset, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("BLOODCELL_DB_URL", url)
    with pytest.raises(LabError, match=said) as caught:
        record(demo, demo.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("database or disk is full", "database or disk is full: make room on it"),
        ("disk I/O error", "disk I/O error: is the disk full?"),
    ],
)
def test_a_full_disk_is_told_once_and_with_what_helps(lab_home: Path, said: str, told: str) -> None:
    assert str(database.refused(sqlite3.OperationalError(said))).endswith(f"can't be used: {told}")


def test_a_file_that_is_no_database_is_told(demo: Dataset, lab_home: Path) -> None:
    lab_home.mkdir()
    (lab_home / "lab.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(LabError, match=r"lab\.sqlite can't be used: file is not a database"):
        verdicts.events(demo)
    assert workspace.database_exists()
