"""Public blood-cell data sets as they are downloaded: imported as a student expects, or refused with what to do.

Each layout here is a small imitation of a real one: its folders, names and annotation files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from bloodcell_core.data.formats.listing import Entry
from tests.conftest import entries_of, refusal_of, write_files


def read(tmp_path: Path, files: dict[str, bytes]) -> list[Entry]:
    return entries_of(write_files(tmp_path / "cells", files))


def refusal(tmp_path: Path, files: dict[str, bytes]) -> str:
    return refusal_of(write_files(tmp_path / "cells", files))


def empty(*files: str) -> dict[str, bytes]:
    return dict.fromkeys(files, b"")


def every(outer: Iterable[str], inner: Iterable[str], names: Iterable[str] = ("a.png", "b.png")) -> dict[str, bytes]:
    return empty(*(f"{one}/{two}/{name}" for one in outer for two in inner for name in names))


# Folders that are no classes


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (("Original", "Segmented"), ("Benign", "Early", "Pre")),  # an ALL set on Kaggle
        (("Benign", "Early", "Pre"), ("original", "segmented")),
        (("wbc_train", "wbc_test"), ("band", "blast")),
        (("Basel", "Genf"), ("band", "blast")),
        (("train/Original", "train/Segmented"), ("band", "blast")),
    ],
)
def test_folders_that_hold_the_same_folders_are_not_guessed_to_be_the_classes(tmp_path, outer, inner):
    words = refusal(tmp_path, every(outer, inner))
    assert "hold folders of the same names" in words
    assert "import a part of it, or write a CSV table of path, label and group" in words


def test_classes_may_hold_the_same_numbered_folders(tmp_path):
    """The bone marrow set of Matek et al."""
    entries = read(tmp_path, every(("BLA", "EBO"), ("0001-1000", "1001-2000")))
    assert Counter(entry.label for entry in entries) == {"BLA": 4, "EBO": 4}


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("images", "masks"), "masks"),
        (("train/img", "train/label", "test/img", "test/label"), "label"),
        (("Main Dataset/Baso", "Main Dataset/mono", "Ground Truth Segmentation/Baso"), "Ground Truth Segmentation"),
        (("Baso", "mono", "mono/nucleus_mask"), "nucleus_mask"),
    ],
)
def test_masks_become_neither_a_class_nor_pictures(tmp_path, folders, named):
    words = refusal(tmp_path, every(folders, ["."]))
    assert words == f"cells: the folder {named} holds no pictures of cells by its name: take it out"


@pytest.mark.parametrize("names", [("001.bmp", "001.png"), ("7.jpg", "7_GT.jpg"), ("7-seg.png", "7.tif")])
def test_a_mask_beside_each_picture_is_told(tmp_path, names):
    """As in Zheng's sets."""
    files = every(("band", "blast"), ["."], names)
    assert refusal(tmp_path, files) == (
        f"cells holds most pictures twice, such as {names[0]} and {names[1]}: take out those that are masks or "
        "copies, rename those that are not"
    )


@pytest.mark.parametrize("name", ["7_mask.png", "Mask-circular.jpg", "7 masks.png"])
def test_a_picture_that_is_a_mask_by_its_name_is_told(tmp_path, name):
    words = f"cells: band/{name} is a mask by its name: take it and the like out"
    assert refusal(tmp_path, every(("band", "blast"), ["."]) | empty(f"band/{name}")) == words


def test_a_word_that_contains_mask_is_none(tmp_path):
    assert len(read(tmp_path, every(("band", "masked"), ["."], ("unmasked.png", "2cell.png")))) == 4


def test_folders_inside_the_only_class_folder_are_named(tmp_path):
    files = every(("train/images", "test/images"), ("band", "blast"))
    assert refusal(tmp_path, files | empty("labels.csv")) == (
        "cells has only one class folder (images): put the pictures in at least two folders, one a class; if band, "
        "blast in images are the classes, move them up a level; if 'labels.csv' has their labels, write them as a CSV "
        "table of path and label"
    )


