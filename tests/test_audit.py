"""The audit: a clean dataset, one in which each kind of finding is planted, and the search for look-alikes."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bloodcell_core.cli import main
from bloodcell_core.data import lookalikes
from bloodcell_core.data.audit import Audit, Finding, audit
from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.data.findings import FINDINGS, SEVERITIES
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.lookalikes import BITS_SET, near_groups
from tests.conftest import encoded, write_class_folder, write_files
from tests.test_facts import smear, with_border

ARCHIVE = os.environ.get("BLOODCELL_ARCHIVE", "")
CLASSES, SPLITS, PHOTOS = ("band", "blast"), ("train", "test"), 20


@dataclass
class Planted:
    """A picture file with its row of the table."""

    data: bytes
    label: str = "band"
    split: str = "train"
    photo: str | None = "its own"


def clean_files() -> dict[str, Planted]:
    """As many photos of each class in each split as are asked for, one picture of each."""
    places = itertools.product(SPLITS, CLASSES, range(PHOTOS))
    return {
        f"{split}-{label}-{number}.png": Planted(encoded(smear(seed)), label, split)
        for seed, (split, label, number) in enumerate(places)
    }


def import_table(folder: Path, files: dict[str, Planted], name: str) -> Dataset:
    rows = [
        (file, planted.label, planted.split, f"photo of {file}" if planted.photo == "its own" else planted.photo)
        for file, planted in files.items()
    ]
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label", "split", "photo"), *rows])
    pictures = {file: planted.data for file, planted in files.items()}
    return import_dataset(write_files(folder, pictures | {"table.csv": text.getvalue().encode()}), name, trace=False)


# What is planted, by the name of the file that shows it


def odd(seed: int, **options: int) -> np.ndarray:
    """A drawn smear that the clean files don't have."""
    return smear(900 + seed, **options)


def recompressed(picture: np.ndarray) -> bytes:
    return encoded(picture, "JPEG", quality=70)


def with_black_disc(picture: np.ndarray) -> np.ndarray:
    """A black spot that doesn't reach the edge."""
    return cv2.circle(picture.copy(), (250, 120), 50, (0, 0, 0), cv2.FILLED)


def planted_files() -> dict[str, Planted]:
    same = [encoded(odd(number)) for number in range(2)]
    return {
        "leak-1.png": Planted(encoded(odd(2)), photo="leaking"),
        "leak-2.png": Planted(encoded(odd(3)), split="test", photo="leaking"),
        "scene-1.png": Planted(encoded(odd(4))),
        "scene-2.png": Planted(encoded(odd(5)), split="test"),
        "near-split-1.png": Planted(encoded(odd(6))),
        "near-split-2.jpg": Planted(recompressed(odd(6)), split="test"),
        "near-label-1.png": Planted(encoded(odd(7))),
        "near-label-2.jpg": Planted(recompressed(odd(7)), "blast"),
        "near-1.png": Planted(encoded(odd(8))),
        "near-2.jpg": Planted(recompressed(odd(8))),
        "same-1.png": Planted(same[0]),
        "same-2.png": Planted(same[0]),
        "same-label-1.png": Planted(same[1]),
        "same-label-2.png": Planted(same[1], "blast"),
        "two-cells-1.png": Planted(encoded(odd(9)), photo="two cells"),
        "two-cells-2.png": Planted(encoded(odd(10)), "blast", photo="two cells"),
        "broken.png": Planted(b"no picture"),
        "stack.tif": Planted(encoded(odd(26), "TIFF", save_all=True, append_images=[Image.fromarray(odd(27))])),
        "unlabelled.png": Planted(encoded(odd(11))),
        "untraced.png": Planted(encoded(odd(12)), photo=None),
        "rare-train.png": Planted(encoded(odd(13)), "rare"),
        "rare-test-1.png": Planted(encoded(odd(14)), "rare", "test"),
        "rare-test-2.png": Planted(encoded(odd(15)), "rare", "test"),
        **{f"untaught-{n}.png": Planted(encoded(odd(30 + n)), "untaught", "test") for n in range(3)},
        "yellow.png": Planted(encoded((odd(16) * np.array((1, 1, 0.9))).astype(np.uint8))),
        "dark.png": Planted(encoded(odd(17) - np.uint8(50))),
        "bright.png": Planted(encoded(odd(18) + np.uint8(23))),
        "spot.png": Planted(encoded(with_black_disc(odd(19)))),
        "blurred.png": Planted(encoded(cv2.GaussianBlur(odd(20), (0, 0), 5))),
        "border.png": Planted(encoded(with_border(odd(21), 0.05))),
        "large.png": Planted(encoded(odd(22, scale=3))),
        "rgba.png": Planted(encoded(Image.fromarray(odd(23)).convert("RGBA"))),
        "empty.png": Planted(encoded(odd(24, nuclei=0))),
        "several.png": Planted(encoded(odd(25, nuclei=2))),
        **{file: Planted(encoded(odd(40 + n))) for n, file in enumerate(sorted(INNER))},
        "band/0001-1000/1.png": Planted(encoded(odd(43))),
    }


