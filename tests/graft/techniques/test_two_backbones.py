import pytest
import torch

from graft.strategies.feature_concat import FeatureConcat
from graft.strategies.feature_fusion import FeatureFusion
from graft.techniques.two_backbones import TwoBackbones
from tests.graft.pictures import CLASSES, tiny_network

KINDS = pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])


@KINDS
def test_the_targets_backbone_may_start_as_a_copy_of_the_sources(kind: type[TwoBackbones]) -> None:
    for start, is_equal in (("source", True), ("random", False)):
        network = kind(target_start=start).adapt(tiny_network(seed=3), CLASSES)  # type: ignore[arg-type]
        first, second = network.backbone.source, network.backbone.target
        pairs = zip(first.parameters(), second.parameters(), strict=True)  # type: ignore[operator, union-attr]
        assert all(torch.equal(one, other) for one, other in pairs) == is_equal
        assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}  # type: ignore[operator, union-attr]


@KINDS
def test_a_copy_needs_the_same_backbone(kind: type[TwoBackbones]) -> None:
    with pytest.raises(ValueError, match="target_start: source needs the source's backbone 'convnet_tiny'"):
        kind(target_start="source", target_backbone="convnet_small").adapt(tiny_network(), CLASSES)
