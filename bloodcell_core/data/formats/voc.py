"""Pascal VOC: an XML file per picture, with a bounding box and a class for each object.

The splits are those of the lists in `ImageSets/Main` (`train.txt`, `val.txt`, `test.txt`), or of the folders.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from xml.etree import ElementTree

from bloodcell_core.data.formats.listing import Format, Listing
from bloodcell_core.data.formats.marked import Mark, cells_of
from bloodcell_core.data.formats.reading import (
    Pictures,
    glance,
    is_list_of_split,
    listed_splits,
    number_of,
    split_of_path,
    text_of,
)
from bloodcell_core.data.sources import Source
from bloodcell_core.errors import LabError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
GLANCE = 5  # files that are opened to recognise the format


def _annotations(source: Source) -> list[str]:
    return [file for file in source.files if file.lower().endswith(".xml")]


def _matches(source: Source) -> bool:
    return any(_is_voc(source, file) for file in _annotations(source)[:GLANCE])


def _is_voc(source: Source, file: str) -> bool:
    text = glance(source, file)
    return bool(re.search(r"<annotation\b", text)) and "<pt>" not in text  # CVAT's <annotations>, LabelMe's outlines


def _read(source: Source, with_test_simple: bool) -> Listing:
    files = _annotations(source)
    if not files:
        raise LabError(f"{source.name} holds no .xml file with the boxes of a picture")
    lists = [file for file in source.files if is_list_of_split(file) and "ImageSets" in PurePosixPath(file).parts]
    pictures = Pictures(source)
    listed = listed_splits(source, lists, pictures.listed)
    return cells_of(source, [mark for file in files for mark in _marks(source, file, pictures, listed)])


def _marks(source: Source, file: str, pictures: Pictures, listed: dict[str, str]) -> list[Mark]:
    root = _parsed(source, file)
    name = PurePosixPath(file).stem
    told = (root.findtext("filename") or "").strip()
    found = pictures.find(told, file) if told else None
    found = found or pictures.find(name, file)
    size = (number_of(root.findtext("size/width")), number_of(root.findtext("size/height")))
    return [
        Mark(
            found or told or name,
            _label(one, file),
            tuple(number_of(one.findtext(f"bndbox/{corner}")) for corner in CORNERS),
            listed.get(found or name) or split_of_path(found or file),
            size if min(size) > 0 else None,  # some programs write 0 where they don't know it
            missing=found is None,
        )
        for one in root.iter("object")
    ]


def _parsed(source: Source, file: str) -> ElementTree.Element:
    text = text_of(source, file)
    if "<!DOCTYPE" in text:  # it may declare entities that expand to gigabytes
        raise LabError(f"{file} declares a document type: it is refused")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise LabError(f"{file} can't be read as XML: {error}") from None


def _label(one: ElementTree.Element, file: str) -> str:
    label = (one.findtext("name") or "").strip()
    if not label:
        raise LabError(f"{file} has an object without a name")
    return label


VOC = Format("voc", "Pascal VOC: pictures with an XML file of boxes each", _matches, _read)
