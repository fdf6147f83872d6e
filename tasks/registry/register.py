"""Register the candidate, and make it the champion if it passes the gate.

The same candidate on the same test set is registered once. MLflow's aliases have no compare-and-swap, so everything is
read and written under a lock of the project. Machines that share a server have no common lock: let only one of them
register. MLflow keeps no history of promotions either, so each version has its own in tags.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.common.errors import GraftError
from tasks.registry.champion import scores_tag, standing
from tasks.registry.drift import DATA_MD5, POOL_MD5, TEST_MD5, Drift, find_drift
from tasks.registry.gate import Candidate, Decision, decide
from tasks.registry.model_package import logged_model
from tasks.settings.mlflow import MlflowSettings, Promotion, read_mlflow_settings
from tasks.tracking.client import default_server, find_experiment, mlflow_error_in_words, only_one, open_client
from tasks.tracking.published import Registration
from tasks.tracking.run_content import KEY, LEAD
from tasks.tracking.run_result import RunResult, read_run_result
from tasks.tracking.run_store import RunStore

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
REASON = "graft.reason"
HISTORY = "graft.history."
"""Prefix of the tags with a version's history: graft.history.001, graft.history.002, …"""
PROMOTED = f"promoted to {CHAMPION}"


def register(root: Path) -> Registration:
    """Register the candidate of the project in `root`, unless it is registered already, and apply the gate.

    Problems with the server are reported in the returned value and never raised.

    Raises:
        GraftError: mlflow.yaml is not valid.
    """
    settings = read_mlflow_settings(root)
    try:
        result = read_run_result(root)
        client = open_client(root, settings)
        with only_one(root, "register"):
            return _register(client, settings, result)
    except Exception as error:  # a server can fail in any way
        return Registration(settings.registry.model, problem=mlflow_error_in_words(error, settings))


def _register(client: "MlflowClient", settings: MlflowSettings, result: RunResult) -> Registration:
    name = settings.registry.model
    run = _run_of_candidate(client, settings, result)
    versions = _versions(client, name, result)
    if created := not versions:
        _create_version(client, name, result, run)
        versions = _versions(client, name, result)
    version = versions[0]
    _keep_scores(client, version, result)
    champion = _holder(client, name, CHAMPION)
    gate = _resolved(settings.registry.promotion, result)
    score = standing(client, champion, result, gate.metric) if champion else None
    decision = decide(_candidate(version, result, gate.metric), score, gate)
    drift = find_drift(champion, result, gate.metric, score) if champion and score else None
    _apply(client, decision, version, champion, run)
    if drift:
        _show_drift(client, run.info.experiment_id, result, drift)
    present = _holder(client, name, CHAMPION)
    return Registration(
        model=name,
        version=str(version.version),
        created=created,
        alias=CHAMPION if decision.promote else CHALLENGER,
        champion=str(present.version) if present else "",
        reason=decision.reason,
        drift=str(drift) if drift else "",
    )


def _resolved(gate: Promotion, result: RunResult) -> Promotion:
    """The gate with `lead` replaced by the name of the metric."""
    return replace(gate, metric=result.metric) if gate.metric == "lead" else gate


def _show_drift(client: "MlflowClient", experiment_id: str, result: RunResult, drift: Drift) -> None:
    """Add the drift to the run of the whole result, if it is missing there."""
    run = RunStore(client, experiment_id).finished(result.key)
    if run and not drift.points().keys() <= run.data.metrics.keys():
        for name, value in drift.points().items():
            client.log_metric(run.info.run_id, name, value)
        client.set_tag(run.info.run_id, "graft.drift", str(drift))


def _run_of_candidate(client: "MlflowClient", settings: MlflowSettings, result: RunResult) -> "Run":
    experiment_id = find_experiment(client, settings)
    run = RunStore(client, experiment_id).finished(result.candidate.key) if experiment_id else None
    if run is None:
        raise GraftError(f"the candidate {result.candidate.name} has no run in MLflow yet; record the result first")
    return run


