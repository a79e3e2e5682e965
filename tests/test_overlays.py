"""Overlays: frozen, numbered, brought from place to place as CSV, and what a training makes of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core import cli, disk, sheets
from bloodcell_core.data.combining import combine
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.external import own_pictures
from bloodcell_core.evaluation.figures import figure_words
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.labels import overlays, verdicts
from bloodcell_core.labels.exchange import HEADER, import_csv, to_csv, write_csv
from bloodcell_core.labels.overlays import Overlay, freeze, load, of_run, versions
from bloodcell_core.labels.verdicts import AMBIGUOUS, LABEL_WRONG, MODEL_WRONG, UNUSABLE, record, undo
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.training.prepare import split_rows
from tests.conftest import encoded, random_picture, write_files
from tests.training_fixtures import answering_otherwise, drawn, losses, tiny, train_here

pytest_plugins = ["tests.training_fixtures"]


@pytest.fixture
def demo(lab: Path) -> Dataset:
    return Dataset("demo")


def other_class(dataset: Dataset, image_id: str) -> str:
    own = dataset.pictures.set_index("image_id").label[image_id]
    return next(name for name in dataset.classes if name != own)


def of_split(dataset: Dataset, split: str) -> list[str]:
    return dataset.pictures[dataset.pictures.split == split].drop_duplicates("photo").image_id.tolist()


@pytest.fixture
def day_one(demo: Dataset) -> Overlay:
    """Two photos relabelled, one left out, one confirmed; a test photo relabelled."""
    first, second, third, fourth, *_ = of_split(demo, "train")
    for image_id in (first, second, of_split(demo, "test")[0]):
        record(demo, [image_id], LABEL_WRONG, label=other_class(demo, image_id), by="Ana", note="=1+1")
    record(demo, [third], AMBIGUOUS, by="Ben")
    record(demo, [fourth], MODEL_WRONG, by="Ben")
    overlay, made = freeze("day-one", demo, by="Ana")
    assert made
    return overlay


# What one verdict decides


@pytest.fixture
def patients(lab_home: Path, tmp_path: Path) -> Dataset:
    """Eight patients, four cells each of one kind or two, by a table that says whose they are."""
    from bloodcell_core.data.importing import import_dataset

    files = {f"{number}.png": encoded(random_picture(number)) for number in range(32)}
    labels = ["band"] * 16 + ["band", "blast"] * 8
    rows = [f"{number}.png,{label},patient-{number // 4}" for number, label in enumerate(labels)]
    source = write_files(tmp_path / "source", files | {"t.csv": "\n".join(["path,label,patient", *rows]).encode()})
    return import_dataset(source, "patients")


def test_a_verdict_on_a_cell_of_a_patient_is_of_that_cell(patients: Dataset, tmp_path: Path) -> None:
    """A patient, a slide or a picture that cells were cut from is no cell: all of its cells got the class of one."""
    own = patients.pictures[patients.pictures.photo == "patient-1"]
    assert set(own.label) == {"band"}
    first, second, third, _ = own.image_id
    [made] = record(patients, [first], LABEL_WRONG, label="blast", by="Ana")
    record(patients, [second, third], AMBIGUOUS, by="Ana")
    overlay, _ = freeze("day-one", patients, by="Ana")
    said = dict(zip(overlay.rows.image_id, overlay.rows.label_to, strict=True))
    assert said == {first: "blast", second: None, third: None}
    assert overlay.describe()["changed"] == {"pictures": 1, "photos": 1}
    assert overlay.describe()["excluded"] == {"pictures": 2, "photos": 1}
    assert made in verdicts.history(patients, first)
    assert verdicts.history(patients, second)[0].verdict == AMBIGUOUS
    write_csv(overlay, patients, tmp_path / "labels.csv")
    again, _, _ = import_csv(tmp_path / "labels.csv", "brought", by="Ben")
    assert again.digest == overlay.digest


def test_copies_are_decided_together_beside_the_cells_of_patients(patients: Dataset) -> None:
    demo = drawn("demo", per_class=12, seed=8)
    both = combine("both", [(patients, {}), (demo, {})])
    pictures = both.pictures
    [copies] = pictures.groupby("family").image_id.apply(list).loc[lambda of: of.map(len) > 1].head(1)
    cell = pictures.image_id[pictures.photo.str.startswith("patients/")].iloc[0]
    record(both, [copies[0], cell], AMBIGUOUS, by="Ana")
    assert set(freeze("day-one", both, by="Ana")[0].rows.image_id) == {*copies, cell}


def test_a_verdict_counts_for_its_picture_where_the_same_pictures_are_no_copies(demo: Dataset, tmp_path: Path) -> None:
    """Imported once as copies and once by a table's groups they have the same content, and so the same verdicts."""
    from bloodcell_core.data.importing import import_dataset

    pictures = demo.pictures
    files = {f"{row.Index}.png": (demo.folder / "originals" / row.stored).read_bytes() for row in pictures.itertuples()}
    table = pictures[["label", "split", "source_photo"]].assign(path=list(files))
    source = write_files(tmp_path / "source", files | {"t.csv": table.to_csv(index=False).encode()})
    other = import_dataset(source, "other")
    assert other.content_hash == demo.content_hash
    family = pictures.groupby("family").image_id.apply(list).loc[lambda of: of.map(len) > 1].iloc[0]
    record(demo, [family[0]], AMBIGUOUS, by="Ana")
    assert set(freeze("copies", demo, by="Ana")[0].rows.image_id) == set(family)
    assert set(freeze("cells", other, by="Ana")[0].rows.image_id) == {family[0]}


