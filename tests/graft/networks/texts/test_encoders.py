"""Encoders that others trained: the numbers are those of torch's own transformer."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import PADDING, Pictures, Text
from graft.data.split import Domains
from graft.loop import train
from graft.networks.backbones import build_backbone
from graft.networks.network import Description, Network, predict
from graft.networks.stages import stages
from graft.networks.texts.encoders import Bert, WordVectors, bert_weights
from graft.settings import Training
from graft.strategies import strategy_class
from tests.graft.texts import CLASSES, LENGTH, VOCABULARY, texts

READ = Text(VOCABULARY, LENGTH)
DEPTH, WIDTH, HEADS, HIDDEN = 2, 16, 4, 40
NAME = f"bert:{DEPTH}-{WIDTH}-{HEADS}-{HIDDEN}"
SHORT = Training(steps=4, batch_size=8, learning_rate=1e-3, evaluations=2)


def published(seed: int = 0) -> tuple[dict[str, Tensor], nn.TransformerEncoder]:
    """Random weights of a BERT as they are published, and torch's encoder with the same blocks."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=False
    )
    encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False).eval()
    for value in encoder.parameters():
        nn.init.normal_(value, std=0.3)
    tables = {"word": VOCABULARY, "position": LENGTH + 6, "token_type": 2}
    state = {f"embeddings.{name}_embeddings.weight": torch.randn(rows, WIDTH) for name, rows in tables.items()}
    state |= {"embeddings.LayerNorm.weight": torch.rand(WIDTH), "embeddings.LayerNorm.bias": torch.rand(WIDTH)}
    for number, block in enumerate(encoder.layers):
        assert isinstance(block, nn.TransformerEncoderLayer)
        for part in ("weight", "bias"):
            joined = getattr(block.self_attn, f"in_proj_{part}").detach().chunk(3)
            for name, value in zip(("query", "key", "value"), joined, strict=True):
                state[f"encoder.layer.{number}.attention.self.{name}.{part}"] = value
            for theirs, module in (
                ("attention.output.dense", block.self_attn.out_proj),
                ("attention.output.LayerNorm", block.norm1),
                ("intermediate.dense", block.linear1),
                ("output.dense", block.linear2),
                ("output.LayerNorm", block.norm2),
            ):
                state[f"encoder.layer.{number}.{theirs}.{part}"] = getattr(module, part).detach()
    return state, encoder


def bert(state: dict[str, Tensor], name: str = NAME) -> Bert:
    body, width = build_backbone(name, READ)
    assert isinstance(body, Bert)
    assert width == WIDTH
    body.load_state_dict(bert_weights(state, LENGTH) | {"ends": torch.tensor([17, 18])})
    return body.eval()


def expected(state: dict[str, Tensor], encoder: nn.TransformerEncoder, tokens: Tensor, *, first: bool) -> Tensor:
    """One text at a time, so without any padding."""
    found = []
    for text in tokens.long():
        ids = torch.tensor([17, *text[text != PADDING].tolist(), 18])
        embedded = state["embeddings.word_embeddings.weight"][ids]
        embedded = embedded + state["embeddings.position_embeddings.weight"][: len(ids)]
        embedded = embedded + state["embeddings.token_type_embeddings.weight"][0]
        norm = (state["embeddings.LayerNorm.weight"], state["embeddings.LayerNorm.bias"])
        out = encoder(F.layer_norm(embedded, (WIDTH,), *norm, eps=1e-12)[None])[0]
        found.append(out[0] if first else out.mean(dim=0))
    return F.normalize(torch.stack(found), dim=1) * math.sqrt(WIDTH)


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("first", [False, True])
def test_a_bert_answers_as_torchs_encoder_does(prefix: str, first: bool) -> None:
    state, encoder = published()
    more = {"pooler.dense.weight": torch.ones(1), "cls.predictions.bias": torch.ones(1)}
    named = {f"{prefix}{name}": value for name, value in (state | more).items()}
    body, tokens = bert(named, f"{NAME}-cls" if first else NAME), texts(50).images
    wanted = expected(state, encoder, tokens, first=first)
    torch.testing.assert_close(body(tokens), wanted, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(body(tokens), wanted, atol=1e-5, rtol=1e-5)


def test_vectors_are_averaged_over_the_tokens_of_a_text() -> None:
    body, width = build_backbone("word_vectors:5", READ)
    assert isinstance(body, WordVectors)
    assert width == 5
    tokens = texts(6).images
    means = torch.stack([body.tokens.weight[text[text != PADDING].long()].mean(dim=0) for text in tokens])
    torch.testing.assert_close(body(tokens), F.normalize(means, dim=1) * math.sqrt(5))
    assert torch.equal(body(torch.zeros(1, LENGTH, dtype=torch.int32)), torch.zeros(1, 5))


@pytest.mark.parametrize("backbone", [NAME, "word_vectors:16"])
@pytest.mark.parametrize("name", ["fine_tune", "linear_probe", "lp_ft", "self_training", "lora", "gradual_unfreeze"])
def test_strategies_work_on_encoders_without_a_head(name: str, backbone: str) -> None:
    torch.manual_seed(0)
    strategy = strategy_class(name)()
    source = Network(Description(backbone, (), vocabulary=VOCABULARY, length=LENGTH))
    network = strategy.adapt(source, CLASSES)
    domains = Domains(texts(40), texts(20, seed=1), texts(30, seed=2), texts(40, seed=3).without_labels())
    train(network, strategy, domains, SHORT)
    network = strategy.finish(network)
    rebuilt = Network(network.description)
    rebuilt.load_state_dict(network.state_dict())
    some = texts(6, seed=4).images
    assert torch.equal(predict(rebuilt, some)[0], predict(network, some)[0])


def test_blocks_are_the_stages_of_a_bert() -> None:
    body = bert(published()[0])
    found = stages(body)
    assert [stage.names for stage in found][-DEPTH:] == [("blocks.0",), ("blocks.1",)]
    assert sum(p.numel() for stage in found for p in stage.parameters) == sum(p.numel() for p in body.parameters())


def test_an_empty_text_and_one_of_full_length_are_read() -> None:
    body = bert(published()[0])
    tokens = torch.ones(2, LENGTH, dtype=torch.int32)
    tokens[0] = PADDING
    assert body(tokens).isfinite().all()


def test_names_are_checked() -> None:
    for name in ("bert:2-16-4", "bert:2-16-4-x", "bert:0-16-4-40", "bert:", "word_vectors:0", "word_vectors:wide"):
        with pytest.raises(ValueError, match="is not valid; valid: "):
            build_backbone(name, READ)
    with pytest.raises(ValueError, match="its width 16 is not a multiple of its 3 heads"):
        build_backbone("bert:2-16-3-40", READ)
    with pytest.raises(ValueError, match="reads texts, not images"):
        build_backbone(NAME, Pictures(3, 32))


def test_weights_of_another_kind_say_what_is_missing() -> None:
    state, _ = published()
    del state["embeddings.token_type_embeddings.weight"]
    with pytest.raises(ValueError, match=r"have no embeddings.token_type_embeddings.weight, so they are not those of"):
        bert_weights(state, LENGTH)
