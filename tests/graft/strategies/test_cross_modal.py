"""From images to texts: what is transferred, what is not, and the distance between two embeddings."""

import copy
import re

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment

from graft.contract import Batch, Step
from graft.data.inputs import Pictures, Text
from graft.data.split import Domains
from graft.loop import train
from graft.networks.network import Description, Network, predict
from graft.settings import Training
from graft.strategies import strategy_class, strategy_names
from graft.strategies.cross_modal import CrossModal
from graft.strategies.fine_tune import FineTune
from graft.strategies.scratch import Scratch
from graft.techniques.carry import ORIGIN, carried, crosses
from graft.techniques.optimal_transport import dataset_distance, transport_plan
from tests.graft.pictures import CLASSES as PLACES
from tests.graft.pictures import bars, tiny_network
from tests.graft.texts import CLASSES, LENGTH, VOCABULARY, text_network, texts

TEXT = Text(VOCABULARY, LENGTH)
BRIEF = Training(steps=10, batch_size=16, learning_rate=3e-3, evaluations=2)


@pytest.fixture(scope="module")
def of_pictures() -> Network:
    torch.manual_seed(0)
    network = Network(Description("transformer_tiny", PLACES, 1, 8, (0.2,), (0.3,)))
    train(network, Scratch(), Domains(bars(60), bars(30, seed=1)), BRIEF)
    return network


def adapted(strategy: CrossModal, source: Network) -> Network:
    torch.manual_seed(1)
    return strategy.adapt(carried(copy.deepcopy(source), TEXT, strategy), CLASSES)


def trained(strategy: CrossModal, source: Network, training: Training = BRIEF) -> Network:
    network = adapted(strategy, source)
    train(network, strategy, Domains(texts(80), texts(40, seed=1), bars(60)), training)
    return network


def test_the_body_is_carried_over_and_the_embedding_is_not(of_pictures: Network) -> None:
    network = carried(copy.deepcopy(of_pictures), TEXT, FineTune())
    assert network.description.reads == TEXT
    assert network.description.classes == PLACES
    kept, new = of_pictures.backbone.state_dict(), network.backbone.state_dict()
    for name, value in new.items():
        assert name.startswith("embedding.") or torch.equal(value, kept[name]), name
    assert network.backbone.embedding.tokens.weight.shape == (VOCABULARY, 64)
    assert network.eval()(texts(4).images).shape == (4, len(PLACES))


def test_nothing_happens_where_the_target_can_be_read() -> None:
    network = tiny_network()
    assert carried(network, Pictures(1, 8), Scratch()) is network
    assert crosses(Pictures(1, 8), TEXT)
    assert crosses(Text(30, LENGTH), TEXT)
    assert not crosses(Text(VOCABULARY, 30), TEXT)


def test_a_convnet_cannot_be_carried_to_texts_and_the_error_says_what_can() -> None:
    with pytest.raises(ValueError, match=r"reads grey images of 8 px.*texts of 8 tokens.*convnet_tiny.*transformer_"):
        carried(tiny_network(), TEXT, FineTune())


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_goes_from_pictures_to_texts_or_says_why_not(name: str, of_pictures: Network) -> None:
    strategy = strategy_class(name)()
    try:
        network = strategy.adapt(carried(copy.deepcopy(of_pictures), TEXT, strategy), CLASSES)
    except ValueError as error:
        assert re.search("texts|batch norm", str(error)), error
        return
    assert strategy.uses_labels
    train(network, strategy, Domains(texts(40), texts(20, seed=1), None, texts(40)), BRIEF)
    network = strategy.finish(network)
    assert network.description.reads == TEXT
    assert network.eval()(texts(6).images).isfinite().all()
    rebuilt = Network(network.description)
    rebuilt.load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_goes_from_texts_to_texts(name: str) -> None:
    strategy = strategy_class(name)(**({"student": "text_bag"} if name == "distill" else {}))
    try:
        network = strategy.adapt(carried(text_network(), TEXT, strategy), CLASSES)
    except ValueError as error:
        assert re.search("batch norm|neither norms nor biases", str(error))  # our backbones for texts have none
        return
    train(network, strategy, Domains(texts(40), texts(20, seed=1), texts(40, seed=3), texts(40)), BRIEF)
    assert strategy.finish(network).eval()(texts(6).images).isfinite().all()


