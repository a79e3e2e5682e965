"""The parts that all pages share: colours, address, gallery, matrix, charts. Without a browser."""

import base64
import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qs

import cv2
import numpy as np
import pandas as pd
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.testing.v1 import AppTest

from bloodcell_core.words import pretty, titles
from ui import charts, gallery, matrix, shell, theme

ROOT = Path(__file__).parent.parent
FOUR = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
EIGHT = ["basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet"]


def contrast(one: str, other: str) -> float:
    """The contrast of two hex colours as WCAG 2 defines it: 1 to 21."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def run(script: str, **address: str | list[str]) -> AppTest:
    """A Streamlit script after its first run, opened with an address."""
    app = AppTest.from_string(script, default_timeout=30)
    for param, value in address.items():
        app.query_params[param] = value
    app.run()
    assert not app.exception
    return app


# ---- Colours and words ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_the_four_classes_keep_their_colours_in_every_dataset(dark: bool):
    four, eight = theme.class_colours(FOUR, dark), theme.class_colours(EIGHT, dark)
    assert all(four[name] == eight[name.lower()] for name in FOUR)
    assert len(set(eight.values())) == 8


def test_further_classes_get_their_colour_by_their_sorted_place():
    colours = theme.class_colours([name.upper() for name in reversed(EIGHT)], False)
    further = [colours[name] for name in ("BASOPHIL", "ERYTHROBLAST", "IG", "PLATELET")]
    assert further == [light for light, _ in theme.FURTHER_COLOURS[:4]]


def test_more_classes_than_colours_still_get_one_each():
    assert len(theme.class_colours([f"class {number}" for number in range(30)], True)) == 30


def test_classes_that_differ_in_capitals_have_colours_of_their_own():
    names = ["Neutrophil", "neutrophil", "Blast", "blast", "MONOCYTE"]
    colours = theme.class_colours(names, False)
    assert len(set(colours.values())) == len(names)
    assert theme.class_colours(reversed(names), False) == colours
    assert (colours["Neutrophil"], colours["MONOCYTE"]) == ("#CC79A7", "#009E73")


def test_css_colours_hold_both_themes():
    assert theme.css_colours(["Monocyte", "lymphocyte"])["lymphocyte"] == "light-dark(#D55E00, #E69F00)"


DEFICIENCIES = {  # Machado, Oliveira and Fernandes (2009), whole: how linear light is seen
    "none": np.eye(3),
    "no red cones": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "no green cones": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
}


def seen(colour: str, by: str) -> np.ndarray:
    """A hex colour in CIE Lab, as seen with a deficiency."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    light = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = to_xyz @ np.clip(DEFICIENCIES[by] @ light, 0, 1) / [0.9505, 1, 1.0888]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("by", DEFICIENCIES)
@pytest.mark.parametrize("number", [4, 8, 12])
@pytest.mark.parametrize("dark", [False, True])
def test_class_colours_are_told_apart_by_the_colour_blind_too(dark: bool, number: int, by: str):
    names = [*theme.CLASS_COLOURS, *(f"class {place:02}" for place in range(number - 4))]
    colours = [*theme.class_colours(names, dark).values()]
    places = [seen(colour, by) for colour in colours]
    gaps = [np.linalg.norm(a - b) for place, a in enumerate(places) for b in places[:place]]
    assert min(gaps) >= 17  # green and pink of the four without green cones; they had 2 with those of an eighth class
    page = "#131219" if dark else "#FCFCFD"
    assert min(contrast(colour, page) for colour in colours) >= 2.9  # the paler pink of the four has 2.97


def test_a_long_class_name_takes_no_chart_s_room_and_stays_one_of_its_own():
    names = [f"band neutrophil with toxic granulation {end}" for end in "ab"]
    figure = charts.class_bars_figure({"train": dict.fromkeys(names, 3)}, False)
    assert len(set(figure.data[0].x)) == 2
    assert [*figure.layout.xaxis.tickvals] == [*figure.data[0].x]
    assert max(map(len, figure.layout.xaxis.ticktext)) <= theme.LONGEST_TICK


