"""Every command that the papers show is run, as a reader would type it: a paper from its top to its end, in a scratch
folder with the files and runs that the paper speaks of. `test_docs.py` holds the rest of the papers to be true.

What a paper leaves to the reader (RUN, STUDY, picture.png) is filled in by `Reader`; settings that would take minutes
are made small by flags that the papers themselves show (`QUICK`). What can't be run here stands in `NOT_RUN` with the
reason.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bloodcell_core import runs, workspace
from bloodcell_core.cli import main
from tests.conftest import write_zip
from tests.test_architecture import ROOT
from tests.test_docs import PAPERS, named
from tests.training_fixtures import TINY, drawn, wait_for

NOT_RUN = {
    "pip install": "it downloads; .ci/run does it in a new environment each time",
    "streamlit run streamlit_app.py": "it doesn't end; every test in tests/browser starts it so",
    "pytest": "that is who runs this",
    "python -m bloodcell_core data download": "it downloads; tests/test_download.py has the downloads stand in",
    "sudo": "it changes the machine; tests/postgres.py starts a PostgreSQL of its own",
    "cd /opt/blood-cell-lab": "there is none here",
}
"""The beginning of a command, and why no test here runs it."""

SMALL = ["--epochs=1", "--size=32", "--batch-size=8", "--pictures-per-epoch=16"]
QUICK: dict[tuple[str, ...], list[str]] = {
    ("data", "demo"): ["--per-class", "12", "--seed", "8"],
    ("train",): SMALL,
    ("cross-validate",): [*SMALL, "--folds", "2"],
    ("tune", "--data"): [*SMALL, "--trials", "2"],
    ("tune", "train"): ["--set=epochs=1"],
}
"""What is added to a verb so that it takes a moment."""

BLOCKS = re.compile(r"^```(sh|bash|python)\n(.*?)^```", re.M | re.S)


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The language and text of each block that can be run in a paper."""
    if path.name != "adding.md":  # whose Python is put into files: tests/test_adding.py does so
        yield from BLOCKS.findall(path.read_text(encoding="utf-8"))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


def why_not_run(words: list[str]) -> str | None:
    return next((why for start, why in NOT_RUN.items() if " ".join(words).startswith(start)), None)


SHOWN = [path for path in PAPERS if any(blocks(path))]
COMMANDS = [words for path in SHOWN for kind, text in blocks(path) if kind != "python" for words in commands(text)]


