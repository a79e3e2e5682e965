"""Tables with a column of 0 and 1 for each class: which are read, and what is refused in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bloodcell_core.errors import LabError
from tests.conftest import entries_of, refusal_of, write_files, write_zip

PICTURES = {f"pics/{number}.png": b"" for number in range(4)}
ROBOFLOW = "filename, band, blast\n0.png, 1, 0\n1.png, 0, 1\n2.png, 1, 0\n3.png, 0, 1\n"


def folder(tmp_path: Path, table: str | bytes) -> Path:
    data = table if isinstance(table, bytes) else table.encode()
    return write_files(tmp_path / "cells", PICTURES | {"pics/t.csv": data})


def of_columns(header: str, *columns: str) -> str:
    """A table of the four pictures: {0} is a row's number, {1} and {2} are 1 in every second row."""
    return header + "\n" + "".join(",".join(columns).format(n, n % 2, 1 - n % 2) + "\n" for n in range(4))


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("wrapper", ["", "cells v1/"])
def test_the_tables_that_roboflow_writes_are_read_each_for_its_split(tmp_path, kind, wrapper):
    """Pictures of one name in several splits are each the one beside its table."""
    files = {f"{wrapper}README.roboflow.txt": b"cells"}
    for split in ("train", "valid", "test"):
        files |= {f"{wrapper}{split}/{n}.png": b"" for n in range(4)}
        files |= {f"{wrapper}{split}/_classes.csv": ROBOFLOW.encode()}
    path = write_zip(tmp_path / "c.zip", files) if kind == "zip" else write_files(tmp_path / "c", files)
    entries = entries_of(path)
    assert Counter((entry.split, entry.label) for entry in entries) == {
        (split, label): 2 for split in ("train", "val", "test") for label in ("band", "blast")
    }
    assert all(f"/{entry.split}" in f"/{entry.file}" for entry in entries)


def test_the_table_of_a_challenge_is_read(tmp_path):
    files = {f"ISIC2018_Task3_Training_Input/ISIC_000{n}.jpg": b"" for n in range(4)}
    rows = "".join(f"ISIC_000{n},{float(n == 0)},{float(n > 0)},0.0\n" for n in range(4))
    files |= {"ISIC2018_Task3_Training_GroundTruth/ISIC2018.csv": f"image,MEL,NV,BCC\n{rows}".encode()}
    entries = entries_of(write_files(tmp_path / "cells", files))
    assert [entry.label for entry in entries] == ["MEL", "NV", "NV", "NV"]


@pytest.mark.parametrize(
    "table",
    [
        ROBOFLOW,
        "\ufeff" + ROBOFLOW,
        ROBOFLOW.replace("\n", "\r\n").replace(", ", ";"),
        "sep=;\n" + ROBOFLOW.replace(", ", ";"),
        ROBOFLOW.replace("0.png", ".\\0.png"),
        ROBOFLOW + ",,\n , ,\n",
        ROBOFLOW.replace(" 0", ""),
        ROBOFLOW.replace(", ", ";").replace(";0", ";0,0").replace(";1", ";1,0"),
        of_columns(",image,band,blast", "{0}", "{0}.png", "{2}.000", "{1}.000"),
        "file,band,blast\n" + "".join(f"{n}.png,{n % 2 == 0},{n % 2 == 1}\n" for n in range(4)),
    ],
)
def test_it_is_read_in_any_usual_spelling(tmp_path, table):
    path = folder(tmp_path, table)
    for read in (entries_of(path), entries_of(path / "pics/t.csv")):
        assert [entry.label for entry in read] == ["band", "blast", "band", "blast"]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("file,width,height,age", ("4{0}0", "300", "{0}.5")),
        ("file,x,y,sex", ("{1}", "{2}", "f")),  # a place, though of 0 and 1 only
        ("file,set,slide id", ("{1}", "{2}")),
    ],
)
def test_a_column_of_other_numbers_is_no_class(tmp_path, header, columns):
    path = folder(tmp_path, of_columns(f"{header},band,blast", "{0}.png", *columns, "{2}", "{1}"))
    assert [entry.label for entry in entries_of(path)] == ["band", "blast", "band", "blast"]
    with pytest.raises(LabError, match="only one class folder"):  # and alone they are no table of classes
        entries_of(folder(tmp_path, of_columns(header, "{0}.png", *columns)))