def _versions(client: "MlflowClient", name: str, result: RunResult) -> list["ModelVersion"]:
    """The candidate's version, if it is registered; removes duplicates, which a repeated request can create."""
    condition = (
        f"name = '{name}' and tags.`{KEY}` = '{result.candidate.key}' and tags.`{TEST_MD5}` = '{result.test_md5}'"
    )
    found = sorted(client.search_model_versions(condition), key=lambda version: int(version.version))
    if found[1:]:
        in_use = set(map(str, client.get_registered_model(name).aliases.values()))
        for double in found[1:]:
            if str(double.version) not in in_use:
                client.delete_model_version(name, str(double.version))
    return found[:1]


def _create_version(client: "MlflowClient", name: str, result: RunResult, run: "Run") -> None:
    from mlflow.exceptions import MlflowException

    candidate = result.candidate
    model_id = logged_model(client, run, candidate)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {KEY: candidate.key, TEST_MD5: result.test_md5, POOL_MD5: result.pool_md5, DATA_MD5: result.data_md5}
    tags |= {name: run.data.tags[name] for name in ("git.commit", "git.dirty") if name in run.data.tags}
    tags |= {"strategy": candidate.strategy, "seed": str(candidate.metrics["seed"])}
    with default_server(client.tracking_uri):
        client.create_model_version(
            name,
            source=f"models:/{model_id}",
            run_id=run.info.run_id,
            model_id=model_id,
            tags=tags,
            description=f"Trial `{candidate.name}`, chosen by {result.summary.candidate.chosen_by}.",
        )


def _holder(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version with this alias; None if there is none."""
    version = client.get_registered_model(name).aliases.get(alias)
    return client.get_model_version(name, str(version)) if version is not None else None


def _keep_scores(client: "MlflowClient", version: "ModelVersion", result: RunResult) -> None:
    """Record the version's test scores and the metric it was chosen by; a later evaluation may change both."""
    scores = json.dumps(result.candidate.test, sort_keys=True)
    for tag, value in {scores_tag(result.test_md5): scores, LEAD: result.metric}.items():
        if version.tags.get(tag) != value:
            client.set_model_version_tag(version.name, str(version.version), tag, value)


def _candidate(version: "ModelVersion", result: RunResult, metric: str) -> Candidate:
    trial = result.candidate
    row = result.summary.chosen
    return Candidate(
        version=str(version.version),
        strategy=trial.strategy,
        verdict=row.verdict,
        gain=row.gain_over_scratch,
        score=trial.test[metric],
        seeds=len(result.summary.budget.seeds),
        was_champion=any(f" {PROMOTED}: " in entry for entry in _history(version).values()),
        promoted_because=version.tags.get(REASON, ""),
    )


def _history(version: "ModelVersion") -> dict[str, str]:
    return {name: value for name, value in version.tags.items() if name.startswith(HISTORY)}


def _apply(
    client: "MlflowClient",
    decision: Decision,
    version: "ModelVersion",
    champion: "ModelVersion | None",
    run: "Run",
) -> None:
    """Set the aliases and tags that differ from the decision, and record what changed."""
    name, number = version.name, str(version.version)
    aliases = {alias: str(holder) for alias, holder in client.get_registered_model(name).aliases.items()}
    if aliases.get(CHAMPION) == number:
        return
    if decision.promote:
        if champion:
            client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
            _note(client, champion, f"replaced by version {number}", run)
    elif (aliases.get(CHALLENGER), version.tags.get(REASON)) == (number, decision.reason):
        return
    # The alias comes last: a version with the alias also has its reason, and an interrupted run is done again.
    event = PROMOTED if decision.promote else f"refused, {CHALLENGER}"
    _note(client, version, f"{event}: {decision.reason}", run)
    client.set_model_version_tag(name, number, REASON, decision.reason)
    client.set_registered_model_alias(name, CHAMPION if decision.promote else CHALLENGER, number)
    if decision.promote and aliases.get(CHALLENGER) == number:
        client.delete_registered_model_alias(name, CHALLENGER)


def _note(client: "MlflowClient", version: "ModelVersion", event: str, run: "Run") -> None:
    """Add time, event, reason and run to a version's history, unless that event is its latest entry."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    history = _history(version)
    if history and f" {event} (run " in history[max(history)]:
        return
    key = f"{HISTORY}{len(history) + 1:03}"
    client.set_model_version_tag(version.name, str(version.version), key, f"{when} {event} (run {run.info.run_id})")