class Reader:
    """Somebody who has a workspace and some files, and fills in what a paper leaves open."""

    def __init__(self) -> None:
        self.said = ""

    def filled(self, words: list[str]) -> list[str]:
        """The words with names of runs, pictures and verdicts that are there in place of what stands for them."""
        return [self.word(word) for word in words]

    def word(self, word: str) -> str:
        if word in ("RUN", "NEW"):
            return self.runs()[0].name
        if word in ("OTHER-RUN", "OTHER", "OLD"):
            return self.runs()[1].name
        if word == "THIRD-RUN":
            return self.runs()[2].name
        if word == "GROUP":
            from bloodcell_core.training import groups

            return groups.groups()[0].name
        if word == "STUDY":
            from bloodcell_core.training import studies

            return studies.names()[0]
        if word == "3f9a":  # a picture's id; the paper calls it a monocyte
            return pictures_tested(runs.find("latest"))[0]
        if word == "17":  # a verdict's number, as `review set` has just told it
            return re.findall(r"\d+", self.said)[0]
        return word

    def runs(self) -> list[runs.Run]:
        """Finished runs that can be put side by side, newest first."""
        found = [run for run in runs.readable_runs()[0] if run.trained_here and not run.config.folds]
        return [run for run in found if run.config.data == "demo" and run.status()["state"] == "done"]

    def does(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """Runs a command of the lab; what is left to a process of its own is waited for."""
        arguments = self.filled(words)
        if words[:2] == ["data", "demo"]:  # who types this hasn't pressed the page's button before
            shutil.rmtree(workspace.dataset_dir("demo"), ignore_errors=True)
        arguments += next((more for verb, more in QUICK.items() if tuple(words[: len(verb)]) == verb), [])
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == 0, f"{shlex.join(words)}, run as {shlex.join(arguments)}, ended with {code}: {err}"
        self.said = out
        if "--detach" in words:
            from bloodcell_core.training import studies

            # until it is done: on a busy machine it may seem to have ended before it has begun
            study = studies.Study(studies.names()[0])
            wait_for(lambda: study.status()["state"] == "done", "the search is done", 300)


@pytest.fixture(scope="module")
def a_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with `demo` and its copy `archive`, two more datasets, three runs, a cross-validation, a verdict."""
    import torch

    from bloodcell_core.config import TrainConfig
    from bloodcell_core.training import groups, jobs, worker
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("reader") / "workspace"
    settings = TINY | {"view": "cell", "epochs": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(home))
        for name, seed in (("demo", 8), ("archive", 8), ("other", 2), ("my-cells", 3)):
            drawn(name, per_class=12, seed=seed)
        for seed in range(3):
            run = jobs.create_run(TrainConfig.from_json(settings | {"seed": seed}))
            worker.work(run, say=lambda line: None)
        for run in groups.unfinished(groups.create_group(TrainConfig.from_json(settings), folds=2)):
            worker.work(run, say=lambda line: None)
        assert main(["review", "set", "latest", pictures_tested(runs.find("latest"))[-1], "ambiguous"]) == 0
    return home


def pictures_tested(run: runs.Run) -> list[str]:
    """The ids of a run's test pictures that aren't labelled as monocytes."""
    table = run.predictions().query("split == 'test' and label.str.lower() != 'monocyte'")
    return [str(image_id) for image_id in table.image_id]


@pytest.fixture(scope="module")
def some_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the papers speak of, drawn cells and fields; only to be copied from."""
    from bloodcell_core.data import demo
    from bloodcell_core.data.pictures import encode

    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(4)
    cells = {f"{name}/{n}.png": encode(demo.draw_picture(name, rng)) for name in demo.DEMO_CLASSES for n in range(12)}
    field = encode(demo.draw_field(rng, demo.DEMO_CLASSES, (640, 480)).pixels)
    (folder / "picture.png").write_bytes(next(iter(cells.values())))
    (folder / "more-pictures").mkdir()
    (folder / "more-pictures" / "another.png").write_bytes(next(iter(cells.values())))
    pixels = cv2.imdecode(np.frombuffer(field, np.uint8), cv2.IMREAD_COLOR)
    assert cv2.imwrite(str(folder / "field.tif"), pixels)
    write_zip(folder / "slide.zip", {"one.png": field})
    write_zip(folder / "my-cells.zip", cells)
    for name, data in cells.items():
        (folder / "my-cells" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "my-cells" / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=named(path), marks=[] if path.name == "README.md" else pytest.mark.slow) for path in SHOWN],
)
def test_the_commands_of_a_paper_do_what_it_says(
    path: Path, a_lab: Path, some_files: Path, lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(a_lab, lab_home)
    folder = tmp_path / "reader"
    shutil.copytree(some_files, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for workers: a reader sits in the project's own folder
    reader = Reader()
    shown = [*blocks(path)]
    if path.name == "library.md":  # one script, in several blocks
        shown = [("python", "\n".join(text for _, text in shown))]
    for kind, text in shown:
        if kind == "python":
            shut_off = [] if "bloodcell_core" in text else ["-I"]  # from this project, of which it needs nothing
            outside([*shut_off, "-c", text, "cells.onnx", "picture.png"])
            continue
        for words in commands(text):
            if words[:3] == ["python", "-m", "bloodcell_core"]:
                if not why_not_run(words):
                    reader.does(words[3:], capsys)
            elif words[:2] == ["torchrun", "--nproc-per-node"]:  # what several processes make of it: test_team.py
                alone = ["--standalone", "--nproc-per-node", "1"]
                outside(["-m", "torch.distributed.run", *alone, *words[3:], *SMALL, "--device", "cpu"])
            else:
                assert why_not_run(words), f"{shlex.join(words)} is neither run nor told why not"


def outside(arguments: list[str]) -> None:
    """Runs Python on a paper's command in a process of its own."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def test_what_is_not_run_is_shown_somewhere_and_needs_what_is_there() -> None:
    for start in NOT_RUN:
        assert any(" ".join(words).startswith(start) for words in COMMANDS), f"no paper shows {start} any more"
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAPERS)
    for file in set(re.findall(r"pip install\s+-r\s+([\w-]+\.txt)", everything)):
        assert (ROOT / file).exists(), file


def test_the_benchmarks_that_are_told_of_are_there() -> None:
    """They take minutes to hours and real pictures: run by hand, as benchmarks/RESULTS.md tells."""
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAPERS)
    modules = set(re.findall(r"python -m (benchmarks\.\w+)", everything))
    assert len(modules) > 10
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_the_table_of_your_own_data_can_be_imported(tmp_path: Path, lab_home: Path) -> None:
    from bloodcell_core.data import demo
    from bloodcell_core.data.dataset import Dataset
    from bloodcell_core.data.pictures import encode

    (table,) = re.findall(r"^```csv\n(.*?)^```", (ROOT / "docs/your-own-data.md").read_text("utf-8"), re.M | re.S)
    folder = tmp_path / "slides-of-mine"
    folder.mkdir()
    (folder / "cells.csv").write_text(table, encoding="utf-8")
    lines = [line.split(",") for line in table.split()[1:]]
    for place, (path, label, *_) in enumerate(lines):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(encode(demo.draw_picture(label, np.random.default_rng(place))))
    assert main(["data", "import", str(folder), "--name", "mine"]) == 0
    found = Dataset("mine").pictures
    assert [*zip(found.file, found.label, found.source_photo, found.split, strict=True)] == [*map(tuple, lines)]


def test_the_secrets_file_that_is_shown_is_one() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/lab-server.md").read_text("utf-8"), re.M | re.S)
    told = tomllib.loads(text)
    assert told["auth"].keys() >= {"redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url"}
    assert told["lab"]["members"]
