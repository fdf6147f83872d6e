"""The content of `data.dvc`."""

from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.yaml_files import load_yaml


def recorded_md5(pointer: Path) -> str:
    """The hash of the data that a `.dvc` file records.

    Raises:
        GraftError: the file does not exist or records no hash.
    """
    outs = load_yaml(pointer).get("outs")
    md5 = outs[0].get("md5") if isinstance(outs, list) and outs and isinstance(outs[0], dict) else None
    if not isinstance(md5, str):
        raise GraftError(f"{pointer}: records no data: outs[0].md5 is missing", "Write it again with `dvc add data`.")
    return md5
