"""Mirror the result in MLflow, then register its candidate: `python -m tasks.publish` in a project's top folder.

One process does both, because importing MLflow and opening its database costs more than the work itself.
"""

import sys
from pathlib import Path

from tasks.common.errors import PERMANENT_FAULT, GraftError, in_words
from tasks.registry.register import register
from tasks.stage.checkpoint_folders import prune
from tasks.tracking.known import known, remember
from tasks.tracking.published import Published, Registration, save_published
from tasks.tracking.record import record


def publish(root: Path) -> Published:
    """Record and register; the answer is also left in the project's state folder for `load_published`.

    Checkpoints of stages that have ended go: nobody will come back for them.

    Raises:
        GraftError: mlflow.yaml cannot be used. A server that is away is no error but part of the answer.
    """
    recorded = record(root)
    if recorded.problem:
        registration = Registration(problem="MLflow could not record the result; the next run tries again.")
    else:
        registration = register(root)
    published = Published(recorded, registration)
    save_published(root, published)
    remember(root)
    prune(root)
    return published


def publish_news(root: Path) -> Published:
    """As `publish`; where nothing changed since it was last done, its answer without importing MLflow.

    Raises:
        GraftError: mlflow.yaml cannot be used.
    """
    return known(root) or publish(root)


def main() -> None:
    """Publish the project in the current folder and say what came of it."""
    try:
        published = publish(Path.cwd())
    except (GraftError, OSError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        sys.exit(PERMANENT_FAULT)
    print(published.recorded, published.registration, sep="\n", flush=True)


if __name__ == "__main__":
    main()
