"""Kill a random process of a run at a random moment, then run again: does everything end as if nothing had happened?

    python -m benchmarks.faults.kills [--kills 200] [--seed 0] [--first 0] [--signal KILL]

Each time: a fresh copy of a small demo with nothing run, `graft run` on a real Prefect server, a signal to one process
of its tree (the command, the warm server, a stage) at a random moment within the duration of an undisturbed run, then
`graft run` again. Expected of all: the second run finishes; dvc.lock, weights, metrics and report are those of an
undisturbed run, byte for byte; `dvc status` finds nothing to do; no process is left behind; no lock must be removed by
hand; no MLflow run is duplicated.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track

from benchmarks.faults import small


def main() -> None:
    """Run all, print what went wrong, and exit with 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first kill; skips those before it")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    given = parser.parse_args()
    console, draw = Console(width=110), random.Random(given.seed)
    for _ in range(given.first):
        _moment(draw)
    number = signal.Signals[f"SIG{given.signal}"]
    with tempfile.TemporaryDirectory() as name, small.prefect(Path(name, "prefect")) as api:
        pristine = small.small_project(Path(name, "pristine"))
        undisturbed = small.copy(pristine, Path(name, "undisturbed"))
        begin = time.monotonic()
        small.command(undisturbed, "run", api=api).check_returncode()
        length, expected = time.monotonic() - begin, small.result(undisturbed)
        console.print(f"An undisturbed run: {length:.0f} s, {len(expected)} files.")
        found: Counter[str] = Counter()
        places = range(given.first, given.first + given.kills)
        try:
            for place in track(places, "kills", console=console, disable=not console.is_terminal):
                project = small.copy(pristine, Path(name, "project"))
                hit = _disturb(project, api, number, draw, length)
                faults = [*_left(project), *_after(project, api, expected)]
                found[f"hit {hit}"] += 1
                found["ended as an undisturbed run"] += not faults
                for fault in faults:
                    console.print(f"kill {place} ({hit}): {fault}", highlight=False)
        except KeyboardInterrupt:
            console.print(f"Interrupted; continue with --first {place}.")
        finally:
            for what, times in sorted(found.items()):
                console.print(f"{times:4} {what}", highlight=False)
    sys.exit(0 if found["ended as an undisturbed run"] == given.kills else 1)


def _disturb(project: Path, api: str, number: signal.Signals, draw: random.Random, length: float) -> str:
    """Start a run and send the signal to one of its processes; returns which one."""
    run = small.start(project, "run", api=api)
    moment, choice = _moment(draw)
    try:
        run.communicate(timeout=moment * length)
        return "nothing: it had ended"
    except subprocess.TimeoutExpired:
        pass
    except BaseException:  # Ctrl-C on the series
        run.kill()
        raise
    try:
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        victim = processes[int(choice * len(processes))]
        kind = _kind(victim, run.pid)
        victim.send_signal(number)
    except psutil.NoSuchProcess:
        kind = "nothing: it had ended"
    run.communicate()
    return kind


def _moment(draw: random.Random) -> tuple[float, float]:
    """The moment, as a share of an undisturbed run, and the process, as a share of the list of processes."""
    return draw.random(), draw.random()


def _kind(process: psutil.Process, command_pid: int) -> str:
    if process.pid == command_pid:
        return "the command"
    line = " ".join(process.cmdline())
    return "the warm server" if process.ppid() == command_pid else f"a stage or helper ({line[:40]})"


def _left(project: Path) -> list[str]:
    return [f"an orphan was left: {line}" for line in small.orphans(project)]


def _after(project: Path, api: str, expected: dict[str, str]) -> list[str]:
    """Problems after the next run."""
    again = small.command(project, "run", api=api)
    if again.returncode:
        return [f"the next run ended with {again.returncode}: {(again.stdout or '')[-4000:]}"]
    found = small.result(project)
    faults = [f"{path} is not that of an undisturbed run" for path in expected if found.get(path) != expected[path]]
    faults += [f"{path} should not exist" for path in found.keys() - expected.keys()]
    faults += [] if small.is_clean(project) else ["dvc status finds something to do"]
    return faults + [f"two runs in MLflow of {key}" for key in small.doubled_runs(project)]


if __name__ == "__main__":
    main()
