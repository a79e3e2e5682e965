"""Fields with bounding boxes of cells in COCO, VOC, YOLO and tables: each cell becomes a picture."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bloodcell_core.cells import Box, find_cells
from bloodcell_core.data.audit import audit
from bloodcell_core.data.cut_cells import cut_cell, widened
from bloodcell_core.data.demo import draw_field
from bloodcell_core.data.formats import choose_format, labelme, marked, voc, yolo
from bloodcell_core.data.formats.marked import AROUND, Mark
from bloodcell_core.data.formats.reading import GLANCE_JSON, Pictures, split_of_name
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.pictures import decode_rgb, encode
from bloodcell_core.data.sources import open_source
from bloodcell_core.errors import LabError
from tests.conftest import encoded, entries_of, refusal_of, write_files, write_zip

WIDTH, HEIGHT = 400, 300
LABELS = ("neutrophil", "lymphocyte")
RED = (5, 5, 45, 42)
"""A box without a white cell, as of a red one."""
Fields = Mapping[str, Sequence[tuple[str, Box]]]


@cache
def field(seed: int) -> tuple[bytes, tuple[tuple[str, Box], ...]]:
    """A drawn field with two white cells, and its boxes: of whole cells, and one around none."""
    drawn = draw_field(np.random.default_rng(seed), LABELS, (WIDTH, HEIGHT))
    return encode(drawn.pixels), (*drawn.cells, ("red cell", RED))


FILES = {"train/one.png": 1, "train/two.png": 2, "valid/three.png": 3, "test/four.png": 4}


def fields() -> dict[str, tuple[tuple[str, Box], ...]]:
    return {file: field(seed)[1] for file, seed in FILES.items()}


def pictures() -> dict[str, bytes]:
    return {file: field(seed)[0] for file, seed in FILES.items()}


def as_coco(told: Fields) -> dict[str, bytes]:
    classes = sorted({label for cells in told.values() for label, _ in cells})
    rows = [
        {"image_id": file, "category_id": classes.index(label), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for file, cells in told.items()
        for label, (x0, y0, x1, y1) in cells
    ]
    return {"boxes.json": coco_of(list(told), rows, classes)}


def coco_of(files: Sequence[str], rows: Sequence[Mapping[str, Any]], classes: Sequence[str] = LABELS) -> bytes:
    images = [{"id": file, "file_name": file, "width": WIDTH, "height": HEIGHT} for file in files]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    return json.dumps({"images": images, "annotations": [*rows], "categories": categories}).encode()


def as_voc(
    told: Fields, size: str = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
) -> dict[str, bytes]:
    return {
        file.replace(".png", ".xml"): (
            f"<annotation><filename>{Path(file).name}</filename>{size}"
            + "".join(
                f"<object><name>{label}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
                f"<ymax>{y1}</ymax></bndbox></object>"
                for label, (x0, y0, x1, y1) in cells
            )
            + "</annotation>"
        ).encode()
        for file, cells in told.items()
    }


def as_yolo(told: Fields) -> dict[str, bytes]:
    classes = sorted({label for cells in told.values() for label, _ in cells})
    lines = {
        file.replace(".png", ".txt"): "".join(
            f"{classes.index(label)} {(x0 + x1) / 2 / WIDTH} {(y0 + y1) / 2 / HEIGHT} {(x1 - x0) / WIDTH} "
            f"{(y1 - y0) / HEIGHT}\n"
            for label, (x0, y0, x1, y1) in cells
        ).encode()
        for file, cells in told.items()
    }
    return lines | {"data.yaml": json.dumps({"names": classes}).encode()}


def as_table(told: Fields) -> dict[str, bytes]:
    rows = [
        f"{file},{label},{file.split('/')[0]},{x0},{y0},{x1},{y1}\n"
        for file, cells in told.items()
        for label, (x0, y0, x1, y1) in cells
    ]
    return {"boxes.csv": ("filename,class,split,xmin,ymin,xmax,ymax\n" + "".join(rows)).encode()}


def as_labelme(told: Fields) -> dict[str, bytes]:
    return {
        file.replace(".png", ".json"): json.dumps(
            {"shapes": [shape(label, [[x0, y0], [x1, y1]]) for label, (x0, y0, x1, y1) in cells]}
            | {"imagePath": Path(file).name, "imageWidth": WIDTH, "imageHeight": HEIGHT, "imageData": None, "flags": {}}
        ).encode()
        for file, cells in told.items()
    }


def shape(label: object, points: object, kind: object = "rectangle") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}


WRITERS: dict[str, Callable[[Fields], dict[str, bytes]]] = {
    "coco": as_coco, "voc": as_voc, "yolo": as_yolo, "labelme": as_labelme, "table": as_table
}  # fmt: skip


def marks_of(folder: Path, format: str = "auto") -> list[tuple[str, str, str | None, str | None]]:
    return [(entry.file, entry.label, entry.split, entry.source_photo) for entry in entries_of(folder, format)]


# What becomes of a marked cell


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("name", WRITERS)
def test_each_marked_cell_is_cut_out_and_stays_with_its_picture(tmp_path, name, kind):
    files = pictures() | WRITERS[name](fields())
    made = import_dataset(
        write_zip(tmp_path / "cells.zip", files) if kind == "zip" else write_files(tmp_path / "cells", files), "mine"
    )
    assert made.facts["format"] == name
    table = made.pictures.set_index("file")
    cells = [(file, number, *cell) for file, cells in fields().items() for number, cell in enumerate(cells, 1)]
    assert sorted(table.index) == sorted(f"{file}/{number}.png" for file, number, _, _ in cells)
    for file, number, label, box in cells:
        row = table.loc[f"{file}/{number}.png"]
        split = {"valid": "val"}.get(file.split("/")[0], file.split("/")[0])
        assert (row.label, row.split, row.source_photo) == (label, split, file)
        field_pixels = decode_rgb(pictures()[file])
        x0, y0, x1, y1 = widened(box, AROUND, WIDTH, HEIGHT)
        stored = made.read_original(made.pictures.index[made.pictures.file == f"{file}/{number}.png"][0])
        np.testing.assert_array_equal(stored, field_pixels[y0:y1, x0:x1])
        told = (row.box_x0 + x0, row.box_y0 + y0, row.box_x1 + x0, row.box_y1 + y0)
        assert row.box_told
        if label == "red cell":
            assert told == box
        else:
            assert told in [cell.box for cell in find_cells(field_pixels)], "the nucleus that lies in the box"
            assert box[0] - 2 <= told[0] < told[2] <= box[2] + 2


def test_a_table_with_one_box_a_picture_keeps_its_pictures_whole(tmp_path):
    told = {file: cells[:1] for file, cells in fields().items()}
    told["test/four.png"] = [("lymphocyte", told["test/four.png"][0][1])]
    made = import_dataset(write_files(tmp_path / "cells", pictures() | as_table(told)), "mine")
    assert set(made.pictures.width) == {WIDTH}
    assert sorted(made.pictures.file) == sorted(FILES)


def test_boxes_that_are_cut_as_the_same_pixels_stay_two_cells(tmp_path):
    told = {"train/one.png": [("a", (10, 10, 390, 280)), ("b", (12, 10, 390, 290))]}
    made = import_dataset(write_files(tmp_path / "cells", pictures() | as_coco(told)), "mine")
    assert sorted(made.pictures.label) == ["a", "b"]
    assert set(made.pictures.width) == {WIDTH}


def test_changed_copies_of_a_photograph_are_one_group(tmp_path):
    """Roboflow writes several of each picture of training, turned and coloured."""
    names = ["train/cell_1_png.rf.0f3a9b.png", "train/cell_1_png.rf.77aa12.png", "valid/cell_2_png.rf.99.png"]
    files = {name: field(number)[0] for number, name in enumerate(names, 1)}
    folder = write_files(tmp_path / "cells", files | as_coco(dict.fromkeys(names, field(1)[1])))
    assert {photo for _, _, _, photo in marks_of(folder)} == {"cell_1_png", "cell_2_png"}


def test_one_photograph_under_two_names_is_one_group(tmp_path):
    """With other cells marked in training and in test, the audit tells of it as of any photo in both."""
    told = {"train/one.png": field(1)[1][:1], "test/same.png": field(1)[1][1:]}
    files = {"train/one.png": field(1)[0], "test/same.png": field(1)[0]}
    made = import_dataset(write_files(tmp_path / "cells", files | as_coco(told)), "mine")
    assert set(made.pictures.source_photo) == {"train/one.png"}
    assert "photos_in_several_splits" in {finding.name for finding in audit(made).findings}


def test_a_table_s_own_groups_are_kept(tmp_path):
    text = "path,label,patient,box\ntrain/one.png,a,p1,1 2 30 40\ntrain/one.png,b,p1,50 60 90 90\n"
    folder = write_files(tmp_path / "cells", pictures() | {"t.csv": text.encode()})
    assert {photo for _, _, _, photo in marks_of(folder)} == {"p1"}


def test_cells_of_a_file_of_several_pictures_are_told_to_be_of_its_first(tmp_path):
    first, cells = field(1)
    page = Image.open(io.BytesIO(first))
    files = {"train/stack.tif": encoded(page, "TIFF", save_all=True, append_images=[page]), "train/one.png": first}
    told = {"train/stack.tif": cells, "train/one.png": cells[:1]}
    made = import_dataset(write_files(tmp_path / "cells", files | as_coco(told)), "mine")
    (finding,) = [each for each in audit(made).findings if each.name == "first_of_several"]
    assert finding.words.startswith(f"{len(cells)} pictures taken as the first of several in a file")


def test_what_can_t_be_cut_is_left_out_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(marked, "MAX_COVER", 2)
    everything = (0, 0, WIDTH, HEIGHT)
    told = {
        "train/one.png": [("a", (10, 10, 60, 60)), ("b", (70, 70, 70, 90)), ("b", (500, 10, 600, 60))],
        "train/two.png": [("b", everything), ("a", everything), ("a", (1, 1, 9, 9))],
        "train/gone.png": [("a", (1, 2, 30, 40))],
        "valid/three.png": [("a", (-20, -20, 60, 60))],
        "bad.png": [("a", (1, 2, 30, 40))],
    }
    files = pictures() | {"bad.png": b"no picture"} | as_coco(told)
    made = import_dataset(write_files(tmp_path / "cells", files), "mine")
    assert sorted(made.pictures.file) == [
        "train/one.png/1.png", "train/two.png/1.png", "valid/three.png/1.png"
    ]  # fmt: skip
    left_out = made.images[made.images.status != "ok"].set_index("file").reason
    assert left_out["train/one.png/2.png"] == "its box 70 70 70 90 is empty or outside the picture (400×300 pixels)"
    assert left_out["train/one.png/3.png"].startswith("its box 500 10 600 60 is empty or outside")
    assert left_out["train/two.png/3.png"].startswith("left out: the boxes before it already cover ")
    assert left_out["train/gone.png/1.png"] == "the annotated picture is missing"
    assert left_out["bad.png/1.png"].startswith("not a JPEG")
    assert made.images.status.value_counts()["duplicate"] == 1, "the same box twice"
    assert len(made.images) == sum(map(len, told.values()))


def with_size(name: str, told: Fields, width: int, height: int) -> dict[str, bytes]:
    if name == "voc":
        return as_voc(told, f"<size><width>{width}</width><height>{height}</height></size>")
    coco = json.loads(as_coco(told)["boxes.json"])
    coco["images"] = [image | {"width": width, "height": height} for image in coco["images"]]
    return {"other.json": json.dumps(coco).encode()}


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_boxes_for_a_picture_of_another_size_are_not_believed(tmp_path, name):
    wrong = with_size(name, {"train/two.png": field(2)[1]}, 800, 600)
    files = pictures() | WRITERS[name]({"train/one.png": field(1)[1]}) | wrong
    made = import_dataset(write_files(tmp_path / "cells", files), "mine")
    assert set(made.pictures.source_photo) == {"train/one.png"}
    assert set(made.images.reason.dropna()) == {"its boxes are for 800×600 pixels, but the picture has 400×300"}


@pytest.mark.parametrize("name", ["voc", "coco"])
@pytest.mark.parametrize("size", [(0, 0), (0, 300)])
def test_a_size_of_nothing_is_one_that_nobody_told(tmp_path, name, size):
    files = pictures() | with_size(name, {"train/one.png": field(1)[1]}, *size)
    made = import_dataset(write_files(tmp_path / "cells", files), "mine")
    assert len(made.pictures) == 3


def test_many_small_cells_may_be_cut_out_of_a_picture(tmp_path, monkeypatch):
    """What they cover is counted by what is cut, wherever on the picture that lies."""
    monkeypatch.setattr(marked, "MAX_COVER", 2)
    told = {"train/one.png": [("ab"[number % 2], (340 + number, 240, 390, 290)) for number in range(15)]}
    made = import_dataset(write_files(tmp_path / "cells", pictures() | as_coco(told)), "mine")
    assert len(made.pictures) == 15


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - {"table"}))
def test_no_marked_picture_at_all_is_told_of_the_whole(tmp_path, name):
    files = WRITERS[name](fields())
    words = {
        "coco": "cells holds none of the marked pictures: 'test/four.png' is one",
        "voc": "cells holds none of the marked pictures: 'four.png' is one",
        "yolo": "cells holds no .txt file with the name of one of its pictures",  # which might be anything
        "labelme": "cells holds none of the marked pictures: 'four.png' is one",
    }
    assert refusal_of(write_files(tmp_path / "cells", files), name) == words[name]


def test_too_many_cells_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(marked, "MAX_FILES", 5)
    words = refusal_of(write_files(tmp_path / "cells", pictures() | as_coco(fields())))
    assert words == "cells has 12 marked cells: at most 5 are taken"


# Which picture is meant


@pytest.mark.parametrize(
    ("files", "name", "annotation", "found"),
    [
        (["a/1.png"], "1.png", "x.json", "a/1.png"),
        (["a/1.png"], "elsewhere/1.png", "x.json", "a/1.png"),
        (["a/1.png"], "C:\\me\\1.png", "x.json", "a/1.png"),
        (["a/1.png"], "1", "1.xml", "a/1.png"),
        (["a/1.png"], "2.png", "x.json", None),
        (["a/gro\u0308\u00dfe.png"], "gr\u00f6\u00dfe.png", "x.json", "a/gro\u0308\u00dfe.png"),  # as a Mac writes it
        (["a/gr\u00f6\u00dfe.png"], "gro\u0308\u00dfe.png", "x.json", "a/gr\u00f6\u00dfe.png"),
        (["a/1.png", "b/1.png"], "b/1.png", "x.json", "b/1.png"),
        (["images/train/1.png", "images/val/1.png"], "1", "labels/val/1.txt", "images/val/1.png"),
        (["train/images/1.png", "valid/images/1.png"], "1", "valid/labels/1.txt", "valid/images/1.png"),
        (["images/train2017/1.png", "images/val2017/1.png"], "1.png", "instances_val2017.json", "images/val2017/1.png"),
        (["1.png", "previews/1.png"], "1.png", "1.json", "1.png"),
        (["a/1.png", "a/previews/1.png"], "1", "a/1.xml", "a/1.png"),
        (["a/1.png", "b/1.png"], "..\\b\\1.png", "a/1.json", "b/1.png"),
        (["1.png", "val/1.png"], "1.png", "instances_val.json", "val/1.png"),
    ],
)
def test_a_picture_is_found_by_name_and_by_its_folders(tmp_path, files, name, annotation, found):
    source = open_source(write_files(tmp_path / "cells", dict.fromkeys(files, b"")))
    split = split_of_name(annotation)
    assert Pictures(source).find(name, annotation, split) == found


def test_a_picture_that_may_be_either_is_not_guessed(tmp_path):
    source = open_source(write_files(tmp_path / "cells", {"a/1.png": b"", "b/1.png": b""}))
    with pytest.raises(LabError, match=r"x.json refers to '1.png', which may be a/1.png or b/1.png: keep one"):
        Pictures(source).find("1.png", "x.json")


# Each format's own


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": None}, "x.json has no list images"),
        ({"annotations": [1]}, "x.json: row 1 of annotations lacks one of image_id, category_id, bbox"),
        (
            {"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]},
            "x.json: row 1 of annotations lacks one of image_id,",
        ),
        (
            {"annotations": [{"image_id": 9, "category_id": 0, "bbox": [1, 2, 3, 4]}]},
            "x.json: row 1 of annotations is about an image or category that isn't listed",
        ),
        (
            {"annotations": [{"image_id": "train/one.png", "category_id": [], "bbox": [1, 2, 3, 4]}]},
            "x.json: row 1 of annotations is about an image or category that isn't listed",
        ),
        ({"categories": [{"id": 1}]}, "x.json: row 1 of categories lacks one of id, name"),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_told(tmp_path, change, words):
    told = json.loads(coco_of(["train/one.png"], [])) | change
    folder = write_files(tmp_path / "cells", pictures() | {"x.json": json.dumps(told).encode()})
    assert refusal_of(folder).startswith(words)


@pytest.mark.parametrize(
    "text", ['{"images": [], "annotations": [], "categories": [', "[" * 10**5 + '"images" "annotations" "categories"']
)
def test_a_coco_file_that_is_no_json_is_told(tmp_path, text):
    folder = write_files(tmp_path / "cells", pictures() | {"x.json": text.encode()})
    assert refusal_of(folder).startswith("x.json can't be read as JSON: ")


def test_a_box_around_many_cells_and_one_without_numbers_are_no_cells(tmp_path):
    rows = [
        {"image_id": "train/one.png", "category_id": 0, "bbox": [1, 2, 30, 40]},
        {"image_id": "train/one.png", "category_id": 1, "bbox": [9, 2, 30, 40]},
        {"image_id": "train/one.png", "category_id": 0, "bbox": [1, 2, 200, 200], "iscrowd": 1},
        {"image_id": "train/one.png", "category_id": 0, "bbox": [1, "x", 3, None]},
        {"image_id": "train/one.png", "category_id": 0, "bbox": [1, 2, 3]},
        {"image_id": "train/one.png", "category_id": 0, "bbox": [1, 2, float("nan"), 1e400]},
    ]
    files = pictures() | {"x.json": coco_of(["train/one.png"], rows)}
    made = import_dataset(write_files(tmp_path / "cells", files), "mine")
    assert len(made.pictures) == 2
    assert [*made.images.reason.dropna()] == ["its box has corners that are not numbers"] * 3


def test_two_coco_files_about_one_picture_are_refused(tmp_path):
    row = {"image_id": "train/one.png", "category_id": 0, "bbox": [1, 2, 30, 40]}
    told = coco_of(["train/one.png"], [row])
    words = refusal_of(write_files(tmp_path / "cells", pictures() | {"x.json": told, "y.json": told}))
    assert words == "x.json and y.json both have boxes on train/one.png: import one of them"


def test_the_split_of_coco_is_told_by_the_file_s_name_where_no_folder_does(tmp_path):
    rows = [{"image_id": "1.png", "category_id": 0, "bbox": [1, 2, 30, 40]}]
    files = {"pictures/1.png": b"", "annotations/instances_val2017.json": coco_of(["1.png"], rows)}
    assert [split for _, _, split, _ in marks_of(write_files(tmp_path / "cells", files))] == ["val"]


def test_the_lists_of_voc_tell_the_splits(tmp_path):
    told = {"one.png": field(1)[1], "two.png": field(2)[1], "three.png": field(3)[1]}
    lists = {
        "ImageSets/Main/train.txt": b"one\n",
        "ImageSets/Main/test.txt": b"two\n",
        "ImageSets/Main/trainval.txt": b"one two",
    }
    files = {f"JPEGImages/{file}": b"" for file in told} | {
        f"Annotations/{name}": xml for name, xml in as_voc(told).items()
    }
    found = marks_of(write_files(tmp_path / "cells", files | lists))
    assert {(photo, split) for _, _, split, photo in found} == {
        ("JPEGImages/one.png", "train"), ("JPEGImages/two.png", "test"), ("JPEGImages/three.png", None)
    }  # fmt: skip
    masks = dict.fromkeys(("SegmentationClass/one.png", "SegmentationClass/two.png"), b"")
    jpegs = {file.replace(".png", ".jpg"): data for file, data in (files | lists).items()}
    masked = {file: data.replace(b".png", b".jpg") for file, data in jpegs.items()} | masks
    beside_masks = marks_of(write_files(tmp_path / "masks", masked))
    assert [split for _, _, split, _ in beside_masks] == [split for _, _, split, _ in found]
    twice = files | lists | {"ImageSets/Main/val.txt": b"two\n"}
    assert "'two' is in the list of test too" in refusal_of(write_files(tmp_path / "twice", twice))


def test_a_voc_file_is_about_the_picture_that_it_names_or_else_is_called_as(tmp_path):
    told = {"other.png": field(1)[1]}
    (xml,) = as_voc(told).values()
    assert {photo for *_, photo in marks_of(write_files(tmp_path / "named", {"other.png": b"", "x.xml": xml}))} == {
        "other.png"
    }
    assert {photo for *_, photo in marks_of(write_files(tmp_path / "called", {"x.jpg": b"", "x.xml": xml}))} == {
        "x.jpg"
    }


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>", "1.xml declares a document type: it is refused"),
        ("<annotation>", "1.xml can't be read as XML: "),
        ("<annotation><object><bndbox/></object></annotation>", "1.xml has an object without a name"),
    ],
)
def test_what_is_wrong_in_a_voc_file_is_told(tmp_path, xml, words):
    assert refusal_of(write_files(tmp_path / "cells", {"1.png": b"", "1.xml": xml.encode()})).startswith(words)


def test_text_in_another_encoding_is_told(tmp_path):
    files = {"1.png": b"", "1.xml": "<annotation/>".encode("utf-16")}
    assert refusal_of(write_files(tmp_path / "cells", files), "voc") == "1.xml is not UTF-8 text"


@pytest.mark.parametrize(
    "names",
    [
        {"data.yaml": "names: [band, blast]"},
        {"data.yaml": "train: ../x\nnc: 2\nnames:\n- band\n- blast\n"},
        {"my.yml": "names:\n  1: blast\n  0: band\n"},
        {"my.yml": "names: {'0': band, '1': blast}"},
        {"classes.txt": "band\nblast\n"},
        {"a/_darknet.labels": "band\nblast"},
        {"obj.names": "band\r\nblast\r\n", "settings.yaml": "lr: 3"},
    ],
)
def test_the_classes_of_yolo_are_named_in_any_usual_way(tmp_path, names):
    files = {"a/1.png": b"", "a/1.txt": b"0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n\n"} | {k: v.encode() for k, v in names.items()}
    assert [label for _, label, _, _ in marks_of(write_files(tmp_path / "cells", files))] == ["band", "blast"]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        ("[yes]", "yes"), ("[1_0]", "1_0"), ("[012]", "012"),
        # Values that aren't what they say to be; a number of more digits than Python writes; `<<`, which would merge
        # for ever mappings that hold each other many times
        ("[a]\nx: !!bool q\ny: !!timestamp q\nz: !!int ''", "a"), (f"[0x{'f' * 5000}]", f"0x{'f' * 5000}"),
        ("[a]\n<<: 3", "a"),
    ],
)  # fmt: skip
def test_the_classes_of_yolo_are_called_as_they_are_written(tmp_path, names, label):
    files = {"1.png": b"", "1.txt": b"0 .5 .5 .1 .1", "data.yaml": f"names: {names}".encode()}
    assert [each for _, each, _, _ in marks_of(write_files(tmp_path / "cells", files))] == [label]


@pytest.mark.parametrize("line", ["./images/{}.png", "C:\\\\me\\\\{}.png", "{}"])
def test_the_lists_of_yolo_tell_the_splits(tmp_path, line):
    files = {f"labels/{number}.txt": b"0 .5 .5 .1 .1\n" for number in range(3)} | {"classes.txt": b"band"}
    files |= {f"images/{number}.png": b"" for number in range(3)}
    files |= {f"{split}.txt": f"{line.format(n)}\n# a note\n".encode() for n, split in enumerate(("train", "test"))}
    found = marks_of(write_files(tmp_path / "cells", files))
    assert [split for _, _, split, _ in found] == ["train", "test", None]
    write_files(tmp_path / "cells", {"val.txt": line.format(0).encode()})
    assert "is in the list of train too: keep it in one" in refusal_of(tmp_path / "cells")


@pytest.mark.parametrize("format", [as_yolo, as_voc])
def test_lists_tell_the_splits_of_pictures_of_one_name_by_their_folders(tmp_path, format):
    """As darknet has them: with the paths of the computer where the network was trained."""
    names = [f"images/{place}/1.png" for place in ("one", "two", "three")]
    files = dict.fromkeys(names, b"") | format({name: field(1)[1] for name in names})
    listed = {"train": "/home/me/images/one/1.png\n", "test": "images/two/1.png\nimages/three/1.png\n"}
    files |= {f"ImageSets/{split}.txt": text.encode() for split, text in listed.items()}
    found = marks_of(write_files(tmp_path / "cells", files))
    assert {photo: split for _, _, split, photo in found} == dict(zip(names, ("train", "test", "test"), strict=True))


@pytest.mark.parametrize("outline", [".1 .2 .5 .1 .3 .9", ".1 .2 .5 .1 .3 .9 .2 .3"])
def test_an_outline_of_yolo_becomes_the_box_around_it(tmp_path, outline):
    files = {"1.png": b"", "1.txt": f"0 {outline}\n".encode(), "classes.txt": b"a\nb\n"}
    source = open_source(write_files(tmp_path / "cells", files))
    (mark,) = yolo._marks(source, "1.txt", ["a", "b"], Pictures(source), {})
    assert mark.corners == (0.1, 0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("lines", "names", "words"),
    [
        ("0 .5 .5 .1 .1", {}, "cells doesn't name the classes of its boxes: add a data.yaml with `names:`, or"),
        ("7 .5 .5 .1 .1", {"classes.txt": "a\nb"}, "1.txt: line 1 is of class 7, and only 2 have a name"),
        (
            "0 .5 .5 .1 .1\n0 48 50 10 10",
            {"classes.txt": "a\nb"},
            "1.txt: line 2 has numbers that are not shares of the picture, from 0 to 1",
        ),
        ("0 .5 .5 .1 .1\nx", {"classes.txt": "a\nb"}, "1.txt: line 2 is not the number of a class and a box: 'x'"),
        ("0 .5 .5 .1 .1 .9", {"classes.txt": "a\nb"}, "1.txt: line 1 has 5 numbers, where 4 are a box and pairs an"),
        (
            "0 .5 .5 .1 .1\n0 .5 .5 . .1",
            {"classes.txt": "a\nb"},
            "1.txt: line 2 is not the number of a class and a box",
        ),
        (
            "0 .5 .5 .1 .1",
            {"classes.txt": "a", "data.yaml": "names: [b]"},
            "classes.txt and data.yaml name different classes",
        ),
        ("0 .5 .5 .1 .1", {"data.yaml": "names: [[b]]"}, "data.yaml: `names` must be a list of names"),
        ("0 .5 .5 .1 .1", {"data.yaml": "names: [b"}, "data.yaml can't be read as YAML: "),
        ("0 .5 .5 .1 .1", {"data.yaml": "names:\n  0:\n  1: b"}, "data.yaml: `names` must be a list of names"),
    ],
)
def test_what_is_wrong_in_yolo_s_files_is_told(tmp_path, lines, names, words):
    files = {"1.png": b"", "1.txt": lines.encode()} | {name: text.encode() for name, text in names.items()}
    assert refusal_of(write_files(tmp_path / "cells", files)).startswith(words)


def test_texts_beside_pictures_that_hold_no_boxes_leave_their_folders_the_classes(tmp_path):
    files = {
        f"{label}/{number}.{kind}": b"a neutrophil"
        for label in ("a", "b")
        for number in range(2)
        for kind in ("png", "txt")
    }
    files |= {"settings.json": b"{}", "a/0.xml": b"<x/>", "b/names.yaml": b"names: [a, b]"}
    source = open_source(write_files(tmp_path / "cells", files))
    assert choose_format(source).name == "class-folders"


def test_of_many_notes_beside_pictures_only_some_are_read_to_know_the_format(tmp_path, monkeypatch):
    files = {f"{label}/{n}.{kind}": b"{}" for label in ("a", "b") for n in range(50) for kind in ("png", "json", "xml")}
    source = open_source(write_files(tmp_path / "cells", files))
    read, opened = source.read, []
    monkeypatch.setattr(source, "read", lambda file: (opened.append(file), read(file))[1])
    assert choose_format(source).name == "class-folders"
    assert len(opened) == GLANCE_JSON + voc.GLANCE + GLANCE_JSON


# labelme


def labelled(**change: object) -> dict[str, bytes]:
    """Two fields with labelme's files, of which `change` alters the first."""
    told = as_labelme({"one.png": field(1)[1], "two.png": field(2)[1]})
    first = json.loads(told["one.json"]) | change
    return {"one.png": field(1)[0], "two.png": field(2)[0]} | told | {"one.json": json.dumps(first).encode()}


