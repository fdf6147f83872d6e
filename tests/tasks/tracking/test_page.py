"""`graft ui`: a real server, its page, recording through it, and its end."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import psutil
import pytest

from tasks.common.errors import GraftError
from tasks.common.local_server import free_port
from tasks.registry.register import register
from tasks.tracking.page import serve
from tasks.tracking.record import record
from tasks.tracking.saved_view import FILTER, TAG, page_url
from tests.tasks.support.mlflow_fixture import REPOSITORY, assert_mirrored, client_of, new_project, template
from tests.tasks.support.processes import gone

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SERVE = "from pathlib import Path; from tasks.tracking.page import serve; serve(Path('.').resolve(), open_page=False)"


@dataclass(frozen=True)
class Served:
    """`graft ui` as a process, on a project with one result."""

    root: Path
    process: "subprocess.Popen[str]"
    lines: list[str]

    @property
    def url(self) -> str:
        return self.lines[-2].removeprefix("MLflow: ")

    @property
    def base(self) -> str:
        return self.url.partition("/#")[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """MLflow's page of a project; at its end, SIGTERM has to end the server and all its processes."""
    root = new_project(tmp_path_factory.mktemp("served") / "project")
    record(root)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GRAFT_UI_PORT": str(port)}
        command = [sys.executable, "-u", "-c", SERVE]
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
        impatience = Timer(180, process.kill)
        impatience.start()
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Ctrl-C" in line:
                break
    impatience.cancel()
    yield Served(root, process, lines)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2, "the server and its worker"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert gone([each.pid for each in started])


def test_a_busy_port_is_named_with_the_one_taken_instead(served: Served) -> None:
    assert served.lines[0].startswith("Port ")
    assert served.lines[0].endswith(f"is busy; using {served.base.rpartition(':')[2]}.")
    assert served.lines[1].startswith("Starting MLflow's server")


def test_the_page_is_there_with_the_saved_view(served: Served) -> None:
    with urllib.request.urlopen(served.base) as answer:
        assert "MLflow" in answer.read().decode()
    experiment_id = record(served.root).experiment_id
    assert served.url == page_url(served.base, experiment_id, saved_view=True)
    tag = json.loads(client_of(served.root).get_experiment(experiment_id).tags[TAG])
    state = json.loads(zlib.decompress(base64.b64decode(tag["state"].removeprefix("deflate;"))))
    assert state["searchFilter"] == FILTER
    assert client_of(served.root).search_runs([experiment_id], FILTER), "the view's filter finds the trials"


def test_without_a_saved_view_the_page_is_filtered_all_the_same() -> None:
    url = page_url("http://127.0.0.1:5000/", "7", saved_view=False)
    assert url.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert "searchFilter=tags.kind%20%3D%20%27trial%27" in url


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (chromium, chromium-browser, google-chrome)")
def test_the_page_shows_trials_by_strategy_with_test_charts_first(served: Served) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(served.url)
        page.get_by_text("Group: fine_tune").first.wait_for(timeout=60_000)
        page.get_by_text("test/accuracy").last.wait_for(timeout=60_000)
        text = page.locator("body").inner_text()
        browser.close()
    assert "Strategies compared" in text
    assert "Group: scratch" in text
    assert text.index("Test, mean over seeds") < text.index("Learning, mean and band over seeds")


def test_results_are_recorded_through_a_server_as_well(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_project(tmp_path / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.base)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    monkeypatch.setenv("GRAFT_MODEL", "other")
    recorded = record(other)
    assert (recorded.written, recorded.problem) == (6, "")
    registration = register(other)
    assert (registration.version, registration.alias, registration.problem) == ("1", "champion", "")
    again = record(other)
    assert (again.written, again.found) == (0, 6)
    assert not register(other).created
    said: list[str] = []
    serve(other, open_page=False, say=said.append)
    assert said == [f"MLflow: {page_url(served.base, recorded.experiment_id, saved_view=True)}"]


@contextmanager
def slow(server: str, seconds: Callable[[str, int], float]) -> Iterator[str]:
    """A server before a server, that keeps each answer back for `seconds(path, how many of it before)`; its address."""
    seen: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = urllib.request.Request(server + self.path, body or None, dict(self.headers), method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
            except urllib.error.HTTPError as error:
                status, kind, content = error.code, error.headers["Content-Type"], error.read()
            what = self.path.partition("?")[0].rpartition("/2.0/")[2]
            time.sleep(seconds(what, seen[what]))
            seen[what] += 1
            with suppress(ConnectionError):  # who asked may have given up
                self.send_response(status)
                self.send_header("Content-Type", kind or "")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


ONCE = ["experiments/create", "runs/create", "runs/log-batch", "runs/update", "model-versions/create", "nothing"]


@pytest.mark.parametrize("lost", ONCE)
def test_a_slow_server_gets_everything_once(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """What it does is done, though the answer comes late, or too late to be heard."""
    project = new_project(tmp_path / "slow")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"slow {lost}")
    monkeypatch.setenv("GRAFT_MODEL", f"slow-{lost.replace('/', '-')}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with slow(served.base, lambda what, before: 4 if (what, before) == (f"mlflow/{lost}", 0) else 0.05) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for _ in range(2):
            recorded = record(project)
            registration = register(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.base)
    assert (recorded.problem, registration.problem, record(project).written) == ("", "", 0)
    assert_mirrored(project)
    assert len(client_of(project).search_model_versions(f"name = '{registration.model}'")) == 1


def test_the_database_and_its_server_can_be_used_side_by_side(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    found = record(served.root).found
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.base)
    assert (record(served.root).written, record(served.root).found) == (0, found)


def test_no_free_port_is_an_error_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.common.local_server.PORTS_TO_TRY", 1)
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(GraftError, match="GRAFT_UI_PORT"):
        free_port("127.0.0.1", busy.getsockname()[1], "mlflow.yaml: ui", "Set GRAFT_UI_PORT.")


def test_a_host_that_is_not_this_machine_is_an_error() -> None:
    with pytest.raises(GraftError, match=r"no free port from 5000 on 203\.0\.113\.1"):
        free_port("203.0.113.1", 5000, "mlflow.yaml: ui", "")


def test_a_database_that_is_none_is_an_error(tmp_path: Path) -> None:
    root = shutil.copytree(template(), tmp_path / "project")
    (root / ".graft/mlflow/mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(GraftError, match=r"MLflow cannot be opened: .*mlflow\.db"):
        serve(root, open_page=False)


def test_a_server_elsewhere_that_is_away_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(GraftError, match=r"http://127\.0\.0\.1:9 does not answer"):
        serve(new_project(tmp_path / "project"), open_page=False)
