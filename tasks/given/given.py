"""Given weights as a network, whatever they came from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graft.network import Description, Network
from graft.state_dicts import Named, load_into
from tasks.artifacts import save_network
from tasks.errors import GraftError
from tasks.files import new_folder, write_json
from tasks.given.read import ORIGIN
from tasks.settings.pretrain import NONE


@dataclass(frozen=True)
class Given:
    """A network that was made elsewhere."""

    network: Network
    version: str
    """Which weights of that name these are, as precisely as their origin tells."""


def network_of(description: Description, named: Named, where: str) -> Network:
    """The network of that description with the weights in it.

    Raises:
        GraftError: they do not fit; says all that does not, and what would.
    """
    try:
        network = Network(description)
        load_into(network, named)
    except (ValueError, AssertionError) as error:
        raise GraftError(f"{where}: {error}") from None
    return network.eval()


def write_given(folder: Path, weights: str, sha256: str, get: Callable[[], Given]) -> None:
    """Write the network with its origin into `folder`, or the origin `none` alone.

    Raises:
        GraftError: the weights cannot be had, or are not those of the hash that is asked for.
    """
    with new_folder(folder) as beside:
        if weights == NONE:
            write_json(beside / ORIGIN, {"weights": NONE})
            return
        given = get()
        save_network(beside, given.network)
        found = hashlib.sha256((beside / "model.safetensors").read_bytes()).hexdigest()
        if sha256 and found != sha256.strip().lower():
            raise GraftError(
                f"params.yaml: weights_sha256: {weights} ({given.version}) has {found}, not {sha256}",
                "The weights of that name are others than they were: take the old ones, or accept the new hash.",
            )
        write_json(beside / ORIGIN, {"weights": weights, "version": given.version, "sha256": found})
        print(f"{weights}: {given.version}; weights_sha256: {found}", flush=True)
