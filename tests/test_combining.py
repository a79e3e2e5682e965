"""Combining datasets: nothing is lost or renamed silently, and no copy of a test picture is trained on."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from bloodcell_core import cli, workspace
from bloodcell_core.data.audit import audit
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from tests.conftest import class_files, write_files

SAME = {"Blast": "Blast", "band": "band", "blast": "Blast", "platelet": "platelet"}


@pytest.fixture
def parts(tmp_path):
    """Two laboratories: one class in common, one of each its own; told splits."""
    here = class_files(4, ("Blast", "band"), seed=1)
    there = class_files(4, ("blast", "platelet"), seed=2)
    made = []
    for name, files in (("here", here), ("there", there)):
        split = {f"{'test' if file.endswith('0.png') else 'train'}/{file}": data for file, data in files.items()}
        made.append(import_dataset(write_files(tmp_path / name, split), name, trace=False))
    return made


def together(parts, name="both"):
    return combine(name, [(part, {label: SAME[label] for label in part.classes}) for part in parts])


def test_all_pictures_are_there_with_their_splits_under_one_name_a_class(parts):
    both = together(parts)
    assert both.classes == ["Blast", "band", "platelet"]
    assert len(both.pictures) == sum(len(part.pictures) for part in parts)
    for part in parts:
        mine = both.pictures.set_index("image_id").loc[part.pictures.image_id]
        assert mine.split.tolist() == part.pictures.split.tolist()
        assert mine.label.tolist() == [SAME[label] for label in part.pictures.label]
        assert mine.file.tolist() == [f"{part.name}/{file}" for file in part.pictures.file]
        facts = ["width", "focus", "cell_area", "box_x0"]
        pd.testing.assert_frame_equal(mine[facts].reset_index(drop=True), part.pictures[facts].reset_index(drop=True))


def test_pixels_are_the_parts_own_and_take_no_disk_twice(parts):
    both = together(parts)
    view = build_view(both, "frame", 32)
    for part in parts:
        rows = both.pictures.reset_index().set_index("image_id").loc[part.pictures.image_id]["index"]
        assert np.array_equal(view[rows.to_numpy()], build_view(part, "frame", 32)[:])
        stored = part.pictures.stored[0]
        assert os.path.samefile(part.folder / "originals" / stored, both.folder / "originals" / stored)


def test_photographs_of_two_datasets_never_count_as_one(parts):
    for part in parts:
        images = part.images.assign(source_photo="photo-1", scene="scene-1")
        images.to_parquet(part.folder / "images.parquet", index=False)
    both = together([Dataset(part.name) for part in parts])
    assert sorted(both.pictures.source_photo.unique()) == ["here/photo-1", "there/photo-1"]
    assert sorted(both.pictures.scene.unique()) == ["here/scene-1", "there/scene-1"]


def test_no_copy_of_a_test_picture_is_trained_on(parts, tmp_path):
    """A picture is tested on here and trained on there: it and the rest of its photo there leave the training."""
    tested = parts[0].pictures[parts[0].pictures.split == "test"].iloc[0]
    data = (parts[0].folder / "originals" / tested.stored).read_bytes()
    files = {"train/Blast/twin.png": data} | {
        f"train/{name}": one for name, one in class_files(3, ("Blast", "platelet"), seed=7).items()
    }
    other = import_dataset(write_files(tmp_path / "other", files), "other", trace=False)
    images = other.images
    images.loc[images.file.str.contains("twin|Blast/0"), ["source_photo", "scene"]] = "same-cell"
    images.loc[images.split == "test", "split"] = "train"
    images.to_parquet(other.folder / "images.parquet", index=False)
    both = combine("all", [(parts[0], {}), (Dataset("other"), {})])
    sibling = images[images.file.str.contains("Blast/0")].image_id.item()
    kept = both.pictures[both.pictures.image_id == tested.image_id]
    assert (kept.split.tolist(), kept.file.tolist()) == (["test"], [f"here/{tested.file}"])
    assert sibling not in set(both.pictures.image_id)
    assert "1 training pictures of scenes that another part tests or validates left out" in both.facts["split_origin"]
    assert len(both.pictures) == len(parts[0].pictures) + len(images) - 2
    assert (both.images.status == "duplicate").sum() == 1


def test_no_copy_of_a_validation_picture_is_trained_on(tmp_path):
    """A picture chooses the best epoch here and is trained on there: it and the rest of its photo there go."""

    def part(name: str, seed: int, more: dict[str, bytes]) -> Dataset:
        files = {f"train/{file}": data for file, data in class_files(4, ("blast", "band"), seed=seed).items()}
        files |= {f"val/{file}": data for file, data in class_files(1, ("blast", "band"), seed=seed + 10).items()}
        return import_dataset(write_files(tmp_path / name, files | more), name, trace=False)

    here = part("here", 0, {})
    validated = here.pictures[here.pictures.split == "val"].iloc[0]
    there = part("there", 1, {"train/blast/twin.png": (here.folder / "originals" / validated.stored).read_bytes()})
    images = there.images
    images.loc[images.split == "test", "split"] = "train"
    images.loc[images.file.str.contains("twin|train/blast/0"), ["source_photo", "scene"]] = "same-cell"
    images.to_parquet(there.folder / "images.parquet", index=False)
    both = combine("all", [(here, {}), (Dataset("there"), {})])
    assert {"train", "val"} not in both.pictures.groupby("scene").split.agg(set).tolist()
    assert both.pictures.split[both.pictures.image_id == validated.image_id].tolist() == ["val"]
    assert len(both.pictures) == len(here.pictures) + len(images) - 2


def test_a_class_of_which_only_copies_are_left_is_none(parts, tmp_path):
    """The same pictures under other names of their classes: each is kept once, and no class without a picture."""
    files = class_files(4, ("Blast", "band"), seed=1)  # of parts[0], in the same splits
    renamed = {f"{'test' if file.endswith('0.png') else 'train'}/my-{file}": data for file, data in files.items()}
    again = import_dataset(write_files(tmp_path / "again", renamed), "again", trace=False)
    both = combine("both", [(parts[0], {}), (again, {})])
    assert both.classes == parts[0].classes
    assert audit(both).facts["balance"]["by_class"].keys() == set(both.classes)
    one = {label: "Blast" for label in parts[0].classes}
    other = {label: "cell" for label in again.classes}
    with pytest.raises(LabError, match="at least two classes are needed, not of Blast"):
        combine("one", [(parts[0], one), (again, other)])


def test_a_dataset_of_the_same_pictures_twice_keeps_each_once(parts):
    import shutil

    shutil.copytree(parts[0].folder, workspace.dataset_dir("again"))
    both = combine("twice", [(parts[0], {}), (Dataset("again"), {})])
    assert len(both.pictures) == len(parts[0].pictures)
    assert both.pictures.split.value_counts().to_dict() == parts[0].pictures.split.value_counts().to_dict()


def test_one_validation_split_of_two_is_none(parts):
    images = parts[0].images
    images.loc[images.index[images.split == "train"][:2], "split"] = "val"
    images.to_parquet(parts[0].folder / "images.parquet", index=False)
    assert set(together([Dataset("here"), parts[1]]).pictures.split) == {"train", "test"}


def test_a_class_is_left_out_where_its_map_says_so(parts):
    assert combine("part", [(parts[0], {})]).classes == ["Blast", "band"]
    both = combine("some", [(parts[0], {"band": None}), (parts[1], {"blast": "Blast"})])
    assert both.classes == ["Blast", "platelet"]
    assert not (both.images.label == "band").any()
    with pytest.raises(LabError, match="at least two classes"):
        combine("one", [(parts[0], {"band": None}), (parts[1], {"blast": "Blast", "platelet": None})])


def test_a_copy_of_a_picture_that_stays_behind_stays_behind_too(tmp_path):
    """Else it would be the copy of nothing, and whoever looks for the two side by side would find one."""
    files = class_files(3, ("blast", "band", "seg"), seed=5)
    files["seg/twin.png"] = files["band/0.png"]
    part = import_dataset(write_files(tmp_path / "part", files), "part", trace=False)
    assert part.images.set_index("file").duplicate_of["seg/twin.png"] == "band/0.png"
    both = combine("both", [(part, {"band": None})])
    assert both.classes == ["blast", "seg"]
    assert "part/seg/twin.png" not in both.images.file.tolist()
    assert [finding.name for finding in audit(both).findings if "identical" in finding.name] == []
    assert [each.name for each in audit(part).findings if each.name == "identical_of_two_labels"] != []


def test_named_pictures_alone_are_taken(parts):
    few = parts[1].pictures.image_id[parts[1].pictures.split == "train"].tolist()[:2]
    both = combine("few", [(part, {label: SAME[label] for label in part.classes}) for part in parts], take=[None, few])
    assert set(both.pictures.image_id) == {*parts[0].pictures.image_id, *few}


@pytest.mark.parametrize(("doubled", "name", "reason"), [(2, "both", "each only once"), (1, "here", "exists")])
def test_what_can_t_be_combined_is_refused_and_leaves_nothing(parts, doubled, name, reason):
    before = sorted(workspace.datasets_dir().iterdir())
    with pytest.raises(LabError, match=reason):
        combine(name, [(part, {}) for part in parts[:1] * doubled])
    assert sorted(workspace.datasets_dir().iterdir()) == before


@pytest.mark.parametrize("platelet", ["BLAST", "Blast ", "Bla\u200bst"])
def test_a_map_that_makes_classes_alike_is_refused_and_leaves_nothing(parts, platelet):
    before = sorted(workspace.datasets_dir().iterdir())
    with pytest.raises(LabError, match="look alike"):
        combine("both", [(part, SAME | {"platelet": platelet}) for part in parts])
    assert sorted(workspace.datasets_dir().iterdir()) == before


def test_the_command_line_combines(parts, capsys):
    assert cli.main(["data", "combine", "both", "--from", "here", "there", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["format"], told["classes"]) == ("both", "combined", ["Blast", "band", "platelet"])
    assert cli.main(["data", "combine", "less", "--from", "here", "there", "--shared"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["data", "combine", "less", "--from", "here", "nowhere"]) == 2
