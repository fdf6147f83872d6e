"""Whoever listens at the webhook hears how a run ended, once, whatever happens on the way."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.data_versions.version import DataRefused
from tasks.executor.one_run_at_a_time import Busy
from tasks.notify import News, announced
from tests.tasks.support.webhook import Listener, listening


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr("tasks.notify.FIRST_WAIT", 0.01)
    with listening() as server:
        monkeypatch.setenv("GRAFT_WEBHOOK_URL", server.url)
        yield server


def test_the_end_of_a_run_is_told_in_a_word_and_in_words(listener: Listener, tmp_path: Path) -> None:
    with announced(tmp_path) as news:
        news.outcome, news.message = "unchanged", "all 3 stages are up to date"
    said = {"event": "graft.run.ended", "project": tmp_path.name, "outcome": "unchanged"}
    message = "all 3 stages are up to date"
    assert listener.heard == [said | {"message": message, "text": f"{tmp_path.name}: unchanged. {message}"}]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DataRefused("x.png: truncated"), "refused"),
        (Busy("process 7", may_skip=True), "skipped"),
        (Busy("process 7", may_skip=False), "failed"),
        (ValueError("a mistake"), "failed"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
def test_a_run_that_does_not_finish_says_why_and_its_error_goes_on(
    listener: Listener, tmp_path: Path, error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)), announced(tmp_path):
        raise error
    (heard,) = listener.heard
    assert (heard["outcome"], heard["message"]) == (outcome, str(error))


def test_a_run_within_a_run_is_told_once_and_others_hear_of_both(listener: Listener, tmp_path: Path) -> None:
    others: list[News] = []
    with announced(tmp_path), announced(tmp_path, others.append) as inner:
        inner.outcome = "unchanged"
    assert [heard["outcome"] for heard in listener.heard] == ["finished"]
    assert [news.outcome for news in others] == ["unchanged"]


def test_a_webhook_that_stumbles_is_asked_again(listener: Listener, tmp_path: Path) -> None:
    listener.failures = 2
    with announced(tmp_path):
        pass
    assert len(listener.heard) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/hook/SECRET", "file:///etc/SECRET", "SECRET"])
def test_a_webhook_that_cannot_be_told_costs_a_warning_that_keeps_its_secret(
    listener: Listener, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GRAFT_WEBHOOK_URL", url)
    with caplog.at_level(logging.WARNING), announced(tmp_path):
        pass
    assert "could not be notified" in caplog.text or "no notification was sent" in caplog.text
    assert "SECRET" not in caplog.text
