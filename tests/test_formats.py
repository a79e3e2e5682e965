"""Which pictures a source holds, with what label, split, group and box, by each format's reader; what is refused."""

import io
import json
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bloodcell_core.data.formats import FORMATS, choose_format, columns, pcam, table
from bloodcell_core.data.formats import listing as listings
from bloodcell_core.data.formats.listing import SPLIT_NAMES, Entry, is_picture
from bloodcell_core.data.formats.medmnist import BLOOD_CLASSES
from bloodcell_core.data.pictures import SUFFIXES, decode_rgb
from bloodcell_core.data.sources import open_source
from bloodcell_core.errors import LabError
from tests.conftest import entries_of, listed_in, refusal_of, write_files, write_zip

ARCHIVE_CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
IMAGES = "dataset2-master/dataset2-master/images"


def archive_files(images: str = IMAGES) -> dict[str, bytes]:
    """The public archive as it is downloaded, in small; readers open no picture, so these are empty."""
    files = {
        f"{images}/{split}/{label}/_{place}_{number}.jpeg": b""
        for split, count in (("TRAIN", 3), ("TEST", 2), ("TEST_SIMPLE", 1))
        for place, label in enumerate(ARCHIVE_CLASSES)
        for number in range(count)
    }
    return files | {
        "dataset2-master/dataset2-master/labels.csv": b"",
        "dataset-master/dataset-master/labels.csv": b"",
        "dataset-master/dataset-master/JPEGImages/BloodImage_00000.jpg": b"",
        "dataset-master/dataset-master/Annotations/BloodImage_00000.xml": b"",
    }


def class_folder_files() -> dict[str, bytes]:
    return {f"{label}/{number}.png": b"" for label in ("blast", "band") for number in range(2)}


def table_files() -> dict[str, bytes]:
    return class_folder_files() | {"labels.csv": b"path,label\nblast/0.png,blast\nblast/1.png,blast\nband/0.png,band\n"}


def one_hot_files() -> dict[str, bytes]:
    rows = "blast/0.png, 1, 0\nblast/1.png, 1, 0\nband/0.png, 0, 1\n"
    return class_folder_files() | {"_classes.csv": f"filename, blast, band\n{rows}".encode()}


def npz(arrays: Mapping[str, np.ndarray], save: Callable[..., None] = np.savez) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def small_arrays(seed: int = 0, counts: Sequence[int] = (5, 2, 3), shape: tuple[int, ...] = (9, 8, 3)) -> dict:
    """Arrays as MedMNIST's files hold them, with so many pictures in train, val and test."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8).reshape(-1, 1)
    return arrays


def h5(name: str, array: object, **options: object) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset(name, data=array, **options)
    return out.getvalue()


PCAM_NAME = "camelyonpatch_level_2_split"


def pcam_files(counts: Mapping[str, int] = {"train": 6, "valid": 2, "test": 4}, meta: bool = True) -> dict[str, bytes]:
    files = {}
    for seed, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng(seed)
        files[f"{PCAM_NAME}_{split}_x.h5"] = h5("x", rng.integers(0, 256, (count, 96, 96, 3), np.uint8))
        files[f"{PCAM_NAME}_{split}_y.h5"] = h5("y", (np.arange(count) % 2).astype(np.uint8).reshape(-1, 1, 1, 1))
        if meta:
            rows = "".join(f"{row},7,9,True,False,slide_{split}_{row // 2}\n" for row in range(count))
            files[f"{PCAM_NAME}_{split}_meta.csv"] = f",coord_y,coord_x,tumor_patch,center,wsi\n{rows}".encode()
    return files


def coco_files() -> dict[str, bytes]:
    told = {
        "images": [{"id": 7, "file_name": "blast_and_band.png"}],
        "annotations": [{"image_id": 7, "category_id": one, "bbox": [2 * one, 1, 9, 8]} for one in (1, 2)],
        "categories": [{"id": 1, "name": "blast"}, {"id": 2, "name": "band"}],
    }
    return {"images/blast_and_band.png": b"", "instances.json": json.dumps(told).encode()}


def voc_files() -> dict[str, bytes]:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>8</ymax>"
    objects = "".join(f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>" for name in ("blast", "band"))
    told = f"<annotation><filename>blast_and_band.png</filename>{objects}</annotation>"
    return {"JPEGImages/blast_and_band.png": b"", "Annotations/blast_and_band.xml": told.encode()}


def yolo_files() -> dict[str, bytes]:
    return {
        "images/blast_and_band.png": b"",
        "labels/blast_and_band.txt": b"0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1\n",
        "data.yaml": b"names: [blast, band]\n",
    }


def labelme_files() -> dict[str, bytes]:
    shapes = [{"label": name, "points": [[1, 1], [9, 8]], "shape_type": "rectangle"} for name in ("blast", "band")]
    told = {"flags": {}, "shapes": shapes, "imagePath": "..\\images\\blast_and_band.png", "imageData": "AAAA"}
    return {"images/blast_and_band.png": b"", "labels/blast_and_band.json": json.dumps(told).encode()}


SAMPLES = {
    "blood-cell-images": archive_files,
    "class-folders": class_folder_files,
    "one-hot": one_hot_files,
    "table": table_files,
    "medmnist": lambda: {"cells.npz": npz(small_arrays())},
    "pcam": pcam_files,
    "coco": coco_files,
    "voc": voc_files,
    "yolo": yolo_files,
    "labelme": labelme_files,
}
"""What each format reads: a new row of FORMATS needs one here."""
OF_ARRAYS = ("medmnist", "pcam")
"""The formats whose pictures lie in files of arrays, which must lie on disk."""
MARKED = ("coco", "voc", "yolo", "labelme")
"""Those whose pictures are cut out of larger ones."""


def write(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    return write_zip(path.with_suffix(".zip"), files) if kind == "zip" else write_files(path, files)


def by_split_and_label(entries: Sequence[Entry]) -> Counter[tuple[str | None, str]]:
    return Counter((entry.split, entry.label) for entry in entries)


# The table


def test_each_format_has_a_sample_here():
    assert SAMPLES.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_named_as_in_the_table_and_described(name):
    assert FORMATS[name].name == name
    assert FORMATS[name].title


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_s_own_layout_is_recognised_and_read(tmp_path, name, kind):
    path = write(kind, tmp_path / "cells", SAMPLES[name]())
    source = open_source(path)
    assert choose_format(source).name == name
    assert choose_format(source, name) is FORMATS[name]
    if kind == "zip" and name in OF_ARRAYS:
        assert refusal_of(path).startswith("cells is a zip around ")
        return
    entries, found = listed_in(path)
    files = [entry.file for entry in entries]
    assert files
    assert len(set(files)) == len(files)
    assert all(is_picture(file) for file in files)
    assert {entry.split for entry in entries} <= {"train", "val", "test", None}
    if name in OF_ARRAYS:
        return
    of = {str(Path(file).parent) for file in files} if name in MARKED else set(files)
    assert of <= set(source.files)
    assert found.ignored == len(source.files) - len(of)
    assert all(entry.label in entry.file for entry in entries)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {*OF_ARRAYS, *MARKED}))
def test_a_reader_of_files_opens_no_picture(tmp_path, monkeypatch, name):
    source = open_source(write_files(tmp_path / "cells", SAMPLES[name]()))
    opened, read_file = [], source.read
    monkeypatch.setattr(source, "read", lambda file: (opened.append(file), read_file(file))[1])
    assert list(FORMATS[name].read(source, True).pictures)
    assert not any(is_picture(file) for file in opened)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_named_for_what_it_is_not_says_so(tmp_path, name):
    """Asked for by name, a reader meets every other format's layout."""
    for other in FORMATS:
        source = open_source(write_files(tmp_path / other, SAMPLES[other]()))
        with suppress(LabError):
            list(FORMATS[name].read(source, False).pictures)


