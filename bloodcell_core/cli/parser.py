"""What the verbs' parsers share: errors in one line, --json and --debug, the flags of TrainConfig's fields."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bloodcell_core import config
from bloodcell_core.cli.output import writable
from bloodcell_core.config import PRESETS
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with the arguments in one line, and helps on a terminal of any encoding. A flag is written in
    full: a setting that has none must not be taken for another one, as --fold for --folds."""

    def __init__(self, **options: Any):
        super().__init__(**options, allow_abbrev=False)

    def format_help(self) -> str:
        """As argparse has it."""
        return writable(super().format_help())

    def error(self, message: str) -> NoReturn:
        """One line, without argparse's usage block before it."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def verb(parent: Any, name: str, do: Callable[[argparse.Namespace], int | None], help: str) -> argparse.ArgumentParser:
    """Adds the verb `name` to what `add_subparsers` gave; `do` is called with what was parsed."""
    parser: argparse.ArgumentParser = parent.add_parser(name, help=help, description=help)
    parser.set_defaults(do=do, parser=parser)
    # SUPPRESS: a default here would undo a --debug given before the verb
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def family(parent: Any, name: str, help: str) -> Any:
    """Adds a word that has verbs of its own, as `data` has `data import`; `verb` takes what this returns."""
    return parent.add_parser(name, help=help).add_subparsers(required=True, metavar="VERB", parser_class=Parser)


def path_of(text: str) -> Path:
    """A path as it was typed. An empty one, as of a shell's variable that isn't set, would be the folder one is in."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; the folder that you are in is .")
    return Path(text)


def word_of(text: str) -> str:
    """A word as it was typed. Refuses an empty word (an unset shell variable): it would be read as 'not given'."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty word, as of a variable that isn't set")
    return text


RUN_HELP = "a run's name, a unique beginning of it, or latest: the newest that has finished"

CLASSES_HELP = "a CSV file theirs,ours: what each of its classes is to the run"

DEVICE_HELP = "auto (the default: CUDA where it is there), cpu, cuda or cuda:N"

OF_FOLDS = ("folds", "fold", "fold_over")
"""A run's place in a cross-validation, which `--set` alone takes."""
FLAGGED = [name for name in config.fields() if name not in OF_FOLDS]
"""Settings that have a flag of their own."""
LISTED = ("labels", "weights", "seed", "device")
"""Those that `--help` explains although the pages have them among the advanced ones."""


def add_config_flags(parser: argparse.ArgumentParser, folds: bool = True) -> None:
    """Adds a flag for each of FLAGGED, and `--set`, `--preset` and where to train; `folds` says whether OF_FOLDS are
    settings of the verb."""
    for name in FLAGGED:
        spec = config.fields()[name]
        told = f" Default: {spec.default}." if spec.default not in (None, "", dataclasses.MISSING) else ""
        told += f" The lab's own: {', '.join(MODELS)}." if name == "model" else ""
        listed = not spec.metadata["advanced"] or name in LISTED
        parser.add_argument(
            f"--{name.replace('_', '-')}", *([f"--{name}"] if "_" in name else []), metavar="VALUE",
            type=word_of if name == "weights" else str,  # an empty path would be the folder one is in
            help=spec.metadata["help"].replace("%", "%%") + told if listed else argparse.SUPPRESS,
        )  # fmt: skip
    told = f"here or as a flag of its own (--batch-size 32): {', '.join(FLAGGED)}"
    add_set_flag(parser, told + (f"; here alone: {', '.join(OF_FOLDS)}" if folds else ""))
    parser.add_argument("--preset", choices=tuple(PRESETS), help="start from these settings; flags change them")
    add_place_flags(parser)


def add_set_flag(parser: argparse.ArgumentParser, fields: str) -> None:
    """Adds `--set FIELD=VALUE`, for any field of TrainConfig; `fields` tells which there are."""
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=f"any setting, {fields}")


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--foreground`, for scripts that say so, and `--detach`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--foreground", dest="detach", action="store_false", default=False,
                       help="train in this process, as without it")  # fmt: skip
    where.add_argument("--detach", action="store_true", help="train in a process of its own and return at once")


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainConfig that preset and flags give."""
    flags = {name: config.parse(name, getattr(args, name)) for name in FLAGGED if getattr(args, name) is not None}
    by_set = set_of(args)
    if twice := [name for name in by_set if name in flags]:
        raise LabError(f"{twice[0]} is given by a flag and by --set: leave one of them out")
    return (PRESETS[args.preset] if args.preset else {}) | flags | by_set


def set_of(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of TrainConfig that `--set` gives."""
    values = {}
    for setting in args.set:
        name, equals, text = setting.partition("=")
        if not equals:
            raise LabError(f"--set takes FIELD=VALUE, not {setting[:60]!r}")
        values[name] = config.parse(name, text)
    return values