def test_the_same_name_beside_a_few_pictures_is_no_mask(tmp_path):
    files = every(("band", "blast"), ["."], ("1.jpg", "1.png", "2.png", "3.png", "4.png"))
    assert len(read(tmp_path, files)) == 10


@pytest.mark.parametrize("folder", ["images", "Dataset 1", "docs", "set2", "Augmented"])
def test_a_folder_that_is_no_class_by_its_name_is_told(tmp_path, folder):
    files = every(("band", folder), ["."])
    words = f"cells: the folder {folder} is no class by its name: put its pictures in folders that are called as their "
    assert refusal(tmp_path, files) == f"{words}classes, or take it out"
    told = "; if 'labels.xlsx' has their labels, write them as a CSV table of path and label"
    assert refusal(tmp_path, files | empty("labels.xlsx")).endswith(f"or take it out{told}")


def test_a_class_may_have_a_folder_of_images(tmp_path):
    assert {entry.label for entry in read(tmp_path, every(("band", "blast"), ["images"]))} == {"band", "blast"}


def test_a_split_without_any_class_of_train_is_told(tmp_path):
    """The pictures of C-NMC's preliminary test have no class folders."""
    files = every(("training_data",), ("all", "hem")) | every(("validation_data",), ("C-NMC_test_prelim",))
    assert refusal(tmp_path, files) == (
        "cells: the classes of val (C-NMC_test_prelim) are none of those of train (all, hem): call them alike, or "
        "take them out"
    )


def test_pictures_outside_the_splits_become_no_class_of_their_own(tmp_path):
    files = every(("train", "test"), ("band", "blast")) | every(("test_unlabelled", "band"), ["."])
    assert len(read(tmp_path, files)) == 12
    (tmp_path / "cells/band/a.png").unlink()
    (tmp_path / "cells/band/b.png").unlink()
    assert refusal(tmp_path, {}) == (
        "cells: the classes outside its splits (test_unlabelled) are none of those of train (band, blast): call them "
        "alike, or take them out"
    )


def test_a_split_whose_pictures_lie_in_no_class_folder_is_not_passed_over(tmp_path):
    files = every(("train",), ("band", "blast")) | empty("test/1.png", "train/cover.png", "Test.csv")
    assert refusal(tmp_path, files) == (
        "cells: the pictures of test lie in no class folders: put them into some, or take them out; if 'Test.csv' has "
        "their labels, write them as a CSV table of path and label"
    )


@pytest.mark.parametrize("names", [("train_band", "test_band"), ("band test", "band-val"), ("band.Train", "band.Test")])
def test_a_split_in_the_name_of_a_class_is_told(tmp_path, names):
    assert refusal(tmp_path, every(("blast", *names), ["."])) == (
        f"cells: the folders {min(names)} and {max(names)} are one class in two splits by their names: put them into a "
        "folder for each split"
    )


def test_a_word_for_a_split_in_one_class_says_nothing(tmp_path):
    assert len(read(tmp_path, every(("band", "band_test", "train blast"), ["."]))) == 6


@pytest.mark.parametrize("line", ["{}.png", "./{}.png 3", "{}", "cells\\{}.png,band"])
def test_lists_tell_the_splits_of_class_folders(tmp_path, line):
    files = {f"cells/{file}": b"" for file in every(("band", "blast"), ["."], ("a.png", "b.png", "c 1.png"))}
    lists = {
        f"cells/{split}.txt": line.format(f"band/{name}").encode() for split, name in (("train", "a"), ("test", "b"))
    }
    found = {entry.file.removeprefix("cells/"): entry.split for entry in read(tmp_path, files | lists) if entry.split}
    assert found == {"band/a.png": "train", "band/b.png": "test"}


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (
            {"train.txt": b"band/a.png\n", "val.txt": b"\nband/a.png"},
            "val.txt: 'band/a.png' is in the list of train too",
        ),
        (
            {"test.txt": b"/home/me/band/a.png 1\n"},
            "test.txt names a picture that is not there: '/home/me/band/a.png'",
        ),
        ({"test.txt": b"a.png"}, "test.txt: 'a.png' may be band/a.png or blast/a.png"),
    ],
)
def test_lists_of_splits_that_can_t_be_used_are_told(tmp_path, lists, words):
    assert refusal(tmp_path, every(("band", "blast"), ["."]) | lists).startswith(words)


