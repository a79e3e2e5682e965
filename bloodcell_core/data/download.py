"""Downloads public data sets by name, with the packages that know their addresses: kagglehub, medmnist, torchvision.

These are optional (requirements-download.txt) and imported when used. They verify checksums and show their progress on
stderr. Files are kept in the workspace's `downloads/` (by kagglehub in its own cache) and not fetched again while they
are there.
"""

from __future__ import annotations

import gzip
import importlib
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bloodcell_core import disk, workspace
from bloodcell_core.errors import LabError, brief

KAGGLE_SET = "paultimothymooney/blood-cells"
PCAM_FOLDER = "https://drive.google.com/drive/folders/1gHou49cA1s5vua2V5L98Lt8TiWA3FrKB"
PCAM_SLIDES = {  # the tables of slides, which torchvision leaves out: (id at Google Drive, md5)
    "camelyonpatch_level_2_split_train_meta.csv": (
        "1XoaGG3ek26YLFvGzmkKeOz54INW0fruR",
        "5a3dd671e465cfd74b5b822125e65b0a",
    ),
    "camelyonpatch_level_2_split_valid_meta.csv": (
        "16hJfGFCZEcvR3lr38v3XCaD5iH1Bnclg",
        "67589e00a4a37ec317f2d1932c7502ca",
    ),
    "camelyonpatch_level_2_split_test_meta.csv": (
        "19tj7fBlQQrd4DapCjhZrom_fA4QlHqN4",
        "3455fd69135b66734e1008f3af684566",
    ),
}
BLOOD_SIZES = (28, 64, 128, 224)


class Missing(NamedTuple):
    """The files that a person can fetch by hand where a download fails."""

    files: str
    address: str
    source: str
    """What to import then: a file in the folder that they are put into, or '' for the folder itself."""
    first: str = ""
    """What to do with them before that, to follow the folder in a sentence."""


class Download(NamedTuple):
    """A public data set that can be downloaded by name."""

    title: str
    packages: tuple[str, ...]
    """The packages that must be installed."""
    fetch: Callable[[Path], Path]
    """Fetches into a folder and returns what to import. Any exception means that it failed."""
    missing: Callable[[Path], Missing]
    """The files that aren't in that folder yet."""


def download(name: str) -> Path:
    """Downloads the data set `name`, a key of DOWNLOADS, unless it is there already; returns what to import.

    Raises LabError for an unknown name; where a package is missing, with the command that installs it; and where
    fetching fails, with the files to fetch by hand, where to put them, and the command that imports them.
    """
    if name not in DOWNLOADS:
        raise LabError(f"no download is called {name[:40]!r}: there are {', '.join(DOWNLOADS)}")
    row = DOWNLOADS[name]
    for package in row.packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise LabError(
                f"{row.title} is downloaded with {package}, which isn't installed: "
                f"pip install -r requirements-download.txt{_or_by_hand(name)}"
            ) from None
    folder = workspace.downloads_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for our own output alone, such as one JSON object
            return row.fetch(folder)
    except Exception as error:  # each package raises its own for a network, a server, a checksum or a disk
        raise LabError(f"{row.title} can't be downloaded ({brief(error)}): {_by_hand(name)}") from error


def _by_hand(name: str) -> str:
    folder = workspace.downloads_dir() / name
    missing = DOWNLOADS[name].missing(folder)
    return (
        f"fetch {missing.files} by hand from {missing.address}, put it into {folder}{missing.first}, then: "
        f"python -m bloodcell_core data import {shlex.quote(str(folder / missing.source))} --name {name}"
    )


def _or_by_hand(name: str) -> str:
    try:
        return f", or {_by_hand(name)}"
    except ImportError:  # only the missing package itself, such as medmnist, knows its addresses
        return ""


# The public archive


def _fetch_archive(folder: Path) -> Path:
    import kagglehub

    return Path(kagglehub.dataset_download(KAGGLE_SET))


def _missing_archive(folder: Path) -> Missing:
    return Missing("archive.zip", f"https://www.kaggle.com/datasets/{KAGGLE_SET}", "archive.zip")


# BloodMNIST, of one resolution


def _fetch_blood(size: int, folder: Path) -> Path:
    from medmnist import INFO
    from torchvision.datasets.utils import download_url

    file = _missing_blood(size, folder)
    download_url(file.address, str(folder), file.files, INFO["bloodmnist"][f"MD5{_blood_ending(size)}"])
    return folder / file.source


def _missing_blood(size: int, folder: Path) -> Missing:
    from medmnist import INFO

    file = f"bloodmnist{_blood_ending(size)}.npz"
    return Missing(file, INFO["bloodmnist"][f"url{_blood_ending(size)}"], file)


def _blood_ending(size: int) -> str:
    return "" if size == BLOOD_SIZES[0] else f"_{size}"


# PatchCamelyon


def _fetch_pcam(folder: Path) -> Path:
    from torchvision.datasets.utils import download_file_from_google_drive

    for file, (identity, md5) in _pcam_files().items():
        if not file.endswith(".h5"):
            download_file_from_google_drive(identity, str(folder), file, md5)
        elif not (folder / file).exists():
            packed = folder / f"{file}.gz"
            download_file_from_google_drive(identity, str(folder), packed.name, md5)
            # Unpacked here because torchvision reads all 7 GB of a file into memory.
            with disk.write_atomic(folder / file) as temporary:
                with gzip.open(packed) as source, open(temporary, "wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
            packed.unlink()
    return folder


def _missing_pcam(folder: Path) -> Missing:
    files = [f"{file}.gz" if file.endswith(".h5") else file for file in _pcam_files() if not (folder / file).exists()]
    return Missing(", ".join(files), PCAM_FOLDER, "", ", run gunzip *.gz there")


def _pcam_files() -> dict[str, tuple[str, str]]:
    """Each file's id at Google Drive and the md5 of what is downloaded for it."""
    from torchvision.datasets import PCAM

    known = {name: (identity, md5) for of in PCAM._FILES.values() for name, identity, md5 in of.values()}
    return known | PCAM_SLIDES


DOWNLOADS: dict[str, Download] = {
    "blood-cell-images": Download("Blood Cell Images", ("kagglehub",), _fetch_archive, _missing_archive),
    **{
        f"bloodmnist{_blood_ending(size).replace('_', '-')}": Download(
            f"BloodMNIST at {size}×{size}",
            ("medmnist", "torchvision"),
            partial(_fetch_blood, size),
            partial(_missing_blood, size),
        )
        for size in BLOOD_SIZES
    },
    "pcam": Download("PatchCamelyon", ("torchvision", "gdown"), _fetch_pcam, _missing_pcam),
}
"""The data sets that can be downloaded, by name; it is also the imported dataset's name where no other is given."""
