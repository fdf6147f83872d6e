"""The report as a page: that it stands alone, that nothing in the data can break it, and that it shows all there is."""

import html
import json
import re
import shutil
from collections import Counter
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rich.console import Console

from flows.views.leaderboard import leaderboard_view
from tasks.common.errors import GraftError
from tasks.evaluate import evaluate
from tasks.report.figures.lines import levels
from tasks.report.figures.palette import looks
from tasks.report.figures.rows import gains_cut
from tasks.results.leaderboard import leaderboard
from tasks.results.metrics_file import read_summary
from tasks.settings.evaluate import EvaluateSettings
from tasks.tracking.markdown import in_markdown
from tasks.tracking.published import Published, Recorded, Registration
from tasks.tracking.run_note import note
from tests.house.imports import ROOT
from tests.tasks.support.evaluation_fixture import STEPS, add_companion, make_project

NASTY = "</script><script>alert(1)</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a small project in colour whose class names would like to run, with all that a report can show."""
    folder = make_project(
        tmp_path_factory.mktemp("project"),
        steps={**STEPS, "layer_transfer": 2, "adaptive_sampling": 4},
        budgets=(2, 4),
        classes=("$\\odd$", NASTY, "猫 with a rather long name"),
        channels=3,
    )
    trials = folder / "build/trials"
    for seed in range(3):
        add_companion(trials / f"source_only-0-{seed}", "oracle", like=trials / f"fine_tune-4-{seed}")
        for labels in (2, 4):
            for depth in range(3):
                swept = trials / f"layer_transfer-{labels}-{seed}"
                add_companion(swept, f"depth {depth} of 2", like=trials / f"fine_tune-{labels}-{seed}")
            add_companion(trials / f"fine_tune-{labels}-{seed}", "a variant", like=trials / f"scratch-{labels}-{seed}")
            weights = np.linspace(0, 1, 60, dtype=np.float32)
            np.save(trials / f"adaptive_sampling-{labels}-{seed}/source_weights.npy", weights)
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
        assert tab.locator("svg").count() == 8 + 4  # and a small one for each strategy beside scratch
        assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        # On a phone, what stands behind "All scores" and the list of files may be scrolled sideways.
        tab.evaluate(f"document.querySelectorAll('details').forEach(part => part.open = {str(width > 400).lower()})")
        cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
        assert tab.evaluate(f"{cut}.map(box => box.innerText).filter(Boolean)") == []
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
    assert "5 of 50 test images" in page.read_text()


def test_figures_on_one_page_do_not_share_ids(page: Path) -> None:
    text = page.read_text()
    ids = Counter(re.findall(r'\bid="([^"]+)"', text))
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_every_strategy_has_one_colour_and_its_verdict_a_word_and_a_sign(page: Path) -> None:
    rows = re.findall(r'--c: (var\(--[\w-]+\))"></span>(\w+)', page.read_text().replace("<wbr>", ""))
    colours = {name: {colour for colour, other in rows if other == name} for _, name in rows}
    assert sorted(colours) == ["adaptive_sampling", "fine_tune", "layer_transfer", "scratch", "source_only"]
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 5
    assert "▲ positive" in page.read_text()


def test_figures_take_their_colours_from_the_page(page: Path) -> None:
    for figure in re.findall(r"<svg .*?</svg>", page.read_text(), flags=re.DOTALL):
        assert "var(--" in figure
        assert set(re.findall(r"#[0-9a-f]{6}\b", figure)) <= {"#000000", "#ffffff"}  # clipped away or invisible
        assert "<style" not in figure


def test_an_oracle_is_shown_as_one_and_is_no_result(page: Path) -> None:
    found = json.loads((page.parent / "metrics.json").read_text())
    oracle = found["companions"]["source_only"]["0"]["oracle"]["mean"]
    assert oracle == found["strategies"]["fine_tune"]["accuracy"]["mean"]
    text = page.read_text()
    assert "oracle %</th>" in text
    assert f'<td class="wide oracle">{100 * oracle:.1f} ' in text
    assert "never ranked, chosen or promoted" in text
    assert "oracle" not in found["strategies"]


def test_terminal_note_artifact_and_report_show_the_same_rows(page: Path) -> None:
    root = page.parents[1]
    summary = read_summary(root)
    board = leaderboard(summary)
    assert [row.strategy for row in board.rows if row.is_chosen] == ["fine_tune"]
    assert board.has_oracles
    candidate = SimpleNamespace(name=summary.candidate.trial, strategy=summary.candidate.strategy)
    texts = (
        note(SimpleNamespace(summary=summary, candidate=candidate), "1", {}),  # type: ignore[arg-type]
        in_markdown(root, Published(Recorded(), Registration())),
    )
    for text in texts:
        table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        assert table[0] == board.headings
        assert [[cell.strip() for cell in line] for line in table[2 : 2 + len(board.rows)]] == board.cells
    assert _rows_of_the_page(page.read_text(encoding="utf-8")) == board.cells
    console = Console(file=StringIO(), width=100)
    console.print(leaderboard_view(root))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    shown = [
        " ".join(
            [
                row.rank,
                *(["★"] if row.is_chosen else []),
                *([] if row.labels_per_class else ["°"]),
                *(row.strategy, row.score_text, row.gain_text, row.verdict_text),
            ]
        )
        for row in board.rows
    ]
    assert [line for line in lines if line in shown] == shown


