"""The papers are true: commands parse, links lead somewhere, the map is the code's, every page and verb is told of."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bloodcell_core.cli import _parser
from bloodcell_core.crops import VIEWS
from bloodcell_core.evaluation.report_parts import CALIBRATION_WORDS, CLASS_WORDS, METRIC_WORDS
from tests.test_architecture import LAYERS, ROOT
from ui.shell import PAGES

PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
COMMAND = "-m bloodcell_core "


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `python -m bloodcell_core …` (or torchrun's) in a paper's blocks and lines."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in lines:
        place = line.find(COMMAND)
        if place >= 0 and "…" not in line:
            yield shlex.split(line[place + len(COMMAND) :], comments=True)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SHOWN = [(path, command) for path in PAPERS for command in commands(path.read_text(encoding="utf-8"))]


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments as the command line takes them; what stands for a word of the reader's is taken for one."""
    for end in ("|", ">", "2>", "&&", "&", ";"):
        if end in arguments:
            arguments = arguments[: arguments.index(end)]
    return _parser().parse_args(arguments)


def test_there_are_papers_and_they_show_commands() -> None:
    assert len(PAPERS) > 15
    assert len(SHOWN) > 40


@pytest.mark.parametrize(("path", "command"), SHOWN, ids=[f"{named(path)}: {' '.join(c)}" for path, c in SHOWN])
def test_every_command_parses(path: Path, command: list[str]) -> None:
    parse(command)


@pytest.mark.parametrize("wrong", [["trian"], ["train", "--dta", "demo"], ["runs", "rename", "RUN"]])
def test_a_wrong_command_would_be_seen(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(wrong)


def test_commands_are_found_in_blocks_and_lines() -> None:
    text = "```sh\npython -m bloodcell_core runs list  # all\n```\nand `python -m bloodcell_core data demo` too"
    assert [*commands(text)] == [["runs", "list"], ["data", "demo"]]


def links(text: str) -> list[str]:
    """Where a paper's links and pictures lead inside the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAPERS, ids=named)
def test_every_link_leads_to_a_file_of_ours(path: Path) -> None:
    for link in links(path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_paper() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {Path(link).name for link in links(index)} >= there


def test_every_page_is_told_of() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in PAGES if name != "Home" and f"**{name}**" not in readme} == set()


GUIDE = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in (
    "first-start", "browse", "training", "compare", "how-to-read-the-numbers", "review", "classify", "your-own-data",
    "your-microscope",
))]  # fmt: skip
NO_NAMES = ("All 31 others here are right",)  # a number


def quoted(text: str) -> set[str]:
    """What a paper sets in italics and begins with a capital: the names of buttons, tabs, choices and pages."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`|\*\*.*?\*\*", "", text, flags=re.M | re.S)
    return {" ".join(name.split()).rstrip(".:,?") for name in re.findall(r"\*([A-Z][^*]{1,45})\*", text)}


@pytest.mark.parametrize("path", GUIDE, ids=named)
def test_what_the_guide_calls_a_button_is_called_so_on_a_page(path: Path) -> None:
    sources = [*(ROOT / "pages").glob("*.py"), *(ROOT / "ui").iterdir(), ROOT / "streamlit_app.py"]
    sources += [ROOT / "bloodcell_core" / "config.py"]  # of which the form of settings is made
    drawn = "\n".join(file.read_text(encoding="utf-8") for file in sources if file.is_file())
    drawn += "".join(f"'{view.capitalize()}'" for view in VIEWS)  # as the pages write them

    def is_drawn(name: str) -> bool:  # as a whole string, an element's text, or what a caption emphasises
        return re.search(rf"[\"'>*]{re.escape(name)}[?\"'<*]", drawn) is not None

    assert {name for name in quoted(path.read_text("utf-8")) - {*NO_NAMES} if not is_drawn(name)} == set()


def test_a_button_that_is_gone_would_be_seen() -> None:
    text = "press *Train*, then\n*Look at\nit*; **Not this**, `*Nor this*` and *not that*"
    assert quoted(text) == {"Train", "Look at it"}


def test_every_figure_is_told_what_it_is() -> None:
    text = (ROOT / "docs" / "how-to-read-the-numbers.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| ([A-Z][^|]*) \|", text, re.M))
    named = {*METRIC_WORDS.values(), *CLASS_WORDS.values(), *CALIBRATION_WORDS.values()}
    assert {name for name in named if name.partition(",")[0] not in rows} == set()


def verbs(parser: argparse.ArgumentParser, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if before and not any(action.required for action in below):
        yield before
    for action in below:
        for name, child in action.choices.items():
            yield from verbs(child, (*before, name))


def test_every_verb_is_told_of() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAPERS)
    assert [" ".join(verb) for verb in verbs(_parser()) if not re.search(rf"\b{' '.join(verb)}\b", everything)] == []


# The map


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_drawn_layers_are_those_that_the_imports_are_held_to() -> None:
    drawn = dict(re.findall(r'(layer\d+)\["([^"]+)"\]', ARCHITECTURE))
    (order,) = re.findall(r"^\s*(layer\d+(?: --> layer\d+)+)$", ARCHITECTURE, re.M)
    assert [{*drawn[name].split(", ")} for name in order.split(" --> ")] == [*LAYERS]


def test_every_part_of_the_core_has_its_line() -> None:
    parts = set().union(*LAYERS) - {"__main__"}
    assert {*re.findall(r"^\| `([a-z_]+)` \|", ARCHITECTURE, re.M)} == parts


def test_everything_in_the_workspace_has_its_line() -> None:
    source = ast.parse((ROOT / "bloodcell_core" / "workspace.py").read_text(encoding="utf-8"))
    below = {
        node.right.value
        for node in ast.walk(source)
        if isinstance(node, ast.BinOp) and ast.unparse(node.left) == "home()" and isinstance(node.right, ast.Constant)
    }
    assert {"datasets", "runs", "notes"} <= below
    assert {name for name in below if f"`{name}" not in ARCHITECTURE} == set()


# The code's own words


def undocumented(tree: ast.AST, inside: str = "") -> Iterator[str]:
    """What others may use and nothing is said of; a network's `forward` is told of by its class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if node.name != "forward" and ast.get_docstring(node) is None:
                yield inside + node.name
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node, f"{inside}{node.name}.")


@pytest.mark.parametrize("path", sorted((ROOT / "bloodcell_core").rglob("*.py")), ids=named)
def test_all_that_the_library_offers_is_told_of(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert [*undocumented(tree)] == []


def test_what_is_not_told_of_would_be_seen() -> None:
    source = "class Cell:\n  def box(self): ...\n  def forward(self): ...\ndef _own(): ...\ndef find():\n  'It.'"
    assert [*undocumented(ast.parse(source))] == ["Cell", "Cell.box"]