# Versions


def test_a_version_holds_what_counted_and_stays_as_it_is(demo: Dataset, day_one: Overlay) -> None:
    assert (day_one.reference, day_one.data_hash, day_one.by) == ("day-one@1", demo.content_hash, "Ana")
    again, made = freeze("day-one", demo, by="Cho")
    assert (made, again.reference, again.by) == (False, "day-one@1", "Ana")
    [event] = record(demo, [of_split(demo, "train")[5]], UNUSABLE, by="Ben", picture_only=True)
    later, made = freeze("day-one", demo, by="Cho")
    assert (made, later.reference, len(later.rows)) == (True, "day-one@2", len(day_one.rows) + 1)
    assert load("day-one").reference == "day-one@2"
    kept = load("day-one@1")
    assert kept.rows.equals(day_one.rows)
    assert kept.digest == day_one.digest != later.digest
    undo([event.id], by="Ben")
    third, made = freeze("day-one", demo, by="Cho")
    assert (made, third.digest) == (True, day_one.digest)
    assert versions() == [third.describe(), later.describe(), kept.describe()]


def test_a_version_tells_what_it_changes(demo: Dataset, day_one: Overlay) -> None:
    told = day_one.describe()
    assert json.loads(json.dumps(told)) == told
    assert told["changed"]["photos"] == 3
    assert told["excluded"]["photos"] == 1
    assert told["reviewers"] == ["Ana", "Ben"]
    families = demo.pictures[demo.pictures.photo.isin(day_one.rows.photo)]
    assert set(day_one.rows.image_id) == set(families.image_id)


def test_laid_over_its_dataset_it_changes_what_it_says_and_no_more(demo: Dataset, day_one: Overlay) -> None:
    labels, excluded = day_one.laid_over(demo)
    wanted = dict(zip(day_one.rows.image_id, day_one.rows.label_to, strict=True))
    for place, row in enumerate(demo.pictures.itertuples()):
        label = wanted.get(row.image_id, row.label)
        assert bool(excluded[place]) == (label is None)
        assert demo.classes[labels[place]] == (label or row.label)
    left = day_one.relabelled(demo.pictures[["image_id", "label"]], demo.classes)
    assert left.label.tolist() == [demo.classes[place] for place in labels[~excluded]]


