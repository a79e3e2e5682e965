"""What a network sees of a picture, and the file that keeps it for a whole dataset."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from threadpoolctl import threadpool_info, threadpool_limits

from bloodcell_core import workspace
from bloodcell_core.background import StopRequested
from bloodcell_core.crops import BORDERS, VIEWS, Crop
from bloodcell_core.data import views
from bloodcell_core.data.dataset import Dataset, remove
from bloodcell_core.data.demo import DEMO_CLASSES, PICTURE_SIZE, draw_field
from bloodcell_core.data.importing import import_dataset
from bloodcell_core.data.parallel import picture_threads, usable_cores
from bloodcell_core.data.views import build_view, make_view, view_name
from bloodcell_core.errors import LabError
from tests.conftest import class_files, random_picture, tree, write_class_folder, write_files
from tests.training_fixtures import drawn

SIZE = 32


@pytest.fixture
def cells(tmp_path: Path) -> Dataset:
    """14 pictures of 48×40 coloured noise."""
    return import_dataset(write_class_folder(tmp_path / "cells", 7, size=(48, 40)), "cells")


# One picture


@pytest.mark.parametrize(("width", "height"), [(320, 240), (96, 200), (96, 96)])
def test_a_frame_view_is_the_whole_picture_averaged_by_area(width, height):
    picture = random_picture(0, width, height)
    view = make_view(picture, "frame", 96)
    assert np.array_equal(view.pixels, cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA))
    assert view.box == (0, 0, width, height)
    assert view.found


def test_a_frame_view_averages_whole_areas():
    picture = random_picture(1, 64, 64)
    means = picture.reshape(32, 2, 32, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(make_view(picture, "frame", 32).pixels - means).max() <= 0.5


def test_a_small_picture_is_enlarged_smoothly():
    picture = random_picture(2, 24, 20)
    assert np.array_equal(
        make_view(picture, "frame", 96).pixels, cv2.resize(picture, (96, 96), interpolation=cv2.INTER_CUBIC)
    )


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("width", "height"), [(320, 240), (8, 8), (9, 200), (200, 9), (700, 500)])
@pytest.mark.parametrize("size", [32, 96])
def test_every_view_of_every_picture_is_one_square_of_bytes(view, width, height, size):
    made = make_view(random_picture(3, width, height), view, size)
    assert made.pixels.shape == (size, size, 3)
    assert made.pixels.dtype == np.uint8
    x0, y0, x1, y1 = made.box
    assert x1 > x0
    assert y1 > y0


@pytest.mark.parametrize("label", DEMO_CLASSES)
def test_a_cell_view_is_centred_on_the_white_cell_and_holds_it(label):
    for seed in range(4):
        field = draw_field(np.random.default_rng(seed), [label], PICTURE_SIZE)
        ((_, (x0, y0, x1, y1)),) = field.cells
        view = make_view(field.pixels, "cell", 96)
        assert view.found
        left, top, right, bottom = view.box
        assert right - left == bottom - top
        side = max(x1 - x0, y1 - y0)
        assert abs((left + right) - (x0 + x1)) / 2 < 0.3 * side  # a nucleus may lie to one side of its cell
        assert abs((top + bottom) - (y0 + y1)) / 2 < 0.3 * side
        inside = max(0, min(right, x1) - max(left, x0)) * max(0, min(bottom, y1) - max(top, y0))
        assert inside / ((x1 - x0) * (y1 - y0)) > 0.85


def test_a_cell_view_shows_its_box_of_the_picture_at_the_picture_s_own_resolution():
    field = draw_field(np.random.default_rng(8), ["monocyte"], PICTURE_SIZE)
    view = make_view(field.pixels, "cell", 32)
    x0, y0, x1, y1 = view.box
    rows, columns = np.clip(range(y0, y1), 0, 239), np.clip(range(x0, x1), 0, 319)
    cut = np.ascontiguousarray(field.pixels[np.ix_(rows, columns)])
    assert np.array_equal(view.pixels, cv2.resize(cut, (32, 32), interpolation=cv2.INTER_AREA))


def test_of_several_cells_the_largest_is_shown():
    picture = np.full((240, 320, 3), (232, 222, 226), np.uint8)
    for x, radius in ((60, 20), (200, 35)):
        cv2.circle(picture, (x, 120), radius, (110, 60, 150), cv2.FILLED)
    x0, _, x1, _ = make_view(picture, "cell", 32).box
    assert abs((x0 + x1) / 2 - 200) < 3


@pytest.mark.parametrize(
    ("width", "height", "box"), [(320, 240, (40, 0, 280, 240)), (100, 141, (0, 20, 100, 120)), (50, 50, (0, 0, 50, 50))]
)
def test_where_no_cell_is_found_the_middle_is_shown_and_that_is_said(width, height, box):
    picture = np.full((height, width, 3), (232, 222, 226), np.uint8)
    picture[:, :, 0] = np.linspace(200, 240, width)
    view = make_view(picture, "cell", 32)
    assert not view.found
    assert view.box == box
    x0, y0, x1, y1 = box
    assert np.array_equal(view.pixels, cv2.resize(picture[y0:y1, x0:x1], (32, 32), interpolation=cv2.INTER_AREA))


def test_a_view_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no view is called 'nucleus': use frame or cell"):
        make_view(random_picture(0), "nucleus", 96)


# A whole dataset


@pytest.mark.parametrize("view", VIEWS)
def test_a_dataset_s_view_is_the_view_of_each_picture_in_its_order(view):
    dataset = drawn("demo", per_class=10, seed=2)
    built = build_view(dataset, view, SIZE)
    assert built.shape == (40, SIZE, SIZE, 3)
    assert built.dtype == np.uint8
    for row in range(40):
        assert np.array_equal(built[row], make_view(dataset.read_original(row), view, SIZE).pixels)


def test_the_order_holds_over_many_batches_and_each_is_told(cells, monkeypatch):
    monkeypatch.setattr(views, "BATCH", 4)
    told: list[tuple[int, int]] = []
    built = build_view(cells, "frame", SIZE, progress=lambda *progress: told.append(progress))
    assert told == [(4, 14), (8, 14), (12, 14), (14, 14)]
    for row in range(14):
        assert np.array_equal(built[row], make_view(cells.read_original(row), "frame", SIZE).pixels)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is read from /proc")
def test_a_view_is_renamed_when_it_is_no_longer_mapped(cells: Dataset, monkeypatch: pytest.MonkeyPatch):
    replace, mapped = os.replace, []

    def watched(source: Path, target: Path) -> None:
        mapped.append(str(source) in Path("/proc/self/maps").read_text(encoding="utf-8"))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    build_view(cells, "frame", SIZE)
    assert mapped == [False]


def test_unreadable_pictures_and_duplicates_have_no_row(tmp_path):
    folder = write_class_folder(tmp_path / "odd", 5)
    (folder / "band" / "000.png").write_bytes(b"words")
    (folder / "band" / "copy.png").write_bytes((folder / "band" / "0.png").read_bytes())
    dataset = import_dataset(folder)
    assert len(build_view(dataset, "frame", SIZE)) == len(dataset.pictures) == 10


def test_a_built_view_is_a_map_of_the_file_that_nobody_can_write_to(cells):
    built = build_view(cells, "frame", SIZE)
    assert isinstance(built, np.memmap)
    assert not built.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        built[0] = 0


def test_a_view_is_built_once_for_each_name_and_size(cells, monkeypatch):
    first = build_view(cells, "frame", SIZE)
    other, larger = build_view(cells, "cell", SIZE), build_view(cells, "frame", 40)
    assert larger.shape == (14, 40, 40, 3)
    assert not np.array_equal(first, other)
    assert tree(cells.folder / "views") == {
        f"{view_name(view, size, Crop())}.npy" for view, size in (("frame", 32), ("cell", 32), ("frame", 40))
    }
    monkeypatch.setattr(views, "make_view", lambda *given: pytest.fail("built again"))
    told: list[tuple[int, int]] = []
    assert np.array_equal(build_view(Dataset("cells"), "frame", SIZE, progress=lambda *p: told.append(p)), first)
    assert told == []


def test_a_view_goes_with_its_dataset(cells, lab_home):
    build_view(cells, "frame", SIZE)
    remove("cells")
    assert tree(lab_home / "datasets") == set()


# Failures


def break_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
    calls, make = iter(range(1, 10**6)), views.make_view

    def make_or_fail(*given):
        if next(calls) == call:
            raise error
        return make(*given)

    monkeypatch.setattr(views, "make_view", make_or_fail)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), LabError("no")])
@pytest.mark.parametrize("call", [1, 9])
def test_a_build_that_fails_leaves_nothing_and_the_next_one_works(cells, monkeypatch, call, error):
    monkeypatch.setattr(views, "BATCH", 4)
    with pytest.MonkeyPatch.context() as patch:
        break_at(patch, call, error)
        with pytest.raises(type(error)):
            build_view(cells, "frame", SIZE)
    assert tree(cells.folder / "views") == set()
    assert np.array_equal(
        build_view(cells, "frame", SIZE)[13], make_view(cells.read_original(13), "frame", SIZE).pixels
    )


def test_who_waits_for_another_s_build_can_be_stopped(cells, monkeypatch):
    monkeypatch.setattr(views, "WAIT", 0.01)
    asked = []

    def stopped_at_the_second(done: int, total: int) -> None:
        asked.append((done, total))
        if len(asked) == 2:
            raise StopRequested

    with FileLock(workspace.lock_file("views-cells")), pytest.raises(StopRequested):
        build_view(cells, "frame", SIZE, progress=stopped_at_the_second)
    assert asked == [(0, 14)] * 2
    assert build_view(cells, "frame", SIZE).any()


def test_what_a_killed_build_left_does_not_count(cells):
    left = cells.folder / "views" / ".frame-32.npy.abcdef"
    left.parent.mkdir()
    np.save(left.with_suffix(".npy"), np.zeros((14, SIZE, SIZE, 3), np.uint8))
    assert build_view(cells, "frame", SIZE).any()


def test_a_missing_original_is_named_and_no_view_made(cells):
    stored = cells.pictures.stored[5]
    (cells.folder / "originals" / stored).unlink()
    with pytest.raises(LabError, match=r"is missing from originals: import it again"):
        build_view(cells, "frame", SIZE)
    assert tree(cells.folder / "views") == set()


def saved(array: np.ndarray, path: Path) -> bytes:
    np.save(path, array)
    return path.read_bytes()


DAMAGE = {
    "empty": lambda whole, path: b"",
    "cut in its header": lambda whole, path: whole[:40],
    "cut in its pixels": lambda whole, path: whole[:-1],
    "no numpy file": lambda whole, path: b"words" * 9000,
    "a header that makes no sense": lambda whole, path: whole[:10] + b"{'(" + whole[13:],
    "a header that never ends": lambda whole, path: whole[:10] + b"{(((" + whole[14:],
    "of another dataset": lambda whole, path: saved(np.zeros((13, SIZE, SIZE, 3), np.uint8), path),
    "of another size": lambda whole, path: saved(np.zeros((14, 40, 40, 3), np.uint8), path),
    "of another kind of number": lambda whole, path: saved(np.zeros((14, SIZE, SIZE, 3), np.float32), path),
    "a pickle": lambda whole, path: saved(np.array([{"a": 1}], dtype=object), path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_view_is_named_with_the_remedy_which_works(cells, tmp_path, damage):
    expected = build_view(cells, "frame", SIZE).copy()
    file = workspace.view_file("cells", f"frame-{SIZE}")
    file.write_bytes(DAMAGE[damage](file.read_bytes(), tmp_path / "other.npy"))
    with pytest.raises(LabError) as caught:
        build_view(cells, "frame", SIZE)
    assert str(caught.value) == f"the frame view of 'cells' is damaged: delete {file} and it is built again"
    file.unlink()
    assert np.array_equal(build_view(cells, "frame", SIZE), expected)


@pytest.mark.parametrize("border", BORDERS)
def test_a_crop_s_parameters_make_views_of_their_own(border):
    dataset = drawn("demo", per_class=10, seed=2)
    crop = Crop(1.5, 1.0, border)
    built = build_view(dataset, "cell", SIZE, crop)
    for row in range(len(dataset.pictures)):
        assert np.array_equal(built[row], make_view(dataset.read_original(row), "cell", SIZE, crop).pixels)
    assert not np.array_equal(built, build_view(dataset, "cell", SIZE))


def test_what_a_killed_build_left_is_swept(cells):
    left = workspace.view_file("cells", f"frame-{SIZE}").parent / f".frame-{SIZE}.npy.abc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a view")
    build_view(cells, "frame", SIZE)
    assert not left.exists()


def test_a_full_disk_is_an_error_and_no_killed_program(cells, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(views.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        build_view(cells, "frame", SIZE)
    assert tree(cells.folder / "views") == set()


def test_room_is_taken_where_the_system_has_no_way_of_its_own(cells, monkeypatch):
    """As on a Mac: the view is the same."""
    expected = build_view(cells, "frame", 40)[:]
    workspace.view_file(cells.name, "frame-40").unlink()
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(views, "PAGE", 1000)
    assert np.array_equal(build_view(cells, "frame", 40), expected)


def most_threads() -> int:
    return max(library["num_threads"] for library in threadpool_info())


def test_libraries_have_their_threads_back_after_pools_that_overlap():
    assert cv2.getNumThreads() == 1, "OpenCV has no threads of its own in the whole program"
    with threadpool_limits(3):
        first, second = picture_threads(), picture_threads()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert most_threads() == 1
        second.__exit__(None, None, None)
        assert most_threads() == 3
        with picture_threads():
            assert most_threads() == 1
        assert most_threads() == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux holds a process to some cores so")
def test_no_more_threads_than_the_cores_that_a_process_is_held_to():
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert usable_cores() == 1
        with picture_threads() as pool:
            assert pool._max_workers == 1
    finally:
        os.sched_setaffinity(0, cores)
    assert usable_cores() == len(cores)


def test_a_view_of_a_dataset_that_was_replaced_is_not_built_into_the_new_one(lab_home, tmp_path):
    """The same pictures under other names stand in another order: each row would be another picture's."""
    files = class_files(3)
    import_dataset(write_files(tmp_path / "one", files), "cells", trace=False)
    before = Dataset("cells")
    assert len(before.pictures) == 6
    remove("cells")
    turned = {0: 2, 1: 1, 2: 0}
    renamed = {f"{Path(file).parent}/{turned[int(Path(file).stem)]}.png": data for file, data in files.items()}
    import_dataset(write_files(tmp_path / "other", renamed), "cells", trace=False)
    after = Dataset("cells")
    assert after.content_hash == before.content_hash
    assert after.pictures.image_id.tolist() != before.pictures.image_id.tolist()
    with pytest.raises(LabError, match="'cells' was replaced"):
        build_view(before, "frame", 16)
    view = build_view(after, "frame", 16)
    assert all((view[row] == make_view(after.read_original(row), "frame", 16).pixels).all() for row in range(6))


def test_a_view_of_cells_is_not_built_into_a_dataset_with_other_boxes(lab_home, tmp_path):
    def imported(box):
        files = class_files(3)
        rows = "".join(f"{file},{Path(file).parent},{box}\n" for file in files)
        folder = write_files(tmp_path / box, files | {"cells.csv": f"path,label,box\n{rows}".encode()})
        return import_dataset(folder, "cells", trace=False)

    before = imported("1 2 9 10")
    assert len(before.pictures) == 6
    remove("cells")
    imported("3 2 9 10")
    with pytest.raises(LabError, match="'cells' was replaced"):
        build_view(before, "cell", 16)
