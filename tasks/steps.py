"""The steps of the flow as Prefect tasks: a task run for every stage that has to run, named after it.

State that is shared between the flow and its tasks stays in this module: Prefect pickles flows and tasks by value, and
neither locks nor running processes can be pickled.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.futures import PrefectFuture

from tasks.checks.survey import Survey, survey
from tasks.common.environment import find_project, prepare_environment
from tasks.data_versions.version import ATTEMPTS
from tasks.executor import events
from tasks.executor.dvc.dvc_project import SourceChangedError
from tasks.executor.execute import Outcome
from tasks.executor.one_run_at_a_time import IfBusy, turn
from tasks.executor.resources.gpus import find_devices
from tasks.executor.run_module import run_module
from tasks.executor.schedule import Job, RunFailed
from tasks.notify import EVENT, News, announced
from tasks.tracking.markdown import in_markdown
from tasks.tracking.published import Published, load_published

logger = logging.getLogger("graft.stages")
_jobs: dict[str, Job] = {}


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str) -> Outcome:
    """Bring one changed stage up to date; DVC has judged that it must run, so Prefect's own cache stays off.

    Nor does Prefect retry it: the executor knows which problems pass, keeps the device meanwhile, and hears a Ctrl-C.
    """
    return _jobs[name]()


@task(cache_policy=NO_CACHE, persist_result=False)
def version_data(found: Survey, update: bool) -> str:
    """Pull, make or check `data/` against `data.dvc`; the hash of the data."""
    with events.step("version data"):
        return found.data(update).md5


@task(cache_policy=NO_CACHE, persist_result=False)
def publish(root: Path) -> Published:
    """Record the result in MLflow and put the candidate before the gate, in a warm child that has MLflow imported.

    News stands in Prefect's page as an artifact.
    """
    with events.step("register"):
        run_module("tasks.publish", root)
    published = load_published(root)
    assert published is not None
    if published.is_news:
        create_markdown_artifact(
            in_markdown(root, published),
            key=f"graft-{re.sub('[^a-z0-9]+', '-', root.name.lower()).strip('-')}",
            description=f"What the last run of the project {root.name} that brought news came to.",
        )
    return published


class Stages:
    """The stages of the project during one flow run."""

    def __init__(self, found: Survey) -> None:
        self.root, self._survey = found.root, found
        self._futures: dict[str, PrefectFuture[Outcome]] = {}

    @property
    def changed(self) -> bool:
        """Whether any of them had to run."""
        return self._survey.has_work

    def prepare(self, update_data: bool) -> bool:
        """Version the data, and if any stage has to run, prepare it; whether any has.

        From then on nothing of this run reads `data/`: what arrives there is for the next one. What arrives in between
        is checked like what was there before.

        Raises:
            GraftError: the data is refused, it changes again and again, or a knob of a strategy cannot be used.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return self._prepare(update_data)
            except RunFailed as failed:
                if not any(isinstance(each.__cause__, SourceChangedError) for each in failed.failures.values()):
                    raise
                logger.warning("data/ changed after it was checked: it is checked again")
                self._survey.again()
        return self._prepare(update_data)

    def _prepare(self, update_data: bool) -> bool:
        version_data(self._survey, update_data)
        if self.changed:
            self._survey.check_knobs()
            self.run("prepare", "weights")
        return self.changed

    def check_strategies(self) -> None:
        """Whether all can work with the data, which is prepared; a refusal must not cost a pretraining.

        Raises:
            GraftError: some cannot; all of them, with their reasons.
        """
        run_module("tasks.checks.strategies", self.root)

    def run(self, *targets: str) -> None:
        """Bring stages, or all members of groups, up to date; each that changed is a Prefect task run."""
        self._survey.pipeline.run(targets, submit=self._submit)

    def _submit(self, job: Job) -> PrefectFuture[Outcome]:
        _jobs[job.name] = job
        before = [self._futures[name] for name in job.upstream if name in self._futures]
        self._futures[job.name] = run_stage.submit(job.name, wait_for=before)  # type: ignore[call-overload]
        return self._futures[job.name]


@contextmanager
def open_project(root: str | None, jobs: int | None, devices: str, if_busy: IfBusy) -> Iterator[Stages]:
    """The stages of the project in (or above) `root`, which is held for this run, its files checked.

    Raises:
        Busy: another run works in the project, and this one shall not wait.
        GraftError: there is no project, or its files cannot be used, or there are no such devices.
    """
    folder = find_project(Path(root) if root else None)
    prepare_environment(folder)
    logging.getLogger("graft").setLevel(logging.INFO)  # Prefect passes on what `tasks.executor.events` logs
    found = find_devices(devices)
    with announced(folder, _emit) as news, turn(folder, if_busy), survey(folder, jobs, found) as surveyed:
        stages = Stages(surveyed)
        yield stages
        news.outcome = "finished" if stages.changed else "unchanged"


def _emit(news: News) -> None:
    """Make it an event of Prefect, which automations can listen to."""
    resource = {"prefect.resource.id": f"graft.project.{news.project}", "prefect.resource.name": news.project}
    emit_event(EVENT, resource, payload={"outcome": news.outcome, "message": news.message})
