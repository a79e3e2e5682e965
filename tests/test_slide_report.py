"""A slide's report: the figures of its count, whatever names hold, on few pages however many cells there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bloodcell_core import notes
from bloodcell_core.cli import main
from bloodcell_core.data.demo import draw_field
from bloodcell_core.data.pictures import encode
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.document import write_report
from bloodcell_core.inference.answers import FIELD, Answer, CellAnswer
from bloodcell_core.runs import Run
from bloodcell_core.smear import slide_report as report
from bloodcell_core.smear.differential import differential, differential_of
from bloodcell_core.smear.slide_report import Gathered, slide_report
from bloodcell_core.training.ensembles import create_ensemble
from bloodcell_core.words import pretty
from tests.conftest import count_of, write_zip
from tests.test_report import HOSTILE, Read
from tests.training_fixtures import trained

pytest_plugins = ["tests.training_fixtures"]


def answer(path: str, labels: list[str | None], classes: list[str], state: str = "unsure") -> Answer:
    shares = dict.fromkeys(classes, 1 / len(classes))
    cells = [
        CellAnswer((10 * place, 5, 10 * place + 30, 35), "ok" if label else state, label, shares, "")
        for place, label in enumerate(labels)
    ]
    return Answer(path, "ok", "", cells, FIELD, 160, 120)


def gathered_from_disk(answers: list[Answer], classes: list[str]) -> Gathered:
    gathered = Gathered(classes)
    for each in answers:
        gathered.add(each, Path(each.path).read_bytes)
    return gathered


@pytest.fixture(scope="module")
def field() -> bytes:
    return encode(draw_field(np.random.default_rng(1), ["neutrophil"], (160, 120)).pixels)


class Page(Read):
    """As for the reports on runs; pictures have no end of their own."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag == "img":
            self.open.pop()


def read(content: str) -> Page:
    told = Page(content)
    assert told.open == []
    return told


def test_the_report_has_the_count_s_figures_and_stands_alone(done: Run, field: bytes, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(field)
    answers = [
        answer(str(tmp_path / "a.png"), ["eosinophil", "eosinophil", "monocyte", None], done.classes),
        answer(str(tmp_path / "gone.png"), ["monocyte"] * 20, done.classes),
        Answer("text.png", "refused", "not a picture"),
    ]
    told = differential_of(done, count_of(answers, done.classes), 0.25)  # so unsure is what was trained for a second
    turned = differential_of(done, count_of(answers, done.classes), 0.25, average_turns=True)
    assert turned["classes"] == told["classes"]
    [added] = turned["correction"]["warnings"][len(told["correction"]["warnings"]) :]
    assert "averaged over turns" in added, "the matrix is of answers that aren't"
    notes.rename("run", done.name, "larger crop")
    content = slide_report("Slide 7", gathered_from_disk(answers, done.classes), told, done)
    page = read(content)
    text = " ".join(page.texts)
    assert json.loads(page.json) == json.loads(json.dumps({"slide": "Slide 7", "run": done.name, "differential": told}))
    for name, row in told["classes"].items():
        assert pretty(name) in text
        assert report.percent(row["percent"], row["interval"]) in text
        assert report.percent(row["corrected"], row["corrected_interval"]) in text
    assert report.percent(0.04, [0.0, 0.2]) == "<0.1% (0.0 to 0.2)"
    assert ("td", {"colspan": "2"}) in page.elements, "why a picture has no cells has their place, too"
    assert "Photos behind the correction" in text
    assert {f"larger crop · {done.name[-4:]}", done.name} <= {*page.texts}  # as pages call it, and to find it by
    assert "23 cells counted" in text
    assert "25%: what is less sure is unsure" in text
    assert told["few"][1:] in text
    assert report.accuracy_words(done.summary()["test"]) in text
    assert "For research and teaching, not for diagnosis." in text
    assert "2 smear fields (1 more couldn't be taken)" in text
    pictures = [attributes["src"] for name, attributes in page.elements if name == "img"]
    assert len(pictures) == 4, "those of a picture that is gone are left out"
    assert all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert "default-src 'none'" in content
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)


def test_one_cell_is_one_and_an_ensemble_tells_all_its_networks(done: Run, field: bytes):
    three = create_ensemble([done, trained(seed=7), trained(view="cell", seed=7)])
    one = answer("a.png", ["neutrophil"], done.classes)
    told = differential_of(done, count_of([one], done.classes), 0.5)
    text = " ".join(read(slide_report("One", gathered_from_disk([one], done.classes), told, three)).texts)
    assert "1 cell counted" in text
    assert "2 × basic_cnn, frame view, 32 pixels; basic_cnn, cell view, 32 pixels" in text


def test_hostile_names_stay_text(done: Run, field: bytes):
    classes = HOSTILE
    answers = Gathered(classes)
    for name in HOSTILE:
        answers.add(answer(name, [HOSTILE[0], HOSTILE[1], None], classes), lambda: field)
    told = differential(count_of([answer("x", [HOSTILE[0]], classes)], classes), classes, None)
    page = read(slide_report(HOSTILE[0], answers, told, done))
    assert [name for name, _ in page.elements].count("script") == 1
    images = [attributes for name, attributes in page.elements if name == "img"]
    assert all(set(attributes) == {"alt", "title", "src"} for attributes in images)
    assert HOSTILE[0] in page.texts