def test_notes_called_as_a_list_of_a_split_are_none(tmp_path):
    entries = read(tmp_path, every(("band", "blast"), ["."]) | {"test.txt": b"This set was\n\nmade in 2019.\n"})
    assert {entry.split for entry in entries} == {None}


# Groups


def test_folds_are_no_classes_and_no_groups(tmp_path):
    entries = read(tmp_path, every(("training_data/fold_0", "training_data/fold_1"), ("all", "hem")))
    assert Counter((entry.split, entry.label, entry.source_photo) for entry in entries) == {
        ("train", "all", None): 4,
        ("train", "hem", None): 4,
    }


@pytest.mark.parametrize(
    "layout", ["{group}/{label}", "{label}/{group}", "train/{label}/{group}", "{group}/train/{label}"]
)
@pytest.mark.parametrize("groups", [("patient_01", "patient_02"), ("Slide A", "Slide B"), ("Subject7", "Subject8")])
def test_folders_of_patients_and_slides_are_groups(tmp_path, layout, groups):
    folders = [layout.format(group=group, label=label) for group in groups for label in ("band", "blast")]
    entries = read(tmp_path, every(folders, ["."]))
    assert Counter((entry.label, entry.source_photo) for entry in entries) == {
        (label, group): 2 for label in ("band", "blast") for group in groups
    }


def test_a_folder_around_everything_is_no_group(tmp_path):
    """Of one group nothing could be set aside as a test split."""
    assert {entry.source_photo for entry in read(tmp_path, every(("slides_2020",), ("band", "blast")))} == {None}
    files = every(("slides_2020/slide 1/slide 7", "slides_2020/slide 2"), ("band", "blast"))
    assert {entry.source_photo for entry in read(tmp_path / "two", files)} == {"slide 1", "slide 2"}


@pytest.mark.parametrize("folder", ["slides", "patients", "smear cells", "caseous"])
def test_a_word_for_a_group_without_a_number_is_none(tmp_path, folder):
    entries = read(tmp_path, every(("band", folder), ["."]))
    assert {entry.label for entry in entries} == {"band", folder}
    assert {entry.source_photo for entry in entries} == {None}


def test_names_of_files_that_tell_the_patient_are_groups(tmp_path):
    names = [f"UID_{patient}_{picture}_1.bmp" for patient in ("11", "H12") for picture in (1, 2, 3)]
    entries = read(tmp_path, every(("all", "hem"), ["."], names))
    assert Counter(entry.source_photo for entry in entries) == {"UID_11": 6, "UID_H12": 6}


def test_names_of_files_in_a_table_tell_groups_where_it_has_none(tmp_path):
    files = empty(*(f"cells/patient{patient}_{n}.png" for patient in (1, 2) for n in range(3)))
    rows = [f"{file},{'xy'[n % 2]}" for n, file in enumerate(files)]
    entries = read(tmp_path, files | table(rows))
    assert Counter(entry.source_photo for entry in entries) == {"patient1": 3, "patient2": 3}
    told = table([f"{row},P{n}" for n, row in enumerate(rows)], "filename,label,patient")
    assert {entry.source_photo for entry in read(tmp_path, files | told)} == {f"P{n}" for n in range(6)}


