"""Record a result in MLflow: one parent run for the whole result, with one run per trial and per source model.

MLflow mirrors the files of the stages and can be filled from them again at any time. A run is found by its stage's
key, so a stage that was not run again gets no second run; its older run is linked instead. An unfinished run is
replaced. Recording holds a lock in the project; machines that share a server have no common lock, and at worst create
duplicate runs, which the next recording removes.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.common import errors
from tasks.common.errors import GraftError
from tasks.common.places import FIGURES, METRICS, REPORT
from tasks.settings.mlflow import MlflowSettings, read_mlflow_settings
from tasks.tracking import waiting_results
from tasks.tracking.client import create_experiment, find_experiment, mlflow_error_in_words, only_one, open_client
from tasks.tracking.published import Recorded
from tasks.tracking.run_content import (
    KEY,
    RUNS,
    RunContent,
    flow_content,
    metrics_on_test,
    source_content,
    trial_content,
)
from tasks.tracking.run_note import leaderboard_table, note, trial_table
from tasks.tracking.run_result import RecordedTrial, RunResult, read_run_result
from tasks.tracking.run_store import PARENT, RunStore, is_complete

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

logger = logging.getLogger("graft.mlflow")

LISTED_RUNS = 150
"""Number of run ids that fit into a tag; further runs are found by their keys."""


def record(root: Path) -> Recorded:
    """Mirror the result in the project folder `root`, and earlier ones that could not be recorded.

    Problems with the server are reported in the returned value and never raised, so no run fails because of them. The
    result is then kept until it can be recorded, even if others follow it.

    Raises:
        GraftError: mlflow.yaml is not valid.
    """
    settings = read_mlflow_settings(root)
    try:
        result = read_run_result(root)
    except GraftError as error:
        return Recorded(settings.tracking.experiment, problem=str(error))
    late = 0
    try:
        client = open_client(root, settings)
        for folder in waiting_results.kept(root):
            if folder.name == result.key:
                continue
            try:
                before = read_run_result(folder)
            except GraftError as error:  # of another version of Graft, or damaged: it must not block the others
                logger.warning("a result waiting for MLflow cannot be read and is dropped: %s", error)
                waiting_results.put_away(folder)
                continue
            record_result(client, settings, before, root)
            waiting_results.forget(root, before)
            late += 1
        recorded = record_result(client, settings, result, root)
    except Exception as error:  # a server can fail in any way
        _keep(root, result)
        waiting = len(list(waiting_results.kept(root)))
        return Recorded(
            settings.tracking.experiment, problem=mlflow_error_in_words(error, settings), late=late, waiting=waiting
        )
    waiting_results.forget(root, result)
    return replace(recorded, late=late)


def _keep(root: Path, result: RunResult) -> None:
    try:
        waiting_results.keep(root, result)
    except OSError as error:  # the stages' files still exist, until the next result replaces them
        logger.warning("the result cannot be saved to be recorded in MLflow later: %s", errors.in_words(error))


def record_result(
    client: "MlflowClient", settings: MlflowSettings, result: RunResult, project: Path | None = None
) -> Recorded:
    """Write the parts of `result` that are not in MLflow yet; takes four queries if all of it is.

    Args:
        client: of the server.
        settings: name the experiment.
        result: of the project, or a kept one.
        project: the folder whose lock is held; by default that of the result.
    """
    experiment_id = find_experiment(client, settings)
    if experiment_id is not None:
        mirrored = _mirrored(RunStore(client, experiment_id), result)
        if mirrored:
            found = len(_keys(result)) + 1
            return Recorded(settings.tracking.experiment, experiment_id, mirrored, written=0, found=found)
    with only_one(project or result.root, "record"):
        experiment_id = find_experiment(client, settings) or create_experiment(client, settings)
        run_id, written, found = _write(RunStore(client, experiment_id), result)
    return Recorded(settings.tracking.experiment, experiment_id, run_id, written, found)


def _mirrored(store: RunStore, result: RunResult) -> str:
    """The id of the flow's run if MLflow has everything up to date, else an empty string."""
    flow = store.finished(result.key)
    if flow is None:
        return ""
    listed = flow.data.tags.get(RUNS, "")
    by_key = {run.data.tags.get(KEY): run for run in store.with_ids(listed.split()) if is_complete(run)}
    below = {name: by_key.get(key) or store.finished(key) for name, key in _keys(result).items()}
    if not all(below.values()) or listed != _listed(run.info.run_id for run in below.values() if run):
        return ""
    fresh = all(not _outdated(below[trial.name], trial) for trial in result.trials)
    current = {run.info.run_id for trial in result.trials if (run := below[trial.name])}
    return str(flow.info.run_id) if fresh and store.marked_current() == current else ""


