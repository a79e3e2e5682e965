"""From a folder or zip to a dataset: what comes in, what is listed as unreadable, and that a failure leaves nothing."""

import errno
import hashlib
import json
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bloodcell_core import disk, workspace
from bloodcell_core.data import dataset, demo, importing, photos, siblings
from bloodcell_core.data.dataset import Dataset, describe, names, readable, remove
from bloodcell_core.data.importing import import_dataset, make_demo
from bloodcell_core.data.parallel import usable_cores
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.sources import FolderSource, ZipSource
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from tests.conftest import class_files, encoded, random_picture, tree, write_class_folder, write_files, write_zip
from tests.test_formats import PCAM_NAME, h5, npz, pcam_files, small_arrays
from tests.test_sources import long_list

COLUMNS = {
    "image_id", "file", "stored", "label", "split", "source_photo", "width", "height", "bytes", "status", "reason",
    "duplicate_of",
}  # fmt: skip


def split_files() -> dict[str, bytes]:
    """train with 6 + 6 pictures, val with 2 + 2, test with 3 + 3, all different."""
    parts = (("train", 6, 0), ("val", 2, 1), ("test", 3, 2))
    return {f"{s}/{file}": data for s, count, seed in parts for file, data in class_files(count, seed=seed).items()}


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file below with its bytes, every folder with None."""
    return {name: path.read_bytes() if (path := folder / name).is_file() else None for name in tree(folder)}


def refusal(*given, **named) -> str:
    with pytest.raises(LabError) as caught:
        import_dataset(*given, **named)
    return str(caught.value)


@pytest.fixture(scope="module")
def demo_dataset(module_home: Path) -> Dataset:
    """12 demo pictures a class; only read."""
    return make_demo("demo", per_class=12, seed=3)


@pytest.fixture
def quick_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise instead of cells, where what is on a demo picture doesn't matter."""

    def draw(per_class: int, seed: int) -> Iterator[demo.DemoPicture]:
        for number in range(per_class * len(demo.DEMO_CLASSES)):
            label = demo.DEMO_CLASSES[number // per_class]
            yield demo.DemoPicture(label, f"photo {number // 2}", random_picture(number, 9, 9))

    monkeypatch.setattr(demo, "draw_pictures", draw)


# End to end


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_source_becomes_a_dataset_with_the_facts_that_describe_tells(tmp_path, kind):
    files = split_files() | {"train/blast/notes.txt": b"words"}
    source = write_zip(tmp_path / "My Cells.zip", files) if kind == "zip" else write_files(tmp_path / "My Cells", files)
    dataset = import_dataset(source)
    told = describe(dataset)
    expected = {
        "name": "my-cells",
        "format": "class-folders",
        "synthetic": False,
        "classes": ["band", "blast"],
        "pictures": 22,
        "photos": None,
        "unreadable": 0,
        "unreadable_files": [],
        "duplicates": 0,
        "ignored_files": 1,
        "split_origin": "told by the source",
        "splits": {
            "train": {"pictures": 12, "photos": None, "by_class": {"band": 6, "blast": 6}, "photos_by_class": None},
            "val": {"pictures": 4, "photos": None, "by_class": {"band": 2, "blast": 2}, "photos_by_class": None},
            "test": {"pictures": 6, "photos": None, "by_class": {"band": 3, "blast": 3}, "photos_by_class": None},
        },
        "photos_in_several_splits": None,
        "licence": "",
        "citation": "",
    }
    assert {key: told[key] for key in expected} == expected
    assert names() == ["my-cells"]
    assert json.loads(json.dumps(told)) == told


def test_a_zip_and_its_unpacked_folder_give_the_same_dataset(tmp_path):
    files = split_files()
    one = import_dataset(write_zip(tmp_path / "cells.zip", files), "one")
    other = import_dataset(write_files(tmp_path / "cells", files), "other")
    assert one.content_hash == other.content_hash
    pd.testing.assert_frame_equal(one.images, other.images)


def test_every_picture_can_be_read_back_as_it_was(tmp_path):
    files = class_files()
    dataset = import_dataset(write_zip(tmp_path / "cells.zip", files))
    assert len(dataset.pictures) == len(files)
    for row, picture in enumerate(dataset.pictures.itertuples()):
        assert (dataset.folder / "originals" / picture.stored).read_bytes() == files[picture.file]
        assert np.array_equal(dataset.read_original(row), decode_rgb(files[picture.file]))


def test_a_row_of_the_table_tells_all_about_its_file(tmp_path):
    upright = random_picture(9, 30, 21)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = class_files() | {"blast/turned.PNG": encoded(np.ascontiguousarray(np.rot90(upright)), exif=turned)}
    dataset = import_dataset(write_files(tmp_path / "cells", files))
    images = dataset.images.set_index("file")
    assert {*dataset.images.columns} >= COLUMNS
    assert [*dataset.images.file] == sorted(files)
    for file, row in images.iterrows():
        assert row.image_id == hashlib.sha256(files[file]).hexdigest()
        assert row.bytes == len(files[file])
        assert row.status == "ok"
        assert row.label == file.split("/")[0]
    assert (images.width["blast/turned.PNG"], images.height["blast/turned.PNG"]) == (30, 21)  # as it is shown
    assert images.stored["blast/turned.PNG"].endswith(".png")
    assert images[["source_photo", "reason", "duplicate_of"]].isna().all(axis=None)


def test_a_file_is_named_by_its_path_inside_the_source(tmp_path):
    files = {f"deep/er/{name}": data for name, data in class_files(2).items()}
    dataset = import_dataset(write_zip(tmp_path / "cells.zip", files))
    assert {*dataset.images.file} == files.keys()


def test_the_table_on_disk_is_the_one_that_is_shown(tmp_path):
    dataset = import_dataset(write_class_folder(tmp_path / "cells"), "cells")
    again = Dataset("cells")
    pd.testing.assert_frame_equal(again.images, dataset.images)
    assert again.facts == dataset.facts
    assert again.facts["schema_version"] == workspace.DATASET_VERSION
    assert again.facts["source"] == str(tmp_path / "cells")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(again.facts["imported"])).days == 0
    assert not again.synthetic
    assert not again.photos_known


def test_labels_are_numbered_by_their_place_in_classes(tmp_path):
    dataset = import_dataset(write_class_folder(tmp_path / "cells"))
    indices = dataset.class_indices()
    assert indices.dtype == np.int64
    assert [dataset.classes[index] for index in indices] == [*dataset.pictures.label]


def test_an_unknown_photo_is_the_picture_itself(tmp_path):
    dataset = import_dataset(write_class_folder(tmp_path / "cells"))
    assert [*dataset.pictures.photo] == [*dataset.pictures.image_id]


