"""Names of backbones and compositions of them; EfficientNet-Lite0 compared with an independent network of the same
weights."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from graft.data.inputs import Pictures
from graft.networks.backbones import build_backbone, parse_composition
from graft.networks.efficientnet_lite import IMAGE_SIZE, MEAN, STD, SamePadding, from_published
from graft.networks.network import Description, Network

PLAIN = st.sampled_from(["convnet_tiny", "convnet_small", "torchvision:resnet18", "timm:a/b.c_in1k"])
SPACES = st.sampled_from(["", " ", "  "])
KINDS = st.sampled_from(["concat", "fusion"])


def composed(kind: str, source: str, target: str, before: str = "", after: str = " ") -> str:
    return f"{kind}({before}{source}{after},{before}{target}{after})"


NAMES = st.recursive(PLAIN, lambda inner: st.builds(composed, KINDS, inner, inner, SPACES, SPACES), max_leaves=6)


@given(kind=KINDS, source=NAMES, target=NAMES, before=SPACES, after=SPACES)
def test_a_composition_is_read_back_as_it_was_written(
    kind: str, source: str, target: str, before: str, after: str
) -> None:
    assert parse_composition(composed(kind, source, target, before, after)) == (kind, source, target)


@given(st.text(alphabet="concatfusion(), :_", max_size=40))
def test_what_is_no_composition_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        kind, source, target = parse_composition(text)
    except ValueError as error:
        assert "valid: convnet_tiny" in str(error)
        assert "concat(NAME, NAME)" in str(error)
    else:
        assert kind in ("concat", "fusion")
        assert source.count("(") == source.count(")")
        assert parse_composition(composed(kind, source, target)) == (kind, source, target)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("concat(convnet_tiny)", "joins two backbones, not 1"),
        ("concat(convnet_tiny, convnet_tiny, convnet_tiny)", "joins two backbones, not 3"),
        ("fusion(convnet_tiny, )", "joins two backbones, not 1"),
        ("concat(convnet_tiny, convnet_tiny", "does not end with"),
        ("concat(convnet_tiny, fusion(convnet_tiny, convnet_tiny)", r"a '\(' has no '\)'"),
        ("concat(convnet_tiny), convnet_tiny)", r"a '\)' has no '\('"),
        ("sum(convnet_tiny, convnet_tiny)", "'sum' does not join backbones"),
        ("concat(convnet_tiny, resnet)", "unknown backbone 'resnet'"),
    ],
)
def test_a_broken_composition_is_refused_with_what_is_wrong_and_the_valid_forms(name: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"{what}.*valid: convnet_tiny.*fusion\\(NAME, NAME\\)"):
        build_backbone(name, Pictures(1, 32))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("concat(convnet_tiny, convnet_small)", 32 + 128),
        ("fusion(convnet_tiny, convnet_small)", 32),
        ("concat(fusion(convnet_small, convnet_tiny), concat(convnet_tiny, convnet_tiny))", 128 + 64),
        ("efficientnet_lite0", 1280),
    ],
)
def test_a_backbone_gives_as_many_features_as_it_says(name: str, size: int, channels: int) -> None:
    backbone, stated = build_backbone(name, Pictures(channels, 32))
    assert stated == size
    assert backbone.eval()(torch.rand(2, channels, 32, 32)).shape == (2, size)


@pytest.mark.parametrize("size", [31, 32, 33])
@pytest.mark.parametrize(("kernel", "missing"), [(3, {31: (1, 1), 32: (0, 1)}), (5, {31: (2, 2), 32: (1, 2)})])
def test_same_padding_gives_more_to_the_right_and_below_where_it_is_odd(
    kernel: int, missing: dict[int, tuple[int, int]], size: int
) -> None:
    left, right = missing[32 if size == 32 else 31]
    padded = SamePadding(kernel, 2)(torch.ones(1, 1, size, 8))
    assert padded.shape[-2] == left + size + right
    assert padded[0, 0, :, 4].tolist() == [0.0] * left + [1.0] * size + [0.0] * right
    assert (padded.shape[-2] - kernel) // 2 + 1 == -(-size // 2)


def test_grey_and_colour_bodies_share_the_names_of_their_weights() -> None:
    grey, colour = (build_backbone("efficientnet_lite0", Pictures(channels, 32))[0] for channels in (1, 3))
    assert list(grey.state_dict()) == list(colour.state_dict())
    grey.load_state_dict(colour.state_dict())
    picture = torch.rand(2, 1, 40, 40)
    torch.testing.assert_close(grey.eval()(picture), colour.eval()(picture.expand(-1, 3, -1, -1)))


def test_a_name_that_is_not_of_the_published_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'_blocks.0._se_reduce.weight' is not a name"):
        from_published({"_blocks.0._se_reduce.weight": torch.zeros(1)})


@pytest.fixture(scope="module")
def published() -> tuple[nn.Module, dict[str, Tensor]]:
    """An independent network, and its weights under the published names."""
    folder = Path(os.environ.get("GRAFT_DATA", "")) / "weights_efficientnet_lite0"
    weights = folder / "efficientnet-lite0-57934424.pth"
    if not (os.environ.get("GRAFT_DATA") and weights.is_file()):
        pytest.skip("GRAFT_DATA names no folder with the EfficientNet-Lite0 weights")
    spec = importlib.util.spec_from_file_location("lite0", folder / "lite0.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(weights), torch.load(weights, map_location="cpu", weights_only=True)


@pytest.mark.parametrize("size", [IMAGE_SIZE, 97])
def test_efficientnet_lite0_with_published_weights_agrees_with_an_independent_one(
    published: tuple[nn.Module, dict[str, Tensor]], size: int
) -> None:
    reference, state = published
    classes = tuple(str(number) for number in range(1000))
    network = Network(Description("efficientnet_lite0", classes, 3, size, MEAN, STD)).eval()
    network.load_state_dict(from_published(state))
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference((images.float() - 127) / 128), atol=1e-4, rtol=0)
