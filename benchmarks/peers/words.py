"""scikit-learn on texts: tf-idf and logistic regression, and static embeddings of words.

Legend: N texts, D features.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import FeatureUnion

from benchmarks.peers.cell import Answer, Cell, Peer, Texts
from benchmarks.peers.frozen import FAMILY, STRENGTHS, quiet, split

SHARES = (0.03, 0.1, 0.3, 1.0)
"""Weights of a source text, relative to a paid one."""
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
        ValueError: the source has other classes.
    """
    texts, source = _texts(cell), cell.case.problem.source
    if source is None or source.classes != cell.paid.classes:
        raise ValueError("the source has other classes")
    weigh = _vectors()
    every = weigh.fit_transform([*texts.pool, *texts.source])
    target, others = every[: len(texts.pool)][cell.places], every[len(texts.pool) :]
    labels = source.labels.numpy()

    def fit(rows: np.ndarray, share: float, strength: float) -> Any:
        weights = np.concatenate([np.ones(len(rows)), np.full(len(labels), share)])
        known = np.concatenate([cell.known[rows], labels])
        return LogisticRegression(C=strength, max_iter=1000).fit(sp.vstack([target[rows], others]), known, weights)

    def loss(share: float, strength: float) -> float:
        lost = 0.0
        for rows, held in split(cell).split(cell.places, cell.known):
            said = fit(rows, share, strength).predict_log_proba(target[held])
            lost -= said[np.arange(len(held)), cell.known[held]].sum()
        return lost

    with quiet():
        settings = [(share, strength) for share in SHARES for strength in STRENGTHS[2:8]]
        best = min(settings, key=lambda each: loss(*each))
        model = fit(np.arange(len(cell.known)), *best)
    return Answer(model.predict(weigh.transform(texts.test)))


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