def test_the_content_hash_follows_pictures_labels_and_splits_and_nothing_else(tmp_path):
    files = split_files()
    renamed = {f"elsewhere/{name}": data for name, data in files.items()}
    moved = {name.replace("train/blast/0", "train/band/x"): data for name, data in files.items()}
    other_split = {name.replace("train/blast/0", "test/blast/x"): data for name, data in files.items()}
    fewer = {name: data for name, data in files.items() if name != "train/blast/0.png"}
    hashes = [
        import_dataset(write_files(tmp_path / str(number), content), f"set-{number}").content_hash
        for number, content in enumerate((files, renamed, moved, other_split, fewer))
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_boxes_that_a_source_tells_count_and_those_that_were_found_do_not(tmp_path):
    pictures = class_files(3, ("blast", "band"))

    def imported(name, boxes):
        rows = "".join(f"{file},{Path(file).parent}{box}\n" for file, box in zip(pictures, boxes, strict=True))
        folder = write_files(tmp_path / name, pictures | {"cells.csv": f"path,label,x0,y0,x1,y1\n{rows}".encode()})
        return import_dataset(folder, name, trace=False)

    none, some = [",,,,"] * 6, [",1,2,9,10"] + [",,,,"] * 5
    one, other, moved, untold = (
        imported(name, boxes)
        for name, boxes in [("one", some), ("other", some), ("moved", [",2,2,9,10", *none[1:]]), ("untold", none)]
    )
    assert one.content_hash == other.content_hash
    assert len({each.content_hash for each in (one, moved, untold)}) == 3
    # As it always was: runs that were trained on such a dataset find it again where it is imported anew.
    told = ["image_id", "label", "split", "source_photo", "scene"]
    rows = untold.images[told].sort_values("image_id").itertuples(index=False)
    lines = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    assert untold.content_hash == hashlib.sha256(lines.encode()).hexdigest()


def test_test_simple_comes_only_when_asked_for(tmp_path):
    labels = ("EOSINOPHIL", "MONOCYTE")
    files = {
        f"images/{split}/{name}": data
        for seed, split in enumerate(("TRAIN", "TEST", "TEST_SIMPLE"))
        for name, data in class_files(2, labels, seed=seed).items()
    }
    source = write_zip(tmp_path / "archive.zip", files)
    without, with_it = import_dataset(source, "without"), import_dataset(source, "with", with_test_simple=True)
    assert describe(without)["splits"]["test"]["pictures"] == 4
    assert describe(with_it)["splits"]["test"]["pictures"] == 8
    assert describe(without)["format"] == "blood-cell-images"
    assert describe(without)["ignored_files"] == 4
    assert "MIT" in describe(without)["licence"]
    assert "Mooney" in describe(without)["citation"]


def test_a_format_may_be_chosen_and_one_that_finds_nothing_says_so(tmp_path):
    source = write_class_folder(tmp_path / "cells")
    assert import_dataset(source, "cells", format="class-folders").facts["format"] == "class-folders"
    assert "holds no pictures in the layout of Blood Cell Images" in refusal(source, "other", "blood-cell-images")
    assert "no format is called 'dicom'" in refusal(source, "other", "dicom")


# Unreadable pictures

UNREADABLE = {
    "words.png": (b"text that somebody called a picture", "not a JPEG, PNG, TIFF, WEBP or BMP picture"),
    "empty.jpg": (b"", "the file is empty (0 bytes)"),
    "short.jpg": (encoded(random_picture(1, 64, 64), "JPEG")[:900], "damaged or cut short: "),
    "dot.png": (encoded(random_picture(1, 1, 1)), "too small: 1×1 pixels"),
    "gif.png": (encoded(random_picture(1)[:, :, 0], "GIF"), "not a JPEG, PNG, TIFF, WEBP or BMP picture"),
    "nan.tif": (encoded(np.full((9, 9), np.nan, np.float32), "TIFF"), "holds values that are not numbers"),
}
READABLE = {
    "rgba.png": encoded(np.dstack([random_picture(2), random_picture(3)[:, :, 0]])),
    "grey.png": encoded(random_picture(4)[:, :, 0]),
    "cmyk.jpg": encoded(Image.fromarray(random_picture(5)).convert("CMYK"), "JPEG"),
    "deep.tif": encoded(random_picture(6)[:, :, 0].astype(np.uint16) * 16, "TIFF"),
    "deep.png": cv2.imencode(".png", random_picture(6).astype(np.uint16) * 16)[1].tobytes(),
}


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_unreadable_pictures_are_listed_with_their_reason_and_left_out(tmp_path, kind):
    odd = {f"blast/{name}": data for name, (data, _) in UNREADABLE.items()}
    odd |= {f"blast/{name}": data for name, data in READABLE.items()}
    files = {f"train/{name}": data for name, data in (class_files() | odd).items()}
    source = write_zip(tmp_path / "cells.zip", files) if kind == "zip" else write_files(tmp_path / "cells", files)
    dataset = import_dataset(source)
    told = describe(dataset)
    assert told["pictures"] == 12 + len(READABLE)
    assert told["unreadable"] == len(UNREADABLE)
    reasons = {row["file"]: row["reason"] for row in told["unreadable_files"]}
    assert reasons.keys() == {f"train/blast/{name}" for name in UNREADABLE}
    for name, (_, reason) in UNREADABLE.items():
        assert reasons[f"train/blast/{name}"].startswith(reason)
    left_out = dataset.images[dataset.images.status == "unreadable"]
    assert left_out[["split", "stored"]].isna().all(axis=None)
    assert len([*(dataset.folder / "originals").rglob("*.*")]) == 12 + len(READABLE)


def test_a_member_that_can_not_be_unpacked_is_listed(tmp_path):
    path = write_zip(tmp_path / "cells.zip", class_files(), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"band/0.png") + 60] ^= 0xFF
    path.write_bytes(data)
    told = describe(import_dataset(path))
    assert told["unreadable_files"] == [
        {"file": "band/0.png", "reason": "damaged inside the zip: Bad CRC-32 for file 'band/0.png'"}
    ]
    assert told["pictures"] == 11


def test_a_file_that_went_away_meanwhile_is_listed(tmp_path, monkeypatch):
    folder = write_class_folder(tmp_path / "cells")
    listed = FolderSource.__init__

    def list_and_lose_one(source: FolderSource, path: Path) -> None:
        listed(source, path)
        (folder / "band" / "0.png").unlink()

    monkeypatch.setattr(FolderSource, "__init__", list_and_lose_one)
    told = describe(import_dataset(folder))
    assert told["unreadable_files"] == [{"file": "band/0.png", "reason": "can't be read: No such file or directory"}]
    assert told["pictures"] == 11


def test_a_file_name_that_is_no_utf8_is_no_hindrance(tmp_path):
    folder = write_class_folder(tmp_path / "cells")
    data = encoded(random_picture(77))
    with open(os.fsencode(folder) + b"/band/caf\xe9.png", "wb") as file:
        file.write(data)
    dataset = import_dataset(folder)
    row = dataset.images[dataset.images.image_id == hashlib.sha256(data).hexdigest()].iloc[0]
    assert row.file == "band/caf\\udce9.png"
    assert np.array_equal(dataset.read_original(row.name), random_picture(77))


def test_two_readable_classes_are_needed_and_the_reasons_are_told(tmp_path):
    files = {"blast/1.png": encoded(random_picture(0)), "band/1.png": b"words"}
    words = refusal(write_files(tmp_path / "cells", files))
    assert words.startswith("readable pictures of at least two classes are needed, found 1 (band/1.png: not a JPEG")
    write_files(tmp_path / "cells", {"table.csv": b"path,label\nblast/1.png,blast\n"})
    assert refusal(tmp_path / "cells") == "readable pictures of at least two classes are needed, found 1"


def test_classes_that_differ_in_capitals_alone_are_refused(tmp_path):
    """TRAIN/BLAST and TEST/blast would be two classes: one that is never tested, and one that is never trained on."""
    files = {file.upper() if file.startswith("train") else file: data for file, data in split_files().items()}
    words = refusal(write_files(tmp_path / "cells", files))
    assert words == "the classes 'BAND' and 'band' look alike: give them one name, or distinct ones"
    assert names() == []