def test_a_long_class_name_does_not_make_the_map_s_legend_a_single_column():
    """The legend's columns are as wide as its longest name, and what they take the map hasn't."""
    names = ["band", "band neutrophil with toxic granulation"]
    figure = charts.map_figure(np.zeros((2, 2)), names, ["0", "1"], names, names, None, False)
    assert [drawn.name for drawn in figure.data[:-1]] == ["Band", theme.short_title(names[1].capitalize())]
    assert max(len(drawn.name) for drawn in figure.data[:-1]) <= theme.LONGEST_TICK


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_theme_is_legible(mode: str):
    colours = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))["theme"][mode]
    page = colours["backgroundColor"]
    assert contrast(colours["textColor"], page) >= 7
    assert contrast(colours["linkColor"], page) >= 4.5
    assert contrast(theme.AXIS_TEXT[mode == "dark"], page) >= 4.5
    assert contrast("#FFFFFF", colours["primaryColor"]) >= 4.5  # the words on a button
    assert contrast(colours["primaryColor"], page) >= 3
    for colour in theme.class_colours(EIGHT, mode == "dark").values():
        assert contrast(colour, page) >= 2.9
    for colour in colours["chartCategoricalColors"]:
        assert contrast(colour, page) >= 4


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NEUTROPHIL", "Neutrophil"), ("immature_granulocyte", "Immature granulocyte"), ("NRBC", "NRBC"), ("ig", "IG"),
        ("RBC_LIKE", "RBC like"), ("immature NRBC", "Immature NRBC"), ("NRBC_like", "NRBC like"), ("B CELL", "B cell"),
        ("Blast, AML", "Blast, AML"), ("atypical Lymphocyte", "Atypical lymphocyte"), ("", ""),
    ],
)
def test_pretty(label: str, name: str):
    assert pretty(label) == name


def test_classes_that_would_be_called_alike_keep_their_names():
    assert titles(["Blast", "blast", "NEUTROPHIL"]) == {"Blast": "Blast", "blast": "blast", "NEUTROPHIL": "Neutrophil"}


def test_bars_of_classes_in_other_capitals_stand_beside_each_other():
    figure = charts.class_bars_figure({"train": {"Blast": 3, "blast": 1}}, dark=False)
    assert dict(zip(figure.data[0].x, figure.data[0].y, strict=True)) == {"Blast": 3, "blast": 1}


def test_quotation_marks_in_a_class_s_name_stay_in_charts():
    """Plotly draws HTML, but doesn't know `&quot;`."""
    figure = charts.class_bars_figure({"train": {'band <b>"left shift"</b> & more': 3}}, dark=False)
    assert figure.data[0].x == ('Band &lt;b&gt;"left shift"&lt;/b&gt; &amp; more',)
    assert figure.layout.xaxis.tickvals == figure.data[0].x


@pytest.mark.parametrize(("most", "between"), [(3, 1), (3000, None)])
def test_there_is_no_half_a_picture_on_an_axis(most: int, between: int | None):
    assert charts.class_bars_figure({"train": {"a": most}}, dark=False).layout.yaxis.dtick == between


def test_no_two_of_many_classes_have_colour_and_shape_in_common_on_the_map():
    names = [f"class {place:02}" for place in range(20)]
    figure = charts.map_figure(np.zeros((20, 2)), names, names, names, names, None, False)
    marks = {(drawn.marker.color, drawn.marker.symbol) for drawn in figure.data[:-1]}
    assert len(marks) == 20


