"""Foreign weights: renamed, checked, and adapted to other images than they were trained on."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18
from torchvision.models.vision_transformer import interpolate_embeddings

from graft.data.inputs import Pictures, Text
from graft.data.split import Domains
from graft.loop import train
from graft.measures.input_fit import input_fit
from graft.networks.efficientnet_lite import MEAN, STD
from graft.networks.input_change import _kernel, _positions, for_input
from graft.networks.network import Description, Network
from graft.networks.state_dicts import in_our_names, load_into, unwrap, without_prefix
from graft.settings import Training
from graft.strategies import strategy_class
from tests.graft.pictures import CLASSES, FOR_PICTURES, bars, tiny_network

RGB = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def colour_network(backbone: str = "convnet_tiny", size: int = 16, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(0)
    return Network(Description(backbone, classes, 3, size, *RGB)).eval()


def published_names() -> dict[str, Tensor]:
    """An untrained EfficientNet-Lite0 with four classes, under the names of the published checkpoint."""
    state = Network(Description("efficientnet_lite0", tuple("abcd"), 3, 224, MEAN, STD)).state_dict()
    layers = {"expand.conv": "_expand_conv", "expand.norm": "_bn0", "depthwise.conv": "_depthwise_conv"}
    layers |= {"depthwise.norm": "_bn1", "project.conv": "_project_conv", "project.norm": "_bn2"}
    ends = {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "top.conv": "_conv_head", "top.norm": "_bn1"}
    found = {}
    for name, value in state.items():
        body, _, attribute = name.removeprefix("backbone.").rpartition(".")
        if body.startswith("blocks."):
            _, number, layer = body.split(".", 2)
            found[f"_blocks.{number}.{layers[layer]}.{attribute}"] = value
        else:
            found[f"{ends.get(body, '_fc')}.{attribute}"] = value
    return found


class TestNames:
    @pytest.mark.parametrize(
        "wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": {"module": s}}]
    )
    @pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
    def test_wrappers_and_common_prefixes_come_off(self, wrap, prefix: str) -> None:
        state = {"conv.weight": torch.ones(1), "conv.bias": torch.zeros(1)}
        assert unwrap(wrap({prefix + name: value for name, value in state.items()})) == state

    @pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {"state_dict": {"a": "b"}}, torch.ones(2)])
    def test_what_holds_no_weights_is_refused_with_what_it_holds(self, content: object) -> None:
        with pytest.raises(ValueError, match="holds"):
            unwrap(content)

    @given(
        st.recursive(
            st.integers() | st.text(max_size=3),
            lambda x: st.dictionaries(st.sampled_from(["model", "state_dict", "a"]), x),
        )
    )
    def test_any_content_is_unwrapped_or_refused(self, content: object) -> None:
        with pytest.raises(ValueError, match="holds"):
            unwrap(content)

    def test_torchvisions_names_become_ours(self) -> None:
        torch.manual_seed(3)
        whole = resnet18(num_classes=5).eval()
        network = Network(Description("torchvision:resnet18", tuple("abcde"), 3, 32, (0.0,) * 3, (1.0,) * 3)).eval()
        named = in_our_names("torchvision:resnet18", whole.state_dict())
        assert named.classes == 5
        load_into(network, named)
        pictures = torch.rand(2, 3, 32, 32)
        torch.testing.assert_close(network(pictures), whole(pictures))

    def test_timms_names_become_ours(self) -> None:
        timm = pytest.importorskip("timm")
        torch.manual_seed(3)
        for name in ("test_vit", "test_efficientnet", "test_byobnet"):
            whole = timm.create_model(name, num_classes=4).eval()
            backbone = f"timm:{name}"
            network = Network(Description(backbone, tuple("abcd"), 3, 160, (0.0,) * 3, (1.0,) * 3)).eval()
            load_into(network, in_our_names(backbone, whole.state_dict()))
            pictures = torch.rand(2, 3, 160, 160)
            torch.testing.assert_close(network(pictures), whole(pictures))

    def test_a_file_without_a_head_leaves_the_head_alone(self) -> None:
        network = tiny_network(seed=1)
        before = network.head.weight.clone()
        load_into(network, in_our_names("convnet_tiny", tiny_network(seed=2).backbone.state_dict()))
        assert torch.equal(network.head.weight, before)
        assert torch.equal(network.backbone[0][0].weight, tiny_network(seed=2).backbone[0][0].weight)

    def test_all_that_does_not_fit_is_said_at_once(self) -> None:
        state = tiny_network().own_state()
        state["backbone.more"] = state.pop("backbone.0.0.weight")
        state["head.weight"] = torch.zeros(3, 7)
        with pytest.raises(ValueError, match="do not fit convnet_tiny with 3 classes") as said:
            load_into(tiny_network(), in_our_names("convnet_tiny", state))
        for part in (
            "missing (1): backbone.0.0.weight",
            "unexpected (1): backbone.more",
            "of another shape (1): head.weight 3x7 instead of 3x32",
        ):
            assert part in str(said.value)

    @pytest.mark.parametrize("odd", [lambda w: w.to_sparse(), lambda w: w.to(torch.complex64)])
    def test_what_is_no_plain_number_is_refused(self, odd: Callable[[Tensor], Tensor]) -> None:
        state = tiny_network().own_state()
        state["head.weight"] = odd(state["head.weight"])
        with pytest.raises(ValueError, match=r"complex, sparse or quantised \(1\): head\.weight"):
            load_into(tiny_network(), in_our_names("convnet_tiny", state))

    def test_a_head_that_is_a_number_is_none(self) -> None:
        state = tiny_network().own_state() | {"head.weight": torch.tensor(1.0)}
        with pytest.raises(ValueError, match=r"unexpected \(2\): head\.weight, head\.bias"):
            load_into(tiny_network(), in_our_names("convnet_tiny", state))

    def test_counters_that_old_files_lack_are_no_fault(self) -> None:
        state = {k: v for k, v in tiny_network(seed=2).own_state().items() if "num_batches" not in k}
        load_into(tiny_network(), in_our_names("convnet_tiny", state))

    def test_the_prefix_that_would_fit_is_named(self) -> None:
        state = {f"student.body.{name}": value for name, value in tiny_network().backbone.state_dict().items()}
        state["teacher.weight"] = torch.ones(2)
        with pytest.raises(
            ValueError, match=r"without the prefix 'student\.body\.', 12 of 12 .*`prefix: student.body.`"
        ):
            load_into(tiny_network(), in_our_names("convnet_tiny", state))
        load_into(tiny_network(), in_our_names("convnet_tiny", without_prefix(state, "student.body.")))

    def test_the_architecture_that_would_fit_is_named(self) -> None:
        state = dict(resnet18().state_dict())
        network = colour_network("torchvision:resnet34", 32)
        with pytest.raises(
            ValueError,
            match=r"missing \(\d+\): layer1.2.conv1.weight.* 100 % of them would fit `backbone: torchvision:resnet18`",
        ):
            load_into(network, in_our_names("torchvision:resnet34", state))


class TestInput:
    @pytest.mark.parametrize(
        "backbone",
        ["convnet_tiny", "transformer_tiny", "torchvision:mobilenet_v3_small", "concat(convnet_tiny, convnet_tiny)"],
    )
    def test_weights_for_colour_see_a_grey_picture_in_every_channel(self, backbone: str) -> None:
        network = colour_network(backbone, 32)
        grey = for_input(network, Pictures(1, 32)).eval()
        assert (grey.description.channels, grey.description.mean) == (1, RGB[0])
        pictures = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
        torch.testing.assert_close(grey(pictures), network(pictures.expand(-1, 3, -1, -1)))
        rebuilt = Network(grey.description).eval()
        rebuilt.load_state_dict(grey.state_dict())
        torch.testing.assert_close(rebuilt(pictures), grey(pictures))

    def test_one_mean_for_all_channels_does_as_well(self) -> None:
        network = Network(Description("convnet_tiny", CLASSES, 3, 16)).eval()
        pictures = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
        torch.testing.assert_close(
            for_input(network, Pictures(1, 16))(pictures), network(pictures.expand(-1, 3, -1, -1))
        )

    @pytest.mark.parametrize("backbone", ["convnet_tiny", "transformer_tiny", "torchvision:resnet18"])
    def test_weights_for_grey_answer_alike_to_a_colour_picture_without_colour(self, backbone: str) -> None:
        torch.manual_seed(0)
        network = Network(Description(backbone, CLASSES, 1, 32)).eval()
        pictures = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
        colour = for_input(network, Pictures(3, 32)).eval()
        torch.testing.assert_close(colour(pictures.expand(-1, 3, -1, -1)), network(pictures), atol=1e-4, rtol=1e-4)

    def test_many_channels_keep_the_sum_of_what_is_alike_in_all(self) -> None:
        kernel = torch.randn(5, 3, 3, 3)
        for channels in (1, 2, 4, 6):
            changed = _kernel(kernel, channels, 3)
            assert changed.shape == (5, channels, 3, 3)
        torch.testing.assert_close(_kernel(kernel, 6, 3).sum(dim=1), kernel.sum(dim=1))
        torch.testing.assert_close(_kernel(kernel, 1, 3), kernel.sum(dim=1, keepdim=True))

    @pytest.mark.parametrize(("old", "new", "extra"), [(4, 7, 1), (8, 5, 0), (14, 4, 1), (3, 3, 2)])
    def test_positions_are_interpolated_as_timm_does(self, old: int, new: int, extra: int) -> None:
        layers = pytest.importorskip("timm.layers")
        positions = torch.randn(1, extra + old * old, 6)
        theirs = layers.resample_abs_pos_embed(positions, (new, new), num_prefix_tokens=extra)
        torch.testing.assert_close(_positions(positions, extra + new * new, extra), theirs)

    def test_a_patch_enlarged_gives_the_tokens_that_it_gave(self) -> None:
        kernel, patch = torch.randn(5, 1, 4, 4), torch.randn(1, 1, 4, 4)
        enlarged = nn.functional.interpolate(patch, (8, 8), mode="bicubic")
        torch.testing.assert_close(
            nn.functional.conv2d(enlarged, _kernel(kernel, 1, 8)),
            nn.functional.conv2d(patch, kernel),
            atol=1e-4,
            rtol=1e-4,
        )

    @pytest.mark.parametrize(("size", "other"), [(16, 32), (32, 16), (16, 20), (8, 28)])
    def test_our_transformer_works_at_another_size_and_answers_much_alike(self, size: int, other: int) -> None:
        network = colour_network("transformer_tiny", size)
        smooth = nn.functional.interpolate(torch.rand(8, 3, 4, 4), (64, 64), mode="bicubic").clamp(0, 1)
        small, large = (nn.functional.interpolate(smooth, (s, s), mode="area") for s in (size, other))
        changed = for_input(network, Pictures(3, other)).eval()
        assert changed.description.image_size == other
        before, after = network.features(small), changed.features(large)
        assert nn.functional.cosine_similarity(before, after).min() > 0.97

    def test_torchvisions_transformer_is_interpolated_much_as_torchvision_does(self) -> None:
        """Its corners are aligned; ours are not, as timm's and the original's."""
        positions = (
            nn.functional.interpolate(torch.randn(1, 6, 3, 3), (8, 8), mode="bicubic").flatten(2).transpose(1, 2)
        )
        state = {"encoder.pos_embedding": torch.cat([torch.zeros(1, 1, 6), positions], dim=1)}
        theirs = interpolate_embeddings(64, 4, state)["encoder.pos_embedding"]
        ours = _positions(torch.cat([torch.zeros(1, 1, 6), positions], dim=1), 257, 1)
        assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.9
        body = VisionTransformer(32, 4, 1, 1, 6, 6)
        assert body.encoder.pos_embedding.shape == (1, 65, 6)

    def test_timms_transformer_is_changed_by_timm(self) -> None:
        timm = pytest.importorskip("timm")
        network = colour_network("timm:test_vit", 160)
        changed = for_input(network, Pictures(3, 32)).eval()
        assert changed.example().shape[-1] == 32
        assert changed(changed.example()).isfinite().all()
        assert changed.backbone.pos_embed.shape[1] < network.backbone.pos_embed.shape[1]
        reference = timm.create_model("test_vit", num_classes=0)
        reference.load_state_dict(network.backbone.state_dict())
        reference.set_input_size(img_size=(32, 32))
        torch.testing.assert_close(changed.backbone.pos_embed, reference.pos_embed)

    def test_texts_and_pictures_are_not_mistaken_for_one_another(self) -> None:
        with pytest.raises(ValueError, match="these weights read grey images of 8 px, not texts of 5 tokens"):
            for_input(tiny_network(), Text(10, 5))

    def test_nothing_changes_where_nothing_has_to(self) -> None:
        network = tiny_network()
        assert for_input(network, Pictures(1, 8)) is network


class TestFit:
    def trained(self, mean: float, std: float) -> tuple[Network, Tensor]:
        """A network whose batch norms saw images normalised with their own statistics, described with other values."""
        pictures = bars(200, size=16)
        own_mean, own_std = pictures.mean_and_std()
        network = tiny_network(size=16)
        network.mean.fill_(own_mean[0])
        network.std.fill_(own_std[0])
        network.train()
        with torch.no_grad():
            for _ in range(60):
                network(pictures.images)
        network.mean.fill_(mean * own_std[0] + own_mean[0])
        network.std.fill_(std * own_std[0])
        return network, pictures.images

    def test_the_right_normalisation_has_no_faults_and_the_network_stays_as_it_was(self) -> None:
        network, pictures = self.trained(0.0, 1.0)
        before = copy.deepcopy(network.state_dict())
        found = input_fit(network, pictures)
        assert found.faults == []
        assert found.mean[0] == pytest.approx(0, abs=0.05)
        assert found.std[0] == pytest.approx(1, abs=0.05)
        assert found.spread == pytest.approx(1, abs=0.1)
        assert network.training
        assert all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values(), strict=True))

    @pytest.mark.parametrize("std", [0.45, 2.2])
    def test_a_wrong_scale_is_seen_by_the_first_batch_norm(self, std: float) -> None:
        network, pictures = self.trained(0.0, std)
        (fault,) = input_fit(network, pictures).faults
        assert float(fault.split()[4]) == pytest.approx(1 / std, rel=0.05)

    def test_a_wrong_mean_is_seen(self) -> None:
        network, pictures = self.trained(1.5, 1.0)
        assert "normalised mean of a channel is -1.5" in input_fit(network, pictures).faults[0]

    def test_without_a_batch_norm_the_deviation_decides(self) -> None:
        network, pictures = colour_network("transformer_tiny"), bars(20, size=16).images.expand(-1, 3, -1, -1)
        network.std.fill_(1.0)
        found = input_fit(network, pictures)
        assert found.spread is None
        assert "deviation of a channel is 0." in found.faults[0]


@pytest.mark.parametrize("backbone", ["torchvision:mobilenet_v3_small", "timm:test_vit", "transformer_tiny"])
@pytest.mark.parametrize("name", FOR_PICTURES)
def test_every_strategy_works_on_bodies_of_every_library(name: str, backbone: str) -> None:
    if backbone.startswith("timm:"):
        pytest.importorskip("timm")
    strategy = strategy_class(name)()
    network = colour_network(backbone, 32)
    target = replace(bars(24, size=32), images=bars(24, size=32).images.expand(-1, 3, -1, -1))
    torch.manual_seed(0)
    budget = Training(steps=2, batch_size=8, learning_rate=0.001, evaluations=1)
    try:
        network = strategy.adapt(network, CLASSES)
    except ValueError as error:
        assert backbone in str(error)
        assert "batch norm" in str(error)
        assert "mobilenet" not in backbone
        return
    train(network, strategy, Domains(target, target, target, target), budget, seed=1)
    network = strategy.finish(network)
    rebuilt = Network(network.description)
    rebuilt.load_state_dict(network.state_dict())
    images = target.images[:4]
    torch.testing.assert_close(rebuilt.eval()(images), network.eval()(images))
