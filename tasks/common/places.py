"""The paths of a project, each defined only here, relative to the project's folder."""

from pathlib import Path

PARAMS = Path("params.yaml")
"""All settings of an experiment."""
MLFLOW = Path("mlflow.yaml")
PREFECT = Path("prefect.yaml")
GRAPH = Path("dvc.yaml")
LOCK = Path("dvc.lock")
CODE = Path("code.yaml")
"""Hashes of the code that each stage runs."""

RAW_DATA = Path("data")
"""The user's raw data."""
POINTER = Path("data.dvc")
"""DVC's record of the version of the raw data."""
WEIGHTS = Path("weights")
"""Files of networks made elsewhere."""
OWN_STRATEGIES = Path("strategies")
"""The user's own strategies."""

BUILD = Path("build")
"""The files that stages write for later ones."""
DATA = BUILD / "data"
"""The packed and checked data."""
SOURCE, POOL, TEST, CARD = DATA / "source", DATA / "pool", DATA / "test", DATA / "card.json"
SOURCES = BUILD / "sources"
"""Further source models, by name."""
GIVEN_WEIGHTS = SOURCES / "weights"
"""The weights that pretraining starts from."""
PRETRAINED = BUILD / "pretrained"
"""The project's own source model."""
CHOSEN = BUILD / "chosen"
"""The source model that trials start from, if it is not the project's own."""
FORECAST = BUILD / "forecast" / "forecast.json"
TRIALS = BUILD / "trials"
EVALUATION = BUILD / "evaluation"
FIGURES = EVALUATION / "figures"

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
REPORT = REPORTS / "index.html"

STATE = Path(".graft")
"""The state of Graft and of the tools that it starts: inside the project, never in the home folder."""