@pytest.mark.parametrize(("pictures", "kind"), [(2000, "scatter"), (2001, "scattergl")])
def test_the_map_of_a_small_dataset_needs_no_webgl(pictures: int, kind: str):
    """Where the browser has none, Plotly draws a grey box with a link instead."""
    names = ["a"] * pictures
    figure = charts.map_figure(np.zeros((pictures, 2)), names, names, names, names[:1], None, False)
    assert figure.data[0].type == kind


def test_a_matrix_of_many_classes_has_the_width_that_its_style_gives_it():
    style = (ROOT / "ui" / "matrix.css").read_text()
    assert "calc(7rem + var(--classes) * 2.75rem)" in style
    assert "classes.length > 5" in (ROOT / "ui" / "matrix.js").read_text()
    assert matrix.narrowest(FOUR, FOUR) == 380
    assert matrix.narrowest(FOUR, [str(name) for name in range(12)]) == 16 * (7 + 12 * 2.75)


def test_what_is_dragged_across_is_not_selected_in_safari():
    styles = [style.read_text() for style in (ROOT / "ui").glob("*.css")]
    for name in ("-webkit-user-select: none", "(?<!-)user-select: none"):
        assert sum(len(re.findall(name, style)) for style in styles) == 2


def test_a_vertical_head_of_a_matrix_is_one_line():
    rules = re.findall(r"{([^{}]*writing-mode: vertical[^{}]*)}", (ROOT / "ui" / "matrix.css").read_text())
    assert len(rules) == 2
    assert all("white-space: nowrap" in rule for rule in rules)


def test_percent():
    assert shell.percent(0.8116) == "81.2%"
    assert shell.percent(0.8116, (0.78, 0.841)) == "81.2% (78.0 to 84.1)"
    assert shell.percent(None) == shell.percent(float("nan")) == "–"
    assert shell.percent_markdown(0.5, (0.4, 0.6)) == "50.0% :gray[:small[(40.0 to 60.0)]]"


@pytest.mark.parametrize("text", ["a*b_c.png", "[x](http://e.org)", ":red[x]", "<b>", "# x", "`x`", "$x$"])
def test_plain_leaves_no_markdown(text: str):
    escaped = shell.plain(text)
    assert escaped.replace("\\", "") == text
    assert all(before == "\\" for before, sign in zip(" " + escaped, escaped, strict=False) if sign in "*_[]<`$#")


def test_plain_leaves_ordinary_words_alone():
    assert shell.plain("No such file: cells-2.png (try another).") == "No such file: cells-2.png (try another)."


# ---- The frame -----------------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> AppTest:
    """An app of six pages that each choose a dataset and something of their own."""
    for name, (path, _) in shell.PAGES.items():
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        title = shell.NAME if name == "Home" else name
        target.write_text(
            "from ui import address, shell\n"
            f"shell.page({title!r}, 'What it is for.')\n"
            "address.selectbox('Dataset', ['demo', 'archive'], 'dataset', forget=('family',))\n"
            f"address.segmented_control('View', ['cell', 'frame'], 'view_{name}', default='cell')\n",
            encoding="utf-8",
        )
    return AppTest.from_file(str(tmp_path / "streamlit_app.py"), default_timeout=30).run()


def links(app: AppTest) -> dict[str, str]:
    return {link.value: link.proto.query_string for link in app.page_link}


def test_a_page_has_its_title_its_purpose_and_links_to_all_pages(app: AppTest):
    assert not app.exception
    assert app.title[0].value == shell.NAME
    assert "What it is for." in [caption.value for caption in app.main.caption]
    assert list(links(app)) == list(shell.PAGES)
    assert any("not for diagnosis" in caption.value for caption in app.sidebar.caption)


def test_links_carry_the_dataset_to_every_page_and_a_page_s_own_view_back_to_it(app: AppTest):
    app.switch_page("pages/1_Browse.py").run()
    app.selectbox(key="dataset").select("archive").run()
    app.segmented_control(key="view_Browse").set_value("frame").run()
    assert links(app)["Browse"] == "dataset=archive&view_Browse=frame"
    app.query_params.clear()
    app.query_params.update(parse_qs(links(app)["Train"]))
    app.switch_page("pages/2_Train.py").run()
    assert links(app)["Train"] == "dataset=archive"
    assert links(app)["Browse"] == "dataset=archive&view_Browse=frame"


