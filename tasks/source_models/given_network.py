"""Given weights loaded as a network, whatever their origin."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graft.networks.heads import some_of
from graft.networks.network import Description, Network
from graft.networks.state_dicts import Named, load_into
from tasks.artifacts.networks import load_network, save_network
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json
from tasks.datasets.text.tokenizer import TOKENIZER, vocabulary_size
from tasks.settings.pretrain import NONE
from tasks.source_models.origin import ORIGIN


@dataclass(frozen=True)
class GivenNetwork:
    """A network that was made elsewhere."""

    network: Network
    version: str
    """The version of the weights, as precisely as their origin gives it."""
    tokenizer: bytes | None = None
    """The content of the tokenizer's file, for a network that reads texts."""


def as_saved(folder: Path, version: str) -> GivenNetwork:
    """A network that Graft saved, with its tokenizer if it reads texts.

    Raises:
        GraftError: it cannot be read, or its tokenizer is missing or does not match.
    """
    network = load_network(folder)
    wanted = network.description.vocabulary
    if not wanted:
        return GivenNetwork(network, version)
    tokenizer = folder / TOKENIZER
    try:
        found = vocabulary_size(tokenizer)
    except (OSError, ValueError) as error:
        raise GraftError(f"{folder}: the network reads texts, but its {TOKENIZER} cannot be read: {error}") from None
    if found != wanted:
        raise GraftError(f"{tokenizer}: has {found} tokens, but the network next to it was trained with {wanted}")
    return GivenNetwork(network, version, tokenizer.read_bytes())


def network_of(description: Description, named: Named, where: str) -> Network:
    """The network of that description with the weights loaded.

    Raises:
        GraftError: they do not fit; lists the mismatches and what is expected.
    """
    try:
        network = Network(description)
        load_into(network, named)
    except (ValueError, AssertionError) as error:
        raise GraftError(f"{where}: {error}") from None
    return network.eval()


def write_given(folder: Path, weights: str, sha256: str, get: Callable[[], GivenNetwork]) -> None:
    """Write the network with its origin into `folder`, or only the origin for `none`.

    Raises:
        GraftError: the weights are not available, contain NaN or infinite values, or do not have the expected hash.
    """
    with new_folder(folder) as beside:
        if weights == NONE:
            write_json(beside / ORIGIN, {"weights": NONE})
            return
        given = get()
        if broken := [name for name, value in given.network.own_state().items() if not value.isfinite().all()]:
            raise GraftError(f"{weights}: weights with NaN or infinite values: {some_of(broken)}")
        save_network(beside, given.network)
        if given.tokenizer is not None:
            (beside / TOKENIZER).write_bytes(given.tokenizer)
        found = hashlib.sha256((beside / "model.safetensors").read_bytes()).hexdigest()
        if sha256 and found != sha256.strip().lower():
            raise GraftError(
                f"params.yaml: weights_sha256: {weights} ({given.version}) has the hash {found}, not {sha256}",
                "The weights with that name have changed: use the old ones, or accept the new hash.",
            )
        write_json(beside / ORIGIN, {"weights": weights, "version": given.version, "sha256": found})
        print(f"{weights}: {given.version}; weights_sha256: {found}", flush=True)
