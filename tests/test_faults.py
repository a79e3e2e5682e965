"""Faults that the whole lab has to stand: files damaged by hand, a killed process, a full or read-only disk, two
servers. docs/faults.md is the list of all faults, with the tests elsewhere that hold the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from bloodcell_core import cli, disk, runs, workspace
from bloodcell_core.data import import_jobs, views
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from bloodcell_core.labels import overlays
from bloodcell_core.labels.verdicts import AMBIGUOUS, UNUSABLE, events, record, undo
from bloodcell_core.runs import Run
from bloodcell_core.smear import slides
from bloodcell_core.training import studies
from tests.conftest import class_files, tree, write_files
from tests.training_fixtures import tiny, train_here
from ui.shell import PAGES

pytest_plugins = ["tests.training_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "edited": lambda file: file.write_bytes(edited(file)),
}
EVERY_DAMAGE = pytest.mark.parametrize("damage", DAMAGE)

RUN_FILES = {
    "config.json": "missing, empty, cut short, edited",
    "status.json": "missing, empty, cut short, edited",
    "summary.json": "missing, empty, cut short, edited",
    "predictions.parquet": "missing, empty, cut short",
    "metrics.jsonl": "edited",  # a reader passes over an unfinished line, and a course that ends early is a course
    "model.safetensors": "",  # told by who loads them: test_models, test_predictor
    "likeness.safetensors": "",
    "worker.lock": "",  # empty, and made anew
}
"""The files of a finished run, and which of their damages the pages tell of."""
DATASET_FILES = {
    "dataset.json": "missing, empty, cut short, edited",
    "images.parquet": "missing, empty, cut short",
    "originals": "",  # costs its own picture only: test_review_page, test_importing
    "views": "",  # told by who trains: test_views
}


def edited(file: Path) -> bytes:
    """What someone might leave who opened it in an editor: JSON that says something else, or bytes overwritten."""
    data = file.read_bytes()
    if file.suffix == ".json":
        facts = json.loads(data)
        return json.dumps({name: facts[name] if name == "schema_version" else 7 for name in facts}).encode()
    if file.suffix == ".jsonl":
        lines = data.splitlines(keepends=True)
        return b"".join([*lines[:1], b"a note\n", *lines[1:]])
    middle = len(data) // 2
    return data[:middle] + b"words" + data[middle + 5 :]


def drawn_pages(*titles: str) -> str:
    """What is wrong as the pages tell it, a line each. No page shows a traceback, and none breaks off."""
    told = []
    for title in titles or PAGES:
        path, _ = PAGES[title]
        app = AppTest.from_file("../streamlit_app.py", default_timeout=60)
        if path != "streamlit_app.py":
            app.switch_page(path)
        app.run()
        assert not app.exception, f"{title} broke off"
        assert app.title, f"{title} has no head"
        told += [f"{title}: {line.value}" for line in (*app.error, *app.warning)]
    assert not any("\n" in line or "Traceback" in line or len(line) > 500 for line in told), told
    return "\n".join(told).replace("\\", "")


# ---- Damage by hand -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(lab_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with `demo` and a run, to which a test may add a run that it takes away again: what the pages keep
    in memory of its pictures is made once."""
    return Path(shutil.copytree(lab_original, tmp_path_factory.mktemp("standing") / "home"))


