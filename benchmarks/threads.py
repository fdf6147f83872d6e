"""What stages of several threads cost each other, and what it costs that their threads wait without spinning.

    python -m benchmarks.threads [--images 140] [--rounds 3]

The features of some images of 128 px from EfficientNet-Lite0, computed by processes as stages are started
(`OMP_WAIT_POLICY=passive`) and as PyTorch starts by itself: two processes of two threads at once, two of one thread,
and one of two threads on an idle machine. Wall seconds, the least of several rounds, which take turns. Expected on two
cores: two of two threads <= 1.3 x two of one thread; and passive <= 1.05 x spinning where the machine is idle.
"""

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

WORK = """\
import sys, torch
from graft.networks.network import Description, Network
from graft.data.inputs import Pictures
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
network = Network(Description("efficientnet_lite0", ("a", "b"), 3, 128)).eval()
images = torch.rand(int(sys.argv[2]), 3, 128, 128)
with torch.no_grad():
    network(images[:8])
    print("ready", flush=True)
    sys.stdin.readline()
    for part in images.split(16):
        network(part)
"""


def wall_seconds(processes: int, threads: int, images: int, *, passive: bool) -> float:
    """From a common start to the end of the last process; imports are not counted."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS",)}
    environment["OMP_WAIT_POLICY"] = "passive" if passive else "active"
    command = [sys.executable, "-c", WORK, str(threads), str(images)]
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            sys.exit("the network could not be made")
    begin = time.perf_counter()
    for process in started:
        process.communicate("go\n")
    return time.perf_counter() - begin


def main() -> None:
    """Print the table; exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=140)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    cases = [
        (processes, threads, passive) for processes, threads in ((2, 2), (2, 1), (1, 2)) for passive in (True, False)
    ]
    seconds = dict.fromkeys(cases, float("inf"))
    for _ in range(asked.rounds):
        for case in cases:
            processes, threads, passive = case
            seconds[case] = min(seconds[case], wall_seconds(processes, threads, asked.images, passive=passive))
    table = Table(title=f"Features of {asked.images} images, wall seconds")
    for heading in ("processes", "threads each", "passive, as stages", "spinning"):
        table.add_column(heading, justify="right")
    for processes, threads in ((2, 2), (2, 1), (1, 2)):
        row = (f"{seconds[processes, threads, passive]:.2f}" for passive in (True, False))
        table.add_row(str(processes), str(threads), *row)
    Console().print(table)
    beside = seconds[2, 2, True] / seconds[2, 1, True]
    idle = seconds[1, 2, True] / seconds[1, 2, False]
    Console().print(
        f"two threads against one, next to each other: {beside:.2f}; passive against spinning, idle: {idle:.2f}"
    )
    sys.exit(int(beside > 1.3 or idle > 1.05))


if __name__ == "__main__":
    main()
