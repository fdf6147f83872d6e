"""Notify others how a run ended: a message to the webhook at GRAFT_WEBHOOK_URL, and to other listeners.

The message is JSON: `event` (graft.run.ended), `project`, `outcome`, `message`, and `text`, which combines them in one
string, as chat services expect. The address may contain a secret, so only its host is ever shown.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tenacity import Retrying, stop_after_attempt, wait_exponential

from tasks.data_versions.version import DataRefused
from tasks.executor.one_run_at_a_time import Busy
from tasks.tracking.published import load_published

logger = logging.getLogger("graft.notify")

VARIABLE = "GRAFT_WEBHOOK_URL"
EVENT = "graft.run.ended"
FIRST_WAIT = 1.0
"""Seconds before the second of three attempts; twice as many before the third."""
SECONDS = 10
"""Timeout of one attempt."""

RunEnd = Literal["finished", "unchanged", "refused", "skipped", "failed", "stopped"]
"""refused: the new data has problems; skipped: another run works in the project."""

_under_way: set[Path] = set()


@dataclass
class News:
    """How a run ended, filled in during the run.

    Attributes:
        project: the name of its folder.
        outcome: one word.
        message: a description.
    """

    project: str
    outcome: RunEnd = "finished"
    message: str = ""

    @property
    def text(self) -> str:
        """Project, outcome and message as one string."""
        return f"{self.project}: {self.outcome}. {self.message}".strip()


@contextmanager
def announced(root: Path, also: Callable[[News], None] = lambda _: None) -> Iterator[News]:
    """Send how the run in the block ended; a nested run is part of the outer one and sends nothing itself.

    Args:
        root: the project's folder.
        also: called with the news as well, even for a nested run.
    """
    news, is_part = News(root.name), root in _under_way
    _under_way.add(root)
    try:
        yield news
        published = load_published(root)
        news.message = news.message or (str(published.registration) if published else "")
    except BaseException as error:
        news.outcome, news.message = _outcome(error), str(error)
        raise
    finally:
        try:
            also(news)
        finally:
            if not is_part:
                _under_way.discard(root)
                send(news)


def send(news: News) -> None:
    """Post the news to the webhook, if one is set; if it cannot be reached, log a warning and never fail the run."""
    url = os.environ.get(VARIABLE, "")
    if not url:
        return
    body = json.dumps({"event": EVENT, **asdict(news), "text": news.text}).encode()
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(url)
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  (see above)
        for attempt in Retrying(stop=stop_after_attempt(3), wait=wait_exponential(FIRST_WAIT), reraise=True):
            with attempt, urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310
                pass
    except OSError as error:
        logger.warning(
            "the webhook at %s could not be notified: %s", urlsplit(url).hostname, getattr(error, "reason", error)
        )
    except (ValueError, HTTPException) as error:  # whose message may contain the address
        kind = type(error).__name__
        logger.warning(
            "%s is not a valid address (http://… or https://…), or no web server answers there (%s); "
            "no notification was sent",
            VARIABLE,
            kind,
        )


def _outcome(error: BaseException) -> RunEnd:
    if isinstance(error, DataRefused):
        return "refused"
    if isinstance(error, Busy) and not error.ends_with:
        return "skipped"
    return "failed" if isinstance(error, Exception) else "stopped"
