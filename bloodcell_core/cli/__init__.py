"""The command line: `python -m bloodcell_core VERB …`.

A reading verb with `--json` prints one JSON object to stdout and nothing else there; progress goes to stderr.
Exit code 0; 2 for a usage or input error, told in one line; 1 for a failure of the program itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bloodcell_core import __version__, workspace
from bloodcell_core.cli import adapting, data, ensembles, export, pictures, review, runs, scoring, training, tune
from bloodcell_core.cli.output import on_one_line, say
from bloodcell_core.cli.parser import Parser
from bloodcell_core.errors import WHAT_TO_DO, LabError, refusal

FAMILIES = (data, training, runs, tune, ensembles, scoring, review, pictures, adapting, export)
"""A family of verbs a module, in the order of `--help`; each adds its own to the parser."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    parsed, unknown = _parser().parse_known_args(arguments)
    if unknown:
        parsed.parser.error(f"unknown: {' '.join(unknown)}")  # its help, and not that of the whole
    try:
        for line in workspace.troubles():
            say(line)
        code = parsed.do(parsed) or 0
        if sys.stdout:  # None where it was closed before we began
            sys.stdout.flush()  # here and not at Python's end, where a failure would be told by a traceback
        return code
    except LabError as error:
        return _fail(str(error), 2, parsed)
    except KeyboardInterrupt:
        return _fail("interrupted", 1, parsed)
    except BrokenPipeError:
        _discard_output()
        return 0  # the reader of our output has seen enough
    except OSError as error:
        _discard_output()
        return _fail(refusal(error), 2 if error.errno in WHAT_TO_DO else 1, parsed)
    except Exception as error:
        return _fail(f"the program failed: {type(error).__name__}: {error} (--debug tells more)", 1, parsed)


def _discard_output() -> None:
    """Where our output can't be written, sends the rest nowhere: Python would try again at its end, and fail loudly."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(message: str, code: int, parsed: argparse.Namespace) -> int:
    if parsed.debug:
        raise  # noqa: PLE0704  called from an except block alone
    say(on_one_line(f"bloodcell_core: {' '.join(message.split())}"))
    return code


def _parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="bloodcell_core",
        description="Blood Cell Lab: white-blood-cell images, for research and teaching.",
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = top.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
    for family in FAMILIES:
        family.add(verbs)
    return top