@pytest.mark.parametrize(
    "other",
    ["m\u00e9ta band ", "m\u00e9ta  band", "m\u00e9ta\u00a0band", "m\u00e9ta ba\u200bnd", "me\u0301ta band"],
    ids=["a blank behind it", "two blanks", "another blank", "an unseen character", "letters stored otherwise"],
)
def test_classes_that_look_alike_are_refused(tmp_path, other):
    spelt = {"train": "m\u00e9ta band", "test": other}
    files = {f"{split}/{name}/0.png": encoded(random_picture(n)) for n, (split, name) in enumerate(spelt.items())}
    words = refusal(write_files(tmp_path / "cells", files | {"train/blast/0.png": encoded(random_picture(9))}))
    assert "look alike: give them one name" in words
    assert names() == []


def test_a_class_whose_name_is_a_text_is_refused(tmp_path):
    pictures = class_files(2, ("blast", "band"))

    def imported(name, letters):
        rows = "".join(f"{file},{str(Path(file).parent).ljust(letters, 'x')}\n" for file in pictures)
        return write_files(tmp_path / name, pictures | {"cells.csv": f"path,label\n{rows}".encode()})

    words = refusal(imported("long", 201))
    assert words == f"a class's name may have 200 characters, not 201 as {'band'.ljust(40, 'x')!r}…: shorten it"
    assert len(import_dataset(imported("fits", 200)).classes) == 2


def test_a_table_whose_labels_are_names_of_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "MOST_CLASSES", 5)
    files = {f"class-{n}/{n}.png": encoded(random_picture(n)) for n in range(6)}
    assert refusal(write_files(tmp_path / "cells", files)) == (
        "6 classes are more than the 5 that are allowed: are these classes, and not files or patients?"
    )
    assert names() == []


# Duplicates


def test_of_identical_files_one_is_kept_and_the_others_name_it(tmp_path):
    files = class_files()
    files |= {"blast/copy.png": files["blast/0.png"], "blast/copy 2.jpeg": files["blast/0.png"]}
    dataset = import_dataset(write_files(tmp_path / "cells", files))
    copies = dataset.images[dataset.images.status == "duplicate"].set_index("file")
    assert copies.duplicate_of.to_dict() == {"blast/copy 2.jpeg": "blast/0.png", "blast/copy.png": "blast/0.png"}
    assert copies.split.isna().all()
    assert describe(dataset)["duplicates"] == 2
    assert len(dataset.pictures) == 12
    assert dataset.pictures.image_id.is_unique


@pytest.mark.parametrize("other", ["train", "val"])
def test_of_a_picture_in_test_and_elsewhere_the_test_one_is_kept(tmp_path, other):
    files = split_files()
    copies = [f"{folder}/{name}" for folder in (other, other.upper()) for name in ("blast/copy.png", "band/copy.jpg")]
    files |= dict.fromkeys(copies, files["test/blast/0.png"])  # in capitals it is read before "test", else after it
    images = import_dataset(write_files(tmp_path / "cells", files)).images.set_index("file")
    assert images.status["test/blast/0.png"] == "ok"
    assert images.split["test/blast/0.png"] == "test"
    for copy in copies:
        assert images.status[copy] == "duplicate"
        assert images.duplicate_of[copy] == "test/blast/0.png"
        assert pd.isna(images.split[copy])


def test_a_file_that_a_table_names_twice_is_kept_once(tmp_path):
    folder = write_files(tmp_path / "cells", class_files(2, ("blast", "band")))
    rows = [f"{label}/{number}.png,{label},train" for label in ("blast", "band") for number in range(2)]
    rows += ["blast/0.png,blast,test", "./band/1.png,band,train"]
    (folder / "table.csv").write_text("path,label,split\n" + "\n".join(rows))
    dataset = import_dataset(folder / "table.csv", trace=False)
    assert dataset.pictures.image_id.is_unique
    assert dataset.pictures.set_index("file").split["blast/0.png"] == "test"
    copies = dataset.images[dataset.images.status == "duplicate"]
    assert sorted(zip(copies.file, copies.duplicate_of, strict=True)) == [
        ("band/1.png", "band/1.png"), ("blast/0.png", "blast/0.png")
    ]  # fmt: skip


def test_a_picture_twice_in_test_and_once_in_train_is_kept_once(tmp_path):
    files = split_files()
    files |= {"train/blast/copy.png": files["test/blast/0.png"], "test/blast/copy.png": files["test/blast/0.png"]}
    images = import_dataset(write_files(tmp_path / "cells", files)).images
    same = images[images.image_id == hashlib.sha256(files["test/blast/0.png"]).hexdigest()].set_index("file")
    assert same.status.to_dict() == {
        "test/blast/0.png": "ok",
        "test/blast/copy.png": "duplicate",
        "train/blast/copy.png": "duplicate",
    }


def test_a_picture_under_two_labels_is_kept_under_one(tmp_path):
    files = class_files()
    files |= {"blast/copy.png": files["band/0.png"]}
    dataset = import_dataset(write_files(tmp_path / "cells", files))
    images = dataset.images.set_index("file")
    assert images.duplicate_of["blast/copy.png"] == "band/0.png"
    assert images.label["blast/copy.png"] == "blast"  # the row still tells what the source said
    assert Counter(dataset.pictures.label) == {"band": 6, "blast": 6}


def test_an_unreadable_file_is_no_duplicate_of_another(tmp_path):
    files = class_files() | {"band/x.png": b"words", "blast/x.png": b"words"}
    told = describe(import_dataset(write_files(tmp_path / "cells", files)))
    assert (told["unreadable"], told["duplicates"]) == (2, 0)


# Splits


def test_where_no_test_split_is_told_a_fifth_of_each_class_is_cut_off(tmp_path):
    files = class_files(20, ("a", "b")) | class_files(10, ("c",), seed=5)
    dataset = import_dataset(write_files(tmp_path / "cells", files))
    told = describe(dataset)
    assert told["splits"]["test"]["by_class"] == {"a": 4, "b": 4, "c": 2}
    assert told["splits"]["train"]["by_class"] == {"a": 16, "b": 16, "c": 8}
    assert told["split_origin"] == "20% of each class's pictures cut off as test at import, seed 0"


def test_what_a_test_split_was_cut_off_from_is_called_what_it_is(tmp_path, demo_dataset):
    """Drawn pictures are copies of photographs; what a table tells are groups, such as patients or slides."""
    patients = {f"{label}{number}": f"{label}{number // 2}" for label in "ab" for number in range(6)}
    told = import_dataset(write_table(tmp_path / "cells", patients), trace=False)
    words = "20% of each class's {} cut off as test at import, seed 0"
    assert demo_dataset.facts["split_origin"] == words.format("photos")
    assert told.facts["split_origin"] == words.format("groups")


def test_where_no_photo_can_be_spared_it_is_told_that_there_is_no_test_split(tmp_path):
    dataset = import_dataset(write_files(tmp_path / "cells", class_files(1, ("a", "b"))))
    assert set(dataset.pictures.split) == {"train"}
    assert dataset.facts["split_origin"] == "no test split: none could be cut off, as no class has two pictures"


def test_the_cut_is_the_same_at_every_import(tmp_path):
    files = class_files(10)
    one = import_dataset(write_files(tmp_path / "one", files), "one").images.set_index("image_id")
    moved = {f"far/{name}": data for name, data in files.items()}
    other = import_dataset(write_zip(tmp_path / "other.zip", moved), "other").images.set_index("image_id")
    assert one.split.to_dict() == other.split.to_dict()


