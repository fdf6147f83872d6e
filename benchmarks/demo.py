"""The promises of docs/figures.md about the demo: its verdicts, and how long a new user waits. Nothing is mocked.

    python -m benchmarks.demo

Clones this repository's last commit twice. One clone runs `graft run` (no Prefect server configured, nothing cached),
`graft run` again, and `graft status`; the other runs `dvc repro`. Expected, on 2 cores: <= 120 s, <= 10 s, <= 2 s, and
the same `dvc.lock` in both, byte for byte; fine_tune positive, source_only negative, and every verdict consistent with
its interval.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.projects import clone
from graft.measures.findings import verdict
from tasks.results.metrics_file import Rows, StrategyRow, read_summary
from tasks.results.words import gain_in_words, percent

EXPECTED = {
    "gradual_unfreeze": (0.955, 0.995),
    "fine_tune": (0.955, 0.99),
    "mcc": (0.90, 0.98),
    "mixed_training": (0.945, 0.99),
    "scratch": (0.94, 0.98),
    "linear_probe": (0.91, 0.97),
    "source_only": (0.68, 0.84),
}
"""Range of the mean accuracy over seeds 0-4 and pretraining seeds 0-1, rounded outwards."""


def seconds(folder: Path, *command: str) -> float:
    """Wall time of a Python module run in `folder`, with this environment's Python first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | {"PATH": path}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def supported(row: StrategyRow) -> bool:
    """Whether a verdict is consistent with its interval."""
    return row.verdict in ("baseline", verdict(row.gain_over_scratch))


def main() -> None:
    """Measure, and print both tables; exit with 1 if a promise is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        by_graft, by_dvc = clone(Path(folder, "by-graft")), clone(Path(folder, "by-dvc"))
        waits = [
            ("graft run, first time", seconds(by_graft, "flows.cli", "run"), 120.0),
            ("graft run, nothing to do", seconds(by_graft, "flows.cli", "run"), 10.0),
            ("graft status", seconds(by_graft, "flows.cli", "status"), 2.0),
        ]
        seconds(by_dvc, "flows.cli", "data", "demo")
        serial = seconds(by_dvc, "dvc", "repro", "--quiet")
        same = (by_graft / "dvc.lock").read_bytes() == (by_dvc / "dvc.lock").read_bytes()
        strategies = read_summary(by_graft).strategies
    kept = _show(waits, serial, same, strategies)
    sys.exit(0 if kept else 1)


def _show(waits: list[tuple[str, float, float]], serial: float, same: bool, strategies: Rows) -> bool:
    console, kept = Console(), same
    times = Table("command", "seconds", "promised", title="Wall time, 2 cores")
    for name, took, most in waits:
        kept &= took <= most
        times.add_row(name, f"{took:.1f}", f"<= {most:.0f}")
    times.add_row("dvc repro, the same stages, second clone", f"{serial:.1f}", "")
    times.add_row("graft run / dvc repro", f"{waits[0][1] / serial:.2f}", "")
    times.add_row("dvc.lock of both clones", "equal" if same else "DIFFERENT", "equal")
    console.print(times)
    verdicts = Table(
        "strategy", "accuracy", "expected", "gain over scratch", "verdict", title="Demo, 10 labels per class"
    )
    for name, row in sorted(strategies.items(), key=lambda item: -item[1].accuracy.mean):
        low, high = EXPECTED[name]
        kept &= low <= row.accuracy.mean <= high and supported(row)
        words = "" if row.verdict == "baseline" else gain_in_words(row.gain_over_scratch)
        verdicts.add_row(name, percent(row.accuracy.mean), f"{percent(low)}-{percent(high)}", words, row.verdict)
    console.print(verdicts)
    kept &= strategies["fine_tune"].verdict == "positive" and strategies["source_only"].verdict == "negative"
    console.print("All promises kept." if kept else "[bold red]Not all promises are kept.[/]")
    return kept


if __name__ == "__main__":
    main()