GROUPS: dict[str, list[set[str]]] = {
    "photos_in_several_splits": [{"leak-1.png", "leak-2.png"}],
    "scenes_in_several_splits": [{"scene-1.png", "scene-2.png"}],
    "near_in_several_splits": [{"near-split-1.png", "near-split-2.jpg"}],
    "near_of_two_labels": [{"near-label-1.png", "near-label-2.jpg"}],
    "photos_of_two_labels": [{"two-cells-1.png", "two-cells-2.png"}],
    "near": [{f"{name}-1.png", f"{name}-2.jpg"} for name in ("near-split", "near-label", "near")],
    "identical_of_two_labels": [{"same-label-1.png", "same-label-2.png"}],
    "identical": [{f"{name}-1.png", f"{name}-2.png"} for name in ("same", "same-label")],
}
"""Files that are found together."""
INNER = {"set/band/AEC/1.png", "set/band/train/AEO/1.png"}
UNTAUGHT = {f"untaught-{n}.png" for n in range(3)}
SINGLES: dict[str, set[str]] = {
    "unreadable": {"broken.png"},
    "first_of_several": {"stack.tif"},
    "label_missing": {"unlabelled.png"},
    "photo_missing": {"untraced.png"},
    "few_photos": {"rare-test-1.png", "rare-test-2.png", *UNTAUGHT},
    "never_trained_on": UNTAUGHT,
    "imbalanced": {"rare-train.png", "rare-test-1.png", "rare-test-2.png"},
    "stain": {"yellow.png"},
    "dark": {"dark.png"},
    "bright": {"bright.png"},
    "clipped": {"spot.png"},
    "blurred": {"blurred.png"},
    "black_border": {"border.png"},
    "sizes": {"large.png"},
    "modes": {"rgba.png"},
    "no_cell": {"empty.png"},
    "several_cells": {"several.png"},
    "folders_in_classes": INNER,
}


@pytest.fixture(scope="module")
def clean(module_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return import_table(tmp_path_factory.mktemp("clean"), clean_files(), "clean")


@pytest.fixture(scope="module")
def planted(module_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    files = clean_files() | planted_files()
    dataset = import_table(tmp_path_factory.mktemp("planted"), files, "planted")
    images = dataset.images.set_index("file")
    # Tracing finds scenes only among photographs, and a class folder named by a blank is the one way to no label.
    images.loc[["scene-1.png", "scene-2.png"], "scene"] = "one cell"
    images.loc["unlabelled.png", "label"] = " "
    images["copies"] = True  # as if its photos had been found
    images.reset_index().to_parquet(dataset.folder / "images.parquet", index=False)
    return Dataset("planted")


@pytest.fixture(scope="module")
def seen(planted: Dataset) -> Audit:
    return audit(planted)


def found(seen: Audit, name: str) -> Finding:
    (finding,) = [finding for finding in seen.findings if finding.name == name]
    return finding


def files_of(dataset: Dataset, rows: list[int]) -> set[str]:
    return {*dataset.images.file[rows]}


# Findings


def test_in_a_clean_dataset_nothing_is_found(clean):
    assert audit(clean).findings == []


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_planted_is_found_and_nothing_else(planted, seen, name):
    finding = found(seen, name)
    if name in GROUPS:
        assert [files_of(planted, group) for group in finding.groups] == GROUPS[name]
        assert finding.rows == [row for group in finding.groups for row in group]
    else:
        assert files_of(planted, finding.rows) == SINGLES[name]
        assert finding.groups == []
    assert len({*finding.rows}) == len(finding.rows)
    assert (finding.title, finding.severity) == (FINDINGS[name].title.format(unit="photo"), FINDINGS[name].severity)


def test_the_loudest_is_told_first(seen):
    loudness = [SEVERITIES.index(finding.severity) for finding in seen.findings]
    assert loudness == sorted(loudness)
    assert seen.findings[0].name == "photos_in_several_splits"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("photos_in_several_splits", "1 photo in several splits (of their pictures 1 in train, 1 in test)"),
        ("near", "6 pictures in 3 groups look alike"),
        ("unreadable", "1 picture left out as unreadable; the first: not a JPEG"),
        ("first_of_several", "1 picture taken as the first of several in a file: the others were left out;"),
        ("few_photos", "Rare: 2 photos in test, where a figure can't tell 16% from 100%; Untaught: 3 "),
        ("imbalanced", "times as many photos ("),
        (
            "folders_in_classes",
            "2 pictures in folders inside of their class's folder (AEC, AEO), which mean nothing",
        ),
        ("sizes", "more than 2 times larger or smaller than the usual 320×240"),
        ("dark", "1 picture darker than the rest (background 175, the median of all is 225)."),
        ("modes", "1 picture stored as RGBA, the others as RGB"),
    ],
)
def test_the_words_have_the_figures(seen, name, words):
    assert words in found(seen, name).words