def test_a_cut_takes_whole_source_photos(demo_dataset):
    told = describe(demo_dataset)
    assert told["photos_in_several_splits"] == 0
    assert told["splits"]["test"]["photos"] + told["splits"]["train"]["photos"] == told["photos"] < told["pictures"]
    for label in demo.DEMO_CLASSES:
        photos = [told["splits"][split]["photos_by_class"][label] for split in ("train", "test")]
        assert abs(photos[1] - 0.2 * sum(photos)) <= 0.5


def test_a_validation_split_of_the_source_is_left_alone_by_the_cut(tmp_path):
    files = {f"val/{name}": data for name, data in class_files(10, seed=1).items()}
    files |= {f"train/{name}": data for name, data in class_files(10).items()}
    told = describe(import_dataset(write_files(tmp_path / "cells", files)))
    assert {split: part["pictures"] for split, part in told["splits"].items()} == {"train": 16, "val": 20, "test": 4}


def test_the_test_split_that_is_cut_off_shares_no_photo_with_a_told_validation_split(tmp_path):
    """Of each class two of ten photos have no picture in val, and one of these is cut off."""
    groups, splits = {}, []
    for label in ("a", "b"):
        for photo in range(10):
            for copy in range(2):
                groups[f"{label}{photo}-{copy}"] = f"{label}{photo}"
                splits.append("val" if photo >= 2 and copy else "")
    pictures = import_dataset(write_table(tmp_path, groups, split=splits)).pictures
    by_split = {split: set(part.photo) for split, part in pictures.groupby("split")}
    assert len(by_split["test"]) == 2
    assert not by_split["test"] & (by_split["val"] | by_split["train"])


def test_pictures_of_no_told_split_are_trained_on_where_others_are_told(tmp_path):
    files = class_files(5) | {f"test/{name}": data for name, data in class_files(2, seed=1).items()}
    told = describe(import_dataset(write_files(tmp_path / "cells", files)))
    assert {split: part["pictures"] for split, part in told["splits"].items()} == {"train": 10, "test": 4}


def test_a_duplicate_does_not_count_in_the_cut(tmp_path):
    files = class_files(5)
    files |= {f"blast/copy {number}.png": files["blast/0.png"] for number in range(20)}
    assert describe(import_dataset(write_files(tmp_path / "cells", files)))["splits"]["test"]["by_class"] == {
        "band": 1,
        "blast": 1,
    }


@pytest.mark.parametrize("told", ["test", "val"])
def test_a_picture_of_no_told_split_goes_where_the_others_of_its_group_are(tmp_path, told):
    """Were it trained on, the import itself would put one photo on both sides."""
    groups = {"a1": "p", "a2": "p", "a3": "q", "a4": "q", "b1": "r", "b2": "r", "b3": "s", "b4": "t", "b5": "t"}
    splits = [told, "", "train", "", told, "", "", "train", told]
    pictures = import_dataset(write_table(tmp_path / "cells", groups, split=splits), trace=False).pictures
    split = {file.removesuffix(".png"): split for file, split in zip(pictures.file, pictures.split, strict=True)}
    assert [split[name] for name in ("a1", "a2", "b1", "b2")] == [told] * 4
    if told == "test":
        assert [split[name] for name in ("a3", "a4", "b3", "b4", "b5")] == ["train"] * 4 + ["test"]


@pytest.mark.parametrize("split", ["test", "Testing"])
def test_a_source_that_has_a_test_split_alone_is_said_to_be_for_evaluation(tmp_path, split):
    told = describe(
        import_dataset(write_files(tmp_path / "cells", {f"{split}/{n}": d for n, d in class_files().items()}))
    )
    assert told["split_origin"] == "told by the source, which has no train split: fit to evaluate on, not to train on"
    assert {split: part["pictures"] for split, part in told["splits"].items()} == {"test": 12}


def test_a_source_that_has_a_validation_split_alone_is_refused(tmp_path, lab_home):
    files = {f"val/{name}": data for name, data in class_files().items()} | {"train/band/x.png": b"words"}
    words = refusal(write_files(tmp_path / "cells", files))
    assert words == "all pictures are in the split val: call it train, or test to evaluate on it"
    assert tree(lab_home) == {"datasets"}


# The photograph that each picture comes from


def write_table(folder: Path, groups: dict[str, str | None], **columns: list[str]) -> Path:
    """A folder of pictures and a table of them that tells the group of each; its first letter is its label."""
    files = {f"{name}.png": encoded(random_picture(number)) for number, name in enumerate(groups)}
    frame = pd.DataFrame(
        {"path": [*files], "label": [name[0] for name in groups], "group": [*groups.values()]} | columns
    )
    write_files(folder, files)
    frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What the search for siblings, which is tested by itself, shall find; a second entry must not be needed."""
    found: list[list[int]] = []

    def find_families(read: object, count: int, progress: object) -> list[int]:
        pixels = [read(number) for number in range(count)]
        assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in pixels)
        progress(count, count)
        return found.pop()

    monkeypatch.setattr(siblings, "SMALLEST_SIDE", 20)
    monkeypatch.setattr(siblings, "find_families", find_families)
    return found


def photos_of(dataset: Dataset, column: str = "source_photo") -> dict[str, str | None]:
    told = dataset.images[dataset.images.status == "ok"].set_index("file")[column]
    return {file.removesuffix(".png"): photo for file, photo in told.items()}


def scenes_of(dataset: Dataset) -> dict[str, str | None]:
    return photos_of(dataset, "scene")


def origin_of(dataset: Dataset) -> tuple[str | None, str | None]:
    return dataset.facts["photos_origin"], dataset.facts["photos_unknown_because"]


def test_where_no_photograph_is_told_siblings_are_looked_for(tmp_path, families):
    families.append([0, 1, 0, 2, 2, 1])
    seen = []
    dataset = import_dataset(write_class_folder(tmp_path / "cells", 3), trace_progress=lambda *told: seen.append(told))
    assert [*photos_of(dataset).values()] == [f"family-0000{family}" for family in (0, 1, 0, 2, 2, 1)]
    assert scenes_of(dataset) == photos_of(dataset)
    assert origin_of(dataset) == ("siblings found among the pictures", None)
    assert seen == [(6, 6)]
    assert describe(dataset)["photos"] == 3
    assert describe(dataset)["photos_in_several_splits"] == 0  # the test split is cut by family


def test_a_duplicate_or_unreadable_picture_has_no_part_in_the_search(tmp_path, families):
    files = class_files(2, ("a", "b"))
    files |= {"a/copy.png": files["b/0.png"], "a/bad.png": b"words"}
    families.append([0, 1, 1, 0])
    images = import_dataset(write_files(tmp_path / "cells", files)).images.set_index("file")
    assert images.source_photo[images.status != "ok"].isna().all()
    assert images.source_photo[images.status == "ok"].tolist() == [f"family-0000{n}" for n in (0, 1, 1, 0)]


def test_a_told_group_always_wins(tmp_path, families):
    table = write_table(tmp_path / "cells", {"a1": "p", "a2": "p", "b1": "q", "b2": "q"})
    dataset = import_dataset(table)
    assert photos_of(dataset) == scenes_of(dataset) == {"a1": "p", "a2": "p", "b1": "q", "b2": "q"}
    assert origin_of(dataset) == ("told by the source", None)


def test_a_picture_of_no_told_group_gets_that_of_its_one_told_sibling(tmp_path, families):
    groups = {"a1": "p", "a2": None, "a3": "p", "b1": "q", "b2": None, "b3": "r", "b4": None, "b5": None}
    families.append([0, 0, 1, 2, 2, 2, 3, 3])
    dataset = import_dataset(write_table(tmp_path / "cells", groups))
    assert photos_of(dataset) == groups | {"a2": "p", "b2": "family-00002", "b4": "family-00003", "b5": "family-00003"}
    assert origin_of(dataset) == ("siblings found among the pictures", None)


def test_siblings_are_one_scene_whatever_groups_are_told_of_them(tmp_path, families):
    """Else a copy of a picture could be tested on that is trained on under another group's name."""
    groups = {"a1": "p", "a2": "p", "a3": None, "b1": "q", "b2": None, "b3": "r", "b4": "q"}
    families.append([0, 1, 1, 2, 2, 2, 0])
    scenes = scenes_of(import_dataset(write_table(tmp_path / "cells", groups)))
    assert len(set(scenes.values())) == 1, "a1 and b4 are siblings, so are b1, b2 and b3; b4 is of b1's group"
    families.append([0, 1, 1, 2, 2, 2, 3])
    apart = scenes_of(import_dataset(tmp_path / "cells" / "table.csv", "apart"))
    assert [name for name, scene in apart.items() if scene == apart["a1"]] == ["a1", "a2", "a3"]
    assert [name for name, scene in apart.items() if scene == apart["b1"]] == ["b1", "b2", "b3", "b4"]