@pytest.mark.parametrize(
    "names",
    [("slide1.png", "slide2.png", "slide3.png"), ("slide1_1.png", "slide1_2.png"), ("slide1_1.png", "other.png")],
    ids=["a number of pictures", "one for all", "not all"],
)
def test_names_of_files_that_tell_no_groups_are_none(tmp_path, names):
    files = empty(*(f"{label}/{name}" for label, name in zip(("band", "blast") * 3, names, strict=False)), "band/x.png")
    assert {entry.source_photo for entry in read(tmp_path, files)} == {None}


# What lies beside the pictures


def test_a_split_that_is_still_packed_is_not_passed_over(tmp_path):
    files = every(("Train",), ("band", "blast")) | empty("TestA.rar")
    assert refusal(tmp_path, files) == "cells: TestA.rar is packed: unpack it into a folder TestA, or take it out"
    assert len(read(tmp_path, files | every(("TestA",), ("band",)))) == 6


@pytest.mark.parametrize("more", [{}, empty("preview.png")])
def test_packed_files_alone_are_told(tmp_path, more):
    words = refusal(tmp_path, empty("Cells of 2019.ZIP", "readme.txt") | more)
    assert words.endswith("; 'Cells of 2019.ZIP' is packed: unpack it and import the folder")


def test_arrays_beside_pictures_are_told(tmp_path):
    words = refusal(tmp_path, empty("bloodmnist.npz", "montage.png"))
    assert words.endswith("; 'bloodmnist.npz' holds arrays: import that file alone")


@pytest.mark.parametrize("legend", ["classes.txt", "set/class_names.json", "Label mapping.csv"])
def test_folders_that_are_numbers_are_not_taken_where_a_file_has_their_names(tmp_path, legend):
    files = every(("train", "test"), "01")
    assert refusal(tmp_path, files | {legend: b"x"}) == (
        f"cells: the labels are numbers (0, 1), and {legend} seems to have their names: put those in their place, or "
        "take it out"
    )
    (tmp_path / "cells" / legend).unlink()
    assert {entry.label for entry in read(tmp_path, files)} == {"0", "1"}


def test_numbers_in_a_table_are_not_taken_where_a_file_beside_it_has_their_names(tmp_path):
    path = write_files(tmp_path / "cells", {"t.csv": b"path,label\n1.png,0\n2.png,1\n"} | empty("1.png", "2.png"))
    assert {entry.label for entry in entries_of(path / "t.csv")} == {"0", "1"}
    write_files(path, empty("classes.txt"))
    for source in (path, path / "t.csv"):
        assert "the labels are numbers (0, 1), and classes.txt seems to have their names" in refusal_of(source)


@pytest.mark.parametrize("suffix", [".png", ""])
def test_a_table_of_other_labels_is_not_passed_over(tmp_path, suffix):
    files = every(("A", "B"), ["."], ("cell-1.png", "cell-2.png"))
    told = f"image_name;cell_type;Class\nx/cell-1{suffix};1;band\ncell-2{suffix};1;blast\n"
    words = refusal(tmp_path, files | {"labels.csv": told.encode()})
    assert words == (
        "cells: labels.csv names these pictures, and other labels than their folders: call its columns path and "
        "label, or take it out"
    )


@pytest.mark.parametrize(
    "told",
    ["image_name,cell type\ncell-1.png,A\n", "image_name,age\ncell-1.png,50\n", "image_name,class\nother.png,x\n", ""],
)
def test_a_table_that_says_nothing_else_hinders_no_import(tmp_path, told):
    files = every(("A",), ["."], ("cell-1.png", "cell-2.png")) | empty("B/3.png")
    assert len(read(tmp_path, files | {"about.csv": told.encode()})) == 3