def labelme_refusal(tmp_path: Path, files: dict[str, bytes]) -> str:
    return refusal_of(write_files(tmp_path / "cells", files))


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("rectangle", [[60, 70], [10, 20]], (10, 20, 60, 70)),  # drawn from its lower right corner
        ("rectangle", [[10, 20], [60, 20], [60, 70], [10, 70]], (10, 20, 60, 70)),
        ("rotation", [[10, 40], [30, 20], [60, 50], [40, 70]], (10, 20, 60, 70)),
        ("polygon", [[10, 20], [60, 30], [40, 70.0]], (10, 20, 60, 70)),
        (None, [[10, 20], [60, 30], [40, 70.0]], (10, 20, 60, 70)),  # the first versions knew no other shape
        ("mask", [[10, 20], [60, 70]], (10, 20, 60, 70)),
        ("circle", [[50, 60], [80, 100]], (0, 10, 100, 110)),
    ],
)
def test_a_shape_of_labelme_becomes_the_box_around_it(kind, points, box):
    assert labelme._mark(shape("a", points, kind), Mark("1.png", "", ()), "1.json", 1).corners == box


NO_NUMBERS = "its box has corners that are not numbers"
OUTSIDE = " is empty or outside the picture (400×300 pixels)"
NO_SIZE = "it is marked by a point or a line, and not by a box or an outline"


