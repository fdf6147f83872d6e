import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelSpreading

from graft.data.split import Domains, Split
from graft.loop import Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.label_propagation import LabelPropagation, spread
from graft.strategies.linear_probe import LinearProbe
from tests.graft.features import clouds
from tests.graft.pictures import CLASSES, tiny_network


@pytest.mark.parametrize(("neighbours", "alpha"), [(3, 0.5), (8, 0.95)])
def test_labels_spread_as_scikit_learns_do_on_the_same_graph(neighbours: int, alpha: float) -> None:
    domain = clouds([20, 15, 10], seed=0)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0))
    features, labels = domain.images[order], domain.labels[order]
    directions = F.normalize(features.double(), dim=1).numpy()

    def graph(one: np.ndarray, _other: np.ndarray) -> np.ndarray:
        joined = kneighbors_graph(one, neighbours, mode="distance", metric="cosine").toarray()
        near = np.where(joined > 0, 1 - joined, 0).clip(0)
        return np.maximum(near, near.T)

    known = np.where(np.arange(45) < 6, labels.numpy(), -1)
    assert set(known[:6]) == {0, 1, 2}
    theirs = LabelSpreading(kernel=graph, alpha=alpha, max_iter=10_000, tol=1e-12).fit(directions, known)
    found = spread(features, F.one_hot(labels[:6], 3).double(), neighbours, alpha)
    np.testing.assert_allclose(found / found.sum(dim=1, keepdim=True), theirs.label_distributions_, atol=1e-6)


def test_a_pool_of_clusters_makes_up_for_few_labels() -> None:
    test, gains = clouds([300] * 3, seed=5), []
    for seed in range(5):
        domains = Domains(clouds([1] * 3, seed=seed), None, None, clouds([100] * 3, seed=50 + seed).without_labels())
        networks = []
        for strategy in (LabelPropagation(), LinearProbe()):
            network = strategy.adapt(tiny_network(), CLASSES)
            train(network, strategy, domains, Training(steps=1, evaluations=1), keep=Kept(0))
            networks.append(network)
        ours, probe = (_accuracy(network, test) for network in networks)
        gains.append(ours - probe)
    assert sum(gains) / 5 > 0.03


def test_nothing_arrives_where_no_label_reaches() -> None:
    features = torch.eye(3, 6).repeat(2, 1)  # three pairs without affinity to each other
    found = spread(features, torch.eye(2).double(), 1, 0.5)
    assert (found.sum(dim=1) > 0).tolist() == [True, True, False, True, True, False]


def _accuracy(network: Network, test: Split) -> float:
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()