def opened(app: AppTest, page: str, query: str) -> AppTest:
    app.query_params.clear()
    app.query_params.update(parse_qs(query))
    return app.switch_page(shell.PAGES[page][0]).run()


def test_a_link_with_another_dataset_leaves_out_what_was_of_the_one_before(app: AppTest):
    opened(app, "Browse", "dataset=demo&family=7&page=2&view_Browse=frame")
    opened(app, "Train", links(app)["Train"])
    assert links(app)["Browse"] == "dataset=demo&family=7&page=2&view_Browse=frame"
    app.selectbox(key="dataset").select("archive").run()
    assert links(app)["Browse"] == "dataset=archive&view_Browse=frame"


def test_a_link_leads_back_to_a_slide_with_its_own_network(app: AppTest):
    opened(app, "Classify", "dataset=demo&run=a&slide=s")
    opened(app, "Review", "dataset=demo&run=b")
    assert links(app)["Classify"] == "dataset=demo&run=a&slide=s"
    opened(app, "Classify", "dataset=demo&run=a")
    opened(app, "Review", "dataset=demo&run=b")
    assert links(app)["Classify"] == "dataset=demo&run=b"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_in_dialogs_follow_the_theme(app: AppTest, mode: str):
    app.context = {"theme": mode}
    app.run()
    assert any(f"color-scheme: {mode}" in block.value for block in app.html)


def test_empty_state_calls_what_leads_on():
    app = run("""
from ui import shell; import streamlit as st
shell.empty_state("Nothing", "Go", lambda: st.text("gone"))
""")
    assert not app.text
    app.button[0].click().run()
    assert app.text[0].value == "gone"


# ---- The address ---------------------------------------------------------------------------------------

CHOICES = """
from ui import address, gallery
address.selectbox("Run", ["new", "old"], "run", format_func=str.upper)
address.segmented_control("View", ["cell", "frame"], "view", default="cell")
address.multiselect("Class", [1, 2, 3], "class")
address.toggle("Log", "log")
import streamlit as st
st.text(gallery.pager(250, 100))
"""


def test_without_an_address_defaults_are_shown_and_only_what_may_change_is_written():
    app = run(CHOICES)
    assert app.query_params == {"run": "new"}
    assert app.segmented_control(key="view").value == "cell"


def test_options_of_which_not_all_fit_on_a_line_wrap():
    """Streamlit scrolls them in a column or a row: on a phone the classes at the end were out of sight."""
    assert run(CHOICES).segmented_control(key="view").proto.wrap


def test_widgets_show_what_the_address_says():
    app = run(CHOICES, run="old", view="frame", log="True", page="3", **{"class": ["1", "3"]})
    assert app.selectbox(key="run").value == "old"
    assert app.segmented_control(key="view").value == "frame"
    assert app.multiselect(key="class").value == [1, 3]
    assert app.toggle(key="log").value is True
    assert app.text[0].value == "(200, 250)"


def test_what_the_address_cannot_mean_falls_back_and_is_corrected():
    app = run(CHOICES, run="gone", view="x", log="?", page="99", **{"class": ["9", "2"]})
    assert app.selectbox(key="run").value == "new"
    assert app.multiselect(key="class").value == [2]
    assert app.text[0].value == "(0, 100)"
    assert {"run": "new"}.items() <= app.query_params.items()
    assert not {"view", "log", "page"} & app.query_params.keys()