@pytest.mark.parametrize(
    ("points", "kind", "words"),
    [
        ([[900, 900], [990, 990]], "rectangle", f"its box 900 900 990 990{OUTSIDE}"),
        ([[10, 20], [10, 90]], "polygon", f"its box 10 20 10 90{OUTSIDE}"),
        ([[10, 20]], "point", NO_SIZE),
        ([[10, 20], [90, 90]], "line", NO_SIZE),
        ([[10, 20], [90, 90]], ["line"], NO_SIZE),
        ([["x", 20], [90, 90]], "rectangle", NO_NUMBERS),
        ([[5, 5], [float("nan"), 90]], "rectangle", NO_NUMBERS),
        ([[5, 5], [10**400, 90]], "circle", NO_NUMBERS),
        ([10, 20, 90, 90], "rectangle", NO_NUMBERS),
        ([[10, 20, 90, 90]], "rectangle", NO_NUMBERS),
        ([], "polygon", NO_NUMBERS),
        (None, "polygon", NO_NUMBERS),
    ],
)
def test_a_shape_that_is_around_no_cell_is_left_out_with_its_reason(tmp_path, points, kind, words):
    made = import_dataset(write_files(tmp_path / "cells", labelled(shapes=[shape("a", points, kind)])), "mine")
    assert {*made.pictures.source_photo} == {"two.png"}
    assert [*made.images.reason.dropna()] == [words]