@pytest.mark.parametrize("told", [None, "p"])
def test_where_siblings_can_not_be_looked_for_it_is_said_why(tmp_path, told):
    dataset = import_dataset(write_table(tmp_path / "cells", {"a1": told, "a2": None, "b1": None}))
    why = siblings.off_because(0)
    assert why
    assert origin_of(dataset) == ("told by the source" if told else None, why)
    assert {photo for photo in photos_of(dataset).values() if isinstance(photo, str)} == {told} - {None}


def test_one_small_picture_hinders_no_search_among_the_others(tmp_path, families):
    """It has no photo then, unless one is told of it, and who has it in a group is of one scene with all of that."""
    small = {f"a/{name}.png": encoded(random_picture(seed, 19, 40)) for seed, name in enumerate("st")}
    write_files(tmp_path / "cells", class_files(2, ("a", "b")) | small)
    groups = {"a/0": None, "a/1": "q", "b/0": None, "b/1": "p", "a/s": None, "a/t": "p"}
    rows = "".join(f"{name}.png,{name[0]},{group or ''}\n" for name, group in groups.items())
    table = tmp_path / "cells" / "table.csv"
    table.write_text("path,label,group\n" + rows)
    families.append([0, 1, 0, 1])
    dataset = import_dataset(table)
    photos = {name: None if pd.isna(photo) else photo for name, photo in photos_of(dataset).items()}
    assert photos == groups | {"a/0": "family-00000", "b/0": "family-00000"}
    scenes = scenes_of(dataset)
    assert scenes["a/1"] == scenes["b/1"] == scenes["a/t"] == "p"
    assert pd.isna(scenes["a/s"])
    assert origin_of(dataset) == (
        "siblings found among the pictures",
        "siblings are looked for in pictures of 20 pixels a side or more",
    )


@pytest.mark.parametrize("told", [None, "p"])
def test_tracing_switched_off_is_said(tmp_path, families, told):
    dataset = import_dataset(write_table(tmp_path / "cells", {"a1": told, "a2": None, "b1": None}), trace=False)
    assert origin_of(dataset) == ("told by the source" if told else None, "tracing was switched off at import")


def archive_with(photographs: dict[str, bytes]) -> dict[str, bytes]:
    files = {
        f"images/{split}/{name}": data
        for seed, split in enumerate(("TRAIN", "TEST"))
        for name, data in class_files(2, ("EOSINOPHIL", "MONOCYTE"), seed=seed).items()
    }
    return files | {f"dataset/JPEGImages/{name}": data for name, data in photographs.items()}


def test_where_the_source_holds_photographs_pictures_are_traced_to_them(tmp_path, monkeypatch, families):
    pictures = {name: encoded(random_picture(50 + number, 48, 40)) for number, name in enumerate(("x.jpg", "y.jpg"))}

    class Index:
        scenes = (0, 0)

        def __init__(self, read, count, width):
            assert (count, width) == (2, 24)
            assert np.array_equal(read(1), decode_rgb(pictures["y.jpg"]))

    def trace_all(index, count, read, progress):
        progress(count, count)
        return [photos.Trace(row % 3 if row % 3 < 2 else None, None, 0) for row in range(count)]

    monkeypatch.setattr(photos, "PhotoIndex", Index)
    monkeypatch.setattr(photos, "trace_all", trace_all)
    dataset = import_dataset(write_zip(tmp_path / "a.zip", archive_with(pictures | {"bad.jpg": b"words"})), trace=True)
    assert [None if pd.isna(photo) else photo for photo in dataset.pictures.source_photo] == ["x", "y", None] * 2 + [
        "x",
        "y",
    ]
    assert {*dataset.images.scene.dropna()} == {"x"}
    assert origin_of(dataset) == ("traced to its photographs", None)


def test_a_photograph_s_name_that_is_no_utf8_is_no_hindrance(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "cells", archive_with({}))
    (folder / "dataset" / "JPEGImages").mkdir(parents=True)
    with open(os.fsencode(folder) + b"/dataset/JPEGImages/caf\xe9.png", "wb") as file:
        file.write(encoded(random_picture(9, 48, 40)))
    monkeypatch.setattr(photos, "trace_all", lambda index, count, *_: [photos.Trace(0, 0, 20)] * count)
    assert set(photos_of(import_dataset(folder)).values()) == {"caf\\udce9"}


def test_where_no_photograph_of_the_source_can_be_read_siblings_are_looked_for(tmp_path, families):
    families.append([0] * 8)
    dataset = import_dataset(write_zip(tmp_path / "a.zip", archive_with({"bad.jpg": b"words"})))
    assert origin_of(dataset) == ("siblings found among the pictures", None)


def test_a_demo_s_photographs_are_told(demo_dataset):
    assert origin_of(demo_dataset) == ("told by the source", None)


# Other formats, from the file to the dataset


def test_a_table_s_boxes_groups_and_splits_reach_the_dataset(tmp_path):
    table = write_table(
        tmp_path / "cells",
        {"a1": "p", "a2": "q", "b1": "p"},
        split=["train", "test", ""],
        box=["1 2 9 8", "", "0,0,5,5"],
    )
    images = import_dataset(table, "told").images.set_index("file")
    assert images.split.to_dict() == {"a1.png": "train", "a2.png": "test", "b1.png": "train"}
    assert images.source_photo.to_dict() == {"a1.png": "p", "a2.png": "q", "b1.png": "p"}
    assert images.box_told.to_dict() == {"a1.png": True, "a2.png": False, "b1.png": True}
    assert images.loc["a1.png", ["box_x0", "box_y0", "box_x1", "box_y1"]].tolist() == [1, 2, 9, 8]
    assert Dataset("told").facts["format"] == "table"


