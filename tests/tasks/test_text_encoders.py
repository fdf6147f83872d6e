"""Encoders of texts from packages and folders: their files alone are read, and their tokenizers come along."""

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from graft.data.inputs import PADDING
from graft.networks.network import predict
from tasks import evaluate, finetune, pretrain
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_texts
from tasks.common.errors import GraftError
from tasks.datasets.text.tokenizer import TOKENIZER, encode, load_tokenizer, vocabulary_size
from tasks.forecast import write_forecast
from tasks.prepare import prepare
from tasks.registry.served_model import Classifier
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models import from_encoder
from tasks.source_models.find import origin
from tasks.source_models.given_network import write_given
from tasks.trials.plan import Entry
from tasks.weights import weights
from tests.graft.networks.texts.test_encoders import DEPTH, HEADS, HIDDEN, WIDTH, published
from tests.graft.texts import VOCABULARY
from tests.tasks.support.text_data import text_project

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": DEPTH,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
    "max_position_embeddings": 14,
}
WORDS = ["[UNK]", "[CLS]", "[PAD]", "[SEP]", "awful", "dull", "broken", "great", "lovely", "fine", "the", "film"]
"""Padding is not the first; the tokens beyond them have no word."""


def tokenizer(words: list[str] = WORDS) -> Tokenizer:
    """One of whole words, as BERT's puts two ends around a text, and cuts and pads it."""
    table = {word: number for number, word in enumerate([*words, *(f"#{k}" for k in range(VOCABULARY))][:VOCABULARY])}
    made = Tokenizer(models.WordPiece(table, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([word for word in words if word.startswith("[")])
    ends = [(name, table[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.enable_truncation(5)
    made.enable_padding(length=5, pad_id=table["[PAD]"], pad_token="[PAD]")
    return made


def save_bert(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    state, _ = published()
    save_file({name: value.contiguous().clone() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    tokenizer().save(str(folder / TOKENIZER))
    return folder


def given(tmp_path: Path, name: str) -> Path:
    """The folder of the stage `weights`, with these weights in it."""
    write_given(tmp_path / "given", name, "", origin(name, tmp_path))
    return tmp_path / "given"


def test_a_folder_of_a_bert_is_read_with_its_tokenizer(tmp_path: Path) -> None:
    save_bert(tmp_path / "weights/mine")
    folder = given(tmp_path, "hf:mine")
    network, cutter = load_network(folder), load_tokenizer(folder / TOKENIZER)
    assert (network.description.vocabulary, network.description.length) == (VOCABULARY, 12)
    assert vocabulary_size(folder / TOKENIZER) == VOCABULARY
    assert json.loads((folder / "origin.json").read_text())["version"] == "mine"
    tokens, counts = encode(cutter, ["the film the film the film", "[PAD] odd", ""], 12)
    assert counts.tolist()[0] == 6, "it is not cut to five"
    assert (tokens[0, :6] != PADDING).all()
    assert PADDING not in tokens[1, : counts[1]], "a text that names padding holds none"

    rows = published()[0]["embeddings.word_embeddings.weight"]
    assert torch.equal(network.backbone.tokens.weight[0], rows[2]), "padding is first now"
    assert torch.equal(network.backbone.tokens.weight[2], rows[0])
    assert network.backbone.ends.tolist() == [1, 3]


def test_what_a_text_is_worth_does_not_depend_on_where_padding_was(tmp_path: Path) -> None:
    save_bert(tmp_path / "weights/mine")
    other = save_bert(tmp_path / "weights/other")
    moved = ["[PAD]", "[CLS]", "[UNK]", *WORDS[3:]]
    tokenizer(moved).save(str(other / TOKENIZER))
    state, _ = published()
    rows = state["embeddings.word_embeddings.weight"].clone()
    state["embeddings.word_embeddings.weight"] = rows[[2, 1, 0, *range(3, VOCABULARY)]]
    save_file({name: value.contiguous().clone() for name, value in state.items()}, other / "model.safetensors")
    said = []
    for name in ("hf:mine", "hf:weights/other"):
        folder = given(tmp_path, name)
        network = load_network(folder)
        tokens, _ = encode(load_tokenizer(folder / TOKENIZER), ["the film", "a great film"], 12)
        said.append(predict(network, torch.from_numpy(tokens))[1])
    assert torch.equal(*said)


def test_the_first_token_is_taken_where_the_folder_says_so(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "weights/mine")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert load_network(given(tmp_path, "hf:mine")).description.backbone == f"bert:{DEPTH}-{WIDTH}-{HEADS}-{HIDDEN}-cls"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "not a BERT that can be read: .*No such file"),
        (lambda folder: (folder / "config.json").write_text("{}"), "it lacks max_position_embeddings"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "not a BERT that can be read"),
        (lambda folder: (folder / TOKENIZER).write_text("{}"), "tokenizer.json: "),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "roberta"})),
            "config.json has model_type: 'roberta' instead of 'bert'",
        ),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3})),
            r"the weights do not fit bert:3-.*missing \(12\): blocks.2",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_says_why(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(save_bert(tmp_path / "weights/mine"))
    with pytest.raises(GraftError, match=said):
        given(tmp_path, "hf:mine")


@pytest.mark.parametrize("name", ["hf:none", "hf:", "hf:.."])
def test_a_folder_elsewhere_is_refused_and_those_that_there_are_are_named(tmp_path: Path, name: str) -> None:
    save_bert(tmp_path / "weights/mine")
    with pytest.raises(GraftError, match=r"weights/ has no such folder; with a config.json it has: mine"):
        given(tmp_path, name)


def test_packages_are_read_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    bert = save_bert(tmp_path / "bert")
    for module in ("all_minilm_l6_v2", "wordllama"):
        (site / module).mkdir(parents=True)
        (site / module / "__init__.py").write_text("raise AssertionError('it is imported')")
    with zipfile.ZipFile(site / "all_minilm_l6_v2/model.zip", "w") as archive:
        for path in bert.iterdir():
            archive.write(path, path.name)
    for folder in ("weights", "tokenizers"):
        (site / "wordllama" / folder).mkdir()
    table = torch.randn(VOCABULARY, 8).half()
    save_file({"embedding.weight": table}, site / "wordllama/weights/l2_supercat_256.safetensors")
    tokenizer().save(str(site / "wordllama/tokenizers/l2_supercat_tokenizer_config.json"))
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setattr(from_encoder, "version", lambda package: "1.0")
    assert load_network(given(tmp_path, "minilm")).description.backbone == f"bert:{DEPTH}-{WIDTH}-{HEADS}-{HIDDEN}"
    network = load_network(given(tmp_path, "wordllama"))
    assert network.description.backbone == "word_vectors:8"
    assert torch.equal(network.backbone.tokens.weight[4], table[4].float())
    assert not network.backbone.tokens.weight[PADDING].any()
    assert (tmp_path / "given" / TOKENIZER).is_file()


@pytest.mark.parametrize("name", ["minilm", "wordllama"])
def test_a_package_that_is_missing_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_encoder, "find_spec", lambda module: None)
    with pytest.raises(GraftError, match=rf"'{name}' needs the package \S+, which is not .*\n.*Graft's extra `{name}`"):
        given(tmp_path, name)