@pytest.mark.parametrize(
    "path", ["..\\fields\\one.png", "../../../etc/one.png", "/etc/passwd", "C:\\one.png", "ONE.PNG", None, 7]
)
def test_a_file_of_labelme_is_about_the_picture_that_it_names_or_else_is_called_as(tmp_path, path):
    found = marks_of(write_files(tmp_path / "cells", labelled(imagePath=path)))
    assert {photo for *_, photo in found} == {"one.png", "two.png"}


def test_the_picture_in_a_file_of_labelme_is_not_taken_for_one_that_is_missing(tmp_path):
    files = labelled(imageData=base64.b64encode(field(1)[0]).decode())
    del files["one.png"]
    made = import_dataset(write_files(tmp_path / "cells", files), "mine")
    assert {*made.images.reason.dropna()} == {"the annotated picture is missing"}
    assert {*made.pictures.source_photo} == {"two.png"}


def test_pictures_of_one_name_in_several_splits_have_each_their_own_file_of_labelme(tmp_path):
    files = {f"{split}/{file}": data for split in ("train", "valid", "test") for file, data in labelled().items()}
    found = marks_of(write_files(tmp_path / "cells", files))
    assert len(found) == 18
    assert all(file.startswith(str(split)) for file, _, split, _ in found)
    for split in ("train", "valid", "test"):  # several of one name that are missing aren't one picture
        (tmp_path / "cells" / split / "one.png").unlink()
    assert len(marks_of(tmp_path / "cells")) == 18


