#!/usr/bin/env bash
# Back up what only this machine has: MLflow's and Prefect's databases (while they are in use), MLflow's artifacts, DVC's
# cache, results that wait for MLflow, and which data and results are the present ones (data.dvc, dvc.lock, which a
# scheduled run changes and nobody commits). Restore by copying all of it back while nothing runs.
#
#     deploy/backup.sh PROJECT TARGET
set -euo pipefail
project=${1:?the project\'s folder} target=${2:?where to}
mkdir -p "$target"
"$project/.venv/bin/python" - "$project" "$target" <<'PYTHON'
import pathlib, shutil, sqlite3, sys

project, target = map(pathlib.Path, sys.argv[1:])
DATABASES = (".graft/mlflow/mlflow.db", ".graft/prefect/prefect.db")
FOLDERS = (".graft/mlflow/artifacts", ".graft/unrecorded", ".dvc/cache")
FILES = ("data.dvc", "dvc.lock")


def beside(path):
    """Where a copy is made, so that what bears the right name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.part")


def copy(source, copied):
    """Copy a file unless the copy has its size and time."""
    here = source.stat()
    if copied.exists():
        there = copied.stat()
        if (there.st_size, there.st_mtime_ns) == (here.st_size, here.st_mtime_ns):
            return
    part = beside(copied)
    shutil.copy2(source, part)
    part.replace(copied)


for name in DATABASES:
    if (project / name).exists():
        part = beside(target / name)
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
                pass  # it was removed meanwhile
for name in FILES:
    if (project / name).exists():
        copy(project / name, target / name)
PYTHON
echo "backed up to $target"
