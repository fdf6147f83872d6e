"""Eight runs started at once in one repository: one works at a time, the others wait or give up, and nothing breaks.

    python -m benchmarks.faults.at_once [--runs 8] [--if-busy wait]

Expected with `wait`: all end with 0, and every stage ran once in total. With `skip` and `fail`: one works, and each
other either reports which run works (exit code 0 or 1) or starts after it and finds nothing to do. In any case the
result is that of an undisturbed run, byte for byte.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console

from benchmarks.faults import small


def main() -> None:
    """Run, print the outcomes, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--if-busy", choices=("wait", "skip", "fail"), default="wait")
    given = parser.parse_args()
    console, faults = Console(width=110), []
    with tempfile.TemporaryDirectory() as name, small.prefect(Path(name, "prefect")) as api:
        pristine = small.small_project(Path(name, "pristine"))
        undisturbed = small.copy(pristine, Path(name, "undisturbed"))
        small.command(undisturbed, "run", api=api).check_returncode()
        project = small.copy(pristine, Path(name, "project"))
        runs = [small.start(project, "run", "--if-busy", given.if_busy, api=api) for _ in range(given.runs)]
        ended = [(run.communicate()[0], run.returncode) for run in runs]
        ran = Counter(stage for said, _ in ended for stage in re.findall(r"✓ (\S+): done", said))
        kinds = Counter(_kind(said, code) for said, code in ended)
        doubled = [stage for stage, times in ran.items() if times > 1 and stage not in ("register", "version")]
        faults += [f"{stage} ran {ran[stage]} times" for stage in doubled]
        faults += [said for said, code in ended if _kind(said, code) == "broke"]
        faults += [] if kinds["worked"] == 1 else [f"{kinds['worked']} runs worked"]
        is_same = small.result(project) == small.result(undisturbed)
        faults += [] if is_same else ["not the result of an undisturbed run"]
        faults += [] if small.is_clean(project) else ["dvc status finds something to do"]
        faults += [f"an orphan was left: {line}" for line in small.orphans(project)]
        faults += [f"two runs in MLflow of {key}" for key in small.doubled_runs(project)]
    console.print(", ".join(f"{times} {kind}" for kind, times in sorted(kinds.items())), highlight=False)
    for fault in faults:
        console.print(fault, highlight=False)
    sys.exit(1 if faults else 0)


def _kind(said: str, code: int) -> str:
    if "another run works in this repository" in said and "Leaderboard" not in said and code in (0, 1):
        return "reported that another run works"
    if code:
        return "broke"
    return "worked" if "✓ evaluate" in said else "found nothing to do after it"


if __name__ == "__main__":
    main()
