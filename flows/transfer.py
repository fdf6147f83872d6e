"""The flow: versioned data in, a registered model out. Run by hand, from Prefect's page, or on a schedule."""

from typing import Literal

from tasks.common.environment import prepare_here
from tasks.common.parent_death import end_with_service

end_with_service()
prepare_here()  # Prefect reads its settings when it is imported

from prefect import flow  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.states import Completed  # noqa: E402

from tasks.executor.one_run_at_a_time import Busy  # noqa: E402
from tasks.steps import open_project, publish  # noqa: E402
from tasks.tracking.published import Published  # noqa: E402


@flow(name="transfer", persist_result=False)
def transfer(
    root: str | None = None,
    jobs: int | None = None,
    update_data: bool = False,
    devices: str = "auto",
    if_busy: Literal["wait", "skip", "fail"] = "wait",
) -> Published | State:
    """Adapt a network trained on the source domain to the target domain, register it, and promote it if that helped.

    Args:
        root: the project's folder, or one inside it; default: the current folder.
        jobs: number of stages to run in parallel; default: one per core.
        update_data: version new or changed data instead of refusing it.
        devices: GPUs for stages: auto (all, else the CPU), cpu, cuda, or cuda:0,1.
        if_busy: what to do if another run is active in the project: wait for its end, skip this run, or fail.
    """
    try:
        with open_project(root, jobs, devices, if_busy) as stages:
            if stages.prepare(update_data):
                stages.check_strategies()
                stages.run("pretrain")
                stages.run("forecast")
                stages.run("finetune", "finetune_from", "adapt")
                stages.run("evaluate")
            return publish(stages.root)
    except Busy as busy:
        if if_busy != "skip":
            raise
        return Completed(name="Skipped", message=str(busy))
