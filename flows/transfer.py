"""The flow: versioned data in, a registered model out. By hand, from Prefect's page, or on a schedule."""

from prefect import flow

from tasks.records.published import Published
from tasks.steps import open_project, publish, version_data


@flow(name="transfer", persist_result=False)
def transfer(root: str | None = None, jobs: int | None = None, update_data: bool = False) -> Published:
    """Adapt what a network learned on the source domain to the target domain, and register it if that truly helped.

    Args:
        root: the project's folder, or one below it; by default the current one.
        jobs: how many stages run at once; by default the cores divided by the threads of a stage.
        update_data: version changed data instead of refusing it.
    """
    with open_project(root, jobs) as stages:
        version_data(stages.root, update_data)
        stages.run("prepare")
        stages.run("pretrain")
        stages.run("finetune")
        stages.run("evaluate")
        return publish(stages.root)
