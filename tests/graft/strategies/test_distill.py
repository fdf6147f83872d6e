"""A student and its teacher: the losses compared with SciPy, and what the student learns."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from graft.contract import Batch, Step
from graft.data.split import Domains
from graft.loop import train
from graft.measures.cost import parameters
from graft.networks.network import Description, Network, predict
from graft.settings import Training
from graft.strategies.distill import Distill
from graft.strategies.scratch import Scratch
from graft.techniques.distillation import hint_loss, soft_label_loss
from tests.graft.pictures import CLASSES, bars

OTHER_CLASSES = ("middle", "elsewhere")


@pytest.fixture(scope="module")
def teacher() -> Network:
    torch.manual_seed(0)
    network = Network(Description("convnet_small", CLASSES, 1, 8))
    brief = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), brief)
    return network


def adapted(strategy: Distill, teacher: Network, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(0)
    return strategy.adapt(copy.deepcopy(teacher), classes)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_labels_are_scipys_relative_entropy(temperature: float) -> None:
    student, teacher = torch.randn(5, 4), torch.randn(5, 4) * 3
    p, q = (softmax(x.double().numpy() / temperature, axis=1) for x in (teacher, student))
    expected = temperature**2 * rel_entr(p, q).sum(axis=1).mean()
    assert soft_label_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)
    assert soft_label_loss(student, teacher, temperature, [0, 1, 2, 3]).item() == pytest.approx(expected, rel=1e-5)


def test_soft_labels_over_some_classes_weigh_what_the_teacher_takes_for_them() -> None:
    student, teacher = torch.randn(5, 2), torch.randn(5, 4) * 3
    whole = softmax(teacher.double().numpy(), axis=1)
    p = softmax(teacher.double().numpy()[:, [3, 1]] / 2, axis=1)
    q = softmax(student.double().numpy() / 2, axis=1)
    expected = 4 * (whole[:, [3, 1]].sum(axis=1) * rel_entr(p, q).sum(axis=1)).mean()
    assert soft_label_loss(student, teacher, 2.0, [3, 1]).item() == pytest.approx(expected, rel=1e-5)


def test_a_hint_is_counted_in_units_of_the_teachers_variance() -> None:
    student, teacher = torch.randn(6, 3), torch.randn(6, 3) * 2 + 5
    s, t = student.double().numpy(), teacher.double().numpy()
    expected = ((s - t) ** 2).mean() / t.var(axis=0).mean()
    assert hint_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert hint_loss(10 * student, 10 * teacher).item() == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(hint_loss(student, torch.ones(6, 3)).item())


def test_the_teachers_word_fades_and_the_labels_alone_are_left(teacher: Network) -> None:
    strategy = Distill(images="labelled", teacher_share=0.8, hint=0.0, temperature=1.0)
    network = adapted(strategy, teacher).eval()
    pictures = bars(12, seed=4)
    batch = Batch(pictures.images.float() / 255, pictures.labels)
    with torch.no_grad():
        labelled = batch.cross_entropy(network(batch.images))
        told = soft_label_loss(network(batch.images), teacher.eval()(batch.images), 1.0)
        for progress, share in ((0.0, 0.8), (0.5, 0.4), (1.0, 0.0)):
            expected = (1 - share) * labelled + share * told
            torch.testing.assert_close(strategy.loss(network, Step(batch, progress)), expected)


def test_on_both_sets_the_student_is_told_soft_labels_and_features_in_equal_parts(teacher: Network) -> None:
    strategy = Distill(images="both", teacher_share=1.0, hint=3.0, temperature=2.0)
    network, expert = adapted(strategy, teacher).eval(), copy.deepcopy(teacher).eval()
    parts = [bars(12, seed=seed, noise=noise) for seed, noise in ((4, 60), (5, 0), (6, 100))]
    target, source, unlabelled = (Batch(part.images.float() / 255, part.labels) for part in parts)
    told = []
    with torch.no_grad():
        for pictures in (source, unlabelled):
            features, wanted = network.features(pictures.images), expert.features(pictures.images)
            soft = soft_label_loss(network.head(features), expert.head(wanted), 2.0)
            told.append(soft + 3 * hint_loss(network.extras["projection"](features), wanted))
        found = strategy.loss(network, Step(target, 0.0, source, unlabelled))
    torch.testing.assert_close(found, (told[0] + told[1]) / 2)


def test_a_student_and_what_brings_it_to_its_teacher_learn_at_its_rate(teacher: Network) -> None:
    strategy = Distill(student_rate=7.0)
    network = adapted(strategy, teacher, OTHER_CLASSES)
    (group,) = strategy.parameter_groups(network)
    learning = [network.backbone, network.head, network.extras["source_head"], network.extras["projection"]]
    assert group.rate == 7.0
    assert {id(p) for p in group.parameters} == {id(p) for module in learning for p in module.parameters()}


@pytest.mark.parametrize(
    ("images", "source", "unlabelled"),
    [("labelled", False, False), ("unlabelled", False, True), ("source", True, False), ("both", True, True)],
)
def test_the_student_sees_the_pictures_that_its_knob_names(images: str, source: bool, unlabelled: bool) -> None:
    strategy = replace(Distill(), images=images)  # type: ignore[arg-type]
    assert (strategy.uses_source_data, strategy.uses_unlabelled) == (source, unlabelled)


def test_a_student_follows_its_teacher_where_nobody_told_it_the_label(teacher: Network) -> None:
    images = bars(60, seed=8).images
    wanted = predict(teacher, images)[0].argmax(dim=1)

    def agreement(share: float) -> float:
        strategy = Distill(images="unlabelled", teacher_share=share, student_rate=1.0)
        network = adapted(strategy, teacher)
        target = bars(30, seed=5)
        target = target.take((target.labels == 0).nonzero().flatten())  # labels of a single class
        brief = Training(steps=40, batch_size=16, learning_rate=0.02, keep="last")
        train(network, strategy, Domains(target, bars(9, seed=6), unlabelled=bars(90, seed=7)), brief)
        return (predict(network, images)[0].argmax(dim=1) == wanted).double().mean().item()

    assert agreement(0.0) < 0.5
    assert agreement(0.9) > 0.9


def test_the_teacher_stays_as_it_was_and_leaves_with_the_extras(teacher: Network) -> None:
    strategy = Distill()
    network = adapted(strategy, teacher)
    domains = Domains(bars(30), bars(9, seed=1), bars(30, seed=2), bars(30, seed=3))
    train(network, strategy, domains, Training(steps=4, batch_size=9, learning_rate=0.01, evaluations=1))
    kept = network.extras["teacher"].module
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in kept.state_dict().items())
    finished = strategy.finish(network)
    assert finished.description.backbone == "convnet_tiny"
    assert parameters(finished) < parameters(teacher) / 10
    assert set(finished.state_dict()) == set(Network(finished.description).state_dict())


def test_heads_and_projections_are_there_where_they_are_needed(teacher: Network) -> None:
    def extras(strategy: Distill, classes: tuple[str, ...]) -> set[str]:
        return set(adapted(strategy, teacher, classes).extras)

    assert extras(Distill(), CLASSES) == {"teacher", "projection"}
    assert extras(Distill(), ("right", "left")) == {"teacher", "projection"}
    assert extras(Distill(), OTHER_CLASSES) == {"teacher", "projection", "source_head"}
    assert extras(Distill(student="convnet_small"), CLASSES) == {"teacher"}
    assert extras(Distill(hint=0.0), CLASSES) == {"teacher"}


def test_source_pictures_leave_no_trace_in_the_students_batch_norm(teacher: Network) -> None:
    strategy = Distill(images="source")
    target, source = (bars(12, seed=seed, noise=noise) for seed, noise in ((1, 0), (2, 100)))
    batch, other = (Batch(part.images.float() / 255, part.labels) for part in (target, source))
    seen, alone = adapted(strategy, teacher).train(), adapted(strategy, teacher).train()
    strategy.loss(seen, Step(batch, 0.0, other))
    alone.features(batch.images)
    for name, value in alone.backbone.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(seen.backbone.state_dict()[name], value)


def test_an_unknown_student_is_refused(teacher: Network) -> None:
    with pytest.raises(ValueError, match="unknown backbone 'convnet_minute'; valid: convnet_tiny"):
        adapted(Distill(student="convnet_minute"), teacher)
