"""The report: what a person reads, that it stands alone, and that nothing in the data can break it."""

import base64
import io
import re
import shutil
import subprocess
import warnings
from collections import Counter
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from tasks.evaluate import evaluate
from tasks.report import words
from tasks.report.figures import gain_plot
from tasks.report.palette import looks
from tasks.report.provenance import blob_id
from tasks.report.svg import canvas, style, to_svg
from tasks.report.thumbnails import thumbnail
from tasks.settings.evaluate import EvaluateSettings
from tests.tasks.evaluation_fixture import make_project

NASTY = "</script><script>alert(1)</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a small project in colour whose class names would like to run."""
    folder = make_project(
        tmp_path_factory.mktemp("project"), classes=("$\\odd$", NASTY, "猫 with a rather long name"), channels=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate(EvaluateSettings(resamples=1000))
    return folder / "reports/index.html"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (chromium, chromium-browser, google-chrome)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_it_opens_without_errors_and_without_the_network(page: Path, width: int, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(page.as_uri())
        assert "fine_tune transfers" in tab.locator("h1").inner_text()
        assert tab.locator("svg").count() == 5
        assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = tab.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert (_brightness(background) > _brightness(ink)) == (scheme == "light")


def _brightness(colour: str) -> int:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def test_it_is_small_and_names_no_other_place(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 500_000
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "<script" not in text


def test_names_from_the_data_are_text(page: Path) -> None:
    text = page.read_text()
    assert "$\\odd$</text>" in text  # and no formula
    assert NASTY not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_mistakes_are_shown_with_both_names_and_the_surest_first(page: Path) -> None:
    shown = re.findall(r"<b>([^<]+)</b>, it says <b>([^<]+)</b><br><small>(\d+)&nbsp;% sure", page.read_text())
    assert len(shown) == 5
    assert all(label != prediction for label, prediction, _ in shown)
    confidence = [int(sure) for *_, sure in shown]
    assert confidence == sorted(confidence, reverse=True)
    assert "5 of 50 test pictures" in page.read_text()


def test_figures_on_one_page_do_not_share_ids(page: Path) -> None:
    text = page.read_text()
    ids = Counter(re.findall(r'\bid="([^"]+)"', text))
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_every_strategy_has_one_colour_and_its_verdict_a_word_and_a_sign(page: Path) -> None:
    rows = re.findall(r'--c: (var\(--[\w-]+\))"></span>(\w+)', page.read_text())
    colours = {name: {colour for colour, other in rows if other == name} for _, name in rows}
    assert sorted(colours) == ["fine_tune", "scratch", "source_only"]
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 3
    assert "▲ positive" in page.read_text()


def test_a_figure_is_the_same_whatever_the_user_has_set() -> None:
    def draw() -> str:
        with style():
            figure = canvas(200, 100)
            figure.subplots().plot([1, 2], [3, 4])
            return to_svg(figure, "name", 'a "quoted" title')

    plain = draw()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert draw() == plain
    assert 'aria-label="a &quot;quoted&quot; title"' in plain


def test_figures_take_their_colours_from_the_page(page: Path) -> None:
    for figure in re.findall(r"<svg .*?</svg>", page.read_text(), flags=re.DOTALL):
        assert "var(--" in figure
        assert set(re.findall(r"#[0-9a-f]{6}\b", figure)) <= {"#000000", "#ffffff"}  # clipped away or invisible
        assert "<style" not in figure


def test_blob_ids_are_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a line\n" + bytes(range(256)))
    git = subprocess.run(["git", "hash-object", "--no-filters", str(path)], check=True, capture_output=True, text=True)
    assert blob_id(path.read_bytes()) == git.stdout.strip()


def summary(verdict: str, mean: float, low: float | None, high: float | None, chosen: str = "fine_tune") -> dict:
    def row(name: str, gain: float) -> dict:
        return {
            "accuracy": {"mean": 0.9 + gain},
            "gain_over_scratch": {"mean": gain, "low": gain - 0.01, "high": gain + 0.01},
            "verdict": name,
        }

    fine_tune = {**row(verdict, mean), "gain_over_scratch": {"mean": mean, "low": low, "high": high}}
    return {
        "candidate": {"strategy": chosen},
        "budget": {"labels_per_class": 10},
        "strategies": {
            "fine_tune": fine_tune,
            "scratch": row("baseline", 0.0),
            "dann": row("positive", 0.02),
            "linear_probe": row("negative", -0.05),
        },
    }


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            summary("positive", 0.034, 0.012, 0.056),
            "fine_tune transfers: +3.4 points of accuracy over scratch [+1.2, +5.6] with 10 labels a class.",
        ),
        (
            summary("no evidence", 0.0117, -0.0002, 0.0236),
            "No evidence that transfer helps: fine_tune, which validation chose, "
            "is +1.2 points of accuracy over scratch [−0.02, +2.4] with 10 labels a class.",
        ),
        (
            summary("negative", -0.03, -0.05, -0.01),
            "Transfer hurts: fine_tune, which validation chose, "
            "is −3.0 points of accuracy over scratch [−5.0, −1.0] with 10 labels a class.",
        ),
        (
            summary("no evidence", 0.05, None, None),
            "No evidence that transfer helps: fine_tune, which validation chose, "
            "is +5.0 points of accuracy over scratch with 10 labels a class.",
        ),
        (
            summary("positive", 0.03, 0.01, 0.05, chosen="scratch"),
            "Nothing is transferred: with 10 labels a class, validation chose scratch, "
            "which learns from the target alone.",
        ),
    ],
)
def test_the_headline_says_the_result(result: dict, sentence: str) -> None:
    assert words.headline(result) == sentence


def test_the_second_sentence_leaves_no_strategy_out() -> None:
    assert words.others(summary("positive", 0.034, 0.012, 0.056)) == (
        "Positive transfer too: dann (+2.0). Negative transfer (worse than scratch): linear_probe (−5.0)."
    )
    assert words.others(summary("positive", 0.03, 0.01, 0.05, chosen="scratch")).startswith(
        "Positive transfer: fine_tune (+3.0) and dann (+2.0)."
    )


def test_strategies_that_change_nothing_have_a_plot_too() -> None:
    result = summary("no evidence", 0.0, 0.0, 0.0)
    result["strategies"] = {name: result["strategies"][name] for name in ("fine_tune", "scratch")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = gain_plot(result, looks(result["strategies"]))
    assert figure is not None
    assert "0.0 [0.0, 0.0]" in figure


@pytest.mark.parametrize(("side", "shown"), [(16, 16), (64, 64), (200, 64)])
def test_large_pictures_are_shown_small(side: int, shown: int) -> None:
    pixels = torch.randint(256, (3, side, side), dtype=torch.uint8)
    kind, encoded = re.match(r"data:image/(\w+);base64,(.*)", thumbnail(pixels)).groups()
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (image.size, image.mode) == ((shown, shown), "RGB")
    if side == shown:
        assert kind == "png"
        assert np.array_equal(np.asarray(image), pixels.permute(1, 2, 0))


def test_long_names_keep_both_ends() -> None:
    assert words.short("a short name") == "a short name"
    assert words.short("some class with a long name 17", 14) == "some cl…ame 17"
