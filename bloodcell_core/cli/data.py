"""`data`: datasets imported, downloaded, drawn, listed, shown, audited, named, tagged, removed."""

from __future__ import annotations

import argparse
from typing import Any

from bloodcell_core import notes
from bloodcell_core.cli.output import progress, show, show_list, show_notes, show_removed, title_words
from bloodcell_core.cli.parser import family, path_of, verb, word_of
from bloodcell_core.data.download import DOWNLOADS
from bloodcell_core.data.formats import FORMATS
from bloodcell_core.words import counted, groups_behind

DATA_HELP = "a dataset's name, as `data list` tells it"
AUDIT_FILES = 50  # that a finding of an audit names at most
UNREADABLE_FILES = 20  # that are named at most, but by --json


def add(verbs: Any) -> None:
    """Adds the family `data`."""
    data = family(verbs, "data", "datasets: import, download, demo, combine, list, show, audit, rename, tag, remove")
    parser = verb(
        data, "import", _data_import,
        "Import labelled pictures: a zip, a folder, a table, or MedMNIST's or PatchCamelyon's files.",
    )  # fmt: skip
    parser.add_argument(
        "source", type=path_of, help="a folder, a .zip file, or a .csv, .tsv, .parquet, .npz or .h5 file"
    )
    parser.add_argument("--name", type=word_of, help="what to call the dataset; by default its source's name")
    parser.add_argument("--format", default="auto", help=f"auto (the default), {', '.join(FORMATS)}")
    parser.add_argument("--with-test-simple", action="store_true", help="also take TEST_SIMPLE of the public archive")
    parser.add_argument(
        "--no-trace", action="store_true", help="don't look for each picture's photograph, which takes minutes"
    )
    parser = verb(data, "download", _data_download, "Fetch a public data set by name and import it.")
    parser.add_argument("download", metavar="NAME", choices=tuple(DOWNLOADS), help=f"one of {', '.join(DOWNLOADS)}")
    parser.add_argument("--name", type=word_of, help="what to call the dataset; by default the download's name")
    parser.add_argument("--no-trace", action="store_true", help="don't look for each picture's photograph")
    parser = verb(data, "demo", _data_demo, "Draw synthetic demo pictures and import them.")
    parser.add_argument("--name", type=word_of, default="demo", help="what to call it; by default demo")
    parser.add_argument("--per-class", type=int, help="pictures a class")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same pictures; by default 0")
    parser = verb(data, "combine", _data_combine, "Make one dataset of several, or of some classes of one.")
    parser.add_argument("name", help="what to call it")
    parser.add_argument("--from", dest="parts", nargs="+", required=True, metavar="DATASET", help="one or more")
    parser.add_argument(
        "--classes", type=path_of, metavar="FILE",
        help="a CSV file theirs,ours: the name of each of their classes here; an empty one leaves it out",
    )  # fmt: skip
    parser.add_argument("--shared", action="store_true", help="keep only the classes that all of them have")
    verb(data, "list", _data_list, "List the datasets.")
    verb(data, "show", _data_show, "Show what a dataset holds.").add_argument("name", help=DATA_HELP)
    verb(data, "audit", _data_audit, "Show what is wrong or odd in a dataset.").add_argument("name", help=DATA_HELP)
    parser = verb(data, "rename", _data_rename, "Give a dataset a title; its name stays the same.")
    parser.add_argument("name", help=DATA_HELP)
    parser.add_argument("title", help="'' removes the title")
    parser = verb(data, "tag", _data_tag, "Replace a dataset's tags.")
    parser.add_argument("name", help=DATA_HELP)
    parser.add_argument("tags", nargs="*", type=word_of, metavar="TAG", help="none removes all tags")
    verb(data, "remove", _data_remove, "Delete a dataset.").add_argument("name", help=DATA_HELP)


def _data_import(args: argparse.Namespace) -> None:
    from bloodcell_core.data.importing import import_dataset

    dataset = import_dataset(
        args.source,
        args.name,
        args.format,
        args.with_test_simple,
        progress("pictures read"),
        trace=not args.no_trace,
        trace_progress=progress("photographs looked for"),
    )
    _show_dataset(dataset, args.json)


def _data_download(args: argparse.Namespace) -> None:
    from bloodcell_core.data.download import download
    from bloodcell_core.data.importing import free_name, import_dataset

    name = free_name(args.name or args.download)  # before gigabytes are fetched for nothing
    dataset = import_dataset(
        download(args.download),
        name,
        progress=progress("pictures read"),
        trace=not args.no_trace,
        trace_progress=progress("photographs looked for"),
    )
    _show_dataset(dataset, args.json)


def _data_demo(args: argparse.Namespace) -> None:
    from bloodcell_core.data.importing import DEMO_PER_CLASS, make_demo

    per_class = DEMO_PER_CLASS if args.per_class is None else args.per_class
    _show_dataset(make_demo(args.name, per_class, args.seed, progress("pictures drawn")), args.json)


def _data_combine(args: argparse.Namespace) -> None:
    from bloodcell_core.data.class_names import common_classes, read_class_map
    from bloodcell_core.data.combining import combine
    from bloodcell_core.data.dataset import Dataset

    datasets = [Dataset(name) for name in args.parts]
    class_map = read_class_map(args.classes) if args.classes else {}
    maps = common_classes([dataset.classes for dataset in datasets], class_map, args.shared)
    _show_dataset(combine(args.name, [*zip(datasets, maps, strict=True)], progress("pictures linked")), args.json)


