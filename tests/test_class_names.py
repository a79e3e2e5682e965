"""Which classes of two datasets are the same cell: by their names, and as a mapping file says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_core.data.class_names import common_classes, match_classes, read_class_map
from bloodcell_core.errors import LabError

OURS = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("neutrophil", "NEUTROPHIL"),
        ("Neutrophils", "NEUTROPHIL"),
        ("NEU", "NEUTROPHIL"),
        ("neutrophil_granulocytes", "NEUTROPHIL"),
        ("lymphocytes ", "LYMPHOCYTE"),
        ("mono", "MONOCYTE"),
        ("EO", "EOSINOPHIL"),
        # none of the run's four, or only perhaps
        ("ig", None),
        ("immature granulocytes", None),
        ("granulocyte", None),
        ("basophil", None),
        ("band", None),
        ("segmented neutrophil", None),
        ("atypical lymphocyte", None),
        ("", None),
        ("neutrophil or monocyte", None),
    ],
)
def test_a_class_is_the_runs_only_where_the_names_say_so(theirs: str, ours: str | None) -> None:
    assert match_classes([theirs], OURS) == {theirs: ours}


def test_aliases_meet_in_either_direction_and_the_exact_name_goes_first() -> None:
    assert match_classes(["Immature Granulocytes", "platelets"], ["ig", "thrombocyte"]) == {
        "Immature Granulocytes": "ig",
        "platelets": "thrombocyte",
    }
    assert match_classes(["NEU", "neu", "Neu"], ["NEU", "neutrophil"]) == {
        "NEU": "NEU",
        "neu": "NEU",
        "Neu": "NEU",
    }
    # two of ours fit: nobody chooses between them
    assert match_classes(["neutrophils"], ["NEU", "neut"]) == {"neutrophils": None}


def test_a_mapping_file_goes_before_the_names_and_says_the_rest() -> None:
    told = {"band": "NEUTROPHIL", "monocyte": ""}
    matched = match_classes(["band", "monocyte", "lymphocyte", "ig"], OURS, told)
    assert matched == {"band": "NEUTROPHIL", "monocyte": None, "lymphocyte": "LYMPHOCYTE", "ig": None}
    with pytest.raises(LabError, match="names 'bands', which that dataset doesn't have: there are band"):
        match_classes(["band"], OURS, {"bands": "NEUTROPHIL"})
    with pytest.raises(LabError, match="names 'neutrophil', which the run doesn't have: there are EOSINOPHIL"):
        match_classes(["band"], OURS, {"band": "neutrophil"})


@given(st.lists(st.text(max_size=20), unique=True), st.lists(st.text(max_size=20), unique=True, min_size=1))
def test_whatever_the_names_each_has_an_answer_and_an_exact_name_is_found(theirs: list[str], ours: list[str]) -> None:
    matched = match_classes(theirs, ours)
    assert list(matched) == theirs
    assert set(matched.values()) <= {*ours, None}
    assert all(matched[name] == name for name in theirs if name in ours)


def test_a_mapping_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "classes.csv"
    file.write_bytes(b"\xef\xbb\xbftheirs,ours,why\nband, NEUTROPHIL,a kind of it\nig,,\n")  # as Excel writes it
    assert read_class_map(file) == {"band": "NEUTROPHIL", "ig": ""}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"their,our\na,b\n", "needs the columns theirs,ours"),
        (b"", "needs the columns"),
        (b"theirs,ours\n", "at least one row"),
        (b"theirs,ours\na,b\na,c\n", "names 'a' twice"),
        (b"theirs,ours\n\xff\xfe,b\n", "isn't text in UTF-8: save it as 'CSV UTF-8'"),
    ],
)
def test_a_mapping_file_that_makes_no_sense_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_bytes(content)
    with pytest.raises(LabError, match=said):
        read_class_map(tmp_path / "classes.csv")
    with pytest.raises(LabError, match="can't be read"):
        read_class_map(tmp_path / "nothing.csv")


def test_a_mapping_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero"), tmp_path):
        with pytest.raises(LabError, match="is no file"):
            read_class_map(path)
    with open(tmp_path / "long.csv", "wb") as file:
        file.truncate(10**12)  # of which nothing lies on the disk
    with pytest.raises(LabError, match="has 1,000,000 MB: at most 1 MB are read"):
        read_class_map(tmp_path / "long.csv")


@pytest.mark.parametrize(
    "text",
    [
        "Theirs;Ours\r\nband;NEUTROPHIL\r\nig;\r\n", "sep=;\r\ntheirs;ours\r\nband;NEUTROPHIL\r\nig;\r\n",
        " theirs , ours \nband,NEUTROPHIL\n,\nig,\n\n",
    ],
    ids=["Excel's in some countries", "Excel's own first line", "blanks and empty rows"],
)  # fmt: skip
def test_a_mapping_file_is_read_as_spreadsheets_write_it(tmp_path, text):
    (tmp_path / "classes.csv").write_text(text, newline="")
    assert read_class_map(tmp_path / "classes.csv") == {"band": "NEUTROPHIL", "ig": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("theirs,ours\nband\n", "1 cell in the line of 'band', and 2 in its first"),
        ("theirs,ours\nband,NEUTROPHIL,x\n", "3 cells in the line of 'band', and 2 in its first"),
        ("theirs,ours,ours\nband,x,y\n", "needs the columns theirs,ours"),
        ('theirs,ours\n"band,NEUTROPHIL\nig,\n', "can't be read"),
    ],
    ids=["no comma", "a comma too many", "a column twice", "a quotation mark that isn't closed"],
)
def test_a_line_of_a_mapping_file_that_says_nothing_leaves_no_class_out(tmp_path, text, words):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(LabError, match=words):
        read_class_map(tmp_path / "classes.csv")


def test_classes_are_the_same_where_their_names_are_of_one_cell():
    each = [["EOSINOPHIL", "NEUTROPHIL"], ["eosinophil", "ig", "platelet"], ["Thrombocytes", "ne"]]
    assert common_classes(each) == [
        {"EOSINOPHIL": "EOSINOPHIL", "NEUTROPHIL": "NEUTROPHIL"},
        {"eosinophil": "EOSINOPHIL", "ig": "ig", "platelet": "platelet"},
        {"Thrombocytes": "platelet", "ne": "NEUTROPHIL"},
    ]
    told = common_classes(each, {"ig": "NEUTROPHIL", "platelet": ""})
    assert told[1] == {"eosinophil": "EOSINOPHIL", "ig": "NEUTROPHIL", "platelet": None}
    assert told[2]["Thrombocytes"] == "Thrombocytes"
    assert common_classes(each[:2], shared=True)[1] == {"eosinophil": "EOSINOPHIL", "ig": None, "platelet": None}
    with pytest.raises(LabError, match="none of the datasets has"):
        common_classes(each, {"blast": "x"})
