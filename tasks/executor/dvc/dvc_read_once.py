"""What many stages read alike, found out once while all of them are judged.

DVC parses params.yaml and code.yaml for every stage, and hashes a folder that 700 trials read 700 times: of a sweep of
720 trials that is two thirds of the time. Within one section nobody else is asked what changed in between.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from dvc.dependency import Dependency, param


@contextmanager
def read_once(stages: Iterable[Any]) -> Iterator[None]:
    """Within it, DVC parses a file of parameters once, and hashes once what several of these stages read."""
    deps = [dep for stage in stages for dep in stage.deps if type(dep) is Dependency and dep.fs.protocol == "local"]
    readers = Counter(dep.fs_path for dep in deps)
    shared = [dep for dep in deps if readers[dep.fs_path] > 1 and "get_hash" not in vars(dep)]
    found: dict[tuple[str, str], Any] = {}
    for dep in shared:
        dep.get_hash = lambda dep=dep: _hash(dep, found)
    parse, read = param.load_path, param.read_param_file

    @cache
    def value(fs: Any, path: str, key: str) -> dict[str, Any]:
        return dict(read(fs, path, [key], flatten=True))

    def values(fs: Any, path: str, keys: list[str] | None = None, flatten: bool = False) -> Any:
        if not (keys and flatten):
            return read(fs, path, keys, flatten)
        return {name: known for key in keys for name, known in value(fs, path, key).items()}

    # What they give is compared, never changed.
    param.load_path, param.read_param_file = cache(parse), values
    try:
        yield
    finally:
        param.load_path, param.read_param_file = parse, read
        for dep in shared:
            del dep.get_hash


def _hash(dep: Any, found: dict[tuple[str, str], Any]) -> Any:
    place = dep.fs_path, dep.hash_name
    if place not in found:
        found[place] = type(dep).get_hash(dep)
    return found[place]
