#!/usr/bin/env bash
# Back up what only this machine has: MLflow's and Prefect's databases (while they are in use), MLflow's artifacts, DVC's
# cache. Restore by copying the folders back while nothing runs.
#
#     deploy/backup.sh PROJECT TARGET
set -euo pipefail
project=${1:?the project\'s folder} target=${2:?where to}
mkdir -p "$target"
copy='
import pathlib, sqlite3, sys
source, target = map(pathlib.Path, sys.argv[1:])
target.parent.mkdir(parents=True, exist_ok=True)
beside = target.with_suffix(".part")
beside.unlink(missing_ok=True)
with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as old, sqlite3.connect(beside) as new:
    old.backup(new)
new.close()
beside.replace(target)
'
for database in .graft/mlflow/mlflow.db .graft/prefect/prefect.db; do
    if [ -e "$project/$database" ]; then
        "$project/.venv/bin/python" -c "$copy" "$project/$database" "$target/$database"
    fi
done
for folder in .graft/mlflow/artifacts .dvc/cache; do
    if [ -d "$project/$folder" ]; then
        mkdir -p "$target/$folder"
        # Both only ever gain files, so what is there already need not be copied again.
        cp -a --update=none "$project/$folder/." "$target/$folder/" 2>/dev/null || cp -an "$project/$folder/." "$target/$folder/"
    fi
done
echo "backed up to $target"