def _write(store: RunStore, result: RunResult) -> tuple[str, int, int]:
    """Write missing and replace incomplete runs; returns the flow's run id, and how many were written and found."""
    flow = store.clean(result.key)
    below = {name: store.clean(key) for name, key in _keys(result).items()}
    provenance = waiting_results.provenance(result.root)
    flow_id = flow.info.run_id if flow else store.start(flow_content(result), provenance)
    run_ids = {}
    for content in _contents(result):
        run = below[content.name]
        if run is None:
            run_ids[content.name] = store.start(content, provenance, parent=flow_id)
            store.finish(run_ids[content.name])
        else:
            run_ids[content.name] = run.info.run_id
    there = {name: run for name, run in below.items() if run}
    _refresh(store, result, there)
    _adopt(store, there.values(), flow_id)
    _describe(store, result, flow_id, run_ids)
    store.mark(run_ids[trial.name] for trial in result.trials)
    store.finish(flow_id)
    store.delete_unfinished([result.key, *_keys(result).values()])
    found = len(there) + bool(flow)
    return str(flow_id), len(below) + 1 - found, found


def _contents(result: RunResult) -> Iterator[RunContent]:
    """The content of each child run of the flow's run."""
    yield from (source_content(result, trained) for trained in result.sources)
    yield from (trial_content(result, trial) for trial in result.trials)


def _keys(result: RunResult) -> dict[str, str]:
    """Name of each child run of the flow's run -> its stage key."""
    return {trained.name: trained.key for trained in (*result.sources, *result.trials)}


def _listed(run_ids: Iterable[str]) -> str:
    return " ".join(list(run_ids)[:LISTED_RUNS])


def _outdated(run: "Run | None", trial: RecordedTrial) -> dict[str, float]:
    """Test metrics of a trial that differ from its run's, because it was evaluated but not trained again."""
    shown = run.data.metrics if run else {}
    return {name: value for name, value in metrics_on_test(trial).items() if shown.get(name) != value}


def _refresh(store: RunStore, result: RunResult, there: Mapping[str, "Run"]) -> None:
    for trial in result.trials:
        if trial.name in there and (changed := _outdated(there[trial.name], trial)):
            points = [(name, value, 0) for name, value in changed.items()]
            store.write_points(there[trial.name].info.run_id, points)


def _adopt(store: RunStore, runs: Iterable["Run"], flow_id: str) -> None:
    """Make this result the parent of runs whose parent was deleted, so that the page shows them."""
    parents = {run.info.run_id: run.data.tags.get(PARENT, "") for run in runs}
    alive = {run.info.run_id for run in store.with_ids({*parents.values()} - {""})}
    for run_id, parent in parents.items():
        if parent not in alive:
            store.client.set_tag(run_id, PARENT, flow_id)


def _describe(store: RunStore, result: RunResult, flow_id: str, run_ids: Mapping[str, str]) -> None:
    """Write the report, the tables and the note of the flow's run."""
    from mlflow.entities import RunTag

    for file in (REPORT, METRICS):
        store.client.log_artifact(flow_id, str(result.root / file), "report")
    for figure in sorted((result.root / FIGURES).glob("*.svg")):
        store.client.log_artifact(flow_id, str(figure), "figures")
    tables = {"leaderboard.json": leaderboard_table(result.summary), "trials.json": trial_table(result, run_ids)}
    for name, table in tables.items():
        store.client.log_dict(flow_id, table, name)
    tags = {
        "mlflow.note.content": note(result, store.experiment_id, run_ids),
        "mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"} for name in tables]),
        RUNS: _listed(run_ids.values()),
    }
    store.client.log_batch(flow_id, tags=[RunTag(name, value) for name, value in tags.items()])