def test_another_dataset_s_overlay_is_refused(demo: Dataset, day_one: Overlay) -> None:
    other = drawn("other", per_class=12, seed=9)
    record(other, other.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    with pytest.raises(LabError, match="is of another dataset"):
        freeze("day-one", other, by="Ana")
    with pytest.raises(LabError, match="was made for another dataset"):
        jobs.create_run(tiny(data="other", labels="day-one"))


@pytest.mark.parametrize("reference", ["nothing", "day-one@9", "day-one@x", "day-one@", "@1", "../x", "day-one@²"])
def test_an_overlay_that_is_not_there_is_told(day_one: Overlay, reference: str) -> None:
    with pytest.raises(LabError, match=r"there is no overlay|is called NAME"):
        load(reference)


@pytest.mark.parametrize("name", ["../evil", "A", "x" * 65, "a@1", "", "a\x00"])
def test_a_name_that_is_no_name_is_refused(demo: Dataset, name: str) -> None:
    record(demo, demo.pictures.image_id[:1].tolist(), AMBIGUOUS, by="Ana")
    with pytest.raises(LabError, match="can't name an overlay"):
        freeze(name, demo, by="Ana")


def test_nothing_said_makes_no_overlay(demo: Dataset) -> None:
    with pytest.raises(LabError, match="changes a label"):
        freeze("day-one", demo, by="Ana")
    assert versions() == []


# CSV


def test_what_is_exported_comes_back_the_same(demo: Dataset, day_one: Overlay, tmp_path: Path) -> None:
    write_csv(day_one, demo, tmp_path / "labels.csv")
    back, made, unchanged = import_csv(tmp_path / "labels.csv", "other", by="Cho")
    assert (made, unchanged, back.reference, back.made_from, back.by) == (True, 0, "other@1", "csv", "Cho")
    assert back.rows.equals(day_one.rows)
    assert import_csv(tmp_path / "labels.csv", "other", by="Cho")[1] is False


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t=+-@'\",;"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(note=TEXTS, by=TEXTS.filter(lambda text: bool(text.strip())))
def test_any_note_comes_back_the_same_and_none_is_a_formula(
    module_demo: tuple[Path, Dataset], tmp_path_factory: pytest.TempPathFactory, note: str, by: str
) -> None:
    home, dataset = module_demo
    file = tmp_path_factory.mktemp("csv") / "labels.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(home))
        patch.setattr(overlays, "current", lambda _: standing)
        events = [each for each in record(dataset, dataset.pictures.image_id[:1].tolist(), AMBIGUOUS, by=by, note=note)]
        from bloodcell_core.labels.verdicts import Standing

        standing = Standing(events)
        overlay, _ = freeze("round", dataset, by="Ana")
        write_csv(overlay, dataset, file)
        back, _, _ = import_csv(file, "back", by="Ana", data="demo")
    assert back.rows.equals(overlay.rows)
    for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


@pytest.fixture(scope="module")
def module_demo(module_home: Path) -> tuple[Path, Dataset]:
    made = drawn("demo", per_class=12, seed=8)
    made.pictures  # noqa: B018 (read while its workspace is the module's)
    return module_home, made


def line(dataset: Dataset, **changes: str) -> dict[str, str]:
    image_id = dataset.pictures.image_id[0]
    return {"image_id": image_id, "label": other_class(dataset, image_id)} | changes


def written(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_by_hand_needs_two_columns_and_decides_the_copies_too(demo: Dataset, tmp_path: Path) -> None:
    photo = demo.pictures.photo.value_counts().index[0]
    image_id = demo.pictures[demo.pictures.photo == photo].image_id.iloc[0]
    wanted = other_class(demo, image_id)
    rows = [{"image_id": image_id, "label": wanted}]
    overlay, _, _ = import_csv(written(tmp_path / "a.csv", rows, ";"), "by-hand", by="Ana")
    assert set(overlay.rows.photo) == {photo}
    assert len(overlay.rows) == (demo.pictures.photo == photo).sum() > 1
    assert set(overlay.rows.label_to) == {wanted}
    assert set(overlay.rows.by) == {"Ana"}
    rows = [{"image_id": image_id, "label": "", "verdict": "unusable"}]
    overlay, _, _ = import_csv(written(tmp_path / "a.csv", rows), "by-hand", by="Ana")
    assert overlay.rows.image_id.tolist() == [image_id]
    own = demo.pictures.set_index("image_id").label[image_id]
    rows = [{"image_id": image_id, "label": own}]
    overlay, _, unchanged = import_csv(written(tmp_path / "a.csv", rows), "by-hand", by="Ana")
    assert (len(overlay.rows), unchanged) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_id": "0" * 64}, "no dataset has all these pictures: 'demo' lacks 1, the first in line 2"),
        ({"image_id": ""}, "no dataset has all"),
        ({"label": "unicorn"}, "line 2: there is no class 'unicorn'"),
        ({"label": ""}, "line 2: it has neither"),
        ({"label": "", "verdict": "label-wrong"}, "line 2: it has neither"),
        ({"verdict": "ambiguous"}, "line 2: ambiguous takes the picture out"),
        ({"verdict": "model-wrong"}, "line 2: model-wrong says that the picture's own label '[a-z_]+' is right, not"),
        ({"verdict": "<script>"}, "line 2: a verdict is"),
        ({"label_from": "unicorn"}, "line 2: the picture's own label is"),
        ({"at": "yesterday"}, "line 2: 'yesterday' is no time"),
        ({"by": "x" * 101}, "line 2: a name has up to 100"),
        ({"note": "x" * 2001}, "line 2: a note has up to 2,000"),
        ({"note": "\x07"}, "line 2: a note can't have control"),
        ({"colour": "red"}, "column 'colour' too many"),
    ],
)
def test_a_line_that_can_not_be_is_refused_and_named(
    demo: Dataset, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(LabError, match=said):
        import_csv(written(tmp_path / "a.csv", [line(demo, **changes)]), "bad", by="Ana")
    assert versions() == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lacks the column 'image_id'"),
        (b"image_id\nx\n", "lacks the column 'label'"),
        (b"image_id,label,label\n", "too many"),
        (b"image_id,label\n", "has no line"),
        (b"image_id,label\nx\n", "line 2 has 1 cells"),
        (b"image_id,label\nx,y,z\n", "line 2 has 3 cells"),
        (b'image_id,label\n"x,y\n', "isn't CSV"),
        (b"# by Ana\nsep=;\nimage_id;label\nx,a;b;c\n", "line 4 has 3 cells, the header 2"),
        (b"image_id,label\nx,a\nx,b\n", "lines 2 and 3 are of the same picture"),
        (b"image_id,label\nx," + b"y" * 200_000, "isn't CSV"),
        ("image_id,label\nx,ä\n".encode("utf-16"), "isn't text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "isn't text in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(demo: Dataset, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(LabError, match=said):
        import_csv(tmp_path / "a.csv", "bad", by="Ana")


def test_a_file_of_100_megabytes_is_refused_before_it_is_read(demo: Dataset, tmp_path: Path) -> None:
    with open(tmp_path / "a.csv", "wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(LabError, match="100 MB: at most 50 MB are read"):
        import_csv(tmp_path / "a.csv", "bad", by="Ana")
    with pytest.raises(LabError, match="can't be read"):
        import_csv(tmp_path / "nothing.csv", "bad", by="Ana")
    with pytest.raises(LabError, match="is no file"):
        import_csv(tmp_path, "bad", by="Ana")


def test_lines_that_differ_on_one_photo_are_refused(demo: Dataset, tmp_path: Path) -> None:
    photo = demo.pictures.photo.value_counts().index[0]
    one, two = demo.pictures[demo.pictures.photo == photo].image_id.tolist()[:2]
    own = demo.pictures.set_index("image_id").label[one]
    for label in (own, next(name for name in demo.classes if name not in (own, other_class(demo, one)))):
        rows = [{"image_id": one, "label": other_class(demo, one)}, {"image_id": two, "label": label}]
        with pytest.raises(LabError, match="lines 2 and 3 say different things"):
            import_csv(written(tmp_path / "a.csv", rows), "bad", by="Ana")


def test_of_two_datasets_with_the_same_pictures_one_has_to_be_named(demo: Dataset, tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", [line(demo)])
    drawn("same", per_class=12, seed=8)
    assert import_csv(file, "one", by="Ana")[0].data_hash == demo.content_hash
    facts = disk.read_json(Dataset("same").folder / "dataset.json")
    disk.write_json(Dataset("same").folder / "dataset.json", facts | {"content_hash": "0" * 64})
    with pytest.raises(LabError, match="say which with --data"):
        import_csv(file, "two", by="Ana")
    assert import_csv(file, "two", by="Ana", data="demo")[0].dataset == "demo"


def test_an_export_has_the_columns_that_an_import_takes(demo: Dataset, day_one: Overlay) -> None:
    rows = [*csv.DictReader(io.StringIO(to_csv(day_one, demo), newline=""))]
    assert tuple(rows[0]) == HEADER
    assert {row["note"] for row in rows} == {"", "'=1+1"}
    assert {row["label"] == "" for row in rows if row["verdict"] == AMBIGUOUS} == {True}
    assert sheets.as_it_was("'tis") == "'tis"


# Training and scoring


def test_a_run_trains_on_the_reviewed_labels_and_keeps_them(demo: Dataset, day_one: Overlay) -> None:
    run = train_here(labels="day-one")
    assert run.config.labels == "day-one@1"
    kept = of_run(run)
    assert kept is not None
    assert kept.rows.equals(day_one.rows)
    rows = split_rows(run.config, demo, run.validation_photos, kept)
    plain = split_rows(tiny(), demo, run.validation_photos)
    out = set(day_one.rows[day_one.rows.label_to.isna()].image_id)
    assert out
    for split in ("train", "val"):
        assert set(demo.pictures.image_id[plain[split]]) - set(demo.pictures.image_id[rows[split]]) <= out
        assert not set(demo.pictures.image_id[rows[split]]) & out
    assert rows["test"].tolist() == plain["test"].tolist()
    table = run.predictions().query("split == 'test'")
    own = demo.pictures.set_index("image_id").label
    assert table.label.tolist() == own[table.image_id].tolist()


def test_a_run_is_repeated_from_its_folder_and_not_from_the_database(
    demo: Dataset, day_one: Overlay, lab: Path
) -> None:
    run = jobs.create_run(tiny(labels="day-one@1"))
    for file in lab.glob("lab.sqlite*"):
        file.unlink()
    from bloodcell_core.training import worker

    worker.work(run, say=lambda line: None)
    assert run.status()["state"] == "done"


def test_reviewed_labels_are_what_is_learned(demo: Dataset, tmp_path: Path) -> None:
    """With labels that say what the dataset says nothing changes to the bit; with all of one class it is learned."""
    own = train_here(epochs=1)
    training = demo.pictures[demo.pictures.split == "train"]
    unusable = [{"image_id": each, "label": "", "verdict": "unusable"} for each in of_split(demo, "test")[:1]]
    import_csv(written(tmp_path / "a.csv", unusable), "test-only", by="Ana")
    assert losses(train_here(epochs=1, labels="test-only")) == losses(own)
    target = demo.classes[0]
    rows = [{"image_id": row.image_id, "label": target} for row in training.itertuples()]
    import_csv(written(tmp_path / "b.csv", rows), "all-one", by="Ana")
    run = train_here(epochs=3, labels="all-one")
    assert run.events()[0][-1]["val_accuracy"] == 1.0
    assert set(run.predictions().predicted) == {target}


def test_an_ensembles_temperature_is_fitted_on_the_labels_that_its_members_were_trained_with(
    demo: Dataset, tmp_path: Path
) -> None:
    rows = [{"image_id": each, "label": demo.classes[0]} for each in of_split(demo, "train")]
    import_csv(written(tmp_path / "a.csv", rows), "all-one", by="Ana")
    members = [train_here(epochs=3, labels="all-one", learning_rate=rate) for rate in (0.001, 0.002)]
    reasons = [run.summary()["temperature_reason"] for run in (*members, create_ensemble(members))]
    assert reasons == ["no validation picture is wrong"] * 3


def test_an_overlay_that_leaves_nothing_to_train_on_is_refused(demo: Dataset, tmp_path: Path) -> None:
    training = demo.pictures[demo.pictures.split == "train"]
    rows = [{"image_id": each, "label": "", "verdict": "unusable"} for each in training.image_id]
    import_csv(written(tmp_path / "a.csv", rows), "none", by="Ana")
    before = jobs.runs.names()
    with pytest.raises(LabError, match="leaves no training picture"):
        jobs.create_run(tiny(labels="none"))
    with pytest.raises(LabError, match="there is no overlay"):
        jobs.create_run(tiny(labels="nothing"))
    assert jobs.runs.names() == before


def test_settings_with_labels_are_never_trained_without_them(demo: Dataset, day_one: Overlay) -> None:
    with pytest.raises(ValueError, match="are for the labels 'day-one@1'"):
        split_rows(tiny(labels="day-one@1"), demo, [])
    with pytest.raises(ValueError, match="are for the labels ''"):
        split_rows(tiny(), demo, [], day_one)


def test_evaluate_tells_both_and_keeps_the_dataset_s_own_first(
    done: Run, demo: Dataset, day_one: Overlay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", done.name, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert cli.main(["evaluate", done.name, "--labels", "day-one", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    reviewed = told.pop("reviewed")
    assert plain.pop("reviewed") is None
    assert told == plain
    table = done.predictions().query("split == 'test'")
    changed = dict(zip(day_one.rows.image_id, day_one.rows.label_to, strict=True))
    labels = [changed.get(row.image_id, row.label) for row in table.itertuples()]
    assert reviewed["accuracy"] == pytest.approx(np.mean(np.array(labels) == table.predicted))
    assert (reviewed["overlay"], reviewed["version"], reviewed["left_out"]) == ("day-one", 1, 0)
    assert reviewed["relabelled"] == sum(new != old for new, old in zip(labels, table.label, strict=True)) > 0
    assert cli.main(["evaluate", done.name, "--labels", "day-one"]) == 0
    assert "on the reviewed labels day-one@1" in capsys.readouterr().out


def test_labels_of_mistakes_alone_are_said_to_flatter_wherever_figures_stand_on_them(
    done: Run, demo: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes, file, other = [], tmp_path / "report.html", train_here(seed=3)
    for run in (done, other):
        table = run.predictions()
        table["predicted"] = table.label
        photos = table.source_photo[table.split == "test"].unique()
        wrong = table.source_photo == photos[0]
        table.loc[wrong, "predicted"] = next(name for name in run.classes if name not in set(table.label[wrong]))
        for name in run.classes:
            table[f"p_{name}"] = np.where(table.predicted == name, 0.7, 0.1)
        table.to_parquet(run.folder / "predictions.parquet")
        mistakes = table.image_id[(table.split == "test") & (table.label != table.predicted)].tolist()
    record(demo, mistakes, AMBIGUOUS, by="Ana")
    freeze("mistakes", demo, by="Ana")
    for verb in (
        ["evaluate", done.name, "--report", str(file)], ["compare", done.name, other.name, "--report", str(file)],
        ["review", "fixed", done.name, other.name],
    ):  # fmt: skip
        assert cli.main([*verb, "--labels", "mistakes"]) == 0
        assert "these figures flatter it" in capsys.readouterr().out
        assert verb[0] == "review" or "these figures flatter it" in file.read_text(encoding="utf-8").split("<script")[0]


def test_labels_that_leave_no_test_picture_leave_the_figures_on_the_dataset_s_own(
    done: Run, demo: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    record(demo, of_split(demo, "test"), UNUSABLE, by="Ana")
    freeze("none-left", demo, by="Ana")
    assert cli.main(["evaluate", done.name, "--labels", "none-left", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reviewed"], told["pictures"]) == (None, int((demo.pictures.split == "test").sum()))
    assert "the reviewed labels none-left@1 leave none of these pictures" in told["warnings"][0]
    other = answering_otherwise(done, "other")
    assert cli.main(["review", "fixed", done.name, other.name, "--labels", "none-left"]) == 2
    assert "leave none of the test pictures of" in capsys.readouterr().err


def test_a_run_trained_on_reviewed_labels_is_scored_and_compared_on_both(
    done: Run, day_one: Overlay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = train_here(labels="day-one"), tmp_path / "report.html"
    assert cli.main(["evaluate", run.name, "--json", "--report", str(file)]) == 0
    reviewed = json.loads(capsys.readouterr().out)["reviewed"]
    assert (reviewed["overlay"], reviewed["version"]) == ("day-one", 1)
    assert reviewed["relabelled"] > 0
    report = file.read_text(encoding="utf-8")
    assert "On reviewed labels" in report
    assert figure_words("log_loss", reviewed["log_loss"]) in report
    assert cli.main(["compare", done.name, run.name, "--json", "--report", str(file)]) == 0
    told = json.loads(capsys.readouterr().out)
    both, facts = told["reviewed"]["day-one@1"]["runs"], told["reviewed"]["day-one@1"]["comparisons"][0]
    assert both[1]["log_loss"] == reviewed["log_loss"] != told["runs"][1]["log_loss"]
    assert [facts["metrics"]["accuracy"][side] for side in "ab"] == [row["accuracy"] for row in both]
    report = file.read_text(encoding="utf-8")
    assert "Figures on the reviewed labels day-one@1" in report
    assert figure_words("log_loss", both[0]["log_loss"]) in report
    assert cli.main(["compare", done.name, run.name, "--merge", "granulocytes"]) == 0
    assert f"{run.name} on the reviewed labels day-one@1" in capsys.readouterr().out


def test_what_training_cells_are_like_is_asked_of_those_that_were_learned(demo: Dataset) -> None:
    """A picture that a person took out, for it shows no cell, told later what a cell may look like."""
    record(demo, of_split(demo, "train")[4:8], UNUSABLE, by="Ana")
    overlay, _ = freeze("day-one", demo, by="Ana")
    run = train_here(labels=overlay.reference)
    facts = Likeness.load(run.likeness_file).facts
    rows = split_rows(run.config, demo, run.validation_photos, overlay)
    assert facts["training"]["pictures"] == len(rows["train"])
    assert facts["held"]["photos"] == demo.pictures.photo[rows["val"]].nunique()
    assert len(own_pictures(run, demo, "train")) > len(rows["train"])