def test_a_format_that_is_not_in_the_table_is_named_with_those_that_are(tmp_path):
    source = open_source(write_files(tmp_path / "cells", class_folder_files()))
    with pytest.raises(LabError) as caught:
        choose_format(source, "dicom")
    assert str(caught.value) == f"no format is called 'dicom': use auto, {', '.join(FORMATS)}"


@pytest.mark.parametrize("files", [{"a/1.txt": b"", "b/2.csv": b""}, {"readme.md": b""}])
@pytest.mark.parametrize("format", ["auto", "class-folders"])
def test_a_source_without_a_picture_says_what_counts_as_one(tmp_path, files, format):
    words = refusal_of(write_files(tmp_path / "cells", files), format)
    assert words == f"cells holds no picture ({', '.join(SUFFIXES)}): nothing to import"


def test_an_empty_folder_says_the_same(tmp_path):
    (tmp_path / "cells").mkdir()
    assert "holds no picture" in refusal_of(tmp_path / "cells")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".JPG", ".Jpeg", ".PNG", ".TIFF"])
def test_a_picture_is_known_by_its_suffix_in_any_case(suffix):
    assert is_picture(f"a/1{suffix}")


@pytest.mark.parametrize("file", ["a/1.gif", "a/1.svg", "a/1.png.txt", "a/png", "a.png/1", "a/1.pngx"])
def test_what_has_another_suffix_is_no_picture(file):
    assert not is_picture(file)


# The public archive


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize(
    "images",
    [IMAGES, "dataset2-master/images", "images", "blood/cells/dataset2-master/dataset2-master/images"],
)
def test_the_public_archive_is_read_however_deep_it_lies(tmp_path, kind, images):
    listing, found = listed_in(write(kind, tmp_path / "archive", archive_files(images)))
    expected = {("train", label): 3 for label in ARCHIVE_CLASSES} | {("test", label): 2 for label in ARCHIVE_CLASSES}
    assert by_split_and_label(listing) == expected
    assert found.ignored == 4 + 4  # TEST_SIMPLE; labels, source photo, annotation
    assert [*found.photographs] == ["BloodImage_00000"]
    assert Entry(f"{images}/TRAIN/MONOCYTE/_2_1.jpeg", "MONOCYTE", "train", None) in listing
    assert not any("JPEGImages" in entry.file or "TEST_SIMPLE" in entry.file for entry in listing)


def test_test_simple_is_taken_into_the_test_split_when_asked_for(tmp_path):
    listing, found = listed_in(write_zip(tmp_path / "archive.zip", archive_files()), with_test_simple=True)
    assert by_split_and_label(listing)["test", "MONOCYTE"] == 2 + 1
    assert by_split_and_label(listing)["train", "MONOCYTE"] == 3
    assert found.ignored == 4


def test_the_folder_of_its_splits_alone_is_the_public_archive_too(tmp_path):
    """Else TEST_SIMPLE, which stands beside TRAIN and TEST, would become a fifth class."""
    folder = write_files(tmp_path / "archive", archive_files()) / IMAGES
    assert choose_format(open_source(folder)).name == "blood-cell-images"
    assert by_split_and_label(entries_of(folder)) == by_split_and_label(entries_of(tmp_path / "archive"))


@pytest.mark.parametrize("images", ["images/", "mine/images/", ""])
def test_a_person_s_own_train_and_test_folders_do_not_get_the_archive_s_name_and_licence(tmp_path, images):
    files = {f"{images}{split}/{label}/1.png": b"" for split in ("TRAIN", "TEST") for label in ("normal", "blast")}
    path = write_files(tmp_path / "cells", files)
    assert choose_format(open_source(path)).name == "class-folders"
    assert by_split_and_label(entries_of(path)) == {(s, c): 1 for s in ("train", "test") for c in ("normal", "blast")}


def test_the_archive_asked_for_where_it_is_not_finds_nothing(tmp_path):
    entries, found = listed_in(write_files(tmp_path / "cells", class_folder_files()), "blood-cell-images")
    assert entries == []
    assert found.ignored == 4


def test_the_archive_s_licence_and_citation_are_told(tmp_path):
    _, found = listed_in(write_files(tmp_path / "archive", archive_files()))
    assert "MIT" in found.licence
    assert "Mooney" in found.citation


# Class folders

PLAIN = {("blast/1.png", "blast"), ("blast/2.JPG", "blast"), ("band/1.tif", "band")}


def labels_of(entries: Sequence[Entry]) -> set[tuple[str, str]]:
    return {("/".join(Path(entry.file).parts[-2:]), entry.label) for entry in entries}


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("wrapper", ["", "cells/", "a/b/c/d/", "train me/", "Pictures of 2024/blood cells/"])
def test_class_folders_are_read_in_any_wrapping(tmp_path, kind, wrapper):
    listing, found = listed_in(write(kind, tmp_path / "cells", {wrapper + file: b"" for file, _ in PLAIN}))
    assert labels_of(listing) == PLAIN
    assert {entry.split for entry in listing} == {None}
    assert found.ignored == 0


@pytest.mark.parametrize("wrapper", ["", "cells/", "a/b/"])
@pytest.mark.parametrize("word", SPLIT_NAMES)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_a_split_folder_above_the_classes_is_told_by_its_name_in_any_case(tmp_path, wrapper, word, case):
    files = {f"{wrapper}{case(word)}/{file}": b"" for file, _ in PLAIN}
    listing = entries_of(write_files(tmp_path / "cells", files))
    assert labels_of(listing) == PLAIN
    assert {entry.split for entry in listing} == {SPLIT_NAMES[word]}


def test_train_val_and_test_folders_side_by_side(tmp_path):
    files = {
        f"set/{split}/{label}/{n}.png": b"" for split in ("Train", "valid", "TEST") for label in "xy" for n in "12"
    }
    assert by_split_and_label(entries_of(write_files(tmp_path / "cells", files))) == {
        (split, label): 2 for split in ("train", "val", "test") for label in "xy"
    }


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Train", "TestA", "Test-B"), ("train", "test", "test")),  # Raabin-WBC
        (("train_set", "val_set", "Test Set"), ("train", "val", "test")),
        (("train2017", "val2017"), ("train", "val")),  # COCO
        (("Training-images", "testing_data"), ("train", "test")),
    ],
)
def test_splits_that_are_called_as_public_sets_call_them_become_no_classes(tmp_path, folders, splits):
    files = {f"{folder}/{label}/{n}.png": b"" for folder in folders for label in ("blast", "band") for n in "12"}
    counts = by_split_and_label(entries_of(write_files(tmp_path / "cells", files)))
    assert counts == {(split, label): 2 * splits.count(split) for split in splits for label in ("blast", "band")}


