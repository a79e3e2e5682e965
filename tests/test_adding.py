"""docs/adding.md, followed to the letter: its network, format and page are added to a copy of the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import ROOT

PLACE = r"in (?P<old>\S+), (?P<how>before|after|instead of): (?P<line>[^\n]+)"
BLOCK = re.compile(rf"^```python\n# (?:{PLACE}|(?P<new>\S+))\n(?P<text>.*?)^```", re.M | re.S)
NAMES = ("patch_net", "class-in-name", "6_Largest")
TESTS = ("test_models", "test_formats", "test_pages", "test_architecture", "test_docs")


def followed(paper: str, copy: Path) -> None:
    """Does what each block of the paper says."""
    for block in BLOCK.finditer(paper):
        if block["new"]:
            (copy / block["new"]).write_text(block["text"], encoding="utf-8")
            continue
        file = copy / block["old"]
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [place for place, line in enumerate(lines) if line.strip().startswith(block["line"])]
        assert places, f"no line of {block['old']} begins with {block['line']}"
        first = places[0] + (block["how"] == "after")
        lines[first : first + (block["how"] == "instead of")] = [block["text"]]
        file.write_text("".join(lines), encoding="utf-8")


@pytest.mark.slow
def test_what_the_page_adds_passes_the_tests_of_the_tables(tmp_path: Path) -> None:
    copy = tmp_path / "program"
    for part in ("bloodcell_core", "pages", "ui", "tests", "docs", ".streamlit"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "browser"))
    for file in ("streamlit_app.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, copy)
    paper = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    assert len(BLOCK.findall(paper)) == paper.count("```python")
    followed(paper, copy)
    asked = " or ".join([*NAMES, "first_paint", "sample", "layer", "nothing_heavier", "unknown_network", "scratch_is"])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-o", "addopts=", "-v", "-k", asked,
         *(f"tests/{name}.py" for name in TESTS)],
        cwd=copy, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(copy)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    for name in NAMES:
        assert re.search(rf"\[.*{name}.*\] PASSED", run.stdout), f"no test ran over {name}"
