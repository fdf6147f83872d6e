"""mlflow.yaml: defaults, the environment over the file, and problems in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.common.errors import GraftError
from tasks.settings.mlflow import VARIABLES, MlflowSettings, Promotion, Ui, read_mlflow_settings, without_password

REPOSITORY = Path(__file__).parents[3]


def write(folder: Path, text: str) -> Path:
    (folder / "mlflow.yaml").write_text(text)
    return folder


def problems(folder: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(GraftError) as caught:
        read_mlflow_settings(write(folder, text), environment)
    return caught.value.problems


def test_the_repository_states_every_default_and_every_variable() -> None:
    found = read_mlflow_settings(REPOSITORY, {})
    defaults = MlflowSettings()
    assert found.registry == defaults.registry
    assert found.ui == defaults.ui
    assert found.tracking.experiment == defaults.tracking.experiment
    assert found.tracking.uri == f"sqlite:///{REPOSITORY}/.graft/mlflow/mlflow.db"
    assert found.tracking.artifacts == f"{REPOSITORY}/.graft/mlflow/artifacts"
    text = (REPOSITORY / "mlflow.yaml").read_text()
    assert [variable for variable in VARIABLES if variable not in text] == []


def test_empty_sections_have_every_default(tmp_path: Path) -> None:
    assert read_mlflow_settings(write(tmp_path, "tracking:\nui: {port: 5001}\n"), {}).ui == Ui(port=5001)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "tracking: {uri: 'http://file:1', experiment: file}\nui: {port: 1}\n")
    environment = {
        "MLFLOW_TRACKING_URI": "http://there:2",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
        "GRAFT_MLFLOW_ARTIFACTS": "s3://bucket/x",
        "GRAFT_MODEL": "digits",
        "GRAFT_PROMOTION_REQUIRE": "not_negative",
        "GRAFT_PROMOTION_METRIC": "macro_f1",
        "GRAFT_PROMOTION_MARGIN": "0.01",
        "GRAFT_PROMOTION_SEEDS": "5",
        "GRAFT_UI_HOST": "localhost",
        "GRAFT_UI_PORT": "6000",
    }
    assert set(environment) == set(VARIABLES)
    found = read_mlflow_settings(tmp_path, environment)
    assert found.tracking.uri == "http://there:2"
    assert found.remote
    assert (found.tracking.experiment, found.tracking.artifacts) == ("theirs", "s3://bucket/x")
    assert (found.registry.model, found.ui) == ("digits", Ui("localhost", 6000))
    assert found.registry.promotion == Promotion("not_negative", "macro_f1", 0.01, 5)


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    assert read_mlflow_settings(write(tmp_path, "{}"), {"MLFLOW_EXPERIMENT_NAME": ""}).tracking.experiment == "graft"


def test_all_faults_at_once_with_key_value_and_choices(tmp_path: Path) -> None:
    text = "tracking: {urii: x}\nregistri: {}\nregistry: {promotion: {metric: nll, margin: 3}}\nui: {port: a}\n"
    found = problems(tmp_path, text, GRAFT_UI_PORT="many")
    assert [problem for problem in found if "registri" in problem and "did you mean 'registry'" in problem]
    assert [problem for problem in found if "tracking.urii" in problem and "did you mean 'uri'" in problem]
    assert [problem for problem in found if "metric" in problem and "'nll'" in problem and "macro_f1" in problem]
    assert [problem for problem in found if "margin" in problem and "got 3" in problem]
    assert [problem for problem in found if "mlflow.yaml: ui.port" in problem and "got 'a'" in problem]
    assert [problem for problem in found if "GRAFT_UI_PORT" in problem and "got 'many'" in problem]
    assert len(found) == 6


@pytest.mark.parametrize("uri", ["./mlruns", "file:///x", "http://[x", "sqlite:///", "sqlite://", "sqlite:///:memory:"])
def test_stores_that_cannot_be_used_are_refused_with_the_valid_ones(tmp_path: Path, uri: str) -> None:
    (found,) = problems(tmp_path, "{}", MLFLOW_TRACKING_URI=uri)
    assert repr(uri) in found
    assert "sqlite:///" in found


@pytest.mark.parametrize("name", ["a/b", "a:b", "it's", " "])
def test_model_names_that_mlflow_cannot_take_are_refused(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, "{}", GRAFT_MODEL=name)
    assert "registry.model" in found


def test_a_password_belongs_to_the_environment(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "tracking: {uri: 'postgresql://me:secret@host/db'}\n")
    assert "MLFLOW_TRACKING_URI" in found
    assert "secret" not in found
    uri = "postgresql://me:secret@host/db"
    settings = read_mlflow_settings(write(tmp_path, "{}"), {"MLFLOW_TRACKING_URI": uri})
    assert settings.tracking.uri == uri
    assert "secret" not in without_password(uri)


def test_a_path_that_mlflow_would_read_as_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    assert len(problems(tmp_path / "a%20b", "{}")) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"mlflow\.yaml: there is no such file"):
        read_mlflow_settings(tmp_path, {})


def test_bad_settings_are_found_out_without_importing_mlflow_or_torch() -> None:
    code = "import sys, tasks.settings.mlflow; print({'mlflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