def test_a_folder_of_classes_beside_them_is_refused(tmp_path):
    files = {f"{folder}{label}/1.png": b"" for folder in ("", "evaluation/") for label in ("blast", "band", "x")}
    assert refusal_of(write_files(tmp_path / "cells", files)) == (
        "cells: the folder evaluation holds folders that are classes beside it (band, blast, x): call it train, val "
        "or test, or take it out"
    )
    # A class may have a folder that is called as another class.
    files = {"blast/1.png": b"", "band/1.png": b"", "band/blast/1.png": b""}
    counts = by_split_and_label(entries_of(write_files(tmp_path / "other", files)))
    assert counts == {(None, "blast"): 1, (None, "band"): 2}


def test_pictures_of_a_kind_that_is_not_read_are_listed_and_not_passed_over(tmp_path):
    files = {"blast/1.png": b"", "band/1.jfif": b"", "band/2.GIF": b"", "mono/1.heic": b"", "mono/notes.txt": b""}
    entries, found = listed_in(write_files(tmp_path / "cells", files))
    assert labels_of(entries) == {(file, file.split("/")[0]) for file in files if not file.endswith("txt")}
    assert found.ignored == 1


@pytest.mark.parametrize("told", ["annotations/all.json", "Annotations/1.xml", "labels.csv"])
def test_where_a_file_seems_to_tell_the_labels_a_table_is_asked_for(tmp_path, told):
    files = {"images/1.png": b"", "images/2.png": b"", "README.txt": b"", told: b"x"}
    words = refusal_of(write_files(tmp_path / "mine", files))
    assert words == (
        "mine has only one class folder (images): put the pictures in at least two folders, one a class; if "
        f"{told!r} has their labels, write them as a CSV table of path and label"
    )


def test_a_class_may_be_called_as_a_word_that_contains_a_split(tmp_path):
    files = {f"{label}/1.png": b"" for label in ("trained", "tests", "value", "x")}
    listing = entries_of(write_files(tmp_path / "cells", files))
    assert by_split_and_label(listing) == {(None, label): 1 for label in ("trained", "tests", "value", "x")}


def test_folders_inside_a_class_belong_to_it(tmp_path):
    files = {"blast/slide 1/1.png": b"", "blast/slide 2/x/1.png": b"", "band/1.png": b"", "test/band/slide/1.png": b""}
    assert by_split_and_label(entries_of(write_files(tmp_path / "cells", files))) == {
        (None, "blast"): 2,
        (None, "band"): 1,
        ("test", "band"): 1,
    }


def test_the_label_is_the_folder_s_very_name(tmp_path):
    files = {f"{label}/1.png": b"" for label in ("Néutrophile géant", "B cell (α)", "0")}
    assert {e.label for e in entries_of(write_files(tmp_path / "cells", files))} == {
        "Néutrophile géant",
        "B cell (α)",
        "0",
    }


@pytest.mark.parametrize("wrapper", ["", "cells/", "a/cells/"])
@pytest.mark.parametrize("loose", ["cover.png", "train/cover.jpg", "train/notes.txt", "notes.txt"])
@pytest.mark.parametrize("outside", ["", "cells/"])
def test_what_lies_outside_of_class_folders_is_passed_over_and_counted(tmp_path, wrapper, loose, outside):
    files = {f"{outside}{wrapper}train/{label}/{n}.png": b"" for label in ("blast", "band") for n in "12"}
    files |= {
        outside + wrapper + loose: b"",
        outside + "cover.png": b"",
        f"{outside}{wrapper}train/blast/about.txt": b"",
    }
    entries, found = listed_in(write_files(tmp_path / "cells", files))
    assert by_split_and_label(entries) == {("train", "blast"): 2, ("train", "band"): 2}
    assert found.ignored == len(files) - 4


@pytest.mark.parametrize("wrapper", ["", "cells/"])
def test_splits_may_lie_inside_the_classes(tmp_path, wrapper):
    files = {
        f"{wrapper}{label}/{split}/{n}.png": b""
        for label in ("blast", "band")
        for split in ("Train", "val", "test")
        for n in "12"
    } | {f"{wrapper}blast/train/slide 1/3.png": b"", f"{wrapper}blast/4.png": b"", f"{wrapper}test/blast/5.png": b""}
    assert by_split_and_label(entries_of(write_files(tmp_path / "cells", files))) == {
        (split, label): 2 + (label == "blast" and split in ("train", "test"))
        for split in ("train", "val", "test") for label in ("blast", "band")
    } | {(None, "blast"): 1}  # fmt: skip


def test_several_sites_may_each_have_their_splits(tmp_path):
    files = {
        f"{site}/{split}/{label}/{n}.png": b""
        for site in ("Basel", "Genf") for split in ("train", "test") for label in ("blast", "band") for n in "12"
    } | {"Basel/train/cover.png": b""}  # fmt: skip
    assert by_split_and_label(entries_of(write_files(tmp_path / "cells", files))) == {
        (split, label): 4 for split in ("train", "test") for label in ("blast", "band")
    }


