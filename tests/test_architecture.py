"""The house rules of the design, read from the imports: who may import whom, and what a first paint must not cost."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE, PAGES, UI = "bloodcell_core", ROOT / "pages", ROOT / "ui"
HOME_PAGE = ROOT / "streamlit_app.py"

LAYERS = (
    {"cli", "__main__"},
    {"review"},
    {"smear"},
    {"inference"},
    {"training"},
    {"evaluation"},
    {"models"},
    {"data", "labels"},
    {
        "background", "cells", "crops", "runs", "kinds", "notes", "sheets", "stain", "workspace", "disk", "config",
        "device", "errors", "progress", "words",
    },
)
"""Parts of the core, from the top: a part imports from its own layer and from those below it only."""

FIRST_PAINT = (
    "bloodcell_core.workspace",
    "bloodcell_core.config",
    "bloodcell_core.runs",
    "bloodcell_core.data.audit",
    "bloodcell_core.data.dataset",
    "bloodcell_core.data.import_jobs",
    "bloodcell_core.data.formats",
    "bloodcell_core.data.importing",
    "bloodcell_core.data.views",
    "bloodcell_core.labels.exchange",
    "bloodcell_core.labels.overlays",
    "bloodcell_core.labels.verdicts",
    "bloodcell_core.models",
    "bloodcell_core.evaluation.metrics",
    "bloodcell_core.evaluation.intervals",
    "bloodcell_core.evaluation.limits",
    "bloodcell_core.evaluation.scoring",
    "bloodcell_core.training.jobs",
    "bloodcell_core.training.groups",
    "bloodcell_core.training.studies",
    "bloodcell_core.training.worker",  # one that waits for its device takes little memory
    "bloodcell_core.smear.adaptation_jobs",
    "bloodcell_core.inference.least_cells",
    "bloodcell_core.smear.slides",
    "bloodcell_core.smear.slide_answers",
    "bloodcell_core.smear.slide_cells",
    "bloodcell_core.smear.slide_dataset",
    "bloodcell_core.smear.slide_report",
    "bloodcell_core.smear.differential",
    "bloodcell_core.smear.corrections",
    "bloodcell_core.inference.fields",
    "bloodcell_core.inference.handed_in",
    "bloodcell_core.review.queue",
    "bloodcell_core.cli",
)

CORE_FILES = sorted((ROOT / CORE).rglob("*.py"))
APP_FILES = sorted([*PAGES.glob("*.py"), *UI.rglob("*.py"), HOME_PAGE])
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
BROWSER_LIKE = ROOT / "benchmarks" / "sessions.py"  # speaks to the server as a browser does, in its messages


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def every(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files, ids=named)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function: 'a.b' for `import a.b`, 'a.b' for
    `from a import b`, whether b is a module or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def top(module: str) -> str:
    return module.split(".")[0]


def layer(part: str) -> int:
    found = [place for place, parts in enumerate(LAYERS) if part in parts]
    assert found, f"{part} stands in no layer: give it one in LAYERS, and in the design"
    return found[0]


def upward(part: str, tree: ast.AST) -> list[str]:
    """The imports of a part of the core that lead upwards."""
    own = layer(part)
    inside = [module.split(".")[1] for module in imports(tree) if top(module) == CORE and "." in module]
    return [other for other in inside if other != "__version__" and layer(other) < own]


def module_of(path: Path) -> str:
    return named(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circle(sources: dict[str, ast.AST]) -> list[str]:
    """Modules that import each other round, also inside a function; the first again at the end, empty where none do.

    A package may hand on to a module of its own, as the table of networks does to timm's.
    """
    taken = {
        module: {
            known
            for name in imports(tree)
            if (known := name if name in sources else name.rpartition(".")[0]) in sources
            and not known.startswith(f"{module}.")
        }
        for module, tree in sources.items()
    }
    try:
        TopologicalSorter(taken).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / CORE).parts[0].removesuffix(".py")


# The rules


def test_there_is_something_to_hold_the_rules_on():
    assert len(CORE_FILES) > 20
    assert len(APP_FILES) > 10


@every([path for path in CORE_FILES if path != ROOT / CORE / "__init__.py"])
def test_imports_inside_the_core_run_one_way(path):
    assert upward(part_of(path), parse(path)) == []


def test_no_modules_import_each_other_round():
    files = [*CORE_FILES, *APP_FILES]
    assert circle({module_of(path): parse(path) for path in files}) == []


def test_the_core_s_own_top_imports_nothing():
    assert [*imports(parse(ROOT / CORE / "__init__.py"))] == []


@every(CORE_FILES)
def test_the_core_knows_neither_streamlit_nor_the_pages(path):
    assert not {top(module) for module in imports(parse(path))} & {"streamlit", "ui", "pages", "streamlit_app", "tests"}


@every([path for path in BENCHMARKS if path != BROWSER_LIKE])
def test_benchmarks_measure_the_core_and_need_no_streamlit(path):
    assert not {top(module) for module in imports(parse(path))} & {"streamlit", "pages", "streamlit_app", "tests"}


@every(APP_FILES)
def test_pages_and_their_shared_parts_import_each_other_in_order(path):
    ours = {top(module) for module in imports(parse(path))} & {
        CORE,
        "ui",
        "pages",
        "streamlit_app",
        "tests",
        "benchmarks",
    }
    assert ours <= {CORE, "ui"}


def test_only_pages_and_their_shared_parts_import_streamlit():
    others = [
        path for path in ROOT.rglob("*.py") if not {"tests", ".venv", "workspace"} & {*path.relative_to(ROOT).parts}
    ]
    importing = {path for path in others if "streamlit" in {top(module) for module in imports(parse(path))}}
    assert importing
    assert importing <= {*APP_FILES, BROWSER_LIKE}


@every([*CORE_FILES, *APP_FILES])
def test_imports_are_whole_and_by_name(path):
    modules = [*imports(parse(path))]
    assert not [module for module in modules if module.startswith(".")]
    assert not [module for module in modules if module.endswith(".*")]


@every([path for path in CORE_FILES if path.name != "workspace.py"])
def test_only_the_workspace_asks_where_it_lies(path):
    """Others may hand its place on to a process that they start."""
    asked: list[ast.expr] = []
    for node in ast.walk(parse(path)):
        asked += node.args if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
    assert "BLOODCELL_HOME" not in {node.value for node in asked if isinstance(node, ast.Constant)}


@every([*CORE_FILES, *APP_FILES])
def test_nothing_is_unpickled(path):
    tree = parse(path)
    modules = {*imports(tree)} - {"pickle"}  # by itself for the name of its error
    assert not {top(module) for module in modules} & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        options = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        assert not name.startswith("pickle.")
        assert options.get("allow_pickle", False) is False
        assert name != "torch.load" or options.get("weights_only") is True


@every([*CORE_FILES, *APP_FILES])
def test_no_error_is_swallowed_by_a_bare_except_and_nothing_is_executed_from_text(path):
    nodes = [*ast.walk(parse(path))]
    assert not [node.lineno for node in nodes if isinstance(node, ast.ExceptHandler) and node.type is None]
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not called & {"eval", "exec"}


# What a first paint costs


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The packages that are in memory once everything that a page imports at its top is."""
    script = f"import sys, {', '.join(FIRST_PAINT)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {top(module) for module in done.stdout.split()}


