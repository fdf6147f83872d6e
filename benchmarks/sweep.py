"""How soon it is known that nothing of a large sweep has to run, and how that grows with the number of trials.

    python -m benchmarks.sweep [--seeds 1 3 10] [--looks 3]

24 strategies at three label budgets. What the trainings would have made is made up, one small file per output, and
committed by DVC itself: `graft status` reads graph, lock and hashes, whatever trained the networks. CPU seconds of
whole processes, the least of several looks. Expected: <= 4 s at 720 trials.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.projects import clone, graft, run, set_parameters
from graft.strategies import strategy_names
from tasks.settings.strategy_files import needs_labels
from tasks.stage.key import lock_entries

STRATEGIES = 24
BUDGETS = [1, 5, 10]
PROMISED = 4.0
"""CPU seconds of `graft status` with nothing to do at the largest sweep."""
MAKE_UP = """\
import pathlib
from dvc.repo import Repo
with Repo() as repo:
    for out in repo.index.outs:
        path = pathlib.Path(out.fs_path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(out))
    repo.commit(force=True)
"""


def make_sweep(project: Path, seeds: int) -> int:
    """A project in which every stage is up to date; how many trials it has."""
    labelled = [name for name in strategy_names() if needs_labels(name)]
    further = [f"{name}_again" for name in labelled][: STRATEGIES - len(labelled)]
    (project / "strategies").mkdir()
    for name in further:  # there are fewer that learn from labels than the sweep is to have
        text = (project / "graft/strategies" / f"{name.removesuffix('_again')}.py").read_text(encoding="utf-8")
        (project / "strategies" / f"{name}.py").write_text(text, encoding="utf-8")
    names = [*labelled, *further]
    set_parameters(
        project,
        strategies={name: {} for name in names},
        label_free={},
        label_budgets=BUDGETS,
        seeds=list(range(seeds)),
    )
    (project / "dvc.lock").unlink()
    graft(project, "data", "demo")
    run(project, sys.executable, "-m", "tasks.stage.code")
    run(project, sys.executable, "-m", "tasks.prepare")  # its card is read by every look
    run(project, sys.executable, "-c", MAKE_UP)
    return sum(name.startswith("finetune@") for name in lock_entries(project / "dvc.lock"))


def cpu_seconds(project: Path) -> float:
    """Of one `graft status`, which must find nothing to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = graft(project, "status")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "Nothing to do." not in said:
        sys.exit(f"a sweep is not up to date:\n{said}")
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    """Print the table; exit with 1 if the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 10], help="one sweep for each number of seeds")
    parser.add_argument("--looks", type=int, default=3)
    asked = parser.parse_args()
    table = Table(title="graft status with nothing to do, CPU seconds of the whole process")
    for heading in ("trials", "dvc.lock KB", "graft status", "dvc status"):
        table.add_column(heading, justify="right")
    spent = 0.0
    for seeds in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            project = clone(Path(folder) / "project")
            trials = make_sweep(project, seeds)
            spent = min(cpu_seconds(project) for _ in range(asked.looks))
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run([Path(sys.executable).with_name("dvc"), "status", "-q"], cwd=project, check=True)
            stock = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            size = (project / "dvc.lock").stat().st_size >> 10
            table.add_row(str(trials), f"{size:,}", f"{spent:.1f}", f"{stock:.1f}")
    Console().print(table)
    sys.exit(int(spent > PROMISED))


if __name__ == "__main__":
    main()