names = st.sampled_from(["blast", "band", "Eosinophil", "x y", "é", "0", "trained"])
trees = st.sets(st.tuples(names, st.integers(0, 3)), min_size=2, max_size=12).filter(
    lambda tree: len({label for label, _ in tree}) > 1
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=trees,
    layout=st.sampled_from(
        ["{label}", "{split}/{label}", "{label}/{split}", "a/b/{label}", "top/{split}/{label}/deep"]
    ),
    split=st.sampled_from([*SPLIT_NAMES]),
    kind=st.sampled_from(["zip", "folder"]),
)
def test_any_tree_of_class_folders_is_read_as_it_was_laid_out(tmp_path_factory, tree, layout, split, kind):
    folders = {place: layout.format(label=place[0], split=split) for place in tree}
    files = {f"{folder}/{number}.png": b"" for (_, number), folder in folders.items()}
    entries = entries_of(write(kind, tmp_path_factory.mktemp("trees") / "cells", files))
    told = SPLIT_NAMES[split] if "{split}" in layout else None
    assert {(entry.file, entry.label, entry.split) for entry in entries} == {
        (f"{folder}/{number}.png", label, told) for (label, number), folder in folders.items()
    }


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"blast/1.png": b"", "blast/2.png": b""}, "only one class folder (blast)"),
        ({"cells/blast/1.png": b""}, "only one class folder (blast)"),
        ({"train/blast/1.png": b"", "test/blast/2.png": b""}, "only one class folder (blast)"),
        ({"train/blast/1.png": b""}, "only one class folder (blast)"),
        ({"blast/1.png": b"", "loose.png": b""}, "only one class folder (blast)"),
        ({"1.png": b"", "2.png": b""}, "no class folder"),
        ({"train/1.png": b"", "test/2.png": b""}, "no class folder"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_fewer_than_two_classes_are_refused_with_what_would_work(tmp_path, kind, files, found):
    words = refusal_of(write(kind, tmp_path / "mine", files))
    assert words == f"mine has {found}: put the pictures in at least two folders, one a class"


# Tables

PICTURES = {f"pics/{number}.png": b"" for number in range(4)}


def csv_files(text: str, name: str = "labels.csv", **more: bytes) -> dict[str, bytes]:
    return PICTURES | {name: text.encode()} | more


def table_refusal(tmp_path: Path, text: str, name: str = "labels.csv") -> str:
    """In what words a table is refused when it is handed in; in the folder around it, it is refused too."""
    folder = write_files(tmp_path / "cells", csv_files(text, name))
    words = refusal_of(folder / name)
    assert words.startswith(f"{name}")
    with pytest.raises(LabError):
        entries_of(folder, "table")
    return words


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("wrapper", ["", "a/b/"])
def test_a_table_beside_its_pictures_is_read(tmp_path, kind, wrapper):
    text = "path,label,split,group,box\npics/0.png,blast,TRAIN,p1,1 2 3 4\npics/1.png,band,valid,,\n"
    files = {wrapper + name: data for name, data in csv_files(text).items()}
    entries, found = listed_in(write(kind, tmp_path / "cells", files))
    assert entries == [
        Entry(f"{wrapper}pics/0.png", "blast", "train", "p1", (1, 2, 3, 4)),
        Entry(f"{wrapper}pics/1.png", "band", "val", None, None),
    ]
    assert found.ignored == 3  # two pictures without a row, and the table


def test_a_table_handed_in_by_itself_leads_to_its_pictures(tmp_path):
    elsewhere = write_files(tmp_path / "elsewhere", {"9.png": b""}) / "9.png"
    folder = write_files(tmp_path / "cells", csv_files(f"file;class\npics/0.png;blast\n{elsewhere};band\n"))
    entries = entries_of(folder / "labels.csv")
    assert [(entry.file, entry.label) for entry in entries] == [("pics/0.png", "blast"), (str(elsewhere), "band")]
    found = FORMATS["table"].read(open_source(folder / "labels.csv"), False)
    assert [data() for _, data in found.pictures] == [b"", b""]
    assert found.ignored == 1  # the table


@pytest.mark.parametrize("kind", ["zip", "folder", "alone"])
@pytest.mark.parametrize(("stored", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_finds_files_whose_letters_are_stored_in_another_way(tmp_path, kind, stored, written):
    files = {unicodedata.normalize(stored, f"größe/{name}.png"): b"" for name in "ab"}
    text = unicodedata.normalize(written, "path,label\ngröße/a.png,x\ngröße/b.png,y\n")
    path = write(kind, tmp_path / "cells", files | {"t.csv": text.encode()})
    entries = entries_of(path / "t.csv" if kind == "alone" else path)
    assert [entry.file for entry in entries] == [*files]


@pytest.mark.parametrize("holds", table.COLUMNS)
def test_a_column_is_known_by_each_of_its_names_in_any_case(tmp_path, holds):
    values = {"path": "pics/0.png", "label": "blast", "split": "test", "group": "g"}
    values |= {"box": "1,2,3,4"} if holds not in table.CORNERS else {"x0": "1", "y0": "2", "x1": "3", "y1": "4"}
    for name in table.COLUMNS[holds]:
        for written in (name, name.upper(), f" {name.title()} "):
            named = {written if column == holds else column: value for column, value in values.items()}
            text = "\t".join(named) + "\n" + "\t".join(named.values()) + "\n"
            folder = write_files(tmp_path / "cells", csv_files(text, "t.tsv"))
            assert entries_of(folder / "t.tsv") == [Entry("pics/0.png", "blast", "test", "g", (1, 2, 3, 4))]


def test_rows_of_nothing_are_none_and_are_counted(tmp_path):
    text = "path,label,group\npics/0.png,x,\npics/1.png,y,\n,,\n , NA,\n,,\n"
    entries = entries_of(write_files(tmp_path / "cells", csv_files(text)))
    assert [(entry.file, entry.label) for entry in entries] == [("pics/0.png", "x"), ("pics/1.png", "y")]
    gap = "path,label\npics/0.png,x\n, \npics/1.png,y\n\n"
    assert len(entries_of(write_files(tmp_path / "gap", csv_files(gap)))) == 2
    words = refusal_of(write_files(tmp_path / "more", csv_files(f"{gap},y\n,\n")))
    assert words == "labels.csv: 1 of 3 rows have no path (rows 6; the header is row 1)"


def test_a_class_called_as_no_label_is_told_so(tmp_path):
    text = "path,label\npics/0.png,NA\npics/1.png,\npics/2.png,n/a\npics/3.png,x\n"
    assert refusal_of(write_files(tmp_path / "cells", csv_files(text))).endswith(
        "3 of 4 rows have no label: 'NA', 'n/a' stands for no label: give such a class another name "
        "(rows 2, 3, 4; the header is row 1)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\npics/0.png,\npics/1.png,x\npics/2.png, NaN \n", "2 of 3 rows have no label: 'NaN' stands for no"),
        ("path,label\n,x\npics/1.png,y\n", "1 of 2 rows have no path (rows 2; the header is row 1)"),
        ("path,label\n\n \npics/1.png,y\n,x\n", "1 of 2 rows have no path (rows 5; the header is row 1)"),
        ("path,label\npics/0.png,x\npics/1.png\n", "1 of 2 rows have no label (rows 3; the header is row 1)"),
        (
            "path,label\npics/0.png,x\npics/7.png,y\npics/8.png,y\n",
            "2 of 3 rows name a file that is not there, 'pics/7.png' first (rows 3, 4; the header is row 1)",
        ),
        ("path,label\npics,x\npics/1.png,y\n", "1 of 2 rows name a file that is not there, 'pics' first"),
        ("path,label\n../x.png,x\npics/1.png,y\n", "1 of 2 rows have a path that leaves the folder: write"),
        ("path,label\npics/../../x.png,x\npics/1.png,y\n", "1 of 2 rows have a path that leaves the folder: write"),
        ("path,label\n..\\x.png,x\npics/1.png,y\n", "1 of 2 rows have a path that leaves the folder: write"),
        ("path,label\nC:\\x.png,x\npics/1.png,y\n", "1 of 2 rows have a path that leaves the folder: write"),
        (
            "path,label\npics/0.png,x\npics/../pics/0.png,y\n",
            "1 of 2 rows name a file to which another row gives another label, group or split (rows 3;",
        ),
        (
            "path,label,group\npics/0.png,x,1\npics/1.png,x,1\npics/0.png,x,2\n",
            "1 of 3 rows name a file to which another row gives another label, group or split (rows 4;",
        ),
        (
            "path,label,box\npics/0.png,x,1 2 3 4\npics/0.png,y,1 2 3 4\npics/1.png,y,\n",
            "1 of 3 rows name a file to which another row gives another label, group or split (rows 3;",
        ),
        (
            "path,label,box,split\npics/0.png,x,1 2 3 4,test\npics/0.png,y,5 6 7 8,train\n",
            "1 of 2 rows name a file to which another row gives another label, group or split (rows 3;",
        ),
        (
            "path,label,box\npics/0.png,x,1 2 3 4\npics/0.png,x,5 6 7 8\npics/1.png,y,\n",
            "1 of 3 rows have no box, where others have several on one picture: which cell is meant? (rows 4;",
        ),
        (
            'path,label\npics/0.png,"x\npics/1.png,"x\npics/2.png,y\n',
            "1 of 2 rows have a line break or control character in them: is a quotation mark not closed? (rows 2;",
        ),
        ("path,label\npics/0.png,x\0\npics/1.png,y\n", "1 of 2 rows have a line break or control character in them"),
        ("path,label,split\npics/0.png,x,dev\npics/1.png,y,\n", "1 of 2 rows have a split that is none of train"),
        ("path,label,box\npics/0.png,x,1 2 3\npics/1.png,y,\n", "1 of 2 rows have a box that is not x0 y0 x1 y1 with"),
        ("path,label,box\npics/0.png,x,3 2 1 4\npics/1.png,y,\n", "1 of 2 rows have a box that is not x0 y0 x1 y1"),
        ("path,label,box\npics/0.png,x,1 2 1e30 4\npics/1.png,y,\n", "1 of 2 rows have a box that is not x0 y0 x1 y1"),
        ("path,label,box\npics/0.png,x,1 2 inf 4\npics/1.png,y,\n", "1 of 2 rows have a box that is not x0 y0 x1 y1"),
        ("path,label,x0,y0,x1,y1\npics/0.png,x,1,2,,4\npics/1.png,y,,,,\n", "1 of 2 rows have a box that is not"),
        ("path,label,x0,y0\npics/0.png,x,1,2\n", "has boxes as x0, y0: give either x0, y0, x1, y1 or one column box"),
        ("path,label,box,x0\npics/0.png,x,1,2\n", "has boxes as x0, box: give either"),
        ("path,file,label\npics/0.png,1,x\n", "has several columns for the path (path, file): keep one"),
        ("path,label,Label\npics/0.png,1,x\n", "has several columns for the label (label, Label): keep one"),
        ("path,group,photo,label\npics/0.png,1,1,x\n", "has several columns for the group (group, photo): keep one"),
        ("path\npics/0.png\n", "has no column label or class: it has path"),
        ("name,label\npics/0.png,x\n", "has no column path or file or filename or image: it has name, label"),
        ("", "has no column path or file or filename or image: it has no column"),
        ("path,label\npics/0.png,x,y\n", "can't be read as a table: "),
        ('path,label\n"pics/0.png,x\n', "can't be read as a table: "),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_is_told_with_its_rows(tmp_path, text, words):
    said = table_refusal(tmp_path, text)
    assert said.removeprefix("labels.csv").lstrip(": ").startswith(words)


def test_text_that_is_no_utf8_is_told(tmp_path):
    folder = write_files(tmp_path / "cells", PICTURES | {"t.csv": "path,label\npics/0.png,Zyt\xe9\n".encode("latin-1")})
    assert refusal_of(folder / "t.csv") == "t.csv is not UTF-8 text: save it as CSV UTF-8"


def test_excel_s_mark_of_utf8_is_no_part_of_the_first_column(tmp_path):
    folder = write_files(tmp_path / "cells", csv_files("\ufeffpath;label\r\npics/0.png;Néo\r\n\r\npics/1.png;x\r\n"))
    assert [entry.label for entry in entries_of(folder / "labels.csv")] == ["Néo", "x"]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\npath;label\r\npics/0.png;a,b,c\r\n",
        '"sep=;"\npath;label\npics/0.png;a,b,c\n',
        "SEP=\t\npath\tlabel\npics/0.png\ta,b,c\n",
        "# of slide 7; by Ana, in May\n\n#\npath;label\npics/0.png;a,b,c\n",
        "#;path;label\n1;pics/0.png;a,b,c\n",
    ],
    ids=["sep", "sep in marks", "sep of a tab", "comments", "a column called #"],
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_stands_before_the_header_is_passed_over(tmp_path, text, alone):
    folder = write_files(tmp_path / "cells", csv_files(text))
    assert entries_of(folder / "labels.csv" if alone else folder) == [Entry("pics/0.png", "a,b,c")]


def test_a_header_that_is_a_comment_is_refused_and_no_folder_becomes_a_class(tmp_path):
    assert table_refusal(tmp_path, "# path,label\npics/0.png,x\npics/1.png,y\n") == (
        "labels.csv has no column path or file or filename or image: it has pics/0.png, x"
    )


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_an_absolute_path_is_followed_from_a_table_handed_in_by_itself_alone(tmp_path, kind):
    picture = write_files(tmp_path / "own", {"1.png": b""}) / "1.png"
    files = csv_files(f"path,label\npics/0.png,x\n{picture},y\n")
    words = refusal_of(write(kind, tmp_path / "cells", files))
    assert words == (
        "labels.csv: 1 of 2 rows have a path that leaves the folder: write it relative to the table's folder (rows 3; "
        "the header is row 1)"
    )


def test_a_time_in_a_path_is_no_drive(tmp_path):
    files = csv_files("path,label\n12:30.png,x\n12:31.png,y\n") | {"12:30.png": b"", "12:31.png": b""}
    assert entries_of(write("folder", tmp_path / "cells", files)) == [Entry("12:30.png", "x"), Entry("12:31.png", "y")]


def test_a_path_too_long_for_the_system_names_no_file(tmp_path):
    folder = write("folder", tmp_path / "cells", csv_files(f"path,label\npics/1.png,x\n{'y' * 300}.png,y\n"))
    assert "1 of 2 rows name a file that is not there, 'yyy" in refusal_of(folder / "labels.csv")


def test_a_link_that_leaves_the_table_s_folder_is_not_followed(tmp_path):
    secret = write_files(tmp_path / "secret", {"1.png": b""})
    folder = write_files(tmp_path / "cells", csv_files("path,label\npics/0.png,x\nout/1.png,y\nlink.png,y\n"))
    (folder / "out").symlink_to(secret)
    (folder / "link.png").symlink_to(secret / "1.png")
    assert "2 of 3 rows name a file that is not there" in refusal_of(folder / "labels.csv")


def test_of_several_tables_none_is_guessed(tmp_path):
    text = b"path,label\npics/0.png,x\npics/1.png,y\n"
    folder = write_files(tmp_path / "cells", PICTURES | {"a.csv": text, "b.csv": text, "c.csv": b"id,age\n1,2\n"})
    assert refusal_of(folder) == "cells holds several tables of pictures (a.csv, b.csv): import the one that you mean"
    (folder / "b.csv").unlink()
    assert len(entries_of(folder)) == 2


def test_a_table_without_its_columns_hides_no_class_folders(tmp_path):
    files = class_folder_files() | {"labels.csv": b"id,category\n1,x\n", "notes.tsv": b"\xff\xfe"}
    assert choose_format(open_source(write_files(tmp_path / "cells", files))).name == "class-folders"
    words = refusal_of(tmp_path / "cells", "table")
    assert words.startswith("cells holds no table with a column path and a column label")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("path;label\npics/0.png;Zyt\xe9\n".encode("latin-1"), "t.csv is not UTF-8 text: save it as CSV UTF-8"),
        ("path\tlabel\npics/0.png\tx\n".encode("utf-16"), "t.csv is not UTF-8 text: save it as CSV UTF-8"),
        (b"path,label,class\npics/0.png,x,y\n", "t.csv has several columns for the label (label, class): keep one"),
        (b"path,label,x0\npics/0.png,x,1\n", "t.csv has boxes as x0: give either x0, y0, x1, y1 or one column box"),
    ],
    ids=["Excel's own encoding", "Excel's Unicode text", "two labels", "half a box"],
)
def test_a_table_that_is_meant_and_can_t_be_used_is_told_and_not_passed_over(tmp_path, data, words):
    """Its folders, one a slide or patient, would be taken for the classes."""
    folder = write_files(tmp_path / "cells", class_folder_files() | {"t.csv": data})
    assert refusal_of(folder) == words


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cells", csv_files("path,label\n" + "pics/0.png,x\n" * 4))
    pd.read_csv(folder / "labels.csv").to_parquet(folder / "labels.parquet")
    for module in (table, columns):
        monkeypatch.setattr(module, "MAX_FILES", 3)
    assert refusal_of(folder / "labels.csv") == "labels.csv has more than 3 rows: import a part of it"
    assert refusal_of(folder / "labels.parquet") == "labels.parquet can't be read as a table: more than 3 rows"
    for module in (table, columns):
        monkeypatch.setattr(module, "MAX_FILES", 4)
    assert len(entries_of(folder / "labels.csv")) == len(entries_of(folder / "labels.parquet")) == 4


