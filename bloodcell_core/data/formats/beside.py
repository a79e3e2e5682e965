"""What lies beside the pictures, and no reader reads: it may tell the labels better than folders and numbers do.

Packed files, annotations in other formats, a legend of class numbers. Refused here, in one line with what to do, is
what would otherwise be imported with wrong labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from bloodcell_core import sheets
from bloodcell_core.data.formats.listing import Entry, split_of_folder
from bloodcell_core.data.formats.reading import glance
from bloodcell_core.data.sources import FileSource, Source
from bloodcell_core.errors import LabError

ANNOTATIONS = (".csv", ".xlsx", ".json", ".xml", ".txt")
"""Suffixes of files that may have the labels where folders don't, the likeliest first."""
PACKED = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")
GLANCE = 20  # rows of a table, or files of annotations, that are looked at
_ABOUT = re.compile(r"(?i)(.*[-_. ])?(read[-_ ]?me|licen[cs]e).*")
TELLS_LABELS = re.compile(r"(?i).*(class|label|categor|type|diagnos)")
"""The names of a table's columns that may have labels."""
_OTHERS = (
    (".xml", ("<annotations>", "<meta>"), "the XML of CVAT", "COCO 1.0, PASCAL VOC 1.1 or YOLO 1.1"),
    (".xml", ("<annotation>", "<pt>"), "the XML of LabelMe", "COCO, VOC or YOLO"),
    (".json", ('"regions"', '"region_attributes"'), "the JSON of VIA", "COCO"),
    (".csv", ("region_shape_attributes", "region_attributes"), "the CSV of VIA", "COCO"),
    (".json", ('"annotations"', '"coordinates"'), "the JSON of CreateML", "COCO, VOC or YOLO"),
    (".tfrecord", (), "a file of TensorFlow", "COCO, VOC or YOLO"),
)
"""Annotations that are not read: their suffix, what they hold, what they are, and what to export instead."""
_LEGEND = re.compile(r"(?i).*(class|legend|label|categor|names|mapping).*\.(txt|csv|tsv|json|ya?ml|names|xlsx)")


def packed_too(source: Source) -> str:
    """What would help where a source without usable pictures holds a file of more, to end the message with."""
    found = next((file for file in source.files if file.lower().endswith((*PACKED, ".npz"))), None)
    if not found:
        return ""
    if found.lower().endswith(".npz"):
        return f"; {found!r:.80} holds arrays: import that file alone"
    return f"; {found!r:.80} is packed: unpack it and import the folder"


def told_too(source: Source) -> str:
    """What else would work if a file beside the pictures seems to have their labels, to end the message with."""
    names = [file for file in source.files if not _ABOUT.fullmatch(PurePosixPath(file).name)]
    told = next((file for end in ANNOTATIONS for file in names if file.lower().endswith(end)), None)
    return f"; if {told!r:.80} has their labels, write them as a CSV table of path and label" if told else ""


def check_packed(source: Source) -> None:
    """LabError where a split is still packed, beside others that are not: the import would be without it."""
    for file in source.files:
        if not file.lower().endswith(PACKED):
            continue
        stem = PurePosixPath(file).name.partition(".")[0]
        if split_of_folder(stem) and not any(stem in other.split("/")[:-1] for other in source.files):
            raise LabError(f"{source.name}: {file} is packed: unpack it into a folder {stem}, or take it out")


def check_others(source: Source) -> None:
    """LabError where cells are marked in a form that no reader knows: the folders would be taken for their classes."""
    for end, signs, form, instead in _OTHERS:
        for file in [file for file in source.files if file.lower().endswith(end)][:GLANCE]:
            text = glance(source, file) if signs else ""
            if all(sign in text for sign in signs):
                raise LabError(
                    f"{source.name}: {file} is {form}, which is not read: export the labels as {instead}, or take it "
                    "out if the folders are the classes"
                )


def are_numbers(labels: Iterable[str | None]) -> bool:
    """Whether all labels are whole numbers, also as a spreadsheet may write them: 1.0."""
    return all(re.fullmatch(r"\d+(\.0)?", label or "") for label in labels)


def check_legend(source: Source, labels: Iterable[str], tables: Sequence[str] = ()) -> None:
    """LabError where all labels are numbers and a file, none of the labels' `tables`, seems to tell what they mean."""
    labels = sorted(set(labels))
    if not are_numbers(labels):
        return
    beside = sorted(os.listdir(source.folder)) if isinstance(source, FileSource) else source.files
    others = [file for file in beside if file not in tables]
    if legend := next((file for file in others if _LEGEND.fullmatch(PurePosixPath(file).name)), None):
        raise LabError(
            f"{source.name}: the labels are numbers ({', '.join(labels[:3])}), and {legend} seems to have their names: "
            "put those in their place, or take it out"
        )


def check_annotations(source: Source, entries: Sequence[Entry]) -> None:
    """LabError where annotations that no reader knows are about these pictures, and differ from their folders."""
    if not any(file.lower().endswith((".csv", ".tsv", ".json")) for file in source.files):
        return
    called: dict[str, set[str]] = {}  # a picture's name, with and without its suffix: its labels
    for entry in entries:
        path = PurePosixPath(entry.file)
        for name in {path.name, path.stem}:
            called.setdefault(name, set()).add(entry.label)
    files = [file for file in source.files if file.lower().endswith((".csv", ".tsv"))]
    top = min((file.count("/") for file in files), default=0)
    for file in files:
        if file.count("/") == top and _is_about(glance(source, file), called):
            raise LabError(
                f"{source.name}: {file} names these pictures, and other labels than their folders: call its columns "
                "path and label, or take it out"
            )
    sidecars = [file for file in source.files if file.endswith(".json") and PurePosixPath(file).stem in called]
    if 2 * len(sidecars) > len(entries) and '"label' in glance(source, sidecars[0]).lower():
        raise LabError(
            f"{source.name}: {sidecars[0]} and the like have labels in a form that is not read: export them as COCO, "
            "VOC or YOLO, write a CSV table, or take them out if the folders are the classes"
        )


def _is_about(text: str, called: Mapping[str, set[str]]) -> bool:
    """Whether a table has labels of these pictures that are not their folders' names."""
    text, separator, _ = sheets.opened(text)
    header, *rows = [line.split(separator) for line in islice(text.splitlines(), GLANCE)] or [[]]
    if not any(map(TELLS_LABELS.match, header)):
        return False
    for row in rows:
        cells = [cell.strip(" \"'") for cell in row]
        for cell in cells:
            name = PurePosixPath(cell.replace("\\", "/")).name
            if name in called and not name.isdecimal():
                return called[name].isdisjoint(cells)
    return False
