"""Stage `prepare`: pack images or texts in any layout into a few arrays, with a data card that describes them.

Run by `dvc repro prepare` or directly by `python -m tasks.prepare`, in a project's top folder. It reads data/, section
`prepare` of params.yaml, and the hash in data.dvc (which DVC does not allow as a dependency, but which changes exactly
when data/ does), and writes build/data/.
"""

from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.files import new_folder
from tasks.common.places import DATA, PARAMS, POINTER
from tasks.data_versions.pointer import recorded_md5
from tasks.datasets.check import summarise
from tasks.datasets.pack import pack, take_packed
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section
from tasks.stage.process import run_stage


def prepare(project: Path, settings: PrepareSettings, output: Path | None = None) -> None:
    """Write {source,pool,test} and card.json of a project into build/data or `output`; the same bytes every time.

    Raises:
        GraftError: the data has problems; lists all of them. The previous build/data is kept.
    """
    data_md5 = recorded_md5(project / POINTER)
    with new_folder(output or project / DATA) as folder:
        if output is None and take_packed(project, settings, data_md5, folder):
            return
        if faults := pack(project, settings, data_md5, folder):
            raise GraftError(summarise(faults), "Fix or remove these; `graft data check` lists what remains.")


def main() -> None:
    """Run the stage in the current folder."""
    settings = read_section(PARAMS, "prepare", PrepareSettings)
    prepare(Path(), settings)


if __name__ == "__main__":
    run_stage(main)
