"""Where things lie in a project: every path in it has its one home here. All are relative to the project's folder."""

from pathlib import Path

PARAMS = Path("params.yaml")
"""Every number that an experiment may change."""
MLFLOW = Path("mlflow.yaml")
PREFECT = Path("prefect.yaml")
GRAPH = Path("dvc.yaml")
LOCK = Path("dvc.lock")
CODE = Path("code.yaml")
"""Hashes of the code that each stage runs."""

RAW_DATA = Path("data")
"""As the user gave it."""
POINTER = Path("data.dvc")
"""Which version of it the project is at."""
WEIGHTS = Path("weights")
"""Files of networks made elsewhere."""
OWN_STRATEGIES = Path("strategies")
"""A user's own."""

BUILD = Path("build")
"""What stages leave for the next ones."""
DATA = BUILD / "data"
"""Packed and checked."""
SOURCE, POOL, TEST, CARD = DATA / "source", DATA / "pool", DATA / "test", DATA / "card.json"
SOURCES = BUILD / "sources"
"""Further source models, by name."""
GIVEN_WEIGHTS = SOURCES / "weights"
"""What pretraining begins with."""
PRETRAINED = BUILD / "pretrained"
"""The project's own source model."""
CHOSEN = BUILD / "chosen"
"""The source model that trials begin with, where it is not the project's own."""
FORECAST = BUILD / "forecast" / "forecast.json"
TRIALS = BUILD / "trials"
EVALUATION = BUILD / "evaluation"
FIGURES = EVALUATION / "figures"

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
REPORT = REPORTS / "index.html"

STATE = Path(".graft")
"""What Graft and the tools that it starts remember: inside of the project, never in the home folder."""