def test_a_parquet_file_that_repeats_a_long_text_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cells", PICTURES)
    pd.DataFrame({"path": ["pics/0.png"] * 4000, "label": "x" * 1000}).to_parquet(folder / "t.parquet")
    assert (folder / "t.parquet").stat().st_size < 10_000
    monkeypatch.setattr(columns, "MAX_FILE_BYTES", 2**20)
    assert refusal_of(folder / "t.parquet") == "t.parquet can't be read as a table: unpacks to more than 1 MiB"


def test_a_parquet_file_of_one_huge_text_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cells", PICTURES)
    huge = pa.table({"path": ["pics/0.png"], "label": ["x" * 2**26], "kind": [["a", "b"]]})
    pq.write_table(huge, folder / "t.parquet", use_dictionary=False, compression="zstd")
    assert (folder / "t.parquet").stat().st_size < 10_000
    monkeypatch.setattr(columns, "MAX_FILE_BYTES", 2**20)
    before, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        assert refusal_of(folder / "t.parquet") == "t.parquet can't be read as a table: unpacks to more than 1 MiB"
    finally:
        pa.set_memory_pool(before)
    assert counted.max_memory() < 2**22


@pytest.mark.parametrize("rows", [0, 1])
def test_a_parquet_column_of_long_values_of_one_length_is_refused(tmp_path, rows):
    folder = write_files(tmp_path / "cells", PICTURES)
    labels = pa.array([b"x" * 99] * rows, pa.binary(99))
    paths = pa.array(["pics/0.png"] * rows, pa.string())
    pq.write_table(pa.table({"path": paths, "label": labels}), folder / "t.parquet")
    assert refusal_of(folder / "t.parquet") == (
        "t.parquet can't be read as a table: the column label holds fixed_size_binary[99] and not text or numbers"
    )


