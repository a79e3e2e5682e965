"""COCO: a JSON file that lists pictures, categories, and bounding boxes on the pictures.

The split is that of the picture's folder, or of the JSON file's folder or name: `instances_train2017.json`.
"""

from __future__ import annotations

from typing import Any

from bloodcell_core.data.formats.listing import Format, Listing
from bloodcell_core.data.formats.marked import Mark, cells_of
from bloodcell_core.data.formats.reading import (
    GLANCE_JSON,
    Pictures,
    glance,
    json_files,
    json_of,
    number_of,
    split_of_name,
    split_of_path,
)
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

IMAGES, BOXES, CATEGORIES = "images", "annotations", "categories"
NEEDED = {IMAGES: ("id", "file_name"), BOXES: ("image_id", "category_id", "bbox"), CATEGORIES: ("id", "name")}
"""The three lists, and the keys that each row of them must have."""


def _matches(source: Source) -> bool:
    return any(_is_coco(source, file) for file in json_files(source)[:GLANCE_JSON])


def _is_coco(source: Source, file: str) -> bool:
    text = glance(source, file)
    return all(f'"{name}"' in text for name in NEEDED)


def _read(source: Source, with_test_simple: bool) -> Listing:
    files = [file for file in json_files(source) if _is_coco(source, file)]
    if not files:
        raise LabError(f"{source.name} holds no .json file with the lists {', '.join(NEEDED)}")
    pictures = Pictures(source)
    marks: list[Mark] = []
    marked_in: dict[str, str] = {}
    for file in files:
        for mark in _marks(source, file, pictures):
            if marked_in.setdefault(mark.file, file) != file:
                raise LabError(f"{marked_in[mark.file]} and {file} both have boxes on {mark.file}: import one of them")
            marks.append(mark)
    return cells_of(source, marks)


def _marks(source: Source, file: str, pictures: Pictures) -> list[Mark]:
    told = json_of(source, file)
    images, boxes, categories = (_rows(file, told, name) for name in NEEDED)
    names = {str(row["id"]): str(row["name"]).strip() for row in categories}
    in_name = split_of_name(file)
    on = {str(row["id"]): _image(row, file, pictures, in_name) for row in images}
    marks = []
    for place, row in enumerate(boxes, 1):
        image, category = str(row["image_id"]), str(row["category_id"])
        if image not in on or not names.get(category):
            raise LabError(f"{file}: row {place:,} of {BOXES} is about an image or category that isn't listed")
        if not row.get("iscrowd"):  # a crowd is one box around many objects
            marks.append(on[image]._replace(label=names[category], corners=_corners(row["bbox"])))
    return marks


def _rows(file: str, told: Any, name: str) -> list[dict[str, Any]]:
    rows = told.get(name) if isinstance(told, dict) else None
    if not isinstance(rows, list):
        raise LabError(f"{file} has no list {name}")
    for place, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.keys() >= set(NEEDED[name]):
            raise LabError(f"{file}: row {place:,} of {name} lacks one of {', '.join(NEEDED[name])}")
    return rows


def _image(row: dict[str, Any], file: str, pictures: Pictures, in_name: str | None) -> Mark:
    """What the marks on a picture have in common; label and corners are still empty."""
    name = str(row["file_name"])
    found = pictures.find(name, file, in_name)
    split = split_of_path(found or name) or split_of_path(file) or in_name
    size = number_of(row.get("width")), number_of(row.get("height"))
    return Mark(found or name, "", (), split, size if min(size) > 0 else None, missing=found is None)


def _corners(bbox: Any) -> tuple[float, ...]:
    x, y, width, height = map(number_of, bbox) if isinstance(bbox, list) and len(bbox) == 4 else [float("nan")] * 4
    return x, y, x + width, y + height


COCO = Format("coco", "COCO: pictures with a JSON file of boxes", _matches, _read)
