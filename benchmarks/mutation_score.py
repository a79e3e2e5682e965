"""How many small faults the tests notice: the core is changed in one place at a time, and the tests that know it run.

    python -m benchmarks.mutation_score --mutants 100 --minutes 30

A mutant is one change: a comparison, an operator, `and` for `or`, a condition turned round, a number one larger, True
for False. They are drawn by a seed from all that there are in the named parts; messages, annotations and the tuning
constants at a module's top are left alone. Each is tried in a copy of the tree with a few test files that import
the changed module (or one that does, where none imports it): those of its name first, then the smallest. So the score
is a lower limit: the whole suite may notice more. A test file that is red without any change is an error, for it would
notice everything. Prints one JSON object; what survived is listed to be read, since a change may make no difference to
anybody.
"""

from __future__ import annotations

import argparse
import ast
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
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("bloodcell_core/evaluation", "bloodcell_core/data/splits.py", "bloodcell_core/review")
PYTEST = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not cuda and not slow")
LONGEST = 300.0  # seconds that one of them may take without any change; a longer one is left out, and told
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
    known = [test for test in tests if _imports(test) & users]
    known.sort(key=lambda test: (module.split(".")[-1] not in test.name, test.stat().st_size))
    return [test.relative_to(ROOT).as_posix() for test in known[:most]]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def run_tests(tree: Path, tests: list[str], limit: float) -> str:
    """'green', 'red' or 'late' for the tests in a tree."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *PYTEST, *tests], cwd=tree, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        return "green" if process.wait(limit) in (0, NO_TEST) else "red"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # what it started too: an endless loop may sit in a worker
        process.wait()
        return "late"


def copied(folder: Path) -> Path:
    """The tree's own files in a new folder."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def main() -> None:
    """Draws the mutants, tries them, and prints the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"files or folders; by default {', '.join(PARTS)}")
    parser.add_argument("--mutants", type=int, default=100, help="how many are drawn")
    parser.add_argument("--minutes", type=float, default=30.0, help="none is begun after so many")
    parser.add_argument("--tests", type=int, default=3, help="test files that are run for a mutant, at the most")
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
        trees: Queue[Path] = Queue()
        for number in range(args.jobs):
            trees.put(copied(Path(aside, str(number))))

        def timed(test: str) -> float:
            tree, start = trees.get(), time.monotonic()
            state = run_tests(tree, [test], LONGEST)
            trees.put(tree)
            if state == "red":
                raise RuntimeError(f"{test} fails without any change")
            return time.monotonic() - start

        def tried(mutant: Mutant) -> str:
            known = [test for test in tests[mutant.path] if seconds[test] < LONGEST]
            if not known:
                return "untested"
            tree = trees.get()
            try:
                if time.monotonic() - begun > 60 * args.minutes:
                    return "not tried"
                file, source = tree / mutant.path, (ROOT / mutant.path).read_bytes()
                file.write_bytes(mutant.applied(source))
                state = run_tests(tree, known, 60 + 4 * sum(seconds[test] for test in known))
                file.write_bytes(source)
            finally:
                trees.put(tree)
            told = {"red": "noticed", "late": "noticed", "green": "survived"}[state]
            print(f"{told:9} {mutant.words(source)}", file=sys.stderr, flush=True)
            return told

        wanted = sorted({test for each in tests.values() for test in each})
        seconds = dict(zip(wanted, pool.map(timed, wanted), strict=True))
        told = list(pool.map(tried, drawn))
    tried_at_all = [each for each in told if each != "not tried"]
    print(json.dumps({
        "parts": list(args.parts), "seed": args.seed, "mutants_there_are": len(every), "tried": len(tried_at_all),
        "noticed": tried_at_all.count("noticed"),
        "score": tried_at_all.count("noticed") / max(len(tried_at_all), 1),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "left_out_tests": [test for test in wanted if seconds[test] >= LONGEST],
        "survived": [mutant.words((ROOT / mutant.path).read_bytes())
                     for mutant, state in zip(drawn, told, strict=True) if state in ("survived", "untested")],
    }, indent=1, ensure_ascii=False))  # fmt: skip


if __name__ == "__main__":
    main()