def _data_list(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import readable

    good, damaged = readable()
    # As `data show` tells it: the facts of one that somebody copied by hand still have its old name.
    found = [
        (dataset.facts | {"name": dataset.name, "pictures": len(dataset.pictures)}, notes.read("dataset", dataset.name))
        for dataset in good
    ]
    keys = ("name", "format", "classes", "pictures", "synthetic")
    rows = [{key: facts[key] for key in keys} | {"title": told.title, "tags": list(told.tags)} for facts, told in found]
    lines = [
        f"{row['name']:24} {row['pictures']:>8,} pictures, {len(row['classes'])} classes  {title_words(told)}".rstrip()
        for row, (_, told) in zip(rows, found, strict=True)
    ]
    lines = lines or ["no dataset yet: `data import SOURCE` or `data demo` makes one"]
    show_list("datasets", rows, args.json, lines, damaged)


def _data_show(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import Dataset

    _show_dataset(Dataset(args.name), args.json)


def _show_dataset(dataset: Any, as_json: bool) -> None:
    from bloodcell_core.data.dataset import describe

    facts = describe(dataset)
    lines = _count_lines(facts)
    if facts["scenes_in_several_splits"]:
        photos, cells = facts["photos_in_several_splits"], facts["scenes_in_several_splits"]
        what = counted(photos, facts["unit"]) if photos else f"photos of {counted(cells, 'cell')}"
        shared = counted(facts["test_pictures_of_shared_scenes"], "test picture")
        lines.append(f"warning: {what} in several splits: {shared} of what training sees too")
    lines.append(
        f"{facts['unreadable']:,} unreadable, {counted(facts['duplicates'], 'byte-identical duplicate')} left out, "
        f"{counted(facts['ignored_files'], 'other file')} passed over"
    )
    lines += [f"  {row['file']}: {row['reason']}" for row in facts["unreadable_files"][:UNREADABLE_FILES]]
    if (more := facts["unreadable"] - UNREADABLE_FILES) > 0:
        lines.append(f"  … and {more:,} more (--json names all)")
    show(facts, as_json, lines)


def _count_lines(facts: dict[str, Any]) -> list[str]:
    """What a dataset holds, by split and class."""
    why = "; ".join(filter(None, (facts["photos_origin"], facts["photos_unknown_because"])))
    synthetic = " (synthetic pictures)" if facts["synthetic"] else ""
    lines = [
        f"{facts['name']}{synthetic}: {counted(facts['pictures'], 'picture')}, {groups_behind(facts)} ({why})",
        f"split: {facts['split_origin']}",
    ]
    for split, part in facts["splits"].items():
        known = part["photos"] is not None
        of_photos = f" from {counted(part['photos'], facts['unit'])}" if known else ""
        counts = ", ".join(
            f"{name} {count:,}" + (f" from {part['photos_by_class'][name]:,}" if known else "")
            for name, count in part["by_class"].items()
        )
        lines.append(f"  {split:5} {counted(part['pictures'], 'picture'):>16}{of_photos}: {counts}")
    return lines


def _data_audit(args: argparse.Namespace) -> None:
    from bloodcell_core.data.audit import audit
    from bloodcell_core.data.dataset import Dataset

    dataset = Dataset(args.name)
    seen = audit(dataset)
    findings: list[dict[str, Any]] = [
        {
            "name": finding.name,
            "title": finding.title,
            "severity": finding.severity,
            "words": finding.words,
            "count": len(finding.rows),
            "files": dataset.images.file[finding.rows[:AUDIT_FILES]].tolist(),
        }
        for finding in seen.findings
    ]
    lines = [] if findings else ["nothing stands out"]
    for told in findings:
        severity = told["severity"].upper() if told["severity"] == "alarm" else told["severity"]
        lines.append(f"{severity}: {told['title']}: {told['words']}")
        lines += [f"  {file}" for file in told["files"][:3]]
        lines += [f"  … and {told['count'] - 3:,} more (--json names {AUDIT_FILES})"] if told["count"] > 3 else []
    lines += ["", *_count_lines(seen.facts)]
    for photo in seen.facts["largest_families"]:
        where = f"{', '.join(photo['labels'])} in {', '.join(photo['splits'])}"
        lines.append(f"  {counted(photo['pictures'], 'picture')} from {seen.facts['unit']} {photo['photo']}: {where}")
    for what in ("sizes", "modes"):
        lines.append(f"{what}: {', '.join(f'{value} {count:,}' for value, count in seen.facts[what].items())}")
    show(seen.facts | {"findings": findings}, args.json, lines)


def _data_rename(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import Dataset

    show_notes("dataset", Dataset(args.name).name, notes.rename("dataset", args.name, args.title), args.json)


def _data_tag(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import Dataset

    show_notes("dataset", Dataset(args.name).name, notes.tag("dataset", args.name, args.tags), args.json)


def _data_remove(args: argparse.Namespace) -> None:
    from bloodcell_core.data.dataset import remove

    remove(args.name)
    show_removed("dataset", args.name, args.json)