def test_labels_in_a_json_file_beside_each_picture_are_told(tmp_path):
    """Raabin-WBC's fields."""
    files = every(("1-1", "1-2"), ["."], ("field.jpg",))
    told = {
        f"{folder}/jsons/field.json": json.dumps({"Cell_0": {"Label1": "band"}}).encode() for folder in ("1-1", "1-2")
    }
    assert refusal(tmp_path, files | told) == (
        "cells: 1-1/jsons/field.json and the like have labels in a form that is not read: export them as COCO, VOC or "
        "YOLO, write a CSV table, or take them out if the folders are the classes"
    )
    assert len(read(tmp_path, files | dict.fromkeys(told, b'{"lens": 100}'))) == 2


VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    + "".join(f'{label}/{n}.png,9,"{{}}",1,0,"{{}}","{{}}"\n' for label in ("Blast", "Band") for n in range(2))
)
VIA = {"a.png9": {"filename": "a.png", "size": 9, "regions": [{"shape_attributes": {}, "region_attributes": {}}]}}
CREATE_ML = [{"image": "a.png", "annotations": [{"label": "band", "coordinates": {"x": 1, "y": 2}}]}]


@pytest.mark.parametrize(
    ("name", "told", "form", "instead"),
    [
        (
            "annotations.xml",
            "<annotations><version>1.1</version><meta></meta><image id='0' name='a.png'/></annotations>",
            "the XML of CVAT",
            "COCO 1.0, PASCAL VOC 1.1 or YOLO 1.1",
        ),
        (
            "day1/a.xml",
            "<annotation><filename>a.png</filename><object><polygon><pt><x>1</x></pt></polygon></object></annotation>",
            "the XML of LabelMe",
            "COCO, VOC or YOLO",
        ),
        ("via_region_data.json", json.dumps(VIA), "the JSON of VIA", "COCO"),
        ("via_project.json", json.dumps({"_via_img_metadata": VIA}), "the JSON of VIA", "COCO"),
        ("via.csv", VIA_CSV, "the CSV of VIA", "COCO"),
        ("train/_annotations.createml.json", json.dumps(CREATE_ML), "the JSON of CreateML", "COCO, VOC or YOLO"),
        ("train/cells.tfrecord", "", "a file of TensorFlow", "COCO, VOC or YOLO"),
    ],
)
@pytest.mark.parametrize("folders", [("images",), ("day1", "day2"), ()])
def test_cells_marked_in_a_form_that_is_not_read_are_told_with_what_to_export(
    tmp_path, name, told, form, instead, folders
):
    """The folders, one a day or a slide, would be taken for the classes."""
    words = refusal(tmp_path, every(folders, ["."]) | {name: told.encode()})
    assert words == (
        f"cells: {name} is {form}, which is not read: export the labels as {instead}, or take it out if the folders "
        "are the classes"
    )


def test_a_readme_is_not_taken_for_a_file_of_labels(tmp_path):
    files = every(("img",), ["."]) | empty("README.roboflow.txt", "LICENSE.txt", "my_readme.txt")
    assert refusal(tmp_path, files) == (
        "cells has only one class folder (img): put the pictures in at least two folders, one a class"
    )


def test_thumbnails_of_a_network_drive_are_no_pictures(tmp_path):
    files = every(("band", "blast"), ["."]) | empty("@eaDir/x.jpg", "band/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg")
    assert len(read(tmp_path, files)) == 4


# Tables


def table(rows: Iterable[str], header: str = "filename,label", name: str = "labels.csv") -> dict[str, bytes]:
    return {name: "\n".join([header, *rows]).encode()}


FOUR = empty(*(f"set/images/{n}.png" for n in range(4)))


