"""Every test runs with the state of all servers in a folder of its own and with the home folder out of reach."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

STATE = Path(tempfile.mkdtemp(prefix="graft-tests-"))
atexit.register(shutil.rmtree, STATE, ignore_errors=True)
os.environ["MPLCONFIGDIR"] = str(STATE / "matplotlib")
os.environ["PREFECT_HOME"] = str(STATE / "prefect")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several threads only wait for one another with networks so small
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "PREFECT_API_URL"):
    os.environ.pop(name, None)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of the tests are to take Ctrl-C

from tasks.common.environment import prepare_environment  # noqa: E402  (the environment comes before the libraries)

prepare_environment(STATE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers (`pytest -n 2 --dist loadgroup`), give one all tests of Prefect's server, which come first.

    So the server, and the project that is run once with it, are made once. The other tests of a file stay together too,
    for the fixtures of their module.
    """
    items.sort(key=lambda item: not _needs_prefect(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("prefect" if _needs_prefect(item) else item.nodeid.partition("::")[0]))


def _needs_prefect(item: pytest.Item) -> bool:
    return "prefect_api" in getattr(item, "fixturenames", ())
