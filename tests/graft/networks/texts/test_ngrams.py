"""N-grams are those of scikit-learn's vectorizers, but for the hashing."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from torch import Tensor

from graft.data.inputs import BYTES, Pictures, Text
from graft.networks.backbones import build_backbone
from graft.networks.network import Description, Network
from graft.networks.texts.ngrams import BUCKETS, Counts, Ngrams, joined, ngrams
from tests.graft.sentences import LENGTH, as_bytes, sentences


def body(features: int = 3) -> Ngrams:
    torch.manual_seed(0)
    return Ngrams(Text(BYTES, LENGTH), features)


def dense(counts: Counts) -> Tensor:
    found = torch.zeros(counts.texts, BUCKETS)
    found[counts.rows, counts.buckets] = counts.times
    return found


def test_weights_are_those_of_scikit_learn() -> None:
    texts = sentences(40)
    words = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    theirs = make_union(words, characters).fit_transform(texts) / np.sqrt(2)
    found, network = ngrams(as_bytes(texts)), body()
    having = torch.bincount(found.buckets, minlength=BUCKETS)
    assert int((having > 0).sum()) >= 0.99 * theirs.shape[1], "hardly two share a bucket"
    network.idf = torch.where(having > 0, (41 / (1 + having.double())).log() + 1, 0.0).float()
    ours = dense(network.weighted(found))
    torch.testing.assert_close(
        ours @ ours.T, torch.from_numpy((theirs @ theirs.T).toarray()).float(), atol=5e-3, rtol=0
    )


def test_features_are_sums_of_vectors_and_do_not_depend_on_what_is_beside_a_text() -> None:
    texts, network = as_bytes(sentences(9)), body().eval()
    expected = dense(network.weighted(ngrams(texts))) @ network.vectors.weight
    torch.testing.assert_close(network(texts), expected)
    assert torch.equal(network(texts), torch.cat([network(text[None]) for text in texts]))
    assert torch.equal(network(texts), network(torch.nn.functional.pad(texts, (0, 40))))


def test_texts_of_other_scripts_are_read_by_character() -> None:
    found = [ngrams(as_bytes([text])) for text in ("好的", "好了", "“好的”", "好")]
    kept = [set(counts.buckets.tolist()) for counts in found]
    assert len(kept[0]) == 7, "the word, and with spaces around it three pairs, two triples, and all four"
    assert len(kept[0] & kept[1]) == 1, "they begin alike"
    assert len(kept[0] & kept[2]) == 2, "quotation marks are no letters: the word is the same, and 好的"


def test_numbers_of_one_shape_are_alike() -> None:
    one, other, third = (set(ngrams(as_bytes([text])).buckets.tolist()) for text in ("call 087", "call 412", "call 41"))
    assert len(one & other) > len(one & third)
    assert len(other) == len(one)


@pytest.mark.parametrize("text", ["", " ", "a", "?", "a b"])
def test_a_text_of_almost_nothing_has_finite_features(text: str) -> None:
    assert body()(as_bytes([text, "some words"])).isfinite().all()


def test_what_is_known_of_no_text_weighs_nothing() -> None:
    network = body()
    network.idf.zero_()
    assert torch.equal(network(as_bytes(["some words"])), torch.zeros(1, 3))


def test_counts_of_batches_are_joined_in_order() -> None:
    texts = as_bytes(sentences(7))
    whole, parts = ngrams(texts), joined([ngrams(texts[:3]), ngrams(texts[3:])])
    assert whole.texts == parts.texts == 7
    for name in ("rows", "buckets", "times"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


def test_names_and_what_is_read_are_checked() -> None:
    network = Network(Description("ngrams:2", ("a", "b"), vocabulary=BYTES, length=LENGTH))
    assert network.feature_size == 2
    with pytest.raises(ValueError, match=r"ngrams:2 reads bytes \(257 tokens\), not 300"):
        build_backbone("ngrams:2", Text(300, 8))
    with pytest.raises(ValueError, match="'ngrams:two' is not valid"):
        build_backbone("ngrams:two", Text(BYTES, 8))
    with pytest.raises(ValueError, match="reads texts, not images"):
        build_backbone("ngrams:2", Pictures(1, 8))