@pytest.mark.parametrize("row", ["{}.png,{}", "images/{}.png,{}", "{},{}", "images\\{},{}", "set/images/{},{}"])
@pytest.mark.parametrize("where", ["", "set/"])
def test_a_table_may_leave_out_folders_and_suffixes(tmp_path, row, where):
    rows = [row.format(n, ("band", "blast")[n % 2]) for n in range(4)]
    entries = read(tmp_path, FOUR | table(rows, name=f"{where}labels.csv"))
    assert [(entry.file, entry.label) for entry in entries] == [
        (f"set/images/{n}.png", ("band", "blast")[n % 2]) for n in range(4)
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("1", "labels.csv: '1' may be set/1.bmp or set/1.png: write it relative to the table's folder"),
        ("other/1.png", "'other/1.png' first"),
        ("et/1.png", "'et/1.png' first"),
        ("1.jpg", "'1.jpg' first"),
    ],
)
def test_a_path_that_fits_no_picture_or_several_is_told(tmp_path, path, words):
    assert words in refusal(tmp_path, empty("set/1.bmp", "set/1.png", "set/2.png") | table([f"{path},x", "2.png,y"]))


def test_tables_that_are_named_after_their_splits_are_joined(tmp_path):
    """As on Kaggle, and as Roboflow writes boxes into each split's folder."""
    files = (
        FOUR | table(["0.png,band", "1.png,blast"], name="train_labels.csv") | table(["2.png,band"], name="test.csv")
    )
    assert [(entry.file, entry.label, entry.split) for entry in read(tmp_path, files)] == [
        ("set/images/2.png", "band", "test"),
        ("set/images/0.png", "band", "train"),
        ("set/images/1.png", "blast", "train"),
    ]
    wrong = files | table(["0.png,band"], name="test.csv")
    assert refusal(tmp_path, wrong) == "test.csv and train_labels.csv both name set/images/0.png: keep it in one"
    assert "holds several tables of pictures" in refusal(tmp_path, files | table(["0.png,x"], name="submission.csv"))


def test_tables_in_the_folders_of_splits_are_joined(tmp_path):
    files = empty("train/a.jpg", "valid/a.jpg")
    for split in ("train", "valid"):
        rows = ["a.jpg,band,1,1,9,9", "a.jpg,blast,11,1,19,9"]
        files |= table(rows, "filename,class,xmin,ymin,xmax,ymax", f"{split}/_annotations.csv")
    assert Counter((entry.split, entry.label) for entry in read(tmp_path, files)) == {
        (split, label): 1 for split in ("train", "val") for label in ("band", "blast")
    }


@pytest.mark.parametrize("name", ["patient_id", "Patient ID", "slide-id", "Subject"])
def test_a_column_of_groups_has_more_usual_names(tmp_path, name):
    rows = [f"{n}.png,{'xy'[n % 2]},P{n // 2}" for n in range(4)]
    assert [entry.source_photo for entry in read(tmp_path, FOUR | table(rows, f"file,label,{name}"))] == [
        "P0", "P0", "P1", "P1"
    ]  # fmt: skip


def test_a_column_called_as_one_of_the_first_names_is_taken_before(tmp_path):
    entries = read(tmp_path, FOUR | table(["0.png,x,s,P,test", "1.png,y,s,P,test"], "file,label,slide_id,patient,set"))
    assert [(entry.source_photo, entry.split) for entry in entries] == [("P", "test")] * 2
    entries = read(tmp_path, FOUR | table(["0.png,x,s,P", "1.png,y,s,P"], "file,label,slide_id,patient_id"))
    assert [entry.source_photo for entry in entries] == ["P", "P"]


@pytest.mark.parametrize(("value", "split"), [("Test", "test"), ("validation", "val"), ("A", None)])
@pytest.mark.parametrize("name", ["set", "Usage", "phase"])
def test_a_column_set_is_the_split_if_it_names_splits(tmp_path, name, value, split):
    entries = read(tmp_path, FOUR | table([f"0.png,x,{value}", f"1.png,y,{value}", "2.png,y,"], f"file,label,{name}"))
    assert [entry.split for entry in entries] == [split, split, None]


def test_a_column_set_with_some_names_of_splits_is_told(tmp_path):
    words = refusal(tmp_path, FOUR | table(["0.png,x,Training", "1.png,y,PublicTest"], "file,label,Usage"))
    assert words.startswith("labels.csv: 1 of 2 rows have a split that is none of train, ")