BOXED = "path,label,split,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("500,500,510,510", "its box 500 500 510 510 lies outside of the picture's 24×20 pixels"),
        ("-9,2,0,8", "its box -9 2 0 8 lies outside of"),
        ("-100000,-100000,100000,100000", "larger than the picture's 24×20 pixels"),
    ],
)
def test_a_box_that_can_not_be_in_its_picture_leaves_it_out(tmp_path, box, words):
    """A square around it would show nothing, or fill the memory."""
    folder = write_files(tmp_path / "cells", class_files(3, ("blast", "band")))
    good = [f"{label}/{number}.png,{label},train,-2,3,12,21" for label in ("blast", "band") for number in range(2)]
    (folder / "table.csv").write_text(BOXED + "\n".join([*good, f"blast/2.jpg,blast,train,{box}"]))
    dataset = import_dataset(folder / "table.csv", trace=False)
    assert len(dataset.pictures) == 4, "one that reaches over the border is where a cell may be"
    (left_out,) = describe(dataset)["unreadable_files"]
    assert left_out["file"] == "blast/2.jpg"
    assert words in left_out["reason"]


def test_a_picture_may_be_called_anything_at_any_length(tmp_path):
    files = {f"{name}.{'x' * 240}{number}": data
             for number, (name, data) in enumerate(zip("abcd", class_files(2, ("a", "b")).values(), strict=True))}
    rows = [f"{file},{'blast' if place % 2 else 'band'}" for place, file in enumerate(files)]
    folder = write_files(tmp_path / "cells", files | {"table.csv": ("path,label\n" + "\n".join(rows)).encode()})
    dataset = import_dataset(folder, trace=False)
    assert dataset.pictures.file.tolist() == list(files)
    assert [dataset.read_original(row).shape for row in range(4)] == [(20, 24, 3)] * 4


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pictures_of_arrays_are_kept_as_png(tmp_path, save):
    arrays = small_arrays(counts=(6, 2, 4))
    file = write_files(tmp_path, {"cells.npz": npz(arrays, save)}) / "cells.npz"
    dataset = import_dataset(file)
    assert dataset.name == "cells"
    assert describe(dataset)["splits"]["val"]["by_class"] == {"class-0": 1, "class-1": 1, "class-2": 0}
    for row, picture in enumerate(dataset.pictures.itertuples()):
        split, number = picture.file.removesuffix(".png").split("/")
        assert np.array_equal(dataset.read_original(row), arrays[f"{split}_images"][int(number)])
        stored = dataset.folder / "originals" / picture.stored
        assert stored.suffix == ".png"
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == picture.image_id
    other = import_dataset(file, "again")
    assert other.content_hash == dataset.content_hash


def test_pcam_becomes_a_dataset_whose_photographs_are_its_slides(tmp_path):
    dataset = import_dataset(write_files(tmp_path / "pcam", pcam_files()))
    told = describe(dataset)
    assert {split: (part["pictures"], part["photos"]) for split, part in told["splits"].items()} == {
        "train": (6, 3), "val": (2, 1), "test": (4, 2),
    }  # fmt: skip
    assert dataset.classes == ["normal", "tumour"]
    assert (told["licence"], told["citation"][:14]) == ("CC0", "B. S. Veeling ")


# Names


@pytest.mark.parametrize(
    "name", ["../x", "x" * 300, "Upper", "a b", "é", ".hidden", "-x", "a/b", "a\\b", "x\n", "nul\0"]
)
def test_a_name_that_can_not_be_a_folder_s_is_refused_before_anything_is_read(tmp_path, lab_home, monkeypatch, name):
    monkeypatch.setattr(FolderSource, "read", lambda source, file: pytest.fail(f"read {file}"))
    source = write_class_folder(tmp_path / "cells")
    before = tree(tmp_path)
    assert "can't name a dataset: use up to 64 lower-case letters" in refusal(source, name)
    with pytest.raises(LabError, match="can't name a dataset"):
        make_demo(name, per_class=10)
    assert tree(tmp_path) == before
    assert not lab_home.exists()


def test_an_empty_name_is_made_from_the_source(tmp_path):
    source = write_class_folder(tmp_path / "My Cells (1)")
    assert import_dataset(source, "").name == "my-cells-1"
    with pytest.raises(LabError, match="can't name a dataset"):
        make_demo("", per_class=10)


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(tmp_path, lab_home):
    source = write_class_folder(tmp_path / "cells")
    import_dataset(source, "cells")
    before = everything_in(lab_home)
    words = "a dataset 'cells' exists already: choose another name, or remove it with `data remove cells`"
    assert refusal(write_class_folder(tmp_path / "other", 3), "cells") == words
    assert refusal(source) == words  # the name made from the source
    with pytest.raises(LabError) as caught:
        make_demo("cells", per_class=10)
    assert str(caught.value) == words
    assert everything_in(lab_home) == before


def test_of_two_imports_of_one_name_at_once_the_first_stays_whole(tmp_path, lab_home):
    first, second = write_class_folder(tmp_path / "one", 7), write_class_folder(tmp_path / "two", 3)
    made = []

    def overtaken(done: int, total: int) -> None:
        made.append(import_dataset(first, "cells"))

    assert refusal(second, "cells", progress=overtaken).startswith("cells exists already")
    assert len(Dataset("cells").pictures) == 14
    assert sorted(path.name for path in (lab_home / "datasets").iterdir()) == ["cells"]


def test_datasets_are_listed_by_name_and_removed_one_by_one(tmp_path, lab_home):
    source = write_class_folder(tmp_path / "cells")
    for name in ("b", "a", "c"):
        import_dataset(source, name)
    assert names() == ["a", "b", "c"]
    remove("b")
    assert names() == ["a", "c"]
    assert not (lab_home / "datasets" / "b").exists()
    with pytest.raises(LabError, match=r"there is no dataset 'b' \(there are: a, c\)"):
        remove("b")


def test_a_name_is_free_again_whoever_still_looked_at_what_was_deleted(tmp_path, lab_home):
    source = write_class_folder(tmp_path / "cells")
    dataset = import_dataset(source, "cells")
    assert len(dataset.pictures) == 12
    remove("cells")
    with pytest.raises(LabError, match="there is no dataset 'cells'"):
        build_view(dataset, "frame", 32)  # by a page that was open meanwhile
    assert len(import_dataset(source, "cells").pictures) == 12
    (lab_home / "datasets" / "mine" / "notes").mkdir(parents=True)  # what else a folder holds isn't ours to delete
    assert refusal(source, "mine").startswith("mine exists already")
    assert (lab_home / "datasets" / "mine" / "notes").is_dir()


@pytest.mark.parametrize("file", ["dataset.json", "images.parquet"])
def test_a_dataset_that_cannot_be_read_can_be_removed_and_imported_again(tmp_path, lab_home, file):
    source = write_class_folder(tmp_path / "cells")
    for name in ("whole", "cells"):
        import_dataset(source, name)
    (lab_home / "datasets" / "cells" / file).write_bytes(b"")
    good, damaged = readable()
    assert [dataset.name for dataset in good] == ["whole"]
    assert len(damaged) == 1
    assert "cells" in damaged[0]
    with pytest.raises(LabError, match=r"exists already: .*remove it with `data remove cells`"):
        import_dataset(source, "cells")
    remove("cells")
    assert names() == ["whole"]
    assert len(import_dataset(source, "cells").pictures) == 12


def test_where_there_is_none_the_way_to_one_is_told():
    assert names() == []
    with pytest.raises(LabError, match=r"there is no dataset 'x' \(there are: none yet: `data import` or `data demo`"):
        Dataset("x")