def test_a_column_is_no_class_by_what_stands_further_down(tmp_path):
    """A fold whose first rows are all 0, remarks on few pictures."""
    rows = [f"{n % 4}.png,{n // 20},{'smudged' if n == 50 else ''},{1 - n % 2},{n % 2}\n" for n in range(100)]
    table = "file,fold,remarks,band,blast\n" + "".join(rows)
    assert {entry.label for entry in entries_of(folder(tmp_path, table))} == {"band", "blast"}


def test_a_class_may_begin_far_below_where_zeros_are_left_out(tmp_path):
    rows = [f"{n // 25}.png,{1 if n < 50 else ''},{1 if n >= 50 else ''}\n" for n in range(100)]
    labels = Counter(entry.label for entry in entries_of(folder(tmp_path, "file,band,blast\n" + "".join(rows))))
    assert labels == {"band": 50, "blast": 50}


def test_its_splits_and_groups_are_those_of_any_table(tmp_path):
    table = of_columns("file,split,patient,band,blast", "{0}.png", "test", "P{1}", "{2}", "{1}")
    entries = entries_of(folder(tmp_path, table))
    assert [(entry.split, entry.source_photo) for entry in entries] == [("test", "P0"), ("test", "P1")] * 2
    for flag in ("is_test", "test"):
        words = refusal_of(folder(tmp_path, of_columns(f"file,{flag},band,blast", "{0}.png", "{1}", "{2}", "{1}")))
        assert words == f"pics/t.csv tells a split by the column {flag}: write train, val or test into a column split"


def test_some_columns_of_0_and_1_beside_class_folders_hinder_no_import(tmp_path):
    files = {f"{label}/{n}.png": b"" for label in ("band", "blast") for n in range(2)}
    table = "image,blurry,turned\nband/0.png,0,0\nband/1.png,1,0\nblast/0.png,0,0\nblast/1.png,1,1\n"
    entries = entries_of(write_files(tmp_path / "cells", files | {"notes.csv": table.encode()}))
    assert Counter(entry.label for entry in entries) == {"band": 2, "blast": 2}


def test_folders_that_may_be_the_classes_are_not_passed_over(tmp_path):
    """A table of another fact of each picture has a 1 in one column too."""
    files = {f"{label}/{n}.png": b"" for label in ("band", "blast") for n in range(2)}
    table = "image,{},{}\nband/0.png,0,1\nband/1.png,1,0\nblast/0.png,0,1\nblast/1.png,1,0\n"
    path = write_files(tmp_path / "cells", files | {"t.csv": table.format("male", "female").encode()})
    assert refusal_of(path) == (
        "cells: the classes may be the columns of t.csv (male, female) or the folders (band, blast): import that "
        "table by itself, or take it out"
    )
    assert {entry.label for entry in entries_of(path / "t.csv")} == {"male", "female"}
    bare = "image,male,female\n0,0,1\n1.png,1,0\n"  # a name stands for the one picture that is called so
    write_files(tmp_path / "bare", {"band/0.png": b"", "blast/deep/1.png": b"", "t.csv": bare.encode()})
    assert "import that table by itself" in refusal_of(tmp_path / "bare")
    entries = entries_of(tmp_path / "bare" / "t.csv")
    assert [(entry.file, entry.label) for entry in entries] == [("band/0.png", "female"), ("blast/deep/1.png", "male")]
    (tmp_path / "bare" / "link").symlink_to(tmp_path)
    assert "2 of 2 rows name a file that is not there, '0' first" in refusal_of(tmp_path / "bare" / "t.csv")
    write_files(path, {"t.csv": table.format("Blast", "Band").encode()})
    assert {entry.label for entry in entries_of(path)} == {"Blast", "Band"}
    write_files(path, {"t.csv": table.format("train", "test").encode()})
    assert {entry.label for entry in entries_of(path)} == {"blast", "band"}