def test_a_flag_that_marked_pictures_have_too_makes_none_without_cells_a_class(tmp_path):
    """Whoever labels may flag each picture as checked, also one in which there is no cell."""
    files = labelled(shapes=[], flags={"checked": True})
    second = json.loads(files["two.json"]) | {"flags": {"checked": True}}
    found = marks_of(write_files(tmp_path / "cells", files | {"two.json": json.dumps(second).encode()}))
    assert {file.partition("/")[0] for file, *_ in found} == {"two.png"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shapes": None}, "one.json has no list shapes"),
        ({"shapes": [7]}, "one.json: shape 1 has no label"),
        ({"shapes": [shape("a", []), shape(" ", [])]}, "one.json: shape 2 has no label"),
        ({"shapes": [shape(None, [])]}, "one.json: shape 1 has no label"),
        ({"imagePath": "two.png"}, "one.json and two.json are both about two.png: take one of them out"),
        (
            {"shapes": [], "flags": {"blast": True}},
            "cells: two.json has shapes, and one.json only flags: import pictures with marked cells and pictures of "
            "one class each by themselves",
        ),
    ],
)
def test_what_is_wrong_in_a_file_of_labelme_is_told(tmp_path, change, words):
    assert labelme_refusal(tmp_path, labelled(**change)) == words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"shapes": [}, "imagePath": "one.png"}', "one.json can't be read as JSON: "),
        (b'[{"shapes": [], "imagePath": "one.png"}]', "one.json has no list shapes"),
        (b'{"imagePath": "one.png", "shapes": ' + b"[" * 100_000, "one.json can't be read as JSON: "),
        ('{"imagePath": "\xe9.png", "shapes": []}'.encode("latin-1"), "one.json is not UTF-8 text"),
        ('{"imagePath": "one.png", "shapes": []}'.encode("utf-16"), "one.json is not UTF-8 text"),
        ('{"imagePath": "one.png", "shapes": []}'.encode("utf-16-be"), "one.json can't be read as JSON: "),
    ],
    ids=["broken", "a list", "deep", "latin-1", "utf-16", "utf-16 without a mark"],
)
def test_a_file_of_labelme_that_can_t_be_read_is_told_and_not_passed_over(tmp_path, data, words):
    assert labelme_refusal(tmp_path, labelled() | {"one.json": data}).startswith(words)


