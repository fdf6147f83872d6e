"""The page that `graft ui` opens: trials grouped by strategy and labels, with charts that compare them.

MLflow stores a saved view as a tag of the experiment. Its format is not documented (this is that of MLflow 3.17), so
the page must work without it: an MLflow that cannot read it shows the plain list of runs.
"""

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasks.tracking.run_content import CURRENT, GROUP

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY = "graft-strategies-current"
"""Key of the saved view; a new key makes a new view, so views that users have changed are kept."""
TAG = f"mlflow.sharedViewState.{KEY}"
FILTER = f"tags.kind = 'trial' AND tags.`{CURRENT}` = 'yes'"
"""Only trials of the latest result: a mean over several results would mix trials with different settings."""
WORKFLOW = "workflowType=machine_learning"

TEST_CHARTS = ("test/accuracy", "test/macro_f1", "test/nll")
CURVES = ("val_accuracy", "val_loss", "train_loss")


def provision(client: "MlflowClient", experiment_id: str) -> None:
    """Save the view in the experiment unless it exists; make the page open for training, not for chat models."""
    tags = client.get_experiment(experiment_id).tags
    wanted = {TAG: _saved_view(), "mlflow.experimentKind": "custom_model_development"}
    for name, value in wanted.items():
        if name not in tags:
            client.set_experiment_tag(experiment_id, name, value)


def page_url(base: str, experiment_id: str, *, saved_view: bool) -> str:
    """The address of the experiment's runs, in the saved view or, without it, with a plain filter."""
    view = f"viewStateShareKey={KEY}" if saved_view else f"searchFilter={quote(FILTER)}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{WORKFLOW}&compareRunsMode=CHART&{view}"


def _saved_view() -> str:
    """The view in the format in which MLflow's page saves it."""
    state = base64.b64encode(zlib.compress(json.dumps(_state()).encode())).decode()
    return json.dumps({"name": "Strategies compared", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{state}"})


def _state() -> dict[str, Any]:
    test, curves = "graft-test", "graft-curves"
    charts = [_chart("BAR", metric, test) for metric in TEST_CHARTS]
    exact = {"xAxisKey": "step", "lineSmoothness": 0}  # MLflow smooths curves by default
    charts += [_chart("LINE", metric, curves) | exact for metric in CURVES]
    charts.append(_by_labels(test))
    return {
        "searchFilter": FILTER,
        "orderByKey": "metrics.`test/accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": GROUP}]},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "SHOWALL",
        "selectedColumns": [
            "metrics.`test/accuracy`",
            "metrics.`test/macro_f1`",
            "metrics.`validation/accuracy`",
            "params.`labels_per_class`",
            "params.`seed`",
            "params.`trainable_parameters`",
        ],
        "compareRunCharts": charts,
        "compareRunSections": [
            _section(test, "Test, mean over seeds"),
            _section(curves, "Learning, mean and band over seeds"),
        ],
        "globalLineChartConfig": exact,
        "isAccordionReordered": True,  # else MLflow sorts the sections by name
    }


def _chart(kind: str, metric: str, section: str) -> dict[str, Any]:
    return {
        "uuid": f"graft-{metric}",
        "type": kind,
        "metricKey": metric,
        "displayName": metric,
        "metricSectionId": section,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }


def _by_labels(section: str) -> dict[str, Any]:
    """Accuracy by labels per class, 0 where none are needed: one dot per group."""
    axes = {"xaxis": {"key": "labels_per_class", "type": "PARAM"}, "yaxis": {"key": "test/accuracy", "type": "METRIC"}}
    return _chart("SCATTER", "test/accuracy", section) | axes | {"uuid": "graft-by-labels"}


def _section(identifier: str, name: str) -> dict[str, Any]:
    return {"uuid": identifier, "name": name, "display": True, "isReordered": True, "deleted": False}
