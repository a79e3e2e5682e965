"""What the tests share: a workspace of their own, and small seeded picture files to hand in."""

from __future__ import annotations

import gc
import io
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bloodcell_core import runs
from bloodcell_core.errors import LabError

if TYPE_CHECKING:
    from bloodcell_core.data.formats.listing import Entry, Listing
    from bloodcell_core.inference.answers import Answer, Count

LONG = (
    "browser/test_tour", "test_worker", "test_doc_commands", "browser/test_classify", "test_team", "test_cli",
    "browser/test_review", "test_search", "test_export", "browser/test_hostile_uploads", "test_faults",
)  # fmt: skip
"""The files that take longest. Several processes begin with them, so that none is left with one when the others end.
Those that open a browser, and wait for it, lie between those that don't."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The collector of garbage goes through none of the modules and tests that are loaded here, neither while they
    are, which took a third of that time, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the long files first; the order within a file stays."""
    place = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.fixture(autouse=True)
def lab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of one test: an empty folder that no other test sees, not made until something is written."""
    home = tmp_path / "lab-home"
    monkeypatch.setenv("BLOODCELL_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def no_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty workspace has no run: those that come with the program are shown to the tests that are about them."""
    monkeypatch.setattr(runs, "BUNDLED", tmp_path / "no-bundles")


@pytest.fixture(scope="session", autouse=True)
def _components_looked_for_once() -> Iterator[None]:
    """Every `AppTest` reads what is told of each installed package, in search of components: five times the work of
    drawing a page. What is installed stays the same, so one look does for all."""
    with pytest.MonkeyPatch.context() as patch:
        if "streamlit.testing.v1" in sys.modules:  # a test of the core needs no Streamlit
            from streamlit.components.v2 import manifest_scanner as scanner

            patch.setattr(scanner, "scan_component_manifests", cache(scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace for what a module's tests make once and only read; `lab_home` takes over inside each test."""
    home = tmp_path_factory.mktemp("module") / "lab-home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOODCELL_HOME", str(home))
        yield home


def random_picture(seed: int, width: int = 24, height: int = 20) -> np.ndarray:
    """uint8 height×width×3 RGB of coloured noise; another seed gives another picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture file of that kind (a name of Pillow's), with Pillow's own `options`."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def class_files(
    per_class: int = 6,
    classes: Sequence[str] = ("blast", "band"),
    size: tuple[int, int] = (24, 20),
    seed: int = 0,
) -> dict[str, bytes]:
    """'<class>/<n>.png' → bytes, every picture another one; JPEGs (`.jpg`) stand for every third."""
    files = {}
    for place, label in enumerate(classes):
        for number in range(per_class):
            picture = random_picture(1000 * (seed * len(classes) + place) + number, *size)
            suffix, kind = (".jpg", "JPEG") if number % 3 == 2 else (".png", "PNG")
            files[f"{label}/{number}{suffix}"] = encoded(picture, kind)
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes {path inside: bytes} below `folder`, which it returns."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def count_of(answers: Iterable[Answer], classes: Sequence[str]) -> Count:
    """The cells of these answers, counted."""
    from bloodcell_core.inference.answers import Tally

    tally = Tally(classes)
    for answer in answers:
        tally.add(answer)
    return tally.count()


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Writes {path inside: bytes} as a zip at `path`, which it returns."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def listed_in(path: Path, format: str = "auto", with_test_simple: bool = False) -> tuple[list[Entry], Listing]:
    """The pictures in a source that is to be imported, and the listing that they are from."""
    from bloodcell_core.data.formats import choose_format
    from bloodcell_core.data.sources import open_source

    source = open_source(path)
    try:
        found = choose_format(source, format).read(source, with_test_simple)
        entries = [entry for entry, _ in found.pictures]
        assert len(entries) == found.total
        return entries, found
    finally:
        source.close()


def entries_of(path: Path, format: str = "auto", with_test_simple: bool = False) -> list[Entry]:
    """The pictures in a source that is to be imported."""
    return listed_in(path, format, with_test_simple)[0]


def refusal_of(path: Path, format: str = "auto") -> str:
    """The words with which a source is refused: a single line, and no long one."""
    with pytest.raises(LabError) as caught:
        entries_of(path, format)
    words = str(caught.value)
    assert "\n" not in words
    assert len(words) < 400
    return words


def write_class_folder(folder: Path, per_class: int = 6, size: tuple[int, int] = (24, 20)) -> Path:
    """A folder with two class folders of small pictures, ready to be imported."""
    return write_files(folder, class_files(per_class, size=size))


def tree(folder: Path) -> set[str]:
    """Every file and folder below `folder`, hidden ones too; empty where it isn't there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