def test_an_empty_parquet_table_has_no_pictures(tmp_path):
    folder = write_files(tmp_path / "cells", PICTURES)
    pd.DataFrame({"path": ["a"], "label": ["b"]}).iloc[:0].to_parquet(folder / "t.parquet")
    assert entries_of(folder / "t.parquet") == []


@pytest.mark.parametrize("labels", [[1, 2, None, 4], [1.0, 2.0, float("nan"), 4.0], ["a", "b", None, "nan"]])
def test_missing_labels_of_any_type_are_found_in_parquet(tmp_path, labels):
    folder = write_files(tmp_path / "cells", PICTURES)
    pd.DataFrame({"path": sorted(PICTURES), "label": labels}).to_parquet(folder / "t.parquet")
    missing = sum(label is None or label != label or label == "nan" for label in labels)
    told = refusal_of(folder / "t.parquet")
    assert told.startswith(f"t.parquet: {missing} of 4 rows have no label")
    assert told.endswith("(rows 4; the header is row 1)" if missing == 1 else "(rows 4, 5; the header is row 1)")


@pytest.mark.parametrize(
    ("labels", "read_as"),
    [([1, 2], ["1", "2"]), ([1.0, 2.0], ["1", "2"]), ([True, False], ["true", "false"]), ([b"x", b"y"], ["x", "y"])],
)
def test_labels_of_parquet_need_be_no_text(tmp_path, labels, read_as):
    folder = write_files(tmp_path / "cells", PICTURES)
    pd.DataFrame({"path": ["pics/0.png", "pics/1.png"], "label": labels}).to_parquet(folder / "t.parquet")
    assert [entry.label for entry in entries_of(folder / "t.parquet")] == read_as


def test_a_parquet_column_of_lists_is_refused(tmp_path):
    folder = write_files(tmp_path / "cells", PICTURES)
    pd.DataFrame({"path": ["pics/0.png"], "label": [[1, 2]]}).to_parquet(folder / "t.parquet")
    assert refusal_of(folder / "t.parquet").startswith("t.parquet can't be read as a table: ")


# No comma, quote or line end: what a table's cell may hold is pandas' own business; what counts is the columns.
words = st.text("abcXYZ 019_-éλ", min_size=1, max_size=8).map(str.strip).filter(
    lambda text: text and text.lower() not in table.MISSING
)  # fmt: skip
boxes = st.none() | st.tuples(*[st.integers(0, 99)] * 4).map(lambda b: (b[0], b[1], b[0] + b[2] + 1, b[1] + b[3] + 1))
rows = st.tuples(words, st.sampled_from([None, *SPLIT_NAMES]), st.none() | words, boxes)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(rows, min_size=1, max_size=8), kind=st.sampled_from(["csv", "tsv", "parquet"]), corners=st.booleans()
)
def test_a_table_comes_back_as_it_was_written(tmp_path_factory, rows, kind, corners):
    expected = [
        Entry(f"p/{number}.png", label, split and SPLIT_NAMES[split], group, box)
        for number, (label, split, group, box) in enumerate(rows)
    ]
    folder = write_files(tmp_path_factory.mktemp("tables"), {entry.file: b"" for entry in expected})
    columns = {"Path": [entry.file for entry in expected]}
    columns |= {name: [row[place] for row in rows] for place, name in enumerate(("label", "SPLIT", "patient"))}
    if corners:
        columns |= {corner: [row[3] and str(row[3][at]) for row in rows] for at, corner in enumerate(table.CORNERS)}
    else:
        columns["box"] = [row[3] and " ".join(map(str, row[3])) for row in rows]
    frame = pd.DataFrame(columns, dtype=object)
    target = folder / f"t.{kind}"
    if kind == "parquet":
        frame.to_parquet(target)
    else:
        frame.to_csv(target, sep="\t" if kind == "tsv" else ",", index=False)
    assert entries_of(target) == entries_of(folder) == expected