def test_a_label_in_words_is_taken_before_numbers(tmp_path):
    table = of_columns("file,label,band,blast", "{0}.png", "x{1}", "{2}", "{1}")
    assert {entry.label for entry in entries_of(folder(tmp_path, table))} == {"x0", "x1"}
    other = {"labels.csv": b"path,label\npics/0.png,x\npics/1.png,y\n"}
    assert [entry.label for entry in entries_of(write_files(folder(tmp_path, ROBOFLOW), other))] == ["x", "y"]


UNCLEAR = "1 of 4 rows have a 1 in none or several of the columns band, blast: give each picture one class (rows 4;"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2.png, 1, 0", "2.png, 0, 0", UNCLEAR),
        ("2.png, 1, 0", "2.png, 1, 1", UNCLEAR),
        ("2.png, 1, 0", "2.png", UNCLEAR),
        ("2.png, 1, 0", "2.png, 2, 0", "1 of 4 rows have neither 0 nor 1 in the column band: take it out if it is"),
        ("2.png, 1, 0", "2.png, 1\0, 0", "1 of 4 rows have neither 0 nor 1 in the column band: take it out if it is"),
        ("2.png", "9.png", "1 of 4 rows name a file that is not there, '9.png' first (rows 4;"),
        ("2.png", "../../2.png", "1 of 4 rows have a path that leaves the folder"),
        ("2.png", "..\\..\\2.png", "1 of 4 rows have a path that leaves the folder"),
        ("2.png", "1.png", "1 of 4 rows name a file to which another row gives another label"),
        ("band", "NA", "2 of 4 rows have no label: 'NA' stands for no label: give such a class another name"),
        ("2.png, 1, 0", "2.png, 1, 0, 0", "can't be read as a table: "),
        ("2.png", '"2.png', "can't be read as a table: "),
    ],
)
def test_what_is_wrong_in_it_is_told_with_its_rows(tmp_path, old, new, words):
    said = refusal_of(folder(tmp_path, ROBOFLOW.replace(old, new)))
    assert said.removeprefix("pics/t.csv").lstrip(": ").startswith(words)


def test_a_number_far_below_is_told(tmp_path):
    table = ROBOFLOW + "0.png, 1, 0\n" * 30 + "\n0.png, 3, 0\n"
    assert refusal_of(folder(tmp_path, table)) == (
        "pics/t.csv: 1 of 35 rows have neither 0 nor 1 in the column band: take it out if it is no class (rows 37; "
        "the header is row 1)"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_told_and_no_folder_becomes_a_class(tmp_path, encoding):
    words = refusal_of(folder(tmp_path, ROBOFLOW.replace("band", "évidée").encode(encoding)))
    assert words == "pics/t.csv is not UTF-8 text: save it as CSV UTF-8"


def test_classes_that_are_numbers_are_not_taken_where_a_file_has_their_names(tmp_path):
    path = write_files(folder(tmp_path, ROBOFLOW.replace("band, blast", "0, 1")), {"classes.txt": b"band\nblast"})
    assert "classes.txt seems to have their names" in refusal_of(path)


@pytest.mark.parametrize("table", ["", "filename, band, blast\n", of_columns("file,band", "{0}.png", "{1}")])
def test_a_table_without_columns_of_classes_is_none(tmp_path, table):
    assert refusal_of(folder(tmp_path, table), "one-hot") == (
        "cells holds no table with a column path and, for each class, one of 0 and 1 (.csv, .tsv)"
    )
