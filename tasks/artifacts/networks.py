"""Networks on disk: safetensors next to a JSON description. Never a pickle."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from graft.networks.network import Description, Network
from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.datasets.text.tokenizer import TOKENIZER


def save_network(folder: Path, network: Network, tokenizer: bytes | None = None) -> None:
    """Write `model.safetensors` and `model.json` into an existing folder; for a network that reads texts, also the file
    of its tokenizer, whose content is `tokenizer`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    write_json(folder / "model.json", network.description.to_dict())
    if tokenizer is not None and network.description.vocabulary:
        (folder / TOKENIZER).write_bytes(tokenizer)


def load_network(folder: Path) -> Network:
    """Rebuild a network that `save_network` wrote, in evaluation mode on the CPU.

    Raises:
        GraftError: a file is missing, or the weights do not fit the description.
    """
    try:
        network = Network(load_description(folder))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise GraftError(f"{folder}: not a network that can be read: {error}") from None
    return network.eval()


def load_description(folder: Path) -> Description:
    """The description of the network in `folder`.

    Raises:
        OSError: there is none.
    """
    return Description.from_dict(json.loads((folder / "model.json").read_text(encoding="utf-8")))