def test_a_choice_is_written_to_the_address_and_turns_back_to_the_first_page():
    app = run(CHOICES, page="2")
    app.segmented_control(key="view").set_value("frame").run()
    assert app.query_params == {"run": "new", "view": "frame"}
    assert app.text[0].value == "(0, 100)"
    app.segmented_control(key="view").set_value("cell").run()
    app.multiselect(key="class").set_value([2, 3]).run()
    assert app.query_params == {"run": "new", "class": ["2", "3"]}


def test_a_widget_follows_an_address_that_changes_without_it():
    app = run(CHOICES)
    app.query_params["run"] = "old"  # as the browser's Back does
    assert app.run().selectbox(key="run").value == "old"


def test_a_choice_whose_words_have_changed_is_shown_anew():
    """The browser holds the words: it shows the old ones until the choice is sent to it again."""
    app = run(
        "import streamlit as st; from ui import address\n"
        "count = st.session_state.setdefault('count', 37)\n"
        "address.selectbox('Mistake', ['all', 'some'], 'pair', default='all', "
        "format_func=lambda name: f'{name} ({count})')"
    )
    sent = []
    for count in (37, 47, 47):
        app.session_state["count"] = count
        app.run()
        sent.append(app.selectbox[0].proto.set_value)
    assert sent == [False, True, False]


def test_no_options_is_no_error():
    assert run("from ui import address\naddress.selectbox('Run', [], 'run')").selectbox[0].value is None


def test_a_tick_stays_on_the_table_that_it_was_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ticked: dict[str, int] = {}  # by key, as the browser keeps it

    def drawn(rows: pd.DataFrame, key: str, **how: object) -> dict:
        return {"selection": {"rows": [ticked.setdefault(key, 0)]}}

    monkeypatch.setattr(shell, "table", drawn)
    many, few = pd.DataFrame({"photo": [*"abcdefghi"]}), pd.DataFrame({"photo": [*"xyz"]})
    assert shell.ticked_row(many, "photos") == 0
    ticked[next(iter(ticked))] = 8
    assert shell.ticked_row(few, "photos") == 0, "another run has no ninth photo"
    assert shell.ticked_row(many.copy(), "photos") == 8


def test_a_table_that_is_saved_as_csv_runs_no_formula() -> None:
    app = run(
        "import pandas as pd; from ui import shell\n"
        "made = pd.Timestamp('2026-01-01')\n"
        "shell.table(pd.DataFrame({'file': ['=HYPERLINK(1)', 'a.png'], 'of': [-1, 2], 'made': made}))"
    )
    shown = app.dataframe[0].value
    assert shown.file.tolist() == ["'=HYPERLINK(1)", "a.png"]
    assert shown.of.tolist() == [-1, 2]
    assert shown.made.dtype.kind == "M"


def test_another_tick_turns_back_to_the_first_page() -> None:
    app = run(
        "import pandas as pd, streamlit as st; from ui import shell, gallery\n"
        "ticked = shell.ticked_row(pd.DataFrame({'photo': ['a', 'b']}), 'photos')\n"
        "st.text((ticked, *gallery.pager(250, 100)))",
        page="2",
    )
    assert app.text[0].value == "(0, 100, 200)"
    table = app.dataframe[0].proto.id  # AppTest ticks no rows: this is what the browser sends
    app._run(WidgetStates(widgets=[WidgetState(id=table, string_value='{"selection": {"rows": [1]}}')]))
    assert app.text[0].value == "(1, 0, 100)"
    assert "page" not in app.query_params


def test_one_page_needs_no_pager():
    app = run("from ui import gallery; import streamlit as st\nst.text(gallery.pager(0, 100))")
    assert app.text[0].value == "(0, 0)"
    assert not app.get("pagination")


# ---- Gallery -------------------------------------------------------------------------------------------


def decode(uri: str) -> np.ndarray:
    encoded = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_a_thumbnail_keeps_its_shape_and_its_colours():
    pixels = np.full((240, 320, 3), (200, 40, 90), np.uint8)
    small = decode(gallery.thumbnail(pixels, 96))
    assert small.shape == (96, 128, 3)
    assert np.abs(small.astype(int) - (200, 40, 90)).max() <= 3


