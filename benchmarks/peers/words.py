"""scikit-learn on texts: tf-idf and logistic regression, and static embeddings of words.

Legend: N texts, D features.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import FeatureUnion

from benchmarks.peers.cell import Answer, Cell, Peer, Texts
from benchmarks.peers.frozen import FAMILY, STRENGTHS
from benchmarks.peers.mixture import fit_mixture, source_labels
from benchmarks.peers.quiet import quiet, split

EMBEDDINGS = "wordllama"
"""A wheel that carries static embeddings of word pieces, 256 numbers each."""


def peers() -> list[Peer]:
    """All of them, for texts; static embeddings only where their wheel is installed."""
    found = {"tf-idf, LR CV": tf_idf, "tf-idf, source + target": with_source}
    if find_spec(EMBEDDINGS):
        found["static embeddings, LR CV"] = static_embeddings
    return [Peer(name, FAMILY, ("texts",), solve) for name, solve in found.items()]


def tf_idf(cell: Cell) -> Answer:
    """Words and pairs of words, and pieces of 2-5 characters; C by cross-validation. The vocabulary is the pool's: its
    texts are known, only their labels are not."""
    texts = _texts(cell)
    weigh = _vectors()
    pool = weigh.fit_transform(texts.pool)
    return Answer(_logistic(cell, pool[cell.places]).predict(weigh.transform(texts.test)))


def with_source(cell: Cell) -> Answer:
    """The same on the source's texts as well; C and the source's weight by cross-validation on the paid texts.

    Raises:
        ValueError: there is no source with the same classes.
    """
    source_labels(cell)
    texts, weigh = _texts(cell), _vectors()
    every = weigh.fit_transform([*texts.pool, *texts.source])
    target, others = every[: len(texts.pool)][cell.places], every[len(texts.pool) :]
    return Answer(fit_mixture(cell, target, others).predict(weigh.transform(texts.test)))


def static_embeddings(cell: Cell) -> Answer:
    """The mean of the embeddings of a text's word pieces, as the wheel's own model computes it; C by cross-validation
    (Joulin et al. 2017, 'Bag of Tricks for Efficient Text Classification', with given vectors)."""
    texts = _texts(cell)
    start = time.process_time()
    table, tokenizer = _table()
    read = time.process_time() - start  # once a project in use, so not part of the comparison
    pool, test = _means(table, tokenizer, texts.pool), _means(table, tokenizer, texts.test)
    return Answer(_logistic(cell, pool[cell.places]).predict(test), added=-read)


def _texts(cell: Cell) -> Texts:
    assert cell.case.texts
    return cell.case.texts


def _vectors() -> FeatureUnion:
    return FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
            ("pieces", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)),
        ]
    )


def _logistic(cell: Cell, features: Any) -> Any:
    search = LogisticRegressionCV(Cs=STRENGTHS, cv=split(cell), scoring="neg_log_loss", max_iter=1000)
    with quiet():
        return search.fit(features, cell.known)


def _table() -> tuple[np.ndarray, Any]:
    """The embeddings (V, D) and the tokenizer, from the wheel's files: its loader would ask a server."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec(EMBEDDINGS)
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parent
    (weights,) = (folder / "weights").glob("*_256.safetensors")
    (pieces,) = (folder / "tokenizers").glob("*.json")
    (table,) = load_file(weights).values()
    tokenizer = Tokenizer.from_file(str(pieces))
    tokenizer.no_padding()
    return table.astype(np.float32), tokenizer


def _means(table: np.ndarray, tokenizer: Any, texts: list[str]) -> np.ndarray:
    found = [table[one.ids].mean(axis=0) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
    return np.stack(found)