@pytest.mark.parametrize(("name", "module"), [("minilm", "all_minilm_l6_v2"), ("wordllama", "wordllama")])
def test_the_real_packages_find_texts_alike_that_are(name: str, module: str, tmp_path: Path) -> None:
    if from_encoder.find_spec(module) is None:
        pytest.skip(f"Graft's extra `{name}` is not installed")
    folder = given(tmp_path, name)
    network = load_network(folder)
    asked = ["The food was delicious.", "We enjoyed a tasty meal.", "The bridge was closed for repairs."]
    tokens, _ = encode(load_tokenizer(folder / TOKENIZER), asked, network.description.length)
    features = predict(network, torch.from_numpy(tokens))[1]
    alike = features @ features.T / network.feature_size
    assert alike.diagonal() == pytest.approx(1.0, abs=1e-4)
    assert alike[0, 1] > alike[0, 2] + 0.2


def test_an_encoder_goes_through_the_stages_next_to_a_model_that_reads_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"steps": 10, "batch_size": 16, "learning_rate": 0.02, "evaluations": 2}
    root = text_project(tmp_path)
    save_bert(root / "weights/mine")
    content = {
        "seeds": [0],
        "label_budgets": [6],
        "strategies": {"scratch": {}, "linear_probe": {}, "tfidf": {"length": 100}},
        "label_free": {},
        "prepare": {"text_vocabulary": 300, "text_length": 16},
        "pretrain": {"weights": "hf:mine", "learn": "head"},
        "finetune": {"training": training},
        "forecast": {"images": 40, "permutations": 99, "untrained": 1},
        "evaluate": {"resamples": 1000},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(root)
    prepare(root, read_section(root / "params.yaml", "prepare", PrepareSettings))
    weights(root)
    pretrain.pretrain(read_section(root / "params.yaml", "pretrain", PretrainSettings))
    write_forecast(root)
    for name in content["strategies"]:
        finetune.finetune(Entry(name, 6, 0))
    evaluate.evaluate(read_section(root / "params.yaml", "evaluate", EvaluateSettings))
    trials = root / "build/trials"
    assert load_network(trials / "linear_probe-6-0").description.reads.length == 12
    assert load_network(trials / "tfidf-6-0").description.backbone == "ngrams:2"
    assert vocabulary_size(trials / "tfidf-6-0" / TOKENIZER) == 257
    found = json.loads((root / "reports/metrics.json").read_text())["strategies"]
    assert found["tfidf"]["accuracy"]["mean"] > 0.9
    stored = np.load(root / "build/evaluation/predictions.npz")
    for name in ("linear_probe-6-0", "tfidf-6-0"):
        files = {"weights": str(trials / name / "model.safetensors"), "tokenizer": str(trials / name / TOKENIZER)}
        served = Classifier()
        served.load_context(SimpleNamespace(artifacts=files))
        answers = served.predict(None, pd.DataFrame({"text": load_texts(root / "build/data/test") or []}))
        expected = stored["probabilities"][list(stored["trials"]).index(name)]
        np.testing.assert_allclose(answers["confidence"], expected.max(axis=1), atol=1e-5)