def test_many_cells_make_no_long_report(done: Run, field: bytes):
    gathered = Gathered(done.classes)
    reads = []
    for number in range(300):
        gathered.add(
            answer(f"field-{number}.png", ["neutrophil", "monocyte", None], done.classes),
            lambda number=number: reads.append(number) or field,
        )
    told = differential_of(done, count_of([], done.classes), 0.5)
    page = read(slide_report("Large", gathered, told, done))
    assert sum(name == "img" for name, _ in page.elements) == 3 * report.GALLERY
    text = " ".join(page.texts)
    assert f"{300 - report.MAX_ROWS} more" in text
    assert "Neutrophil: 300, 10 drawn by lot" in text
    assert max(reads) > 150, "late cells have their chance, too"
    assert len(reads) < 200, "pictures whose cells aren't shown aren't read"


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["/far/away/a.png", "/far/away/b.png"], ["In /far/away/", "a.png", "b.png"]),
        (["/far/a.png", "/near/b.png"], ["/far/a.png", "/near/b.png"]),
        (["a.png"], ["a.png"]),
    ],
)
def test_a_folder_that_all_pictures_come_from_is_told_once(done: Run, field: bytes, paths: list[str], shown: list[str]):
    gathered = Gathered(done.classes)
    for path in paths:
        gathered.add(answer(path, ["neutrophil", None], done.classes), lambda: field)
    page = read(slide_report("S", gathered, differential_of(done, count_of([], done.classes), 0.5), done))
    told = [text for text in page.texts if text.endswith((".png", "/"))]
    assert told == shown
    assert page.texts.count("Neutrophil 1, unsure 1") == len(paths)


def test_a_long_name_loses_its_middle_in_the_list_and_is_whole_beside_it(done: Run, field: bytes):
    names = ["a" * 60, "b" * 30 + "c" * 31]
    gathered = Gathered(done.classes)
    for name in names:
        gathered.add(answer(name, [None], done.classes), lambda: field)
    page = read(slide_report("s", gathered, differential_of(done, count_of([], done.classes), 0.5), done))
    assert names[0] in page.texts
    assert "b" * 20 + "…" + "b" * 9 + "c" * 31 in page.texts
    assert [told["title"] for kind, told in page.elements if kind == "th" and "title" in told] == names


def test_a_report_has_a_page_s_ending(done: Run, tmp_path: Path):
    told = differential_of(done, count_of([], done.classes), 0.5)
    with pytest.raises(LabError, match=r"written as \.html"):
        write_report(slide_report("S", Gathered(done.classes), told, done), tmp_path / "slide.pdf")
    assert not list(tmp_path.glob("*.pdf"))


def test_predict_writes_the_report_of_what_it_answered(done: Run, field: bytes, tmp_path: Path, capsys):
    packed = write_zip(tmp_path / "slide.zip", {"a/one.png": field, "a/notes.txt": b"no picture"})
    file = tmp_path / "report.html"
    code = main(["predict", done.name, str(packed), "--report", str(file), "--threshold", "0", "--json"])
    assert code == 2  # the notes can't be read as a picture
    told = json.loads(capsys.readouterr().out)
    page = read(file.read_text(encoding="utf-8"))
    assert json.loads(page.json)["differential"] == told["differential"]
    assert "slide.zip" in page.texts
    pictures = [name for name, _ in page.elements if name == "img"]
    assert len(pictures) == sum(len(answer["cells"]) for answer in told["pictures"]), "also of what lies in a zip"
    assert main(["predict", done.name, str(packed), "--report", str(tmp_path / "report.pdf")]) == 2
    assert "written as .html" in capsys.readouterr().err


def test_the_cells_of_a_picture_that_is_gone_are_counted_though_not_shown(field: bytes):
    gathered = Gathered(["a", "b"])
    gathered.add(answer("gone.png", ["a", "a", "b", None], ["a", "b"]), Path("gone.png").read_bytes)
    gathered.add(answer("here.png", ["a"], ["a", "b"]), lambda: field)
    assert [gathered.count(group) for group in (("a", ""), ("b", ""), ("", "unsure"))] == [3, 1, 1]
    assert {group: len(shown) for group, shown in gathered.cells.items()} == {("a", ""): 1}


def test_a_class_may_be_called_as_what_is_set_aside(done: Run, field: bytes):
    gathered = Gathered(["blast", "unsure"])
    gathered.add(answer("a.png", ["unsure", "unsure", None], ["blast", "unsure"]), lambda: field)
    text = " ".join(
        read(slide_report("S", gathered, differential_of(done, count_of([], done.classes), 0.5), done)).texts
    )
    assert "Unsure 2, unsure 1" in text
    assert "Unsure: 2 Set aside, unsure: 1" in text, "in the gallery"


def test_cells_of_a_class_that_the_run_does_not_know_are_told(done: Run, field: bytes):
    gathered = Gathered(done.classes)
    gathered.add(answer("a.png", ["neutrophil", None, "blast", "blast"], done.classes), lambda: field)
    named = count_of([answer("a.png", ["neutrophil"], done.classes)], done.classes)
    told = differential_of(done, named, 0.5, {"blast": 2})
    text = " ".join(read(slide_report("Slide", gathered, told, done)).texts)
    assert "Photos behind the correction" not in text, "so few cells are not corrected"
    assert "3 cells counted, 2 of them classified by hand" in text
    assert "Blast 2 66.7%" in text
    assert "Neutrophil 1, Blast 2, unsure 1" in text
    assert "Neutrophil: 1 Blast: 2 Set aside, unsure: 1" in text, "in the gallery"


def test_an_accuracy_without_an_interval_is_told_as_such():
    test = {"accuracy": 0.5, "intervals": {"accuracy": None}, "pictures": 2, "photos": 1, "unit": "photo"}
    assert report.accuracy_words(test) == "50.0% (interval not known) of 2 pictures, 1 photo"