def flagged(*flags: object) -> dict[str, bytes]:
    told = {"shapes": [], "imagePath": "x", "imageData": None}
    files = {f"{n}.json": json.dumps(told | {"flags": of}).encode() for n, of in enumerate(flags)}
    return files | {f"{n}.png": b"" for n in range(len(flags) + 1)}


def test_the_flag_of_labelme_is_the_class_of_the_whole_picture(tmp_path):
    files = flagged({"blast": True, "band": False}, {"blast": False, " band ": True})
    folder = write_files(tmp_path / "cells", {f"test/{file}": data for file, data in files.items()})
    assert marks_of(folder) == [("test/0.png", "blast", "test", None), ("test/1.png", "band", "test", None)]


@pytest.mark.parametrize("other", [{}, None, {"blast": False}, {"blast": 1}, {"blast": True, "band": True}])
def test_a_picture_with_no_flag_or_several_is_told(tmp_path, other):
    words = labelme_refusal(tmp_path, flagged({"blast": True}, other, {"band": True}))
    assert words == (
        "cells: 1 of 3 files of labelme have no flag set or several, such as 1.json: set that of the picture's class, "
        "or take the file out"
    )


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_flag_of_a_picture_that_is_missing_is_told(tmp_path, kind):
    files = flagged({"blast": True}, {"band": True})
    del files["1.png"]
    path = write_zip(tmp_path / "cells.zip", files) if kind == "zip" else write_files(tmp_path / "cells", files)
    assert refusal_of(path) == "1.json is about 'x', which is not there: take it out"