def test_norms_trains_embedding_head_and_layer_norms_alone(of_pictures: Network) -> None:
    before = adapted(CrossModal(mode="norms"), of_pictures)
    moved = trained(CrossModal(mode="norms"), of_pictures)
    for (name, old), new in zip(before.named_parameters(), moved.parameters(), strict=True):
        free = "norm" in name or "embedding" in name or name.startswith("head")
        assert name.startswith("extras.") or torch.equal(old, new) != free, name


def test_aligned_moves_the_embedding_alone_at_first_and_towards_the_source(of_pictures: Network) -> None:
    strategy = CrossModal(mode="aligned", align_share=0.99)
    budget = Training(steps=30, batch_size=32, learning_rate=0.02, evaluations=1, keep="last", weight_decay=0.0)
    before, after = adapted(strategy, of_pictures), trained(strategy, of_pictures, budget)
    source, target = bars(32), texts(32)
    step = Step(Batch(target.images, target.labels), 0.0, Batch(source.images.float() / 255, source.labels))
    assert strategy.loss(after, step) < strategy.loss(before, step) / 2
    strategy.loss(before, step).backward()
    reached = {name for name, p in before.named_parameters() if p.grad is not None}
    assert reached == {"backbone.embedding.tokens.weight", "backbone.embedding.positions"}


def test_the_control_has_a_random_body_and_the_same_origin(of_pictures: Network) -> None:
    ((name, control),) = CrossModal(mode="aligned").companions(of_pictures).items()
    network = adapted(control, of_pictures)
    assert name == "random body"
    assert control.companions(of_pictures) == {}
    assert not torch.equal(network.backbone.blocks[0].widen.weight, of_pictures.backbone.blocks[0].widen.weight)
    assert ORIGIN in network.extras


def test_alignment_within_one_modality_is_refused(of_pictures: Network) -> None:
    strategy = CrossModal(mode="aligned")
    with pytest.raises(ValueError, match="source and target are of one"):
        strategy.adapt(carried(of_pictures, Pictures(1, 8), strategy), PLACES)


def test_a_carried_network_learns_the_target(of_pictures: Network) -> None:
    budget = Training(steps=120, batch_size=32, learning_rate=5e-3, evaluations=2)
    test = texts(200, seed=2)
    for mode in ("tuned", "norms", "aligned"):
        found = predict(trained(CrossModal(mode=mode), of_pictures, budget), test.images)[0]
        assert (found.argmax(dim=1) == test.labels).double().mean() > 0.85, mode


def test_a_plan_with_little_smoothing_is_the_best_assignment() -> None:
    cost = torch.rand(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    rows, columns = linear_sum_assignment(cost.numpy())
    plan = transport_plan(cost, smoothing=0.002, rounds=3000)
    assert (plan * cost).sum().item() == pytest.approx(cost.numpy()[rows, columns].mean(), rel=0.02)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((12,), 1 / 12, dtype=torch.double))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((12,), 1 / 12, dtype=torch.double), rtol=0.02, atol=0)


def test_the_distance_of_data_sets_is_that_of_numpy() -> None:
    random = np.random.default_rng(0)
    source, target = random.normal(size=(10, 3)), random.normal(1, 2, size=(10, 3))
    source_labels, target_labels = np.arange(10) % 2, np.arange(10) % 3

    def wasserstein(one: np.ndarray, other: np.ndarray) -> float:
        a, b = np.diag(one.var(axis=0)), np.diag(other.var(axis=0))
        root = sqrtm(a)
        return float(((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root))))

    cost = np.array(
        [
            [
                ((x - y) ** 2).sum() + wasserstein(source[source_labels == k], target[target_labels == m])
                for y, m in zip(target, target_labels, strict=True)
            ]
            for x, k in zip(source, source_labels, strict=True)
        ]
    )
    plan = transport_plan(torch.from_numpy(cost)).numpy()
    found = dataset_distance(*(torch.from_numpy(a) for a in (source, source_labels, target, target_labels)))
    assert found.item() == pytest.approx((plan * cost).sum(), rel=1e-6)
    rows, columns = linear_sum_assignment(cost)
    assert found.item() >= cost[rows, columns].mean() - 1e-9