@EVERY_DAMAGE
@pytest.mark.parametrize("file", RUN_FILES)
def test_a_damaged_file_of_a_run_is_told_and_the_other_run_is_shown(
    file: str, damage: str, standing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOODCELL_HOME", str(standing))
    (name,) = runs.names()
    done, damaged = Run(name), workspace.run_dir(f"29990101-000000-{workspace.slug(f'{file} {damage}')}")
    shutil.copytree(done.folder, damaged)
    try:
        assert {path.name for path in damaged.iterdir()} == set(RUN_FILES), "a file of a run that no test damages"
        DAMAGE[damage](damaged / file)
        told = drawn_pages()
        if damage in RUN_FILES[file]:
            assert damaged.name in told, told
        elif file != "predictions.parquet":  # overwritten bytes of a table may or may not be seen
            assert told == ""
        assert done.name in [run.name for run in runs.readable_runs()[0]]
        assert runs.find("latest").name in (done.name, damaged.name)
    finally:
        shutil.rmtree(damaged)


@EVERY_DAMAGE
@pytest.mark.parametrize("file", DATASET_FILES)
def test_a_damaged_file_of_a_dataset_is_told(file: str, damage: str, done: Run) -> None:
    build_view(Dataset("demo"), done.config.view, done.config.size)
    folder = workspace.dataset_dir("demo")
    assert {path.name for path in folder.iterdir()} == set(DATASET_FILES), "a file of a dataset that no test damages"
    path = folder / file
    if path.is_dir():
        path = min(each for each in path.rglob("*") if each.is_file())
    data = path.read_bytes()
    path.unlink()  # it is linked to the one that other tests read
    path.write_bytes(data)
    DAMAGE[damage](path)
    told = drawn_pages()
    if damage in DATASET_FILES[file]:
        assert "demo" in told, told
        assert "import it again" in told or "is missing" in told or "can't be read" in told, told
    assert names() == ["demo"], "it is not passed over"
    assert runs.find("latest").name == done.name


@EVERY_DAMAGE
@pytest.mark.parametrize("file", ["config.json", "status.json", "summary.json", "predictions.parquet"])
def test_a_damaged_file_of_a_bundled_run_is_told(
    file: str, damage: str, done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "bundled")
    shutil.copytree(done.folder, tmp_path / "bundled" / "tiny-net")
    DAMAGE[damage](tmp_path / "bundled" / "tiny-net" / file)
    told = drawn_pages("Home", "Classify")
    if damage in RUN_FILES[file]:
        assert "tiny-net" in told, told


@EVERY_DAMAGE
@pytest.mark.parametrize("file", ["request.json", "status.json"])
def test_a_damaged_import_is_told(file: str, damage: str, lab: Path) -> None:
    folder = workspace.imports_dir() / "20260101-000000-dead"
    disk.write_json(folder / "request.json", {"kind": "demo", "options": {"name": "x"}})
    disk.write_json(folder / "status.json", {"state": "failed", "reason": "no room", "updated": 0})
    DAMAGE[damage](folder / file)
    assert folder.name in drawn_pages("Browse")


@EVERY_DAMAGE
def test_a_damaged_search_is_told_and_the_others_are_listed(
    damage: str, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, dead = (studies.create(tiny(), ["width"], name=name) for name in ("whole", "dead"))
    DAMAGE[damage](dead.job.folder / "status.json")
    app = AppTest.from_file("../streamlit_app.py", default_timeout=60)
    app.query_params |= {"part": "search", "study": "dead"}
    app.switch_page(PAGES["Train"][0])
    app.run()
    assert not app.exception
    assert "searches/dead/status.json" in "\n".join(each.value for each in app.error).replace("\\", "")
    assert cli.main(["tune", "list", "--json"]) == 0
    told = capsys.readouterr()
    assert [row["study"] for row in json.loads(told.out)["studies"]] == [whole.name]
    assert "left out: " in told.err
    assert "dead" in told.err


@pytest.fixture
def reviewed(lab: Path) -> Dataset:
    """A dataset whose overlay day-one was edited in the database, and day-two was not."""
    data = Dataset("demo")
    record(data, data.pictures.image_id[:1].tolist(), UNUSABLE, by="Ana")
    kept, _ = overlays.freeze("day-one", data, by="Ana")
    assert overlays.load("day-one@1").digest == kept.digest
    with sqlite3.connect(lab / "lab.sqlite") as connection:
        connection.execute("UPDATE lab_overlay_rows SET verdict = 'ambiguous'")
    overlays.freeze("day-two", data, by="Ana")
    return data


def test_an_overlay_that_was_edited_in_the_database_is_refused(reviewed: Dataset) -> None:
    with pytest.raises(LabError, match="day-one@1 was changed in the database"):
        overlays.load("day-one@1")


def test_an_overlay_that_was_edited_in_the_database_is_listed_as_such_beside_the_others(
    reviewed: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (0.001, 0.002):
        train_here(epochs=1, learning_rate=rate)
    assert cli.main(["review", "overlays"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [overlays.DAMAGED in line for line in lines] == [True, False]
    app = AppTest.from_file("../streamlit_app.py", default_timeout=60)
    app.query_params |= {"dataset": "demo", "part": "overlays"}
    app.switch_page(PAGES["Review"][0])
    app.run()
    assert not app.exception
    assert not app.error
    (table,) = (each.value for each in app.dataframe if "Overlay" in each.value)
    assert dict(zip(table.Overlay, table.Damage, strict=True)) == {"day-two@1": "", "day-one@1": overlays.DAMAGED}
    app.query_params["part"] = "fixed"
    app.run()
    assert not app.error
    for event in events(reviewed):
        undo([event.id], by="Ana")
    with pytest.raises(LabError, match="no verdict on 'demo' changes a label"):
        overlays.freeze("day-three", reviewed, by="Ana")


def test_a_database_that_is_deleted_while_the_lab_runs_is_made_anew(lab: Path) -> None:
    data = Dataset("demo")
    record(data, data.pictures.image_id[:1].tolist(), UNUSABLE, by="Ana", token="before")
    for file in lab.glob("lab.sqlite*"):
        file.unlink()
    assert events(data) == []
    record(data, data.pictures.image_id[:1].tolist(), UNUSABLE, by="Ana", token="after")
    assert [event.token for event in events(data)] == ["after"]


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_run_of_another_schema_is_refused_with_a_word(version: object, done: Run) -> None:
    recorded = disk.read_json(done.folder / "config.json")
    disk.write_json(done.folder / "config.json", recorded | {"schema_version": version})
    assert "was made by another version of this program" in drawn_pages()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda settings: settings | {"moonlight": 0.3}, "doesn't know its setting 'moonlight'"),
        (lambda settings: {name: settings[name] for name in settings if name != "model"}, "misses its setting 'model'"),
    ],
)
def test_a_run_of_a_version_with_other_settings_is_not_called_damaged(
    change: Callable[[dict[str, Any]], dict[str, Any]], told: str, done: Run
) -> None:
    recorded = disk.read_json(done.folder / "config.json")
    disk.write_json(done.folder / "config.json", recorded | {"config": change(recorded["config"])})
    with pytest.raises(LabError) as caught:
        Run(done.name)
    why = f"was made by another version of this program and can't be read: this one {told}"
    assert str(caught.value) == f"run {done.name!r} {why}"


# ---- Killed ---------------------------------------------------------------------------------------------


def killed_when_it_says(word: str, script: str, home: Path) -> list[str]:
    """Runs a script that stands for the server, and kills it with all its children once it has said `word`."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"BLOODCELL_HOME": str(home)}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if said[-1] == word:
            break
    os.killpg(process.pid, signal.SIGKILL)
    said += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert process.wait() == -signal.SIGKILL, said
    return said


def test_an_import_that_is_killed_leaves_nothing_that_counts(tmp_path: Path, lab_home: Path) -> None:
    source = write_files(tmp_path / "cells", class_files(150))
    killed_when_it_says(
        "half",
        f"""
        import time
        from pathlib import Path
        from bloodcell_core.data.importing import import_dataset
        def told(done, total):
            print("half")
            time.sleep(60)
        import_dataset(Path({str(source)!r}), "cells", trace=False, progress=told)
        """,
        lab_home,
    )
    assert names() == []
    assert len([*workspace.datasets_dir().glob(".cells.*")]) == 1
    assert drawn_pages("Home", "Browse") == ""
    assert len(import_dataset(source, "cells", trace=False).pictures) == 300


def test_a_server_that_is_killed_amid_an_upload_leaves_no_import(lab_home: Path) -> None:
    killed_when_it_says(
        "half",
        """
        import time
        from bloodcell_core.data import import_jobs
        class Upload:
            def read(self, size=-1):
                if hasattr(self, "asked"):
                    print("half")
                    time.sleep(60)
                self.asked = True
                return b"x" * 1000
        import_jobs.start("import", upload=("cells.zip", Upload()))
        """,
        lab_home,
    )
    assert import_jobs.ImportJob.readable() == ([], [])
    (left,) = workspace.imports_dir().iterdir()
    assert drawn_pages("Home", "Browse") == ""
    os.utime(left, (0, 0))
    disk.sweep_unfinished(workspace.imports_dir())
    assert tree(workspace.imports_dir()) == set()


def test_a_view_whose_build_is_killed_is_built_again(lab: Path) -> None:
    killed_when_it_says(
        "half",
        """
        import time
        from bloodcell_core.data.dataset import Dataset
        from bloodcell_core.data.views import build_view
        def told(done, total):
            print("half")
            time.sleep(60)
        build_view(Dataset("demo"), "cell", 40, progress=told)
        """,
        lab,
    )
    folder = workspace.dataset_dir("demo") / "views"
    assert not workspace.view_file("demo", "cell-40").exists()
    assert [*folder.glob(".cell-40*")]
    built = build_view(Dataset("demo"), "cell", 40)
    assert built.shape == (48, 40, 40, 3)
    assert built.any(axis=(1, 2, 3)).all()
    assert not [*folder.glob(".*")]


def test_no_verdict_that_was_confirmed_is_lost_when_the_server_is_killed(lab: Path) -> None:
    said = killed_when_it_says(
        "30",
        """
        from bloodcell_core.data.dataset import Dataset
        from bloodcell_core.labels.verdicts import AMBIGUOUS, record
        data, number = Dataset("demo"), 0
        while True:
            record(data, [data.pictures.image_id[number % 48]], AMBIGUOUS, by="Ana", token=str(number))
            print(number)
            number += 1
        """,
        lab,
    )
    kept = [event.token for event in events(Dataset("demo"))]
    assert kept[: len(said)] == said
    assert len(kept) <= len(said) + 1  # the one that was being confirmed
    assert drawn_pages("Home", "Review") == ""


def test_a_slide_that_is_killed_while_it_is_handed_in_isn_t_there(lab_home: Path) -> None:
    killed_when_it_says(
        "half",
        """
        import time
        from bloodcell_core.smear import slides
        def told(done, total):
            print("half")
            time.sleep(60)
        slides.create("Mine", "some-run", [(f"{n}.png", lambda n=n: bytes([n])) for n in range(3)], progress=told)
        """,
        lab_home,
    )
    assert slides.listed() == ([], {})
    assert len([*workspace.slides_dir().iterdir()]) == 1  # hidden, and swept after a day
    assert len(slides.create("Mine", "some-run", [("1.png", lambda: b"1")]).pictures) == 1


def test_no_correction_of_a_slide_that_was_confirmed_is_lost_when_the_server_is_killed(lab_home: Path) -> None:
    slide = slides.create("Mine", "some-run", [("1.png", lambda: b"1")])
    said = killed_when_it_says(
        "30",
        f"""
        from bloodcell_core.smear import slides
        from bloodcell_core.smear.corrections import Correction
        slide, number = slides.read_slide({slide.id!r}), 0
        while True:
            slide = slides.correct(slide, [Correction(1, "label", f"c{{number}}", "monocyte", (1, 2, 11, 12))])
            print(number)
            number += 1
        """,
        lab_home,
    )
    kept = [one.cell for one in slides.read_slide(slide.id).corrections]
    assert kept[: len(said)] == [f"c{number}" for number in said]
    assert len(kept) <= len(said) + 1


# ---- Full, and read-only --------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of its own with the options given; skips where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("only root may mount a disk")
        return place

    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    yield mount
    subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def filled(lab: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab on that disk, with a verdict that was confirmed."""
    home = place / "home"
    shutil.copytree(lab, home)
    monkeypatch.setenv("BLOODCELL_HOME", str(home))
    data = Dataset("demo")
    record(data, data.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana", token="before")
    return home


def test_a_disk_that_is_really_full(
    lab: Path, mounted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = filled(lab, mounted("size=24m"), monkeypatch)
    data, source = Dataset("demo"), write_files(tmp_path / "cells", class_files())
    before = tree(home)
    with pytest.raises(OSError, match="No space left"):
        (home / "filling").write_bytes(bytes(24 * 2**20))  # as far as it goes
    with pytest.raises((LabError, OSError), match=r"No space left|disk is full|disk I/O"):
        record(data, data.pictures.image_id[1:2].tolist(), AMBIGUOUS, by="Ana", token="full")
    with pytest.raises(OSError, match="No space left"):
        import_dataset(source, "cells", trace=False)
    with pytest.raises(OSError, match="No space left"):
        build_view(data, "frame", 64)
    with pytest.raises(LabError, match=r"can't be used: .*(is the disk full\?|make room on it)$"):
        events(data)  # even to read SQLite wants a little room
    told = drawn_pages()
    assert all(f"{title}: The disk of {home} is full" in told for title in PAGES), told
    (home / "filling").unlink()
    assert [event.token for event in events(data)] == ["before"]
    assert {path for path in tree(home) if "lab.sqlite" not in path and not path.startswith("locks")} == {
        path for path in before if "lab.sqlite" not in path and not path.startswith("locks")
    }
    record(data, data.pictures.image_id[1:2].tolist(), AMBIGUOUS, by="Ana", token="after")
    assert [event.token for event in events(data)] == ["before", "after"]
    assert len(import_dataset(source, "cells", trace=False).pictures) == 12


def test_a_read_only_workspace_is_shown_and_says_what_it_can_t_keep(
    lab: Path, mounted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_core.labels import database
    from bloodcell_core.training import jobs

    place = mounted("size=48m")
    home = filled(lab, place, monkeypatch)
    waiting = jobs.create_run(tiny())
    jobs.write_status(waiting.folder, state="running", updated=0)
    before = tree(home)
    database._cached_engine.cache_clear()  # as a server that starts
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    data = Dataset("demo")
    assert waiting.status()["state"] == "interrupted"
    with pytest.raises((LabError, OSError), match=r"Read-only file system|readonly database"):
        record(data, data.pictures.image_id[1:2].tolist(), AMBIGUOUS, by="Ana")
    with pytest.raises(OSError, match="Read-only"):
        import_dataset(write_files(tmp_path / "cells", class_files()), "cells", trace=False)
    with pytest.raises(OSError, match="Read-only"):
        jobs.create_run(tiny())
    told = drawn_pages()
    assert "Read-only file system" in told
    assert all(f"{title}: {home} can't be written to" in told for title in PAGES), told
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    assert tree(home) == before
    assert [event.token for event in events(data)] == ["before"]


# ---- Two servers on one workspace -----------------------------------------------------------------------


def test_of_two_servers_that_import_one_name_one_does_and_both_see_it(tmp_path: Path, lab_home: Path) -> None:
    source = write_files(tmp_path / "cells", class_files(20))
    script = f"""
from pathlib import Path
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.errors import LabError
print("ready", flush=True)
input()
try:
    print(len(import_dataset(Path({str(source)!r}), "cells", trace=False).pictures))
except LabError as error:
    print(error)
"""
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for server in servers:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("\n")
        server.stdin.flush()
    said = sorted(server.communicate(timeout=120)[0].strip() for server in servers)
    assert said[0] == "40"
    assert "exists already" in said[1]
    assert [path.name for path in workspace.datasets_dir().iterdir()] == ["cells"]


def test_a_view_that_two_ask_for_at_once_is_built_once(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, gate = [], Barrier(2)
    build = views._build
    monkeypatch.setattr(views, "_build", lambda *given: built.append(1) or build(*given))

    def ask(_: int) -> bytes:
        gate.wait(60)
        return build_view(Dataset("demo"), "frame", 40).tobytes()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert len(built) == 1


def test_what_one_server_confirms_the_other_shows(lab: Path) -> None:
    data = Dataset("demo")
    record(data, data.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana", token="first")
    other = (
        "from bloodcell_core.data.dataset import Dataset\n"
        "from bloodcell_core.labels.verdicts import AMBIGUOUS, events, record\n"
        "data = Dataset('demo')\n"
        "print([event.token for event in events(data)])\n"
        "record(data, data.pictures.image_id[1:2].tolist(), AMBIGUOUS, by='Ben', token='second')\n"
    )
    done = subprocess.run([sys.executable, "-c", other], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['first']\n"
    assert [event.token for event in events(data)] == ["first", "second"]