def test_a_file_of_labelme_or_two_among_class_folders_is_told(tmp_path):
    """It may be a trial: all other pictures would be passed over."""
    files = {f"{label}/{n}.png": b"" for label in ("band", "blast") for n in range(3)}
    files |= {"band/0.json": labelled()["one.json"]}
    assert labelme_refusal(tmp_path, files) == (
        "cells: band/0.json is labelme's, but most pictures have no such file: take these files out if the folders are "
        "the classes, or import the pictures that have one by themselves"
    )
    some = {f"{file[:3]}/{file}": data for file, data in labelled().items()} | {"one/x.png": b"", "two/x.png": b""}
    assert len(marks_of(write_files(tmp_path / "fields", some))) == 6
    one = {f"fields/{n}.png": b"" for n in range(9)} | {"fields/0.json": labelled(imagePath="0.png")["one.json"]}
    assert len(marks_of(write_files(tmp_path / "partly", one))) == 3


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([*WRITERS]),
    cut=st.none() | st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_any_damage_is_told_and_never_another_failure(tmp_path_factory, name, cut, changes):
    told = {"train/one.png": field(1)[1]}
    files = {"train/one.png": b""} | WRITERS[name](told)
    target = next(file for file in files if not file.endswith(".png"))
    data = bytearray(files[target])
    for place, value in changes:
        data[int(place * len(data))] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    source = open_source(write_files(tmp_path_factory.mktemp("damaged"), files | {target: bytes(data)}))
    with suppress(LabError):
        for _, read in choose_format(source, name).read(source, False).pictures:
            with suppress(LabError):
                read()


@given(
    box=st.tuples(*[st.integers(-500, 900)] * 4).filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    width=st.integers(8, 400),
    height=st.integers(8, 400),
)
def test_a_mark_is_cut_off_at_the_edge_or_refused(box, width, height):
    on_picture = box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0
    try:
        x0, y0, x1, y1 = marked._box(Mark("1.png", "a", box), width, height)
    except LabError:
        assert not on_picture
        return
    assert (x0, y0, x1, y1) == (max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3]))
    part = widened((x0, y0, x1, y1), AROUND, width, height)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    left, top, right, bottom = part
    assert left <= x0 < x1 <= right
    assert top <= y0 < y1 <= bottom
    if min(right - left, bottom - top) >= 8:  # smaller ones are no pictures
        np.testing.assert_array_equal(decode_rgb(cut_cell(picture, part, box)), picture[top:bottom, left:right])
