#!/usr/bin/env bash
# Back up what exists only on this machine: MLflow's and Prefect's databases (also while in use), MLflow's artifacts, DVC's
# cache, results that wait for MLflow, and the current data.dvc and dvc.lock, which a scheduled run changes without a
# commit. To restore, copy everything back while nothing runs.
#
#     deploy/backup.sh PROJECT TARGET
set -euo pipefail
project=${1:?the project folder is missing} target=${2:?the target folder is missing}
mkdir -p "$target"
"$project/.venv/bin/python" - "$project" "$target" <<'PYTHON'
import pathlib, shutil, sqlite3, sys

project, target = map(pathlib.Path, sys.argv[1:])
DATABASES = (".graft/mlflow/mlflow.db", ".graft/prefect/prefect.db")
FOLDERS = (".graft/mlflow/artifacts", ".graft/unrecorded", ".dvc/cache")
FILES = ("data.dvc", "dvc.lock")


def partial(path):
    """A temporary name for a copy, so that a file with the final name is always complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.part")


def copy(source, copied):
    """Copy a file unless the copy has the same size and modification time."""
    here = source.stat()
    if copied.exists():
        there = copied.stat()
        if (there.st_size, there.st_mtime_ns) == (here.st_size, here.st_mtime_ns):
            return
    part = partial(copied)
    shutil.copy2(source, part)
    part.replace(copied)


for name in DATABASES:
    if (project / name).exists():
        part = partial(target / name)
        part.unlink(missing_ok=True)
        with sqlite3.connect(f"file:{project / name}?mode=ro", uri=True) as old, sqlite3.connect(part) as new:
            old.backup(new)
        new.close()
        part.replace(target / name)
for name in FOLDERS:
    for source in sorted((project / name).rglob("*")):
        if source.is_file() and not source.is_symlink():
            try:
                copy(source, target / source.relative_to(project))
            except FileNotFoundError:
                pass  # removed in the meantime
for name in FILES:
    if (project / name).exists():
        copy(project / name, target / name)
PYTHON
echo "backed up to $target"