@pytest.mark.parametrize("heavy", ["torch", "torchvision", "streamlit", "sklearn", "matplotlib", "sqlalchemy"])
def test_a_first_paint_waits_for_no_heavy_package(loaded, heavy):
    assert CORE in loaded
    assert heavy not in loaded


def test_pages_import_nothing_heavier_at_their_top():
    """What runs when a page is opened, functions not looked into: each is in FIRST_PAINT or imported by it."""
    tops = set()
    for path in APP_FILES:
        module = parse(path)
        at_top = ast.Module([node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        tops |= {name for name in imports(at_top)}
    assert not {top(name) for name in tops} & {"torch", "torchvision", "sklearn"}
    heavy = ("bloodcell_core.device", "bloodcell_core.inference")
    assert not {name for name in tops if name.startswith(heavy) and not _is_light(name)}


def _is_light(name: str) -> bool:
    return any(name == light or name.startswith(f"{light}.") for light in FIRST_PAINT)


# The checks themselves


@pytest.mark.parametrize(
    ("part", "source", "found"),
    [
        ("data", "from bloodcell_core.training import jobs", ["training"]),
        ("data", "def f():\n    from bloodcell_core.models.network import load_network", ["models"]),
        ("evaluation", "import bloodcell_core.training.jobs", ["training"]),
        ("runs", "from bloodcell_core import config, data", ["data"]),
        ("training", "from bloodcell_core.evaluation import scoring\nfrom bloodcell_core import runs", []),
        ("cli", "from bloodcell_core import __version__, runs", []),
        ("review", "from bloodcell_core.inference.predictor import Predictor\nimport streamlit", []),
    ],
)
def test_a_wrong_way_would_be_seen(part, source, found):
    assert upward(part, ast.parse(source)) == found


def test_a_circle_would_be_seen():
    one = ast.parse("from lab.two import thing")
    two = ast.parse("def f():\n    from lab import three")
    three = ast.parse("import lab.one")
    assert {*circle({"lab.one": one, "lab.two": two, "lab.three": three})} == {"lab.one", "lab.two", "lab.three"}
    assert circle({"lab.one": one, "lab.two": two, "lab.three": ast.parse("import lab.four")}) == []


def test_a_part_that_stands_in_no_layer_would_be_seen():
    with pytest.raises(AssertionError, match="gadgets stands in no layer"):
        upward("data", ast.parse("from bloodcell_core.gadgets import gadget"))
    with pytest.raises(AssertionError, match="gadgets stands in no layer"):
        upward("gadgets", ast.parse("import os"))