def test_a_told_group_may_have_several_labels(tmp_path):
    """It is a slide or a patient, or a field whose cells were marked; a photo that was found is one of a cell."""
    files = {name: planted_files()[name] for name in ("two-cells-1.png", "two-cells-2.png")}
    dataset = import_table(tmp_path / "cells", clean_files() | files, "told")

    def noticed() -> bool:
        return any(finding.name == "photos_of_two_labels" for finding in audit(Dataset("told")).findings)

    assert not noticed()
    images = dataset.images.assign(copies=dataset.images.file.isin(files))
    images.to_parquet(dataset.folder / "images.parquet", index=False)
    assert noticed()


def test_a_dataset_without_photos_says_why(tmp_path):
    dataset = import_dataset(write_class_folder(tmp_path / "cells"), trace=False)
    finding = found(audit(dataset), "photo_missing")
    assert len(finding.rows) == 12
    assert "12 pictures without a source photo (tracing was switched off at import)" in finding.words


def test_a_class_without_a_test_picture_has_no_figure(tmp_path):
    files = {
        f"{n}.png": Planted(encoded(smear(n)), CLASSES[n % 2], "test" if n in (0, 2) else "train") for n in range(6)
    }
    words = found(audit(import_table(tmp_path / "cells", files, "cells")), "few_photos").words
    assert (
        words
        == "Band: 2 groups in test, where a figure can't tell 16% from 100%; Blast: no group in test, and so no figure."
    )


def test_classes_with_as_few_photos_are_told_of_together(tmp_path):
    files = {f"{n}.png": Planted(encoded(smear(n)), f"kind {n % 10}", "test" if n < 10 else "train") for n in range(20)}
    assert found(audit(import_table(tmp_path / "cells", files, "cells")), "few_photos").words == (
        "Kind 0, Kind 1, Kind 2, Kind 3, Kind 4, Kind 5, Kind 6, Kind 7 and 2 more: 1 group each in test, where a "
        "figure can't tell 2% from 100%."
    )


def test_a_class_without_training_pictures_is_told(tmp_path):
    files = clean_files() | {f"{n}.png": Planted(encoded(smear(900 + n)), "blast cell", "test") for n in range(2)}
    finding = found(audit(import_table(tmp_path / "cells", files, "cells")), "never_trained_on")
    assert finding.words == "Blast cell: no picture in train, and so a network can't learn it."
    assert len(finding.rows) == 2


def test_a_dataset_to_evaluate_on_needs_no_training_pictures(tmp_path):
    files = {name: replace(planted, split="test") for name, planted in clean_files().items()}
    found_names = {finding.name for finding in audit(import_table(tmp_path / "cells", files, "cells")).findings}
    assert "never_trained_on" not in found_names


def test_no_picture_is_read(tmp_path):
    dataset = import_dataset(write_class_folder(tmp_path / "cells"))
    before = audit(dataset)
    (dataset.folder / "originals").rename(tmp_path / "elsewhere")
    assert audit(Dataset(dataset.name)) == before


# Facts


def test_the_facts_are_those_of_the_dataset_and_more(planted, seen):
    assert seen.facts.items() >= describe(planted).items()
    assert json.loads(json.dumps(seen.facts)) == seen.facts
    largest = seen.facts["largest_families"]
    assert {family["photo"] for family in largest[:2]} == {"leaking", "two cells"}
    assert {"photo": "leaking", "pictures": 2, "labels": ["band"], "splits": ["test", "train"]} in largest
    assert all(family["pictures"] > 1 for family in largest), "one picture is no family"
    assert seen.facts["modes"]["RGBA"] == seen.facts["sizes"]["960×720"] == seen.facts["missing"]["source_photo"] == 1
    counts = seen.facts["balance"]["by_class"]
    assert counts["rare"] == 3
    assert seen.facts["balance"]["ratio"] == round(max(counts.values()) / 3, 2)


# Look-alikes


