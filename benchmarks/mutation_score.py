"""How many small faults the tests notice: the core is changed in one place at a time, and the tests that know it run.

    python -m benchmarks.mutation_score --mutants 100 --minutes 30

A mutant is one change: a comparison, an operator, `and` for `or`, a condition turned round, a number one larger, True
for False. They are drawn by a seed from all that there are in the named parts; messages, annotations and the tuning
constants at a module's top are left alone. Each is tried in a copy of the tree with a few test files that import
the changed module (or one that does, where none imports it): those of its name first, then those that take most from
it, then the smallest. So the score is a lower limit: the whole suite may notice more. A test file that is red without
any change is an error, for it would notice everything. Prints one JSON object; what survived is listed to be read,
since a change may make no difference to anybody.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("bloodcell_core/evaluation", "bloodcell_core/data/splits.py", "bloodcell_core/review")
LIBRARIES = (
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.sparse.csgraph", "cv2", "PIL.Image", "sklearn.metrics",
    "torch", "safetensors.torch", "sqlalchemy", "hypothesis", "pytest", "cleanlab.rank", "optuna", "h5py", "timm",
)  # fmt: skip
"""What takes long to import. Tests that care whether something is imported ask it of a process of their own."""
PYTEST = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not cuda and not slow")
LONGEST = 300.0  # seconds that one of them may take without any change; a longer one is left out, and told
SLOWER = 10  # times as long as without a change, from which on a mutant counts as endless: other work may slow it too
NO_TEST = 5  # pytest's answer where a file has none to run, as of a GPU here
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is not": "is", "is": "is not",
               "not in": "in", "in": "not in"}  # fmt: skip
OPERATORS = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "+", "&": "|", "|": "&", "**": "*", "@": "+"}
SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|", ast.Pow: "**", ast.MatMult: "@",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip


class Mutant(NamedTuple):
    """One change: the bytes start…end of a file become `new`."""

    path: str
    line: int
    start: int
    end: int
    new: bytes

    def applied(self, source: bytes) -> bytes:
        """The file with the change."""
        return source[: self.start] + self.new + source[self.end :]

    def words(self, source: bytes) -> str:
        """The place, its line, and what of it became what."""
        line, old = source.splitlines()[self.line - 1].decode().strip(), source[self.start : self.end]
        return f"{self.path}:{self.line}: {old.decode().strip()} → {self.new.decode().strip()}  in  {line}"


def mutants_of(path: Path) -> list[Mutant]:
    """Every change of a file that still parses."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(node: ast.AST, end: bool = False) -> int:
        if end:
            return starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def between(left: ast.AST, right: ast.AST, old: str, new: str) -> tuple[int, int, bytes]:
        start, end = place(left, end=True), place(right)
        return start, end, source[start:end].replace(old.encode(), new.encode(), 1)

    found = []
    for node in _changeable(ast.parse(source)):
        changes = []
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            old = SYMBOLS[type(node.ops[0])]
            changes.append(between(node.left, node.comparators[0], old, COMPARISONS[old]))
        elif isinstance(node, ast.BinOp) and (old := SYMBOLS.get(type(node.op), "")):
            changes.append(between(node.left, node.right, old, OPERATORS[old]))
        elif isinstance(node, ast.BoolOp):
            old = SYMBOLS[type(node.op)]
            changes.append(between(*node.values[:2], old, "or" if old == "and" else "and"))
        elif isinstance(node, ast.If | ast.IfExp):
            start, end = place(node.test), place(node.test, end=True)
            changes.append((start, end, b"not (" + source[start:end] + b")"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            new = not node.value if isinstance(node.value, bool) else node.value + 1
            changes.append((place(node), place(node, end=True), repr(new).encode()))
        for start, end, text in changes:
            mutant = Mutant(path.relative_to(ROOT).as_posix(), node.lineno, start, end, text)  # type: ignore[attr-defined]
            if text != source[start:end] and _parses(mutant.applied(source)):
                found.append(mutant)
    return found


def _changeable(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes whose change would change what a program does."""
    ahead: list[ast.AST] = [each for each in tree.body if isinstance(each, ast.FunctionDef | ast.ClassDef)]
    while ahead:
        node = ahead.pop()
        yield node
        skipped = {"annotation", "returns", "decorator_list"}
        for name, value in ast.iter_fields(node):
            inside = value if isinstance(value, list) else [value]
            if name not in skipped and not isinstance(node, ast.JoinedStr | ast.Raise):
                ahead += [each for each in inside if isinstance(each, ast.AST)]


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def tests_of(path: str, most: int) -> list[str]:
    """Up to `most` test files that import a module, or else those that import a module that does."""
    module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    tests = sorted((ROOT / "tests").glob("test_*.py"))
    users = {module}
    if not any(_imports(test) & users for test in tests):
        users |= {
            file.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".")
            for file in (ROOT / "bloodcell_core").rglob("*.py") if module in _imports(file)
        }  # fmt: skip
    # The names that a test file takes from the module tell how much of it is about it.
    taken = {test: sum(name.startswith(tuple(users)) for name in _imports(test)) for test in tests}
    known = [test for test in tests if _imports(test) & users]
    known.sort(key=lambda test: (module.split(".")[-1] not in test.name, -taken[test], test.stat().st_size))
    return [test.relative_to(ROOT).as_posix() for test in known[:most]]


@cache
def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


class Runner:
    """A process that has imported what the tests need but nothing of the tree, and runs tests in copies of itself.

    Most of a test file's time goes into the import of PyTorch, pandas and scikit-learn.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, json.dumps([LIBRARIES, PYTEST])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=tempfile.gettempdir(),
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def run(self, tree: Path, tests: list[str], limit: float) -> str:
        """'green', 'red' or 'late' for the tests in a tree; late is what takes longer than `limit` seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(tree), tests, limit]) + "\n")
        self._process.stdin.flush()
        code = json.loads(self._process.stdout.readline())
        return "late" if code is None else "green" if code in (0, NO_TEST) else "red"

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


SERVER = """
import importlib, json, os, signal, sys, time

libraries, options = json.loads(sys.argv[1])
for name in libraries:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # an extra
sys.path.pop(0)  # the folder that this began in
for line in sys.stdin:
    tree, tests, limit = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os.chdir(tree)
        sys.path.insert(0, tree)
        sys.argv = ["pytest"]
        import pytest
        os._exit(int(pytest.main([*options, *tests])))
    end = time.monotonic() + limit
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.05)
    if not ended[0]:
        os.killpg(child, signal.SIGKILL)  # what it started too: an endless loop may sit in a worker
        os.waitpid(child, 0)
    print(json.dumps(os.waitstatus_to_exitcode(ended[1]) if ended[0] else None), flush=True)
"""


def copied(folder: Path) -> Path:
    """The tree's own files in a new folder, compiled: a file that is changed no longer fits its hash, and is compiled
    anew."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


def main() -> None:
    """Draws the mutants, tries them, and prints the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"files or folders; by default {', '.join(PARTS)}")
    parser.add_argument("--mutants", type=int, default=100, help="how many are drawn")
    parser.add_argument("--minutes", type=float, default=30.0, help="none is begun after so many")
    parser.add_argument("--tests", type=int, default=3, help="test files that are run for a mutant, at the most")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds that a test file may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    begun = time.monotonic()
    named = [ROOT / part for part in args.parts]
    files = [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    every = [mutant for file in files for mutant in mutants_of(file)]
    drawn = random.Random(args.seed).sample(every, min(args.mutants, len(every)))
    tests = {path: tests_of(path, args.tests) for path in {mutant.path for mutant in drawn}}
    with tempfile.TemporaryDirectory() as aside, ThreadPoolExecutor(args.jobs) as pool:
        desks: Queue[tuple[Path, Runner]] = Queue()
        for number in range(args.jobs):
            desks.put((copied(Path(aside, str(number))), Runner()))

        @cache
        def seconds_of(test: str) -> float:
            """How long a test file takes without any change; looked at when it is first wanted."""
            tree, runner = desks.get()
            start = time.monotonic()
            state = runner.run(tree, [test], args.longest)
            taken = time.monotonic() - start
            desks.put((tree, runner))
            if state == "red":
                raise RuntimeError(f"{test} fails without any change")
            return taken

        def tried(mutant: Mutant) -> str:
            if time.monotonic() - begun > 60 * args.minutes:
                return "not tried"
            known = [test for test in tests[mutant.path] if seconds_of(test) < args.longest]
            if not known:
                return "untested"
            limit = 60 + SLOWER * sum(map(seconds_of, known))
            tree, runner = desks.get()
            try:
                file, source = tree / mutant.path, (ROOT / mutant.path).read_bytes()
                file.write_bytes(mutant.applied(source))
                state = runner.run(tree, known, limit)
                file.write_bytes(source)
            finally:
                desks.put((tree, runner))
            told = {"red": "noticed", "late": "noticed", "green": "survived"}[state]
            print(f"{told:9} {mutant.words(source)}", file=sys.stderr, flush=True)
            return told

        told = list(pool.map(tried, drawn))
        for _ in range(args.jobs):
            desks.get()[1].close()
    reached = [mutant for mutant, state in zip(drawn, told, strict=True) if state != "not tried"]
    asked = {test for mutant in reached for test in tests[mutant.path]}
    tried_at_all = [each for each in told if each != "not tried"]
    print(json.dumps({
        "parts": list(args.parts), "seed": args.seed, "mutants_there_are": len(every), "tried": len(tried_at_all),
        "noticed": tried_at_all.count("noticed"),
        "score": tried_at_all.count("noticed") / max(len(tried_at_all), 1),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "left_out_tests": sorted(test for test in asked if seconds_of(test) >= args.longest),
        "survived": [mutant.words((ROOT / mutant.path).read_bytes())
                     for mutant, state in zip(drawn, told, strict=True) if state in ("survived", "untested")],
    }, indent=1, ensure_ascii=False))  # fmt: skip


if __name__ == "__main__":
    main()
