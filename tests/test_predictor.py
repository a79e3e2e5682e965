"""Uploaded pictures: every one is answered, in order, whatever it is."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bloodcell_core import disk, runs
from bloodcell_core.crops import VIEWS
from bloodcell_core.data.parallel import usable_cores
from bloodcell_core.data.pictures import MAX_FILE_BYTES, decode_rgb, encode
from bloodcell_core.device import Device
from bloodcell_core.errors import LabError
from bloodcell_core.inference.answers import Answer, CellAnswer, at_threshold, unsure_because
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import TOGETHER, Predictor
from bloodcell_core.models.forward import Tapped
from bloodcell_core.runs import Run
from bloodcell_core.training import jobs
from tests.training_fixtures import tiny, train_here

pytest_plugins = ["tests.training_fixtures"]
Handed = tuple[str, Callable[[], bytes]]


@pytest.fixture
def predictor(done: Run) -> Predictor:
    return Predictor(done, "cpu", threshold=0)


@pytest.fixture
def by_view(done: Run) -> dict[str, Predictor]:
    """A predictor of each view, without a review threshold."""
    cell = train_here(view="cell", epochs=1)
    return {"frame": Predictor(done, "cpu", threshold=0), "cell": Predictor(cell, "cpu", threshold=0)}


def handed(path: str, data: bytes) -> Handed:
    return path, lambda: data


def noise(seed: int, width: int = 40, height: int = 30) -> bytes:
    return encode(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def broken() -> bytes:
    raise PermissionError(13, "Permission denied")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", "empty"),
    "text.png": (lambda: b"this is no picture", "not a JPEG"),
    "cut.png": (lambda: noise(1)[:400], "cut short"),
    "pixel.png": (lambda: noise(1, 1, 1), "too small"),
    "locked.png": (broken, "Permission denied"),
}


def same(one: Answer, other: Answer) -> bool:
    return (one.path, one.state, one.reason) == (other.path, other.state, other.reason) and all(
        mine.box == theirs.box
        and mine.label == theirs.label
        and mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
        for mine, theirs in zip(one.cells, other.cells, strict=True)
    )


def test_bad_pictures_are_refused_with_their_reason_and_the_good_ones_still_answered_in_order(
    predictor: Predictor, pictures: list[Path]
) -> None:
    good = [handed(f"good{i}.png", pictures[i].read_bytes()) for i in range(len(BAD) + 1)]
    mixed = [good[0]]
    for (name, (read, _)), after in zip(BAD.items(), good[1:], strict=True):
        mixed += [(name, read), after]
    answers = list(predictor.classify(mixed))
    assert [answer.path for answer in answers] == [path for path, _ in mixed]
    alone = {answer.path: answer for answer in predictor.classify(good)}
    for answer in answers:
        if answer.path in BAD:
            assert (answer.state, answer.cells) == ("refused", [])
            assert BAD[answer.path][1] in answer.reason
            assert "\n" not in answer.reason
        else:
            assert answer.state == "ok"
            assert same(answer, alone[answer.path])


def test_only_bad_pictures_and_no_pictures_at_all_are_answered_too(predictor: Predictor) -> None:
    answers = list(predictor.classify((name, read) for name, (read, _) in BAD.items()))
    assert [answer.state for answer in answers] == ["refused"] * len(BAD)
    assert list(predictor.classify([])) == []


def test_an_answer_names_the_most_probable_class_and_all_probabilities(
    predictor: Predictor, pictures: list[Path]
) -> None:
    for answer in predictor.classify(files_of(pictures[:6])):
        assert (answer.state, answer.reason) == ("ok", "")
        (cell,) = answer.cells
        assert list(cell.probabilities) == predictor.run.classes
        assert cell.label == max(cell.probabilities, key=cell.probabilities.__getitem__)
        assert cell.state == "ok"
        assert cell.box == (0, 0, 320, 240)
        assert sum(cell.probabilities.values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("where", [(torch.nn.Module, "to"), (Tapped, "predict")])
def test_a_gpu_that_something_else_has_filled_is_told_with_what_helps(
    where: tuple[type, str], done: Run, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(*where, fail)
    with pytest.raises(LabError, match=r"^the device's memory is full \(CUDA out of memory.*what else uses the device"):
        list(Predictor(done, "cpu").classify(files_of(pictures[:3])))


def test_pictures_of_several_threads_keep_their_order(predictor: Predictor, pictures: list[Path]) -> None:
    count = len(pictures) + TOGETHER + 5
    many = [handed(str(i), pictures[i % len(pictures)].read_bytes()) for i in range(count)]
    answers = list(predictor.classify(many))
    assert [answer.path for answer in answers] == [str(i) for i in range(count)]
    single = list(predictor.classify(many[-1:]))
    assert same(answers[-1], single[0])
    first, again = answers[0].cells[0], answers[len(pictures)].cells[0]
    assert first.probabilities == pytest.approx(again.probabilities, abs=1e-6)


def test_few_pictures_are_read_before_the_first_answers_come(predictor: Predictor) -> None:
    read: list[int] = []

    def reader(number: int) -> Callable[[], bytes]:
        def of_file() -> bytes:
            read.append(number)
            return noise(number)

        return of_file

    most = TOGETHER * (usable_cores() + 1)
    answers = predictor.classify((str(i), reader(i)) for i in range(3 * most))
    next(answers)
    known = -1
    while known != len(read):  # until those that read have nothing more to do, or would go on for ever
        known = len(read)
        time.sleep(0.3)
    assert set(range(TOGETHER)) <= set(read) <= set(range(most))
    answers.close()  # type: ignore[attr-defined]
    assert len(read) <= most


@pytest.mark.parametrize(("large", "most"), [(40 * 40 - 1, 1), (40 * 40, 2)])
def test_large_pictures_are_decoded_and_looked_at_one_at_a_time(
    large: int, most: int, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloodcell_core.inference import predictor as module

    at_once, together = [0], threading.Condition()

    def decode(data: bytes, about_to: Callable[[int], object]) -> np.ndarray:
        picture = decode_rgb(data, about_to)
        with together:  # until another has come as far, or plainly doesn't
            at_once.append(at_once[-1] + 1)
            together.notify_all()
            together.wait_for(lambda: max(at_once) > 1, timeout=0.3)
        return picture

    def look(*given: object) -> object:
        seen = Predictor._look(predictor, *given)  # type: ignore[arg-type]
        with together:
            at_once.append(at_once[-1] - 1)
        return seen

    monkeypatch.setattr(module, "decode_rgb", decode)
    monkeypatch.setattr(module, "LARGE_PICTURE", large)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(predictor, "_look", look, raising=False)
    answers = list(predictor.classify([(str(number), lambda: noise(1, 40, 40)) for number in range(2 * TOGETHER)]))
    assert [answer.state for answer in answers].count("refused") == 0
    assert max(at_once) == most


def test_each_thread_that_reads_pictures_computes_alone(
    done: Run, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(done, "cpu")
    threads: dict[str, int] = {}
    (member,) = predictor._members
    predict = member.tapped.predict

    def noted(views: np.ndarray, device: Device) -> tuple[torch.Tensor, np.ndarray]:
        threads[threading.current_thread().name] = torch.get_num_threads()
        return predict(views, device)

    monkeypatch.setattr(member.tapped, "predict", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # where the environment gives one, each thread would have one anyhow
    try:
        list(predictor.classify(files_of(pictures[:12] * 4)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert threads
    assert set(threads.values()) == {1}
    assert threading.current_thread().name not in threads


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(8, 8), (8, 2000), (2000, 8), (33, 31), (1280, 960)])
@pytest.mark.parametrize("fill", [0, 255, None])
def test_pictures_of_any_size_and_filling_are_answered(
    view: str, size: tuple[int, int], fill: int | None, by_view: dict[str, Predictor]
) -> None:
    width, height = size
    data = noise(0, width, height) if fill is None else encode(np.full((height, width, 3), fill, np.uint8))
    (answer,) = by_view[view].classify([handed("odd.png", data)])
    assert answer.state in ("unlike", "ok")
    assert answer.state == (answer.cells[0].state if answer.cells else "unlike")
    assert all(sum(cell.probabilities.values()) == pytest.approx(1) for cell in answer.cells)
    if fill is not None:
        assert (answer.state, answer.reason, answer.cells) == ("unlike", "no white cell was found", [])


def test_a_cell_view_answers_for_the_square_around_the_cell(
    by_view: dict[str, Predictor], pictures: list[Path]
) -> None:
    white = handed("white.png", encode(np.full((100, 200, 3), 255, np.uint8)))
    nothing, cell = by_view["cell"].classify([white, handed("cell.png", pictures[0].read_bytes())])
    assert (nothing.state, nothing.reason, nothing.cells) == ("unlike", "no white cell was found", [])
    assert cell.reason == ""
    x0, y0, x1, y1 = cell.cells[0].box
    assert x1 - x0 == y1 - y0 < 240


@pytest.mark.parametrize("mode", ["RGBA", "L", "CMYK", "P", "1", "I;16"])
def test_pictures_of_other_modes_are_answered(mode: str, predictor: Predictor, pictures: list[Path]) -> None:
    image = Image.open(pictures[0]).convert("RGB")
    image = Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)) if mode == "I;16" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, "TIFF")
    (answer,) = predictor.classify([handed("odd.tiff", out.getvalue())])
    if mode in ("RGBA", "CMYK", "P"):
        assert (answer.state, answer.reason) == ("ok", "")
    else:  # without colour there is no stain to find a nucleus by
        assert (answer.state, answer.reason) == ("unlike", "no white cell was found")


# Files and folders


def test_of_a_file_with_several_pictures_it_is_told_that_the_first_is_answered(
    predictor: Predictor, pictures: list[Path]
) -> None:
    with Image.open(pictures[0]) as one, io.BytesIO() as pages, io.BytesIO() as alone:
        one.save(alone, "TIFF")
        one.save(pages, "TIFF", save_all=True, append_images=[one.rotate(90)])
        told, single = predictor.classify([handed("pages.tif", pages.getvalue()), handed("one.tif", alone.getvalue())])
    assert told.reason == "the first of several pictures in the file: save the others as files of their own"
    assert (single.reason, single.cells) == ("", told.cells)


def test_every_file_of_a_folder_has_a_row(predictor: Predictor, tmp_path: Path, pictures: list[Path]) -> None:
    folder = tmp_path / "handed in"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    shutil.copy(pictures[0], folder / "b" / "deep" / "1.png")
    shutil.copy(pictures[1], folder / "b" / "2.PNG")
    (folder / "a.txt").write_text("notes")
    (folder / "c.jpg").write_bytes(b"")
    (folder / ".hidden").write_text("a system's, and no row")
    answers = list(predictor.classify(files_of([folder, pictures[2]])))
    states = {answer.path: answer.state for answer in answers}
    assert states == {
        str(folder / "b" / "deep" / "1.png"): "ok",
        str(folder / "b" / "2.PNG"): "ok",
        str(folder / "a.txt"): "refused",
        str(folder / "c.jpg"): "refused",
        str(pictures[2]): "ok",
    }
    inside = [answer.path for answer in answers[:-1]]
    assert inside == sorted(inside, key=lambda path: Path(path).parts)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"nowhere\.png doesn't exist"):
        list(files_of([tmp_path / "nowhere.png"]))


def test_a_file_that_goes_away_is_refused_and_the_others_answered(
    predictor: Predictor, tmp_path: Path, pictures: list[Path]
) -> None:
    for number in range(3):
        shutil.copy(pictures[number], tmp_path / f"{number}.png")
    handed_in = list(files_of(tmp_path / f"{number}.png" for number in range(3)))
    (tmp_path / "1.png").unlink()
    answers = list(predictor.classify(handed_in))
    assert [answer.state for answer in answers] == ["ok", "refused", "ok"]


def test_a_huge_file_is_refused_unread(predictor: Predictor, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    huge.touch()
    os.truncate(huge, MAX_FILE_BYTES + 1)  # takes no room on the disk
    (answer,) = predictor.classify(files_of([huge]))
    assert answer.state == "refused"
    assert f"larger than {MAX_FILE_BYTES // 2**20} MiB" in answer.reason


# The run


def test_a_run_without_weights_is_refused(lab: Path) -> None:
    run = jobs.create_run(tiny())
    with pytest.raises(LabError, match="has no weights yet: it is queued"):
        Predictor(run)


def test_answers_are_at_the_runs_temperature(done: Run, pictures: list[Path]) -> None:
    summary = done.summary()
    asked = [handed("a.png", pictures[0].read_bytes())]
    (before,) = Predictor(done, "cpu").classify(asked)
    disk.write_json(done.folder / "summary.json", summary | {"temperature": 2 * summary["temperature"]})
    (after,) = Predictor(done, "cpu").classify(asked)
    powers = np.sqrt([*before.cells[0].probabilities.values()])
    assert [*after.cells[0].probabilities.values()] == pytest.approx(powers / powers.sum())


def test_damaged_and_missing_weights_are_refused(done: Run) -> None:
    done.weights_file.write_bytes(b"nothing")
    with pytest.raises(LabError, match=r"model\.safetensors can't be read as weights"):
        Predictor(done)
    done.weights_file.unlink()
    with pytest.raises(LabError, match=r"model\.safetensors is missing: put it back, or train it again"):
        Predictor(done)


def test_several_threads_get_the_answers_of_one(predictor: Predictor, pictures: list[Path]) -> None:
    wanted = list(predictor.classify(files_of(pictures[:12])))
    assert len({answer.cells[0].probabilities["monocyte"] for answer in wanted}) == 12
    got: dict[int, list[Answer]] = {}
    together = threading.Barrier(8)

    def ask(number: int) -> None:
        together.wait()
        mine = pictures[:12][number:] + pictures[:12][:number]
        got[number] = list(predictor.classify(files_of(mine)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(8))
    for number, answers in got.items():
        turned = wanted[number:] + wanted[:number]
        assert all(same(mine, theirs) for mine, theirs in zip(answers, turned, strict=True))


def test_an_answer_in_json_has_the_designs_keys(predictor: Predictor, pictures: list[Path]) -> None:
    (answer,) = predictor.classify(files_of(pictures[:1]))
    said = answer.to_json()
    assert said.keys() >= {"path", "state", "reason", "cells"}
    assert said["cells"][0].keys() >= {"box", "state", "label", "probabilities"}
    assert runs.find("latest").classes == list(said["cells"][0]["probabilities"])


@pytest.mark.parametrize(
    ("share", "threshold", "words"),
    [
        (0.58, 0.8, "58.0% is below the review threshold of 80.0%"),
        (0.4972, 0.5, "49.7% is below the review threshold of 50.0%"),
        (0.97496, 0.975, "97.496% is below the review threshold of 97.500%"),
    ],
)
def test_an_unsure_answer_is_told_in_digits_that_differ_from_its_threshold(
    share: float, threshold: float, words: str
) -> None:
    assert unsure_because(share, threshold) == words
    cell = CellAnswer((0, 0, 9, 9), "ok", "a", {"a": share, "b": 0.1})
    assert at_threshold(cell, threshold).reason == words
