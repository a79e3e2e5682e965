"""Data sets by name: fetched by stand-ins for the packages that fetch them, or why not and what to do by hand."""

import gzip
import hashlib
import http.server
import json
import shlex
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from bloodcell_core import workspace
from bloodcell_core.cli import main
from bloodcell_core.data import download as downloads
from bloodcell_core.data.dataset import Dataset, names
from bloodcell_core.data.download import DOWNLOADS, download
from bloodcell_core.errors import LabError
from tests.conftest import class_files, tree, write_files
from tests.test_formats import npz, pcam_files, small_arrays

BLOOD = "bloodmnist_64.npz"


def refusal(name: str) -> str:
    with pytest.raises(LabError) as caught:
        download(name)
    words = str(caught.value)
    assert "\n" not in words
    return words


def stand_in(monkeypatch: pytest.MonkeyPatch, package: str, **contents: object) -> None:
    """A module of that name for whoever imports it."""
    module = ModuleType(package)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, package, module)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A server on this machine for the files in `folder`; `asked` are the paths that were asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *given: object) -> None:
            asked.append(self.path)

        def log_message(self, *given: object) -> None:
            """Keeps quiet."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield SimpleNamespace(folder=folder, asked=asked, address=f"http://127.0.0.1:{running.server_port}")
    running.shutdown()
    thread.join()
    running.server_close()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def blood_is_at(monkeypatch: pytest.MonkeyPatch, address: str, data: bytes) -> None:
    facts = {f"url{size}": f"{address}/bloodmnist{size}.npz" for size in ("", "_64", "_128", "_224")}
    facts |= {f"MD5{size}": md5(data) for size in ("", "_64", "_128", "_224")}
    stand_in(monkeypatch, "medmnist", INFO={"bloodmnist": facts})


# What each row needs


@pytest.mark.parametrize(("name", "package"), [(name, p) for name, row in DOWNLOADS.items() for p in row.packages])
def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch, lab_home, name, package):
    for needed in DOWNLOADS[name].packages:
        stand_in(monkeypatch, needed)
    monkeypatch.setitem(sys.modules, package, None)
    words, by_hand = refusal(name).split(".txt", 1)
    assert words == (
        f"{DOWNLOADS[name].title} is downloaded with {package}, which isn't installed: "
        "pip install -r requirements-download"
    )
    assert not lab_home.exists()
    # Of the others the package that is missing alone knows where the files lie.
    if package == "kagglehub":
        assert by_hand.startswith(", or fetch archive.zip by hand from https://www.kaggle.com/")
        assert f"data import {lab_home / 'downloads' / name}" in by_hand


def test_without_its_package_for_tables_patchcamelyon_s_files_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert "requirements-download.txt, or fetch camelyonpatch_level_2_split_train_x.h5.gz" in refusal("pcam")


def test_what_the_rows_need_is_in_the_requirements():
    listed = Path(__file__).parents[1].joinpath("requirements-download.txt").read_text()
    ordinary = Path(__file__).parents[1].joinpath("requirements.txt").read_text()
    for row in DOWNLOADS.values():
        for package in row.packages:
            assert f"\n{package}" in listed + ordinary


def test_another_name_is_refused_with_those_that_are():
    assert refusal("dicom") == f"no download is called 'dicom': there are {', '.join(DOWNLOADS)}"


# The public archive


def test_the_archive_is_fetched_by_its_handle_and_imported(monkeypatch, tmp_path, capsys):
    files = class_files(2, ("EOSINOPHIL", "MONOCYTE"))
    folder = write_files(
        tmp_path / "cache", {f"images/{s}/{f}": d for s in ("TRAIN", "TEST") for f, d in files.items()}
    )
    asked = []

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        print("Warning: looks like you're using an outdated version")  # as kagglehub does, on stdout
        return str(folder)

    stand_in(monkeypatch, "kagglehub", dataset_download=dataset_download)
    assert main(["data", "download", "blood-cell-images", "--json", "--no-trace"]) == 0
    assert asked == ["paultimothymooney/blood-cells"]
    told = capsys.readouterr()
    assert json.loads(told.out)["format"] == "blood-cell-images"
    assert "outdated" in told.err
    assert names() == ["blood-cell-images"]


def test_the_command_for_what_was_fetched_by_hand_can_be_pasted(monkeypatch, tmp_path):
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "My Lab"))
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    command = shlex.split(refusal("blood-cell-images").split("then: ")[1])
    folder = tmp_path / "My Lab" / "downloads" / "blood-cell-images"
    assert Path(command[command.index("import") + 1]).parent == folder


def test_where_the_archive_can_not_be_fetched_the_way_by_hand_is_told(monkeypatch, lab_home):
    def dataset_download(handle: str) -> str:
        raise ConnectionError("Failed to resolve 'www.kaggle.com'\n(Name or service not known)")

    stand_in(monkeypatch, "kagglehub", dataset_download=dataset_download)
    folder = lab_home / "downloads" / "blood-cell-images"
    assert refusal("blood-cell-images") == (
        "Blood Cell Images can't be downloaded (Failed to resolve 'www.kaggle.com'): fetch archive.zip by hand from "
        "https://www.kaggle.com/datasets/paultimothymooney/blood-cells, put it into "
        f"{folder}, then: python -m bloodcell_core data import {folder / 'archive.zip'} --name blood-cell-images"
    )


def test_ctrl_c_is_no_failure_of_the_network(monkeypatch):
    def dataset_download(handle: str) -> str:
        raise KeyboardInterrupt

    stand_in(monkeypatch, "kagglehub", dataset_download=dataset_download)
    with pytest.raises(KeyboardInterrupt):
        download("blood-cell-images")


# BloodMNIST


def test_bloodmnist_is_fetched_checked_imported_and_kept(monkeypatch, server, lab_home, capsys):
    data = npz(small_arrays(counts=(8, 4, 4), shape=(64, 64, 3)))
    write_files(server.folder, {BLOOD: data})
    blood_is_at(monkeypatch, server.address, data)
    assert main(["data", "download", "bloodmnist-64", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["format"], told["pictures"]) == ("bloodmnist-64", "medmnist", 16)
    assert told["classes"] == ["basophil", "eosinophil", "erythroblast"]
    assert {split: part["pictures"] for split, part in told["splits"].items()} == {"train": 8, "val": 4, "test": 4}
    requests = len(server.asked)
    assert requests
    assert download("bloodmnist-64") == lab_home / "downloads" / "bloodmnist-64" / BLOOD
    assert len(server.asked) == requests  # it was there


@pytest.mark.parametrize("size", downloads.BLOOD_SIZES)
def test_each_size_has_its_own_file(monkeypatch, server, size):
    data = npz(small_arrays())
    blood_is_at(monkeypatch, server.address, data)
    ending = "" if size == 28 else f"_{size}"
    write_files(server.folder, {f"bloodmnist{ending}.npz": data})
    assert download("bloodmnist" + ending.replace("_", "-")).name == f"bloodmnist{ending}.npz"


def test_a_file_that_does_not_match_its_checksum_is_not_imported(monkeypatch, server, lab_home, capsys):
    write_files(server.folder, {BLOOD: npz(small_arrays())[:-9]})
    blood_is_at(monkeypatch, server.address, npz(small_arrays()))
    assert main(["data", "download", "bloodmnist-64"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("bloodcell_core: BloodMNIST at 64×64 can't be downloaded (File not found or corrupted.)")
    assert names() == []


def test_where_bloodmnist_can_not_be_reached_the_way_by_hand_works(monkeypatch, server, lab_home, capsys):
    data = npz(small_arrays(counts=(8, 4, 4), shape=(64, 64, 3)))
    blood_is_at(monkeypatch, "http://127.0.0.1:9", data)  # nobody listens there
    words = refusal("bloodmnist-64")
    folder = lab_home / "downloads" / "bloodmnist-64"
    assert words.startswith("BloodMNIST at 64×64 can't be downloaded (<urlopen error ")
    assert words.endswith(
        f"fetch {BLOOD} by hand from http://127.0.0.1:9/{BLOOD}, put it into {folder}, "
        f"then: python -m bloodcell_core data import {folder / BLOOD} --name bloodmnist-64"
    )
    write_files(folder, {BLOOD: data})
    assert main(words.split("python -m bloodcell_core ")[1].split()) == 0
    assert len(Dataset("bloodmnist-64").pictures) == 16


def test_a_name_that_is_taken_is_refused_before_anything_is_fetched(monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, "medmnist")
    monkeypatch.setitem(DOWNLOADS, "pcam", DOWNLOADS["pcam"]._replace(fetch=lambda folder: pytest.fail("fetched")))
    from bloodcell_core.data.importing import import_dataset

    import_dataset(write_files(tmp_path / "cells", class_files()), "pcam")
    assert main(["data", "download", "pcam"]) == 2
    assert "'pcam' exists already" in capsys.readouterr().err


# PatchCamelyon


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What lies at Google Drive, by its file name: small pairs, packed, and their tables of slides."""
    from torchvision.datasets import PCAM

    files = {(f"{name}.gz" if name.endswith(".h5") else name): data for name, data in pcam_files().items()}
    files = {name: gzip.compress(data) if name.endswith(".gz") else data for name, data in files.items()}
    of_splits: dict[str, dict[str, tuple[str, str, str]]] = {}
    for name, data in files.items():
        if name.endswith(".gz"):
            plain = name.removesuffix(".gz")
            of_splits.setdefault(plain.split("_")[-2], {})[plain[-4]] = (plain, f"id of {name}", md5(data))
    monkeypatch.setattr(PCAM, "_FILES", of_splits)
    slides = {name: (f"id of {name}", md5(data)) for name, data in files.items() if name.endswith(".csv")}
    assert slides.keys() == downloads.PCAM_SLIDES.keys()
    monkeypatch.setattr(downloads, "PCAM_SLIDES", slides)

    def fetch(id: str, output: str, **options: object) -> None:
        if id.removeprefix("id of ") not in files:
            raise OSError("Failed to retrieve file url")
        Path(output).write_bytes(files[id.removeprefix("id of ")])

    stand_in(monkeypatch, "gdown", download=fetch)
    return files