def test_a_dataset_that_is_still_being_imported_is_not_listed(lab_home):
    write_files(lab_home / "datasets", {".cells.k3f9a2/dataset.json": b"{}", "notes.txt": b"", "empty/x": b""})
    assert names() == []


# A failure leaves nothing behind


def no_space(*given: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stop(*given: object) -> None:
    raise KeyboardInterrupt


def fill_disk_while_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = Path.write_bytes, iter(range(10**6))
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: write(path, data) if next(calls) < 5 else no_space())


FAILURES = {
    "disk full while copying": (OSError, fill_disk_while_copying),
    "disk full at the table": (OSError, lambda patch: patch.setattr(pd.DataFrame, "to_parquet", no_space)),
    "disk full at the facts": (OSError, lambda patch: patch.setattr(disk, "write_json", no_space)),
    "disk full at a folder": (OSError, lambda patch: patch.setattr(Path, "mkdir", no_space)),
    "a bug in decoding": (ZeroDivisionError, lambda patch: patch.setattr(importing, "decode_rgb", lambda data: 1 / 0)),
    "stopped while decoding": (KeyboardInterrupt, lambda patch: patch.setattr(importing, "decode_rgb", stop)),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", ["zip", "folder", "demo"])
def test_a_failed_import_leaves_the_workspace_as_it_was(tmp_path, lab_home, quick_demo, kind, failure):
    source = write_class_folder(tmp_path / "cells")
    archive = write_zip(tmp_path / "cells.zip", class_files())
    import_dataset(source, "kept")
    before = everything_in(lab_home)
    error, break_it = FAILURES[failure]
    with pytest.MonkeyPatch.context() as patch:
        break_it(patch)
        with pytest.raises(error):
            make_demo("cells", 10) if kind == "demo" else import_dataset(archive if kind == "zip" else source, "cells")
    assert everything_in(lab_home) == before
    assert len(import_dataset(source, "cells").pictures) == 12  # and the name is free


def test_an_import_that_is_stopped_between_two_pictures_leaves_nothing(tmp_path, lab_home):
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        import_dataset(write_class_folder(tmp_path / "cells"), progress=stop)
    assert tree(lab_home) == {"datasets"}
    assert threading.active_count() == threads


def test_a_refused_source_leaves_nothing(tmp_path, lab_home):
    refusal(write_files(tmp_path / "cells", {"blast/1.png": encoded(random_picture(0)), "band/1.png": b"words"}))
    assert tree(lab_home) <= {"datasets"}
    refusal(write_zip(tmp_path / "evil.zip", class_files() | {"../x.png": b""}))
    assert tree(lab_home) <= {"datasets"}
    assert not (tmp_path / "x.png").exists()


def npz_cut_short() -> bytes:
    """Its list of arrays is whole; the pixels of the last pictures are not."""
    data = bytearray(npz(small_arrays(counts=(400, 2, 3)), np.savez_compressed))
    place = data.index(b"PK\3\4", 100)  # the second array begins here
    data[place - 2000 : place - 100] = bytes(1900)
    return bytes(data)


def hostile_sources() -> dict[str, tuple[dict[str, bytes], str, str]]:
    """What is wrong → the files of a folder, which of them is handed in ('' for the folder), words of the refusal."""
    good = class_files(2)
    x, y = f"{PCAM_NAME}_train_x.h5", f"{PCAM_NAME}_train_y.h5"
    objects = npz({"train_images": np.array([object()] * 3), "train_labels": np.arange(3)})
    pcam = pcam_files({"train": 6}) | {y: h5("y", np.zeros(5, int))}
    return {
        "a table that names missing files": (good | {"t.csv": b"path,label\nx.png,a\n"}, "t.csv", "that is not there"),
        "a table with labels that are NaN": (
            good | {"t.csv": b"path,label\nband/0.png,NaN\n"},
            "t.csv",
            "have no label",
        ),
        "a table that leads out": (good | {"t.csv": b"path,label\n../x.png,a\n"}, "t.csv", "leaves the folder"),
        "a table with an absolute path": (good | {"t.csv": b"path,label\n/etc/passwd,a\n"}, "", "leaves the folder"),
        "pickled objects": ({"x.npz": objects}, "x.npz", "pickled objects"),
        "pixels that are damaged": ({"x.npz": npz_cut_short()}, "x.npz", "is damaged"),
        "lengths that disagree": (pcam, "", f"{x} holds 6 pictures and {y} 5 labels"),
        "half of a pair": ({x: pcam[x]}, x, "is missing beside"),
    }


@pytest.mark.parametrize("what", hostile_sources())
def test_a_hostile_source_leaves_nothing(tmp_path, lab_home, what):
    files, handed_in, words = hostile_sources()[what]
    import_dataset(write_class_folder(tmp_path / "good"), "kept")
    before = everything_in(lab_home)
    assert words in refusal(write_files(tmp_path / "cells", files) / handed_in)
    assert everything_in(lab_home) == before


def zip_bomb(path: Path) -> None:
    write_zip(path, class_files() | {"blast/bomb.png": bytes(65 * 2**20)}, zipfile.ZIP_DEFLATED)


def zip_of_a_million(path: Path) -> None:
    long_list(path, 1_000_000, 1_000_000, True)


def zip_with_a_link(path: Path) -> None:
    link = zipfile.ZipInfo("blast/link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")


def zip_with_an_absolute_path(path: Path) -> None:
    write_zip(path, class_files() | {"/etc/blast/1.png": b"x"})


@pytest.mark.parametrize("make", [zip_bomb, zip_of_a_million, zip_with_a_link, zip_with_an_absolute_path])
def test_a_hostile_zip_leaves_nothing(tmp_path, lab_home, make):
    make(tmp_path / "cells.zip")
    assert refusal(tmp_path / "cells.zip").startswith("cells.zip ")
    assert not lab_home.exists()


def test_a_zip_is_closed_whatever_happens(tmp_path, monkeypatch):
    closed = []
    close = ZipSource.close
    monkeypatch.setattr(ZipSource, "close", lambda source: (closed.append(source.name), close(source))[1])
    import_dataset(write_zip(tmp_path / "good.zip", class_files()))
    refusal(write_zip(tmp_path / "bad.zip", {"a/1.png": b"x", "b/1.png": b"x"}))
    refusal(write_zip(tmp_path / "bare.zip", {"a/1.txt": b"x"}))
    assert closed == ["good", "bad", "bare"]


def test_what_a_killed_import_left_is_swept_by_the_next(tmp_path, lab_home):
    left = write_files(lab_home / "datasets" / ".cells.abcdef", {"originals/00/1.png": b"x"})
    os.utime(left, (0, 0))
    import_dataset(write_class_folder(tmp_path / "cells"))
    assert [path.name for path in (lab_home / "datasets").iterdir()] == ["cells"]


def test_an_import_that_takes_days_is_not_swept_by_another(tmp_path, lab_home):
    """As long as it gets on: what shows that is a touch of its folder with each word of progress."""
    left_over, swept_at = [], []

    def a_day_later(done: int, total: int) -> None:
        (folder,) = (lab_home / "datasets").glob(".slow.*")
        swept_at.append(folder.stat().st_mtime)
        os.utime(folder, (0, 0))

    def sweep(done: int, total: int) -> None:
        disk.sweep_unfinished(lab_home / "datasets")
        left_over.append([path.name[:6] for path in (lab_home / "datasets").iterdir()])

    progress = iter([a_day_later, sweep, sweep])
    dataset = import_dataset(
        write_class_folder(tmp_path / "cells", 75), "slow", progress=lambda *told: next(progress)(*told)
    )
    assert left_over == [[".slow."]] * 2
    assert len(dataset.pictures) == 150
    assert swept_at[0] > 0


# Damaged files of a dataset


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return import_dataset(write_class_folder(tmp_path / "cells"), "cells").folder


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_a_dataset_of_another_schema_is_refused_with_the_remedy(cells, version):
    facts = disk.read_json(cells / "dataset.json") | {"schema_version": version}
    disk.write_json(cells / "dataset.json", facts)
    with pytest.raises(LabError) as caught:
        Dataset("cells")
    assert str(caught.value) == (f"dataset 'cells' has schema version {version}, this program reads 2: import it again")


@pytest.mark.parametrize("text", ["[]", "null", "7", '"words"'])
def test_facts_that_are_none_are_refused_with_the_remedy(cells, text):
    (cells / "dataset.json").write_text(text)
    with pytest.raises(LabError, match="'cells' has schema version None, this program reads 2: import it again"):
        Dataset("cells")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"schema_version": 1'])
def test_damaged_facts_are_named_by_their_file(cells, data):
    (cells / "dataset.json").write_bytes(data)
    with pytest.raises(LabError, match=r"cells/dataset\.json can't be read: "):
        Dataset("cells")


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_a_damaged_table_is_named_with_the_remedy(cells, keep):
    table = cells / "images.parquet"
    data = table.read_bytes()
    table.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(LabError, match=r"dataset 'cells': images\.parquet can't be read \(.*\): import it again"):
        describe(Dataset("cells"))


@pytest.mark.parametrize("classes", [[], ["band"]])
def test_facts_without_the_class_of_a_picture_are_told_with_the_remedy(cells, classes):
    """The pages look each picture's class up among the dataset's: Browse and Review broke off."""
    facts = disk.read_json(cells / "dataset.json")
    disk.write_json(cells / "dataset.json", facts | {"classes": classes})
    with pytest.raises(LabError, match=r"dataset\.json lacks the class '\w+' of its pictures: import it again"):
        describe(Dataset("cells"))


def test_a_missing_table_is_named_with_the_remedy(cells):
    (cells / "images.parquet").unlink()
    with pytest.raises(LabError, match=r"dataset 'cells': images\.parquet can't be read \(.*\): import it again"):
        describe(Dataset("cells"))


def test_a_missing_original_is_named_with_the_remedy(cells):
    dataset = Dataset("cells")
    stored = dataset.pictures.stored[3]
    (cells / "originals" / stored).unlink()
    with pytest.raises(LabError) as caught:
        dataset.read_original(3)
    assert str(caught.value) == (f"dataset 'cells': {Path(stored).name} is missing from originals: import it again")
    assert dataset.read_original(2).shape == (20, 24, 3)


def test_a_damaged_original_is_named_with_the_remedy(cells):
    dataset = Dataset("cells")
    stored = cells / "originals" / dataset.pictures.stored[3]
    stored.write_bytes(stored.read_bytes()[:200])
    told = rf"dataset 'cells': its copy of {dataset.pictures.file[3]} can't be read \(damaged .*\): import it again"
    with pytest.raises(LabError, match=told):
        dataset.read_original(3)


# Demo pictures


def test_the_demo_dataset_is_called_synthetic_and_has_families_of_copies(demo_dataset):
    dataset, told = demo_dataset, describe(demo_dataset)
    assert told["synthetic"] is dataset.synthetic is True
    assert told["format"] == "demo"
    assert "Synthetic" in told["citation"]
    assert told["classes"] == [*demo.DEMO_CLASSES]
    assert told["pictures"] == 48
    assert sum(part["pictures"] for part in told["splits"].values()) == 48
    assert dataset.photos_known
    assert all(file.split("/")[1].startswith("synthetic-") for file in dataset.images.file)
    families = dataset.pictures.groupby("source_photo").size()
    assert families.max() > 1
    drawn = [picture.pixels for picture in demo.draw_pictures(12, 3)]
    assert all(np.array_equal(dataset.read_original(row), drawn[row]) for row in range(48))


@pytest.mark.parametrize(("per_class", "seed", "words"), [
    (9, 0, "demo pictures a class must be between 10 and 5,000, not 9"),
    (5001, 0, "demo pictures a class must be between 10 and 5,000, not 5001"),
    (10, -1, "the seed must be 0 or more, not -1"),
])  # fmt: skip
def test_a_demo_that_can_not_be_drawn_is_named(lab_home, per_class, seed, words):
    with pytest.raises(LabError) as caught:
        make_demo("demo", per_class, seed)
    assert str(caught.value) == words
    assert not lab_home.exists()


# Progress and memory


@pytest.mark.parametrize("per_class", [10, 50, 60])
def test_progress_rises_to_the_total(tmp_path, monkeypatch, per_class):
    monkeypatch.setattr(importing, "decode_rgb", lambda data: np.zeros((9, 9, 3), np.uint8))
    monkeypatch.setattr(importing, "stored_mode", lambda data: "RGB")
    files = {f"{label}/{n}.png": f"{label} {n}".encode() for label in "ab" for n in range(per_class)}
    seen: list[tuple[int, int]] = []
    import_dataset(write_files(tmp_path / "cells", files), progress=lambda *told: seen.append(told))
    done, total = zip(*seen, strict=True)
    assert set(total) == {2 * per_class}
    assert list(done) == sorted(set(done))
    assert done[-1] == 2 * per_class
    assert len(done) == -(-2 * per_class // 50)


def test_progress_of_a_demo_rises_to_the_total(quick_demo):
    seen: list[tuple[int, int]] = []
    make_demo("demo", 13, progress=lambda *told: seen.append(told))
    assert seen == [(50, 52), (52, 52)]


class Counted(bytes):
    """Bytes that count how many of them are in memory at once."""

    alive = most = 0
    lock = threading.Lock()

    def __new__(cls, data: bytes) -> "Counted":
        with cls.lock:
            cls.alive += 1
            cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, data)

    def __del__(self) -> None:
        with self.lock:
            type(self).alive -= 1


def test_an_import_holds_no_more_pictures_than_it_works_on(tmp_path, monkeypatch):
    Counted.alive = Counted.most = 0
    read = FolderSource.read
    monkeypatch.setattr(FolderSource, "read", lambda source, file: Counted(read(source, file)))
    dataset = import_dataset(write_class_folder(tmp_path / "cells", 100))
    assert len(dataset.pictures) == 200
    assert 1 <= Counted.most <= usable_cores()
    assert Counted.alive == 0


def test_a_demo_is_drawn_no_further_ahead_than_it_is_written(monkeypatch, quick_demo):
    drawn = done = 0
    ahead = []
    draw, take = demo.draw_pictures, importing._take

    def drawing(*given):
        nonlocal drawn
        for picture in draw(*given):
            drawn += 1
            yield picture

    def taking(*given):
        nonlocal done
        row = take(*given)
        with Counted.lock:
            done += 1
            ahead.append(drawn - done)
        return row

    monkeypatch.setattr(demo, "draw_pictures", drawing)
    monkeypatch.setattr(importing, "_take", taking)
    assert len(make_demo("demo", 50).pictures) == 200
    assert 0 < max(ahead) <= importing.WAITING
