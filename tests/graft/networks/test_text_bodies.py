"""Networks for texts, and the transformer, which also reads images."""

import pytest
import torch
import torch.nn.functional as F

from graft.data.augment import augment
from graft.data.inputs import PADDING, Pictures, Text
from graft.data.split import Domains
from graft.loop import train
from graft.measures.cost import multiply_adds
from graft.networks.backbones import TEXT_BODIES, TRANSFORMERS, build_backbone
from graft.networks.network import Description, Network, predict
from graft.networks.stages import stages
from graft.networks.transformer import Transformer
from graft.settings import Augmentation, Training
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.scratch import Scratch
from tests.graft.pictures import bars
from tests.graft.texts import CLASSES, LENGTH, VOCABULARY, text_network, texts

every_body = pytest.mark.parametrize("name", [*TEXT_BODIES, *TRANSFORMERS])


@every_body
def test_a_body_learns_which_token_tells_the_class(name: str) -> None:
    network = text_network(name)
    budget = Training(steps=120, batch_size=32, learning_rate=0.01, evaluations=2)
    train(network, Scratch(), Domains(texts(200), texts(60, seed=1)), budget)
    test = texts(200, seed=2)
    assert (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean() > 0.9


@every_body
def test_padding_and_what_a_text_is_batched_with_change_nothing(name: str) -> None:
    network, some = text_network(name).eval(), texts(12)
    whole = network(some.images)
    alone = torch.cat([network(text[None]) for text in some.images])
    torch.testing.assert_close(whole, alone)
    if name != "text_convnet":  # it sees the end of a text, but no padding beyond it
        shorter = some.images[(some.images[:, LENGTH - 2 :] == PADDING).all(dim=1)]
        torch.testing.assert_close(network(shorter), network(shorter[:, : LENGTH - 2]))


@every_body
def test_an_empty_text_has_a_finite_answer(name: str) -> None:
    assert text_network(name).eval()(torch.zeros(2, LENGTH, dtype=torch.int32)).isfinite().all()


@pytest.mark.parametrize(("size", "side"), [(8, 8), (12, 6), (16, 8), (28, 7), (32, 8), (224, 8)])
def test_a_transformer_sees_pictures_as_some_64_patches(size: int, side: int) -> None:
    body, width = build_backbone("transformer_tiny", Pictures(3, size))
    assert isinstance(body, Transformer)
    assert body.embedding(torch.rand(2, 3, size, size)).shape == (2, side**2, width)
    assert body(torch.rand(2, 3, size, size)).shape == (2, width)


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    body, width = build_backbone("transformer_tiny", Text(VOCABULARY, LENGTH))
    ours, theirs = body.blocks[0].attention, torch.nn.MultiheadAttention(width, 4, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.query_key_value.weight, ours.query_key_value.bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out.weight, ours.out.bias
    tokens, present = torch.randn(3, LENGTH, width), texts(3).images != PADDING
    expected, _ = theirs(tokens, tokens, tokens, key_padding_mask=~present, need_weights=False)
    torch.testing.assert_close(ours(tokens, present[:, None, None, :]), expected)


@pytest.mark.parametrize("read", [Pictures(1, 16), Text(VOCABULARY, LENGTH)])
def test_blocks_are_the_stages_of_a_transformer(read: Pictures | Text) -> None:
    body, _ = build_backbone("transformer_tiny", read)
    found = stages(body)
    assert [names[0] for names in (stage.names for stage in found)][-4:] == [f"blocks.{n}" for n in range(4)]
    assert sum(p.numel() for stage in found for p in stage.parameters) == sum(p.numel() for p in body.parameters())


def test_bodies_say_what_they_read() -> None:
    with pytest.raises(ValueError, match=r"'convnet_small' cannot read texts; valid: text_bag, .*transformer_"):
        Network(Description("convnet_small", CLASSES, vocabulary=VOCABULARY, length=LENGTH))
    with pytest.raises(ValueError, match="backbone 'text_bag' reads texts, not images; valid: convnet_tiny"):
        Network(Description("text_bag", CLASSES, 1, 8))


def test_a_picture_transformer_counts_its_operations_and_learns() -> None:
    torch.manual_seed(0)
    network = Network(Description("transformer_tiny", ("left", "middle", "right"), 1, 8))
    tokens, width, depth = 64, 64, 4
    attended = 2 * tokens**2 * width
    expected = tokens * width + depth * (12 * tokens * width**2 + attended) + 3 * width
    assert multiply_adds(network) == pytest.approx(expected, rel=0.02)
    train(
        network,
        Scratch(),
        Domains(bars(120), bars(30, seed=1)),
        Training(steps=150, batch_size=32, learning_rate=3e-3, evaluations=2),
    )
    test = bars(60, seed=2)
    assert (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean() > 0.9


def test_dropped_tokens_are_padding_and_drawn_anew() -> None:
    tokens, how = torch.full((50, 40), 7), Augmentation(drop=0.25)
    generator = torch.Generator().manual_seed(0)
    first, second = augment(tokens, how, generator), augment(tokens, how, generator)
    assert set(first.unique().tolist()) == {PADDING, 7}
    assert (first == PADDING).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(first, second)
    assert augment(tokens, Augmentation(crop=2, rotate=10), generator) is tokens


def test_a_linear_probe_computes_the_features_of_texts_once() -> None:
    network = LinearProbe().adapt(text_network(), CLASSES)
    train(network, LinearProbe(), Domains(texts(60), texts(20, seed=1)), Training(steps=20, evaluations=2))
    assert network.eval()(texts(4).images).shape == (4, 2)


def test_texts_differ_by_what_stands_beside_each_other() -> None:
    network = text_network("text_bag").eval()
    one, other = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[4, 3, 6, 5]])
    torch.nn.init.normal_(network.backbone.pairs.weight)
    assert not torch.allclose(network(one), network(other))
    plain = F.normalize(network.backbone.tokens(one).mean(dim=1), dim=1)
    torch.testing.assert_close(plain, F.normalize(network.backbone.tokens(other).mean(dim=1), dim=1))
