"""The work of `graft run`, `graft status` and `graft data check`, between the command line and the floors below."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.prefect_server import prefect_server
from flows.views.progress import progress
from flows.views.stages import stages_view, to_come
from tasks.checks.parameters import check_label_budget
from tasks.checks.project import check_files
from tasks.checks.survey import survey
from tasks.common.errors import GraftError
from tasks.common.places import PARAMS, POINTER
from tasks.data_versions.version import DataStatus, DataVersion, data_status
from tasks.executor.pipeline import Pipeline, StageStatus
from tasks.executor.processes.runner import start
from tasks.executor.resources.gpus import find_devices
from tasks.notify import News, announced
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section
from tasks.tracking.published import Published


def bring_up_to_date(
    root: Path, console: Console, *, jobs: int | None, update_data: bool, devices: str = "auto"
) -> Published:
    """Run the flow if a stage has to run; otherwise only make sure that MLflow mirrors the result.

    Whether a stage has to run, and whether params.yaml is valid, is checked before Prefect is imported or a server is
    started.
    """
    with announced(root) as news:
        return _bring_up_to_date(root, console, news, jobs=jobs, update_data=update_data, devices=devices)


def _bring_up_to_date(
    root: Path, console: Console, news: News, *, jobs: int | None, update_data: bool, devices: str
) -> Published:
    with survey(root, jobs, find_devices(devices)) as found:
        with console.status("checking the data") as shown:
            data = version_in_words(found.data(update_data, shown.update))
        stages = found.stages()
        _check_labels(root, stages)
        if not found.has_work:
            from tasks.publish import publish_news

            news.outcome = "unchanged"
            console.print(f"Nothing to do: {data}, all {len(stages)} stages are up to date.", highlight=False)
            return publish_news(root)

        start()  # imports torch and MLflow while the following runs
        with prefect_server(root) as answers:
            with ThreadPoolExecutor(1) as pool:
                importing = pool.submit(_import_flow)
                with console.status("checking the knobs of the strategies"):
                    found.check_knobs()
                console.print(f"{data}. {to_come(stages)}. Starting Prefect …", highlight=False)
                importing.result()
            answers()
            with progress(console, ["version data", *(stage.name for stage in stages), "register"]):
                from flows.transfer import transfer

                published = transfer(str(root), jobs, update_data, devices)
    assert isinstance(published, Published), "its turn was ours already"
    return published


def _check_labels(root: Path, found: list[StageStatus]) -> None:
    """If the packed data is up to date, check the label budgets against it.

    Raises:
        GraftError: a class has too few examples for the largest label budget.
    """
    if any(stage.name == "prepare" and stage.state == "up_to_date" for stage in found):
        check_label_budget(root)


def _import_flow() -> None:
    """Import the flow, which takes seconds, in the background."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the progress display shows it
    import flows.transfer  # noqa: F401  (sets the environment before Prefect reads it)


def version_in_words(data: DataVersion) -> str:
    """The version of the data and how it was put in place, as one line for the terminal."""
    said = {
        "unchanged": "data unchanged",
        "restored": "data restored from DVC's cache",
        "pulled": "data pulled from the DVC remote",
        "made": "demo data rendered, identical to data.dvc",
        "committed": "data added to DVC's cache",
        "updated": f"new data versioned: {data.changes}",
    }
    return f"{said[data.what]} ({data.md5[:8]})"


def show_status(root: Path, console: Console) -> None:
    """Print what a run would do with each stage, and why; stages that are up to date share a line with their group.

    Raises:
        GraftError: params.yaml, mlflow.yaml or the pipeline is not valid.
    """
    check_files(root)
    found = Pipeline(root).status()
    _check_labels(root, found)
    is_as_recorded = any(stage.name == str(POINTER) and stage.state == "up_to_date" for stage in found)
    data = DataStatus("unchanged") if is_as_recorded else data_status(root)
    console.print(status_view(data, found, console.width), soft_wrap=True)


def status_view(data: DataStatus, found: list[StageStatus], width: int) -> Text:
    """The lines of `graft status`: the data, then the stages."""
    row = ("data", Text(data.state), str(data.changes) if data.state == "changed" else "")
    return stages_view(found, width, [row], idle=data.state == "unchanged")


def show_faults(root: Path, console: Console) -> None:
    """Check the data with the label budget of `params.yaml`.

    Raises:
        GraftError: lists all problems.
    """
    from tasks.data_versions.take_in import data_faults

    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    if faults := data_faults(root):
        raise GraftError(faults)
    console.print(
        f"No problems: {settings.source} and {settings.target} are valid, with enough labels.", highlight=False
    )