def _rows_of_the_page(text: str) -> list[list[str]]:
    """The cells of the leaderboard in the report, as they are read on a wide page."""
    table = re.search(r'<table class="board.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert table is not None
    found = []
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table.group(1), re.DOTALL):
        cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        wide = [re.sub(r"<[^>]+>", "", cell.split('<span class="narrow">')[0]) for cell in cells]
        found.append([" ".join(html.unescape(cell).split()) for cell in wide])
    return found


def test_a_companion_is_compared_with_its_strategy_on_the_same_pictures(page: Path) -> None:
    found = json.loads((page.parent / "metrics.json").read_text())
    variant = found["companions"]["fine_tune"]["4"]["a variant"]  # the network of scratch
    assert variant["gain_over_it"] == found["strategies"]["fine_tune"]["gain_over_scratch"]
    assert variant["verdict_over_it"] == found["strategies"]["fine_tune"]["verdict"] == "positive"
    assert "gain_over_it" not in found["companions"]["source_only"]["0"]["oracle"]
    row = re.search(r"a variant</td><td>4</td>.*?</tr>", page.read_text(), re.DOTALL)
    assert row is not None
    assert row.group().count(f"▲ +{100 * variant['gain_over_it']['mean']:.1f}") == 1, "next to it, on a narrow page"
    assert f"+{100 * variant['gain_over_it']['mean']:.1f} <small>[" in row.group()


def test_the_page_shows_what_was_drawn_and_how_deep_to_transfer(page: Path) -> None:
    text = page.read_text()
    assert "Which source images adaptive_sampling chose" in text
    assert "How transferable is each layer" in text
    assert text.count('<td class="left">a variant</td>') == 2  # with 2 labels per class, and with 4
    assert "Nine draws of ten come from 68.3&nbsp;% of the source" in text  # 41 of 60, by hand


def test_the_page_shows_what_a_search_settled_on_and_that_all_were_searched_alike(page: Path) -> None:
    text = " ".join(page.read_text().replace("<wbr>", "").split())
    row = '<th scope="row">fine_tune</th><td class="left wrap">0.01, 0.01, 0.01</td><td class="left wrap">none</td>'
    assert text.count('<td class="left wrap">0.01') == text.count(row) == 1  # no other strategy was searched for
    assert "With 4 labels per class; 2 trainings a seed" in text
    assert "values stand in the order of the seeds 0, 1, 2" in text
    assert "every strategy that trains got the same number of trainings (2) to find its learning rate" in text
    assert "the same labels, steps and augmentation" in text


def test_without_a_search_nothing_is_said_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path, steps={"scratch": 2, "source_only": 0}, seeds=[0])
    monkeypatch.chdir(folder)
    evaluate(EvaluateSettings(resamples=1000))
    text = " ".join((folder / "reports/index.html").read_text().split())
    assert "the same labels, steps, base learning rate (a strategy may scale it" in text
    assert "trainings" not in text
    assert "4 labels per class" in text


def test_the_parameters_are_those_of_the_file(page: Path) -> None:
    block = re.search(r"<pre>(.*?)</pre>", page.read_text(), flags=re.DOTALL)
    asked = yaml.safe_load(html.unescape(block.group(1)))
    assert asked == yaml.safe_load((page.parents[1] / "params.yaml").read_text())


def test_what_the_page_shows_of_the_parameters_makes_it_again() -> None:
    from tasks.checks.parameters import SECTIONS
    from tasks.trials.plan import PLAN_SECTIONS

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    of_params = [section for section in stages["evaluate"]["params"] if isinstance(section, str)]
    assert of_params == sorted([*SECTIONS, *PLAN_SECTIONS, "sources", "use"])


def test_the_largest_budget_is_what_was_paid(page: Path) -> None:
    text = " ".join(page.read_text().split())
    assert "Paid in labels:</strong> 12 labelled target images a seed" in text
    assert "Smaller budgets are parts of the largest and cost no more." in text


def test_the_captions_speak_of_arrows_where_there_are_some(page: Path) -> None:
    text, found = " ".join(page.read_text().split()), read_summary(page.parents[1])
    assert ("An arrow: needs no labels" in text) == levels(found, looks(found))["below"]
    assert ("An arrow: it goes on outside the plot." in text) == gains_cut(found)


def test_weights_of_other_source_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path, steps={"scratch": 0, "adaptive_sampling": 1}, seeds=[0])
    np.save(folder / "build/trials/adaptive_sampling-4-0/source_weights.npy", np.ones(7, dtype=np.float32))
    monkeypatch.chdir(folder)
    with pytest.raises(GraftError, match="has weights for 7 source images, but there are 60"):
        evaluate(EvaluateSettings(resamples=1000))