def test_a_small_picture_is_not_blown_up():
    assert decode(gallery.thumbnail(np.zeros((40, 30, 3), np.uint8), 96)).shape == (40, 30, 3)


def test_gallery_and_matrix_draw_and_report_no_click():
    app = run("""
from ui.gallery import Tile, gallery
from ui.matrix import confusion_matrix
import streamlit as st
gallery([Tile("a", "data:,", "<b>x</b>.png", "red")], "g", st.text, selected="a")
confusion_matrix([[1, 0], [2, 3]], ["a", "b"], key="m", title="A run", on_click=st.text)
""")
    assert not app.text
    assert len(app.get("bidi_component")) == 2


@pytest.mark.parametrize("script", ["gallery.js", "matrix.js", "desk.js", "reviewer.js"])
def test_components_never_parse_data_as_html(script: str):
    source = (ROOT / "ui" / script).read_text(encoding="utf-8")
    assert not any(word in source for word in ("innerHTML", "outerHTML", "insertAdjacentHTML"))


# ---- Confusion matrix ----------------------------------------------------------------------------------

COUNTS = [[8, 2], [1, 3]]


def column(cells: list[dict], name: str) -> list:
    return [cell[name] for cell in cells]


def test_cells_hold_counts_with_the_share_of_the_true_class():
    cells = matrix.cells(COUNTS, ["a", "b"], "counts", None, None)
    assert column(cells, "big") == ["8", "2", "1", "3"]
    assert column(cells, "small") == ["80.0%", "20.0%", "25.0%", "75.0%"]
    assert column(cells, "kind") == ["right", "wrong", "wrong", "right"]
    assert cells[1]["title"] == "True A, predicted B: 2, 20.0% of those truly A"


def test_cells_by_predicted_hold_shares_of_the_column():
    cells = matrix.cells([[3, 2], [1, 3]], ["a", "b"], "by predicted", None, None)
    assert column(cells, "big") == ["75.0%", "40.0%", "25.0%", "60.0%"]
    assert column(cells, "small") == ["3", "2", "1", "3"]


def test_matrices_on_one_scale_shade_equal_counts_alike():
    scale = matrix.common_scale(COUNTS, [[2, 0], [0, 64]])
    assert scale == 64
    first = matrix.cells(COUNTS, ["a", "b"], "counts", None, scale)
    second = matrix.cells([[2, 0], [0, 64]], ["a", "b"], "counts", None, scale)
    assert first[1]["shade"] == second[0]["shade"] > 0
    assert column(second, "shade")[1:] == [0, 0, 1]


def test_a_class_without_pictures_has_no_share():
    cells = matrix.cells([[0, 0], [1, 3]], ["a", "b"], "by true", None, None)
    assert column(cells, "big")[:2] == ["–", "–"]
    assert column(cells, "kind")[:2] == ["none", "none"]


def test_a_difference_says_what_became_better_and_worse():
    cells = matrix.cells([[9, 1], [2, 2]], ["a", "b"], "by true", COUNTS, None)
    assert column(cells, "big") == ["+10.0", "−10.0", "+25.0", "−25.0"]
    assert column(cells, "small") == ["+1", "−1", "+1", "−1"]
    assert column(cells, "kind") == ["right", "right", "wrong", "wrong"]
    assert cells[1]["title"] == "True A, predicted B: −10.0, −1: in percentage points and in pictures"
    same = matrix.cells(COUNTS, ["a", "b"], "counts", COUNTS, None)
    assert column(same, "big") == ["0"] * 4
    assert column(same, "shade") == [0] * 4


# ---- Charts --------------------------------------------------------------------------------------------

def test_one_picture_more_is_one():
    title = matrix.cells([[9, 1], [2, 2]], ["a", "b"], "counts", [[8, 2], [2, 2]], None)[0]["title"]
    assert title.endswith(": +1 picture, +10.0 percentage points")