def test_pcam_is_fetched_checked_unpacked_and_imported_with_its_slides(drive, lab_home, capsys):
    assert main(["data", "download", "pcam", "--name", "patches", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["format"], told["pictures"], told["photos"]) == ("patches", "pcam", 12, 6)
    assert Dataset("patches").facts["photos_origin"] == "told by the source"
    plain = {name.removesuffix(".gz") for name in drive}
    assert tree(lab_home / "downloads" / "pcam") == plain
    kept = {name: drive.pop(name) for name in [*drive] if name.endswith(".gz")}
    assert kept
    assert download("pcam") == lab_home / "downloads" / "pcam"  # what is there isn't fetched again


def test_where_part_of_pcam_can_not_be_fetched_the_rest_is_named(drive, lab_home):
    gone = [name for name in drive if "test" in name]
    lost = {name: drive.pop(name) for name in gone}
    words = refusal("pcam")
    folder = lab_home / "downloads" / "pcam"
    assert words.startswith("PatchCamelyon can't be downloaded (Failed to retrieve file url): fetch ")
    assert f"by hand from {downloads.PCAM_FOLDER}, put it into {folder}, run gunzip *.gz there, then: " in words
    named = words.split("fetch ")[1].split(" by hand")[0].split(", ")
    assert {*gone} <= {*named} <= {*drive, *lost}
    assert not any((folder / name.removesuffix(".gz")).exists() for name in named)
    drive |= lost
    download("pcam")
    assert tree(folder) == {name.removesuffix(".gz") for name in drive}


def test_a_packed_file_that_is_damaged_leaves_nothing_that_counts(drive, monkeypatch, lab_home):
    from torchvision.datasets import PCAM

    broken = next(name for name in drive if name.endswith("train_x.h5.gz"))
    drive[broken] = drive[broken][:-50]
    plain, identity, _ = PCAM._FILES["train"]["x"]
    PCAM._FILES["train"]["x"] = (plain, identity, md5(drive[broken]))
    assert "can't be downloaded (Compressed file ended before the end" in refusal("pcam")
    assert tree(lab_home / "downloads" / "pcam") == {broken}


def test_downloads_lie_in_the_workspace(lab_home):
    assert workspace.downloads_dir() == lab_home / "downloads"
    assert np.all([name == workspace.check_name(name, "dataset") for name in DOWNLOADS])
