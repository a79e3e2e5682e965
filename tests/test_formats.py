"""Which pictures a source holds, with what label and split, by the layout of its folders."""

from collections import Counter
from pathlib import Path

import pytest

from bloodcell_core.data.formats import FORMATS, SPLIT_NAMES, Entry, Listing, choose_format, is_picture
from bloodcell_core.data.pictures import SUFFIXES
from bloodcell_core.data.sources import open_source
from bloodcell_core.errors import LabError
from tests.conftest import write_files, write_zip

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


SAMPLES = {"blood-cell-images": archive_files, "class-folders": class_folder_files}
"""What each format reads: a new row of FORMATS needs one here."""


def write(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    return write_zip(path.with_suffix(".zip"), files) if kind == "zip" else write_files(path, files)


def read(path: Path, format: str = "auto", with_test_simple: bool = False) -> Listing:
    source = open_source(path)
    try:
        return choose_format(source, format).read(source, with_test_simple)
    finally:
        source.close()


def refusal(path: Path, format: str = "auto") -> str:
    with pytest.raises(LabError) as caught:
        read(path, format)
    return str(caught.value)


def by_split_and_label(listing: Listing) -> Counter[tuple[str | None, str]]:
    return Counter((entry.split, entry.label) for entry in listing.entries)


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
    listing = FORMATS[name].read(source, False)
    files = [entry.file for entry in listing.entries]
    assert files
    assert len(set(files)) == len(files)
    assert set(files) <= set(source.files)
    assert listing.ignored == len(source.files) - len(files)
    assert all(is_picture(entry.file) and entry.label in Path(entry.file).parts for entry in listing.entries)


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader_opens_no_picture(tmp_path, monkeypatch, name):
    source = open_source(write_files(tmp_path / "cells", SAMPLES[name]()))
    monkeypatch.setattr(source, "read", lambda file: pytest.fail(f"read {file}"))
    assert FORMATS[name].read(source, True).entries


def test_a_format_that_is_not_in_the_table_is_named_with_those_that_are(tmp_path):
    source = open_source(write_files(tmp_path / "cells", class_folder_files()))
    with pytest.raises(LabError) as caught:
        choose_format(source, "dicom")
    assert str(caught.value) == f"no format is called 'dicom': use auto, {', '.join(FORMATS)}"


@pytest.mark.parametrize("files", [{"a/1.txt": b"", "b/2.csv": b""}, {"readme.md": b""}])
@pytest.mark.parametrize("format", ["auto", "class-folders"])
def test_a_source_without_a_picture_says_what_counts_as_one(tmp_path, files, format):
    words = refusal(write_files(tmp_path / "cells", files), format)
    assert words == f"cells holds no picture ({', '.join(SUFFIXES)}): nothing to import"


def test_an_empty_folder_says_the_same(tmp_path):
    (tmp_path / "cells").mkdir()
    assert "holds no picture" in refusal(tmp_path / "cells")


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
    listing = read(write(kind, tmp_path / "archive", archive_files(images)))
    expected = {("train", label): 3 for label in ARCHIVE_CLASSES} | {("test", label): 2 for label in ARCHIVE_CLASSES}
    assert by_split_and_label(listing) == expected
    assert listing.ignored == 4 + 4  # TEST_SIMPLE; labels, source photo, annotation
    assert Entry(f"{images}/TRAIN/MONOCYTE/_2_1.jpeg", "MONOCYTE", "train", None) in listing.entries
    assert not any("JPEGImages" in entry.file or "TEST_SIMPLE" in entry.file for entry in listing.entries)


def test_test_simple_is_taken_into_the_test_split_when_asked_for(tmp_path):
    listing = read(write_zip(tmp_path / "archive.zip", archive_files()), with_test_simple=True)
    assert by_split_and_label(listing)["test", "MONOCYTE"] == 2 + 1
    assert by_split_and_label(listing)["train", "MONOCYTE"] == 3
    assert listing.ignored == 4


def test_the_folder_of_its_splits_alone_is_the_public_archive_too(tmp_path):
    """Else TEST_SIMPLE, which stands beside TRAIN and TEST, would become a fifth class."""
    folder = write_files(tmp_path / "archive", archive_files()) / IMAGES
    assert choose_format(open_source(folder)).name == "blood-cell-images"
    assert by_split_and_label(read(folder)) == by_split_and_label(read(tmp_path / "archive"))


@pytest.mark.parametrize("images", ["images/", "mine/images/", ""])
def test_a_person_s_own_train_and_test_folders_do_not_get_the_archive_s_name_and_licence(tmp_path, images):
    files = {f"{images}{split}/{label}/1.png": b"" for split in ("TRAIN", "TEST") for label in ("normal", "blast")}
    path = write_files(tmp_path / "cells", files)
    assert choose_format(open_source(path)).name == "class-folders"
    assert by_split_and_label(read(path)) == {(s, c): 1 for s in ("train", "test") for c in ("normal", "blast")}


def test_the_archive_asked_for_where_it_is_not_finds_nothing(tmp_path):
    listing = read(write_files(tmp_path / "cells", class_folder_files()), "blood-cell-images")
    assert listing.entries == []
    assert listing.ignored == 4


def test_the_archive_s_licence_and_citation_are_told():
    row = FORMATS["blood-cell-images"]
    assert "MIT" in row.licence
    assert "Mooney" in row.citation


# Class folders

PLAIN = {("blast/1.png", "blast"), ("blast/2.JPG", "blast"), ("band/1.tif", "band")}


def labels_of(listing: Listing) -> set[tuple[str, str]]:
    return {("/".join(Path(entry.file).parts[-2:]), entry.label) for entry in listing.entries}


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("wrapper", ["", "cells/", "a/b/c/d/", "train me/", "Pictures of 2024/blood cells/"])
def test_class_folders_are_read_in_any_wrapping(tmp_path, kind, wrapper):
    listing = read(write(kind, tmp_path / "cells", {wrapper + file: b"" for file, _ in PLAIN}))
    assert labels_of(listing) == PLAIN
    assert {entry.split for entry in listing.entries} == {None}
    assert listing.ignored == 0


@pytest.mark.parametrize("wrapper", ["", "cells/", "a/b/"])
@pytest.mark.parametrize("word", SPLIT_NAMES)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_a_split_folder_above_the_classes_is_told_by_its_name_in_any_case(tmp_path, wrapper, word, case):
    files = {f"{wrapper}{case(word)}/{file}": b"" for file, _ in PLAIN}
    listing = read(write_files(tmp_path / "cells", files))
    assert labels_of(listing) == PLAIN
    assert {entry.split for entry in listing.entries} == {SPLIT_NAMES[word]}


def test_train_val_and_test_folders_side_by_side(tmp_path):
    files = {
        f"set/{split}/{label}/{n}.png": b"" for split in ("Train", "valid", "TEST") for label in "xy" for n in "12"
    }
    assert by_split_and_label(read(write_files(tmp_path / "cells", files))) == {
        (split, label): 2 for split in ("train", "val", "test") for label in "xy"
    }


def test_a_class_may_be_called_as_a_word_that_contains_a_split(tmp_path):
    files = {f"{label}/1.png": b"" for label in ("trained", "tests", "value", "x")}
    listing = read(write_files(tmp_path / "cells", files))
    assert by_split_and_label(listing) == {(None, label): 1 for label in ("trained", "tests", "value", "x")}


def test_folders_inside_a_class_belong_to_it(tmp_path):
    files = {"blast/slide 1/1.png": b"", "blast/slide 2/x/1.png": b"", "band/1.png": b"", "test/band/slide/1.png": b""}
    assert by_split_and_label(read(write_files(tmp_path / "cells", files))) == {
        (None, "blast"): 2,
        (None, "band"): 1,
        ("test", "band"): 1,
    }


def test_the_label_is_the_folder_s_very_name(tmp_path):
    files = {f"{label}/1.png": b"" for label in ("Néutrophile géant", "B cell (α)", "0")}
    assert {e.label for e in read(write_files(tmp_path / "cells", files)).entries} == {
        "Néutrophile géant",
        "B cell (α)",
        "0",
    }


@pytest.mark.parametrize("wrapper", ["", "cells/"])
@pytest.mark.parametrize("loose", ["cover.png", "train/cover.jpg", "train/notes.txt", "notes.txt"])
def test_what_lies_outside_of_class_folders_is_passed_over_and_counted(tmp_path, wrapper, loose):
    files = {f"{wrapper}train/{label}/{n}.png": b"" for label in ("blast", "band") for n in "12"}
    files |= {wrapper + loose: b"", f"{wrapper}train/blast/about.txt": b""}
    listing = read(write_files(tmp_path / "cells", files))
    assert by_split_and_label(listing) == {("train", "blast"): 2, ("train", "band"): 2}
    assert listing.ignored == 2


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
    words = refusal(write(kind, tmp_path / "mine", files))
    assert words == f"mine has {found}: put the pictures in at least two folders, one a class"
