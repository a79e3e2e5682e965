"""Exported runs: ONNX Runtime answers as PyTorch does, the sidecar tells all that the file doesn't hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bloodcell_core import disk, runs, workspace
from bloodcell_core.cli import main
from bloodcell_core.crops import AS_THEY_ARE, BALANCED
from bloodcell_core.data.dataset import Dataset, remove
from bloodcell_core.data.views import build_view
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.likeness import Likeness
from bloodcell_core.inference import export
from bloodcell_core.inference.export import TOLERANCE, export_onnx, open_session
from bloodcell_core.inference.exported import ExportedRun
from bloodcell_core.inference.sidecar import check_free, likeness_files, read_sidecar, sidecar_of
from bloodcell_core.kinds import INTERVALS
from bloodcell_core.models.network import build_network
from bloodcell_core.runs import Run
from bloodcell_core.training.ensembles import create_ensemble
from tests.conftest import encoded, random_picture
from tests.training_fixtures import EACH_NETWORK, trained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest_plugins = ["tests.training_fixtures"]
ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "onnx_example.py"


def like(done: Run, model: str, view: str = "frame", temperature: float = 1.0, size: int = 32) -> Run:
    """A finished run of that network with weights as they came, drawn from a seed: what `done` is otherwise."""
    name = f"20990101-000000-{workspace.slug(model)}-{view}"
    folder = workspace.run_dir(name)
    folder.mkdir()
    for file in done.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    recorded = disk.read_json(folder / "config.json")
    settings = recorded["config"] | {"model": model, "view": view, "weights": "none", "size": size}
    disk.write_json(folder / "config.json", recorded | {"config": settings})
    disk.write_json(folder / "summary.json", disk.read_json(folder / "summary.json") | {
        "temperature": temperature
    })  # fmt: skip
    torch.manual_seed(5)
    network = build_network(model, len(done.classes), size)
    with torch.no_grad():  # batch normalisation as after a training: a deep network is else the same for any picture
        network.train()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # the mean of all passes, of which a few do
        for _ in range(4):
            network(torch.rand(8, 3, size, size))
    save_file(network.state_dict(), folder / "model.safetensors")
    return Run(name)


_write = export._written
_WRITTEN: dict[str, bytes] = {}
"""What was written in this process, by all that it hangs on."""


def written(run: Run, networks: Sequence[torch.nn.Module], inputs: dict[str, str]) -> bytes:
    """To write a network as ONNX takes seconds: an equal one is what was written first, to be checked anew."""
    members = [(member.config.to_json(), member.temperature) for member in run.members]
    weights = [hashlib.sha256(member.weights_file.read_bytes()).hexdigest() for member in run.members]
    key = json.dumps([members, weights, run.temperature, inputs])
    if key not in _WRITTEN:
        _WRITTEN[key] = _write(run, networks, inputs)
    return _WRITTEN[key]


@pytest.fixture(scope="module")
def exported_once(lab_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `done`, exported; only to be copied from."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(lab_original))
        patch.setattr(export, "_written", written)
        export_onnx(runs.find("latest"), folder / "it.onnx")
    return folder


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    """`it.onnx` of `done`, with what belongs beside it, in a folder of the test's own."""
    for file in exported_once.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / "it.onnx"


