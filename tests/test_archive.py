"""The public archive itself, if BLOODCELL_ARCHIVE has its path (`.ci/run` sets it where the archive is there)."""

import os
from pathlib import Path

import numpy as np
import pytest

from bloodcell_core.data import importing
from bloodcell_core.data.dataset import Dataset, describe
from bloodcell_core.data.facts import facts_of

ARCHIVE = os.environ.get("BLOODCELL_ARCHIVE", "")

pytestmark = pytest.mark.skipif(not ARCHIVE, reason="BLOODCELL_ARCHIVE names no copy of the public archive")

PICTURES = {
    "train": {"EOSINOPHIL": 2497, "LYMPHOCYTE": 2483, "MONOCYTE": 2478, "NEUTROPHIL": 2499},
    "test": {"EOSINOPHIL": 623, "LYMPHOCYTE": 620, "MONOCYTE": 620, "NEUTROPHIL": 624},
}


@pytest.fixture(scope="module")
def archive(module_home: Path) -> Dataset:
    """The archive, imported once for all tests of this file, which only read it; tracing it would take minutes.

    Every picture is read and decoded. No cell is looked for in it, which is most of the work: test_audit.py does so in
    a sixtieth of the archive, and test_bundled.py in every test picture.
    """
    facts = facts_of("RGB", np.full((240, 320, 3), 200, np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "facts_of", lambda mode, pixels, box: facts)
        return importing.import_dataset(Path(ARCHIVE).expanduser(), "archive", trace=False)


def test_it_is_recognised_with_its_licence(archive):
    told = describe(archive)
    assert told["format"] == "blood-cell-images"
    assert "MIT" in told["licence"]
    assert not told["synthetic"]


def test_it_has_its_pictures_by_split_and_class(archive):
    told = describe(archive)
    assert told["classes"] == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    assert {split: part["by_class"] for split, part in told["splits"].items()} == PICTURES
    assert {split: part["pictures"] for split, part in told["splits"].items()} == {"train": 9957, "test": 2487}
    assert told["split_origin"] == "told by the source"


def test_every_picture_is_readable_and_none_there_twice(archive):
    told = describe(archive)
    assert told["unreadable_files"] == []
    assert told["duplicates"] == 0
    assert len(archive.images) == told["pictures"] == 12_444
    assert {*archive.images.width} == {320}
    assert {*archive.images.height} == {240}


def test_test_simple_and_the_source_photos_are_left_out(archive):
    assert not archive.images.file.str.contains("TEST_SIMPLE|JPEGImages").any()
    assert describe(archive)["ignored_files"] >= 71 + 367


def test_a_file_keeps_its_path_inside_the_archive(archive):
    assert archive.images.file.str.match(r".*images/(TRAIN|TEST)/[A-Z]+/_\d+_\d+\.jpeg$").all()
