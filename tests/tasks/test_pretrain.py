"""The stage `pretrain` on a tiny project."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from graft.data.sampling import hold_out
from graft.settings import Training
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_split
from tasks.common.places import PRETRAINED, SOURCE
from tasks.pretrain import pretrain
from tasks.settings.pretrain import PretrainSettings
from tasks.weights import weights
from tests.tasks.support.evaluation_fixture import make_project


def test_the_network_says_how_sure_it_may_be_by_the_pictures_that_were_held_out(tmp_path: Path, monkeypatch) -> None:
    make_project(tmp_path, steps={})
    monkeypatch.chdir(tmp_path)
    weights(tmp_path)
    pretrain(
        PretrainSettings(
            backbone="convnet_tiny",
            validation_fraction=0.5,
            training=Training(steps=4, batch_size=16, evaluations=2),
        )
    )
    network = load_network(PRETRAINED)
    held_out = hold_out(load_split(SOURCE), 0.5, 0)[1]
    logits = network(held_out.images).detach().double().numpy()

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(logits)), held_out.labels].mean())

    best = minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-9}).x
    assert network.description.temperature == pytest.approx(best, rel=1e-3)