@pytest.mark.parametrize("name", ["is_test", "Is Train", "istestset"])
def test_a_split_told_by_a_yes_or_no_is_asked_for_in_words(tmp_path, name):
    plain = name.lower().replace(" ", "_")
    assert refusal(tmp_path, FOUR | table(["0.png,x,1", "1.png,y,0"], f"file,label,{name}")) == (
        f"labels.csv tells a split by the column {plain}: write train, val or test into a column split"
    )
    rows = ["0.png,x,1,train", "1.png,y,0,test"]
    assert len(read(tmp_path, FOUR | table(rows, f"file,label,{name},split"))) == 2


@pytest.mark.parametrize("codes", [("0", "1"), ("1.0", "2.0")])
def test_numbers_are_not_taken_for_labels_where_their_names_are_told(tmp_path, codes):
    rows = [f"{n}.png,{codes[n % 2]},{('band', 'blast')[n % 2]},{n % 2 + 5}" for n in range(4)]
    files = FOUR | table(rows, "file,label,class_name,type")
    assert (
        refusal(tmp_path, files)
        == "labels.csv: the labels are numbers, and the column class_name has their names: call it label"
    )
    plain = FOUR | table(rows, "file,label,maker,type")
    assert {entry.label for entry in read(tmp_path, plain)} == set(codes)
    assert "classes.txt seems to have their names" in refusal(tmp_path, plain | empty("classes.txt"))


def test_a_column_with_other_values_is_no_legend(tmp_path):
    rows = [f"{n}.png,{n % 2},{('band', 'blast', 'band', 'band')[n]}" for n in range(4)]
    assert {entry.label for entry in read(tmp_path, FOUR | table(rows, "file,label,second type"))} == {"0", "1"}


@pytest.mark.parametrize(
    "columns", ["bbox", "x,y,w,h", "X,Y,Width,Height", "x_min,y_min,x_max,y_max", "left,top,right,bottom"]
)
def test_boxes_in_another_form_are_not_passed_over(tmp_path, columns):
    row = "0.png,band" + ",1" * len(columns.split(","))
    words = refusal(tmp_path, FOUR | table([row], f"filename,label,{columns}"))
    assert (
        words == f"labels.csv has boxes as {columns.replace(',', ', ')}: give either x0, y0, x1, y1 or one column box"
    )


@pytest.mark.parametrize("columns", ["width,height", "x,y", "left"])
def test_a_size_or_a_place_is_no_box(tmp_path, columns):
    more = ",1" * len(columns.split(","))
    assert len(read(tmp_path, FOUR | table([f"0.png,x{more}", f"1.png,y{more}"], f"filename,label,{columns}"))) == 2


def test_a_table_of_something_else_above_hides_none_of_pictures(tmp_path):
    files = every(("set/A", "set/B"), ["."], ("1.png",)) | {"abbreviations.csv": b"short;long\nBLA;Blast\n"}
    entries = read(tmp_path, files | table(["A/1.png,band", "B/1.png,blast"], name="set/labels.csv"))
    assert [entry.label for entry in entries] == ["band", "blast"]


def test_a_table_of_the_test_split_alone_does_not_replace_the_training_pictures(tmp_path):
    """As C-NMC's table of its validation pictures."""
    files = every(("train",), ("band", "blast")) | empty("test/1.png", "test/2.png")
    alone = table(["test/1.png,band", "test/2.png,blast"], name="test_labels.csv")
    assert refusal(tmp_path, files | alone) == (
        "cells: test_labels.csv leaves out the training pictures, such as train/band/a.png: write a table of all, or "
        "take it out"
    )
    (tmp_path / "cells/test_labels.csv").rename(tmp_path / "cells/some.csv")
    assert len(read(tmp_path, {})) == 2