# MedMNIST


def npz_refusal(tmp_path: Path, arrays: Mapping[str, np.ndarray], name: str = "cells.npz") -> str:
    return refusal_of(write_files(tmp_path / "made", {name: npz(arrays)}) / name)


def pixels_of(path: Path) -> dict[str, np.ndarray]:
    source = open_source(path)
    found = {entry.file: decode_rgb(data()) for entry, data in choose_format(source).read(source, False).pictures}
    source.close()
    return found


shapes = st.tuples(st.integers(8, 12), st.integers(8, 12)) | st.tuples(
    st.integers(8, 12), st.integers(8, 12), st.sampled_from([1, 3])
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.tuples(*[st.integers(0, 7)] * 3).filter(any),
    shape=shapes,
    save=st.sampled_from([np.savez, np.savez_compressed]),
    at_once=st.integers(1, 4),
    flat_labels=st.booleans(),
)
def test_a_medmnist_file_of_any_shape_gives_its_pictures_in_order(
    tmp_path_factory, monkeypatch, counts, shape, save, at_once, flat_labels
):
    monkeypatch.setattr(listings, "CHUNK_BYTES", at_once * int(np.prod(shape)))
    arrays = small_arrays(sum(counts), counts, shape)
    if flat_labels:
        arrays = {name: array.ravel() if "labels" in name else array for name, array in arrays.items()}
    path = write_files(tmp_path_factory.mktemp("npz"), {"cells.npz": npz(arrays, save)}) / "cells.npz"
    entries, found = listed_in(path)
    assert found.total == sum(counts)
    assert [(entry.split, entry.label) for entry in entries] == [
        (split, f"class-{row % 3}")
        for split, n in zip(("train", "val", "test"), counts, strict=True)
        for row in range(n)
    ]
    seen = pixels_of(path)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for row in range(count):
            picture = arrays[f"{split}_images"][row].reshape(*shape[:2], -1)
            assert np.array_equal(seen[f"{split}/{row:06}.png"], np.broadcast_to(picture, (*shape[:2], 3)))


@pytest.mark.parametrize("name", ["bloodmnist.npz", "bloodmnist_64.npz", "BloodMNIST_224.npz"])
def test_bloodmnist_is_known_by_its_name(tmp_path, name):
    arrays = {"train_images": np.zeros((8, 28, 28, 3), np.uint8), "train_labels": np.arange(8).reshape(-1, 1)}
    entries, found = listed_in(write_files(tmp_path, {name: npz(arrays)}) / name)
    assert tuple(entry.label for entry in entries) == BLOOD_CLASSES
    assert "Acevedo" in found.citation
    assert found.licence == "CC BY 4.0"
    other, found = listed_in(write_files(tmp_path, {"cells.npz": npz(arrays)}) / "cells.npz")
    assert other[0].label == "class-0"
    assert (found.licence, found.citation) == ("", "")
    arrays["train_labels"][3] = 8
    assert npz_refusal(tmp_path, arrays, name) == f"{name} has a class 8, and BloodMNIST's are 0 to 7"


def changed(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return small_arrays() | arrays


def images(*shape: int, dtype: type = np.uint8) -> dict[str, np.ndarray]:
    return changed(train_images=np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (changed(train_images=np.array([object()] * 5)), ": train_images.npy holds pickled objects, which are never"),
        (changed(train_labels=np.array([["a"]] * 5, object)), ": train_labels.npy holds pickled objects"),
        (images(5, 9, 8, 3, dtype=float), ": train_images.npy holds float64 and not uint8 pixels"),
        (images(5, 9), ": train_images.npy has the shape (5, 9)"),
        (images(), ": train_images.npy has the shape ()"),
        (images(5, 9, 8, 8, 3), ": train_images.npy has the shape (5, 9, 8, 8, 3)"),
        (images(5, 9, 8, 9), ": train_images.npy has the shape (5, 9, 8, 9)"),
        (images(5, 3, 8, 3), ": train_images.npy holds pictures of 8×3 pixels"),
        (changed(train_images=np.asfortranarray(images(5, 9, 8, 3)["train_images"])), ": train_images.npy is stored"),
        (changed(train_labels=np.zeros((4, 1), int)), ": train_labels.npy has the shape (4, 1), and there are 5 pict"),
        (changed(train_labels=np.zeros((5, 14), int)), ": train_labels.npy has the shape (5, 14), and there are 5"),
        (changed(train_labels=np.full((5, 1), np.nan)), ": train_labels.npy holds float64 and not whole numbers"),
        (changed(train_labels=np.full((5, 1), -1)), ": train_labels.npy holds -1: classes are numbered from 0"),
        ({"train_images": np.zeros((5, 9, 8, 3), np.uint8)}, " holds no train_labels"),
        ({"x": np.zeros(3)}, " holds no train_images, val_images or test_images"),
    ],
)
def test_an_npz_that_holds_something_else_is_told(tmp_path, arrays, words):
    assert npz_refusal(tmp_path, arrays).startswith(f"cells.npz{words}")


def npy(header: str, data: bytes, version: bytes = b"\1\0") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


HEAD = "{'descr': '|u1', 'fortran_order': False, 'shape': "


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (HEAD + "(5, 9, 8, 3)}", bytes(1079), "declares another size than it holds"),
        (HEAD + "(5, 9, 8, 3)}", bytes(1081), "declares another size than it holds"),
        (HEAD + "(-5, 9, -8, 3)}", bytes(1080), "declares another size than it"),
        (HEAD + "(10**30, 9, 8, 3)}", bytes(9), "is damaged"),
        ("{'descr': '|u1', 'shape': (5, 9, 8, 3)}", bytes(1080), "is damaged"),
        ("(" * 100, b"", "is damaged"),
        ("-" * 110 + "1", b"", "is damaged"),
        ("", b"", "is damaged"),
    ],
)  # fmt: skip
def test_a_header_that_tells_lies_is_refused(tmp_path, header, data, words):
    path = write_zip(tmp_path / "cells.npz", {"train_images.npy": npy(header, data), "train_labels.npy": b""})
    assert words in refusal_of(path)


def test_an_npz_bomb_is_refused(tmp_path):
    path = tmp_path / "cells.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": (3000, 160, 160, 1)}
            )
            for _ in range(3000):
                member.write(bytes(160 * 160))
    assert refusal_of(path) == "cells.npz: train_images.npy declares another size than it holds"


def test_several_npz_files_are_not_guessed_among(tmp_path):
    files = {"bloodmnist.npz": npz(small_arrays()), "bloodmnist_64.npz": npz(small_arrays())}
    words = refusal_of(write_files(tmp_path / "cells", files))
    assert words == "cells holds 2 .npz files: import the one that you mean"


