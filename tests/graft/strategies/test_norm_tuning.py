import copy

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from graft.data.split import Domains
from graft.loop import train
from graft.settings import Training
from graft.strategies.norm_tuning import NormTuning
from tests.graft.pictures import CLASSES, bars, tiny_network


def test_only_norms_biases_and_the_head_move() -> None:
    source = tiny_network(seed=3)
    network = NormTuning().adapt(copy.deepcopy(source), CLASSES)
    train(network, NormTuning(), Domains(bars(36), bars(18, seed=1)), Training(steps=8, batch_size=9, evaluations=1))
    norms = {name for name, module in source.backbone.named_modules() if isinstance(module, _BatchNorm)}
    moved = set()
    for (name, old), new in zip(source.backbone.named_parameters(), network.backbone.parameters(), strict=True):
        if not torch.equal(old, new):
            moved.add(name)
        assert name.rpartition(".")[0] in norms or name.endswith("bias") or torch.equal(old, new), name
    assert moved, "something is tuned"
    assert all(parameter.requires_grad for parameter in NormTuning().finish(network).parameters())