def test_class_bars_stack_nothing_and_miss_nothing():
    figure = charts.class_bars_figure({"train": {"b": 3, "a": 1}, "test": {"b": 2}}, dark=False)
    drawn = {bar.legendgroup: dict(zip(bar.x, bar.y, strict=True)) for bar in figure.data if not bar.name}
    assert drawn == {"train": {"A": 1, "B": 3}, "test": {"A": 0, "B": 2}}
    assert [bar.name for bar in figure.data if bar.name] == ["train", "test"]
    assert figure.layout.paper_bgcolor == "rgba(0, 0, 0, 0)"


def test_probability_bars_escape_names_and_keep_within_their_track():
    drawn = charts.probability_bars_html({"<img src=x>": 1.2, "monocyte": 0.333}, classes=["<img src=x>", "monocyte"])
    assert "<img" not in drawn
    assert "width:100.0%" in drawn
    assert "33.3%" in drawn
    assert ">&lt;0.1%</span>" in charts.probability_bars_html({"monocyte": 1e-6}, classes=["monocyte"])
    assert theme.css_colours(["monocyte"])["monocyte"] in drawn


def test_a_picture_as_thin_as_a_thread_has_a_thumbnail():
    from ui.gallery import thumbnail

    assert thumbnail(np.zeros((16, 70_000, 3), np.uint8), 96).startswith("data:image/jpeg;base64,/9j/")


def test_a_legend_escapes_names_and_has_the_colours_of_the_borders():
    drawn = charts.legend_html(["<img src=x>", "monocyte"])
    assert "<img" not in drawn
    assert theme.css_colours(["monocyte"])["monocyte"] in drawn


def test_lines_of_classes_differ_without_colour_and_the_legend_shows_how():
    names = list("abcde")
    figure = charts.spread_figure(pd.Series(range(5), dtype=float), pd.Series(names), "cells", names, False)
    dashes = [line.line.dash for line in figure.data]
    assert len(set(dashes)) == len(names)
    swatches = re.findall(r"gradient\(90deg, (.*?)\)\"", charts.legend_html(names, lines=True))
    drawn = [[int(end) - int(start) for start, end in re.findall(r"(\d+)px (\d+)px", each)] for each in swatches]
    assert [",".join(f"{length}px" for length in lengths) for lengths in drawn] == dashes


@pytest.mark.parametrize(
    ("values", "bins"),
    [([1, 1, 1], [0, 1, 2]), ([1, 2, 2, 4], [0, 1, 2, 3, 4, 5]), ([0.5, 0.5], [-0.5, 0.5, 1.5]), ([], None)],
)
def test_few_whole_numbers_and_equal_ones_have_a_bin_each(values: list[float], bins: list[float] | None):
    figure = charts.spread_figure(pd.Series(values, dtype=float), pd.Series(["a"] * len(values)), "cells", ["a"], False)
    assert [line.x.tolist() for line in figure.data] == ([bins] if bins else [])


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([1, 1], (1,)), ([0, 2], (0, 1, 2)), ([0, 20], (0, 3, 6, 9, 12, 15, 18)), ([0.5, 1], None), ([0.5], None)],
)
def test_counts_have_no_tick_between_two_whole_numbers_and_none_below_them(
    values: list[float], ticks: tuple[int, ...] | None
):
    figure = charts.spread_figure(pd.Series(values, dtype=float), pd.Series(["a"] * len(values)), "cells", ["a"], False)
    assert figure.layout.xaxis.tickvals == ticks


def test_many_values_have_the_bins_that_were_asked_for():
    values = pd.Series(np.linspace(0, 1, 500))
    figure = charts.spread_figure(values, pd.Series(["a"] * 500), "focus", ["a"], False)
    assert len(figure.data[0].x) == 40
    assert sum(figure.data[0].y) == pytest.approx(1)
