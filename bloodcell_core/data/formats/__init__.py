"""The formats that can be imported: one module per reader, and the table of them.

A reader lists the pictures of a source, each with its label and split. A new format is one reader and one row of
`IN_ORDER`.
"""

from __future__ import annotations

from bloodcell_core.data.formats.archive import BLOOD_CELL_IMAGES
from bloodcell_core.data.formats.beside import check_others, packed_too
from bloodcell_core.data.formats.class_folders import CLASS_FOLDERS
from bloodcell_core.data.formats.coco import COCO
from bloodcell_core.data.formats.labelme import LABELME
from bloodcell_core.data.formats.listing import Format
from bloodcell_core.data.formats.medmnist import MEDMNIST
from bloodcell_core.data.formats.one_hot import ONE_HOT
from bloodcell_core.data.formats.pcam import PCAM
from bloodcell_core.data.formats.table import TABLE
from bloodcell_core.data.formats.voc import VOC
from bloodcell_core.data.formats.yolo import YOLO
from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

IN_ORDER = (BLOOD_CELL_IMAGES, MEDMNIST, PCAM, ONE_HOT, TABLE, COCO, VOC, YOLO, LABELME, CLASS_FOLDERS)
"""In the order in which they are tried: the first that matches reads the source."""
FORMATS: dict[str, Format] = {row.name: row for row in IN_ORDER}


def choose_format(source: Source, name: str = "auto") -> Format:
    """The format called `name`, or for `auto` the first that matches; LabError where there is none."""
    if name != "auto":
        if name not in FORMATS:
            raise LabError(f"no format is called {name[:40]!r}: use auto, {', '.join(FORMATS)}")
        return FORMATS[name]
    for row in FORMATS.values():
        if row.matches(source):
            return row
    check_others(source)
    raise LabError(f"{source.name} holds no picture ({', '.join(SUFFIXES)}): nothing to import{packed_too(source)}")
