"""The documentation as a site: it builds strictly, needs no network, and its reference names all that there is."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from flows.cli import app
from graft.strategies import strategy_class, strategy_names
from tasks.checks.parameters import SECTIONS
from tasks.settings.mlflow import VARIABLES
from tests.house.imports import ROOT

FREE = ("strategies", "label_free", "sources", "models", "class_map")
"""Keys of params.yaml whose own keys are the user's, or a page of their own."""


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """The generated pages."""
    pages: dict[str, str] = script("generate_reference").pages()
    return pages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Sources(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "object"):
            self.found.append(given.get("src") or given.get("data") or "")
        if tag == "link":
            self.found.append(given.get("href") or "")


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    for page in pages:
        parser = Sources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert any("assets/" in source for source in parser.found)
        assert [source for source in parser.found if re.match(r"(https?:)?//", source)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?https?:", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_the_search_needs_no_server(site: Path) -> None:
    assert "gradual_unfreeze" in (site / "search/search_index.js").read_text(encoding="utf-8")
    assert "javascripts/iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


def test_every_command_and_option_is_in_the_reference(reference: dict[str, str]) -> None:
    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        for name, each in command.commands.items():
            if hasattr(each, "commands"):
                yield from walk(each, f"{path} {name}")
                continue
            yield f"{path} {name}", ""
            for parameter in each.params:
                yield from ((f"{path} {name}", option) for option in parameter.opts if option.startswith("-"))

    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", reference["commands"], re.DOTALL | re.MULTILINE))
    found = [*walk(typer.main.get_command(app), "graft")]
    assert ("graft data add", "--downloads") in found
    for command, option in found:
        assert option in sections[command]


def test_every_key_of_the_files_is_in_the_reference(reference: dict[str, str]) -> None:
    def keys(values: dict[str, Any], path: str = "") -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, dict) and key not in FREE:
                yield from keys(value, f"{path}{key}.")
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                yield from keys(value[0], f"{path}{key}[].")
            else:
                yield f"{path}{key}"

    files = {name: yaml.safe_load((ROOT / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("params", "mlflow")}
    for name, content in files.items():
        assert [key for key in keys(content) if f"| `{key}` |" not in reference[name]] == []
    for section, kind in SECTIONS.items():
        assert all(f"`{section}.{each.name}" in reference["params"] for each in fields(kind))
    assert all(f"`{variable}`" in reference["mlflow"] for variable in VARIABLES)
    (deployment,) = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    ours = [key for key in keys({"deployments": [deployment]}) if not re.search(r"entrypoint|parameters", key)]
    assert [key for key in ours if f"| `{key}` |" not in reference["prefect"]] == []
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert all(f"### {name}\n" in reference["dvc"] for name in stages)
    assert all(f"| `{key}` |" in reference["dvc"] for key in ("threads", "device", "retries", "graft"))


def test_every_key_has_words_a_default_and_a_range(reference: dict[str, str]) -> None:
    rows = {
        name: re.findall(r"^\| `([\w.\[\]]+)` \| (.*?) \| (.*?) \| (.*?) \|$", reference[name], re.MULTILINE)
        for name in reference
    }
    assert len(rows["params"]) > 80
    for key, kind, default, said in rows["params"] + rows["mlflow"]:
        assert kind, key
        assert default, key
        assert said, key
    assert ("evaluate.confidence", "number > 0.5 and < 1", "`0.95`", "Of every interval.") in rows["params"]


def test_every_strategy_and_knob_is_in_the_reference(reference: dict[str, str]) -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", reference["strategies"], re.DOTALL | re.MULTILINE))
    assert sections.keys() == {*strategy_names()}
    for name, text in sections.items():
        assert all(f"| `{knob.name}` |" in text for knob in fields(strategy_class(name)))


def test_the_diagrams_show_the_rooms_as_they_are() -> None:
    drawn = script("draw_diagrams").drawings()
    assert len(drawn) == 6
    for name, content in drawn.items():
        stands = (ROOT / "docs/images" / name).read_text(encoding="utf-8")
        assert stands == content, "run python docs/draw_diagrams.py"
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert all(name in drawn["graph.svg"] for name in stages)
    for room in ("source_models", "data_versions", "techniques", "views"):
        assert f">{room}</text>" in drawn["rooms.svg"]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "benchmarks/README.md", "examples/README.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert re.match("https?:", target) or (ROOT / page).parent.joinpath(target).exists(), target