# PatchCamelyon


def test_pcam_s_pairs_become_splits_with_their_slides(tmp_path):
    files = pcam_files()
    entries, found = listed_in(write_files(tmp_path / "pcam", files | {"readme.txt": b""}))
    assert by_split_and_label(entries) == {
        (split, label): count
        for split, count in (("train", 3), ("val", 1), ("test", 2)) for label in pcam.CLASSES
    }  # fmt: skip
    assert {entry.source_photo for entry in entries if entry.split == "train"} == {f"slide_train_{n}" for n in range(3)}
    assert found.ignored == 1
    assert found.licence == "CC0"
    seen = pixels_of(tmp_path / "pcam")
    with h5py.File(io.BytesIO(files[f"{PCAM_NAME}_test_x.h5"])) as file:
        assert all(np.array_equal(seen[f"test/{row:06}.png"], file["x"][row]) for row in range(4))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_pcam_is_read_some_pictures_at_a_time(tmp_path, monkeypatch, at_once):
    folder = write_files(tmp_path / "pcam", pcam_files({"train": 5}, meta=False))
    whole = pixels_of(folder)
    monkeypatch.setattr(listings, "CHUNK_BYTES", at_once * 96 * 96 * 3)
    assert all(np.array_equal(pixels_of(folder)[file], pixels) for file, pixels in whole.items())
    assert len(whole) == 5
    assert {entry.source_photo for entry in entries_of(folder)} == {None}


def test_one_of_a_pair_handed_in_finds_the_other(tmp_path):
    folder = write_files(tmp_path / "pcam", pcam_files())
    assert {entry.split for entry in entries_of(folder / f"{PCAM_NAME}_valid_x.h5")} == {"val"}
    assert "holds no …_train_x.h5" in refusal_of(folder / f"{PCAM_NAME}_valid_y.h5")


X, Y, META = (f"{PCAM_NAME}_train_{part}" for part in ("x.h5", "y.h5", "meta.csv"))
PIXELS = np.zeros((6, 96, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({Y: h5("y", np.zeros((5, 1, 1, 1), np.uint8))}, f"{X} holds 6 pictures and {Y} 5 labels"),
        ({Y: h5("y", np.zeros((6, 2), np.uint8))}, f"{X} holds 6 pictures and {Y} 12 labels"),
        ({Y: None}, f"{Y} is missing beside {X}: it holds the labels"),
        ({Y: h5("y", np.full(6, 2))}, f"{Y} holds other labels than 0 (normal) and 1 (tumour)"),
        ({Y: h5("y", np.full(6, np.nan))}, f"{Y} holds float64 and not whole numbers"),
        ({Y: h5("z", np.zeros(6, int))}, f"{Y} holds no array y"),
        ({X: h5("x", PIXELS.astype(float))}, f"{X}: x holds float64 and not uint8 pixels"),
        ({X: h5("x", PIXELS[:, :, :, 0:2])}, f"{X}: x has the shape (6, 96, 96, 2)"),
        ({X: h5("x/y", PIXELS)}, f"{X} holds no array x"),
        ({X: b"no HDF5"}, f"{X} can't be read: "),
        ({Y: b""}, f"{Y} can't be read: "),
        ({META: b"wsi\na\nb\n"}, f"{META} has 2 rows for 6 pictures"),
        ({META: b"slide\na\nb\n"}, f"{META} doesn't name the slide (wsi) of each picture"),
        ({META: b"a,wsi\n1,a\n2,\n"}, f"{META} doesn't name the slide (wsi) of each picture"),
        ({META: b""}, f"{META} can't be read: "),
        ({META: b'"'}, f"{META} can't be read: "),
        ({f"b/{X}": h5("x", PIXELS)}, "pcam holds several _x.h5 files of one split"),
    ],
)
def test_pcam_files_that_do_not_fit_are_told(tmp_path, files, words):
    made = {name: data for name, data in (pcam_files({"train": 6}) | files).items() if data is not None}
    assert refusal_of(write_files(tmp_path / "pcam", made)).startswith(words)


def linked(path: Path, how: str) -> None:
    """Writes an HDF5 file whose `x` lies in another file."""
    write_files(path.parent, {"secret.h5": h5("x", PIXELS), "secret.raw": PIXELS.tobytes()})
    with h5py.File(path, "w") as file:
        if how == "link":
            file["x"] = h5py.ExternalLink("secret.h5", "x")
        elif how == "soft":
            file["x"] = h5py.SoftLink("/nowhere")
        elif how == "virtual":
            layout = h5py.VirtualLayout(PIXELS.shape, np.uint8)
            layout[:] = h5py.VirtualSource("secret.h5", "x", PIXELS.shape)
            file.create_virtual_dataset("x", layout)
        else:
            file.create_dataset(
                "x", PIXELS.shape, np.uint8, external=[(path.with_name("secret.raw"), 0, PIXELS.nbytes)]
            )


@pytest.mark.parametrize("how", ["link", "soft", "virtual", "raw"])
def test_pixels_of_another_file_are_not_read(tmp_path, how):
    folder = write_files(tmp_path / "pcam", pcam_files({"train": 6}))
    linked(folder / X, how)
    assert refusal_of(folder / X) == f"{X} holds no array x"


def test_a_piece_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pcam, "MAX_CHUNK_BYTES", 2**20)
    made = pcam_files({"train": 6}) | {
        X: h5("x", np.zeros((100, 96, 96, 3), np.uint8), chunks=(100, 96, 96, 3), compression=9)
    }
    assert "in pieces of more than 1 MiB" in refusal_of(write_files(tmp_path / "pcam", made) / X)


# Damage

ARRAY_FILES = {
    "cells.npz": npz(small_arrays()),
    "packed.npz": npz(small_arrays(), np.savez_compressed),
    X: pcam_files({"train": 6})[X],
    "t.csv": b"path,label,split,group,box\npics/0.png,blast,train,p1,1 2 3 4\npics/1.png,band,val,,\n",
}


def parquet_table() -> bytes:
    out = io.BytesIO()
    pd.DataFrame({"path": ["pics/0.png", "pics/1.png"], "label": ["x", "y"], "group": ["a", None]}).to_parquet(out)
    return out.getvalue()


@settings(max_examples=250, deadline=None)
@given(
    name=st.sampled_from([*ARRAY_FILES, "t.parquet"]),
    cut=st.none() | st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_any_damage_is_told_and_never_another_failure(tmp_path_factory, name, cut, changes):
    data = bytearray((ARRAY_FILES | {"t.parquet": parquet_table()})[name])
    for place, value in changes:
        data[int(place**3 * len(data))] = value  # most of them near the head, where the structure is
    if cut is not None:
        del data[int(cut * len(data)) :]
    folder = write_files(tmp_path_factory.mktemp("damaged"), PICTURES | pcam_files({"train": 6}) | {name: bytes(data)})
    source = open_source(folder / name)
    with suppress(LabError):
        for _, picture in choose_format(source).read(source, False).pictures:
            with suppress(LabError):
                picture()
    source.close()