@pytest.fixture
def written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that export what others do, too."""
    monkeypatch.setattr(export, "_written", written)


def pixels_of(run: Run) -> np.ndarray:
    return np.asarray(build_view(Dataset("demo"), run.config.view, run.config.size, run.config.crop)[:9])


@pytest.mark.usefixtures("written_once")
@pytest.mark.parametrize("model", EACH_NETWORK)
def test_every_network_answers_alike_in_onnx_runtime(model: str, done: Run, tmp_path: Path) -> None:
    run = like(done, model, view="cell", temperature=0.7)
    made = export_onnx(run, tmp_path / "it.onnx")
    dataset = Dataset("demo")
    checked = made.facts["checked"]
    assert checked["pictures"] == checked["same_class"] == int((dataset.pictures.split == "test").sum())
    assert checked["what"] == "test pictures"
    assert checked["largest_difference"] <= TOLERANCE

    from bloodcell_core.device import choose_device
    from bloodcell_core.models.forward import Tapped, softmax
    from bloodcell_core.models.network import load_network

    pixels = pixels_of(run)
    tapped = Tapped(load_network(run.config, len(run.classes), run.weights_file))
    logits, features = tapped.predict(pixels, choose_device("cpu"))
    session = open_session(made.file)
    for count in (1, 9):  # any number of pictures at once
        shares, raw, told = session.run(["probabilities", "logits", "features"], {"pictures": pixels[:count]})
        np.testing.assert_allclose(shares, softmax(logits, 0.7)[:count], atol=TOLERANCE)
        np.testing.assert_allclose(raw, logits.numpy()[:count], atol=1e-3)
        np.testing.assert_allclose(told, features[:count], atol=1e-3)
    assert np.ptp(softmax(logits, 0.7), axis=0).max() > 0.001, "different pictures, or nothing is shown"


def test_the_file_is_the_same_each_time_and_names_no_place_of_this_machine(
    done: Run, exported: Path, tmp_path: Path
) -> None:
    other = export_onnx(done, tmp_path / "other.onnx")
    assert exported.read_bytes() == other.file.read_bytes()
    assert sidecar_of(exported).read_bytes() == other.sidecar.read_bytes()
    for place in (str(ROOT), sys.prefix, "site-packages", ".py"):
        assert place.encode() not in other.file.read_bytes()
        assert place == ".py" or place not in other.sidecar.read_text()


@pytest.mark.usefixtures("written_once")
def test_the_sidecar_tells_all_that_the_file_does_not_hold(done: Run, tmp_path: Path) -> None:
    run = like(done, "cell_net", view="cell", temperature=0.7)
    facts = export_onnx(run, tmp_path / "it.onnx").facts
    assert facts == json.loads((tmp_path / "it.json").read_text()) == read_sidecar(tmp_path / "it.onnx")
    assert (facts["run"], facts["classes"], facts["temperature"]) == (run.name, run.classes, 0.7)
    assert facts["synthetic"] is True
    (given,) = facts["inputs"]
    assert (given["view"], given["size"], given["shape"]) == ("cell", 32, ["n", 32, 32, 3])
    assert given["crop"] == {"scale": 2.0, "margin": 0.0, "border": "background"}
    assert "32×32" in given["words"]
    assert facts["members"][0]["normalisation"] == {"mean": [0.5] * 3, "std": [0.25] * 3, "inside": True}
    assert 0.5 <= facts["review_threshold"] < 1
    assert facts["data"]["licence"] == "MIT"
    assert facts["test"]["pictures"] == run.summary()["test"]["pictures"]
    assert "not for diagnosis" in facts["use"]


@pytest.mark.usefixtures("written_once")
def test_an_ensemble_is_one_file_with_an_input_for_each_view(done: Run, tmp_path: Path) -> None:
    ensemble = create_ensemble([done, trained(view="cell", epochs=1), trained(seed=3, epochs=1)], "together")
    made = export_onnx(ensemble, tmp_path / "together.onnx")
    assert [given["name"] for given in made.facts["inputs"]] == ["pictures", "pictures_2"]
    assert [member["input"] for member in made.facts["members"]] == ["pictures", "pictures_2", "pictures"]
    assert made.facts["checked"]["what"] == "test pictures"
    views = {
        given["name"]: np.asarray(build_view(Dataset("demo"), given["view"], 32)) for given in made.facts["inputs"]
    }
    shares = open_session(made.file).run(["probabilities"], views)[0]
    kept = ensemble.predictions().set_index("image_id")
    pictures = Dataset("demo").pictures
    rows = pictures.index[pictures.split == "test"]
    wanted = kept.loc[pictures.image_id[rows], [f"p_{name}" for name in ensemble.classes]].to_numpy()
    np.testing.assert_allclose(shares[rows], wanted, atol=TOLERANCE)
    # The example would show the same pixels to both views
    ran = subprocess.run([sys.executable, "-I", str(EXAMPLE), str(made.file)], capture_output=True, text=True)
    assert (ran.returncode, "sees each cell in several views" in ran.stderr) == (1, True)


@pytest.mark.usefixtures("written_once")
def test_without_its_dataset_a_run_is_checked_on_random_pictures_and_says_so(done: Run, tmp_path: Path) -> None:
    remove("demo")
    facts = export_onnx(done, tmp_path / "it.onnx").facts
    assert facts["checked"]["pictures"] == export.RANDOM_PICTURES
    assert "isn't here" in facts["checked"]["what"]
    assert facts["data"]["licence"] is None


@pytest.mark.usefixtures("written_once")
def test_a_run_whose_dataset_has_no_test_picture_for_it_is_checked_on_random_ones(done: Run, tmp_path: Path) -> None:
    table = Dataset("demo").images.assign(split="train")
    file = workspace.dataset_dir("demo") / "images.parquet"
    file.unlink()  # it is a hard link: the other tests' stays as it is
    table.to_parquet(file)
    checked = export_onnx(done, tmp_path / "it.onnx").facts["checked"]
    assert checked["what"] == "random pictures (the run's own dataset has no test picture of its classes)"


@pytest.mark.usefixtures("written_once")
def test_a_file_that_answers_otherwise_is_not_kept(done: Run, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "it.onnx").write_bytes(b"what was there")
    opened = open_session

    class Otherwise:
        def __init__(self, file: Path):
            self._session = opened(file)

        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            (shares,) = self._session.run(names, given)
            return [shares + np.float32(2 * TOLERANCE)]

    monkeypatch.setattr(export, "open_session", Otherwise)
    with pytest.raises(LabError, match=r"doesn't answer as PyTorch does.* apart\. Nothing was written"):
        export_onnx(done, tmp_path / "it.onnx")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == {"it.onnx": b"what was there"}


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_remedy(done: Run, tmp_path: Path, monkeypatch: Any, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LabError, match=rf"^{package} isn't installed.*pip install -r requirements-export\.txt"):
        export_onnx(done, tmp_path / "it.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_the_requirements_that_are_named_are_there() -> None:
    told = (ROOT / "requirements-export.txt").read_text()
    assert all(f"\n{package}>" in told for package in ("onnx", "onnxscript", "onnxruntime"))


def test_a_run_without_weights_and_a_name_of_another_kind_are_refused(done: Run, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"something\.onnx, not 'it\.pt'"):
        export_onnx(done, tmp_path / "it.pt")
    done.weights_file.unlink()
    with pytest.raises(LabError, match=r"model\.safetensors is missing"):
        export_onnx(done, tmp_path / "it.onnx")


def test_a_network_that_can_not_be_written_says_so(done: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(LabError, match="can't be written as ONNX: division by zero"):
        export_onnx(done, tmp_path / "it.onnx")
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.usefixtures("written_once")
@pytest.mark.parametrize("content", ['{"epochs": 3}', "no JSON", "[]"])
def test_a_file_of_something_else_is_not_replaced_by_the_sidecar(done: Run, tmp_path: Path, content: str) -> None:
    other = tmp_path / "out" / "results.json"
    other.parent.mkdir()
    other.write_text(content)
    with pytest.raises(LabError, match=r"results\.json is there already and is of something else"):
        export_onnx(done, other.with_name("results.onnx"))
    assert [path.name for path in other.parent.iterdir()] == ["results.json"]
    assert other.read_text() == content
    disk.write_json(other, {"format": "blood-cell-lab-onnx"})
    made = export_onnx(done, other.with_name("results.onnx"))
    assert read_sidecar(made.file)["run"] == done.name
    other.write_text(content)  # as where another program wrote both
    with pytest.raises(LabError, match=r"results\.json is there already"):
        export_onnx(done, made.file)
    assert other.read_text() == content


@pytest.mark.usefixtures("written_once")
def test_another_programs_weights_are_not_replaced_by_the_likeness(done: Run, tmp_path: Path) -> None:
    other = tmp_path / "results.likeness.safetensors"
    other.write_bytes(b"theirs")
    with pytest.raises(LabError, match=r"results\.likeness\.safetensors is there already and is of something else"):
        export_onnx(done, tmp_path / "results.onnx")
    assert other.read_bytes() == b"theirs"


SCORED = {"pictures": 3, "photos": 3, "unit": "photo", "accuracy": 1.0, "intervals": dict.fromkeys(INTERVALS)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: "{", "can't be read"),
        (lambda facts: "[" * 100_000, "can't be read"),
        (lambda facts: "[]", "is no sidecar"),
        (lambda facts: facts | {"format": "another"}, "is no sidecar"),
        (lambda facts: facts | {"version": 99}, "another version"),
        (lambda facts: facts | {"sha256": "0"}, "belongs to another file"),
        (lambda facts: facts | {"classes": None}, "is damaged"),
        (lambda facts: facts | {"classes": ["a", "a"]}, "is damaged"),
        (lambda facts: facts | {"review_threshold": 5}, "is damaged"),
        (lambda facts: facts | {"test": {"pictures": 3}}, "is damaged"),
        (lambda facts: facts | {"test": [1]}, "is damaged"),
        (lambda facts: facts | {"test": SCORED | {"intervals": {}}}, "is damaged"),
        (lambda facts: facts | {"temperature": 0}, "is damaged"),
        (lambda facts: facts | {"members": []}, "is damaged"),
        (lambda facts: facts | {"members": [{"input": "pictures", "temperature": 1.0}]}, "is damaged"),
        (lambda facts: facts | {"inputs": [{"name": "pictures"}]}, "is damaged"),
        (lambda facts: {key: told for key, told in facts.items() if key != "inputs"}, "is damaged"),
    ],
)
def test_a_damaged_sidecar_says_so(done: Run, tmp_path: Path, change: Any, words: str) -> None:
    file = tmp_path / "it.onnx"
    file.write_bytes(b"file")
    facts: dict[str, Any] = {
        "format": "blood-cell-lab-onnx", "version": 1, "sha256": hashlib.sha256(b"file").hexdigest(), "run": "r",
        "classes": ["a", "b"], "temperature": 1.0, "review_threshold": 0.5,
        "test": SCORED,
        "inputs": [{"name": "pictures", "view": "cell", "size": 96,
                    "crop": {"scale": 2.0, "margin": 0.0, "border": "edge"}}],
        "members": [{"input": "pictures", "temperature": 1.0, "logits": "logits", "features": "features"}],
    }  # fmt: skip
    disk.write_json(sidecar_of(file), facts)
    assert read_sidecar(file) == facts
    changed = change(facts)
    sidecar_of(file).write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(LabError, match=words):
        read_sidecar(file)
    sidecar_of(file).unlink()
    with pytest.raises(LabError, match=r"has no it\.json beside it"):
        read_sidecar(file)


def test_a_sidecar_without_an_end_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "it.onnx"
    os.mkfifo(sidecar_of(file))
    with pytest.raises(LabError, match=r"it\.json can't be read: it is no file"):
        read_sidecar(file)
    with pytest.raises(LabError, match="is of something else"):
        check_free(file, 1)


def test_what_is_no_onnx_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(b"not a network")
    with pytest.raises(LabError, match=r"it\.onnx can't be used as an ONNX file"):
        open_session(tmp_path / "it.onnx")


@pytest.mark.usefixtures("written_once")
def test_the_command_line_tells_what_was_compared(done: Run, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "it.onnx"
    assert main(["export", "latest", str(file)]) == 0
    said = capsys.readouterr()
    assert "the same class as PyTorch on all" in said.out
    assert "test pictures, probabilities at most" in said.out
    assert main(["export", "latest", "--to", "onnx", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(file)
    assert told["checked"]["same_class"] == told["checked"]["pictures"]
    assert {told["file"], told["sidecar"], *told["likeness"]} == {str(path) for path in tmp_path.glob("it.*")}
    assert all(f"{path}: " in said.out for path in tmp_path.glob("it.*"))  # who takes it elsewhere takes all of it


def test_the_example_of_the_docs_answers_as_the_run_does(
    done: Run, pictures: list[Path], exported: Path, tmp_path: Path
) -> None:
    """Without this project: the example imports nothing of it."""
    assert runs.find("latest").config.view == "frame"
    assert len(EXAMPLE.read_text().splitlines()) <= 27
    ran = subprocess.run(
        [sys.executable, "-I", str(EXAMPLE), "it.onnx", *map(str, pictures[:3])],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts = json.loads((tmp_path / "it.json").read_text())
    assert facts["inputs"][0]["words"] in ran.stderr  # of a cell view: that the cell must be cut out
    said = ran.stdout.splitlines()

    from bloodcell_core.inference.handed_in import files_of
    from bloodcell_core.inference.predictor import Predictor

    for line, answer in zip(said, Predictor(done, "cpu").classify(files_of(pictures[:3])), strict=True):
        shares = answer.cells[0].probabilities
        assert line.endswith(" ".join(f"{share:.4f}" for share in shares.values()))
        assert max(shares, key=shares.__getitem__) in line


def test_nothing_is_imported_before_it_is_used() -> None:
    script = "import sys, bloodcell_core.inference.export, bloodcell_core.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"onnx", "onnxruntime", "onnxscript"} & set(done.stdout.split())


# An exported file instead of the run


def answers_of(run: Run, paths: list[Path], **more: Any) -> list[Any]:
    from bloodcell_core.inference.handed_in import files_of
    from bloodcell_core.inference.predictor import Predictor

    return list(Predictor(run, "cpu", **more).classify(files_of(paths)))


def assert_alike(got: list[Any], wanted: list[Any]) -> None:
    for mine, theirs in zip(got, wanted, strict=True):
        assert (mine.path, mine.state, mine.reason) == (theirs.path, theirs.state, theirs.reason)
        for here, there in zip(mine.cells, theirs.cells, strict=True):
            assert (here.box, here.state, here.label) == (there.box, there.state, there.label)
            assert here.probabilities == pytest.approx(there.probabilities, abs=TOLERANCE)
            assert here.distance == pytest.approx(there.distance, rel=1e-3)


@pytest.mark.parametrize("colours", [AS_THEY_ARE, BALANCED])
def test_predictions_with_the_file_are_those_of_the_run(
    done: Run, pictures: list[Path], tmp_path: Path, colours: str
) -> None:
    run = trained(view="cell", epochs=1, colours=colours)
    file = export_onnx(run, tmp_path / "it.onnx").file
    (tmp_path / "noise.png").write_bytes(encoded(random_picture(0, 200, 160)))
    handed = [*pictures[:12], tmp_path / "noise.png"]
    wanted = answers_of(run, handed)
    assert_alike(answers_of(ExportedRun(file), handed), wanted)
    assert {cell.state for answer in wanted for cell in answer.cells} & {"ok", "unsure"}
    assert_alike(answers_of(ExportedRun(file), pictures[:3], threshold=0.0, average_turns=True),
                 answers_of(run, pictures[:3], threshold=0.0, average_turns=True))  # fmt: skip


def test_the_file_needs_neither_the_run_nor_its_dataset(
    done: Run, pictures: list[Path], exported: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    file, wanted = exported, answers_of(done, pictures[:4])
    kept = [tmp_path / path.name for path in pictures[:4]]
    for path, copy in zip(pictures, kept, strict=False):
        copy.write_bytes(path.read_bytes())
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "elsewhere"))
    assert [answer.cells for answer in answers_of(ExportedRun(file), kept)] == [
        [
            dataclasses.replace(cell, probabilities=pytest.approx(cell.probabilities, abs=TOLERANCE),
                                distance=pytest.approx(cell.distance, rel=1e-3))
            for cell in answer.cells
        ]
        for answer in wanted
    ]  # fmt: skip
    assert not (tmp_path / "elsewhere").exists()
    for beside in tmp_path.glob("*.likeness*"):
        beside.unlink()
    assert "it.likeness.safetensors isn't beside the exported file" in answers_of(ExportedRun(file), kept)[0].reason


@pytest.mark.usefixtures("written_once")
def test_an_ensemble_in_one_file_answers_as_the_ensemble_does(done: Run, pictures: list[Path], tmp_path: Path) -> None:
    ensemble = create_ensemble([done, trained(view="cell", epochs=1), trained(seed=3, epochs=1)], "together")
    file = export_onnx(ensemble, tmp_path / "together.onnx").file
    exported = ExportedRun(file)
    assert exported.is_ensemble
    assert exported.view_words == ensemble.view_words == "frame and cell"
    assert exported.config.model == ensemble.config.model  # reports say by what cells were classified
    assert_alike(answers_of(exported, pictures[:6]), answers_of(ensemble, pictures[:6]))


def test_predict_takes_an_exported_file_in_place_of_a_run(
    done: Run, pictures: list[Path], exported: Path, tmp_path: Path, capsys: Any
) -> None:
    file, said = exported, []
    for run in ("latest", str(file)):
        assert main(["predict", run, *map(str, pictures[:3]), "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["run"] == said[1]["run"] == done.name
    assert said[0]["threshold"] == said[1]["threshold"]
    labels = [[picture["cells"][0]["label"] for picture in told["pictures"]] for told in said]
    assert labels[0] == labels[1]
    assert main(["predict", str(tmp_path / "nowhere.onnx"), str(pictures[0])]) == 2
    assert "nowhere.onnx doesn't exist" in capsys.readouterr().err
    (tmp_path / "folder.onnx").mkdir()
    assert main(["predict", str(tmp_path / "folder.onnx"), str(pictures[0])]) == 2
    assert "folder.onnx is no file" in capsys.readouterr().err


def test_a_slide_s_report_says_of_an_exported_file_what_it_says_of_the_run(
    done: Run, pictures: list[Path], exported: Path, tmp_path: Path
) -> None:
    said = []
    for place, run in enumerate(("latest", str(exported))):
        report = tmp_path / f"{place}.html"
        assert main(["predict", run, *map(str, pictures), "--cells", "--threshold", "0", "--report", str(report)]) == 0
        said.append(report.read_text(encoding="utf-8"))
    answered = [each[each.index("Trained on") : each.index("Review threshold")] for each in said]
    assert "demo" in answered[0]
    assert answered[0] == answered[1]
    assert "answers on its own validation and test pictures aren&#x27;t known here" in said[1]
    assert "no validation or test photo" not in said[1]
    assert read_sidecar(exported)["test"]["unit"] == done.summary()["test"]["unit"]


def test_an_exported_file_is_computed_on_no_other_device_than_is_said(
    done: Run, pictures: list[Path], exported: Path, capsys: Any
) -> None:
    assert main(["predict", str(exported), str(pictures[0]), "--device", "cuda"]) == 2
    assert "an exported file is computed on the CPU, not on cuda" in capsys.readouterr().err
    assert main(["predict", str(exported), str(pictures[0]), "--device", "cpu"]) == 0


def test_a_file_that_is_another_than_its_sidecar_says_is_refused(exported: Path) -> None:
    facts = read_sidecar(exported)
    given = facts["inputs"][0] | {"size": 64}
    disk.write_json(sidecar_of(exported), facts | {"inputs": [given]})
    with pytest.raises(LabError, match="isn't what its sidecar says"):
        ExportedRun(exported)
    for classes in (facts["classes"][1:], [*facts["classes"], "another"]):
        disk.write_json(sidecar_of(exported), facts | {"classes": classes})
        with pytest.raises(LabError, match="isn't what its sidecar says"):
            ExportedRun(exported)
    disk.write_json(sidecar_of(exported), facts | {"inputs": [{"name": "pictures", "size": 32}]})
    with pytest.raises(LabError, match="the sidecar is damaged"):
        ExportedRun(exported)


def test_what_another_file_s_training_cells_are_like_is_not_taken_for_this_one_s(exported: Path) -> None:
    """Copied over an older export without it: cells would be refused by another network's limits."""
    (beside,) = likeness_files(exported, 1)
    other = Likeness.load(beside)
    limits = [each + 1 for each in other.facts["limits"]]
    dataclasses.replace(other, facts=other.facts | {"limits": limits}).save(beside)
    with pytest.raises(LabError, match=r"it\.likeness\.safetensors belongs to another exported file"):
        ExportedRun(exported)
    beside.unlink()
    assert "isn't beside the exported file" in ExportedRun(exported).loaded[0].why_unknown


def test_the_docs_show_the_example_that_is_tested() -> None:
    code = EXAMPLE.read_text()
    assert code[code.index("import json") :] in (ROOT / "docs" / "onnx.md").read_text()
