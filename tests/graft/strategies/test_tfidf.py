"""The contract of a strategy that serves texts alone, and tf-idf against scikit-learn."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from graft.data.inputs import BYTES, Text
from graft.data.split import Domains, Split
from graft.loop import Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.tfidf import Tfidf
from graft.techniques.carry import carried
from tests.graft.pictures import tiny_network
from tests.graft.sentences import CLASSES, LENGTH, as_bytes, read, sentences
from tests.graft.texts import text_network

TRAINING = Training(steps=1, evaluations=1)
STRATEGY = Tfidf(length=LENGTH)


def fitted(domains: Domains, strategy: Tfidf = STRATEGY) -> Network:
    torch.manual_seed(0)
    network = strategy.adapt(text_network(), domains.target.classes)
    train(network, strategy, domains, TRAINING, keep=Kept(0))
    return strategy.finish(network)


def domains(labels: int = 12, source: Split | None = None) -> Domains:
    pool = read(60, seed=4).without_labels()
    return Domains(read(labels, seed=7), None, read(60, seed=1) if source is None else source, pool)


def accuracy(network: Network) -> float:
    test = read(200, seed=5)
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()


def test_a_finished_network_is_rebuilt_from_its_description_and_weights() -> None:
    network = fitted(domains())
    rebuilt = Network(network.description)
    rebuilt.load_state_dict(network.state_dict())
    images = read(12, seed=9).images
    assert network.description.reads == Text(BYTES, LENGTH)
    assert torch.equal(rebuilt.eval()(images), network.eval()(images))


def test_it_is_deterministic_bit_for_bit() -> None:
    first, again = fitted(domains()), fitted(domains())
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_from_the_target_and_more_from_the_source_too() -> None:
    alone, both = fitted(domains(4), replace(STRATEGY, use_source=False)), fitted(domains(4))
    assert accuracy(fitted(domains(60))) > 0.95
    assert accuracy(both) > accuracy(alone)


def test_a_source_that_misleads_gets_no_weight() -> None:
    told = read(60, seed=1)
    wrong = domains(40, replace(told, labels=1 - told.labels))
    assert accuracy(fitted(wrong)) > 0.9


def test_source_classes_are_matched_by_name() -> None:
    told = read(60, seed=1)
    renamed = Split(told.images, torch.tensor([2, 0])[told.labels], ("good", "other", "bad"), vocabulary=BYTES)
    for a, b in zip(fitted(domains(6)).parameters(), fitted(domains(6, renamed)).parameters(), strict=True):
        assert torch.equal(a, b)
    strangers = read(60, seed=1, classes=("cold", "warm"))
    assert accuracy(fitted(domains(60, strangers))) > 0.95


def test_it_answers_as_scikit_learn_does() -> None:
    """Without choices: one label per class, so that weight and strength are given."""
    from graft.strategies.tfidf import _ALONE

    weight, strength = _ALONE
    seen = domains(2)
    texts = [*sentences(2, seed=7), *sentences(60, seed=1)]
    parts = (
        TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    union = make_union(*parts).fit([*sentences(60, seed=4), *sentences(60, seed=1)])
    shares = np.array([1.0] * 2 + [weight] * 60)
    # Of two classes it has one vector, the difference of ours, whose squares sum to half of its square.
    best = LogisticRegression(C=2 / (strength * shares.sum()), tol=1e-8, max_iter=10_000)
    best.fit(union.transform(texts) / np.sqrt(2), [0, 1] * 31, sample_weight=shares)
    asked = sentences(100, seed=5)
    expected = best.predict_proba(union.transform(asked) / np.sqrt(2))
    network = fitted(seen)
    np.testing.assert_allclose(predict(network, as_bytes(asked))[0].numpy(), expected, atol=0.02)


def test_pictures_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="tfidf reads texts, not grey images of 8 px"):
        STRATEGY.adapt(tiny_network(), CLASSES)


def test_any_network_for_texts_will_do_and_for_pictures_too_where_the_source_is_not_needed() -> None:
    target = Text(BYTES, LENGTH)
    source = text_network()
    assert carried(source, target, STRATEGY) is source
    alone = replace(STRATEGY, use_source=False)
    assert alone.adapt(carried(tiny_network(), target, alone), CLASSES).description.classes == CLASSES
    with pytest.raises(ValueError, match="no network reads both"):
        carried(tiny_network(), target, STRATEGY)


def test_the_length_is_what_its_network_reads() -> None:
    assert Tfidf(length=200).adapt(copy.deepcopy(text_network()), CLASSES).description.length == 200
