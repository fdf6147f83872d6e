"""The page that `graft ui` opens: trials in groups by strategy and labels, with the charts that compare them.

MLflow keeps a saved view as a tag of the experiment. Its form is not documented (this is the one of MLflow 3.17), so
the page must do without it: an MLflow that cannot read it shows the plain list of runs.
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
"""Key of the saved view; another key is another view, so views that users have changed stay theirs."""
TAG = f"mlflow.sharedViewState.{KEY}"
FILTER = f"tags.kind = 'trial' AND tags.`{CURRENT}` = 'yes'"
"""Trials of the latest result alone: means over those of several would compare what was asked at different times."""
WORKFLOW = "workflowType=machine_learning"

TEST_CHARTS = ("test/accuracy", "test/macro_f1", "test/nll")
CURVES = ("val_accuracy", "val_loss", "train_loss")


def provision(client: "MlflowClient", experiment_id: str) -> None:
    """Save the view in the experiment unless it is there; have the page open for training, not for chat models."""
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
    """The view as MLflow's page saves one."""
    state = base64.b64encode(zlib.compress(json.dumps(_state()).encode())).decode()
    return json.dumps({"name": "Strategies compared", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{state}"})


def _state() -> dict[str, Any]:
    test, curves = "graft-test", "graft-curves"
    charts = [_chart("BAR", metric, test) for metric in TEST_CHARTS]
    exact = {"xAxisKey": "step", "lineSmoothness": 0}  # MLflow smooths curves unless told otherwise
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
    """Accuracy by labels per class, 0 where none are needed: a dot a group."""
    axes = {"xaxis": {"key": "labels_per_class", "type": "PARAM"}, "yaxis": {"key": "test/accuracy", "type": "METRIC"}}
    return _chart("SCATTER", "test/accuracy", section) | axes | {"uuid": "graft-by-labels"}


def _section(identifier: str, name: str) -> dict[str, Any]:
    return {"uuid": identifier, "name": name, "display": True, "isReordered": True, "deleted": False}
