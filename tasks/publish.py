"""Mirror the result in MLflow, then register its candidate: `python -m tasks.publish` in a project's top folder.

One process does both, since importing MLflow and opening its database take longer than the work itself.
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
    """Record and register; the returned value is also saved in the project's state folder for `load_published`.

    Checkpoints of finished stages are removed.

    Raises:
        GraftError: mlflow.yaml is not valid. An unavailable server is not an error but reported in the returned value.
    """
    recorded = record(root)
    if recorded.problem:
        registration = Registration(problem="MLflow could not record the result; the next run will try again.")
    else:
        registration = register(root)
    published = Published(recorded, registration)
    save_published(root, published)
    remember(root)
    prune(root)
    return published


def publish_news(root: Path) -> Published:
    """Like `publish`, but if nothing has changed since the last time, return its result without importing MLflow.

    Raises:
        GraftError: mlflow.yaml is not valid.
    """
    return known(root) or publish(root)


def main() -> None:
    """Publish the result of the project in the current folder and print what was done."""
    try:
        published = publish(Path.cwd())
    except (GraftError, OSError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        sys.exit(PERMANENT_FAULT)
    print(published.recorded, published.registration, sep="\n", flush=True)


if __name__ == "__main__":
    main()