def by_brute_force(looks: np.ndarray, distance: int) -> list[list[int]]:
    """Groups by comparing all pairs, joined until nothing changes."""
    bits = np.unpackbits(looks, axis=1).astype(int)
    near = (bits[:, None] != bits[None]).sum(axis=2) <= distance
    group = np.arange(len(looks))
    for _ in looks:
        group = np.array([group[row].min() for row in near])
    return [np.flatnonzero(group == first).tolist() for first in sorted({*group}) if (group == first).sum() > 1]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from([2, 8, 32]),
    st.integers(0, 40),
    st.floats(0, 0.2),
    st.integers(0, 10_000),
)
def test_the_groups_are_those_of_all_pairs(count, length, distance, noise, seed):
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 2, (8, 8 * length))
    bits = few[rng.integers(0, len(few), count)] ^ (rng.random((count, 8 * length)) < noise)
    looks = np.packbits(bits.astype(np.uint8), axis=1)
    assert near_groups(looks, distance) == by_brute_force(looks, distance)


def test_many_of_the_same_look_are_one_group():
    assert near_groups(np.zeros((20_000, 32), np.uint8), 24) == [[*range(20_000)]]


def test_nothing_has_no_look_alikes():
    assert near_groups(np.zeros((0, 32), np.uint8), 24) == []


# The command line


def test_the_command_line_tells_the_loudest_first(planted, module_home, monkeypatch, capsys):
    monkeypatch.setenv("BLOODCELL_HOME", str(module_home))
    assert main(["data", "audit", "planted"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ALARM: The same photo in several splits: 1 photo in several splits")
    assert lines[1:3] == ["  leak-1.png", "  leak-2.png"]
    assert any(line.startswith("  … and ") for line in lines)
    assert any("band 2" in line and "from" in line for line in lines)
    assert "  2 pictures from photo leaking: band in test, train" in lines


def test_the_command_line_prints_one_json_object(planted, seen, module_home, monkeypatch, capsys):
    monkeypatch.setenv("BLOODCELL_HOME", str(module_home))
    assert main(["data", "audit", "planted", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() >= {"name", "pictures", "photos", "classes", "splits", "largest_families", "findings"}
    assert [finding["name"] for finding in told["findings"]] == [finding.name for finding in seen.findings]
    for finding, known in zip(told["findings"], seen.findings, strict=True):
        assert finding.keys() == {"name", "title", "severity", "words", "count", "files"}
        assert finding["count"] == len(known.rows)
        assert finding["files"] == planted.images.file[known.rows].tolist()[:50]


def test_the_command_line_says_so_where_nothing_stands_out(clean, module_home, monkeypatch, capsys):
    monkeypatch.setenv("BLOODCELL_HOME", str(module_home))
    assert main(["data", "audit", "clean"]) == 0
    assert capsys.readouterr().out.startswith("nothing stands out\n")


def test_a_dataset_that_is_not_there_is_named(capsys):
    assert main(["data", "audit", "nothing"]) == 2
    assert "there is no dataset 'nothing'" in capsys.readouterr().err


# The public archive


@pytest.mark.skipif(not ARCHIVE, reason="BLOODCELL_ARCHIVE names no copy of the public archive")
def test_a_part_of_the_archive_shows_its_borders_and_no_other_damage(tmp_path):
    with zipfile.ZipFile(Path(ARCHIVE).expanduser()) as archive:
        files = [name for name in archive.namelist() if "/images/T" in name and "SIMPLE" not in name]
        part = [name for name in files if name.endswith(".jpeg")][::60]
        dataset = import_dataset(
            write_files(tmp_path / "part", {name: archive.read(name) for name in part}), trace=False
        )
    findings = {finding.name: finding for finding in audit(dataset).findings}
    assert len(findings["black_border"].rows) == len(part) > 200
    assert not findings.keys() & {"unreadable", "identical", "near", "sizes", "modes", "clipped", "dark", "bright"}
    assert len(findings["no_cell"].rows if "no_cell" in findings else []) < 0.05 * len(part)


def test_of_pictures_that_are_all_alike_not_each_is_compared_with_each(monkeypatch):
    """Frames of one field or empty tiles: an audit of 20,000 took more memory and time than anybody has."""
    rng = np.random.default_rng(0)
    bits = np.tile(rng.integers(0, 2, 256, np.uint8), (600, 1))
    for row in bits:
        row[rng.choice(256, 8, replace=False)] ^= 1
    compared = []

    class Counted:
        def __getitem__(self, differing: np.ndarray) -> np.ndarray:
            compared.append(len(differing))
            return BITS_SET[differing]

    monkeypatch.setattr(lookalikes, "BITS_SET", Counted())
    assert near_groups(np.packbits(bits, axis=1), 24) == [[*range(600)]]
    assert sum(compared) < 10 * 600
