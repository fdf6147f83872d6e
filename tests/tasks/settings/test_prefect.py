"""prefect.yaml: what Graft reads of it, and what it says of problems."""

import json
from pathlib import Path

import pytest
import yaml

from tasks.common.errors import GraftError
from tasks.settings.prefect import DeploymentSchedule, read_deployments
from tests.house.imports import ROOT


def read(root: Path, *deployments: object) -> object:
    (root / "prefect.yaml").write_text(yaml.safe_dump({"deployments": list(deployments)}))
    return read_deployments(root)


def refusal(root: Path, *deployments: object) -> str:
    with pytest.raises(GraftError) as caught:
        read(root, *deployments)
    return str(caught.value)


def test_the_projects_own_file_takes_in_new_data_every_night() -> None:
    (nightly,) = read_deployments(ROOT)
    assert nightly.parameters == {"update_data": True, "if_busy": "skip"}
    assert nightly.schedules == [DeploymentSchedule(cron="0 2 * * *", timezone="UTC")]


def test_keys_that_are_prefects_alone_are_left_to_it(tmp_path: Path) -> None:
    given = {"name": "x", "version": "1", "work_pool": {"name": "gpu", "job_variables": {"a": 1}}, "triggers": []}
    (found,) = read(tmp_path, given)  # type: ignore[misc]
    assert (found.name, found.work_pool.name) == ("x", "gpu")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, {"name": "x", "schedules": [{"interval": -1}, {"cronn": "* * * * *"}]}, {"parameters": 3})
    for fault in ("interval", "cronn", "name", "parameters"):
        assert fault in said


@pytest.mark.parametrize("schedule", [{}, {"timezone": "UTC"}, {"cron": "0 2 * * *", "interval": 60}])
def test_a_schedule_is_one_of_three_kinds(tmp_path: Path, schedule: dict[str, object]) -> None:
    assert "deployment x, schedule 1: give one of cron, interval and rrule" in refusal(
        tmp_path, {"name": "x", "schedules": [schedule]}
    )


@pytest.mark.parametrize("content", ["", "deployments: []", "deployments: nightly", "name: graft"])
def test_without_a_deployment_there_is_nothing_to_serve(tmp_path: Path, content: str) -> None:
    (tmp_path / "prefect.yaml").write_text(content)
    with pytest.raises(GraftError, match=r"prefect\.yaml"):
        read_deployments(tmp_path)


@pytest.mark.parametrize(
    "value", ["on", "off", "yes", "010", "1_000", "1e3", "0o17", "1:30", "2026-11-30", "{<<: {a: 1}}"]
)
def test_a_value_is_what_prefect_takes_it_for(tmp_path: Path, value: str) -> None:
    """Prefect reads the file with PyYAML, in YAML 1.1."""
    text = f"deployments:\n- name: x\n  parameters: {{given: {value}}}\n"
    (tmp_path / "prefect.yaml").write_text(text)
    (found,) = read_deployments(tmp_path)
    (theirs,) = yaml.safe_load(text)["deployments"]
    assert json.dumps(found.parameters) == json.dumps(theirs["parameters"], default=str)


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments:\n- name: x\n  name: y\n")
    with pytest.raises(GraftError, match=r"prefect\.yaml: line 3, column 3: not valid YAML: key 'name' is given twice"):
        read_deployments(tmp_path)
